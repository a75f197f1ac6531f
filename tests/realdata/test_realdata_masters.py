"""Every record of every real master file is accounted for; two real dates differ as they do."""

from collections import Counter
from pathlib import Path

import pytest

from observer.brokers.kis.listings import file_name, parse_listings
from observer.reference.listings.diff import difference, revalued
from observer.reference.listings.model import EXCHANGES

DATA = Path(__file__).parents[3] / "shared" / "data" / "kis-master"
pytestmark = [
    pytest.mark.realdata,
    pytest.mark.skipif(not DATA.is_dir(), reason="the real samples are not beside the repository"),
]

RECORDS = {
    "KOSPI": 2_443,
    "KOSDAQ": 1_803,
    "KONEX": 119,
    "IDXCODE": 491,
    "NASD": 4_626,
    "NYSE": 2_831,
    "AMEX": 3_609,
    "SEHK": 3_042,
    "SHAA": 2_862,
    "SHI": 78,
    "SZAA": 3_580,
    "SZI": 33,
    "TKSE": 4_423,
    "HASE": 312,
    "VNSE": 411,
}


def content(exchange, dated=None):
    name = file_name(exchange)
    folder = DATA / (dated or ("2026-08" if exchange == "IDXCODE" else "2025-06"))
    path = folder / name
    return (path if path.exists() else folder / name.upper()).read_bytes()


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_every_line_is_a_listing_and_none_is_left_over(exchange):
    lines = content(exchange).splitlines()
    listings, bad = parse_listings(exchange, content(exchange))
    assert (len(listings), len(bad)) == (len(lines), 0) == (RECORDS[exchange], 0)
    assert {listing.exchange for listing in listings} == {exchange}
    nameless = [listing.symbol for listing in listings if not (listing.name or listing.english_name)]
    assert len(nameless) == (1 if exchange == "IDXCODE" else 0)


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_a_field_appended_to_every_real_record_changes_no_listing(exchange):
    end = b"Y\n" if exchange in ("KOSPI", "KOSDAQ", "KONEX", "IDXCODE") else b"\tY\n"
    longer = b"".join(line + end for line in content(exchange).split(b"\n") if line)
    assert parse_listings(exchange, longer) == parse_listings(exchange, content(exchange))


def test_the_listings_of_known_securities_are_correct():
    apple = next(each for each in parse_listings("NASD", content("NASD"))[0] if each.symbol == "AAPL")
    assert (apple.name, apple.english_name, apple.currency) == ("애플", "APPLE INC", "USD")
    assert (apple.security_type, apple.realtime_symbol, apple.isin, apple.listed_shares) == (
        *("stock", "NASAAPL", ""),
        None,
    )
    samsung = parse_listings("KOSPI", content("KOSPI", "2026-01"))[0]
    assert next(each.sector_code for each in samsung if each.symbol == "005930") == "0013"


def test_two_real_dates_differ_by_listings_and_facts_and_mostly_by_values():
    known = {each.symbol: (each, True) for each in parse_listings("KOSDAQ", content("KOSDAQ"))[0]}
    stated = parse_listings("KOSDAQ", content("KOSDAQ", "2026-01"))[0]
    changes = difference(known, stated)
    assert Counter(change.kind for change in changes) == {"new": 30, "removed": 30, "changed": 392}
    assert len(revalued(known, stated)) == 1_325
    renamed = [each for each in changes if each.kind == "changed" and "name" in each.fields]
    assert all(each.before is not None and each.before.name != each.listing.name for each in renamed)
    assert renamed
