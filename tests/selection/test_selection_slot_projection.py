"""SlotProjection: a resuming process rebuilds slots, past holders and pins from the events."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.events import (
    AccountsClosed,
    ChurnGuardChanged,
    Pinned,
    Reached,
    SelectionAdvanced,
    SlotAssigned,
    SlotExtended,
    SlotOverflowed,
    SlotReleased,
    StreamedTime,
    TriggerEnded,
    TriggerFired,
    Unpinned,
    WatchChanged,
    WatchInterrupted,
    WatchResumed,
    WatchSettled,
    WatchStarted,
    WatchStopped,
)
from observer.selection.allocation import allocate, empty_slots
from observer.selection.settings import SelectionSettings, SlotSettings
from observer.selection.slot_projection import (
    SlotInterval,
    resumed_slots,
    resumed_triggers,
    slot_intervals,
    streamed_times,
)
from observer.selection.triggers import ActiveTrigger, TriggersSettings
from tests.builders import day_began
from tests.selection.builders import all_of, candidate, filler, left, member, selector_of, swept

S = 1_000_000_000
LIFE_NS = round(TriggersSettings().volume_surge.ttl_seconds) * S
SETTINGS = SelectionSettings(slots=SlotSettings(max_slots=2, churn_window_seconds=100.0))
ACCOUNTS = {"main": 2, "second": 1}


class Past:
    """An earlier process: its slots, and what it published."""

    def __init__(self):
        self.state = empty_slots(ACCOUNTS)
        self.reported = []

    def step(self, *candidates, now_ns, closed=frozenset()):
        self.state, decisions = allocate(self.state, candidates, now_ns, SETTINGS.slots, {}, closed)
        self.reported += decisions


def after(past, now_ns, dropped={}):
    members = {symbol: member(symbol) for symbol in "ABCDEFGH"}
    return resumed_slots(left(past.reported), empty_slots(ACCOUNTS), members, dropped, now_ns, SETTINGS)[0]


def held(state):
    """Each slot with its holder and the holder's source."""
    return [(slot.slot, slot.candidate.symbol if slot.candidate else None, slot.home) for slot in state.slots]


def long(symbol, score, now_ns):
    """A volume surge with a whole life before it."""
    return candidate(symbol, score, expires_ns=now_ns + LIFE_NS)


ROUNDS = st.lists(
    st.tuples(
        st.lists(st.tuples(st.sampled_from("ABCDEFGH"), st.integers(2, 30)), max_size=6),
        st.sampled_from([frozenset(), frozenset({"main"}), frozenset({"second"})]),
        st.integers(1, 60),
    ),
    max_size=12,
)


@given(ROUNDS)
def test_any_past_restores_the_slots_homes_turn_and_replacements(
    rounds,
):
    past, now_ns = Past(), 0
    for offered, closed, seconds in rounds:
        now_ns += seconds * S
        past.step(
            *(long(symbol, score, now_ns) for symbol, score in offered), filler("F", 1), now_ns=now_ns, closed=closed
        )
    state = after(past, now_ns)
    assert held(state) == held(past.state)
    assert state.turn == past.state.turn
    assert state.churn == past.state.churn.after(0, now_ns, SETTINGS.slots)
    assert not state.waiting.keys() & state.symbols
    assert state.overflowed <= state.waiting.keys()


def test_a_moved_symbol_returns_after_a_restart_when_its_account_is_open():
    past = Past()
    past.step(long("A", 20, 0), now_ns=0)
    past.step(now_ns=1, closed={"main"})
    assert held(past.state)[2] == ("second:01", "A", "main:01")
    state, decisions = allocate(after(past, 2), [], 2, SETTINGS.slots)
    assert held(state)[0] == ("main:01", "A", None)
    assert [decision.reason for decision in decisions] == ["moved_home", "moved_home"]


def test_a_refused_symbol_waits_after_a_restart_while_its_trigger_lives_and_is_not_refused_again():
    past = Past()
    past.step(*(long(symbol, 20, 0) for symbol in "ABC"), long("D", 15, 0), now_ns=0)
    state = after(past, LIFE_NS - 1)
    assert state.waiting.keys() == state.overflowed == {"D"}
    assert state.waiting["D"].market_cap == member("D").market_cap
    assert after(past, LIFE_NS).waiting == {}


def test_a_replaced_symbol_waits_after_a_restart_and_a_replaced_filler_does_not():
    past = Past()
    past.step(long("A", 10, 0), long("B", 20, 0), filler("F"), now_ns=0)
    past.step(long("A", 10, 1), long("B", 20, 1), long("C", 20, 1), long("D", 20, 1), now_ns=1)
    assert [event.symbol for event in past.reported[-1:]] == ["D"]
    state = after(past, 2)
    assert (state.waiting.keys(), state.overflowed) == ({"A"}, frozenset())


def test_a_symbol_that_may_hold_no_slot_does_not_wait_after_a_restart():
    past = Past()
    past.step(*(long(symbol, 20, 0) for symbol in "ABC"), long("D", 15, 0), now_ns=0)
    assert after(past, 1, {"D": "halted"}).waiting == {}


def test_a_refused_pin_does_not_wait():
    past = Past()
    past.reported.append(SlotOverflowed("D", 0, "manual", 1.0, 11.2, 11.2, "all_slots_pinned"))
    assert after(past, 1).waiting == {}


def test_the_replacements_of_the_last_minutes_still_guard_against_churn():
    past = Past()
    past.step(*(long(symbol, 10, 0) for symbol in "ABC"), now_ns=0)
    past.step(long("D", 20, S), long("E", 20, S), now_ns=S)
    assert after(past, 2 * S).churn.count(2 * S, SETTINGS.slots) == 2
    assert after(past, 102 * S).churn.count(102 * S, SETTINGS.slots) == 0


# --- the whole pipeline resumes ---


def advanced(step):
    return SelectionAdvanced("2026-11-18", 0, step)


def selector():
    return selector_of([member(symbol, rank=rank) for rank, symbol in enumerate("ABCD", 1)], ACCOUNTS, SETTINGS)


def test_a_pin_is_still_in_force_after_a_restart():
    before = selector()
    before.evaluate_universe(0)
    events = [*before.pin("D", 1).events, advanced(Pinned("D"))]
    successor = selector()
    successor.resume(left(events), 5)
    assert successor.wanted == ("D",)
    assert successor.unpin("D", 6).events


def test_after_a_restart_a_pin_that_waited_waits_on():
    successor = selector()
    successor.market.update_listing("D", 0, delisted=False, suspended=True)
    successor.resume(left([advanced(Pinned("D", "halted"))]), 0)
    successor.evaluate_universe(1)
    assert "D" not in successor.wanted
    successor.market.update_listing("D", 0, delisted=False, suspended=False)
    successor.evaluate_universe(2)
    assert successor.wanted[0] == "D"


def test_accounts_that_were_closed_are_closed_as_far_as_they_are_still_there():
    successor = selector()
    successor.resume(left([advanced(AccountsClosed(("main", "removed")))]), 0)
    assert successor.closed_accounts == {"main"}


@pytest.mark.parametrize("engaged", [True, False])
def test_an_engaged_churn_guard_is_not_reported_again_after_a_restart(engaged):
    successor = selector()
    successor.resume(left([ChurnGuardChanged(0, engaged, 2, 1.5)]), 0)
    reported = [event.engaged for event in successor.evaluate_slots(1) if isinstance(event, ChurnGuardChanged)]
    assert reported == ([False] if engaged else [])


# --- triggers that hold ---


def fired(symbol, fired_ns):
    return TriggerFired(symbol, "volume_surge", fired_ns, fired_ns + LIFE_NS, 4.0, 3.0, 1_000.0, 0.8, 19.2)


def test_conditions_that_hold_are_those_that_fired_and_did_not_end_each_with_one_more_life():
    ended = TriggerEnded("B", "volume_surge", 2, 3, 4)
    extended = SlotExtended("main:01", "A", 7, "volume_surge", 18.0, 7 + LIFE_NS)
    pin = msgspec.structs.replace(fired("P", 5), kind="manual")
    active = resumed_triggers(left([fired("A", 1), fired("B", 2), ended, pin, extended]), 9, SETTINGS.triggers)
    assert active == {("A", "volume_surge"): ActiveTrigger(1, 7, 9 + LIFE_NS)}


def test_a_condition_that_holds_does_not_fire_again_after_a_restart_and_ends_with_its_first_moment():
    lived, events = selector(), []
    swept(lived.market, "D", 4_000.0)
    events += lived.evaluate_universe(1)
    successor = selector()
    successor.resume(left(events), 2)
    swept(successor.market, "D", 4_000.0, receive_time_ns=3)
    again = [*successor.evaluate_universe(3), *successor.close(9)]
    assert all_of(TriggerFired, again) == []
    assert all_of(TriggerEnded, again) == [TriggerEnded("D", "volume_surge", fired_ns=1, held_until_ns=3, ended_ns=9)]


# --- slots as intervals ---


def assigned(slot, symbol, at_ns):
    return SlotAssigned(slot, symbol, at_ns, "context", 15.0, "free_slot", None)


def watched(change, symbol, at_ns):
    return WatchChanged("kis", symbol, "2026-11-18", at_ns, change)


def test_an_interval_has_its_triggers_its_end_and_the_times_of_its_subscription():
    events = [
        assigned("main:01", "A", 1),
        watched(WatchStarted(), "A", 3),
        SlotExtended("main:01", "A", 4, "volume_surge", 12.0, 90),
        watched(WatchInterrupted("reconnect"), "A", 5),
        watched(WatchStarted(), "A", 8),
        SlotReleased("main:01", "A", 9, 11.0, "replaced", "B"),
        assigned("main:01", "B", 9),
        watched(WatchStopped(), "A", 10),
        watched(WatchStarted(), "B", 11),
    ]
    first, second = slot_intervals(events)
    assert (first.symbol, first.triggers, first.released_ns) == ("A", ("context", "volume_surge"), 9)
    assert (first.release_reason, first.replaced_by, first.streamed) == ("replaced", "B", ((3, 5), (8, 10)))
    assert (second.symbol, second.released_ns, second.streamed) == ("B", None, ((11, None),))


def released(slot, at_ns, reason):
    return SlotReleased(slot, "A", at_ns, 11.0, reason)


def started(at_ns):
    return watched(WatchStarted(), "A", at_ns)


def stepped(at_ns, step=Unpinned("B")):
    return SelectionAdvanced("2026-11-18", at_ns, step)


GIVEN = assigned("main:01", "A", 1)
RESUMED = watched(WatchResumed(Reached(9.0, None, 2), 2), "A", 3)
SETTLED, STOPPED = watched(WatchSettled(Reached(9.0, None, 9)), "A", 9), watched(WatchStopped(), "A", 9)
BEGAN = stepped(7, day_began("2026-11-18"))


@pytest.mark.parametrize(
    ("events", "streamed"),
    [
        (  # it moves to another account, or is assigned again before its subscription is removed
            [started(3), released("main:01", 5, "moved"), assigned("second:01", "A", 6), started(8), STOPPED],
            [((3, 6),), ((6, 9),)],
        ),
        ([released("main:01", 3, "expired"), started(5), STOPPED], [((5, 9),)]),
        ([RESUMED, released("main:01", 4, "expired"), started(5), SETTLED], [()]),
        ([started(3), stepped(5), BEGAN, started(8)], [((3, 5), (8, None))]),
        ([started(3), stepped(5), SETTLED, released("main:01", 90, "unfinished")], [((3, 5),)]),
    ],
    ids=["still subscribed", "acknowledged late", "only settled", "killed", "given up by a later process"],
)
def test_a_slot_was_streamed_while_the_broker_had_its_subscription_and_the_process_lived(events, streamed):
    assert [each.streamed for each in slot_intervals([GIVEN, *events])] == streamed


def test_the_streamed_times_of_a_symbol_are_those_of_all_its_slots_joined_where_they_touch():
    slots = [
        SlotInterval("main:01", "A", 1, "free_slot", ("volume_surge",), 1.0, streamed=((2, 5),)),
        SlotInterval("other:01", "A", 5, "moved", ("volume_surge",), 1.0, streamed=((5, 7), (9, None))),
        SlotInterval("main:02", "B", 1, "free_slot", ("volume_surge",), 1.0),
    ]
    assert streamed_times(slots, 20) == {"A": [StreamedTime(2, 7), StreamedTime(9, 20)]}


WATCHES = st.sampled_from([WatchStarted(), WatchInterrupted("reconnect"), WatchStopped()])


@given(
    st.lists(st.tuples(st.sampled_from(["assign", "release", "watch"]), st.sampled_from("AB"), WATCHES), max_size=20)
)
def test_intervals_and_their_subscriptions_do_not_overlap(moves):
    events, held = [], {}
    for at_ns, (what, symbol, change) in enumerate(moves, 1):
        slot = held.get(symbol)
        if what == "watch":
            events.append(watched(change, symbol, at_ns))
        elif what == "assign" and slot is None:
            held[symbol] = f"main:0{'AB'.index(symbol) + 1}"
            events.append(assigned(held[symbol], symbol, at_ns))
        elif what == "release" and slot is not None:
            del held[symbol]
            events.append(SlotReleased(slot, symbol, at_ns, 1.0, "expired"))
    for symbol in "AB":
        found = [each for each in slot_intervals(events) if each.symbol == symbol]
        times = [time for each in found for time in (each.assigned_ns, each.released_ns or len(moves) + 1)]
        streamed = [
            time for each in found for since, until in each.streamed for time in (since, until or len(moves) + 1)
        ]
        assert times == sorted(times)
        assert streamed == sorted(streamed)
        assert sum(each.released_ns is None for each in found) == (symbol in held)
