"""Allocates slots to candidates. See docs/requirement.md.

`allocate` is a function from a state and candidates to a new state and the events of its decisions; the order of the
candidates does not matter.

`observer.selection.allocation` defines the rank of symbols.

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
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from heapq import heappop, heappush
from itertools import chain
from operator import attrgetter
from typing import Final, Literal

import msgspec

from bus.events import (
    AllocationStrategy,
    AssignReason,
    CloseReason,
    DropReason,
    OverflowReason,
    ReleaseReason,
    SlotAssigned,
    SlotExtended,
    SlotOverflowed,
    SlotReleased,
    TriggerKind,
    UniverseMember,
)
from observer.base.lines import line_of, venue_of
from observer.base.units import NS_PER_S
from observer.selection.settings import SlotSettings
from observer.selection.triggers import Candidate, TriggersSettings, aged, by_market_cap, expiry

# --- ranking ---
#
# The rank of candidates. Pure (docs/requirement.md).
#
# Symbols rank by tier, then score, then market capitalisation, then code: pinned ones first, then triggered ones and
# the
# opening's movers (context), then fillers of free slots (market capitalisation): main lines before those of further
# venues, which leave their slots to them.
#
# Pending candidates have no slot and are updated by sweeps only, whose interval is longer than a trigger lives
# (docs/requirement.md: sweeps every ten minutes, lives of three to five). So a sweep's result holds until the next one:
# the symbol remains a candidate for a slot that becomes free meanwhile, and a lasting condition fires once.

CONTEXT: Final = "context"
FILLER: Final = "market_cap"
PINNED: Final = "manual"
WITHOUT_CLAIM: Final = frozenset({CONTEXT, FILLER})
"""Kinds that take what is free: such a symbol neither waits for a slot nor overflows."""

Order = tuple[int, float, float, str]

_TRIGGERED: Final = 1
_FILLS: Final = 2
_TIERS: Final[Mapping[str, int]] = {PINNED: 0, FILLER: _FILLS}
_ENDLESS: Final = float("inf")


def order(candidate: Candidate) -> Order:
    """The sort key: smaller is more important. A total order, so the order of arrival has no effect."""
    return tier_of(candidate), -candidate.score, -candidate.market_cap, candidate.symbol


def tier_of(candidate: Candidate) -> int:
    """0 for pinned, 1 for triggered ones and the opening's movers, 2 for fillers, 3 for those of further venues."""
    found = _TIERS.get(candidate.kind, _TRIGGERED)
    return found + 1 if found == _FILLS and line_of(candidate.symbol).venue else found


def one_each(candidates: Iterable[Candidate]) -> dict[str, Candidate]:
    """The highest-ranked candidate of each symbol, by `order`.

    One sort per part of the key, the last part first: for thousands of candidates this is faster than one sort by
    tuples, and sorts are stable.
    """
    best: dict[str, Candidate] = {}
    for item in candidates:
        rival = best.setdefault(item.symbol, item)
        if rival is not item and _pending_of(item) < _pending_of(rival):
            best[item.symbol] = item
    ranked = sorted(best.values(), key=attrgetter("symbol"))
    ranked.sort(key=attrgetter("market_cap"), reverse=True)
    ranked.sort(key=attrgetter("score"), reverse=True)
    ranked.sort(key=tier_of)
    return {item.symbol: item for item in ranked}


def _pending_of(candidate: Candidate) -> tuple[Order, float, TriggerKind, float]:
    """The sort key among candidates of one symbol: smaller is better; among equals, the longer life."""
    life = _ENDLESS if candidate.expires_ns is None else candidate.expires_ns
    return order(candidate), -life, candidate.kind, candidate.measure


def outranks(newcomer: Candidate, held: Candidate, threshold: float) -> bool:
    """Whether a newcomer may replace this unpinned holder."""
    if newcomer.kind == PINNED:
        return True
    if held.kind == FILLER and newcomer.kind != FILLER:
        return True
    if newcomer.kind == FILLER:
        return tier_of(newcomer) < tier_of(held)
    return newcomer.score > held.score * threshold


def raised(candidate: Candidate, by: float) -> Candidate:
    """The candidate with a higher score, which its age lowers as the rest."""
    return msgspec.structs.replace(candidate, score=candidate.score + by, full_score=candidate.full_score + by)


def is_churn(reason: AssignReason, kind: TriggerKind) -> bool:
    """Whether an assignment counts as a replacement for the churn guard; a main line that fills the slot of a further
    line does not: that happens once at an opening.
    """
    return reason == "outranks" and kind != FILLER


def fillers_of(members: Iterable[UniverseMember], count: int) -> Sequence[Candidate]:
    """The largest main lines, then the largest of further venues, at most `count` of each. Members come by rank."""
    main, further = list[Candidate](), list[Candidate]()
    for each in members:
        of_venue = further if line_of(each.symbol).venue else main
        if len(of_venue) < count:
            of_venue.append(by_market_cap(each))
    return [*main, *further]


# --- candidates without a slot, between two sweeps ---

SLACK: Final = 0.5  # of the interval: the allowed delay of a sweep


class PendingCandidates:
    """Candidates without a slot, kept alive between sweeps. Explicit state, no clock.

    Args:
        triggers: the lives of each kind.
        sweep_interval_s: the interval between sweeps.
    """

    __slots__ = ("_candidates", "_life_ns", "_triggers", "_until_ns")

    def __init__(self, triggers: TriggersSettings, sweep_interval_s: float) -> None:
        self._triggers = triggers
        self._life_ns = round(sweep_interval_s * (1 + SLACK) * NS_PER_S)
        self._candidates: Sequence[Candidate] = ()
        self._until_ns = 0

    def take(self, swept: Sequence[Candidate], now_ns: int) -> None:
        """Replace the candidates by those of the last sweep without a slot."""
        self._candidates = swept
        self._until_ns = now_ns + self._life_ns

    def add(self, risen: Sequence[Candidate]) -> None:
        """Add candidates that rose since the last sweep and have no slot."""
        self._candidates = [*self._candidates, *risen]

    def drop(self, seated: Collection[str]) -> None:
        """Remove symbols that got slots: the stream updates them from now on."""
        self._candidates = [each for each in self._candidates if each.symbol not in seated]

    def standing(self, now_ns: int) -> Sequence[Candidate]:
        """The pending candidates, each with its full life; none once the next sweep is overdue."""
        if now_ns >= self._until_ns:
            return ()
        return [
            msgspec.structs.replace(each, expires_ns=expiry(now_ns, self._triggers.of(each.kind).ttl_seconds))
            for each in self._candidates
        ]


# --- slots ---
#
# The slots of the accounts, their holders, their churn, and the decisions about them. Pure.
#
# Slots are fixed ("main:01"): a symbol keeps its slot until it is replaced or released, so an id never means two
# symbols
# at a time.
#
# Churn (docs/requirement.md): each replacement costs two requests to a broker that blocks
# keys which re-subscribe in loops, and seconds in which neither symbol is streamed. The times of the latest
# replacements
# are its whole state.


class Churn(msgspec.Struct, frozen=True):
    """Times (UTC ns) of the replacements in the last window, oldest first."""

    replaced_ns: tuple[int, ...] = ()

    def after(self, replacements: int, now_ns: int, settings: SlotSettings) -> "Churn":
        """Add this number of replacements now; drops those before the window."""
        return Churn((*self._recent(now_ns, settings), *(now_ns for _ in range(replacements))))

    def count(self, now_ns: int, settings: SlotSettings) -> int:
        """Replacements in the window that ends now."""
        return len(self._recent(now_ns, settings))

    def _recent(self, now_ns: int, settings: SlotSettings) -> tuple[int, ...]:
        horizon_ns = now_ns - round(settings.churn_window_seconds * NS_PER_S)
        return tuple(moment_ns for moment_ns in self.replaced_ns if moment_ns > horizon_ns)


def lengthened(candidate: Candidate, now_ns: int, settings: SlotSettings) -> Candidate:
    """The candidate with a longer life; a pin ends when it was requested to end."""
    if candidate.expires_ns is None or candidate.kind == PINNED:
        return candidate
    life_ns = candidate.expires_ns - now_ns
    return msgspec.structs.replace(candidate, expires_ns=now_ns + round(life_ns * settings.churn_ttl_factor))


NO_SYMBOLS: Final[AbstractSet[str]] = frozenset()


class Slot(msgspec.Struct, frozen=True, gc=False):
    """One subscription of one account: its current holder, the slot from which the holder moved (None: it did not), and
    until when it was assigned or extended (UTC ns; None: without end).
    """

    slot: str
    account: str
    candidate: Candidate | None = None
    home: str | None = None
    until_ns: int | None = None


class SlotState(msgspec.Struct, frozen=True):
    """All slots in order; the waiting candidates by symbol, and the symbols whose overflow was reported; the account in
    turn (round robin: its index among the accounts), the latest replacements, how many slots fillers leave free, and
    the venue of the symbols without one in their id.
    """

    slots: tuple[Slot, ...]
    strategy: AllocationStrategy = "round_robin"
    waiting: Mapping[str, Candidate] = {}
    overflowed: AbstractSet[str] = NO_SYMBOLS
    turn: int = 0
    churn: Churn = Churn()
    left_free: int = 0
    main_venue: str = ""

    @property
    def held(self) -> Sequence[Candidate]:
        """The holders, in the order of the slots."""
        return [slot.candidate for slot in self.slots if slot.candidate is not None]

    @property
    def symbols(self) -> frozenset[str]:
        """The symbols that hold a slot."""
        return frozenset(candidate.symbol for candidate in self.held)

    def slot_of(self, symbol: str) -> Slot | None:
        """The slot that the symbol holds."""
        held = (slot for slot in self.slots if slot.candidate is not None and slot.candidate.symbol == symbol)
        return next(held, None)


def is_rapid(state: SlotState, now_ns: int, settings: SlotSettings) -> bool:
    """Whether the window that ends now has more replacements than allowed: so many for each account, as a broker counts
    the requests of each key.
    """
    accounts = len({slot.account for slot in state.slots})
    return state.churn.count(now_ns, settings) > settings.churn_max_replacements * accounts


def slot_ids(account: str, count: int) -> Sequence[str]:
    """The ids of an account's slots, numbered from 01."""
    return [f"{account}:{number:02}" for number in range(1, count + 1)]


def held_by_account(capacities: Mapping[str, int], held: Iterable[str]) -> Mapping[str, int]:
    """How many of the slots with these ids each account (name to number of slots) has; 0 for an unknown one."""
    owners = {slot: account for account, count in capacities.items() for slot in slot_ids(account, count)}
    return Counter(owners[slot] for slot in held if slot in owners)


def empty_slots(
    capacities: Mapping[str, int],
    strategy: AllocationStrategy = "round_robin",
    left_free: int = 0,
    main_venue: str = "",
) -> SlotState:
    """The slots of the accounts (name to number of slots), numbered from 01, all free."""
    slots = (Slot(slot, account) for account, count in capacities.items() for slot in slot_ids(account, count))
    return SlotState(tuple(slots), strategy, left_free=left_free, main_venue=main_venue)


def restore(state: SlotState) -> tuple[str, ...]:
    """The symbols that hold slots, most important first: the order of renewed subscriptions."""
    return tuple(candidate.symbol for candidate in sorted(state.held, key=order))


def restore_by_account(state: SlotState) -> dict[str, tuple[str, ...]]:
    """By account, the symbols that hold its slots, most important first."""
    accounts = dict.fromkeys(slot.account for slot in state.slots)
    return {
        account: restore(SlotState(tuple(slot for slot in state.slots if slot.account == account)))
        for account in accounts
    }


Decision = SlotAssigned | SlotExtended | SlotReleased | SlotOverflowed


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
    seating = _Seating(state, dict(state.waiting), now_ns)
    for index, slot in enumerate(state.slots):
        if slot.candidate is not None and slot.candidate.symbol == symbol and slot.candidate.kind == PINNED:
            seating.release(index, slot.candidate, "unpinned")
    if (waiting := state.waiting.get(symbol)) is not None and waiting.kind == PINNED:
        seating.forget(symbol)
    return seating.state(settings), tuple(seating.decisions)


def released(
    state: SlotState, settings: SlotSettings, at_ns: int, reason: CloseReason
) -> tuple[SlotState, tuple[Decision, ...]]:
    """Release every slot."""
    seating = _Seating(state, dict(state.waiting), at_ns)
    for index, slot in enumerate(state.slots):
        if slot.candidate is not None:
            seating.release(index, slot.candidate, reason)
    return seating.state(settings), tuple(seating.decisions)


def refusal(state: SlotState, candidate: Candidate, reason: OverflowReason, now_ns: int) -> SlotOverflowed:
    """The overflow of a candidate without a slot; the lowest score is 0 if no holder can be replaced."""
    lowest = min((each.score for each in state.held if each.kind != PINNED), default=0.0)
    return _overflow(candidate, lowest, reason, now_ns, len(state.slots))


def _overflow(candidate: Candidate, lowest: float, reason: OverflowReason, now_ns: int, slots: int) -> SlotOverflowed:
    """A triggered symbol gets no slot, as all holders are pinned, or have higher scores, or lower ones that it does not
    outscore by the threshold. Reported once while its triggers last; for a pin at each refusal.
    """
    return SlotOverflowed(
        candidate.symbol,
        now_ns,
        candidate.kind,
        candidate.strength,
        candidate.score,
        lowest,
        reason,
        candidate.measure,
        candidate.market_cap,
        slots,
    )


class _Seating:
    """One allocation in progress: the slots being changed, and the decisions so far."""

    def __init__(
        self,
        state: SlotState,
        waiting: dict[str, Candidate],
        now_ns: int,
        threshold: float = 1.0,
        closed: AbstractSet[str] = NO_SYMBOLS,
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
            isinstance(item, SlotAssigned) and is_churn(item.reason, item.trigger) for item in self.decisions
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
                self.decisions.append(
                    SlotExtended(
                        slot.slot,
                        renewed.symbol,
                        self._now_ns,
                        renewed.kind,
                        renewed.score,
                        renewed.expires_ns,
                        self._venue(renewed.symbol),
                    )
                )
                until_ns = renewed.expires_ns
            else:
                until_ns = slot.until_ns
            self._slots[index] = Slot(slot.slot, slot.account, renewed, slot.home, until_ns)

    def bring_home(self) -> None:
        """Move symbols back to their slots in reopened accounts, by rank."""
        places = {slot.slot: index for index, slot in enumerate(self._slots)}
        for index, candidate in self._ranked(index for index, slot in enumerate(self._slots) if slot.home):
            home = places.get(self._slots[index].home or "")
            if home is not None and self._is_open[home] and self._slots[home].candidate is None:
                self._move(candidate, index, home, "moved_home", None)

    def evacuate(self) -> None:
        """Move symbols out of closed accounts, by rank, while other accounts have room."""
        for index, candidate in self._ranked(index for index, is_open in enumerate(self._is_open) if not is_open):
            if (goal := self._goal(candidate)) is not None:
                slot = self._slots[index]
                self._move(candidate, index, goal, "moved", slot.home or slot.slot)

    def _ranked(self, indices: Iterable[int]) -> list[tuple[int, Candidate]]:
        """The holders of these slots, the most important first."""
        held = [(index, candidate) for index in indices if (candidate := self._slots[index].candidate) is not None]
        return sorted(held, key=lambda each: order(each[1]))

    def release(self, index: int, held: Candidate, reason: ReleaseReason) -> None:
        """Free a slot."""
        slot = self._slots[index]
        self._slots[index] = Slot(slot.slot, slot.account)
        if self._is_open[index]:
            heappush(self._free_by_account[self._account_of[index]], index)
        self._released(slot, held, reason)

    def _released(self, slot: Slot, held: Candidate, reason: ReleaseReason, by: str | None = None) -> None:
        venue = self._venue(held.symbol)
        self.decisions.append(SlotReleased(slot.slot, held.symbol, self._now_ns, held.score, reason, by, venue))

    def _venue(self, symbol: str) -> str:
        return venue_of(symbol, self._before.main_venue)

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
            self._released(slot, held, "replaced", candidate.symbol)
            if held.kind not in WITHOUT_CLAIM:
                self._waiting[replaced] = held
        self._slots[index] = Slot(slot.slot, slot.account, candidate, home, candidate.expires_ns)
        if self._by_rank is not None and candidate.kind != PINNED:
            insort(self._by_rank, (order(candidate), index, candidate))
        self.forget(candidate.symbol)
        self.decisions.append(
            SlotAssigned(
                slot.slot,
                candidate.symbol,
                self._now_ns,
                candidate.kind,
                candidate.score,
                reason,
                replaced,
                expires_ns=candidate.expires_ns,
                venue=self._venue(candidate.symbol),
            )
        )

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

    def _refusal(self, candidate: Candidate) -> SlotOverflowed:
        """Why there is no slot, compared with the lowest replaceable holder, if any."""
        weakest = self._weakest()
        lowest = 0.0 if weakest is None else weakest[1].score
        reason: OverflowReason = "not_above_threshold" if candidate.score > lowest else "all_slots_hold_higher_scores"
        reason = "all_slots_pinned" if weakest is None else reason
        return _overflow(candidate, lowest, reason, self._now_ns, len(self._slots))


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
