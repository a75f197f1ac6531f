"""Which priority gets the next rate-limit token, and when. Pure arithmetic over one small state that all processes
share.

**The limit.** A broker counts calls on arrival. A busy event loop, a pool of connections and a network lie between our
decision and that arrival. A margin in the spacing would be a guess about their sum: 5 % (52.5 ms at 20 a second) covers
50 ms and costs every sweep 5 %. So nothing is guessed. A limit of 20 a second is 20 *positions*. A call holds a
position from its start until a second after its answer came, because an answered call has been counted. Hence no
second, wherever it begins, sees a 21st arrival: of 21 calls in a second, the last one to start would have found 20
positions held. In the same way 1,000 positions of a minute let a sweep run at full speed and still bound every sliding
minute; a token bucket bounds it only by halving the burst or the rate. The price is the way to the broker and back,
once a second: 5 ms are 0.5 %.

A call without an answer holds its position for `ANSWER_LIMIT_NS`, the longest time-out of a client, plus a window: a
host that stalls for seconds takes all waiting calls in one moment. That also frees the positions of a killed process. A
call that arrives even later (a process stopped between rate-limit token and send) is the one case in which a second
could hold one call more.

**The pace.** Beside a position a call needs the pace's next slot. Slots are evenly spaced, so an urgent call waits for
one slot and not for a position of a second. A slot is a beat, not a distance: a call that waited for a slot and wakes
late takes the slot late, and the next call comes on time (up to a whole slot; the positions, not the slots, keep the
limit). A slot without a waiting call passes unused.

**The share.** While calls wait, an account starts at least `positions / (1 s + answer time + wake-up delay)` calls a
second: a position is held for a second and the answer time, and the next call wakes after the delay. A slot that a call
waited for is therefore not lost when another call, which did not wait, takes it first (`awaited_ns`).

**The answer "too many"** has two causes: a host that allows less than we send, and a host that is overloaded or passes
the call to a busy server. How a host counts (any second, calendar seconds, a bucket, refused calls too) is unknown, and
answers come in another order than their calls; so one rule judges by the outcome (docs/limits.md: the model with
figures). A refusal weighs as much as fifty calls that pass. When refusals outweigh a hundred passed calls, more than 2
% of the calls are refused while others pass, and a lower limit is *learned*: as many calls as passed in the last
second. A refusal before any call passed again is overload and no evidence. The refused call is repeated at once;
refused again, all calls pause for the penalty, then for twice as long, up to four times; the first call that passes
ends the overload. Calls that were on their way when a refusal became known can be refused too: such *echoes* count for
nothing.

**The learned limit.** A learned limit reduces the positions of the first window, and the pace accordingly. As many
refusals again lower it by a quarter (or to the number of passed calls, if that is far less: with long answer times
fewer calls pass in a second than there are positions). After `_HOLD_NS` half as many more are tried. Refusals in this
trial double the time for which the limit is believed, up to `_HOLD_NS_MAX`. The trial succeeds when the calls of four
windows passed that the limit would not have admitted: the limit rises to the tried number, and the next trial begins. A
limit without a confirmation for `_FORGOTTEN_NS` is forgotten.

**Priorities.** *Urgent* calls (a gap's few requests) go before *normal* calls, normal before *bulk*, and bulk before
*background* calls, which use only what is left over. There are no reservations. A waiting call leaves a mark, and lower
priorities leave the next slot unused for half a spacing after it came free: the mark of a dead process delays one slot
and no more. If higher priorities use up the limit, lower ones get nothing. Of a minute's positions bulk calls leave a
tenth, so that a long job keeps no urgent call waiting, and background calls an eighth, so that a sweep finds free
positions: evenly spaced (`background_pace`), they come free at 14.6 a second of a limit of 1,000 a minute, and the 25
between an eighth and a tenth last for the rest of 130 calls at 18 a second.
"""

from math import ceil, floor
from typing import Final, Literal, get_args

import msgspec

from observer.base.units import NS_PER_S
from observer.brokers.settings import TIMEOUT_S_MAX, RateLimitSettings

ANSWER_LIMIT_NS: Final = round(TIMEOUT_S_MAX * NS_PER_S)  # no client waits longer for an answer
SLOTS_MADE_UP: Final = 1
_COURTESY: Final = 0.5  # of a spacing: how long a free slot is kept for a priority that waits
_PAUSE_DOUBLINGS_MAX: Final = 2  # a host that is well again after any time waits four penalties for the next call
_PASSES_EACH: Final = 50  # passed calls that one refusal outweighs: 2 % of refused calls are no lesson
_EVIDENCE_MAX: Final = 2 * _PASSES_EACH
_MORE: Final = 2  # a trial adds one in so many of the learned calls
_LESS: Final = 4  # a lower limit takes one in so many away
_TRIAL_WINDOWS: Final = 4
_HOLD_NS: Final = 5 * NS_PER_S
_HOLD_NS_MAX: Final = 30 * NS_PER_S
_FORGOTTEN_NS: Final = 3600 * NS_PER_S
_LEAVES: Final = {"bulk": 10, "background": 8}  # one in so many positions of the windows behind the first
_CHECK: Final = 0.125  # of a spacing: interval of checks for the answer of a long unanswered call

Outcome = Literal["passed", "refused", "unknown"]
"""What a call says of the limit: it passed, it was one too many, or neither (no answer came)."""

Priority = Literal["urgent", "normal", "bulk", "background"]
_ORDER: Final[tuple[Priority, ...]] = get_args(Priority)


class Window(msgspec.Struct, frozen=True):
    """The greatest number of calls in any span of this length."""

    positions: int
    length_ns: int


class Limits(msgspec.Struct, frozen=True):
    """A broker's limits for one account; `calls_per_second` is the highest pace within the windows."""

    calls_per_second: float
    penalty_ns: int
    windows: tuple[Window, ...]

    @property
    def horizon_ns(self) -> int:
        """The furthest time ahead in a valid state; a later one stems from another clock."""
        longest_ns = max(window.length_ns for window in self.windows)
        slowest_ns = _spacing_ns(self.calls_per_second / self.windows[0].positions)  # at a learned limit of one
        return longest_ns + ANSWER_LIMIT_NS + (self.penalty_ns << _PAUSE_DOUBLINGS_MAX) + 2 * slowest_ns

    def lasting_per_second(self, priority: Priority) -> float:
        """Calls a second that the windows leave to this priority for hours."""
        first, *others = self.windows
        rates = (_most_of(window, priority) * NS_PER_S / window.length_ns for window in others)
        return min(self.calls_per_second, first.positions * NS_PER_S / first.length_ns, *rates)


class LimiterState(msgspec.Struct, frozen=True):
    """The state that the processes share; moments in ns of market time.

    `next_ns` is the next slot of the pace; no call starts before `paused_ns`. `refused_ns` is when the last refusal
    that was no echo became known, `failures` how many such came since a call passed, the first at `failed_ns`.
    `evidence` is what refusals say against the limit in force, in calls that pass; below zero, what passed calls say
    for the trial of a higher one. `urgent_ns`, `normal_ns` and `bulk_ns` are until when a slot is kept
    for a call of that priority. `awaited_ns` is the latest moment at which a waiting call asks again: a slot up to it
    is not unused. `learned` calls of the first window are the most (all its positions: nothing was learned), confirmed
    at `learned_ns` and believed for `hold_ns`.

    For each position of the first window `passed_ns` is when the last call that held it was known to have passed;
    `held_ns` says for each window until when each position is held.
    """

    next_ns: int
    paused_ns: int
    refused_ns: int
    failed_ns: int
    failures: int
    evidence: int
    urgent_ns: int
    normal_ns: int
    bulk_ns: int
    awaited_ns: int
    learned: int
    learned_ns: int
    hold_ns: int
    passed_ns: tuple[int, ...]
    held_ns: tuple[tuple[int, ...], ...]


_MOMENTS: Final = (
    *("next_ns", "paused_ns", "refused_ns", "failed_ns", "learned_ns"),
    *("urgent_ns", "normal_ns", "bulk_ns"),
)  # of a state: those that an unused account has long behind it


class Granted(msgspec.Struct, frozen=True):
    """A call may start now, at `started_ns`. The call holds these positions, one in each window, until `after_answer`.
    `beside` other positions of the first window were held.
    """

    positions: tuple[int, ...]
    started_ns: int
    beside: int
    state: LimiterState


class Wait(msgspec.Struct, frozen=True):
    """Not now: ask again at `until_ns`."""

    until_ns: int
    state: LimiterState


def limits_of(calls_per_second: float, calls_per_minute: float | None, penalty_s: float) -> Limits:
    """The limits in whole calls: 2.5 a second are two calls in any second, 0.5 are one call in any two seconds. A limit
    a minute that the limit a second never reaches is dropped.

    Raises:
        ValueError: less than one call a minute, more than a thousand a second, or a penalty that is negative or longer
            than an hour.
    """
    RateLimitSettings(calls_per_second=calls_per_second, calls_per_minute=calls_per_minute, penalty_s=penalty_s)
    second = Window(max(1, floor(calls_per_second)), ceil(NS_PER_S / min(1.0, calls_per_second)))
    minute: tuple[Window, ...] = ()
    if calls_per_minute is not None and calls_per_minute < 60 * calls_per_second:
        minute = (Window(floor(calls_per_minute), 60 * NS_PER_S),)
    return Limits(calls_per_second, round(penalty_s * NS_PER_S), (second, *minute))


def background_pace(settings: RateLimitSettings, share: float) -> float:
    """Calls a second of a job of the lowest priority that has this share of an account's limit. Evenly spaced at this
    pace it never uses up its part of a minute's positions in less: it would then pause, and a sweep in that pause would
    find no position that comes free.
    """
    limits = limits_of(settings.calls_per_second, settings.calls_per_minute, settings.penalty_s)
    return min(share * settings.lasting_per_second, limits.lasting_per_second("background"))


def fresh(limits: Limits) -> LimiterState:
    """The state of an unused account: every position is free."""
    long_ago_ns = -limits.horizon_ns
    held_ns = tuple((long_ago_ns,) * window.positions for window in limits.windows)
    return LimiterState(
        **dict.fromkeys(_MOMENTS, long_ago_ns),
        failures=0,
        evidence=0,
        awaited_ns=long_ago_ns - 1,  # before the next slot: no call waits for it
        learned=limits.windows[0].positions,
        hold_ns=_HOLD_NS,
        passed_ns=held_ns[0],
        held_ns=held_ns,
    )


def after_loss(limits: Limits, now_ns: int) -> LimiterState:
    """The state after a loss of the file: every position counts as taken now, so that no limit is broken whatever was
    sent. The first call starts after the longest window.
    """
    held_ns = tuple((now_ns + window.length_ns + ANSWER_LIMIT_NS,) * window.positions for window in limits.windows)
    return msgspec.structs.replace(fresh(limits), held_ns=held_ns)


def is_believable(limits: Limits, state: LimiterState, now_ns: int) -> bool:
    """Whether a state fits this clock and these limits: no time in the state lies beyond the horizon."""
    moments = [getattr(state, name) for name in _MOMENTS]
    positions = limits.windows[0].positions
    return (
        1 <= state.learned <= positions
        and -_TRIAL_WINDOWS * positions < state.evidence <= _EVIDENCE_MAX
        and state.failures >= 0
        and 0 < state.hold_ns <= _HOLD_NS_MAX
        and max(*moments, state.awaited_ns, *state.passed_ns, *map(max, state.held_ns)) <= now_ns + limits.horizon_ns
    )


def decide(limits: Limits, state: LimiterState, asked_ns: int, now_ns: int, priority: Priority) -> Granted | Wait:
    """A rate-limit token, or the time of the next request for one; both with the new state.

    `asked_ns` is the time of the call's first request. A slot before it for which no call waited is lost.
    """
    spacing_ns = _spacing_ns(pace_at(limits, state, now_ns))
    first_slot_ns = state.next_ns if state.awaited_ns >= state.next_ns else max(state.next_ns, asked_ns)
    slot_ns = max(first_slot_ns, now_ns - SLOTS_MADE_UP * spacing_ns)
    check_ns = round(spacing_ns * _CHECK)
    free_ns = max(slot_ns, state.paused_ns, *_positions_free_ns(limits, state, now_ns, check_ns, priority))
    ready_ns = max([free_ns, *_kept_until_ns(state, priority)])
    if ready_ns > now_ns:
        awaited = msgspec.structs.replace(state, awaited_ns=max(state.awaited_ns, ready_ns))
        return Wait(ready_ns, _marked(awaited, priority, ready_ns + round(spacing_ns * _COURTESY)))
    positions = tuple(held_ns.index(min(held_ns)) for held_ns in state.held_ns)
    held_until_ns = [now_ns + window.length_ns + ANSWER_LIMIT_NS for window in limits.windows]
    taken = tuple(map(_with_position, state.held_ns, positions, held_until_ns))
    beside = sum(until_ns > now_ns for until_ns in state.held_ns[0])
    granted = msgspec.structs.replace(state, next_ns=slot_ns + spacing_ns, held_ns=taken)
    return Granted(positions, now_ns, beside, granted)


def after_answer(limits: Limits, state: LimiterState, granted: Granted, now_ns: int, outcome: Outcome) -> LimiterState:
    """The state when a call's answer came, or will not come any more: from now on each of its positions is held for its
    window's length, and what the answer says of the limit is known.

    A position that the call does not hold any more stays as it is: its answer came so late that another call has it.
    """
    held: list[tuple[int, ...]] = []
    for window, now_held, own, position in zip(
        limits.windows, state.held_ns, granted.state.held_ns, granted.positions, strict=True
    ):
        is_own = now_held[position] == own[position]
        until_ns = min(now_ns + window.length_ns, now_held[position]) if is_own else now_held[position]
        held.append(_with_position(now_held, position, until_ns))
    freed = msgspec.structs.replace(state, held_ns=tuple(held))
    match outcome:
        case "passed":
            return _after_passing(limits, freed, granted, now_ns)
        case "refused":
            return _after_refusal(limits, freed, granted, now_ns)
    return freed


def _after_passing(limits: Limits, state: LimiterState, granted: Granted, now_ns: int) -> LimiterState:
    """Return the state after a call passed: an overload ends, refusals weigh less, and a trial counts one more call in
    its favour.
    """
    learned, most = learned_at(limits, state, now_ns), most_at(limits, state, now_ns)
    evidence = state.evidence
    if most > learned <= granted.beside:
        evidence = min(evidence, 0) - 1
    elif evidence > 0:
        evidence -= 1
    is_admitted = evidence <= -_TRIAL_WINDOWS * most
    return msgspec.structs.replace(
        state,
        failures=0 if granted.started_ns > state.failed_ns else state.failures,
        evidence=0 if is_admitted else evidence,
        learned=most if is_admitted else state.learned,
        passed_ns=_with_position(state.passed_ns, granted.positions[0], now_ns),
    )


def _after_refusal(limits: Limits, state: LimiterState, granted: Granted, now_ns: int) -> LimiterState:
    """The state after the broker said "too many"; unchanged for an echo."""
    if granted.started_ns <= state.refused_ns:
        return state
    failures = state.failures + 1
    pause_ns = limits.penalty_ns << min(failures - 2, _PAUSE_DOUBLINGS_MAX) if failures > 1 else 0
    state = msgspec.structs.replace(
        state, refused_ns=now_ns, failures=failures, paused_ns=max(state.paused_ns, now_ns + pause_ns)
    )
    if failures > 1:
        return state
    state = msgspec.structs.replace(state, failed_ns=now_ns)
    learned = learned_at(limits, state, now_ns)
    if learned < most_at(limits, state, now_ns):
        return _with_learned(limits, state, learned, now_ns)
    evidence = max(0, state.evidence) + _PASSES_EACH
    if evidence <= _EVIDENCE_MAX:
        return msgspec.structs.replace(state, evidence=evidence)
    passed = sum(now_ns - moment_ns < limits.windows[0].length_ns for moment_ns in state.passed_ns)
    is_near = learned < limits.windows[0].positions and 2 * (passed + 1) >= learned
    taught = learned - max(1, learned // _LESS) if is_near else min(passed, learned - 1)
    lower = _with_learned(limits, state, max(1, taught), now_ns)  # perhaps not low enough: two more refusals correct it
    return msgspec.structs.replace(lower, evidence=_PASSES_EACH)


def _with_learned(limits: Limits, state: LimiterState, learned: int, now_ns: int) -> LimiterState:
    """Return the state with the limit that refusals taught.

    A limit of at least half of the one in force confirms or corrects it, and holds twice as long. A lower one is new,
    and holds for the first time again.
    """
    known = learned_at(limits, state, now_ns)
    is_again = known < limits.windows[0].positions and 2 * learned >= known
    hold_ns = min(2 * state.hold_ns, _HOLD_NS_MAX) if is_again else _HOLD_NS
    return msgspec.structs.replace(state, evidence=0, learned=learned, learned_ns=now_ns, hold_ns=hold_ns)


def learned_at(limits: Limits, state: LimiterState, now_ns: int) -> int:
    """The limit that refusals taught, in calls of the first window: all of its positions when they taught none."""
    is_forgotten = now_ns - state.learned_ns >= _FORGOTTEN_NS
    return limits.windows[0].positions if is_forgotten else state.learned


def most_at(limits: Limits, state: LimiterState, now_ns: int) -> int:
    """The most calls of the first window at a moment: what was learned, and half as many more when that is tried."""
    learned = learned_at(limits, state, now_ns)
    is_to_try = now_ns - state.learned_ns >= state.hold_ns
    return min(limits.windows[0].positions, learned + is_to_try * max(1, learned // _MORE))


def pace_at(limits: Limits, state: LimiterState, now_ns: int) -> float:
    return limits.calls_per_second * most_at(limits, state, now_ns) / limits.windows[0].positions


def _spacing_ns(pace: float) -> int:
    return ceil(NS_PER_S / pace)


def _positions_free_ns(
    limits: Limits, state: LimiterState, now_ns: int, check_ns: int, priority: Priority
) -> list[int]:
    """Return the time of the next check for a free position in each window.

    A position that is held beyond one window from now belongs to an unanswered call. It comes free a window's length
    after its start at the earliest; from then on the check is repeated.
    """
    moments: list[int] = []
    most = most_at(limits, state, now_ns)
    for window, held_ns in zip(limits.windows, state.held_ns, strict=True):
        first_ns = min(held_ns) if most == window.positions else sorted(held_ns)[-most]
        most = _most_of(limits.windows[-1], priority)
        is_unanswered = first_ns > now_ns + window.length_ns
        moments.append(max(first_ns - ANSWER_LIMIT_NS, now_ns + check_ns) if is_unanswered else first_ns)
    return moments


def _most_of(window: Window, priority: Priority) -> int:
    """How many positions of a window after the first one calls of this priority may use."""
    leaves = _LEAVES.get(priority)
    return window.positions - window.positions // leaves if leaves else window.positions


def _kept_until_ns(state: LimiterState, priority: Priority) -> tuple[int, ...]:
    """For each higher priority, the time until which the next slot is kept for it."""
    marks_ns = (state.urgent_ns, state.normal_ns, state.bulk_ns)
    return marks_ns[: _ORDER.index(priority)]


def _marked(state: LimiterState, priority: Priority, until_ns: int) -> LimiterState:
    """The state with the mark of a waiting call of this priority; background calls leave none."""
    return state if priority == "background" else msgspec.structs.replace(state, **{f"{priority}_ns": until_ns})


def _with_position(held_ns: tuple[int, ...], position: int, until_ns: int) -> tuple[int, ...]:
    return (*held_ns[:position], until_ns, *held_ns[position + 1 :])
