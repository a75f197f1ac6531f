"""A run whose broker does not answer: one symbol costs that symbol, an outage ends the run."""

import asyncio
import contextlib
import uuid
from datetime import date

import pytest

from bus.codec import decode_events, unpack
from bus.endpoints import Endpoints
from bus.events import BarsFetched, DailyBar, Poison, SharesAdjusted
from bus.journal import JournalReader
from bus.outbox import Outbox
from bus.producer import Producer
from observer.base.clock import HeldClock
from observer.base.errors import TransportError
from observer.base.local_time import local_ns
from observer.brokers.broker import Bar
from observer.brokers.domestic import BarReach, DailyPage, MinuteDay
from observer.calendar.phases import DayRules
from observer.calendar.service import TradingDayService
from observer.calendar.session_file import SHIPPED, read_session_rules
from observer.collection.backfill.fetching import PRIORITY, Asked, Backfill
from observer.collection.backfill.plan import Span
from observer.store.reader import StoreReader
from tests.store.migrated import make_database

REACH = BarReach(100, 120, 30, 365)
FIRST, LAST = date(2026, 11, 16), date(2026, 11, 17)


class Archive:
    """A broker with two days of each symbol, whose shares were halved between them; it may not answer for some."""

    def __init__(self, silent):
        self.silent = silent
        self.priorities = set()

    async def daily_page(self, symbol, first, last, priority):
        self.priorities.add(priority)
        if symbol in self.silent:
            raise TransportError("no answer")
        prices = ((FIRST, 100.0, 100.0), (LAST, 50.0, 50.0))
        return DailyPage(
            [Bar(symbol, local_ns(day), *(price,) * 4, 7.0, 7.0 * price, base) for day, price, base in prices]
        )

    async def past_days(self, symbol, days, priority):
        self.priorities.add(priority)
        for day in sorted(days, reverse=True)[:1]:  # it keeps one day
            yield MinuteDay(day, [Bar(symbol, local_ns(day, 10), *(1.0,) * 4, 6.0, 6.0)], calls=1)

    async def session_minutes(self, symbol, until_ns, priority):
        raise AssertionError("the session day is not asked for")


async def no_wait():
    pass


def ran(folder, symbols, archive, *, minutes=False):
    """The result of a run, and what it published."""

    async def scenario():
        url = f"sqlite:///{folder / 'o.db'}"
        make_database(url)
        clock = HeldClock(local_ns(date(2026, 11, 18), 21), folder / "begin", 1.0)
        rules = DayRules(sessions=read_session_rules(SHIPPED), venue="KRX")
        producer = Producer(Outbox(folder / "outbox", "backfill", uuid.uuid4().hex), Endpoints(folder).ingest)
        asked = Asked(symbols=symbols, days=Span(FIRST, LAST), minutes=minutes, minutes_first=FIRST)
        with StoreReader(url) as reader, contextlib.closing(producer):
            backfill = Backfill(
                *(asked, REACH),
                provider="kis",
                main_venue="KRX",
                reader=reader,
                producer=producer,
                today=TradingDayService(folder, rules, clock),
                clock=clock,
                wait=no_wait,
            )
            try:
                return await backfill.run([archive])
            finally:
                results.append(backfill.result)

    results = []
    asyncio.run(scenario())
    return results[0], published(folder)


def published(folder):
    found = []
    for path in (folder / "outbox").glob("*.journal"):
        with contextlib.closing(JournalReader(path)) as journal:
            for record in journal:
                found += [each for each in decode_events(unpack(record.payload)) if not isinstance(each, Poison)]
    return found


def test_a_symbol_without_an_answer_costs_that_symbol_alone(tmp_path):
    archive = Archive(["B"])
    result, events = ran(tmp_path, ["A", "B", "C"], archive)
    assert (result.symbols, list(result.failed), result.daily_bars) == (3, ["B"], 4)
    assert {each.symbol for each in events if isinstance(each, BarsFetched)} == {"A", "C"}
    assert archive.priorities == {PRIORITY} == {"background"}


def test_an_outage_ends_the_run(tmp_path):
    symbols = [f"S{number}" for number in range(60)]
    with pytest.raises(TransportError, match="no answer"):
        ran(tmp_path, symbols, Archive(symbols))
    assert published(tmp_path) == []


def test_a_change_of_shares_is_stored_with_the_bars_that_show_it(tmp_path):
    _, events = ran(tmp_path, ["A", "A.NXT"], Archive([]))
    changes = [each for each in events if isinstance(each, SharesAdjusted)]
    assert [(each.symbol, each.session_date, each.base_price, each.previous_close) for each in changes] == [
        ("A", LAST.isoformat(), 50.0, 100.0)
    ]
    assert {each.venue for each in events if isinstance(each, DailyBar)} == {"KRX", "NXT"}


def test_a_difference_is_a_fact_and_days_beyond_reach_are_counted(tmp_path):
    result, events = ran(tmp_path, ["A"], Archive([]), minutes=True)
    [differing] = [each for each in events if isinstance(each, BarsFetched) and each.kind == "minutes"]
    assert (differing.session_date, differing.outcome) == (LAST.isoformat(), "differs")
    assert (differing.volume, differing.daily_volume) == (6.0, 7.0)
    assert (result.differing, result.unreached) == ([differing], 1)
