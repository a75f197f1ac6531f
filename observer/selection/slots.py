"""Who gets a place, and why. Requirement 004, Slot Management.

`allocate` is a function from a state and candidates to a new state and the decisions that lead to it; the order in
which candidates are given does not matter.

Symbols rank as `observer.selection.ranking` says.

Who is triggered and finds no place, or loses it to somebody, waits while the trigger lives, and is a candidate again at
every allocation: a place that becomes free between two sweeps is its, not the next filler's (requirement 004, Trigger
Expiration: an expiry evaluates the places anew).

An account that is *closed* (its stream is down, its keys are refused) gives nobody a new place. Its symbols move, most
important first, to places elsewhere: free ones, or those of somebody whom they outrank. Who finds none keeps the closed
place, and is tried again; who moved goes home when the account opens and its old place is free (requirement 004,
Provider Pool: failover). Where every account is closed none is: places are given as ever, for when one is back.
"""

from bisect import insort
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from heapq import heappop, heappush
from itertools import chain
from typing import Literal

from observer.selection.churn import is_rapid, lengthened
from observer.selection.places import (
    NOBODY,
    Assign,
    AssignReason,
    Decision,
    DropReason,
    Overflow,
    OverflowReason,
    Place,
    Release,
    ReleaseReason,
    SlotState,
)
from observer.selection.ranking import FILLER, PINNED, Order, one_each, order, outranks
from observer.selection.ranking import tier as tier_of
from observer.selection.settings import SlotSettings
from observer.selection.triggers import Candidate


def allocate(
    state: SlotState,
    candidates: Iterable[Candidate],
    now_ns: int,
    settings: SlotSettings,
    dropped: Mapping[str, DropReason] = {},
    closed: AbstractSet[str] = NOBODY,
) -> tuple[SlotState, tuple[Decision, ...]]:
    """The state after the candidates had their say, and the decisions in the order in which they are to be carried out.

    Releases what expired and who is `dropped`, renews who is a candidate again in its place, moves who is in an account
    that is `closed` and brings home who was, then seats the newcomers: in free places first, then in place of the
    lowest, if it is outscored by more than the threshold. A pinned symbol needs no score to replace one that is not.
    Who fills by market capitalisation yields to every trigger, replaces none, and never overflows.

    While replacements follow each other rapidly the threshold is higher and lives are longer (requirement 004, Rapid
    Symbol Churn).
    """
    rapid = is_rapid(state.churn, now_ns, settings)
    admissible = [
        item
        for item in candidates
        if (item.expires_ns is None or item.expires_ns > now_ns) and item.symbol not in dropped
    ]
    fresh = [lengthened(item, now_ns, settings) for item in admissible] if rapid else admissible
    waiting = _still_waiting(state, fresh, now_ns, dropped)
    wanted = one_each(chain(fresh, waiting.values()))
    threshold = settings.churn_threshold if rapid else settings.replacement_threshold
    seating = _Seating(state, waiting, now_ns, threshold, closed)
    seating.review(wanted, dropped)
    seating.bring_home()
    seating.evacuate()
    seated = state.symbols
    seating.seat([candidate for symbol, candidate in wanted.items() if symbol not in seated])
    return seating.state(settings), tuple(seating.decisions)


def unpin(state: SlotState, symbol: str, settings: SlotSettings, now_ns: int) -> tuple[SlotState, tuple[Decision, ...]]:
    """A person takes back the wish for a symbol: its place is free. A trigger that holds may win it again."""
    seating = _Seating(state, dict(state.waiting), now_ns, threshold=1.0, closed=NOBODY)
    for index, place in enumerate(state.places):
        if place.candidate is not None and place.candidate.symbol == symbol and place.candidate.kind == PINNED:
            seating.release(index, place.candidate, "unpinned")
    if (waiting := state.waiting.get(symbol)) is not None and waiting.kind == PINNED:
        seating.forget(symbol)
    return seating.state(settings), tuple(seating.decisions)


def refusal(state: SlotState, candidate: Candidate, reason: OverflowReason) -> Overflow:
    """That the candidate is given no place; the lowest score is 0 where nobody can be replaced."""
    held = (place.candidate for place in state.places if place.candidate is not None)
    return Overflow(candidate, min((each.score for each in held if each.kind != PINNED), default=0.0), reason)


class _Seating:
    """One allocation under way: the places being changed, and the decisions so far."""

    def __init__(
        self,
        state: SlotState,
        waiting: dict[str, Candidate],
        now_ns: int,
        threshold: float,
        closed: AbstractSet[str],
    ) -> None:
        self._before = state
        self._places = list(state.places)
        self._account_of = [place.account for place in state.places]
        self._accounts = tuple(dict.fromkeys(self._account_of))
        shut = closed if not closed >= set(self._accounts) else NOBODY
        self._is_open = [account not in shut for account in self._account_of]
        self._turn = state.turn
        # Free places that are open, the first one on top; some may have been taken since.
        self._free_by_account: dict[str, list[int]] = {account: [] for account in self._accounts}
        for index, place in enumerate(state.places):
            if place.candidate is None and self._is_open[index]:
                self._free_by_account[self._account_of[index]].append(index)
        # Who can be replaced, the lowest last; some may have left since. Made when it is first needed.
        self._by_rank: list[tuple[Order, int, Candidate]] | None = None
        self._waiting = waiting
        told = ((symbol, state.waiting[symbol].expires_ns) for symbol in state.overflowed)
        self._overflowed = {symbol for symbol, end_ns in told if end_ns is None or end_ns > now_ns}
        self._now_ns = now_ns
        self._threshold = threshold
        self.decisions: list[Decision] = []

    def state(self, settings: SlotSettings) -> SlotState:
        """The state as it is now."""
        replaced = sum(isinstance(item, Assign) and item.reason == "outranks" for item in self.decisions)
        churn = self._before.churn.after(replaced, self._now_ns, settings)
        places, overflowed = tuple(self._places), frozenset(self._overflowed)
        return SlotState(places, self._before.strategy, self._waiting, overflowed, self._turn, churn)

    def review(self, wanted: Mapping[str, Candidate], dropped: Mapping[str, DropReason]) -> None:
        """Let those go who must, and renew the others."""
        for symbol in dropped:
            self.forget(symbol)
        for index, place in enumerate(self._places):
            held = place.candidate
            if held is None:
                continue
            if held.symbol in dropped:
                self.release(index, held, dropped[held.symbol])
                continue
            renewed = _renewed(held, wanted.get(held.symbol), self._now_ns)
            if renewed is None:
                self.release(index, held, "expired")
                continue
            if renewed is held:
                continue
            self._places[index] = Place(place.slot, renewed, place.home)
            if renewed.kind != held.kind:
                self.decisions.append(Assign(place.slot, renewed, None, "kept"))

    def bring_home(self) -> None:
        """Back to the places that their accounts could not keep open, most important first."""
        away = [(place.candidate, place) for place in self._places if place.candidate is not None and place.home]
        for candidate, place in sorted(away, key=lambda item: order(item[0])):
            home = next((index for index, other in enumerate(self._places) if other.slot == place.home), None)
            if home is not None and self._is_open[home] and self._places[home].candidate is None:
                self._move(candidate, self._index_of(candidate.symbol), home, "moved_home", None)

    def evacuate(self) -> None:
        """Out of the accounts that are closed, most important first, as far as there is room elsewhere."""
        stranded = [
            (place.candidate, place)
            for index, place in enumerate(self._places)
            if place.candidate is not None and not self._is_open[index]
        ]
        for candidate, place in sorted(stranded, key=lambda item: order(item[0])):
            goal = self._free()
            if goal is None:
                weakest = self._weakest()
                if weakest is None or not outranks(candidate, weakest[1], self._threshold):
                    continue
                goal = weakest[0]
            self._move(candidate, self._index_of(candidate.symbol), goal, "moved", place.home or place.slot)

    def release(self, index: int, held: Candidate, reason: ReleaseReason) -> None:
        """Free a place."""
        slot = self._places[index].slot
        self._places[index] = Place(slot)
        if self._is_open[index]:
            heappush(self._free_by_account[self._account_of[index]], index)
        self.decisions.append(Release(slot, held.symbol, held.score, reason))

    def forget(self, symbol: str) -> None:
        """The symbol waits no longer; should it overflow again, that is news."""
        self._waiting.pop(symbol, None)
        self._overflowed.discard(symbol)

    def seat(self, newcomers: Sequence[Candidate]) -> None:
        """Give each newcomer a place, or say that there is none; the most important is first.

        Where one gets no place, those behind it in its tier get none either, which is most of a sweep's candidates.
        """
        refused_tier: int | None = None
        for candidate in newcomers:
            tier = tier_of(candidate)
            if tier == refused_tier:
                self._refuse(candidate)
            elif (free := self._free()) is not None:
                self._assign(free, candidate, "pinned" if candidate.kind == PINNED else "free_place")
            elif (weakest := self._weakest()) and outranks(candidate, weakest[1], self._threshold):
                self._assign(weakest[0], candidate, "pinned" if candidate.kind == PINNED else "outranks")
            else:
                refused_tier = tier
                self._refuse(candidate)

    def _index_of(self, symbol: str) -> int:
        return next(
            index for index, place in enumerate(self._places) if place.candidate and place.candidate.symbol == symbol
        )

    def _free(self) -> int | None:
        """The next free place: of the account whose turn it is, or, by priority, of the first that has one."""
        count = len(self._accounts)
        first = self._turn if self._before.strategy == "round_robin" else 0
        for number in range(first, first + count):
            account = self._accounts[number % count]
            free = self._free_by_account[account]
            while free and self._places[free[0]].candidate is not None:
                heappop(free)
            if free:
                self._turn = (number + 1) % count
                return free[0]
        return None

    def _weakest(self) -> tuple[int, Candidate] | None:
        """The lowest of those who can be replaced."""
        if self._by_rank is None:
            held = ((place.candidate, index) for index, place in enumerate(self._places) if self._is_open[index])
            self._by_rank = sorted(
                (order(candidate), index, candidate)
                for candidate, index in held
                if candidate is not None and candidate.kind != PINNED
            )
        while self._by_rank:
            _, index, candidate = self._by_rank[-1]
            if self._places[index].candidate is candidate:
                return index, candidate
            self._by_rank.pop()
        return None

    def _assign(self, index: int, candidate: Candidate, reason: AssignReason, home: str | None = None) -> None:
        place = self._places[index]
        replaced = None
        if place.candidate is not None:
            replaced = place.candidate.symbol
            if place.candidate.kind != FILLER:
                self._waiting[replaced] = place.candidate
        self._places[index] = Place(place.slot, candidate, home)
        if self._by_rank is not None and candidate.kind != PINNED:
            insort(self._by_rank, (order(candidate), index, candidate))
        self.forget(candidate.symbol)
        self.decisions.append(Assign(place.slot, candidate, replaced, reason))

    def _move(
        self, candidate: Candidate, start: int, goal: int, reason: Literal["moved", "moved_home"], home: str | None
    ) -> None:
        self.release(start, candidate, reason)
        self._assign(goal, candidate, reason, home)

    def _refuse(self, candidate: Candidate) -> None:
        """There is no place for it, which is told once; who only fills has no claim to one."""
        if candidate.kind == FILLER:
            return
        if candidate.symbol not in self._overflowed:
            self.decisions.append(self._refusal(candidate))
            self._overflowed.add(candidate.symbol)
        self._waiting[candidate.symbol] = candidate

    def _refusal(self, candidate: Candidate) -> Overflow:
        """Why there is no place: measured at the lowest of those who can be replaced, if there is one."""
        weakest = self._weakest()
        if weakest is None:
            return Overflow(candidate, 0.0, "all_places_pinned")
        lowest = weakest[1].score
        above = candidate.score > lowest
        return Overflow(candidate, lowest, "not_above_threshold" if above else "all_places_hold_higher_scores")


def _still_waiting(
    state: SlotState, fresh: Iterable[Candidate], now_ns: int, dropped: Mapping[str, DropReason]
) -> dict[str, Candidate]:
    """Who waited, as long as the trigger lives; a condition that holds now speaks for itself."""
    waiting = dict(state.waiting)
    for item in fresh:
        before = waiting.get(item.symbol)
        if before is not None and before.kind == item.kind:
            del waiting[item.symbol]
    return {symbol: item for symbol, item in waiting.items() if item.alive(now_ns) and symbol not in dropped}


def _renewed(held: Candidate, fresh: Candidate | None, now_ns: int) -> Candidate | None:
    """Why a symbol keeps its place from now on; None when nothing holds it any more.

    The same condition takes its new score and life. Another one takes over when it ranks higher or the old one is over.
    """
    if fresh is None:
        return held if held.alive(now_ns) else None
    if fresh.kind == held.kind or not held.alive(now_ns):
        return fresh
    return min(held, fresh, key=order)
