"""A person's wishes: a pinned symbol has a place before any other, until it is unpinned, whatever restarts."""

from bus.events import Event, SlotAssigned, SlotReleased, TriggerFired, UniverseMember
from observer.selection.selector import NotWished, Selector, Wished
from observer.selection.settings import SelectionSettings, SlotSettings, TriggerSettings, TriggersSettings
from tests.selection.builders import candidate, member

SECOND_NS = 1_000_000_000
YEAR_NS = 365 * 86_400 * SECOND_NS
TWO_PLACES = SelectionSettings(slots=SlotSettings(max_slots=2))


def members() -> list[UniverseMember]:
    return [member(symbol, rank=rank, market_cap_krw=1e13 / rank) for rank, symbol in enumerate("ABCD", start=1)]


def selector(settings: SelectionSettings = TWO_PLACES) -> Selector:
    """Two places, which the two largest fill."""
    pipeline = Selector(members(), {"main": 41}, settings)
    pipeline.evaluate_all(0)
    return pipeline


def wished(outcome: Wished | NotWished) -> Wished:
    assert isinstance(outcome, Wished)
    return outcome


def refused(outcome: Wished | NotWished) -> str:
    assert isinstance(outcome, NotWished)
    return outcome.code


def assignments(outcome: Wished) -> list[tuple[str, str, str | None]]:
    return [
        (event.symbol, event.trigger, event.replaced) for event in outcome.events if isinstance(event, SlotAssigned)
    ]


def test_a_pin_takes_the_place_of_the_least_important_and_says_so() -> None:
    outcome = wished(selector().pin("D", 1))
    assert assignments(outcome) == [("D", "manual", "B")]
    assert [type(event) for event in outcome.events] == [TriggerFired, SlotAssigned]


def test_a_pin_outlasts_everything_that_outscores_it() -> None:
    pipeline = selector()
    pipeline.pin("D", 1)
    pipeline.open([candidate(symbol, 1_000, expires_ns=YEAR_NS) for symbol in "BC"], 2)
    pipeline.evaluate_held(YEAR_NS - 1)
    assert "D" in pipeline.wanted


def test_who_has_a_place_already_keeps_it_and_the_new_reason_is_told() -> None:
    outcome = wished(selector().pin("A", 1))
    assert outcome.slot == "main:01"
    assert assignments(outcome) == [("A", "manual", None)]


def test_a_second_pin_of_the_same_symbol_is_no_news() -> None:
    pipeline = selector()
    first = wished(pipeline.pin("D", 1))
    assert wished(pipeline.pin("D", 2)) == Wished(first.slot, [])


def test_after_a_restart_the_pin_is_still_one() -> None:
    """Whoever takes over knows the assignments alone."""
    pipeline = selector()
    told: list[Event] = [*wished(pipeline.pin("A", 1)).events, *wished(pipeline.pin("D", 1)).events]
    later = Selector(members(), {"main": 41}, TWO_PLACES)
    later.take_over([event for event in told if isinstance(event, SlotAssigned)], 5)
    assert set(later.wanted) == {"A", "D"}
    assert refused(later.pin("C", 6)) == "no_place"
    assert isinstance(later.unpin("A", 7), Wished)


def test_an_unpinned_symbol_loses_its_place_and_the_largest_fill_it() -> None:
    pipeline = selector()
    slot = wished(pipeline.pin("D", 1)).slot
    outcome = wished(pipeline.unpin("D", 2))
    [released] = outcome.events
    assert isinstance(released, SlotReleased)
    assert (released.slot, released.symbol, released.reason) == (slot, "D", "unpinned")
    pipeline.evaluate_held(3)
    assert pipeline.wanted == ("A", "B")


def test_who_is_not_pinned_cannot_be_unpinned_and_keeps_its_place() -> None:
    pipeline = selector()
    assert refused(pipeline.unpin("A", 1)) == "not_pinned"
    assert refused(pipeline.unpin("nobody", 1)) == "not_pinned"
    assert pipeline.wanted == ("A", "B")


def test_where_all_places_are_pinned_the_next_one_is_refused_and_nothing_changes() -> None:
    pipeline = selector()
    pipeline.pin("C", 1)
    pipeline.pin("D", 1)
    assert refused(pipeline.pin("A", 2)) == "no_place"
    assert pipeline.wanted == ("C", "D")
    pipeline.unpin("C", 3)
    assert assignments(wished(pipeline.pin("A", 4)))[0][:2] == ("A", "manual")


def test_a_symbol_outside_the_universe_cannot_be_pinned() -> None:
    assert refused(selector().pin("Z", 1)) == "unknown_symbol"


def test_where_the_manual_trigger_is_switched_off_there_are_no_pins() -> None:
    manual = TriggerSettings(enabled=False, threshold=1.0, full_strength=1.0, ttl_seconds=-1.0, weight=5.0)
    settings = SelectionSettings(slots=SlotSettings(max_slots=2), triggers=TriggersSettings(manual=manual))
    outcome = selector(settings).pin("D", 1)
    assert isinstance(outcome, NotWished)
    assert "triggers.manual.enabled" in outcome.reason
