"""The slot status of the requirement's lifecycle, slot by slot."""

from hypothesis import given
from hypothesis import strategies as st

from bus.events import (
    Reached,
    SelectionAdvanced,
    SlotAssigned,
    SlotExtended,
    SlotReleased,
    WatchChanged,
    WatchInterrupted,
    WatchLearned,
    WatchResumed,
    WatchSettled,
    WatchStarted,
    WatchStopped,
)
from observer.selection.slot_projection import SlotStatuses
from tests.builders import day_began

DAY = "2026-11-20"


def given_to(symbol, slot="main:01", replaced=None, reason="free_slot"):
    return SlotAssigned(slot, symbol, 0, "volume_surge", 15.0, reason, replaced)


def released(symbol, slot="main:01", reason="expired"):
    return SlotReleased(slot, symbol, 0, 15.0, reason)


def watch(change, symbol):
    return WatchChanged("kis", symbol, DAY, 0, change)


STARTED, INTERRUPTED, STOPPED = WatchStarted(), WatchInterrupted("reconnect"), WatchStopped()
BEGAN = SelectionAdvanced(DAY, 0, day_began(DAY))


def after(*events):
    states = SlotStatuses()
    for event in events:
        states.apply(event)
    return states


def passed(*events, slot="main:01"):
    """The state after each of them."""
    return [after(*events[: number + 1]).of(slot) for number in range(len(events))]


def test_a_slot_is_available_until_it_is_assigned():
    assert after().of("main:01") == "available"


def test_a_slot_is_active_when_the_broker_acknowledges_and_releasing_until_the_removal_is_too():
    life = (given_to("A"), watch(STARTED, "A"), released("A"), watch(STOPPED, "A"))
    assert passed(*life) == ["allocated", "active", "releasing", "available"]


def test_a_slot_is_being_replaced_until_the_one_before_is_gone():
    life = (given_to("A"), watch(STARTED, "A"), given_to("B", replaced="A"), watch(STOPPED, "A"))
    assert passed(*life, watch(STARTED, "B")) == ["allocated", "active", "replacing", "allocated", "active"]


def test_a_slot_that_lost_its_subscription_is_allocated_until_it_is_acknowledged_again():
    life = (given_to("A"), watch(STARTED, "A"), watch(INTERRUPTED, "A"), watch(STARTED, "A"))
    assert passed(*life) == ["allocated", "active", "allocated", "active"]


def test_a_slot_that_is_extended_by_another_trigger_stays_active_and_shows_that_trigger():
    extended = SlotExtended("main:01", "A", 5, "trade_velocity", 12.0, 9)
    life = (given_to("A"), watch(STARTED, "A"), extended)
    assert passed(*life)[-1] == "active"
    holder = after(*life).holders["main:01"]
    assert (holder.trigger, holder.score, holder.expires_ns, holder.assigned_ns) == ("trade_velocity", 12.0, 9, 0)


def test_a_moved_symbol_is_active_in_the_slot_that_the_broker_acknowledged():
    moves = (
        given_to("A"),
        watch(STARTED, "A"),
        released("A", reason="moved"),
        given_to("A", "second:01", reason="moved"),
        watch(INTERRUPTED, "A"),
        watch(STARTED, "A"),
    )
    assert passed(*moves) == ["allocated", "active", "releasing", "releasing", "available", "available"]
    assert passed(*moves, slot="second:01")[3:] == ["allocated", "allocated", "active"]


def test_a_new_process_has_no_subscription_of_the_previous_one():
    assert passed(BEGAN, given_to("A"), watch(STARTED, "A"), BEGAN)[-1] == "allocated"


REACHED = Reached(1.0, None, 1)
EVENTS = st.one_of(
    st.builds(given_to, st.sampled_from("ABC"), st.sampled_from(["main:01", "main:02"])),
    st.builds(released, st.sampled_from("ABC"), st.sampled_from(["main:01", "main:02"])),
    st.builds(
        watch,
        st.sampled_from(
            [WatchResumed(REACHED), STARTED, WatchLearned(REACHED), INTERRUPTED, WatchSettled(REACHED), STOPPED]
        ),
        st.sampled_from("ABC"),
    ),
    st.just(BEGAN),
)


@given(st.lists(EVENTS, max_size=30))
def test_a_slot_has_a_holder_exactly_in_the_states_that_imply_one(events):
    states = after(*events)
    for slot in ("main:01", "main:02"):
        assert (states.of(slot) in {"allocated", "active", "replacing"}) == (slot in states.holders)
