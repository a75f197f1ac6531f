"""Every real sample that the KIS parsers cover is read, and every record of it is accounted for."""

import json
import zipfile
from pathlib import Path

import pytest

from observer.brokers.dialect import Data, Ping, SessionRefused, Subscribed
from observer.brokers.kis.frames import parse_trades
from observer.brokers.kis.listings import parse_listings
from observer.brokers.kis.session import KisSession

DATA = Path(__file__).parents[3] / "shared" / "data"
pytestmark = [
    pytest.mark.realdata,
    pytest.mark.skipif(not DATA.is_dir(), reason="the real samples are not beside the repository"),
]

MASTER_FILES = [
    ("KOSPI", "2025-06/kospi_code.mst", 2_443),
    ("KOSDAQ", "2025-06/kosdaq_code.mst", 1_803),
    ("KONEX", "2025-06/konex_code.mst", 119),
    ("KOSPI", "2026-01/kospi_code.mst", 2_478),
    ("KOSDAQ", "2026-01/kosdaq_code.mst", 1_803),
    ("KOSPI", "2026-08/kospi_code.mst.zip", 2_568),
]


def content_of(name):
    path = DATA / "kis-master" / name
    if path.suffix != ".zip":
        return path.read_bytes()
    with zipfile.ZipFile(path) as packed:
        (member,) = packed.namelist()
        return packed.read(member)


def listings_of(exchange, name):
    listings, bad = parse_listings(exchange, content_of(name))
    assert bad == []
    return {listing.symbol: listing for listing in listings}


@pytest.mark.parametrize(("exchange", "name", "records"), MASTER_FILES)
def test_every_record_of_a_master_file_is_a_listing(exchange, name, records):
    listings = listings_of(exchange, name)
    assert len(listings) == records == content_of(name).count(b"\n")
    assert all(listing.isin and listing.name and listing.group for listing in listings.values())


@pytest.mark.parametrize("name", [name for exchange, name, _ in MASTER_FILES if exchange == "KOSPI"])
def test_the_listing_of_samsung_electronics_is_correct(name):
    samsung = listings_of("KOSPI", name)["005930"]
    assert (samsung.name, samsung.isin, samsung.group) == ("삼성전자", "KR7005930003", "ST")
    assert samsung.listed_on == "1975-06-11"
    assert samsung.base_price is not None
    assert samsung.listed_shares is not None
    assert samsung.market_cap is not None
    # The capitalisation is the previous close's, so it is near what base price and shares give.
    assert samsung.base_price * samsung.listed_shares == pytest.approx(samsung.market_cap, rel=0.01)


@pytest.mark.parametrize(("exchange", "name", "records"), MASTER_FILES)
def test_the_fields_of_shares_agree_with_each_other(exchange, name, records):
    shares = [listing for listing in listings_of(exchange, name).values() if listing.group == "ST"]
    whole = [each for each in shares if each.base_price and each.market_cap and each.listed_shares]
    near = [each for each in whole if each.base_price * each.listed_shares == pytest.approx(each.market_cap, rel=0.05)]
    assert len(whole) > 0.95 * len(shares)
    assert len(near) > 0.95 * len(whole)


def test_two_files_of_one_length_can_differ_in_thirty_listings_each_way():
    earlier, later = "2025-06/kosdaq_code.mst", "2026-01/kosdaq_code.mst"
    assert len(content_of(earlier)) == len(content_of(later))
    before, after = listings_of("KOSDAQ", earlier).keys(), listings_of("KOSDAQ", later).keys()
    assert (len(before - after), len(after - before)) == (30, 30)


def frames():
    lines = (DATA / "kis-frames" / "frames.jsonl").read_text().splitlines()
    return {sample["id"]: sample["raw"] for sample in map(json.loads, lines)}


def test_a_trade_of_2026_has_47_fields_and_is_read():
    (trade,), _, broken = parse_trades(frames()["trade-krx-2026-09-22"], 0)
    assert broken is None
    assert (trade.symbol, trade.price, trade.volume, trade.side) == ("005930", 277_750.0, 5.0, "sell")
    assert (trade.cumulative_volume, trade.cumulative_trades) == (11_955_000.0, 83_251 + 86_830)


def test_the_whole_record_of_a_truncated_frame_is_kept():
    (trade,), _, broken = parse_trades(frames()["trade-krx-2024-09-04-truncated"], 0)
    assert (trade.session_date, trade.cumulative_volume) == ("2024-09-04", 23_528_959.0)
    assert broken is not None


@pytest.mark.parametrize("name", ["book-krx-2026-09-22", "trade-us-2024-12-27"])
def test_a_record_of_another_kind_is_no_trade_of_ours(name):
    trades, _, broken = parse_trades(frames()[name], 0)
    assert trades == []
    assert broken is not None


def test_every_message_has_its_meaning():
    meanings = {name: type(KisSession("key").read(raw)) for name, raw in frames().items()}
    assert meanings == {
        "trade-krx-2026-09-22": Data,
        "trade-krx-2024-09-04-truncated": Data,
        "book-krx-2026-09-22": Data,
        "trade-us-2024-12-27": Data,
        "subscribe-success": Subscribed,
        "appkey-in-use": SessionRefused,
        "pingpong": Ping,
    }
