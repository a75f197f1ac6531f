"""One account's limiter in virtual time, with a broker that is a log of arrivals."""

import heapq
import itertools
from collections import deque

from observer.brokers.accounts.limiter import Wait, after_answer, decide, fresh, is_believable, limits_of

SECOND_NS = 10**9
MS = 10**6
NOW_NS = 1_800_000_000 * SECOND_NS
PRIORITIES = ("urgent", "normal", "bulk", "background")
RATE = 20
SPACING_NS = SECOND_NS // RATE


class Account:
    """Simulates calls in virtual time: request, start, arrival, answer; a delayed call asks again at the given time.

    `calls` are (priority, pause since the call before, start to arrival, arrival to answer) in ns; `late_ns` is how
    late each one wakes. All of them ask at once, as though each had a process of its own; in one process (`in_turn`) a
    call asks when the one before it in its priority has started. `outcomes` are those of the answers, in their order.
    """

    def __init__(self, limits, calls, late_ns=None, *, in_turn=False, outcomes=("passed",)):
        self.limits = limits
        self.state = fresh(limits)
        self.started = {priority: [] for priority in PRIORITIES}
        self.arrived = []
        self._late_ns = late_ns or itertools.repeat(0)
        self._in_turn = in_turn
        self._outcomes = itertools.cycle(outcomes)
        self._waiting = {priority: deque() for priority in PRIORITIES}
        self._events = []
        self._numbers = itertools.count()
        now_ns = NOW_NS
        for priority, pause_ns, way_ns, answer_ns in calls:
            now_ns += pause_ns
            self._at(now_ns, self._come, priority, way_ns, answer_ns)

    def run(self, until_ns=None):
        while self._events and (until_ns is None or self._events[0][0] <= until_ns):
            now_ns, _, step, words = heapq.heappop(self._events)
            step(now_ns, *words)
        return self

    def _at(self, moment_ns, step, *words):
        heapq.heappush(self._events, (moment_ns, next(self._numbers), step, words))

    def _come(self, now_ns, priority, way_ns, answer_ns):
        self._waiting[priority].append((way_ns, answer_ns))
        if not self._in_turn or len(self._waiting[priority]) == 1:
            self._ask(now_ns, now_ns, priority)

    def _ask(self, now_ns, asked_ns, priority):
        decision = decide(self.limits, self.state, asked_ns, now_ns, priority)
        self.state = decision.state
        assert is_believable(self.limits, self.state, now_ns)
        if isinstance(decision, Wait):
            assert decision.until_ns > now_ns
            self._at(decision.until_ns + next(self._late_ns), self._ask, asked_ns, priority)
            return
        way_ns, answer_ns = self._waiting[priority].popleft()
        self.started[priority].append(now_ns)
        self.arrived.append(now_ns + way_ns)
        if answer_ns is not None:
            self._at(now_ns + way_ns + answer_ns, self._answered, decision)
        if self._in_turn and self._waiting[priority]:
            self._at(now_ns, self._ask, now_ns, priority)

    def _answered(self, now_ns, granted):
        self.state = after_answer(self.limits, self.state, granted, now_ns, next(self._outcomes))


class RefusingHost(Account):
    """An account at a host that admits `most` calls in any second and refuses the others; a refused call asks again.
    Admitted calls are in `arrived`, the moments of refusals in `refused`.
    """

    def __init__(self, limits, calls, most, **options):
        super().__init__(limits, calls, **options)
        self.refused = []
        self._most = most

    def _ask(self, now_ns, asked_ns, priority):
        decision = decide(self.limits, self.state, asked_ns, now_ns, priority)
        self.state = decision.state
        if isinstance(decision, Wait):
            self._at(decision.until_ns + next(self._late_ns), self._ask, asked_ns, priority)
            return
        way_ns, answer_ns = self._waiting[priority].popleft()
        self.started[priority].append(now_ns)
        self._at(now_ns + way_ns, self._arrive, priority, decision, way_ns, answer_ns)
        if self._in_turn and self._waiting[priority]:
            self._at(now_ns, self._ask, now_ns, priority)

    def _arrive(self, now_ns, priority, granted, way_ns, answer_ns):
        if sum(now_ns - moment_ns < SECOND_NS for moment_ns in self.arrived[-self._most :]) < self._most:
            self.arrived.append(now_ns)
            self._at(now_ns + answer_ns, self._answered, granted)
        else:
            self._at(now_ns + answer_ns, self._refuse, priority, granted, way_ns, answer_ns)

    def _refuse(self, now_ns, priority, granted, way_ns, answer_ns):
        self.refused.append(now_ns)
        self.state = after_answer(self.limits, self.state, granted, now_ns, "refused")
        self._waiting[priority].append((way_ns, answer_ns))
        if not self._in_turn or len(self._waiting[priority]) == 1:
            self._ask(now_ns, now_ns, priority)


def limits(per_second=20.0, per_minute=None, penalty_s=1.0):
    return limits_of(per_second, per_minute, penalty_s)


def saturating(priorities, count, way_ns=0, answer_ns=5 * MS):
    return [(priority, 0, way_ns, answer_ns) for _ in range(count) for priority in priorities]


def bulk_beside(urgent_per_s, normal_per_s, late_ns, answer_ns, span_s):
    """Calls of each priority that start in the span: urgent and normal ones at their rates, bulk ones always
    waiting.
    """
    asked = [("urgent", n * SECOND_NS // urgent_per_s) for n in range(span_s * urgent_per_s)]
    asked += [("normal", n * SECOND_NS // normal_per_s + 7 * MS) for n in range(span_s * normal_per_s)]
    asked += [("bulk", 0)] * 2 * RATE * span_s
    asked.sort(key=lambda each: each[1])
    pauses = [later[1] - earlier[1] for earlier, later in itertools.pairwise([asked[0], *asked])]
    calls = [(priority, pause, 0, answer_ns) for (priority, _), pause in zip(asked, pauses, strict=True)]
    account = Account(limits(float(RATE)), calls, itertools.cycle(late_ns), in_turn=True)
    account.run(NOW_NS + span_s * SECOND_NS)
    return {priority: len(started) for priority, started in account.started.items()}


def calls_that_positions_allow(answer_ns, late_ns, span_s):
    """The arithmetic bound: a position is held for a second and the answer time, and is taken so much later."""
    return RATE * span_s * SECOND_NS / (SECOND_NS + answer_ns + late_ns)
