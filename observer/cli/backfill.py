"""`observer backfill`: official bars of past days from the broker, and their comparison with the stored trades."""

import asyncio
import contextlib
import os
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from random import Random
from typing import Annotated, Any, Final, TypeVar

from click.exceptions import Exit

from bus.events import BarsChecked
from bus.outbox import Outbox, OutboxInUseError
from bus.producer import Producer, delivering
from observer.base.clock import Clock, clock_from_environment
from observer.base.errors import ConfigError, NoDataError, StoreFailedError
from observer.base.local_time import local_datetime
from observer.base.settings import BaseSettings, is_reachable
from observer.base.signals import stopping_on_signals
from observer.base.units import NS_PER_MINUTE
from observer.brokers.accounts.clients import BrokerAccount, Brokers
from observer.brokers.broker import broker_named
from observer.brokers.domestic import BarReach
from observer.calendar.phases import DayPlan
from observer.calendar.service import TradingDayService
from observer.cli.backfill_output import estimate_map, progress, result_map, show_checks, show_estimate, show_result
from observer.cli.context import (
    ConfigOption,
    DayArgument,
    JsonOption,
    SettingsOption,
    as_maps,
    asked_day,
    full_settings,
    print_error,
    print_json,
)
from observer.cli.enrich import ingest_of
from observer.cli.frame import Answer
from observer.cli.lines import typed_line
from observer.cli.options import Option
from observer.cli.removed import require_hot
from observer.collection.backfill.checking import check_of
from observer.collection.backfill.fetching import Asked, Backfill, Result, stored_of
from observer.collection.backfill.plan import Estimate, Span, busy_until, estimated
from observer.store.reader import StoreReader
from observer.system.config import Settings

_PROCESS: Final = "backfill"  # the folder of a run's outbox, and its event stream's name
_INTERRUPTED: Final = 130  # a shell's exit status of a program that SIGINT ended
_DRAIN_S: Final = 60.0
T = TypeVar("T")


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"{text!r} is not a date such as 2026-11-18") from error


SymbolsOption = Annotated[str | None, Option(metavar="SYMBOL,SYMBOL", help="These; default: today's universe.")]


def bars(
    first: Annotated[date, Option("--from", metavar="DATE", parser=_date, help="The first day.")],
    last: Annotated[
        date | None, Option("--to", metavar="DATE", parser=_date, help="The last day; default: the last that is over.")
    ] = None,
    daily: Annotated[bool, Option("--daily", help="Fetch daily bars alone.")] = False,
    minutes: Annotated[
        bool, Option("--minutes", help="Fetch minute bars, and the daily bars that prove them.")
    ] = False,
    symbols: SymbolsOption = None,
    again: Annotated[
        bool, Option("--again", help="Fetch minute bars anew where they lack the daily bar's volume.")
    ] = False,
    any_time: Annotated[bool, Option("--any-time", help="Do not wait for the end of the day's sweeps.")] = False,
    dry_run: Annotated[bool, Option("--dry-run", help="Show the estimate alone.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fetch official bars of past days. Asks for the daily or minute bars that are not stored yet.

    Calls have the lowest priority of all, and wait while the day is collected. A run that was stopped goes on where it
    was: each day is stored whole or not at all. The volume of a day's minute bars is compared with its daily bar's; a
    difference is stored and shown.

    Exit status 0; 1 when symbols got no answer, 130 after ctrl-C.
    """
    if daily == minutes:
        raise ConfigError("give --minutes or --daily")
    settings, clock = full_settings(config), clock_from_environment()
    reach = broker_named(settings.provider).bar_reach
    if reach is None:
        raise ConfigError(f"{settings.provider} has no bars of past days")
    today = TradingDayService(Path(settings.run.runtime), settings.day_rules, clock)
    days, session_day = _days(first, last, today, clock)
    _migrate(settings)
    run = _Run(settings, clock, today, reach, waits=not any_time, shows=not as_json)

    def asked(reader: StoreReader) -> Asked:
        minutes_first = local_datetime(clock.now_ns()).date() - timedelta(days=reach.minute_days)
        return Asked(
            symbols=_symbols(symbols, reader, settings, clock),
            days=days,
            minutes=minutes,
            minutes_first=minutes_first,
            session_day=session_day,
            again=again,
        )

    if dry_run:
        with StoreReader(settings.store.url) as reader:
            found = run.estimate(reader, asked(reader))
        if as_json:
            print_json(estimate_map(found))
        else:
            show_estimate(found)
        return
    result = asyncio.run(_until_stopped(run.fetch(asked)))
    if result is not None and as_json:
        print_json(result_map(result, run.estimated))
    elif result is not None:
        show_result(result)
    if result is None or result.failed:
        raise Exit(_INTERRUPTED if result is None else 1)


def check(day: DayArgument = None, symbols: SymbolsOption = None, *, settings: SettingsOption) -> Answer:
    """Compare fetched minute bars with the stored trades. Of these, bars are made for a day.

    Each minute of a symbol with stored trades counts once: equal; of another volume; of the same volume and other
    prices; without stored trades, as while the symbol was not streamed; without an official bar. The result is stored.
    """
    clock = clock_from_environment()
    with StoreReader(settings.store.url) as reader:
        session_date = asked_day(reader, day, settings.run).session_date
        require_hot(settings, session_date)
        wanted = None if symbols is None else _typed(symbols, settings)
        fetches = [each for each in reader.minute_fetches(session_date) if wanted is None or each.symbol in wanted]
        if not fetches:
            raise NoDataError(
                f"no minute bars of {session_date} are fetched: "
                f"`observer backfill bars --minutes --from {session_date} --to {session_date}` fetches them"
            )
        checks = (check_of(reader, fetch, clock.now_ns()) for fetch in fetches)
        found = [check for check in checks if check is not None]
    if found:
        asyncio.run(_until_stopped(_store_checks(settings, found)))
    found_map = {"day": session_date, "fetched": len(fetches), "symbols": as_maps(found)}
    return Answer(found_map, partial(show_checks, session_date, len(fetches), found))


# --- a run ---------------------------------------------------------------------------------------------------


class _Run:
    """The parts of one run around its fetch: accounts, producer, estimate, progress."""

    def __init__(
        self, settings: Settings, clock: Clock, today: TradingDayService, reach: BarReach, *, waits: bool, shows: bool
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._today = today
        self._reach = reach
        self._waits = waits
        self._shows = shows
        self._said_ns = 0
        self.estimated: Estimate | None = None

    async def fetch(self, asked_of: Callable[[StoreReader], Asked]) -> Result:
        """Fetch what is missing once all that an earlier run published is stored."""
        settings = self._settings
        accounts = self._accounts()
        async with _producing(settings) as producer, contextlib.AsyncExitStack() as stack:
            if not await producer.drain(_DRAIN_S):
                raise StoreFailedError("the writer does not take what an earlier run published: see `observer status`")
            reader = stack.enter_context(StoreReader(settings.store.url))
            asked = await asyncio.to_thread(asked_of, reader)
            self.estimated = await asyncio.to_thread(self.estimate, reader, asked)
            if self._shows:
                show_estimate(self.estimated)
            report = stack.enter_context(progress(len(asked.symbols)))
            backfill = Backfill(
                asked,
                self._reach,
                provider=settings.provider,
                main_venue=settings.venue.name,
                reader=reader,
                producer=producer,
                today=self._today,
                clock=self._clock,
                wait=self._idle,
                report=report,
            )
            return await backfill.run([await stack.enter_async_context(account.rest()) for account in accounts])

    def estimate(self, reader: StoreReader, asked: Asked) -> Estimate:
        """What is missing."""
        needs = [stored_of(reader, symbol, asked).needs(asked, self._reach) for symbol in asked.symbols]
        plan = self._today.plan_of(asked.days.last)
        limit = self._settings.broker.rate_limit
        per_minute = limit.calls_per_minute or limit.calls_per_second * 60
        rate = min(limit.calls_per_second, per_minute / 60) * len(self._settings.pool.accounts)
        return estimated(needs, self._reach, _minutes_of(plan), rate, asked.session_day)

    def _accounts(self) -> Sequence[BrokerAccount]:
        brokers = Brokers(self._settings.clients, self._clock, Random(os.getpid()), _PROCESS)
        usable = [each for each in brokers.usable("bars") if each.provider == self._settings.provider]
        if accounts := [each for each in usable if each.has_valid_token()]:
            return accounts
        raise ConfigError("no account has a valid token: `observer run` gets one")

    async def _idle(self) -> None:
        """Wait while the day is collected."""
        while self._waits and (until_ns := _busy_until(self._today, self._clock)) is not None:
            if self._said_ns != until_ns and self._shows:
                self._said_ns = until_ns
                until = f"{local_datetime(until_ns):%H:%M}"
                print_error(f"waiting until {until}, the end of the day's sweeps; --any-time goes on")
            await self._clock.sleep_until(until_ns)


def _busy_until(today: TradingDayService, clock: Clock) -> int | None:
    now_ns = clock.now_ns()
    known = today.known()
    if known is None and local_datetime(now_ns).weekday() >= 5:  # no day file is there: no market opens at week-ends
        return None
    return busy_until(known or today.plan_of(local_datetime(now_ns).date()), now_ns)


def _days(first: date, last: date | None, today: TradingDayService, clock: Clock) -> tuple[Span, date | None]:
    """The asked days up to the last that is over, and this day if it is among them."""
    now_ns = clock.now_ns()
    this_day = local_datetime(now_ns).date()
    known = today.known()
    is_over = known is not None and known.trades and known.trades_to_ns <= now_ns
    over = this_day if is_over else this_day - timedelta(days=1)
    end = min(last or over, over)
    if first > end:
        raise ConfigError(f"no day from {first} to {last or over} is over: the last one that is over is {over}")
    return Span(first, end), this_day if is_over and end == this_day else None


def _symbols(typed: str | None, reader: StoreReader, settings: Settings, clock: Clock) -> Sequence[str]:
    if typed is not None:
        return _typed(typed, settings)
    this_day = local_datetime(clock.now_ns()).date().isoformat()
    found = reader.universe_in_force(this_day, settings.instance.market, clock.now_ns())
    if found is None:
        raise NoDataError("no universe is stored: give --symbols, or `observer universe build` builds one")
    return [member.symbol for member in found.members]


def _typed(symbols: str, settings: Settings) -> Sequence[str]:
    found = dict.fromkeys(typed_line(each.strip(), settings.instance.market) for each in symbols.split(","))
    return [each for each in found if each]


def _minutes_of(plan: DayPlan) -> int:
    """The most minutes with a bar that a venue's day has: a close's own minute is one of them."""
    by_venue: dict[str, int] = {}
    for each in plan.sessions.sessions:
        minutes = (each.closes_ns - each.opens_ns) // NS_PER_MINUTE + 1
        by_venue[each.venue] = by_venue.get(each.venue, 0) + minutes
    return max(by_venue.values(), default=0)


def _migrate(settings: Settings) -> None:
    if not is_reachable(settings.run):
        from observer.store.owner import migrate_own

        migrate_own(settings.store.url, settings.instance)


@contextlib.asynccontextmanager
async def _producing(settings: Settings) -> AsyncIterator[Producer]:
    """A producer to the writer of the running system, or to an own one; its events are committed at its end.

    Raises:
        ConfigError: another run is under way.
        StoreFailedError: the writer did not commit all: it stays in the outbox for the next run.
    """
    folder = Path(settings.run.runtime) / "outbox" / _PROCESS
    base = BaseSettings(run=settings.run, store=settings.store, instance=settings.instance)
    async with ingest_of(base) as address:
        try:
            outbox = Outbox(folder, _PROCESS, uuid.uuid4().hex, settings.backup.archive_limits)
        except OutboxInUseError as error:
            raise ConfigError("another `observer backfill` is under way") from error
        async with delivering(outbox, address) as producer:
            try:
                yield producer
            finally:
                is_stored = await producer.drain(_DRAIN_S)
                left = producer.unacknowledged
        if not is_stored:
            raise StoreFailedError(f"{left:,} events are not committed; the next run delivers them")


async def _until_stopped(work: Coroutine[Any, Any, T]) -> T | None:
    """The result; None after SIGINT or SIGTERM, when all that was published is stored."""
    stopping = asyncio.Event()
    with stopping_on_signals(stopping):
        running, stopped = asyncio.create_task(work), asyncio.create_task(stopping.wait())
        await asyncio.wait([running, stopped], return_when=asyncio.FIRST_COMPLETED)
        is_done = running.done()
        for task in (running, stopped):
            task.cancel()
        await asyncio.gather(running, stopped, return_exceptions=True)
    return running.result() if is_done else None


async def _store_checks(settings: Settings, found: Sequence[BarsChecked]) -> None:
    _migrate(settings)
    async with _producing(settings) as producer:
        producer.publish(*found)
