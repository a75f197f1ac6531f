"""Questions about listings, on both databases."""

import msgspec

from bus.events import SectorAssigned, UniverseMember
from tests.store.listings import listing_changed


def test_tradable_lists_active_listings_without_suspended_and_untraded_kinds(store, reader):
    traded = listing_changed(symbol="005930")
    others = [
        listing_changed(symbol="000020", suspended=True),
        listing_changed(symbol="000030", security_type="index"),
        listing_changed(symbol="000040", security_type="warrant"),
        *(listing_changed(symbol=f"J{group}", group=group) for group in ("EW", "SW", "SR")),
        listing_changed(symbol="000050"),
        listing_changed(symbol="000050", change="removed", changed_ns=2),
        listing_changed(symbol="000060", exchange="KOSDAQ"),
    ]
    store(traded, *others)
    found = reader.tradable("KOSPI")
    assert found is not None
    assert [each.symbol for each in found] == ["005930"]
    assert (found[0].name, found[0].currency, found[0].group) == ("삼성전자", "KRW", "ST")


def test_an_exchange_without_a_master_file_is_unknown_and_one_without_active_listings_is_empty(store, reader):
    gone = [listing_changed(), listing_changed(change="removed", changed_ns=2)]
    store(*gone)
    assert reader.tradable("KOSPI") == []
    assert reader.tradable("KOSDAQ") is None


def test_symbols_reported_merges_universes_and_sectors_without_duplicates(store, reader):
    day = UniverseMember("kis", "korean_stocks", "2026-11-18", 1, "B", "", "KOSPI", 1.0, 1.0, None, None)
    next_day = msgspec.structs.replace(day, session_date="2026-11-19")
    sectors = [SectorAssigned("KR", "KOSPI", symbol, 1, None, "sector_code", 0.0, "", "") for symbol in ("B", "A")]
    elsewhere = msgspec.structs.replace(sectors[0], exchange="KOSDAQ", symbol="C")
    store(day, next_day, *sectors, elsewhere)
    assert reader.symbols_reported("KOSPI") == ["A", "B"]
    assert reader.symbols_reported("KOSDAQ") == ["C"]
    assert reader.symbols_reported("NASD") == []
