"""What the database says of the tape's day, read in bounded parts beside the event loop."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Final, ParamSpec, TypeVar

from bus.events import Snapshot, SweepCompleted, TapePage, VolumeRise
from observer.base.errors import StoreError
from observer.base.units import NS_PER_S
from observer.collection.settings import EVALUATION_S_MAX
from observer.collection.tape.chain import Chain, Span
from observer.collection.tape.learning import Change, Claim, claims_of
from observer.monitoring.alerts.process import Alerts
from observer.store.reader import StoreReader
from observer.store.tape import PageMark

P = ParamSpec("P")
T = TypeVar("T")

READ_AGAIN_S: Final = 2.0  # machine seconds between attempts while the database does not answer
VOLUMES_NS: Final = 600 * NS_PER_S  # of the day's volumes, what is read at once: some 4,000 snapshots of a sweep
SILENT_NS: Final = int(2 * EVALUATION_S_MAX) * NS_PER_S  # of Track B, which publishes each evaluation: then it is dead
STORED_EVERY_NS: Final = 120 * NS_PER_S  # a writer at work stores something: the tape alone publishes once a minute
_UNREAD: Final = "tape_unread"


class StoredDay:
    """Reads one day; every query waits while the database does not answer."""

    def __init__(self, reader: StoreReader, alerts: Alerts, day: str, now_ns: int) -> None:
        self._reader = reader
        self._alerts = alerts
        self._day = day
        self._changes: list[tuple[int, Change]] = []
        self._decided_ns = 0
        self._closed_ns: int | None = None
        self._read_upto: Mapping[str, int] | None = None
        self._stored_ns = now_ns
        self._silent_ns = 0
        self.claims: dict[str, list[Claim]] = {}
        """By line, when its trades came over the stream."""
        self.swept: SweepCompleted | None = None
        """The last sweep whose volumes are all stored."""

    @property
    def evaluated_ns(self) -> int:
        """Until when Track B has evaluated the day's volumes (UTC ns); 0 before its first evaluation. When it has
        closed the day, until when they are stored.
        """
        return self._decided_ns if not self.is_over or self.swept is None else self.swept.completed_ns

    @property
    def is_over(self) -> bool:
        """Whether Track B has closed the day: no line is streamed any more, and what was streamed is stored."""
        return self._closed_ns is not None

    @property
    def is_silent(self) -> bool:
        """Whether Track B has published nothing for SILENT_NS in which the database stored other events: a writer that
        stands still is no sign of a dead Track B.
        """
        return self._silent_ns >= SILENT_NS

    async def is_done(self) -> bool:
        """Whether an earlier process finished the day's tape."""
        progress = await self._read(self._reader.tape_progress, self._day)
        return progress is not None and progress.is_done

    async def pages(self) -> AsyncIterator[Sequence[TapePage]]:
        """The day's pages in parts. The pages of a line come in order."""
        after: PageMark | None = None
        while True:
            pages, after = await self._read(self._reader.tape_part, self._day, None, after)
            yield pages
            if after is None:
                return

    async def refresh(self, now_ns: int) -> None:
        """Take in what Track B decided since the last call, and the last sweep."""
        self.swept = await self._read(self._reader.last_sweep, self._day)
        found = await self._read(self._reader.decided, self._day, self._read_upto)
        if found.steps:
            self._silent_ns = 0
        elif found.upto != self._read_upto:
            self._silent_ns += min(now_ns - self._stored_ns, STORED_EVERY_NS)
        if found.upto != self._read_upto:
            self._stored_ns = now_ns
        self._read_upto, self._decided_ns = found.upto, max(self._decided_ns, found.evaluated_ns)
        if found.changes or found.closed_ns is not None:
            self._changes += found.changes
            self._closed_ns = found.closed_ns if found.closed_ns is not None else self._closed_ns
            self.claims = claims_of(self._changes, self._closed_ns)

    async def is_behind(self) -> bool:
        """Whether the database went back and lacks what was read of it, perhaps trades of the stream."""
        return await self._read(self._reader.is_behind, self._read_upto or {})

    async def volumes(self, since_ns: int, upto_ns: int) -> Sequence[Snapshot | VolumeRise]:
        """The volumes received in [since, upto), oldest first."""
        found: list[Snapshot | VolumeRise] = [
            *await self._read(self._reader.snapshots, self._day, since_ns, upto_ns),
            *await self._read(self._reader.volume_rises, self._day, since_ns - 1, upto_ns),
        ]
        return sorted(found, key=attrgetter("receive_time_ns"))

    async def has_open_gap(self, symbol: str) -> bool:
        """Whether trades of the line may still be missing from its stream, and be filled. Only Track B says what a cut
        missed: a silent one never does.
        """
        gaps = await self._read(self._reader.gaps, self._day, symbol)
        cuts = await self._read(self._reader.openings, self._day, symbol)
        return any(each.is_open for each in gaps) or (not self.is_silent and any(each.is_open for each in cuts))

    async def take_streamed(self, symbol: str, chain: Chain) -> None:
        """Take in what is stored of a line that had a slot."""
        for span in await self._read(self._reader.held_spans, symbol, self._day):
            begin_s, end_s = span.from_ns // NS_PER_S, span.to_ns // NS_PER_S
            chain.hold(Span(max(0.0, span.after_volume), span.upto_volume, begin_s, end_s))
        chain.join_asked()

    async def lines_with_minute_bars(self) -> frozenset[str]:
        """The lines that have minute bars of the day in the place of trades."""
        return await self._read(self._reader.lines_with_minute_bars, self._day)

    async def _read(self, query: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """A query's answer; waits while the database gives none."""
        while True:
            try:
                found = await asyncio.to_thread(query, *arguments, **named)
            except StoreError as error:
                self._alerts.report(_UNREAD, "warning", f"the tape waits for the database: {error}")
                await asyncio.sleep(READ_AGAIN_S)
            else:
                self._alerts.resolve(_UNREAD, "the database answers")
                return found


def windows(since_ns: int, upto_ns: int, first_ns: int) -> Iterator[tuple[int, int]]:
    """[since, upto) in parts whose volumes fit into memory; no volume is older than `first_ns`."""
    begin_ns = since_ns
    while begin_ns < upto_ns:
        end_ns = min(max(begin_ns, first_ns) + VOLUMES_NS, upto_ns)
        yield begin_ns, end_ns
        begin_ns = end_ns
