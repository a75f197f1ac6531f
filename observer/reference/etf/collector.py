"""Collects the data of ETFs in four phases: list, values, ranges, measures.

Facts are published as they arrive, so a killed phase resumes where it stopped. The end of a phase is a fact too, with
the number of ETFs asked for, the number answered, and the source.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import date
from typing import TYPE_CHECKING, Final

import msgspec

from bus.events import EtfJob, EtfJobEnded, EtfNavDay, EtfRangeFound, EtfValued, Event
from observer.base.clock import Clock
from observer.base.errors import ConfigError, NotYetError, ProviderError
from observer.base.local_time import local_datetime
from observer.base.units import NS_PER_S
from observer.brokers.etf import EtfQuote, EtfSource, NavDay
from observer.calendar.phases import DayPlan
from observer.monitoring.alerts.process import Alerts
from observer.monitoring.metrics.counters import COUNTERS
from observer.reference.etf.list_update import take_list
from observer.reference.etf.measures import NavSpan, measure, rest_of, spans_to_ask, window_begin
from observer.reference.etf.model import Etf
from observer.reference.etf.schedule import Session, last_over, session_at
from observer.reference.etf.sources import EtfSources
from observer.reference.listings.model import ETF_GROUP

if TYPE_CHECKING:
    from bus.producer import Producer
    from observer.brokers.accounts.clients import RestOfAll

logger = logging.getLogger(__name__)

CALLS_AT_ONCE: Final = 8  # an account's: the limiter sets the pace, this hides the answers' latency behind each other
FAILURES_MAX: Final = 0.05  # more ETFs without an answer than this share are an outage (docs/requirement.md)


class Collected(msgspec.Struct):
    """A phase's progress: ETFs asked for, ETFs answered, and the errors of the others."""

    asked: int
    answered: int = 0
    failures: list[ProviderError] = []


def record_end(ended: EtfJobEnded) -> None:
    """Note the last end of a job for the exporter."""
    COUNTERS.set("observer_etf_job_ended_timestamp_seconds", ended.job, to=ended.ended_ns / NS_PER_S)
    if ended.asked:
        COUNTERS.set("observer_etf_job_answered_ratio", ended.job, to=ended.answered / ended.asked)


class EtfCollector:
    """Runs each phase when it is called.

    Args:
        provider: the broker that is asked for values and days.
        sources: of the list and of KRX's indices, with their settings and the reader of stored facts.
        clock: market time.
        publisher: publishes the facts.
        open_calls: opens the broker's calls about ETFs.
        trading_days: the known sessions.
        settled: returns when all published facts are committed.
        alerts: of the process.
    """

    def __init__(
        self,
        *,
        provider: str,
        sources: EtfSources,
        clock: Clock,
        publisher: "Producer",
        open_calls: Callable[[], AbstractAsyncContextManager["RestOfAll"]],
        trading_days: Callable[[], Sequence[date]],
        settled: Callable[[], Awaitable[None]],
        alerts: Alerts,
    ) -> None:
        self._provider = provider
        self._sources = sources
        self._clock = clock
        self._publisher = publisher
        self._reader = sources.reader
        self._open_calls = open_calls
        self._trading_days = trading_days
        self._settled = settled
        self._alerts = alerts

    async def run(self, job: EtfJob, plan: DayPlan, since_ns: int) -> str:
        """Run a phase without the ETFs already done since then; return its result in words.

        Raises:
            ProviderError: too many ETFs got no answer.
            DataFileError: no source gave a list that can be believed, or none ever did.
            MissingKeysError: the broker's keys are missing.
        """
        await self._settled()
        started_ns = self._clock.now_ns()
        session = session_at(plan, self._trading_days(), started_ns)
        match job:
            case "etf_list":
                return await self._take_list(started_ns)
            case "etf_values":
                return await self._take_values(session, started_ns, since_ns)
            case "etf_ranges":
                return await self._find_ranges(session, started_ns)
            case "etf_measures":
                return await self._take_measures(session, started_ns, since_ns)

    def _ended(
        self, job: EtfJob, day: date, started_ns: int, source: str, collected: Collected, detail: str
    ) -> EtfJobEnded:
        ended = EtfJobEnded(
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
        record_end(ended)
        return ended

    async def _take_list(self, started_ns: int) -> str:
        today = local_datetime(started_ns).date()
        taken = await take_list(self._sources, self._trading_days(), self._clock)
        collected = Collected(asked=taken.etfs, answered=taken.etfs)
        ended = self._ended("etf_list", today, started_ns, taken.list_from, collected, taken.detail)
        if taken.problem:
            alerts = self._alerts.reported("etf_list_source", "warning", taken.problem)
        else:
            alerts = self._alerts.resolved("etf_list_source", f"the list is of {taken.list_from}")
        self._publisher.publish_together([*taken.facts, *alerts, ended])
        return f"{taken.etfs} ETFs from {taken.list_from}: {taken.detail}"

    # --- values ---

    async def _take_values(self, session: Session, started_ns: int, since_ns: int) -> str:
        done = await asyncio.to_thread(self._reader.valued_since, since_ns)
        etfs = [etf for etf in await self._etfs() if etf.symbol not in done]

        async def value(calls: EtfSource, etf: Etf) -> bool:
            quote = await calls.etf_quote(etf.symbol)
            if quote is not None:
                self._publisher.publish_together(self._value_facts(etf, quote, session))
            return quote is not None

        collected = await self._of_each(etfs, value)
        detail = f"{len(done)} before" if done else ""
        self._publisher.publish(self._ended("etf_values", session.day, started_ns, self._provider, collected, detail))
        return _outcome(collected)

    def _value_facts(self, etf: Etf, quote: EtfQuote, session: Session) -> list[Event]:
        """The value, and after the session its day, which a later answer by days replaces."""
        now_ns, day = self._clock.now_ns(), session.day.isoformat()
        shares = quote.listed_shares or etf.listed_shares
        valued = EtfValued(
            provider=self._provider,
            symbol=etf.symbol,
            session_date=day,
            valued_ns=now_ns,
            price=quote.price if quote.cumulative_volume > 0 else None,
            nav=quote.nav,
            premium_percent=quote.premium_percent,
            listed_shares=shares,
            aum=quote.price * shares if shares else None,
            net_assets=quote.net_assets,
            stated_tracking_error_percent=quote.tracking_error_percent,
            component_count=quote.component_count,
        )
        if not session.is_over or quote.nav is None:
            return [valued]
        nav_day = EtfNavDay(
            self._provider,
            etf.symbol,
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

    async def _find_ranges(self, session: Session, started_ns: int) -> str:
        day = session.day.isoformat()
        found = await asyncio.to_thread(self._reader.etf_ranges, day, ETF_GROUP)
        events: list[Event] = [
            EtfRangeFound(each.symbol, day, self._clock.now_ns(), each.closes, each.highest, each.lowest)
            for each in found
        ]
        collected = Collected(asked=len(await self._etfs()), answered=len(found))
        ended = self._ended("etf_ranges", session.day, started_ns, "database", collected, "")
        self._publisher.publish_together([*events, ended])
        return _outcome(collected)

    # --- measures ---

    async def _take_measures(self, session: Session, started_ns: int, since_ns: int) -> str:
        last = last_over(session, self._trading_days())
        days_from_krx = await self._fetch_index_days(last) if "krx_open_api" in self._sources.settings.sources else 0
        waiting = [etf for etf in await self._etfs() if etf.measured_ns is None or etf.measured_ns < since_ns]

        async def measure_one(calls: EtfSource, etf: Etf) -> bool:
            begin = _text(window_begin(last))
            known = await asyncio.to_thread(self._reader.nav_days, etf.symbol, begin)
            stored = {day.session_date: day for day in known}
            new = [day for day in await self._fetch_days(calls, etf, stored, last) if _is_news(day, stored)]
            for day in new:
                earlier = stored.get(day.session_date)
                index_close = earlier.index_close if earlier else None
                stored[day.session_date] = msgspec.structs.replace(day, index_close=index_close)
            days = [stored[session_date] for session_date in sorted(stored)]
            measured = measure(etf.symbol, days, etf.leverage or 1.0, _text(last), self._clock.now_ns())
            self._publisher.publish_together([*new, measured])
            return bool(days)

        collected = await self._of_each(waiting, measure_one)
        detail = f"{days_from_krx} days from KRX" if days_from_krx else ""
        self._publisher.publish(self._ended("etf_measures", last, started_ns, self._provider, collected, detail))
        return _outcome(collected)

    async def _fetch_days(self, calls: EtfSource, etf: Etf, stored: Iterable[str], last: date) -> list[EtfNavDay]:
        """The ETF's requested days as the broker returns them: newest first, a limited number a call."""
        measured_on = None if etf.measured_ns is None else local_datetime(etf.measured_ns).date()
        listed_on = None if etf.listed_on is None else date.fromisoformat(etf.listed_on)
        days: list[EtfNavDay] = []
        for whole in spans_to_ask([date.fromisoformat(day) for day in stored], measured_on, listed_on, last):
            span: NavSpan | None = whole
            while span is not None:
                found = await calls.nav_days(etf.symbol, span.first, span.last)
                days += [_nav_day(self._provider, day, self._clock.now_ns()) for day in found]
                span = rest_of(span, found[0].day) if found else None
        return days

    async def _fetch_index_days(self, last: date) -> int:
        """Fetch and publish the missing days of all ETFs with their indices, one call a day; return the number of days
        with data.
        """
        begin = window_begin(last)
        stored = await asyncio.to_thread(self._reader.indexed_sessions, _text(begin))
        wanted = [day for day in self._trading_days() if begin <= day <= last and _text(day) not in stored]
        fetched = 0
        try:
            async with self._sources.open_krx_api() as krx:
                for day in wanted:
                    if found := await krx.etf_days(day, self._clock.now_ns()):
                        self._publisher.publish_together(found)
                        fetched += 1
        except (ProviderError, ConfigError) as error:
            self._alerts.report("krx_indices", "warning", f"no tracking error without KRX's indices: {error}")
        else:
            self._alerts.resolve("krx_indices", "KRX gives the indices")
        await self._settled()
        return fetched

    # --- all phases ---

    async def _etfs(self) -> list[Etf]:
        """The listed ETFs, without ETNs: an ETN is its issuer's debt, without net assets and without a NAV by days.

        Raises:
            NotYetError: no list is stored; a phase over an empty list would count as done.
        """
        etfs = await asyncio.to_thread(self._reader.etfs)
        if not etfs:
            raise NotYetError("no ETFs are known yet: their list comes first")
        return [etf for etf in etfs.values() if etf.active and etf.group == ETF_GROUP]

    async def _of_each(self, etfs: Sequence[Etf], ask: Callable[[EtfSource, Etf], Awaitable[bool]]) -> Collected:
        """Call for every ETF. One ETF's failure leaves the others unaffected; too many failures are an outage.

        Raises:
            ProviderError: the first of too many failures; the answers so far are published.
        """
        collected = Collected(asked=len(etfs))
        waiting = iter(etfs)

        async def work(calls: "RestOfAll") -> None:
            for etf in waiting:
                try:
                    has_answer = await ask(calls.next(), etf)
                    collected.answered += has_answer  # apart: others count while this one waits
                except ProviderError as error:
                    logger.warning("%s: %s", etf.symbol, error)
                    collected.failures.append(error)

        async with self._open_calls() as calls, asyncio.TaskGroup() as tasks:
            for _ in range(CALLS_AT_ONCE * calls.accounts):
                tasks.create_task(work(calls))
        if len(collected.failures) > FAILURES_MAX * len(etfs):
            raise collected.failures[0]
        return collected


def _outcome(collected: Collected) -> str:
    failed = f", {len(collected.failures)} failed" if collected.failures else ""
    return f"{collected.answered} of {collected.asked} ETFs{failed}"


def _nav_day(provider: str, day: NavDay, now_ns: int) -> EtfNavDay:
    return EtfNavDay(
        provider=provider,
        symbol=day.symbol,
        session_date=day.day.isoformat(),
        received_ns=now_ns,
        close=day.close,
        nav=day.nav,
        premium_percent=day.premium_percent,
        volume=day.volume,
        index_close=None,
    )


def _is_news(day: EtfNavDay, stored: dict[str, EtfNavDay]) -> bool:
    """Whether a day is not stored, or stored with other values."""
    earlier = stored.get(day.session_date)
    return earlier is None or (earlier.close, earlier.nav) != (day.close, day.nav)


def _text(day: date) -> str:
    return day.isoformat()
