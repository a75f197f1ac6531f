"""The pure rooms on real master files: what changed between two dates, and the universe they give."""

from pathlib import Path

import pytest

from observer.brokers.broker import FileStamp
from observer.brokers.kis.listings import parse_listings
from observer.reference.listings.diff import ReferenceSettings, decide_download, difference, outcome
from observer.reference.universe.eligibility import UniverseDay, build
from observer.selection.settings import UniverseSettings

DATA = Path(__file__).parents[3] / "shared" / "data" / "kis-master"
pytestmark = [
    pytest.mark.realdata,
    pytest.mark.skipif(not DATA.is_dir(), reason="the real samples are not beside the repository"),
]

OLD, NEW = "2025-06/kosdaq_code.mst", "2026-01/kosdaq_code.mst"


def listings(exchange, name):
    return parse_listings(exchange, (DATA / name).read_bytes())[0]


def test_two_files_of_one_length_differ_by_sixty_listings():
    sizes = [(DATA / name).stat().st_size for name in (OLD, NEW)]
    assert sizes[0] == sizes[1]
    stamps = [FileStamp(size, when, "") for size, when in zip(sizes, ("2025-06", "2026-01"), strict=True)]
    assert decide_download(stamps[0], stamps[1], ReferenceSettings()).action == "download"
    known = {listing.symbol: (listing, True) for listing in listings("KOSDAQ", OLD)}
    found = difference(known, listings("KOSDAQ", NEW))
    assert sum(change.kind == "new" for change in found) == 30
    assert sum(change.kind == "removed" for change in found) == 30
    answer = outcome(found, ReferenceSettings(), old_size_bytes=sizes[0], new_size_bytes=sizes[1])
    assert answer.decision == "updated"


def test_the_universe_of_the_real_files_is_the_companies_by_size():
    stated = listings("KOSPI", "2026-01/kospi_code.mst") + listings("KOSDAQ", NEW)
    universe = build(stated, {}, UniverseDay("kis", "kr_stocks", "2026-01-14", "2026-01-13", 0), UniverseSettings())
    assert len(universe.members) == 1_700
    assert len(universe.members) + sum(universe.excluded.values()) == len(stated)
    assert [member.symbol for member in universe.members[:2]] == ["005930", "000660"]
    assert universe.warnings == {}
