"""Collects what is known of funds in four phases (requirement 002): list, values, ranges, measures.

Facts are published as they come, so a phase that is killed goes on where it stopped. That a phase is done is a fact
too, with how many funds it asked for, how many were answered and from where.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import date
from typing import Final, Protocol

import msgspec

from bus.events import AlertRaised, Event, FundJob, FundJobEnded, FundNavDay, FundRangeFound, FundValued
from observer.brokers import PROVIDER
from observer.clock import Clock, kst_datetime
from observer.config import Settings
from observer.errors import ConfigError, DataFileError, ProviderError
from observer.funds.lists import take_list
from observer.funds.sources import open_krx_api
from observer.funds.times import Session, last_over, session_at
from observer.providers.funds import FundQuote, FundSource, NavDay
from observer.reference.etf import Fund
from observer.reference.etf_measures import NavSpan, measure, rest_of, spans_to_ask, window_begin
from observer.reference.etf_report import ETF_GROUP
from observer.schedule.phases import DayPlan
from observer.store.funds import FundReader

logger = logging.getLogger(__name__)

CALLS_AT_ONCE: Final = 8  # an account's: the limiter sets the pace, this hides the answers' latency behind each other
FAILURES_MAX: Final = 0.05  # more funds without an answer than this share are an outage (requirement 002: < 5 %)


class Publisher(Protocol):
    """What takes the facts; `bus.producer.Producer` fits."""

    def publish(self, *events: Event) -> None:
        """Facts, soon."""
        ...

    def publish_together(self, events: Sequence[Event]) -> None:
        """Facts that are stored together."""
        ...


class FundCalls(Protocol):
    """The broker's calls of one or several accounts that take turns."""

    @property
    def accounts(self) -> int:
        """How many take turns."""
        ...

    def next(self) -> FundSource:
        """The calls of the account whose turn it is."""
        ...


class Collected(msgspec.Struct):
    """How a phase went so far: funds asked for, those with an answer, and the errors of the others."""

    asked: int
    answered: int = 0
    failures: list[ProviderError] = []


class FundCollector:
    """Runs the phases, each when it is called.

    Args:
        settings: of the whole configuration; [funds] and [run] are read.
        clock: market time.
        publisher: takes the facts.
        reader: what is stored.
        open_calls: opens the broker's calls about funds.
        trading_days: the sessions that are known.
        settled: returns when all that was published is committed.
        source: who is said to have raised an alert.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        clock: Clock,
        publisher: Publisher,
        reader: FundReader,
        open_calls: Callable[[], AbstractAsyncContextManager[FundCalls]],
        trading_days: Callable[[], Sequence[date]],
        settled: Callable[[], Awaitable[None]],
        source: str,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._publisher = publisher
        self._reader = reader
        self._open_calls = open_calls
        self._trading_days = trading_days
        self._settled = settled
        self._source = source

    async def run(self, job: FundJob, plan: DayPlan, since_ns: int) -> str:
        """Run a phase; funds that it was done for since then are left out. Says what came of it.

        Raises:
            ProviderError: too many funds got no answer.
            DataFileError: no source gave a list that can be believed, or none ever did.
            MissingKeysError: the broker's keys are missing.
        """
        await self._settled()
        started_ns = self._clock.now_ns()
        session = session_at(plan, self._trading_days(), started_ns)
        match job:
            case "fund_list":
                return await self._take_list(started_ns)
            case "fund_values":
                return await self._take_values(session, started_ns, since_ns)
            case "fund_ranges":
                return self._find_ranges(session, started_ns)
            case "fund_measures":
                return await self._take_measures(session, started_ns, since_ns)

    def _ended(
        self, job: FundJob, day: date, started_ns: int, source: str, collected: Collected, detail: str
    ) -> FundJobEnded:
        return FundJobEnded(
            job=job,
            session_date=day.isoformat(),
            started_ns=started_ns,
            ended_ns=self._clock.now_ns(),
            source=source,
            asked=collected.asked,
            answered=collected.answered,
            failed=len(collected.failures),
            detail=detail,
        )

    async def _take_list(self, started_ns: int) -> str:
        today = kst_datetime(started_ns).date()
        taken = await take_list(self._settings, self._reader, self._trading_days(), self._clock)
        collected = Collected(asked=taken.funds, answered=taken.funds)
        ended = self._ended("fund_list", today, started_ns, taken.list_from, collected, taken.detail)
        alerts = [self._alert(taken.problem)] if taken.problem else []
        self._publisher.publish_together([*taken.facts, *alerts, ended])
        return f"{taken.funds} funds from {taken.list_from}: {taken.detail}"

    # --- values ---

    async def _take_values(self, session: Session, started_ns: int, since_ns: int) -> str:
        done = self._reader.valued_since(since_ns)
        funds = [fund for fund in self._etfs() if fund.symbol not in done]

        async def value(calls: FundSource, fund: Fund) -> bool:
            quote = await calls.fund_quote(fund.symbol)
            if quote is not None:
                self._publisher.publish_together(self._value_facts(fund, quote, session))
            return quote is not None

        collected = await self._of_each(funds, value)
        detail = f"{len(done)} before" if done else ""
        self._publisher.publish(self._ended("fund_values", session.day, started_ns, PROVIDER, collected, detail))
        return _outcome(collected)

    def _value_facts(self, fund: Fund, quote: FundQuote, session: Session) -> list[Event]:
        """The value, and once the session is over its day: what a later answer by days replaces."""
        now_ns, day = self._clock.now_ns(), session.day.isoformat()
        shares = quote.listed_shares or fund.listed_shares
        valued = FundValued(
            provider=PROVIDER,
            symbol=fund.symbol,
            session_date=day,
            valued_ns=now_ns,
            price=quote.price,
            nav=quote.nav,
            premium_percent=quote.premium_percent,
            listed_shares=shares,
            aum_krw=quote.price * shares if shares else None,
            net_assets_krw=quote.net_assets_krw,
            stated_tracking_error_percent=quote.tracking_error_percent,
            component_count=quote.component_count,
        )
        if not session.is_over or quote.nav is None:
            return [valued]
        nav_day = FundNavDay(
            PROVIDER,
            fund.symbol,
            day,
            now_ns,
            quote.price,
            quote.nav,
            quote.premium_percent,
            quote.cumulative_volume,
            None,
        )
        return [valued, nav_day]

    # --- ranges ---

    def _find_ranges(self, session: Session, started_ns: int) -> str:
        day = session.day.isoformat()
        found = self._reader.fund_ranges(day, ETF_GROUP)
        events: list[Event] = [
            FundRangeFound(each.symbol, day, self._clock.now_ns(), each.closes, each.highest, each.lowest)
            for each in found
        ]
        collected = Collected(asked=len(self._etfs()), answered=len(found))
        ended = self._ended("fund_ranges", session.day, started_ns, "database", collected, "")
        self._publisher.publish_together([*events, ended])
        return _outcome(collected)

    # --- measures ---

    async def _take_measures(self, session: Session, started_ns: int, since_ns: int) -> str:
        last = last_over(session, self._trading_days())
        days_from_krx = await self._fetch_index_days(last) if "krx_open_api" in self._settings.funds.sources else 0
        waiting = [fund for fund in self._etfs() if fund.measured_ns is None or fund.measured_ns < since_ns]

        async def measure_one(calls: FundSource, fund: Fund) -> bool:
            stored = {day.session_date: day for day in self._reader.nav_days(fund.symbol, _text(window_begin(last)))}
            new = [day for day in await self._fetch_days(calls, fund, stored, last) if _is_news(day, stored)]
            for day in new:
                earlier = stored.get(day.session_date)
                index_close = earlier.index_close if earlier else None
                stored[day.session_date] = msgspec.structs.replace(day, index_close=index_close)
            days = [stored[session_date] for session_date in sorted(stored)]
            measured = measure(fund.symbol, days, fund.leverage or 1.0, _text(last), self._clock.now_ns())
            self._publisher.publish_together([*new, measured])
            return bool(days)

        collected = await self._of_each(waiting, measure_one)
        detail = f"{days_from_krx} days from KRX" if days_from_krx else ""
        self._publisher.publish(self._ended("fund_measures", last, started_ns, PROVIDER, collected, detail))
        return _outcome(collected)

    async def _fetch_days(self, calls: FundSource, fund: Fund, stored: Iterable[str], last: date) -> list[FundNavDay]:
        """The fund's days that are wanted, as the broker gives them: newest first, so many a call."""
        measured_on = None if fund.measured_ns is None else kst_datetime(fund.measured_ns).date()
        listed_on = None if fund.listed_on is None else date.fromisoformat(fund.listed_on)
        days: list[FundNavDay] = []
        for whole in spans_to_ask([date.fromisoformat(day) for day in stored], measured_on, listed_on, last):
            span: NavSpan | None = whole
            while span is not None:
                found = await calls.nav_days(fund.symbol, span.first, span.last)
                days += [_nav_day(day, self._clock.now_ns()) for day in found]
                span = rest_of(span, found[0].day) if found else None
        return days

    async def _fetch_index_days(self, last: date) -> int:
        """Days of all ETFs with their indices, one call a day, those that are not stored yet; how many came."""
        begin = window_begin(last)
        stored = self._reader.indexed_sessions(_text(begin))
        wanted = [day for day in self._trading_days() if begin <= day <= last and _text(day) not in stored]
        fetched = 0
        try:
            async with open_krx_api(self._settings) as krx:
                for day in wanted:
                    if found := await krx.fund_days(day, self._clock.now_ns()):
                        self._publisher.publish_together(found)
                        fetched += 1
        except (ProviderError, ConfigError) as error:
            self._publisher.publish(self._alert(f"no tracking error without KRX's indices: {error}"))
        await self._settled()
        return fetched

    # --- all phases ---

    def _etfs(self) -> list[Fund]:
        """The listed ETFs: an ETN is its issuer's debt, without net assets and without a NAV by days.

        Raises:
            DataFileError: no list was ever taken; a phase that asked for nobody would count as done.
        """
        funds = self._reader.funds()
        if not funds:
            raise DataFileError("no funds are known yet: their list comes first")
        return [fund for fund in funds.values() if fund.active and fund.group == ETF_GROUP]

    async def _of_each(self, funds: Sequence[Fund], ask: Callable[[FundSource, Fund], Awaitable[bool]]) -> Collected:
        """Ask for every fund; a failure of one is the others' nothing, but too many of them are an outage.

        Raises:
            ProviderError: the first of too many; what was answered is published.
        """
        collected = Collected(asked=len(funds))
        waiting = iter(funds)

        async def work(calls: FundCalls) -> None:
            for fund in waiting:
                try:
                    has_answer = await ask(calls.next(), fund)
                    collected.answered += has_answer  # apart: others count while this one waits
                except ProviderError as error:
                    logger.warning("%s: %s", fund.symbol, error)
                    collected.failures.append(error)

        async with self._open_calls() as calls, asyncio.TaskGroup() as tasks:
            for _ in range(CALLS_AT_ONCE * calls.accounts):
                tasks.create_task(work(calls))
        if len(collected.failures) > FAILURES_MAX * len(funds):
            raise collected.failures[0]
        return collected

    def _alert(self, text: str) -> AlertRaised:
        logger.warning(text)
        return AlertRaised(self._clock.now_ns(), "warning", self._source, text)


def _outcome(collected: Collected) -> str:
    failed = f", {len(collected.failures)} failed" if collected.failures else ""
    return f"{collected.answered} of {collected.asked} funds{failed}"


def _nav_day(day: NavDay, now_ns: int) -> FundNavDay:
    return FundNavDay(
        provider=PROVIDER,
        symbol=day.symbol,
        session_date=day.day.isoformat(),
        received_ns=now_ns,
        close=day.close,
        nav=day.nav,
        premium_percent=day.premium_percent,
        volume=day.volume,
        index_close=None,
    )


def _is_news(day: FundNavDay, stored: dict[str, FundNavDay]) -> bool:
    """Whether a day is not stored, or otherwise."""
    earlier = stored.get(day.session_date)
    return earlier is None or (earlier.close, earlier.nav) != (day.close, day.nav)


def _text(day: date) -> str:
    return day.isoformat()
