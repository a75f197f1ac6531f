"""Allocates slots to candidates. See docs/requirement.md.

`allocate` is a function from a state and candidates to a new state and its decisions; the order of the candidates does
not matter.

`observer.selection.ranking` defines the rank of symbols.

A triggered symbol that finds no slot, or is replaced, waits while its trigger lives, and is a candidate again at every
allocation: it precedes the next filler for a slot that becomes free between two sweeps, as an expiry evaluates the
slots anew.

An account that is *closed* (its stream is down, its keys are refused) assigns no new slots. Its symbols move by rank to
slots of other accounts: free ones, or those of symbols that they outrank. A symbol that finds none keeps the closed
slot, and is tried again; a moved symbol returns when its account opens and its old slot is free.
If every account is closed, all count as open: slots are assigned as usual, for the time after
the outage.

Fillers leave `SlotState.left_free` slots free, whose subscriptions watch the markets. A trigger replaces fillers first;
when no filler holds a slot, it takes these, too, and gives one back when the next trigger is over.
"""

from bisect import insort
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from heapq import heappop, heappush
from itertools import chain
from typing import Literal

import msgspec

from bus.events import AssignReason, DropReason, OverflowReason, ReleaseReason
from observer.selection.ranking import (
    CONTEXT,
    FILLER,
    PINNED,
    WITHOUT_CLAIM,
    Order,
    is_churn,
    one_each,
    order,
    outranks,
)
from observer.selection.ranking import tier as tier_of
from observer.selection.settings import SlotSettings
from observer.selection.slots import (
    NO_SYMBOLS,
    Assign,
    Decision,
    Extend,
    Overflow,
    Release,
    Slot,
    SlotState,
    is_rapid,
    lengthened,
)
from observer.selection.triggers import Candidate, aged


def allocate(
    state: SlotState,
    candidates: Iterable[Candidate],
    now_ns: int,
    settings: SlotSettings,
    dropped: Mapping[str, DropReason] = {},
    closed: AbstractSet[str] = NO_SYMBOLS,
) -> tuple[SlotState, tuple[Decision, ...]]:
    """The state after allocation to the candidates, and the decisions in the order of their execution.

    Releases expired and `dropped` symbols, renews candidates in their slots, moves symbols out of `closed` accounts and
    back into opened ones, then seats the newcomers: in free slots first, then in place of the lowest holder, if they
    outscore it by more than the threshold. A pinned symbol needs no score to replace an unpinned one. A filler by
    market capitalisation yields to every trigger, replaces none, and never overflows.

    During rapid replacements the threshold is higher and lives are longer.
    """
    rapid = is_rapid(state, now_ns, settings)
    half_life_s = settings.score_half_life_seconds
    admissible = [
        item if item.evidence_ns is None or item.evidence_ns >= now_ns else aged(item, now_ns, half_life_s)
        for item in candidates
        if (item.expires_ns is None or item.expires_ns > now_ns) and item.symbol not in dropped
    ]
    fresh = [lengthened(item, now_ns, settings) for item in admissible] if rapid else admissible
    waiting = _still_waiting(state, fresh, now_ns, dropped, half_life_s)
    wanted = one_each(chain(fresh, waiting.values()))
    threshold = settings.churn_threshold if rapid else settings.replacement_threshold
    seating = _Seating(state, waiting, now_ns, threshold, closed)
    seating.review(wanted, dropped, half_life_s)
    seating.bring_home()
    seating.evacuate()
    seated = state.symbols
    seating.seat([candidate for symbol, candidate in wanted.items() if symbol not in seated])
    seating.give_back()
    return seating.state(settings), tuple(seating.decisions)


def unpin(state: SlotState, symbol: str, settings: SlotSettings, now_ns: int) -> tuple[SlotState, tuple[Decision, ...]]:
    """Remove a symbol's pin and free its slot. A trigger that holds may win the slot again."""
    seating = _Seating(state, dict(state.waiting), now_ns, threshold=1.0, closed=NO_SYMBOLS)
    for index, slot in enumerate(state.slots):
        if slot.candidate is not None and slot.candidate.symbol == symbol and slot.candidate.kind == PINNED:
            seating.release(index, slot.candidate, "unpinned")
    if (waiting := state.waiting.get(symbol)) is not None and waiting.kind == PINNED:
        seating.forget(symbol)
    return seating.state(settings), tuple(seating.decisions)


def refusal(state: SlotState, candidate: Candidate, reason: OverflowReason) -> Overflow:
    """The overflow of a candidate without a slot; the lowest score is 0 if no holder can be replaced."""
    held = (slot.candidate for slot in state.slots if slot.candidate is not None)
    return Overflow(candidate, min((each.score for each in held if each.kind != PINNED), default=0.0), reason)


class _Seating:
    """One allocation in progress: the slots being changed, and the decisions so far."""

    def __init__(
        self,
        state: SlotState,
        waiting: dict[str, Candidate],
        now_ns: int,
        threshold: float,
        closed: AbstractSet[str],
    ) -> None:
        self._before = state
        self._slots = list(state.slots)
        self._account_of = [slot.account for slot in state.slots]
        self._accounts = tuple(dict.fromkeys(self._account_of))
        shut = closed if not closed >= set(self._accounts) else NO_SYMBOLS
        self._is_open = [account not in shut for account in self._account_of]
        self._turn = state.turn
        # Free slots that are open, the first one on top; entries may be outdated.
        self._free_by_account: dict[str, list[int]] = {account: [] for account in self._accounts}
        for index, slot in enumerate(state.slots):
            if slot.candidate is None and self._is_open[index]:
                self._free_by_account[self._account_of[index]].append(index)
        # Replaceable holders, the lowest last; entries may be outdated. Built on first use.
        self._by_rank: list[tuple[Order, int, Candidate]] | None = None
        self._waiting = waiting
        reported = ((symbol, state.waiting[symbol].expires_ns) for symbol in state.overflowed)
        self._overflowed = {symbol for symbol, end_ns in reported if end_ns is None or end_ns > now_ns}
        self._now_ns = now_ns
        self._threshold = threshold
        self.decisions: list[Decision] = []

    def state(self, settings: SlotSettings) -> SlotState:
        """The current state."""
        replaced = sum(
            isinstance(item, Assign) and is_churn(item.reason, item.candidate.kind) for item in self.decisions
        )
        return msgspec.structs.replace(
            self._before,
            slots=tuple(self._slots),
            waiting=self._waiting,
            overflowed=frozenset(self._overflowed),
            turn=self._turn,
            churn=self._before.churn.after(replaced, self._now_ns, settings),
        )

    def review(self, wanted: Mapping[str, Candidate], dropped: Mapping[str, DropReason], half_life_s: float) -> None:
        """Release holders that must go, and renew the others, or let their scores age."""
        for symbol in dropped:
            self.forget(symbol)
        for index, slot in enumerate(self._slots):
            held = slot.candidate
            if held is None:
                continue
            if held.symbol in dropped:
                self.release(index, held, dropped[held.symbol])
                continue
            current = aged(held, self._now_ns, half_life_s)
            renewed = _renewed(current, wanted.get(held.symbol), self._now_ns)
            if renewed is None:
                self.release(index, held, "expired")
                continue
            if renewed is held:
                continue
            is_over = slot.until_ns is not None and slot.until_ns <= self._now_ns
            if is_over or renewed.kind != held.kind:
                self.decisions.append(Extend(slot.slot, renewed))
                until_ns = renewed.expires_ns
            else:
                until_ns = slot.until_ns
            self._slots[index] = Slot(slot.slot, slot.account, renewed, slot.home, until_ns)

    def bring_home(self) -> None:
        """Move symbols back to their slots in reopened accounts, by rank."""
        away = [(slot.candidate, slot) for slot in self._slots if slot.candidate is not None and slot.home]
        for candidate, slot in sorted(away, key=lambda item: order(item[0])):
            home = next((index for index, other in enumerate(self._slots) if other.slot == slot.home), None)
            if home is not None and self._is_open[home] and self._slots[home].candidate is None:
                self._move(candidate, self._index_of(candidate.symbol), home, "moved_home", None)

    def evacuate(self) -> None:
        """Move symbols out of closed accounts, by rank, while other accounts have room."""
        stranded = [
            (slot.candidate, slot)
            for index, slot in enumerate(self._slots)
            if slot.candidate is not None and not self._is_open[index]
        ]
        for candidate, slot in sorted(stranded, key=lambda item: order(item[0])):
            if (goal := self._goal(candidate)) is not None:
                self._move(candidate, self._index_of(candidate.symbol), goal, "moved", slot.home or slot.slot)

    def release(self, index: int, held: Candidate, reason: ReleaseReason) -> None:
        """Free a slot."""
        entry = self._slots[index]
        slot = entry.slot
        self._slots[index] = Slot(slot, entry.account)
        if self._is_open[index]:
            heappush(self._free_by_account[self._account_of[index]], index)
        self.decisions.append(Release(slot, held.symbol, held.score, reason))

    def forget(self, symbol: str) -> None:
        """Remove the symbol from the waiting ones; its next overflow is reported again."""
        self._waiting.pop(symbol, None)
        self._overflowed.discard(symbol)

    def seat(self, newcomers: Sequence[Candidate]) -> None:
        """Assign each newcomer a slot or refuse it, by rank.

        After a refusal, all later newcomers of the same tier are refused too, which are most of a sweep's candidates.
        """
        refused_tier: int | None = None
        for candidate in newcomers:
            tier = tier_of(candidate)
            if tier == refused_tier:
                self._refuse(candidate)
            elif (goal := self._goal(candidate)) is not None:
                by_rank: AssignReason = "free_slot" if self._slots[goal].candidate is None else "outranks"
                self._assign(goal, candidate, "pinned" if candidate.kind == PINNED else by_rank)
            else:
                refused_tier = tier
                self._refuse(candidate)

    def give_back(self) -> None:
        """Release the lowest fillers until as many slots are free as fillers leave free."""
        while self._room() < self._before.left_free and (weakest := self._weakest()) and weakest[1].kind == FILLER:
            self.release(*weakest, "expired")

    def _room(self) -> int:
        """The number of free slots of open accounts."""
        return sum(slot.candidate is None for slot, is_open in zip(self._slots, self._is_open, strict=True) if is_open)

    def _goal(self, candidate: Candidate) -> int | None:
        """The slot for a candidate: a free one, else that of the lowest holder, if it outranks that one. Only a claim
        takes a slot that is left free, and replaces fillers first.
        """
        room, left_free = self._room(), self._before.left_free
        if room <= left_free and (weakest := self._weakest()):
            is_in_question = room == 0 or weakest[1].kind == FILLER
            if is_in_question and outranks(candidate, weakest[1], self._threshold):
                return weakest[0]
        return self._free() if room > left_free or candidate.kind != FILLER else None

    def _index_of(self, symbol: str) -> int:
        return next(
            index for index, slot in enumerate(self._slots) if slot.candidate and slot.candidate.symbol == symbol
        )

    def _free(self) -> int | None:
        """The next free slot: of the next account in turn, or, by priority, of the first account that has one."""
        count = len(self._accounts)
        first = self._turn if self._before.strategy == "round_robin" else 0
        for number in range(first, first + count):
            account = self._accounts[number % count]
            free = self._free_by_account[account]
            while free and self._slots[free[0]].candidate is not None:
                heappop(free)
            if free:
                self._turn = (number + 1) % count
                return free[0]
        return None

    def _weakest(self) -> tuple[int, Candidate] | None:
        """The lowest replaceable holder."""
        if self._by_rank is None:
            held = ((slot.candidate, index) for index, slot in enumerate(self._slots) if self._is_open[index])
            self._by_rank = sorted(
                (order(candidate), index, candidate)
                for candidate, index in held
                if candidate is not None and candidate.kind != PINNED
            )
        while self._by_rank:
            _, index, candidate = self._by_rank[-1]
            if self._slots[index].candidate is candidate:
                return index, candidate
            self._by_rank.pop()
        return None

    def _assign(self, index: int, candidate: Candidate, reason: AssignReason, home: str | None = None) -> None:
        slot = self._slots[index]
        replaced = None
        if (held := slot.candidate) is not None:
            replaced = held.symbol
            self.decisions.append(Release(slot.slot, replaced, held.score, "replaced", candidate.symbol))
            if held.kind not in WITHOUT_CLAIM:
                self._waiting[replaced] = held
        self._slots[index] = Slot(slot.slot, slot.account, candidate, home, candidate.expires_ns)
        if self._by_rank is not None and candidate.kind != PINNED:
            insort(self._by_rank, (order(candidate), index, candidate))
        self.forget(candidate.symbol)
        self.decisions.append(Assign(slot.slot, candidate, replaced, reason))

    def _move(
        self, candidate: Candidate, start: int, goal: int, reason: Literal["moved", "moved_home"], home: str | None
    ) -> None:
        self.release(start, candidate, reason)
        self._assign(goal, candidate, reason, home)

    def _refuse(self, candidate: Candidate) -> None:
        """Refuse a slot and report that once; a symbol that fills a slot has no claim to one."""
        if candidate.kind in WITHOUT_CLAIM:
            return
        if candidate.symbol not in self._overflowed:
            self.decisions.append(self._refusal(candidate))
            self._overflowed.add(candidate.symbol)
        self._waiting[candidate.symbol] = candidate

    def _refusal(self, candidate: Candidate) -> Overflow:
        """Why there is no slot, compared with the lowest replaceable holder, if any."""
        weakest = self._weakest()
        if weakest is None:
            return Overflow(candidate, 0.0, "all_slots_pinned")
        lowest = weakest[1].score
        above = candidate.score > lowest
        return Overflow(candidate, lowest, "not_above_threshold" if above else "all_slots_hold_higher_scores")


def _still_waiting(
    state: SlotState, fresh: Iterable[Candidate], now_ns: int, dropped: Mapping[str, DropReason], half_life_s: float
) -> dict[str, Candidate]:
    """The waiting candidates whose triggers live; a condition that holds now replaces the old entry."""
    waiting = dict(state.waiting)
    for item in fresh:
        before = waiting.get(item.symbol)
        if before is not None and before.kind == item.kind:
            del waiting[item.symbol]
    return {
        symbol: item if item.evidence_ns is None else aged(item, now_ns, half_life_s)
        for symbol, item in waiting.items()
        if item.alive(now_ns) and symbol not in dropped
    }


def _renewed(held: Candidate, fresh: Candidate | None, now_ns: int) -> Candidate | None:
    """The holder's new candidate; None if no trigger holds the slot any more.

    The same condition takes its new score and life. Another one takes over if it ranks higher or the old one is over; a
    trigger takes over from the opening at once.
    """
    if fresh is None:
        return held if held.alive(now_ns) else None
    if fresh.kind == held.kind or not held.alive(now_ns) or (held.kind == CONTEXT and fresh.kind != FILLER):
        return fresh
    return min(held, fresh, key=order)
