"""The script of what goes wrong: times of the day become moments, and moments are asked about."""

import pytest

from observer.simulator.faults import Faults, ScriptedDrop, StreamOutage
from tests.simulator.simulator_client import SESSION_DATE, at


def faults(*drops: ScriptedDrop, listing_appears_at: str = "") -> Faults:
    return Faults.of_script(SESSION_DATE, drops, listing_appears_at)


def test_outages_are_put_in_the_order_of_time() -> None:
    script = faults(ScriptedDrop(at="14:00", closed_for_s=5), ScriptedDrop(at="10:00:30", closed_for_s=60))
    assert script.outages == (
        StreamOutage(at(10, 0, 30), at(10, 1, 30)),
        StreamOutage(at(14), at(14, 0, 5)),
    )


def test_the_stream_is_closed_from_the_drop_until_its_end() -> None:
    script = faults(ScriptedDrop(at="10:00", closed_for_s=60))
    moments = (at(10) - 1, at(10), at(10, 1) - 1, at(10, 1))
    assert [script.stream_is_closed(moment) for moment in moments] == [False, True, True, False]


def test_the_listing_is_shown_from_its_time_or_all_day() -> None:
    script = faults(listing_appears_at="10:30")
    assert [script.listing_is_shown(moment) for moment in (at(10, 30) - 1, at(10, 30))] == [False, True]
    assert faults().listing_is_shown(at(0))


@pytest.mark.parametrize("text", ["25:00", "10:61", "noon", "-1:00", "10:00:60"])
def test_a_time_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        faults(ScriptedDrop(at=text))
