"""A whole day with a page of the database overwritten at 10:00."""

import json

import pytest

from tests.chaos import damaged_day

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.nightly]


@pytest.mark.timeout(1_200)
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_a_damaged_page_is_one_alert_whose_remedy_costs_no_trade_of_the_day(database):
    reported = damaged_day.run(database, speed=240, symbols=60, seed=7)
    assert damaged_day.is_sound(reported), json.dumps(reported, default=str)
