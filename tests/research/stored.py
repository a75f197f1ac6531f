"""A small store: two days of a few symbols, written as events by the real writer.

2026-11-18: 005930 was streamed without a break, with one recovered trade; 000660 has a gap that minute bars fill to
the share; 035420 trades at two venues; 403800 had a slot and did not trade; 247540 had no slot. 2026-11-19 has two
builds of the universe, and 000660 was split.
"""

import tempfile
from datetime import date
from functools import cache
from pathlib import Path

from bus import events
from bus.delivery import Delivered
from observer.base.local_time import local_ns
from observer.store.writer import StoreWriter
from tests.store.migrated import make_database

DAY, NEXT_DAY = "2026-11-18", "2026-11-19"
MARKET = "kr_stocks"
STREAM = "5" * 32


def at(text: str, day: str = DAY) -> int:
    """UTC nanoseconds of a local time such as 09:00:01 on a day."""
    hour, minute, second = map(int, text.split(":"))
    return local_ns(date.fromisoformat(day), hour, minute, second)


def traded(symbol: str, time: str, price: float, volume: float, total: float, **changes: object) -> events.Trade:
    values: dict[str, object] = {
        "provider": "kis",
        "symbol": symbol,
        "session_date": DAY,
        "exchange_time_ns": at(time),
        "receive_time_ns": at(time) + 5_000_000,
        "price": price,
        "volume": volume,
        "cumulative_volume": total,
        "cumulative_trades": None,
        "side": "buy",
        "bid": price - 100,
        "ask": price,
        "session": "regular",
        "venue": symbol.partition(".")[2] or "KRX",
    }
    return events.Trade(**(values | changes))


def trades() -> list[events.Event]:
    return [
        traded("005930", "09:00:01", 70_000, 10, 10),
        traded("005930", "09:00:30", 70_100, 20, 30),
        traded("005930", "09:01:10", 70_200, 5, 35),
        traded("005930", "09:02:20", 70_300, 10, 60),
        traded("005930", "09:04:00", 70_200, 40, 100),
        traded("005930", "09:01:30", 70_150, 15, 50, gap_id="g1", receive_time_ns=at("09:05:00"), bid=None, ask=None),
        traded("000660", "09:00:05", 200_000, 1, 1),
        traded("000660", "09:03:05", 200_500, 2, 12),
        traded("035420", "10:00:00", 1_000, 1, 1),
        traded("035420.NXT", "10:00:10", 1_010, 2, 2),
    ]


def gaps() -> list[events.Event]:
    def bar(time: str, price: float, volume: float) -> events.MinuteBarRecovered:
        return events.MinuteBarRecovered(
            "kis",
            "000660",
            DAY,
            at(time),
            price,
            price + 200,
            price - 100,
            price + 100,
            volume,
            "g2",
            at("09:06:00"),
            "KRX",
            "regular",
        )

    def gap(gap_id: str, symbol: str, time: str, after: float, before: float) -> events.GapDetected:
        missing = before - after
        return events.GapDetected(
            gap_id,
            "kis",
            symbol,
            DAY,
            at(time) + 1,
            at(time),
            at(time) + 60_000_000_000,
            after,
            before,
            missing,
            None,
            "reconnect",
            "KRX",
        )

    return [
        gap("g1", "005930", "09:01:10", 35, 50),
        gap("g2", "000660", "09:00:05", 1, 10),
        gap("g3", "035420", "10:00:00", 1, 4),
        bar("09:01:00", 200_100, 6),
        bar("09:02:00", 200_300, 3),
        events.GapRecovered("g1", "005930", at("09:05:00"), "time_and_sales", 1, 15, complete=True, venue="KRX"),
        events.GapRecovered("g2", "000660", at("09:06:00"), "minute_bars", 2, 9, complete=True, venue="KRX"),
        events.GapUnrecoverable("g3", "035420", at("10:30:00"), "the broker has no trades of it", "KRX"),
        events.ReconciliationResult(
            "kis", "005930", DAY, at("15:40:00"), at("09:00:00"), at("09:05:00"), 0, 100, 85, 15, 0
        ),
    ]


def slots() -> list[events.Event]:
    lines = ("005930", "000660", "035420", "035420.NXT", "403800")
    venues = {line: line.partition(".")[2] or "KRX" for line in lines}
    assigned = [
        events.SlotAssigned(
            f"main:0{nth}", line, at("09:00:00"), "volume_surge", 10.0 - nth, "free_slot", None, None, venues[line]
        )
        for nth, line in enumerate(lines, 1)
    ]
    released = events.SlotReleased("main:05", "403800", at("09:30:00"), 5, "expired", None, "KRX")
    return [
        *assigned,
        released,
        events.TriggerFired("005930", "volume_surge", at("09:00:30"), None, 5, 3, 2, 1, 9.0, "moderate", "recent"),
        events.TriggerEnded("005930", "volume_surge", at("09:00:30"), at("09:04:00"), at("09:10:00")),
    ]


def quality() -> list[events.Event]:
    words = {"005930": "recovered", "000660": "degraded"}
    return [
        events.QualityJudged(
            "kis",
            symbol,
            DAY,
            at("15:40:00"),
            word,
            "",
            300.0,
            5,
            85,
            15,
            0,
            0,
            1,
            0,
            "part",
            0,
            200,
            0.5,
            0.8,
            venue="KRX",
        )
        for symbol, word in words.items()
    ]


def universe(day: str, built: str, symbols: list[str]) -> list[events.Event]:
    members: list[events.Event] = [
        events.UniverseMember(
            "kis",
            MARKET,
            day,
            rank,
            symbol,
            f"name {symbol}",
            "KOSPI",
            1e12 / rank,
            70_000,
            1e6,
            1_000.0,
            venue=symbol.partition(".")[2] or "KRX",
        )
        for rank, symbol in enumerate(symbols, 1)
    ]
    count = len(symbols)
    return [*members, events.UniverseBuilt("kis", MARKET, day, "2026-11-17", at(built, day), count, count, 1_000)]


def sweeps() -> list[events.Event]:
    seen = events.Snapshot(
        "kis",
        "005930",
        DAY,
        1,
        at("09:03:00"),
        70_300,
        70_000,
        70_300,
        70_000,
        69_000,
        89_700,
        48_300,
        70_200,
        70_300,
        60,
        4_200_000,
        "KRX",
        "regular",
    )
    return [seen, events.SweepCompleted("kis", DAY, 1, at("09:03:00"), at("09:03:10"), 1, 1, 1)]


def history() -> list[events.Event]:
    def daily(symbol: str, day: str, close: float, volume: float) -> events.DailyBar:
        value = close * volume
        return events.DailyBar(
            "kis", symbol, day, close, close, close, close, volume, value, "broker", "KRX", "regular"
        )

    return [
        daily("005930", "2026-11-17", 69_000, 500),
        daily("005930", DAY, 70_100, 150),
        daily("005930", DAY, 70_200, 200),
        daily("000660", DAY, 200_000, 50),
        events.SharesAdjusted("kis", "000660", NEXT_DAY, NEXT_DAY, 100_000, 200_000),
        events.EtfNavDay("kis", "069500", "2026-01-02", at("08:00:00"), 100, 101, -0.99, 7, None),
        events.EtfNavDay("kis", "069500", "2026-01-05", at("08:00:00"), 102, 102, 0.0, 0, None),
    ]


def listings() -> list[events.Event]:
    def listing(symbol: str, change: str, time: int, group: str, listed_on: str | None) -> events.ListingChanged:
        return events.ListingChanged(
            "kis",
            "KOSPI",
            symbol,
            change,
            time,
            f"name {symbol}",
            f"KR{symbol}",
            group,
            1_000,
            1e12,
            1e6,
            listed_on,
            suspended=False,
            administrative=False,
            preferred=False,
            spac=False,
            currency="KRW",
        )

    first = at("08:00:00", "2026-11-13")
    return [
        listing("005930", "initial", first, "ST", "1975-06-11"),
        listing("247540", "initial", first, "ST", "2019-03-05"),
        listing("069500", "initial", first, "EF", "2002-10-14"),
        listing("111111", "initial", first, "ST", None),
        listing("900001", "new", at("08:00:00"), "ST", None),
        listing("111111", "removed", at("08:00:00"), "ST", None),
    ]


def all_events() -> list[events.Event]:
    """The small store's events in the order of one stream."""
    all_lines = ["005930", "000660", "247540", "035420", "403800", "035420.NXT"]
    return [
        *listings(),
        *universe(DAY, "08:30:00", all_lines),
        *universe(NEXT_DAY, "08:30:00", ["005930"]),
        *universe(NEXT_DAY, "08:50:00", ["000660", "005930"]),
        *slots(),
        *trades(),
        *gaps(),
        *sweeps(),
        *quality(),
        *history(),
    ]


def url_of(folder: Path) -> str:
    """The URL of the store's database."""
    return f"sqlite:///{folder / 'data' / 'observer.db'}"


@cache
def _stored_file() -> bytes:
    """The store's database, which every store begins as."""
    with tempfile.TemporaryDirectory() as place:
        url = url_of(Path(place))
        make_database(url)
        append(url, STREAM, *all_events())
        return Path(place, "data", "observer.db").read_bytes()


def make_store(folder: Path, server_url: str | None = None) -> Path:
    """Write the store and its configuration; returns the folder. With the URL of an empty schema of a server its rows
    are there.
    """
    url = server_url or url_of(folder)
    (folder / "data").mkdir(parents=True)
    if server_url is None:
        (folder / "data" / "observer.db").write_bytes(_stored_file())
    else:
        make_database(url)
        append(url, STREAM, *all_events())
    (folder / "observer.toml").write_text(
        f'[run]\ndata = "{folder / "data"}"\nruntime = "{folder / "run"}"\n\n[store]\nurl = "{url}"\n'
    )
    return folder


def append(url: str, stream: str, *added: events.Event) -> None:
    """Commit more events of a stream."""
    writer = StoreWriter(url)
    writer.open()
    mark = writer.high_water_marks([stream]).get(stream, 0)
    writer.commit([Delivered("track-b", stream, mark + 1, list(added))])
    writer.close()
