"""The pipeline with its memory, from what is seen to the facts that come of it."""

from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

from bus.events import Event, SlotAssigned, SlotOverflowed, SlotReleased, Snapshot, TriggerFired, UniverseMember
from observer.selection.selector import Selector
from observer.selection.settings import SelectionSettings, SlotSettings
from tests.builders import trade
from tests.selection.builders import candidate, member

SECOND_NS = 1_000_000_000
TWO_PLACES = SelectionSettings(slots=SlotSettings(max_slots=2))
SEEN = Snapshot(
    provider="kis",
    symbol="A",
    session_date="2026-11-18",
    sweep=1,
    receive_time_ns=0,
    price=10_000.0,
    open=10_000.0,
    high=10_000.0,
    low=10_000.0,
    previous_close=10_000.0,
    upper_limit=13_000.0,
    lower_limit=7_000.0,
    bid=None,
    ask=None,
    cumulative_volume=0.0,
    cumulative_value=0.0,
)


def members(*symbols: str) -> list[UniverseMember]:
    """The first is the largest."""
    return [member(symbol, rank=rank, market_cap_krw=1e13 / rank) for rank, symbol in enumerate(symbols, start=1)]


def selector(*symbols: str) -> Selector:
    return Selector(members(*symbols or ("A", "B", "C", "D")), {"main": 41}, TWO_PLACES)


def seen(symbol: str, volume: float = 0.0, **changes: object) -> Snapshot:
    return msgspec.structs.replace(SEEN, symbol=symbol, cumulative_volume=volume, **changes)


def kinds(events: Iterable[Event]) -> Counter[str]:
    return Counter(type(event).__name__ for event in events)


def assigned(events: Sequence[Event]) -> list[tuple[str, str, str | None]]:
    return [(event.symbol, event.trigger, event.replaced) for event in events if isinstance(event, SlotAssigned)]


def test_with_nothing_to_go_by_the_largest_fill_the_places() -> None:
    pipeline = selector()
    assert assigned(pipeline.evaluate_all(0)) == [("A", "market_cap", None), ("B", "market_cap", None)]
    assert pipeline.wanted == ("A", "B")


def test_the_opening_s_movers_come_first() -> None:
    pipeline = selector()
    assert assigned(pipeline.open([candidate("D", 12)], 0)) == [("D", "volume_surge", None), ("A", "market_cap", None)]


def test_a_surge_seen_by_a_sweep_fires_and_gets_a_place_at_once() -> None:
    pipeline = selector()
    pipeline.evaluate_all(0)
    pipeline.see_snapshot(seen("D", 3_000.0))
    events = pipeline.evaluate_all(1)
    assert kinds(events) == {"TriggerFired": 1, "SlotAssigned": 1}
    assert isinstance(events[0], TriggerFired)
    assert assigned(events) == [("D", "volume_surge", "B")]
    assert pipeline.wanted == ("D", "A")


def test_a_condition_that_goes_on_is_told_once() -> None:
    pipeline = selector()
    pipeline.see_snapshot(seen("D", 3_000.0))
    pipeline.evaluate_all(0)
    assert list(pipeline.evaluate_all(SECOND_NS)) == []
    assert "D" in pipeline.wanted


def test_a_trigger_that_is_over_leaves_its_place_to_the_largest() -> None:
    pipeline = selector("A", "B", "C", "D", "E")
    pipeline.open([candidate("E", 12, expires_ns=10)], 0)
    events = pipeline.evaluate_all(10)
    assert [(event.symbol, event.reason) for event in events if isinstance(event, SlotReleased)] == [("E", "expired")]
    assert assigned(events) == [("B", "market_cap", None)]


def test_more_triggers_than_places_overflow_once() -> None:
    pipeline = selector()
    for symbol in "ABCD":
        pipeline.see_snapshot(seen(symbol, 9_000.0))
    assert kinds(pipeline.evaluate_all(0))["SlotOverflowed"] == 2
    assert not [event for event in pipeline.evaluate_all(1) if isinstance(event, SlotOverflowed)]


def test_a_symbol_at_its_upper_limit_loses_its_place() -> None:
    pipeline = selector()
    pipeline.evaluate_all(0)
    pipeline.see_snapshot(seen("A", price=13_000.0, high=13_000.0))
    events = pipeline.evaluate_all(1)
    released = [(event.symbol, event.reason) for event in events if isinstance(event, SlotReleased)]
    assert released == [("A", "upper_limit")]
    assert pipeline.wanted == ("B", "C")


def test_a_burst_between_two_looks_is_seen_by_the_second() -> None:
    pipeline = selector()
    pipeline.evaluate_all(0)
    for number in range(12):
        pipeline.see_trade(trade(number + 1, symbol="A", exchange_time_ns=5 * SECOND_NS, price=10_000.0))
    fired = [event for event in pipeline.evaluate_held(60 * SECOND_NS) if isinstance(event, TriggerFired)]
    assert [(event.symbol, event.kind, event.measure) for event in fired] == [("A", "trade_velocity", 12.0)]


def test_a_new_process_takes_the_places_over_as_they_were() -> None:
    pipeline = selector()
    pipeline.see_snapshot(seen("D", 3_000.0))
    held = [event for event in pipeline.evaluate_all(0) if isinstance(event, SlotAssigned)]
    successor = selector()
    successor.take_over(held, 5)
    assert successor.wanted == pipeline.wanted
    assert list(successor.evaluate_all(6)) == []


def test_the_end_of_the_day_releases_every_place() -> None:
    pipeline = selector()
    pipeline.evaluate_all(0)
    assert kinds(pipeline.close(9)) == {"SlotReleased": 2}
    assert pipeline.wanted == ()


def test_the_same_calls_give_the_same_facts() -> None:
    def told() -> list[Event]:
        pipeline = selector()
        events: list[Event] = []
        for now_ns, symbol in enumerate("DCBADCBA"):
            pipeline.see_snapshot(seen(symbol, 1_000.0 * now_ns))
            events += pipeline.evaluate_all(now_ns)
        return events

    assert told() == told()
