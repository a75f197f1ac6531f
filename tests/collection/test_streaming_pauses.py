"""A pause of a venue that is short enough ends no slot of a day."""

import asyncio

import msgspec
import pytest

from bus.events import SelectionAdvanced, UniverseBuilt
from observer.base.units import NS_PER_S
from observer.calendar.sessions import Window
from observer.reference.universe.eligibility import KOREAN_STOCKS
from observer.selection.settings import VenueWindow
from tests.collection.day_scene import PLAN, SESSION, SYMBOLS, market, process
from tests.selection.builders import member

BEGINS_NS, ENDS_NS = PLAN.track_b_start_ns, PLAN.track_b_stop_ns
PAUSE_NS = (BEGINS_NS + 600 * NS_PER_S, BEGINS_NS + 900 * NS_PER_S)


def windows_with(keep_over_pause_s):
    """The windows by which a day is decided whose further venue has a pause of 300 s."""

    async def play():
        with market() as made:
            track_b = msgspec.structs.replace(made.settings.track_b, keep_over_pause_s=keep_over_pause_s)
            made.settings = msgspec.structs.replace(made.settings, track_b=track_b)
            further = member(f"{SYMBOLS[0]}.NXT", rank=2, venue="NXT")
            built = UniverseBuilt("kis", KOREAN_STOCKS, SESSION, SESSION, 1, 2, 2, 0.0)
            made.store("a" * 32, member(SYMBOLS[0], venue="KRX"), further, built)
            async with process(made) as running:
                began = running.of(SelectionAdvanced)[0].step
        return msgspec.convert(msgspec.to_builtins(began)["settings"]["windows"], list[VenueWindow])

    windows = (
        *(Window("KRX", BEGINS_NS, ENDS_NS), Window("NXT", BEGINS_NS, PAUSE_NS[0])),
        Window("NXT", PAUSE_NS[1], ENDS_NS),
    )
    with pytest.MonkeyPatch.context() as patches:
        patches.setattr("tests.collection.day_scene.PLAN", msgspec.structs.replace(PLAN, windows=windows))
        return asyncio.run(play())


def test_the_setting_says_which_pauses_of_a_venue_end_slots():
    main, whole = VenueWindow("", BEGINS_NS, ENDS_NS), VenueWindow("NXT", BEGINS_NS, ENDS_NS)
    assert windows_with(300.0) == [main, whole]
    before, after = VenueWindow("NXT", BEGINS_NS, PAUSE_NS[0]), VenueWindow("NXT", PAUSE_NS[1], ENDS_NS)
    assert windows_with(299.0) == [main, before, after]
