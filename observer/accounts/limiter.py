"""Which lane gets the next permit, and when. Pure arithmetic over one small state that all processes share.

**The limit.** A broker counts calls as they arrive, and between our decision and that moment lie a busy event loop, a
pool of connections and a network. A margin in the spacing is a guess about their sum: 5 % of it (52.5 ms at 20 a
second) covers 50 ms and costs every sweep 5 %. So nothing is guessed. A limit of 20 a second is 20 *places*; a call
holds one from its start until a second after its answer came, because what was answered has been counted. Hence no
second, wherever it begins, sees a 21st arrival: of 21 calls in it, the one that started last would have found 20 places
held. In the same way 1,000 places of a minute let a sweep run at full speed and still bound every sliding minute, which
a token bucket can do only by halving either the burst or the rate. The price is the way to the broker and back, once a
second: 5 ms are 0.5 %.

A call without an answer counts as arrived `ANSWER_LIMIT_NS` after its start; that also frees the places of a process
that was killed. One that arrives even later (a process stopped for seconds between permit and send) is the one case
in which a second could hold one call more.

**The pace.** Beside its place a call needs the pace's next slot: slots are evenly spaced, so that an urgent call waits
for one slot and not for a place of a second. A slot is a beat, not a distance: who waited for it and wakes late takes
it late, and the next one comes on time (up to a whole slot; the places, not the slots, keep the limit).

**Too many, says the broker** (AIMD): nobody starts for the length of the penalty, and then everybody at 0.7 of the
pace, at least a tenth of the configured one. Refusals until the end of the pause are echoes of the first: eight at once
count once. The pace grows by the configured rate in a minute, so it is whole again 18 s after one slow-down and 54 s
after any number.

**Lanes.** *Urgent* calls (a gap's few requests) go before *normal* ones, those before *bulk*. Nobody reserves. Whoever
must wait leaves a mark, and the lanes below keep off the slot for half a spacing after it came free: the mark of a
process that died delays one slot and no more. If the lanes above use up the limit, bulk gets nothing.
"""

from math import ceil, floor
from typing import Final, Literal

import msgspec

_NS_PER_S: Final = 1_000_000_000
ANSWER_LIMIT_NS: Final = 3 * _NS_PER_S  # an unanswered call has arrived by then; longer than a call waits in our pool
SLOTS_MADE_UP: Final = 1
_PER_SECOND_MAX: Final = 1_000  # each is a place in the file that all processes share
_PENALTY_MAX_S: Final = 3600
_SLOWDOWN: Final = 0.7
_PACE_FLOOR: Final = 0.1  # of the configured rate
_RECOVERY_S: Final = 60.0  # from nothing to the configured rate
_COURTESY: Final = 0.5  # of a spacing: how long a free slot is kept for a lane that waits
_LOOK: Final = 0.125  # of a spacing: how often to look whether a long unanswered call was answered

Lane = Literal["urgent", "normal", "bulk"]


class Window(msgspec.Struct, frozen=True):
    """Never more than so many calls in any span of this length."""

    places: int
    length_ns: int


class Limits(msgspec.Struct, frozen=True):
    """What a broker allows one account; `calls_per_second` is the pace that the windows allow at most."""

    calls_per_second: float
    penalty_ns: int
    windows: tuple[Window, ...]

    @property
    def pace_floor(self) -> float:
        """Calls a second that remain after any number of refusals."""
        return self.calls_per_second * _PACE_FLOOR

    @property
    def horizon_ns(self) -> int:
        """No moment of a true state lies further ahead: what does is left over from another clock."""
        longest_ns = max(window.length_ns for window in self.windows)
        return longest_ns + ANSWER_LIMIT_NS + self.penalty_ns + 2 * _spacing_ns(self.pace_floor)


class State(msgspec.Struct, frozen=True):
    """What the processes share; moments in ns of market time.

    `next_ns` is the next slot of the pace. `pace` was in force after the broker last said "too many", at `slowed_ns`.
    `urgent_ns` and `normal_ns` are until when a slot is kept for a call of that lane. `held_ns` says for each window
    until when each place is held.
    """

    next_ns: int
    pace: float
    slowed_ns: int
    urgent_ns: int
    normal_ns: int
    held_ns: tuple[tuple[int, ...], ...]


class Granted(msgspec.Struct, frozen=True):
    """A call may start now. It holds these places, one in each window, until `after_answer`."""

    places: tuple[int, ...]
    state: State


class Wait(msgspec.Struct, frozen=True):
    """Not now: ask again at `until_ns`."""

    until_ns: int
    state: State


def limits_of(calls_per_second: float, calls_per_minute: float | None, penalty_s: float) -> Limits:
    """The limits in whole calls: 2.5 a second are two in any second, 0.5 are one in any two seconds.

    Raises:
        ValueError: less than one call a minute, more than a thousand a second, or a penalty that is negative or longer
            than an hour.
    """
    if not 1 / 60 <= calls_per_second <= _PER_SECOND_MAX:
        raise ValueError(f"calls_per_second: {calls_per_second} is not from one a minute to {_PER_SECOND_MAX} a second")
    if calls_per_minute is not None and not 1 <= calls_per_minute <= 60 * _PER_SECOND_MAX:
        raise ValueError(f"calls_per_minute: {calls_per_minute} is not from 1 to {60 * _PER_SECOND_MAX}")
    if not 0 <= penalty_s <= _PENALTY_MAX_S:
        raise ValueError(f"penalty_s: {penalty_s} is not from 0 to {_PENALTY_MAX_S}")
    second = Window(max(1, floor(calls_per_second)), ceil(_NS_PER_S / min(1.0, calls_per_second)))
    minute = () if calls_per_minute is None else (Window(floor(calls_per_minute), 60 * _NS_PER_S),)
    return Limits(calls_per_second, round(penalty_s * _NS_PER_S), (second, *minute))


def fresh(limits: Limits) -> State:
    """The state of an account that nobody has used yet: everything is free."""
    long_ago_ns = -limits.horizon_ns
    held_ns = tuple((long_ago_ns,) * window.places for window in limits.windows)
    return State(long_ago_ns, limits.calls_per_second, long_ago_ns, long_ago_ns, long_ago_ns, held_ns)


def after_loss(limits: Limits, now_ns: int) -> State:
    """The state when the last one is lost: as though every place had been taken just now, so that no limit can be
    broken whatever was sent; the first call goes when the longest window is over.
    """
    held_ns = tuple((now_ns + window.length_ns + ANSWER_LIMIT_NS,) * window.places for window in limits.windows)
    return msgspec.structs.replace(fresh(limits), held_ns=held_ns)


def is_believable(limits: Limits, state: State, now_ns: int) -> bool:
    """Whether a state can be one of this clock and these limits: nothing in it lies beyond the horizon."""
    moments = (state.next_ns, state.slowed_ns, state.urgent_ns, state.normal_ns, *map(max, state.held_ns))
    return limits.pace_floor <= state.pace <= limits.calls_per_second and max(moments) <= now_ns + limits.horizon_ns


def decide(limits: Limits, state: State, asked_ns: int, now_ns: int, lane: Lane) -> Granted | Wait:
    """A permit, or a moment to ask again; either way the new state.

    `asked_ns` is when the call asked first: a slot before that passed unused and is not made up for.
    """
    spacing_ns = _spacing_ns(pace_at(limits, state, now_ns))
    slot_ns = max(state.next_ns, asked_ns, now_ns - SLOTS_MADE_UP * spacing_ns)
    look_ns = round(spacing_ns * _LOOK)
    free_ns = max(slot_ns, _pause_end_ns(limits, state), *_places_free_ns(limits, state, now_ns, look_ns))
    ready_ns = max([free_ns, *_kept_until_ns(state, lane)])
    if ready_ns > now_ns:
        return Wait(ready_ns, _marked(state, lane, ready_ns + round(spacing_ns * _COURTESY)))
    places = tuple(held_ns.index(min(held_ns)) for held_ns in state.held_ns)
    held_until_ns = [now_ns + window.length_ns + ANSWER_LIMIT_NS for window in limits.windows]
    taken = tuple(map(_with_place, state.held_ns, places, held_until_ns))
    return Granted(places, msgspec.structs.replace(state, next_ns=slot_ns + spacing_ns, held_ns=taken))


def after_answer(limits: Limits, state: State, places: tuple[int, ...], now_ns: int) -> State:
    """The state when a call was answered: from now on each of its places is held for its window's length.

    A place that is free by then, or somebody else's after a loss, stays as it is or comes free no earlier than it may.
    """
    until_ns = [now_ns + window.length_ns for window in limits.windows]
    earlier_ns = [min(until, held[place]) for until, held, place in zip(until_ns, state.held_ns, places, strict=True)]
    return msgspec.structs.replace(state, held_ns=tuple(map(_with_place, state.held_ns, places, earlier_ns)))


def after_rate_error(limits: Limits, state: State, now_ns: int) -> State:
    """The state after the broker said "too many"; unchanged for the echoes of a refusal."""
    if now_ns < _pause_end_ns(limits, state):
        return state
    slower = max(limits.pace_floor, pace_at(limits, state, now_ns) * _SLOWDOWN)
    return msgspec.structs.replace(state, pace=slower, slowed_ns=now_ns)


def pace_at(limits: Limits, state: State, now_ns: int) -> float:
    """Calls a second at a moment: it grows from the end of the last pause on, up to the configured rate."""
    since_s = max(0, now_ns - _pause_end_ns(limits, state)) / _NS_PER_S
    return min(limits.calls_per_second, state.pace + limits.calls_per_second * since_s / _RECOVERY_S)


def _spacing_ns(pace: float) -> int:
    return ceil(_NS_PER_S / pace)


def _pause_end_ns(limits: Limits, state: State) -> int:
    return state.slowed_ns + limits.penalty_ns


def _places_free_ns(limits: Limits, state: State, now_ns: int, look_ns: int) -> list[int]:
    """When to look for a free place in each window.

    A place held for longer than its window from now on is an unanswered call's. It comes free a window's length after
    its start at the earliest; from then on its answer is looked for again and again.
    """
    moments: list[int] = []
    for window, held_ns in zip(limits.windows, state.held_ns, strict=True):
        first_ns = min(held_ns)
        is_unanswered = first_ns > now_ns + window.length_ns
        moments.append(max(first_ns - ANSWER_LIMIT_NS, now_ns + look_ns) if is_unanswered else first_ns)
    return moments


def _kept_until_ns(state: State, lane: Lane) -> tuple[int, ...]:
    """Until when the next slot is kept for the lanes above this one."""
    if lane == "urgent":
        return ()
    return (state.urgent_ns,) if lane == "normal" else (state.urgent_ns, state.normal_ns)


def _marked(state: State, lane: Lane, until_ns: int) -> State:
    """The state with the word that a call of this lane waits; bulk calls leave none."""
    if lane == "urgent":
        return msgspec.structs.replace(state, urgent_ns=until_ns)
    return msgspec.structs.replace(state, normal_ns=until_ns) if lane == "normal" else state


def _with_place(held_ns: tuple[int, ...], place: int, until_ns: int) -> tuple[int, ...]:
    return (*held_ns[:place], until_ns, *held_ns[place + 1 :])
