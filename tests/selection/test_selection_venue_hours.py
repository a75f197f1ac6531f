"""A line of a closed venue holds no slot while another venue trades, and competes again when its own opens."""

from bus.events import ChurnGuardChanged, SlotAssigned, SlotReleased, TriggerFired
from observer.selection.pins import PinRefusal
from observer.selection.selector import VenueHours
from observer.selection.settings import SelectionSettings, SlotSettings, VenueWindow
from tests.selection.builders import left, member, selector_of, swept

KRX, NXT = "005930", "005930.NXT"
# NXT from 10 to 20 and from 30 on, the KRX from 15 to 40.
WINDOWS = (VenueWindow("", 15, 40), VenueWindow("NXT", 10, 20), VenueWindow("NXT", 30, 50))


def selector(lines=(KRX, NXT), windows=WINDOWS):
    members = [member(line, rank=rank) for rank, line in enumerate(lines, 1)]
    return selector_of(members, {"main": 2}, SelectionSettings(), windows=windows)


def at(day, *moments_ns):
    for now_ns in moments_ns:
        day.evaluate_slots(now_ns)
    return set(day.wanted)


def test_each_venue_has_slots_in_its_own_windows():
    day = selector()
    assert at(day, 10) == {NXT}
    assert at(day, 15) == {NXT, KRX}
    assert at(day, 20) == {KRX}
    assert at(day, 30) == {NXT, KRX}
    assert at(day, 40) == {NXT}


def test_the_release_states_that_the_venue_closed_and_the_return_is_an_assignment():
    day = selector()
    day.evaluate_slots(15)
    [released] = day.evaluate_slots(20)
    assert (released.symbol, released.reason) == (NXT, "venue_closed")
    [assigned] = day.evaluate_slots(30)
    assert isinstance(assigned, SlotAssigned)
    assert assigned.symbol == NXT


def test_a_line_of_a_closed_venue_is_not_kept_waiting():
    day = selector((NXT, KRX, "000660"))
    day.evaluate_slots(20)
    assert NXT not in day.waiting


def test_while_no_venue_trades_every_line_keeps_its_slot():
    apart = (VenueWindow("", 10, 20), VenueWindow("NXT", 25, 40))
    day = selector(windows=apart)
    assert at(day, 10, 20) == {KRX, NXT}
    assert at(day, 25) == {NXT}


def test_the_break_of_the_only_venue_costs_no_slot():
    assert at(selector((KRX,)), 15, 42) == {KRX}


def test_a_pinned_line_of_a_closed_venue_waits_for_its_opening():
    day = selector()
    asked = day.pin(NXT, 22)
    assert not isinstance(asked, PinRefusal)
    assert (asked.slot, asked.waits_for) == (None, "venue_closed")
    assert NXT in at(day, 30)


def test_hours_change_nothing_between_openings_and_closes():
    hours = VenueHours(WINDOWS, [KRX, NXT])
    assert hours.closed(5) == frozenset(), "nothing trades"
    assert hours.closed(9) is None
    assert hours.closed(12) == {KRX}
    assert hours.closed(14) is None
    assert hours.closed(16) == frozenset()


def test_the_events_of_a_slot_state_the_venue_of_its_line():
    members = [member(KRX, venue="KRX"), member(NXT, rank=2, venue="NXT")]
    day = selector_of(members, {"main": 2}, SelectionSettings(), windows=WINDOWS)
    decided = [*day.evaluate_slots(15), *day.evaluate_slots(20), *day.close(25)]
    venues = [(event.symbol, event.venue) for event in decided if isinstance(event, SlotAssigned | SlotReleased)]
    assert sorted(venues) == [(KRX, "KRX"), (KRX, "KRX"), (NXT, "NXT"), (NXT, "NXT")]


def test_a_rate_of_trades_from_before_a_close_is_no_reason_for_a_slot_at_the_next_opening():
    for moments_ns, kinds in (((15,), ["trade_velocity"]), ((22, 30), [])):
        day = selector()
        swept(day.market, NXT, 1.0)
        day.market.of(NXT).trades_per_second = 99.0
        decided = [event for now_ns in moments_ns for event in day.evaluate_universe(now_ns)]
        assert [event.kind for event in decided if isinstance(event, TriggerFired)] == kinds


MAINS = tuple(f"{number:06d}" for number in range(1, 7))
FURTHER = tuple(f"{each}.NXT" for each in MAINS)


def test_lines_of_a_further_venue_fill_the_slots_that_main_lines_leave_free_and_yield_to_them():
    """Two slots: four main lines are on the list of fillers, and all of them are closed until 15."""
    day = selector((*MAINS, *FURTHER))
    assert at(day, 10) == set(FURTHER[:2])
    assert at(day, 15) == set(MAINS[:2])
    assert at(day, 31) == set(MAINS[:2])
    assert at(day, 40) == set(FURTHER[:2])


def test_a_main_line_that_takes_the_slot_of_a_further_filler_is_no_churn():
    settings = SelectionSettings(slots=SlotSettings(churn_max_replacements=1))
    members = [member(line, rank=rank) for rank, line in enumerate((*MAINS, *FURTHER), 1)]
    day = selector_of(members, {"main": 2}, settings, windows=WINDOWS)
    decided = [*day.evaluate_slots(10), *day.evaluate_slots(15)]
    assert sum(isinstance(each, SlotAssigned) and each.reason == "outranks" for each in decided) == 2
    assert not any(isinstance(each, ChurnGuardChanged) for each in decided)
    assert left(decided).replaced_ns == []
