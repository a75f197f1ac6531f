"""A whole day on a PostgreSQL server that is put back twice to an earlier base backup."""

import json

import pytest

from tests.chaos import put_back_day

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.nightly]


@pytest.mark.timeout(900)
def test_a_server_that_is_put_back_twice_costs_no_trade_of_the_day():
    reported = put_back_day.run(speed=240, symbols=60, seed=7)
    assert put_back_day.is_sound(reported), json.dumps(reported, default=str)
