"""The pipeline from what is seen to who has a place, with its memory: observations, spells and slots of one day.

No clock and no socket: it is told of snapshots and trades, asked to evaluate at a moment, and answers with the facts
that came of it. The same calls in the same order give the same facts, which is what a replay proves.
"""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Final, Literal

import msgspec

from bus.events import (
    ChurnGuardChanged,
    Event,
    MarketStateChanged,
    SlotAssigned,
    SlotOverflowed,
    SlotReleased,
    Snapshot,
    Trade,
    TradesConflated,
    UniverseMember,
)
from observer.selection.churn import is_rapid
from observer.selection.claims import Claims
from observer.selection.places import (
    AllocationStrategy,
    Assign,
    Decision,
    Overflow,
    Release,
    SlotState,
    empty_slots,
    restore,
    restore_by_account,
)
from observer.selection.places_told import PlacesTold, taken_over
from observer.selection.profile import EarlierDays, volume_by
from observer.selection.settings import SelectionSettings
from observer.selection.sights import Sights
from observer.selection.slots import allocate, refusal, unpin
from observer.selection.triggers import (
    Candidate,
    Observation,
    Spells,
    TriggerRules,
    by_market_cap,
    fired_event,
)
from observer.selection.wishes import NotWished, WaitReason, Wished

CloseReason = Literal["closed", "unfinished"]

_FILLERS_PER_PLACE: Final = 2  # the largest symbols that may fill free places: more than there are places
NOTHING_EARLIER: Final = EarlierDays()
_WISHED: Final = Observation(pinned=True)


class Selector:
    """Decides on all accounts' places for one day.

    Args:
        members: the day's universe, by rank.
        capacities: how many symbols each account can stream, by its name, in the order in which they are used.
        settings: of the whole selection.
        strategy: which account gives the next place.
        earlier: what is known of earlier days.
        sweep_interval_s: how far the sweeps are apart.
    """

    def __init__(
        self,
        members: Sequence[UniverseMember],
        capacities: Mapping[str, int],
        settings: SelectionSettings,
        strategy: AllocationStrategy = "round_robin",
        earlier: EarlierDays = NOTHING_EARLIER,
        sweep_interval_s: float = 600.0,
    ) -> None:
        self._sights = Sights(members, settings.triggers.velocity_window_seconds, earlier)
        self._settings = settings
        self._rules = TriggerRules(settings.triggers)
        self._earlier = earlier
        self._spells = Spells()
        self._claims = Claims(settings.triggers, sweep_interval_s)
        places = {account: min(count, settings.slots.max_slots) for account, count in capacities.items()}
        self._state: SlotState = empty_slots(places, strategy)
        self._churning = False
        self._wishes: dict[str, None] = {}  # whom a person wants, in the order of asking
        self._closed: AbstractSet[str] = frozenset()
        self._fillers = [by_market_cap(each, settings.triggers) for each in members[: self.places * _FILLERS_PER_PLACE]]

    @property
    def members(self) -> Mapping[str, UniverseMember]:
        """The universe by symbol."""
        return self._sights.members

    @property
    def places(self) -> int:
        """How many symbols all accounts together can stream."""
        return len(self._state.places)

    @property
    def wanted(self) -> tuple[str, ...]:
        """The symbols that hold places, most important first: what the stream is to carry."""
        return restore(self._state)

    @property
    def waiting(self) -> AbstractSet[str]:
        """Who deserves a place and has none."""
        return self._state.waiting.keys()

    @property
    def wanted_by_account(self) -> Mapping[str, Sequence[str]]:
        """The same for each account's stream."""
        return restore_by_account(self._state)

    @property
    def closed_accounts(self) -> AbstractSet[str]:
        """The accounts that cannot stream now."""
        return self._closed

    def volume_of(self, symbol: str) -> tuple[float, int] | None:
        """The day's volume of the symbol when it was last seen, and when that was; None when it was not."""
        return self._sights.volume_of(symbol)

    def see_snapshot(self, snapshot: Snapshot) -> None:
        """Track A saw the symbol. The first time its price limits tell whether its history is of other shares."""
        self._sights.see_snapshot(snapshot)

    def see_trade(self, trade: Trade) -> None:
        """The stream brought a trade of the symbol."""
        self._sights.of(trade.symbol).see_trade(trade)

    def see_conflated(self, row: TradesConflated) -> None:
        """The stream brought trades of the symbol, of which this row is kept."""
        self._sights.of(row.symbol).see_conflated(row)

    def see_state(self, state: MarketStateChanged) -> None:
        """The exchange told whether the symbol is halted."""
        self._sights.see_state(state)

    def see_traded(self, snapshot: Snapshot) -> None:
        """What a snapshot of the past tells of halts: that the symbol was traded in one."""
        self._sights.see_traded(snapshot)

    def see_listing(self, symbol: str, told_ns: int, *, delisted: bool, suspended: bool) -> None:
        """A master file told what has become of the symbol."""
        self._sights.see_listing(symbol, told_ns, delisted=delisted, suspended=suspended)

    def take_over(self, told: PlacesTold, now_ns: int) -> Sequence[Event]:
        """Go on with the places and wishes of an earlier process of this day; each trigger has one more life."""
        members, dropped = self._sights.members, self._sights.dropped
        self._state, released = taken_over(told, self._state, members, dropped, now_ns, self._settings)
        self._wishes = dict.fromkeys(told.wishes.standing)
        self._churning = told.is_churning
        self._closed = told.closed & {place.account for place in self._state.places}
        return released

    def close_accounts(self, accounts: AbstractSet[str], now_ns: int) -> Sequence[Event]:
        """From now on exactly these accounts cannot stream: their symbols move, and go home when they can again."""
        if accounts == self._closed:
            return []
        self._closed = frozenset(accounts)
        return self._allocate([], now_ns)

    def open(self, candidates: Iterable[Candidate], now_ns: int) -> Sequence[Event]:
        """Give the first places of the day to these and, where they leave some free, to the largest symbols."""
        return self._allocate(candidates, now_ns)

    def evaluate_all(self, now_ns: int) -> Sequence[Event]:
        """Look at every symbol of the universe that was seen: after a sweep."""
        fired = self._fired(self._sights.members, now_ns)
        self._claims.take([], now_ns)  # those of the sweep before are over
        decided = self._decide(fired, now_ns)
        seated = self._state.symbols
        self._claims.take([candidate for candidate in fired if candidate.symbol not in seated], now_ns)
        return decided

    def evaluate_held(self, now_ns: int) -> Sequence[Event]:
        """Look at the symbols that hold places: between sweeps, when only they are seen."""
        held = [place.candidate.symbol for place in self._state.places if place.candidate is not None]
        return self._decide(
            self._fired(held, now_ns), now_ns
        )  # in the order of the places: a set's is another each time

    def keep_wishes(self, symbols: Iterable[str], now_ns: int) -> Sequence[Event]:
        """The wishes of earlier days, in the order of asking: whoever is not in this day's universe waits."""
        self._wishes = dict.fromkeys(symbols)
        return self._allocate([], now_ns)

    @property
    def waiting_wishes(self) -> Mapping[str, WaitReason]:
        """The wishes without a place, and why they have none."""
        held = self._state.symbols
        return {symbol: self._waits_for(symbol) for symbol in self._wishes if symbol not in held}

    def pin(self, symbol: str, now_ns: int) -> Wished | NotWished:
        """A person wants the symbol streamed: it gets a place before any that is not pinned.

        One that has a place already keeps it, from now on for this reason, which is told like a new assignment. One
        that may hold none now waits. Nobody is promised a place that another wish has, also if that one waits.
        """
        member = self._sights.members.get(symbol)
        if member is None:
            return NotWished("unknown_symbol", f"{symbol} is not in the day's universe")
        found = self._rules.evaluate(member, _WISHED, now_ns)
        if not found:
            off = "the manual trigger is switched off: triggers.manual.enabled of the selection's file is false"
            return NotWished("no_place", off)
        [wish] = found
        is_news = symbol not in self._wishes
        if self._sights.dropped.get(symbol) == "delisted":
            return self._refused(wish, "delisted", now_ns)
        if is_news and len(self._wishes) >= self.places:
            return self._refused(wish, "all_places_pinned", now_ns)
        self._wishes[symbol] = None
        state, decisions = self._allocated([], now_ns)
        place, waits_for = state.place_of(symbol), self._waits_for(symbol)
        if place is None and waits_for == "all_places_pinned" and is_news:
            del self._wishes[symbol]
            return self._refused(wish, "all_places_pinned", now_ns)
        self._state = state
        fired = [fired_event(wish, now_ns)] if is_news else []
        events = [*fired, *(self._told(decision, now_ns) for decision in decisions)]
        return Wished(place.slot, events, is_news) if place else Wished(None, events, is_news, waits_for)

    def _waits_for(self, symbol: str) -> WaitReason:
        """Why a wish has no place."""
        if symbol not in self._sights.members:
            return "not_in_universe"
        return self._sights.dropped.get(symbol, "all_places_pinned")

    def _refused(self, wish: Candidate, reason: Literal["delisted", "all_places_pinned"], now_ns: int) -> NotWished:
        refused = self._told(refusal(self._state, wish, reason), now_ns)
        pinned = "all places are pinned: unpin one first"
        return NotWished("no_place", pinned if reason != "delisted" else f"{wish.symbol} is delisted", [refused])

    def unpin(self, symbol: str, now_ns: int) -> Wished | NotWished:
        """A person does not want the symbol streamed any more; a trigger that holds may win it a place again."""
        if symbol not in self._wishes:
            return NotWished("not_pinned", f"{symbol} is not pinned")
        del self._wishes[symbol]
        place = self._state.place_of(symbol)
        self._state, decisions = unpin(self._state, symbol, self._settings.slots, now_ns)
        freed = place.slot if place is not None and decisions else None
        return Wished(freed, [self._told(decision, now_ns) for decision in decisions])

    def close(self, at_ns: int, reason: CloseReason = "closed") -> Sequence[Event]:
        """Release every place: the day is over, or was when nobody saw its end."""
        held = [(place.slot, place.candidate) for place in self._state.places if place.candidate is not None]
        places = tuple(type(place)(place.slot) for place in self._state.places)
        self._state = msgspec.structs.replace(self._state, places=places)
        return [SlotReleased(slot, held_by.symbol, at_ns, held_by.score, reason) for slot, held_by in held]

    def _decide(self, fired: Sequence[Candidate], now_ns: int) -> Sequence[Event]:
        begun = self._spells.begun([*fired, *self._claims.standing(now_ns)], now_ns)
        return [*(fired_event(candidate, now_ns) for candidate in begun), *self._allocate(fired, now_ns)]

    def _fired(self, symbols: Iterable[str], now_ns: int) -> list[Candidate]:
        """The candidates among these symbols; the trade rates start anew."""
        at_s = self._earlier.time_of_day_s(now_ns)
        profiles, members, sights = self._earlier.profiles, self._sights.members, self._sights.by_symbol
        evaluate = self._rules.evaluate
        fired: list[Candidate] = []
        for symbol in symbols:
            sight, member = sights.get(symbol), members.get(symbol)
            if sight is None or member is None:
                continue
            profile = profiles.get(symbol)
            if profile is not None:
                usual = volume_by(profile, at_s)
                sight.average_volume_by_now = None if usual is None else usual * sight.shares_factor
            fired.extend(evaluate(member, sight, now_ns))
            sight.trades_per_second = None
        return fired

    def _allocate(self, candidates: Iterable[Candidate], now_ns: int) -> list[Event]:
        self._state, decisions = self._allocated(candidates, now_ns)
        self._claims.drop(self._state.symbols)
        return [*(self._told(decision, now_ns) for decision in decisions), *self._churn_changes(now_ns)]

    def _told(self, decision: Decision, now_ns: int) -> Event:
        return decided_event(decision, now_ns, self.places)

    def _churn_changes(self, now_ns: int) -> Iterable[Event]:
        """That the guard against churn stepped in, or stepped back."""
        settings, churn = self._settings.slots, self._state.churn
        rapid = is_rapid(churn, now_ns, settings)
        if rapid != self._churning:
            self._churning = rapid
            threshold = settings.churn_threshold if rapid else settings.replacement_threshold
            yield ChurnGuardChanged(now_ns, rapid, churn.count(now_ns, settings), threshold)

    def _allocated(self, candidates: Iterable[Candidate], now_ns: int) -> tuple[SlotState, Sequence[Decision]]:
        wanted = [*candidates, *self._claims.standing(now_ns), *self._wished(now_ns), *self._fillers]
        return allocate(self._state, wanted, now_ns, self._settings.slots, self._sights.dropped, self._closed)

    def _wished(self, now_ns: int) -> Iterable[Candidate]:
        """A wish is a condition that holds until it is taken back: each allocation gives it its full life again."""
        members = (self._sights.members.get(symbol) for symbol in self._wishes)
        for member in members:
            if member is not None:
                yield from self._rules.evaluate(member, _WISHED, now_ns)


def decided_event(decision: Decision, now_ns: int, places: int) -> Event:
    """A decision about these many places as the fact that it is."""
    match decision:
        case Assign(slot, candidate, replaced, reason):
            return SlotAssigned(slot, candidate.symbol, now_ns, candidate.kind, candidate.score, reason, replaced)
        case Release(slot, symbol, score, reason):
            return SlotReleased(slot, symbol, now_ns, score, reason)
        case Overflow(candidate, lowest_score, reason):
            return SlotOverflowed(
                candidate.symbol,
                now_ns,
                candidate.kind,
                candidate.strength,
                candidate.score,
                lowest_score,
                reason,
                candidate.measure,
                candidate.market_cap_krw,
                places,
            )
