"""A first start at 09:20: slots and trades come before the history, which the selection takes in behind them."""

import pytest

from tests.chaos import late_start

pytestmark = [pytest.mark.system, pytest.mark.slow]


@pytest.mark.timeout(600)
def test_a_first_start_in_the_session_streams_before_its_history_and_the_replay_agrees():
    reported = late_start.run(symbols=120, kill=True)
    at = {name: moment["after_s"] for name, moment in reported["moments"].items()}
    assert at["universe"] <= at["first_slot"] < at["history_complete"] <= at["history_applied"]
    assert len(reported["lines"]) == 2
    bars, different = reported["bars"]
    assert bars == different > 0  # the process that was killed over them lost none, and asked for none again
    assert late_start.is_sound(reported), reported["decisions"]
