"""ETFs and ETNs of the real KOSPI files: every multiple that a name writes is read."""

import re
from pathlib import Path

import pytest

from observer.brokers.kis.listings import parse_listings
from observer.reference.etf.model import leverage_of_name

DATA = Path(__file__).parents[3] / "shared" / "data"
pytestmark = [
    pytest.mark.realdata,
    pytest.mark.skipif(not DATA.is_dir(), reason="the real samples are not beside the repository"),
]


@pytest.mark.parametrize(("folder", "etfs"), [("2025-06", 1_374), ("2026-01", 1_425)])
def test_every_multiple_in_a_real_name_is_read(folder, etfs):
    listings, bad = parse_listings("KOSPI", (DATA / "kis-master" / folder / "kospi_code.mst").read_bytes())
    names = [listing.name for listing in listings if listing.group in ("EF", "EN")]
    assert (len(names), bad) == (etfs, [])
    for name in names:
        written = re.search(r"(\d(?:\.\d)?) ?X", name)
        expected = float(written[1]) if written else 2.0 if "레버리지" in name else 1.0
        assert abs(leverage_of_name(name)) == expected, name
        assert (leverage_of_name(name) < 0) == ("인버스" in name or bool(re.search(r"-\d(\.\d)?X", name))), name
