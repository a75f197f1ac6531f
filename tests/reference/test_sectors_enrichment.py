"""A run of the enrichment: the order of sources, what is kept, what is left for the next run."""

import asyncio
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.events import EnrichmentCompleted, SectorAssigned
from observer.base.clock import ManualClock
from observer.base.errors import MaintenanceError
from observer.base.units import NS_PER_S
from observer.reference.sectors.codes import CodeMeaning, CodeTable, KisCodes
from observer.reference.sectors.enrichment import BATCH, Enrichment, Share, share_of
from observer.reference.sectors.metrics import EnrichmentMetrics
from observer.reference.sectors.model import Finding, Security
from observer.reference.sectors.report import report_text, success_rate

NOW_NS = 1_795_000_000 * NS_PER_S
DAY_NS = 86_400 * NS_PER_S
CODES = KisCodes(
    {
        "US": CodeTable(
            "US",
            (
                CodeMeaning("610", "Financials", 100, 1.0, 0.99, is_sure=True),
                CodeMeaning("230", "Industrials", 100, 0.7, 0.66, is_sure=False),
            ),
        )
    }
)


def stocks(count, code="000", region="US"):
    return [Security(region, "NASD", f"{code}-{number}", "name", code) for number in range(count)]


def sector_of(stock, age_days):
    """A sector assignment of a stock, stored `age_days` ago."""
    said = ("Energy", "finance_database", 0.95, "Energy", "")
    return SectorAssigned(stock.region, stock.exchange, stock.symbol, NOW_NS - age_days * DAY_NS, *said)


class Reported:
    """A source that returns given sectors, remembers the requested symbols, and then may fail."""

    def __init__(self, name, sectors, confidence=0.95, failing=False):
        self.name = name
        self.sectors = sectors
        self.confidence = confidence
        self.failing = failing
        self.asked = []

    async def findings(self, region, wanted):
        self.asked.append([security.symbol for security in wanted])
        for security in wanted:
            if security.symbol in self.sectors:
                yield [Finding(security, self.name, self.sectors[security.symbol], self.confidence, "said", "industry")]
        if self.failing:
            raise MaintenanceError("HTTP 500")


def enrich(sources, securities, known=()):
    """The batches that were published, and the round."""
    batches = []
    enrichment = Enrichment(sources, batches.append, ManualClock(NOW_NS), lambda: 0, lambda region, count: None)
    done = asyncio.run(enrichment.enrich("US", Share(securities, 0, known)))
    assert batches[-1] == [done]
    return [list(batch) for batch in batches[:-1]], done


def assigned(batches):
    return {event.symbol: event for batch in batches for event in batch}


def test_a_sure_code_is_stored_and_no_later_source_is_asked():
    later = Reported("finance_database", {})
    batches, done = enrich([CODES, later], stocks(1, "610"))
    assert batches == [[SectorAssigned("US", "NASD", "610-0", NOW_NS, "Financials", "sector_code", 0.99, "610", "")]]
    assert later.asked == []
    assert (done.sector_code, done.unanswered) == (1, 0)


def test_the_next_source_is_asked_about_an_unsure_code():
    later = Reported("finance_database", {"230-0": "Energy"})
    batches, done = enrich([CODES, later], stocks(1, "230"))
    assert assigned(batches)["230-0"].sector == "Energy"
    assert (done.sector_code, done.finance_database) == (0, 1)


def test_an_unsure_code_is_stored_as_unsure_when_the_last_source_knows_nothing():
    batches, done = enrich([CODES, Reported("yahoo_profile", {"230-0": None}, 0.0)], stocks(1, "230"))
    kept = assigned(batches)["230-0"]
    assert (kept.sector, kept.source, kept.confidence) == ("Industrials", "sector_code", 0.66)
    assert (done.unsure, done.unknown) == (1, 0)


def test_a_stock_unknown_to_every_source_is_stored_as_unknown_once_the_last_source_confirms_it():
    batches, done = enrich([CODES, Reported("yahoo_profile", {"000-0": None}, 0.0)], stocks(1))
    assert assigned(batches)["000-0"].sector is None
    assert (done.unknown, done.unanswered) == (1, 0)


def test_an_unsure_answer_without_the_last_source_is_stored_and_counts_as_unanswered():
    batches, done = enrich([CODES, Reported("finance_database", {})], [*stocks(1, "230"), *stocks(1)])
    assert [(event.symbol, event.sector, event.confidence) for event in assigned(batches).values()] == [
        ("230-0", "Industrials", 0.66)
    ]
    assert (done.sector_code, done.unanswered) == (0, 2)


def test_only_the_last_source_can_declare_a_sector_unknown():
    batches, done = enrich([Reported("finance_database", {"000-0": None}, 0.0)], stocks(1))
    assert (batches, done.unanswered) == ([], 1)


def test_an_unsure_answer_without_the_last_source_does_not_replace_a_known_sector():
    unsure = stocks(1, "230")
    batches, done = enrich([CODES], unsure, known={unsure[0].key})
    assert (batches, done.unanswered) == ([], 1)


def test_a_source_that_fails_leaves_its_answers_and_the_rest_to_the_next_source():
    failing = Reported("yahoo_screener", {"000-0": "Energy"}, failing=True)
    last = Reported("yahoo_profile", {"000-1": "Utilities"})
    batches, done = enrich([failing, last], stocks(3))
    assert {symbol: event.sector for symbol, event in assigned(batches).items()} == {
        "000-0": "Energy",
        "000-1": "Utilities",
    }
    assert last.asked == [["000-1", "000-2"]]
    assert done.unanswered == 1
    assert "HTTP 500" in done.detail


@given(st.integers(0, 450))
def test_portions_have_at_most_a_hundred_and_together_hold_each_stock_once(count):
    batches, done = enrich([CODES], stocks(count, "610"))
    assert all(1 <= len(batch) <= BATCH for batch in batches)
    assert len(assigned(batches)) == sum(map(len, batches)) == done.sector_code == count


def test_progress_is_reported_as_answers_come_not_as_portions_are_stored():
    reported = []
    sectors = {"000-0": "Energy", "000-1": "Utilities"}
    enrichment = Enrichment(
        [Reported("yahoo_profile", sectors)],
        lambda batch: None,
        ManualClock(NOW_NS),
        lambda: 0,
        lambda *news: reported.append(news),
    )
    asyncio.run(enrichment.enrich("US", Share(stocks(3), 0)))
    assert reported == [("US", 1), ("US", 1)]


def test_several_regions_at_once_are_all_done():
    batches = []
    enrichment = Enrichment([CODES], batches.append, ManualClock(NOW_NS), lambda: 0, lambda region, count: None)
    wanted = {"US": Share(stocks(2, "610"), 1), "JP": Share(stocks(1, "610", "JP"), 0)}
    rounds = asyncio.run(enrichment.run(wanted, 2))
    assert [(done.region, done.securities, done.fresh, done.unanswered) for done in rounds] == [
        ("US", 3, 1, 0),
        ("JP", 1, 0, 1),
    ]


@pytest.mark.parametrize(
    ("age_days", "max_age_days", "is_due"),
    [(None, 30, True), (29, 30, False), (31, 30, True), (0, None, True), (1, 0, True)],
)
def test_a_stock_is_due_when_it_was_never_assigned_or_too_long_ago_or_all_are_asked_for(age_days, max_age_days, is_due):
    [stock] = stocks(1)
    stored = [] if age_days is None else [sector_of(stock, age_days)]
    found = share_of([stock], stored, NOW_NS, max_age_days)
    assert (found.due, found.fresh) == (([stock], 0) if is_due else ([], 1))
    assert (stock.key in found.known) == (age_days is not None)


@pytest.mark.parametrize(
    ("sector", "confidence", "was_whole", "is_due"),
    [
        ("Energy", 0.9, False, False),
        ("Energy", 0.66, False, True),
        ("Energy", 0.66, True, False),
        (None, 0.0, False, False),
    ],
)
def test_an_unsure_sector_is_looked_up_again_after_an_incomplete_run(sector, confidence, was_whole, is_due):
    [stock] = stocks(1)
    stored = msgspec.structs.replace(sector_of(stock, 1), sector=sector, confidence=confidence)
    assert share_of([stock], [stored], NOW_NS, 30, was_whole=was_whole).due == ([stock] if is_due else [])


@given(st.dictionaries(st.integers(0, 30), st.integers(0, 100)), st.floats(0, 100))
def test_a_longer_maximum_age_never_makes_more_stocks_due(ages, max_age_days):
    all_stocks = stocks(31)
    stored = [sector_of(all_stocks[number], age) for number, age in ages.items()]
    backoff = [share_of(all_stocks, stored, NOW_NS, days).due for days in (max_age_days, max_age_days + 10)]
    for less, more in pairwise(backoff):
        assert {security.symbol for security in more} <= {security.symbol for security in less}


def a_round(**changes):
    fields = dict.fromkeys(EnrichmentCompleted.__struct_fields__, 0)
    return EnrichmentCompleted(**(fields | {"region": "US", "detail": ""} | changes))


def test_the_processed_share_counts_fresh_found_and_unknown_stocks():
    assert success_rate(a_round(securities=10, fresh=5, sector_code=2, unknown=1, unanswered=2)) == 0.8
    assert success_rate(a_round()) == 1.0


def test_the_report_names_the_failure():
    text = report_text([a_round(securities=4, unanswered=1, detail="yahoo_screener: HTTP 500")], 12)
    assert "US: failed: yahoo_screener: HTTP 500" in text
    assert "requests to Yahoo: 12" in text
    assert "75.0 % dealt with" in text


@pytest.mark.parametrize("prefix", ["observer", "spock"])
def test_metrics_have_the_requirements_names_behind_either_prefix(tmp_path, prefix):
    metrics = EnrichmentMetrics(prefix)
    metrics.record(
        a_round(securities=10, sector_code=4, yahoo_screener=5, unanswered=1, retries=3, completed_ns=60 * NS_PER_S)
    )
    metrics.write(tmp_path / "sectors.prom")
    lines = (tmp_path / "sectors.prom").read_text().splitlines()
    for line in (
        '_enrichment_regions_processed_total{region="US",status="success"} 1.0',
        '_enrichment_stocks_enriched_total{region="US",source="sector_code"} 4.0',
        '_enrichment_duration_seconds_sum{region="US"} 60.0',
        '_enrichment_success_rate{region="US"} 0.9',
        '_enrichment_retry_attempts_total{region="US"} 3.0',
    ):
        assert f"{prefix}{line}" in lines
