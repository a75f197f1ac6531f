"""Which symbols need the broker's daily bars, and which keep theirs. The events stay in the outbox."""

import asyncio
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from bus.codec import decode_events, unpack
from bus.commands import Refused
from bus.delivery import Delivered
from bus.events import AlertRaised, DailyBar, SharesAdjusted, UniverseBuilt, UniverseMember
from bus.journal import JournalReader
from bus.outbox import Outbox
from bus.producer import Producer
from observer.base.clock import ManualClock
from observer.base.errors import BadRequestError, TransportError
from observer.base.local_time import local_ns
from observer.brokers.broker import Bar, Quote
from observer.calendar.day_file import write_trading_days
from observer.calendar.service import TradingDayService
from observer.calendar.trading_day import TradingDay
from observer.demo.configuration import DAY, DemoConfiguration, write_demo_configuration
from observer.monitoring.alerts.process import Alerts
from observer.reference.universe.builder import UniverseBuilder
from observer.reference.universe.parts import UniverseParts
from observer.reference.universe.settings import UniverseVenues
from observer.store.reader import StoreReader
from observer.store.writer import StoreWriter
from observer.system.config import load_settings
from tests.day_plans import day_plan
from tests.reference.test_universe_files import universe
from tests.selection.test_selection_base_price import SNAPSHOT
from tests.store.listings import listing_changed
from tests.store.migrated import make_database

DAYS = [DAY - timedelta(days=2), DAY - timedelta(days=1), DAY]
BEFORE_PREVIOUS, PREVIOUS, TODAY = (day.isoformat() for day in DAYS)
CLOSED_NS = local_ns(DAYS[1], 15, 31)


class Asked:
    """A source of bars that records the requested symbols; its quotes have a close of 8,000 won, and no further venue
    lists anything.
    """

    quotes_per_call = 30

    def __init__(self):
        self.symbols: list[str] = []
        self.quoted: list[str] = []

    async def daily_bars(self, symbol, first, last):
        self.symbols.append(symbol)
        return [Bar(symbol, local_ns(day), 9e3, 9e3, 9e3, 9e3, 7.0, 7.0) for day in DAYS[:2] if first <= day <= last]

    async def quotes(self, symbols, priority="bulk"):
        self.quoted += symbols
        return [Quote(symbol, 0.0, None, None, None, 8e3, None, None, None, None, 0.0, 0.0) for symbol in symbols]

    async def listed_at(self, venue):
        return []

    async def venue_eligibility(self, symbols):
        raise AssertionError(symbols)

    async def minute_bars(self, symbol, from_ns, to_ns):
        raise AssertionError(symbol)

    async def trades_between(self, symbol, from_ns, to_ns, after_volume=0.0, rows_max=None):
        raise AssertionError(symbol)


@pytest.fixture
def settings(tmp_path):
    (tmp_path / "data").mkdir()
    settings = load_settings(write_demo_configuration(tmp_path, DemoConfiguration(symbols=60, seed=7)))
    Path(settings.run.runtime).mkdir(mode=0o700)
    hours = [TradingDay(day, True, "test") for day in DAYS]
    write_trading_days(Path(settings.run.runtime), hours)
    make_database(settings.store.url)
    return settings


def today():
    return day_plan(DAY)


def bar(symbol, day, close=9e3):
    return DailyBar("kis", symbol, day, close, close, close, close, 5.0, 5.0)


def seen_closed(symbol, **changes):
    times = {"session_date": PREVIOUS, "receive_time_ns": CLOSED_NS}
    return msgspec.structs.replace(SNAPSHOT, symbol=symbol, **times, **changes)


def of_kind(events, kind):
    return [event for event in events if isinstance(event, kind)]


def member_of(events, symbol):
    [member] = [event for event in events if isinstance(event, UniverseMember) and event.symbol == symbol]
    return member


def store(settings, *events):
    exchanges = [listing_changed(exchange="KOSDAQ", symbol="Z", group="EF")]
    writer = StoreWriter(settings.store.url)
    writer.open()
    writer.commit([Delivered("master-file", "7" * 32, 1, [*exchanges, *events])])
    writer.close()


def built(settings, source, venues=("KRX",), at_ns=local_ns(DAY, 5)):
    """Build the universe; returns the events and the reply."""
    return asyncio.run(_built(settings, source, venues, at_ns))


async def _built(settings, source, venues, at_ns):
    outbox = Path(settings.run.runtime) / "outbox" / "master-file"
    producer = Producer(Outbox(outbox, "master-file", "8" * 32), f"ipc://{settings.run.runtime}/no-writer")

    async def nothing(*_):
        producer.flush()

    with StoreReader(settings.store.url) as reader:
        parts = UniverseParts(
            provider="kis",
            settings=settings.selection.universe,
            venues=UniverseVenues(venues=venues),
            today=TradingDayService(Path(settings.run.runtime), settings.day_rules, ManualClock(at_ns)),
            folder=Path(settings.run.universe),
            clock=ManualClock(at_ns),
            producer=producer,
            history=source,
            quotes=source,
            listed=source.listed_at,
            trading=source,
            reader=reader,
            bring_listings=nothing,
            settled=nothing,
            alerts=Alerts(ManualClock(at_ns), "master-file", producer.publish),
        )
        answer = await UniverseBuilder(parts).build_now(today())
    producer.close()
    records = [record for path in outbox.glob("*.journal") for record in JournalReader(path)]
    return [event for record in records for event in decode_events(unpack(record.payload))], answer


def test_a_symbol_swept_after_the_close_with_all_earlier_bars_needs_no_call(settings):
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
    events, answer = built(settings, source)
    assert sorted(source.symbols) == ["B", "C"]
    assert answer == "4 symbols out of 5 listings"
    bars = {(event.symbol, event.session_date): event.source for event in events if isinstance(event, DailyBar)}
    own, fetched = {("A", PREVIOUS): "sweep"}, [("B", PREVIOUS), ("C", BEFORE_PREVIOUS), ("C", PREVIOUS)]
    assert bars == own | dict.fromkeys(fetched, "broker")
    member = member_of(events, "A")
    assert member.previous_close == SNAPSHOT.price
    assert (member.average_volume_days, member.average_true_range_days, member.days_from_sweeps) == (2, 1, 1)
    assert any(isinstance(event, AlertRaised) and "only 4 stocks" in event.text for event in events)


def test_an_existing_universe_stays_unchanged_and_the_answer_gives_the_reason(settings):
    store(settings, listing_changed(symbol="A"), *universe(TODAY))
    source = Asked()
    events, answer = built(settings, source)
    assert source.symbols == []
    assert not of_kind(events, UniverseBuilt | UniverseMember)
    assert isinstance(answer, Refused)
    assert "stays as it is all day" in answer.message
    assert [path.name for path in Path(settings.run.universe).iterdir()] == [f"{TODAY.replace('-', '')}_kr_stocks.json"]


def test_a_base_price_missing_in_the_master_file_is_requested_and_a_market_cap_computed(settings):
    store(
        settings,
        listing_changed(symbol="A"),
        listing_changed(symbol="B", base_price=None, market_cap=None, listed_shares=3.0),
        listing_changed(symbol="C", market_cap=None, listed_shares=None),
    )
    source = Asked()
    events, _ = built(settings, source)
    assert source.quoted == ["B"]
    caps = {event.symbol: event.market_cap for event in events if isinstance(event, UniverseMember)}
    assert caps == {"A": 4.2e14, "B": 24_000.0, "C": 0.0}
    texts = [event.text for event in events if isinstance(event, AlertRaised)]
    assert "1 symbols without market capitalisation, which counts as 0: C" in texts


def test_an_outage_builds_no_universe(settings):
    class Away(Asked):
        async def daily_bars(self, symbol, first, last):
            raise TransportError("the host does not answer")

    store(settings, *(listing_changed(symbol=symbol) for symbol in "AB"))
    with pytest.raises(TransportError):
        built(settings, Away())


class Closing(Asked):
    """Every symbol closed the previous session at this price, against that base price."""

    def __init__(self, close, base_price=None, close_before=9e3):
        super().__init__()
        self.bars = [(DAYS[0], close_before, None), (DAYS[1], close, base_price)]

    async def daily_bars(self, symbol, first, last):
        self.symbols.append(symbol)
        return [Bar(symbol, local_ns(day), *[close] * 4, 7.0, 7.0, base) for day, close, base in self.bars]


def test_a_symbol_with_a_low_base_price_that_closed_above_the_limit_is_a_member(settings):
    """The master file of the morning before has the close of the session before the previous one."""
    store(settings, listing_changed(symbol="A", base_price=3_500.0), listing_changed(symbol="B", base_price=9_000.0))
    events, answer = built(settings, source := Closing(4_500.0))
    assert sorted(source.symbols) == ["A", "B"]
    assert answer == "2 symbols out of 3 listings"
    assert member_of(events, "A").previous_close == 4_500.0


def test_a_symbol_that_closed_below_the_limit_is_considered_and_not_a_member(settings):
    store(settings, listing_changed(symbol="A", base_price=9_000.0), listing_changed(symbol="B", suspended=True))
    events, answer = built(settings, source := Closing(3_990.0))
    assert source.symbols == ["A"]
    assert answer == "0 symbols out of 3 listings"
    [reported] = of_kind(events, UniverseBuilt)
    assert (reported.symbols, reported.considered) == (0, 3)


def test_a_symbol_whose_bar_cannot_be_fetched_uses_the_base_price_and_not_an_older_close(settings):
    class Refusing(Asked):
        async def daily_bars(self, symbol, first, last):
            raise BadRequestError("no such symbol")

    store(settings, listing_changed(symbol="A", base_price=10_000.0), bar("A", BEFORE_PREVIOUS))
    events, _ = built(settings, Refusing())
    member = member_of(events, "A")
    assert (member.previous_close, member.close_is_base, member.average_volume_20d) == (10_000.0, True, 5.0)


def test_a_bar_of_a_day_without_a_trade_has_the_close_and_no_range(settings):
    class Halted(Asked):
        async def daily_bars(self, symbol, first, last):
            return [Bar(symbol, local_ns(DAYS[1]), 0.0, 0.0, 0.0, 9e3, 0.0, 0.0)]

    store(settings, listing_changed(symbol="A"), bar("A", BEFORE_PREVIOUS))
    events, _ = built(settings, Halted())
    [found] = of_kind(events, DailyBar)
    assert (found.open, found.high, found.low, found.close, found.volume) == (None, None, None, 9e3, 0.0)
    assert member_of(events, "A").average_true_range_14d is None


def test_a_split_that_track_a_saw_is_kept_with_the_day_s_bar_and_history_is_in_the_new_shares(
    settings,
):
    """A five-for-one split, visible in limits around 10,000 won: volume 5 the day before, 25 on the day."""
    store(
        settings,
        listing_changed(symbol="A"),
        bar("A", BEFORE_PREVIOUS, 50_000.0),
        seen_closed("A", cumulative_volume=25.0),
    )
    events, _ = built(settings, source := Asked())
    assert source.symbols == []
    [adjusted] = of_kind(events, SharesAdjusted)
    assert adjusted == SharesAdjusted("kis", "A", PREVIOUS, TODAY, 10_000.0, 50_000.0)
    assert member_of(events, "A").average_volume_20d == 25.0


def test_a_split_in_the_daily_bar_is_stored_once_and_scales_the_history(settings):
    store(settings, listing_changed(symbol="A"), bar("A", BEFORE_PREVIOUS, 50_000.0))
    events, _ = built(settings, Closing(10_100.0, 10_000.0, close_before=50_000.0))
    [adjusted] = of_kind(events, SharesAdjusted)
    assert adjusted == SharesAdjusted("kis", "A", PREVIOUS, TODAY, 10_000.0, 50_000.0)
    assert member_of(events, "A").average_volume_20d == (5 * 5.0 + 7.0) / 2


def test_a_split_that_is_known_already_counts_without_being_reported_again(settings):
    known = SharesAdjusted("kis", "A", PREVIOUS, TODAY, 1_800.0, 9_000.0)
    store(settings, listing_changed(symbol="A"), bar("A", BEFORE_PREVIOUS), bar("A", PREVIOUS), known)
    events, _ = built(settings, source := Asked())
    assert source.symbols == []
    assert not of_kind(events, SharesAdjusted)
    assert member_of(events, "A").average_volume_20d == (5 * 5.0 + 5.0) / 2


def test_an_ordinary_move_of_a_day_is_no_split(settings):
    store(settings, listing_changed(symbol="A"))
    events, _ = built(settings, Closing(11_500.0, 9_000.0))
    assert not of_kind(events, SharesAdjusted)
    assert member_of(events, "A").average_volume_20d == 7.0


# --- a first start in the session ---

IN_SESSION_NS = local_ns(DAY, 9, 20)


def builds(events):
    """The members of each build, in the order of the builds."""
    found: list[list[UniverseMember]] = [[]]
    for event in events:
        if isinstance(event, UniverseMember):
            found[-1].append(event)
        elif isinstance(event, UniverseBuilt):
            assert event.symbols == len(found[-1])
            found.append([])
    assert not found.pop()
    return list(found)


def test_a_first_start_in_the_session_has_a_universe_before_any_bar_and_one_with_history_behind_it(
    settings,
):
    store(settings, *(listing_changed(symbol=symbol) for symbol in "AB"))
    events, _ = built(settings, source := Asked(), at_ns=IN_SESSION_NS)
    kinds = [type(event) for event in events if isinstance(event, UniverseBuilt | DailyBar)]
    assert kinds == [UniverseBuilt, *[DailyBar] * 4, UniverseBuilt]
    assert sorted(source.symbols) == ["A", "B"]
    before, behind = builds(events)
    assert [each.symbol for each in before] == [each.symbol for each in behind] == ["A", "B"]
    assert [(each.close_is_base, each.average_volume_20d) for each in before] == [(True, None)] * 2
    assert [(each.close_is_base, each.average_volume_20d) for each in behind] == [(False, 7.0)] * 2


def test_the_universe_before_the_history_has_what_is_stored(settings):
    store(settings, *(listing_changed(symbol=symbol) for symbol in "AB"), bar("A", PREVIOUS), bar("B", "2026-11-02"))
    before, _ = builds(built(settings, Asked(), at_ns=IN_SESSION_NS)[0])
    assert [(each.close_is_base, each.average_volume_20d) for each in before] == [(False, 5.0), (True, 5.0)]


@pytest.mark.parametrize(
    ("at_ns", "bars"), [(IN_SESSION_NS, [bar("A", PREVIOUS), bar("B", PREVIOUS)]), (local_ns(DAY, 8, 58), [])]
)
def test_with_stored_history_and_before_the_session_there_is_one_build(settings, at_ns, bars):
    store(settings, *(listing_changed(symbol=symbol) for symbol in "AB"), *bars)
    [only] = builds(built(settings, Asked(), at_ns=at_ns)[0])
    assert not any(each.close_is_base for each in only)


def test_a_start_after_a_build_without_history_goes_on_with_the_history_alone(settings):
    early = {"close_is_base": True, "average_volume_20d": None, "venue": "KRX"}
    stored = [msgspec.structs.replace(each, **early) for each in universe(TODAY) if isinstance(each, UniverseMember)]
    first = UniverseBuilt("kis", "kr_stocks", TODAY, PREVIOUS, IN_SESSION_NS, len(stored), 3, 4e3)
    store(settings, *(listing_changed(symbol=symbol) for symbol in "AB"), *stored, first)
    events, answer = built(settings, source := Asked(), at_ns=IN_SESSION_NS + 1)
    assert sorted(source.symbols) == ["A", "B"]
    [only] = builds(events)
    assert not any(each.close_is_base for each in only)
    assert answer == "2 symbols out of 3 listings"


def test_an_outage_of_the_history_keeps_the_universe_before_it(settings):
    class Away(Asked):
        async def daily_bars(self, symbol, first, last):
            raise TransportError("the host does not answer")

    store(settings, *(listing_changed(symbol=symbol) for symbol in "AB"))
    with pytest.raises(TransportError):
        built(settings, Away(), at_ns=IN_SESSION_NS)
    records = Path(settings.run.runtime, "outbox", "master-file").glob("*.journal")
    events = [
        each for path in records for record in JournalReader(path) for each in decode_events(unpack(record.payload))
    ]
    assert len(builds(events)) == 1
