"""Stored sectors, on both databases: the latest assignment of each stock, the latest run of each region."""

from bus.events import EnrichmentCompleted, ListingChanged, SectorAssigned
from observer.reference.sectors.model import Security
from observer.store.sectors import SectorReader

STREAM = "5" * 32


def assigned(symbol="AAPL", at=1, sector="Information Technology", exchange="NASD", region="US"):
    return SectorAssigned(region, exchange, symbol, at, sector, "sector_code", 0.95, "710", "")


def completed(region, at, securities=1):
    return EnrichmentCompleted(region, 0, at, securities, *[0] * 9, "")


READER = SectorReader


def test_the_last_assignment_of_a_stock_counts(store, reader):
    store(assigned(at=2, sector="Energy"), assigned(at=3, sector=None), assigned(at=1))
    assert reader.assignment("NASD", "AAPL").sector is None


def test_the_later_delivered_of_two_assignments_at_the_same_moment_counts(store, reader):
    store(assigned(sector="Energy"), assigned(sector="Utilities"))
    assert reader.assignment("NASD", "AAPL").sector == "Utilities"


def test_a_stock_without_an_assignment_is_unknown(store, reader):
    store(assigned())
    assert reader.assignment("NYSE", "AAPL") is None


def test_a_region_has_each_stock_once_in_order(store, reader):
    store(
        assigned("MSFT", 1),
        assigned("AAPL", 1),
        assigned("AAPL", 2),
        assigned("AAPL", 1, exchange="NYSE"),
        assigned("7203", 1, exchange="TKSE", region="JP"),
    )
    found = [(each.exchange, each.symbol, each.assigned_ns) for each in reader.assignments("US")]
    assert found == [("NASD", "AAPL", 2), ("NASD", "MSFT", 1), ("NYSE", "AAPL", 1)]


def test_the_last_enrichment_run_of_each_region_is_read(store, reader):
    store(completed("US", 1, 10), completed("US", 2, 20), completed("JP", 1, 30))
    assert [(each.region, each.securities) for each in reader.last_rounds()] == [("JP", 30), ("US", 20)]


def listed(exchange, symbol, **fields):
    empty = dict.fromkeys(("base_price", "market_cap", "listed_shares", "listed_on"))
    flags = dict.fromkeys(("suspended", "administrative", "preferred", "spac"), False)
    reported = {"change": "new", "changed_ns": 1, "name": "이름", "isin": "", "group": "", **empty, **flags, **fields}
    return ListingChanged(provider="kis", exchange=exchange, symbol=symbol, **reported)


def test_the_stocks_of_a_region_are_its_active_listings_that_are_no_etfs(store, reader):
    stock = {"security_type": "stock", "english_name": "APPLE", "sector_code": "710"}
    store(
        listed("NYSE", "BRK/B", **stock),
        listed("NASD", "AAPL", **stock),
        listed("NASD", "QQQ", security_type="fund"),
        listed("NASD", "GONE", **stock),
        listed("NASD", "GONE", **stock | {"change": "removed", "changed_ns": 2}),
        listed("KOSPI", "005930", group="ST"),
        listed("KOSPI", "069500", group="EF"),
    )
    assert reader.stocks("US") == [
        Security("US", "NASD", "AAPL", "APPLE", "710"),
        Security("US", "NYSE", "BRK/B", "APPLE", "710"),
    ]
    assert reader.stocks("KR") == [Security("KR", "KOSPI", "005930", "이름", "")]
