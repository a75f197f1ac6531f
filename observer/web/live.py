"""The state of the running system, once a second: the status of the supervisor, the feed, and the stored day.

No web library is imported here: `observer top` shows the same state. It is off the writer's path: the feed drops what
a slow reader does not take, and the database is only read. Whatever does not answer is said in the parts that miss it.
"""

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from types import TracebackType
from typing import Final, Self, TypeVar

import msgspec

from bus.commands import Status, StatusReply
from bus.control import ControlClient
from bus.endpoints import BusError
from bus.events import EtfJobEnded, Event, Severity, UniverseBuilt
from bus.feed import FeedSubscriber
from observer.base.clock import RealClock
from observer.base.errors import ObserverError
from observer.base.local_time import local_datetime
from observer.base.logs import own_version
from observer.base.settings import endpoints_of
from observer.base.units import NS_PER_MS
from observer.calendar.phases import DayPlan
from observer.store.slots import day_bounds
from observer.system.config import Settings
from observer.system.processes import CORE_WRITER
from observer.web.model import Alerts, Backups, Listings, Processes, State, Storage
from observer.web.state_board import without_connections
from observer.web.state_day import KINDS, DayBasis, DayFold
from observer.web.state_system import (
    NO_SYSTEM,
    STREAMING,
    acknowledgement_s,
    alerts_of,
    answer_of,
    local_time,
    processes_of,
    timeline_of,
    waiting_events,
)
from observer.web.stored import PageReader, SlowFigures, plan_on, read_day, read_slow_figures

logger = logging.getLogger(__name__)

TICK_S: Final = 1.0
ANSWERS_KEPT: Final = 31  # of the supervisor, one a tick: acknowledgements are those of half a minute
ANSWER_S: Final = 1.0  # for the status; the page shows greyed figures when a state is 4 s old
RETRY_S: Final = 5.0  # after the database did not answer
PLAN_S: Final = 20.0  # between two readings of the trading days
SLOW_S: Final = 10.0  # between the slow figures; but they take at most a fiftieth of the time
_SLOW_SHARE: Final = 50
RELOAD_S: Final = 10.0  # between two readings of the stored day, after losses on the feed
HELD_EVENTS_MAX: Final = 200_000  # that arrive while the stored day is read
_AFTER_SWEEP_S: Final = 60.0  # market seconds that a sweep may be late
_AFTER_TRADE_S: Final = 60.0  # machine seconds without a trade of any of many lines with a slot
_MANY_SLOTS: Final = 10
_UP: Final = "RUNNING"
_STREAMER: Final = "track-b"
YIELDING_EVENTS: Final = 500  # that are folded before other work gets its turn
_FIRST: Final = "it is being read: a moment"

Found = TypeVar("Found")


def now_ms() -> int:
    """Milliseconds of the Unix epoch, by the machine's clock."""
    return RealClock().now_ns() // NS_PER_MS


class Live:
    """The state of the system with these settings; it is kept up while the `async with` block runs.

    Args:
        settings: of the system.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._endpoints = endpoints_of(settings.run)
        self._version = own_version()
        self._stack = AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []
        self._renewed = asyncio.Condition()
        self._status: StatusReply | None = None
        self._status_ms = 0
        self._answers: deque[StatusReply] = deque(maxlen=ANSWERS_KEPT)
        self._market_ns = RealClock().now_ns()  # of the last status
        self._market_ms = now_ms()  # the machine's time then
        self._heard_s = time.monotonic()  # of the last event, or of the last moment at which none was due
        self._lost_ms: int | None = None  # of the first loss on the feed since the stored day was read
        self._losses = 0
        self._plan: tuple[str, DayPlan | None, float] = ("", None, 0.0)  # with when it was read
        self._fold = self._empty_fold(self._day)
        self._held: list[Event] | None = None  # while the stored day is read
        self._stale = asyncio.Event()  # the stored day is to be read (again)
        self._stale.set()
        self._asked = asyncio.Event()  # the system was asked once, so the market's day is known, or will not be
        self._loaded_ms = 0
        self._failure = _FIRST
        self._slow: SlowFigures | None = None
        self._slow_failure = _FIRST
        self._rate: float | None = None
        self._state = self._made()

    async def __aenter__(self) -> Self:
        """Begin to follow the system."""
        group = await self._stack.enter_async_context(asyncio.TaskGroup())
        works = (self._follow_feed(), self._keep_loaded(), self._keep_slow_figures(), self._tick())
        self._tasks = [group.create_task(work) for work in works]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        """Stop following it."""
        for task in self._tasks:
            task.cancel()
        try:
            return await self._stack.__aexit__(kind, error, trace)
        except BaseExceptionGroup as group:
            if error is not None and group.exceptions == (error,):
                return False  # it was raised in the block, and nothing failed here
            raise

    def state(self) -> State:
        """The newest state."""
        return self._state

    async def states(self) -> AsyncIterator[State]:
        """The newest state, and then each new one; a slow reader misses those between."""
        while True:
            shown = self._state
            yield shown
            async with self._renewed:
                while self._state is shown:
                    await self._renewed.wait()

    # --- following --------------------------------------------------------------------------------------------

    async def _tick(self) -> None:
        control = ControlClient(self._endpoints.control)
        try:
            while True:
                due_s = time.monotonic() + TICK_S
                await self._ask(control)
                if self._day != self._fold.basis.session_date:
                    self._begin_day()
                self._state = self._made()
                async with self._renewed:
                    self._renewed.notify_all()
                await asyncio.sleep(max(0.0, due_s - time.monotonic()))
        finally:
            control.close()

    async def _ask(self, control: ControlClient) -> None:
        reply: object = None
        with contextlib.suppress(BusError):  # no answer is an answer: `NO_SYSTEM`
            reply = await control.request(Status(), ANSWER_S)
        self._status = reply if isinstance(reply, StatusReply) else None
        if self._status is not None:
            self._status_ms = self._market_ms = now_ms()
            self._market_ns = self._status.market_time_ns
            self._answers.append(self._status)
            if self._status.phase != STREAMING:
                self._heard_s = time.monotonic()
        self._asked.set()

    async def _follow_feed(self) -> None:
        feed = FeedSubscriber(self._endpoints.feed, KINDS, self._lose)
        try:
            folded = 0
            async for event in feed:
                folded += 1
                if folded % YIELDING_EVENTS == 0:
                    await asyncio.sleep(0)  # a backlog is read without a pause of its own
                self._heard_s = time.monotonic()
                self._fold.apply(event)
                if isinstance(event, UniverseBuilt | EtfJobEnded):
                    self._stale.set()  # members, and names of ETFs, are in the database
                if self._held is not None:
                    self._held.append(event)
                    if len(self._held) > HELD_EVENTS_MAX:
                        self._held = None
        finally:
            feed.close()

    def _lose(self, severity: Severity, text: str) -> None:
        logger.log(logging.WARNING if severity == "warning" else logging.INFO, "%s: the stored day is read again", text)
        self._losses += 1
        self._lost_ms = self._lost_ms or now_ms()
        self._stale.set()

    def _begin_day(self) -> None:
        self._fold, self._failure, self._loaded_ms = self._empty_fold(self._day), _FIRST, 0
        self._lost_ms = None
        self._slow, self._slow_failure = None, _FIRST
        self._stale.set()

    async def _keep_loaded(self) -> None:
        await self._asked.wait()
        while True:
            await self._stale.wait()
            self._stale.clear()
            try:
                pause_s = RELOAD_S if await self._load() else RETRY_S
            except ObserverError as error:
                self._failure, pause_s = self._logged(self._failure, error), RETRY_S
            if pause_s == RETRY_S:
                self._stale.set()
            await self._pause(pause_s)

    async def _load(self) -> bool:
        """Read the stored day, then apply what the feed brought meanwhile. Returns whether that was possible: not where
        too much came, or the day ended.
        """
        day, began_ms, losses, self._held = self._day, now_ms(), self._losses, []
        try:
            fold = await self._reading(lambda reader: read_day(reader, self._settings, day))
            if self._held is None or day != self._day:
                return False
            known_ms = now_ms()
            for event in self._held:
                fold.apply(event)
            is_whole = self._losses == losses
            self._lost_ms = None if is_whole else began_ms
            self._fold, self._failure, self._loaded_ms = fold, "", known_ms if is_whole else began_ms
        finally:
            self._held = None
        return True

    async def _pause(self, pause_s: float) -> None:
        """Wait so long, to a tick, or until another day begins."""
        day, until_s = self._day, time.monotonic() + pause_s
        async with self._renewed:
            while time.monotonic() < until_s and self._day == day:
                await self._renewed.wait()

    def _logged(self, before: str, error: ObserverError) -> str:
        """The text of this failure of the database, logged unless it is the one before."""
        if str(error) != before:
            logger.warning("no stored figures: %s", error)
        return str(error)

    async def _keep_slow_figures(self) -> None:
        before: tuple[float, int] | None = None
        await self._asked.wait()
        while True:
            began_s, day = time.monotonic(), self._day
            pause_s = RETRY_S
            try:
                found = await self._reading(partial(self._slow_figures, day))
            except ObserverError as error:
                self._slow_failure = self._logged(self._slow_failure, error)
            else:
                if before is not None:
                    self._rate = max(0.0, (found.committed - before[1]) / (began_s - before[0]))
                before = began_s, found.committed
                self._slow, self._slow_failure = found if day == self._day else None, ""
                pause_s = max(SLOW_S, _SLOW_SHARE * (time.monotonic() - began_s))
            await self._pause(pause_s)

    def _slow_figures(self, day: str, reader: PageReader) -> SlowFigures:
        return read_slow_figures(reader, self._settings, day, self._market_ns, now_ms())

    def _reading(self, question: Callable[[PageReader], Found]) -> Awaitable[Found]:
        """The answer of the database, asked in a thread."""

        def answer() -> Found:
            with PageReader(self._settings.store.url) as reader:
                return question(reader)

        return asyncio.to_thread(answer)

    # --- the state --------------------------------------------------------------------------------------------

    @property
    def _day(self) -> str:
        return local_datetime(self._market_ns).date().isoformat()

    def _empty_fold(self, day: str) -> DayFold:
        return DayFold(DayBasis(session_date=day, begins_ns=day_bounds(day)[0]))

    def _plan_today(self) -> DayPlan | None:
        """The day's plan; the file is read again at intervals, as the calendar may have been corrected."""
        day, known, read_s = self._plan
        if day != self._day or known is None or time.monotonic() - read_s >= PLAN_S:
            with contextlib.suppress(ObserverError):  # the calendar's process reports an unreadable file
                self._plan = self._day, plan_on(self._settings, self._day), time.monotonic()
        return self._plan[1]

    @property
    def _known_ms(self) -> int:
        """Until when the feed's figures are known: while its writer runs until now, for it sends all it commits; but
        not behind a loss, nor while the feed is silent for too long.
        """
        if not self._is_up(CORE_WRITER):
            return self._loaded_ms
        known_ms = self._status_ms
        if self._lost_ms is not None:
            known_ms = min(known_ms, self._lost_ms)
        if self._phase == STREAMING and self._silent_s > self._feed_age_s_max:
            known_ms = min(known_ms, now_ms() - round(self._silent_s * 1_000))
        return max(known_ms, self._loaded_ms)

    def _ms_of(self, moment_ns: int) -> int:
        """The machine's time at a moment of the market, at most now: figures are as old as their records, also after a
        reading. A demo's market goes faster than the machine, and these ages are the market's there.
        """
        return min(self._market_ms - (self._market_ns - moment_ns) // NS_PER_MS, now_ms())

    def _is_up(self, process: str) -> bool:
        processes = self._status.processes if self._status is not None else ()
        return any(each.name == process and each.state == _UP for each in processes)

    @property
    def _phase(self) -> str:
        return self._status.phase if self._status is not None else ""

    @property
    def _silent_s(self) -> float:
        """Machine seconds since the last event, as far as one was due."""
        return time.monotonic() - self._heard_s

    def _made(self) -> State:
        made_ms, status, fold = now_ms(), self._status, self._fold
        if status is None:
            processes = Processes(known_ms=self._status_ms, missing=NO_SYSTEM)
            alerts = Alerts(known_ms=self._status_ms, missing=NO_SYSTEM)
        else:
            processes = processes_of(status, self._version, self._status_ms)
            alerts = alerts_of(status.alerts, self._status_ms)
        phase = self._phase
        level, headline = answer_of(processes, alerts, phase, self._silent_s, self._feed_age_s_max)
        if level == "ok" and self._failure and self._loaded_ms:
            level, headline = "warning", f"the stored day could not be read again: {self._failure}"
        known_ms = self._known_ms
        slow, missing = self._slow, self._slow_failure
        board = fold.board(self._market_ns, known_ms)
        if not self._is_up(_STREAMER):
            board = without_connections(board)
        return State(
            now_ms=made_ms,
            is_live=True,
            day=fold.basis.session_date,
            market_time=local_time(self._market_ns),
            instance=self._settings.instance.name,
            phase=phase,
            level=level,
            headline=headline,
            timeline=timeline_of(self._plan_today(), self._market_ns if status is not None else None, made_ms),
            processes=processes,
            alerts=alerts,
            board=self._marked(board),
            universe=self._marked(fold.universe(self._ms_of)),
            gaps=self._marked(fold.gaps(self._market_ns, known_ms)),
            sweeps=self._marked(fold.sweeps(known_ms, self._ms_of)),
            listings=slow.listings if slow is not None else Listings(known_ms=0, missing=missing),
            premiums=self._marked(fold.premiums(self._ms_of)),
            storage=self._storage(slow, missing),
            backups=slow.backups if slow is not None else Backups(known_ms=0, missing=missing),
            tape=fold.tape(self._ms_of),
        )

    def _marked(self, part: "PartT") -> "PartT":
        """The part, with the reason while the stored day was not read: it may lack what was before."""
        if not self._failure or self._loaded_ms:
            return part
        return msgspec.structs.replace(part, missing=self._failure)

    def _storage(self, slow: SlowFigures | None, missing: str) -> Storage:
        status = self._status
        stored = Storage(known_ms=0, missing=missing) if slow is None else slow.storage
        return msgspec.structs.replace(
            stored,
            rows_per_s=self._rate,
            waiting_events=None if status is None else waiting_events(status),
            acknowledgement_s=None if status is None else acknowledgement_s(self._answers[0], status),
        )

    @property
    def _feed_age_s_max(self) -> float:
        """Machine seconds; a market that runs faster than the machine is a demo's, which is silent for less."""
        after_sweep_s = self._settings.track_a.interval_s + _AFTER_SWEEP_S
        return min(after_sweep_s, _AFTER_TRADE_S) if self._fold.slots_held >= _MANY_SLOTS else after_sweep_s


PartT = TypeVar("PartT", bound=msgspec.Struct)
