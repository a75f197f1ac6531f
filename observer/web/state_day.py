"""A day's state, folded from its events: those that are stored, and then those of the feed. Pure.

An event may come twice: a process that starts reads the stored day while the feed goes on, and applies what came
meanwhile after it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import msgspec

from bus.events import (
    ConnectionChanged,
    EtfJobEnded,
    EtfValued,
    Event,
    Fact,
    GapDetected,
    GapEmpty,
    GapOpened,
    GapRecovered,
    GapTimesMeasured,
    GapUnrecoverable,
    SlotAssigned,
    SlotExtended,
    SlotOverflowed,
    SlotReleased,
    Snapshot,
    SweepCompleted,
    TapeProgressed,
    TokenRenewed,
    Trade,
    TradesConflated,
    TriggerEnded,
    TriggerFired,
    UniverseBuilt,
    UniverseMember,
)
from observer.base.lines import stock_of
from observer.base.units import NS_PER_MINUTE, NS_PER_S
from observer.web.model import Board, Gaps, Premium, Premiums, Sweep, Sweeps, Tape, Tile, Universe
from observer.web.state_board import BoardEvent, BoardFold, without_live_figures
from observer.web.state_gaps import GapEvent, GapFold
from observer.web.state_prices import Prices
from observer.web.state_system import local_time

KINDS: Final[tuple[type[Fact], ...]] = (
    *(Trade, TradesConflated, Snapshot, SweepCompleted, UniverseBuilt),
    *(SlotAssigned, SlotExtended, SlotReleased, SlotOverflowed, TriggerFired, TriggerEnded),
    *(ConnectionChanged, TokenRenewed),
    *(GapOpened, GapEmpty, GapDetected, GapRecovered, GapUnrecoverable, GapTimesMeasured),
    *(EtfValued, EtfJobEnded, TapeProgressed),
)
"""The kinds of events that a day's state is made of."""

MsOf = Callable[[int], int]
"""The machine's time (ms of the Unix epoch) at a moment of the market (UTC ns)."""

TILES_MAX: Final = 400
PREMIUMS_MAX: Final = 40
SWEEPS_MAX: Final = 200


class DayBasis(msgspec.Struct, frozen=True, kw_only=True):
    """What stands for a whole day: its date, the local midnight (UTC ns) with which it begins, the number of slots of
    each account, the universe and when it was built, sectors by exchange and stock, names of ETFs, and whether the tape
    runs.
    """

    session_date: str
    begins_ns: int
    capacities: Mapping[str, int] = {}
    members: Sequence[UniverseMember] = ()
    built_ns: int = 0
    sectors: Mapping[tuple[str, str], str] = {}
    etf_names: Mapping[str, str] = {}
    has_tape: bool = False


class DayFold:
    """Folds a day's events in order.

    Args:
        basis: of the day.
        is_past: whether the day is over: the last slots stay on the board.
    """

    def __init__(self, basis: DayBasis, *, is_past: bool = False) -> None:
        self.basis = basis
        self._is_past = is_past
        self._members = {member.symbol: member for member in basis.members}
        self.prices = Prices(basis.session_date, basis.begins_ns)
        self._board = BoardFold(basis.capacities, keeps_last=is_past)
        self._gaps = GapFold(basis.session_date, basis.begins_ns)
        self._sweeps: dict[int, SweepCompleted] = {}
        self._values: dict[str, EtfValued] = {}
        self._tape: TapeProgressed | None = None
        self._tiles: Sequence[Tile] | None = None

    def name_of(self, line: str) -> str:
        """The name of a line, or the line itself where the day's universe does not have it."""
        member = self._members.get(line)
        return member.name if member is not None else self.basis.etf_names.get(line, line)

    @property
    def slots_held(self) -> int:
        """The number of lines with a slot."""
        return self._board.slots_held

    def apply(self, event: Event) -> None:
        """Apply the next event."""
        match event:
            case Trade() | TradesConflated():
                self.prices.apply(event)
            case Snapshot():
                self.prices.apply(event)
                self._tiles = None
            case SweepCompleted():
                if event.session_date == self.basis.session_date:
                    self._sweeps[event.sweep] = event
            case EtfValued():
                self._values[event.symbol] = event
            case TapeProgressed():
                if event.session_date == self.basis.session_date:
                    self._tape = event
            case _ if isinstance(event, GapEvent):
                self._gaps.apply(event)
            case _ if isinstance(event, BoardEvent):
                self._board.apply(event)

    def board(self, now_ns: int, known_ms: int) -> Board:
        """The slots at this moment (UTC ns)."""
        board = self._board.board(self.prices, now_ns, known_ms, self.name_of)
        return without_live_figures(board) if self._is_past else board

    def gaps(self, now_ns: int, known_ms: int) -> Gaps:
        """The gaps at this moment (UTC ns)."""
        return self._gaps.gaps(now_ns, known_ms, self.name_of)

    def universe(self, ms_of: MsOf) -> Universe:
        """The largest lines by what they traded, as old as the newest snapshot."""
        if not self._members:
            return Universe(known_ms=0, missing="no universe is stored for this day; if one is due, an alert says why")
        if self._tiles is None:
            self._tiles = sorted(self._traded(), key=lambda tile: (-tile.value, tile.line))[:TILES_MAX]
        known_ms = ms_of(self.prices.swept_ns or self.basis.built_ns)
        return Universe(known_ms=known_ms, lines=len(self._members), tiles=self._tiles)

    def _traded(self) -> Iterable[Tile]:
        for line, member in self._members.items():
            seen = self.prices.lines.get(line)
            if seen is not None and seen.value > 0:
                sector = self.basis.sectors.get((member.exchange, stock_of(line)), "")
                yield Tile(line, member.name, sector, seen.change_percent, seen.value)

    def sweeps(self, known_ms: int, ms_of: MsOf) -> Sweeps:
        """The day's sweeps, as old as the last one's end; before the first one that there is none is known."""
        ordered = sorted(self._sweeps.values(), key=lambda each: each.started_ns)[-SWEEPS_MAX:]
        if ordered:
            known_ms = ms_of(max(each.completed_ns for each in ordered))
        return Sweeps(known_ms=known_ms, sweeps=[self._sweep(each) for each in ordered])

    def _sweep(self, event: SweepCompleted) -> Sweep:
        return Sweep(
            begin_minute=round((event.started_ns - self.basis.begins_ns) / NS_PER_MINUTE, 2),
            duration_s=round((event.completed_ns - event.started_ns) / NS_PER_S, 1),
            asked=event.requested,
            answered=event.received,
        )

    def premiums(self, ms_of: MsOf) -> Premiums:
        """ETFs with the largest premiums and discounts of the newest day with values, as old as the newest value."""
        day = max((each.session_date for each in self._values.values()), default="")
        if not day:
            return Premiums(known_ms=0, missing="no ETF was valued yet: `observer etf report` shows the jobs")
        values = [each for each in self._values.values() if each.session_date == day]
        found = [each for value in values for each in self._premium(value)]
        largest = sorted(found, key=lambda each: (-abs(each.premium_percent), each.symbol))[:PREMIUMS_MAX]
        return Premiums(known_ms=ms_of(max(each.valued_ns for each in values)), day=day, premiums=largest)

    def _premium(self, value: EtfValued) -> Iterable[Premium]:
        if value.price is not None and value.nav:
            percent = round(100 * (value.price / value.nav - 1), 3)
            name = self.basis.etf_names.get(value.symbol, value.symbol)
            yield Premium(symbol=value.symbol, name=name, price=value.price, nav=value.nav, premium_percent=percent)

    def tape(self, ms_of: MsOf) -> Tape:
        """The tape's progress, as old as its report."""
        if self._tape is None:
            missing = "it has not begun on this day" if self.basis.has_tape else "the tape is off: add a section [tape]"
            return Tape(known_ms=0, missing=missing, is_on=self.basis.has_tape)
        progress = self._tape
        left_s = progress.seconds_left
        done_ns = None if left_s is None else progress.progressed_ns + round(left_s * NS_PER_S)
        return Tape(
            known_ms=ms_of(progress.progressed_ns),
            is_on=True,
            share_held=round(progress.held_volume / progress.day_volume, 5) if progress.day_volume else None,
            lines_complete=progress.complete_lines,
            lines=progress.lines,
            done_at=None if done_ns is None else local_time(done_ns),
        )
