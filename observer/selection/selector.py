"""The pipeline from market data to slots, with the state of one day: observations, active triggers and slots.

It has no clock and no socket: it takes snapshots and trades, evaluates at a given moment, and returns the resulting
events. The same calls in the same order return the same events, which a replay verifies.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Final, Literal

from bus.events import (
    ChurnGuardChanged,
    CloseReason,
    Event,
    PinWait,
    RiseApplied,
    UniverseMember,
)
from observer.base.lines import line_of
from observer.selection.allocation import (
    Decision,
    PendingCandidates,
    SlotState,
    allocate,
    empty_slots,
    fillers_of,
    is_rapid,
    raised,
    refusal,
    released,
    restore,
    restore_by_account,
    unpin,
)
from observer.selection.context import Baseline
from observer.selection.market_state import MarketState
from observer.selection.pins import PinRefusal, PinRequest
from observer.selection.profile import EarlierDays, volume_by
from observer.selection.settings import DaySettings, VenueWindow
from observer.selection.slot_projection import SlotProjection, resumed_slots, resumed_triggers
from observer.selection.triggers import (
    ActiveTriggers,
    Candidate,
    TriggerRules,
    by_market_cap,
    by_pin,
    expiry,
    fired_event,
)

_FILLERS_PER_SLOT: Final = 2  # the largest symbols that may fill free slots: more than there are slots
NOTHING_EARLIER: Final = EarlierDays()
_NEVER_NS: Final = 2**63
_UNKNOWN: Final[Mapping[str, int]] = {}


class VenueHours:
    """The lines that may hold no slot now because their venue is closed while another one trades.

    Only venues of the universe's lines count: with lines of one venue alone, its break is no reason to give up slots.
    """

    def __init__(self, windows: Sequence[VenueWindow], line_ids: Iterable[str]) -> None:
        self._lines: dict[str, list[str]] = {}
        for line_id in line_ids:
            self._lines.setdefault(line_of(line_id).venue, []).append(line_id)
        self._windows = [each for each in windows if each.venue in self._lines]
        self._until_ns = 0 if self._windows else _NEVER_NS  # nothing changes before

    def closed(self, now_ns: int) -> frozenset[str] | None:
        """The lines whose venue is closed now while another one is open; None where no venue has opened or closed
        since the last call.
        """
        if now_ns < self._until_ns:
            return None
        bounds = (moment_ns for each in self._windows for moment_ns in (each.from_ns, each.to_ns))
        self._until_ns = min((moment_ns for moment_ns in bounds if moment_ns > now_ns), default=_NEVER_NS)
        opened = {each.venue for each in self._windows if each.from_ns <= now_ns < each.to_ns}
        closed = self._lines.keys() - opened if opened else ()
        return frozenset(line_id for venue in closed for line_id in self._lines[venue])


class Selector:
    """Decides on all accounts' slots for one day.

    Args:
        members: the day's universe, by rank.
        day: the settings of the day.
        earlier: the data of earlier days.

    Market data goes to `market`; the decisions of this class start from it.
    """

    def __init__(
        self, members: Sequence[UniverseMember], day: DaySettings, earlier: EarlierDays = NOTHING_EARLIER
    ) -> None:
        self.settings = settings = day.selection
        self.market = MarketState(members, settings.triggers, earlier, day.openings_ns)
        self._hours = VenueHours(day.windows, self.market.members)
        self.main_venue = next((each.venue for each in members if not line_of(each.symbol).venue), "")
        self._rules = TriggerRules(settings.triggers)
        self._earlier = earlier
        self._page_trades = day.page_trades
        self._active = ActiveTriggers()
        self._pending = PendingCandidates(settings.triggers, day.sweep_interval_s)
        slots = {each.account: min(each.slots, settings.slots.max_slots) for each in day.accounts}
        self._state: SlotState = empty_slots(slots, day.allocation_strategy, day.left_free, self.main_venue)
        self.slots = len(self._state.slots)  # of all accounts together
        self._churning = False
        self._opening: Baseline | None = None
        self._note_unknown(members)
        self._pins: dict[str, int | None] = {}  # pinned symbols, in the order of requests, with their ends
        self.closed_accounts: AbstractSet[str] = frozenset()  # accounts that cannot stream now
        self._fillers = fillers_of(members, self.slots * _FILLERS_PER_SLOT)

    @property
    def wanted(self) -> tuple[str, ...]:
        """The symbols that hold slots, most important first: the subscriptions to request."""
        return restore(self._state)

    @property
    def waiting(self) -> AbstractSet[str]:
        """Symbols that want a slot and have none."""
        return self._state.waiting.keys()

    @property
    def wanted_by_account(self) -> Mapping[str, Sequence[str]]:
        """The wanted symbols by account."""
        return restore_by_account(self._state)

    def resume(self, reported: SlotProjection, now_ns: int) -> Sequence[Event]:
        """Resume the slots, triggers and pins of an earlier process of this day; each trigger has one more life, and a
        pin keeps its end.
        """
        self._update_closed(now_ns)
        members, dropped = self.market.members, self.market.dropped
        self._state, released = resumed_slots(reported, self._state, members, dropped, now_ns, self.settings)
        self._active.resume(resumed_triggers(reported, now_ns, self.settings.triggers))
        self._pins = dict(reported.pins.ends)
        self._churning = reported.is_churning
        self.closed_accounts = reported.closed & {slot.account for slot in self._state.slots}
        return released

    def close_accounts(self, accounts: AbstractSet[str], now_ns: int) -> Sequence[Event]:
        """Set the accounts that cannot stream: their symbols move, and return when the accounts can stream again."""
        if accounts == self.closed_accounts:
            return []
        self.closed_accounts = frozenset(accounts)
        return self._allocate([], now_ns)

    def compare_with(self, opening: Baseline) -> None:
        """From now on compare symbols without a history with the average symbol's opening."""
        self._opening = opening

    def update_history(self, members: Iterable[UniverseMember]) -> None:
        """Compare the symbols with the closes and averages of a later build from now on."""
        self.market.update_history(members)
        self._note_unknown(self.market.members.values())

    def _note_unknown(self, members: Collection[UniverseMember]) -> None:
        """Note which symbols are compared with the average symbol's opening."""
        self._without_volume = {
            each.symbol for each in members if not each.average_volume_20d
        } - self._earlier.profiles.keys()
        self._without_range = {each.symbol for each in members if not each.average_true_range_14d}

    def open(self, candidates: Iterable[Candidate], now_ns: int) -> Sequence[Event]:
        """Assign the first slots of the day to these candidates; the largest symbols fill the remaining ones."""
        return self._allocate(candidates, now_ns)

    def evaluate_universe(self, now_ns: int) -> Sequence[Event]:
        """Evaluate every symbol of the universe with market data, after a sweep."""
        self.market.update_pace()
        ended = self._active.ended(now_ns)
        fired = self._fired(self.market.members, now_ns)
        self._pending.take([], now_ns)  # those of the previous sweep are over
        decided = [*ended, *self._decide(fired, now_ns)]
        seated = self._state.symbols
        self._pending.take([candidate for candidate in fired if candidate.symbol not in seated], now_ns)
        return decided

    def evaluate_rise(self, rise: RiseApplied, now_ns: int) -> Sequence[Event]:
        """Evaluate one symbol without a slot, after a volume rise between two sweeps. One with a slot is known better
        by its stream.
        """
        if rise.symbol in self._state.symbols or not self.market.update_rise(rise):
            return []
        ended = self._active.ended(now_ns)
        fired = self._fired([rise.symbol], now_ns)
        self._pending.drop({rise.symbol})  # what the sweep showed of it is over
        decided = [*ended, *self._decide(fired, now_ns)]
        if rise.symbol not in self._state.symbols:
            self._pending.add(fired)
        return decided

    def evaluate_slots(self, now_ns: int, delivered_ns: Mapping[str, int] = _UNKNOWN) -> Sequence[Event]:
        """Evaluate the symbols that hold slots, between sweeps, when only these have new data. `delivered_ns`: by
        symbol, the moment until which the stream has brought all its trades; without one, no trade is no silence.
        """
        held = [candidate.symbol for candidate in self._state.held]
        for symbol in held:
            if symbol in delivered_ns:
                self.market.update_silence(symbol, delivered_ns[symbol])
        ended = self._active.ended(now_ns)
        fired = self._fired(held, now_ns)  # in the order of the slots: the order of a set varies
        return [*ended, *self._decide(fired, now_ns)]

    def keep_pins(self, ends: Mapping[str, int | None], now_ns: int) -> Sequence[Event]:
        """Keep the pins of earlier days, in the order of requests, each until its end; a symbol outside this day's
        universe waits.
        """
        self._pins = dict(ends)
        return self._allocate([], now_ns)

    @property
    def pins(self) -> Mapping[str, int | None]:
        """The pins in force, in the order of requests, with their ends (UTC ns; None: until removed)."""
        return self._pins

    @property
    def waiting_pins(self) -> Mapping[str, PinWait]:
        """The pins without a slot, and why they have none."""
        held = self._state.symbols
        return {symbol: self._waits_for(symbol) for symbol in self._pins if symbol not in held}

    def pin(self, symbol: str, now_ns: int) -> PinRequest | PinRefusal:
        """Pin a symbol: it gets a slot before any unpinned symbol, until the pin is removed or its time is over.

        A symbol that has a slot keeps it, from now on for this reason, reported like a new assignment. A symbol that
        may hold none now waits. Every pin counts for one slot, even while it waits; a pin beyond the slots is refused.
        A second request gives the pin its full time again.
        """
        member = self.market.members.get(symbol)
        if member is None:
            return PinRefusal("unknown_symbol", f"{symbol} is not in the day's universe")
        settings = self.settings.triggers.manual
        if not settings.enabled:
            off = "the manual trigger is switched off: triggers.manual.enabled of the selection's file is false"
            return PinRefusal("no_slot", off)
        self._end_pins(now_ns)
        until_ns = expiry(now_ns, settings.ttl_seconds)
        pin = by_pin(member, until_ns)
        is_news = symbol not in self._pins
        if self.market.dropped.get(symbol) == "delisted":
            return _refused(self._state, pin, "delisted", now_ns)
        if is_news and len(self._pins) >= self.slots:
            return _refused(self._state, pin, "all_slots_pinned", now_ns)
        self._pins[symbol] = until_ns
        state, decisions = self._allocated([], now_ns)
        slot, waits_for = state.slot_of(symbol), self._waits_for(symbol)
        if slot is None and waits_for == "all_slots_pinned" and is_news:
            del self._pins[symbol]
            return _refused(self._state, pin, "all_slots_pinned", now_ns)
        self._state = state
        events = [*([fired_event(pin, now_ns)] if is_news else ()), *decisions]
        return PinRequest(slot.slot if slot else None, events, is_news, None if slot else waits_for, until_ns)

    def _waits_for(self, symbol: str) -> PinWait:
        """Why a pin has no slot."""
        if symbol not in self.market.members:
            return "not_in_universe"
        return self.market.dropped.get(symbol, "all_slots_pinned")

    def unpin(self, symbol: str, now_ns: int) -> PinRequest | PinRefusal:
        """Unpin a symbol and release its slot; a trigger that holds may win it a slot again."""
        if symbol not in self._pins:
            return PinRefusal("not_pinned", f"{symbol} is not pinned")
        del self._pins[symbol]
        slot = self._state.slot_of(symbol)
        self._state, decisions = unpin(self._state, symbol, self.settings.slots, now_ns)
        freed = slot.slot if slot is not None and decisions else None
        return PinRequest(freed, list(decisions))

    def close(self, at_ns: int, reason: CloseReason = "closed") -> Sequence[Event]:
        """End every trigger and release every slot, at the end of the day or later for an unobserved end."""
        self._state, decisions = released(self._state, self.settings.slots, at_ns, reason)
        return [*self._active.all_ended(at_ns), *decisions]

    def _decide(self, fired: Sequence[Candidate], now_ns: int) -> Sequence[Event]:
        begun = self._active.begun([*fired, *self._pending.standing(now_ns)], now_ns)
        return [*(fired_event(candidate, now_ns) for candidate in begun), *self._allocate(fired, now_ns)]

    def _fired(self, symbols: Iterable[str], now_ns: int) -> list[Candidate]:
        """The candidates among these symbols; resets the trade rates."""
        at_s = self._earlier.time_of_day_s(now_ns)
        profiles, members, market = self._earlier.profiles, self.market.members, self.market.by_symbol
        evaluate, update_recent, active = self._rules.evaluate, self.market.update_recent, self._active
        opening = self._opening
        volume, volatility = (opening.volume_by(now_ns), opening.volatility_by(now_ns)) if opening else (None, None)
        recent, weight = self.settings.triggers.recent_volume, self.settings.slots.seconds_overflow_weight
        judges_recent, hold_threshold = recent.enabled, recent.hold_threshold
        self._update_closed(now_ns)
        dropped = self.market.dropped
        fired: list[Candidate] = []
        for symbol in symbols:
            if (state := market.get(symbol)) is None or (member := members.get(symbol)) is None:
                continue
            if dropped.get(symbol) == "venue_closed":
                state.trades_per_second = None  # of before the close: no reason for a slot at the next opening
                continue
            profile = profiles.get(symbol)
            ratio = update_recent(member, state, profile, opening) if judges_recent else None
            if ratio is None or ratio >= hold_threshold:  # what a surge is armed by
                if profile is not None:
                    usual = volume_by(profile, at_s)
                    state.average_volume_by_now = None if usual is None else usual * state.shares_factor
                if symbol in self._without_volume:
                    state.opening_volume_by_now = volume
            if symbol in self._without_range:
                state.opening_range_by_now = volatility
            found = evaluate(member, state, now_ns, active)
            if found and weight:
                by = weight * self.market.seconds_overflow(member, self._page_trades)
                found = [raised(candidate, by) for candidate in found]
            fired.extend(found)
            state.trades_per_second = None
        return fired

    def _update_closed(self, now_ns: int) -> None:
        if (lines := self._hours.closed(now_ns)) is not None:
            self.market.update_closed(lines)

    def _allocate(self, candidates: Iterable[Candidate], now_ns: int) -> list[Event]:
        self._state, decisions = self._allocated(candidates, now_ns)
        self._pending.drop(self._state.symbols)
        events: list[Event] = [*decisions]
        settings, churn = self.settings.slots, self._state.churn
        rapid = is_rapid(self._state, now_ns, settings)
        if rapid != self._churning:
            self._churning = rapid
            threshold = settings.churn_threshold if rapid else settings.replacement_threshold
            events.append(ChurnGuardChanged(now_ns, rapid, churn.count(now_ns, settings), threshold))
        return events

    def _allocated(self, candidates: Iterable[Candidate], now_ns: int) -> tuple[SlotState, Sequence[Decision]]:
        self._update_closed(now_ns)
        self._end_pins(now_ns)
        ends = self._pins.items() if self.settings.triggers.manual.enabled else ()
        members = self.market.members
        pinned = (by_pin(members[symbol], until_ns) for symbol, until_ns in ends if symbol in members)
        kept = (by_market_cap(members[symbol]) for symbol in self._state.symbols if symbol in members)
        wanted = [*candidates, *self._pending.standing(now_ns), *pinned, *self._fillers, *kept]
        return allocate(self._state, wanted, now_ns, self.settings.slots, self.market.dropped, self.closed_accounts)

    def _end_pins(self, now_ns: int) -> None:
        """Forget the pins whose time is over; the next allocation releases their slots."""
        over = [symbol for symbol, until_ns in self._pins.items() if until_ns is not None and until_ns <= now_ns]
        for symbol in over:
            del self._pins[symbol]


def _refused(
    state: SlotState, pin: Candidate, reason: Literal["delisted", "all_slots_pinned"], now_ns: int
) -> PinRefusal:
    """The refusal of a pin, with the event that reports it."""
    pinned = "all slots are pinned: unpin one first"
    text = pinned if reason != "delisted" else f"{pin.symbol} is delisted"
    return PinRefusal("no_slot", text, [refusal(state, pin, reason, now_ns)])
