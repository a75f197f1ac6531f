"""The input for recomputing a day's decisions: Track B's events in stream order, on both databases."""

from bus.events import (
    AlertRaised,
    KeptPin,
    MarketStateChanged,
    Pinned,
    PinsKept,
    Reached,
    SelectionAdvanced,
    SelectionStep,
    SlotAssigned,
    SlotReleased,
    SlotsClosed,
    SlotsEvaluated,
    SlotsResumed,
    SweepCompleted,
    Unpinned,
    WatchChanged,
    WatchStarted,
    WatchStopped,
)
from observer.selection.slot_projection import slot_intervals
from observer.store import decisions
from observer.store.reader import StoreReader
from tests.builders import day_began, trade

DAY, NEXT_DAY = "2026-11-18", "2026-11-19"
FIRST, SECOND, TRACK_A = "5" * 32, "6" * 32, "7" * 32
STARTED = WatchChanged("kis", "005930", DAY, 2, WatchStarted(Reached(12.5, 3, 1)))
HALTED = MarketStateChanged("kis", "005930", 2, True, "", "", "", "", "", "", "", "", "")
RELEASED = SlotReleased("main-1", "005930", 3, 1.25, "closed")


STEPS: dict[str, SelectionStep] = {
    "began": day_began(DAY),
    "resumed": SlotsResumed(),
    "held": SlotsEvaluated(),
    "pinned": Pinned("005930"),
    "closed": SlotsClosed("closed"),
}


def step(name, session_date=DAY):
    return SelectionAdvanced(session_date, 1, STEPS[name])


def test_events_of_all_kinds_come_in_the_order_in_which_they_were_published(store, database_url):
    published = [step("began"), STARTED, trade(1), step("held"), trade(2), RELEASED, step("closed")]
    store(*published)
    with StoreReader(database_url) as reader:
        assert list(reader.decision_events(DAY)) == published


def test_the_event_order_is_kept_across_read_batches(store, database_url, monkeypatch):
    monkeypatch.setattr(decisions, "_NUMBERS_AT_ONCE", 3)
    published = [step("began"), *(trade(sequence) for sequence in range(1, 9)), RELEASED, step("closed")]
    store(*published)
    with StoreReader(database_url) as reader:
        assert list(reader.decision_events(DAY)) == published


def test_a_process_that_took_over_follows_the_one_before_it(store, database_url):
    store(step("began"), trade(1))
    store(step("began"), step("resumed"), trade(2), stream=SECOND)
    with StoreReader(database_url) as reader:
        assert list(reader.decision_events(DAY)) == [
            step("began"), trade(1), step("began"), step("resumed"), trade(2),
        ]  # fmt: skip


def test_slot_events_are_read_without_trades(store, database_url):
    store(step("began"), STARTED, trade(1), HALTED, RELEASED, step("pinned"))
    with StoreReader(database_url) as reader:
        assert reader.slot_events(DAY) == [step("began"), HALTED, RELEASED, step("pinned")]
        assert reader.slot_events(NEXT_DAY) == []


def test_the_slots_of_a_day_are_intervals_with_the_times_that_the_broker_acknowledged(store, database_url):
    assigned = SlotAssigned("a:01", "005930", 10, "volume_surge", 9.0, "free_slot", None, 99)
    gone = WatchChanged("kis", "005930", DAY, 30, WatchStopped())
    acknowledged = WatchChanged("kis", "005930", DAY, 20, WatchStarted())
    released = SlotReleased("a:01", "005930", 25, 8.0, "replaced", "000660")
    store(step("began"), assigned, acknowledged, released, gone)
    with StoreReader(database_url) as reader:
        [interval] = slot_intervals(reader.slot_status_events(DAY))
        assert slot_intervals(reader.slot_status_events(NEXT_DAY)) == []
    assert (interval.assigned_ns, interval.released_ns, interval.replaced_by) == (10, 25, "000660")
    assert interval.streamed == ((20, 30),)


def test_the_last_sweep_is_the_one_that_was_completed_last(store, database_url):
    store(*(SweepCompleted("kis", DAY, sweep, 0, ended_ns, 1, 1, 1) for sweep, ended_ns in ((1, 5), (3, 9), (2, 7))))
    with StoreReader(database_url) as reader:
        assert reader.last_sweep(NEXT_DAY) is None
        last = reader.last_sweep(DAY)
    assert last is not None
    assert last.sweep == 3


def test_the_pins_of_the_last_day_with_a_step_are_in_force(store, database_url):
    earlier = SelectionAdvanced("2026-11-13", 1, Pinned("000660"))
    kept = SelectionAdvanced(DAY, 1, PinsKept((KeptPin("000660", None), KeptPin("035420", "halted"))))
    store(earlier, step("began"), kept, SelectionAdvanced(DAY, 1, Pinned("005930", None, 9)))
    store(SelectionAdvanced(DAY, 1, Unpinned("000660")), step("closed"), stream=SECOND)
    with StoreReader(database_url) as reader:
        assert reader.pins_before(NEXT_DAY) == {"035420": None, "005930": 9}
        assert reader.pins_before(DAY) == {"000660": None}
        assert reader.pins_before("2026-11-13") == {}


def test_a_day_is_only_its_own_part_of_a_stream(store, database_url):
    store(trade(1), step("began"), trade(2), step("closed"), step("began", NEXT_DAY), trade(3), RELEASED)
    with StoreReader(database_url) as reader:
        assert list(reader.decision_events(DAY)) == [step("began"), trade(2), step("closed")]
        assert list(reader.decision_events(NEXT_DAY)) == [step("began", NEXT_DAY), trade(3), RELEASED]


def test_streams_of_other_processes_and_other_kinds_are_left_out(store, database_url):
    store(step("began"), AlertRaised(1, "info", "track-b", "hello"), trade(1))
    store(trade(9, gap_id="a gap"), stream=TRACK_A)
    with StoreReader(database_url) as reader:
        assert list(reader.decision_events(DAY)) == [step("began"), trade(1)]
        assert list(reader.decision_events(NEXT_DAY)) == []


def test_an_earlier_day_that_ends_late_does_not_mix_with_the_days_around_it(store, database_url):
    today = [step("began"), trade(1), step("closed")]
    earlier = [step("began", "2026-11-17"), RELEASED, step("closed", "2026-11-17")]
    store(*today, *earlier, step("began", NEXT_DAY), trade(2))
    with StoreReader(database_url) as reader:
        assert list(reader.decision_events(DAY)) == today
        assert list(reader.decision_events("2026-11-17")) == earlier
        assert list(reader.decision_events(NEXT_DAY)) == [step("began", NEXT_DAY), trade(2)]
