"""Which symbols the broker is asked for, and what stays as it is. Nobody takes the events: they are in the outbox."""

import asyncio
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

import msgspec
import pytest

from bus.codec import decode_events, unpack
from bus.commands import Refused
from bus.delivery import Delivered
from bus.events import AlertRaised, DailyBar, Event, UniverseBuilt, UniverseMember
from bus.journal import JournalReader
from bus.outbox import Outbox
from bus.producer import Producer
from observer.clock import ManualClock, kst_ns
from observer.config import Settings, load_settings
from observer.errors import TransportError
from observer.practice import DAY, Practice, write_practice
from observer.providers.day_file import write_trading_days
from observer.providers.interfaces import Bar, Lane, Quote
from observer.schedule.phases import DayPlan, ScheduleSettings, plan
from observer.schedule.trading_day import TradingDay
from observer.selection.closing import closing_window
from observer.store.reader import StoreReader
from observer.store.writer import StoreWriter
from observer.universe.builder import UniverseBuilder
from tests.selection.test_selection_base_price import SNAPSHOT
from tests.store.listings import listing_changed
from tests.store.migrated import make_database
from tests.universe.test_universe_files import universe

DAYS = [DAY - timedelta(days=2), DAY - timedelta(days=1), DAY]
BEFORE_PREVIOUS, PREVIOUS, TODAY = (day.isoformat() for day in DAYS)
CLOSED_NS, _ = closing_window(kst_ns(DAYS[1], 15, 30))


class Asked:
    """A source of bars that remembers who was asked for; its quotes are those of a close of 8,000 won."""

    quotes_per_call = 30

    def __init__(self) -> None:
        self.symbols: list[str] = []
        self.quoted: list[str] = []

    async def daily_bars(self, symbol: str, first: date, last: date) -> Sequence[Bar]:
        self.symbols.append(symbol)
        return [Bar(symbol, kst_ns(day), 9e3, 9e3, 9e3, 9e3, 7.0, 7.0) for day in DAYS[:2] if first <= day <= last]

    async def quotes(self, symbols: Sequence[str], lane: Lane = "bulk") -> Sequence[Quote]:
        self.quoted += symbols
        return [Quote(symbol, 0.0, None, None, None, 8e3, None, None, None, None, 0.0, 0.0) for symbol in symbols]

    async def minute_bars(self, symbol: str, from_ns: int, to_ns: int) -> Sequence[Bar]:
        raise AssertionError(symbol)

    async def trades_between(self, symbol: str, from_ns: int, to_ns: int) -> Sequence[object]:
        raise AssertionError(symbol)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "data").mkdir()
    settings = load_settings(write_practice(tmp_path, Practice(symbols=60, seed=7)))
    Path(settings.run.runtime).mkdir(mode=0o700)
    hours = [TradingDay(day, kst_ns(day, 9), kst_ns(day, 15, 30), "test") for day in DAYS]
    write_trading_days(Path(settings.run.runtime), hours)
    make_database(settings.store.url)
    return settings


def today() -> DayPlan:
    return plan(TradingDay(DAY, kst_ns(DAY, 9), kst_ns(DAY, 15, 30), "test"), ScheduleSettings())


def bar(symbol: str, day: str) -> DailyBar:
    return DailyBar("kis", symbol, day, 9e3, 9e3, 9e3, 9e3, 5.0, 5.0)


def seen_closed(symbol: str) -> Event:
    return msgspec.structs.replace(SNAPSHOT, symbol=symbol, session_date=PREVIOUS, receive_time_ns=CLOSED_NS)


def store(settings: Settings, *events: Event) -> None:
    exchanges = [listing_changed(exchange="KOSDAQ", symbol="Z", group="EF")]
    writer = StoreWriter(settings.store.url)
    writer.open()
    writer.commit([Delivered("master-file", "7" * 32, 1, [*exchanges, *events])])
    writer.close()


async def built(settings: Settings, source: Asked) -> tuple[list[Event], str | Refused]:
    """What comes of the order to build: the events, and the answer."""
    outbox = Path(settings.run.runtime) / "outbox" / "master-file"
    producer = Producer(Outbox(outbox, "master-file", "8" * 32), f"ipc://{settings.run.runtime}/nobody")

    async def nothing(*_: object) -> None:
        producer.flush()

    with StoreReader(settings.store.url) as reader:
        builder = UniverseBuilder(
            settings=settings,
            clock=ManualClock(kst_ns(DAY, 5)),
            producer=producer,
            history=source,
            quotes=source,
            reader=reader,
            bring_listings=nothing,
            settled=nothing,
            source="master-file",
        )
        answer = await builder.build_now(today())
    producer.close()
    records = [record for path in outbox.glob("*.journal") for record in JournalReader(path)]
    return [event for record in records for event in decode_events(unpack(record.payload))], answer


def test_who_was_seen_after_the_close_and_has_all_days_before_needs_no_call(settings: Settings) -> None:
    store(
        settings,
        *(listing_changed(symbol=symbol) for symbol in "ABCD"),
        bar("A", BEFORE_PREVIOUS),
        bar("B", BEFORE_PREVIOUS),
        bar("D", PREVIOUS),
        seen_closed("A"),
        seen_closed("C"),
    )
    source = Asked()
    events, answer = asyncio.run(built(settings, source))
    assert sorted(source.symbols) == ["B", "C"]
    assert answer == "4 symbols out of 5 listings"
    bars = {(event.symbol, event.session_date) for event in events if isinstance(event, DailyBar)}
    assert bars == {("A", PREVIOUS), ("B", PREVIOUS), ("C", BEFORE_PREVIOUS), ("C", PREVIOUS)}
    [member] = [event for event in events if isinstance(event, UniverseMember) and event.symbol == "A"]
    assert member.previous_close == SNAPSHOT.price
    assert any(isinstance(event, AlertRaised) and "only 4 symbols" in event.text for event in events)


def test_a_universe_that_is_there_stays_as_it_is_and_the_answer_says_why(settings: Settings) -> None:
    store(settings, listing_changed(symbol="A"), *universe(TODAY))
    source = Asked()
    events, answer = asyncio.run(built(settings, source))
    assert source.symbols == []
    assert not [event for event in events if isinstance(event, UniverseBuilt | UniverseMember)]
    assert isinstance(answer, Refused)
    assert "stays as it is all day" in answer.message
    assert [path.name for path in Path(settings.run.universe).iterdir()] == [f"{TODAY.replace('-', '')}_kr_stocks.json"]


def test_what_the_master_file_leaves_out_is_asked_for_or_computed(settings: Settings) -> None:
    store(
        settings,
        listing_changed(symbol="A"),
        listing_changed(symbol="B", base_price=None, market_cap_krw=None, listed_shares=3.0),
        listing_changed(symbol="C", market_cap_krw=None, listed_shares=None),
    )
    source = Asked()
    events, _ = asyncio.run(built(settings, source))
    assert source.quoted == ["B"]
    caps = {event.symbol: event.market_cap_krw for event in events if isinstance(event, UniverseMember)}
    assert caps == {"A": 4.2e14, "B": 24_000.0, "C": 0.0}
    texts = [event.text for event in events if isinstance(event, AlertRaised)]
    assert "1 symbols without market capitalisation, which counts as 0: C" in texts


def test_an_outage_builds_no_universe(settings: Settings) -> None:
    class Away(Asked):
        async def daily_bars(self, symbol: str, first: date, last: date) -> Sequence[Bar]:
            raise TransportError("nobody answers")

    store(settings, *(listing_changed(symbol=symbol) for symbol in "AB"))
    with pytest.raises(TransportError):
        asyncio.run(built(settings, Away()))
