"""KIS's overseas master files and known sectors as they are: every line a record, and codes worth what we claim."""

from pathlib import Path

import pytest

from observer.reference.sectors.files import read_tables
from tests.reference.sector_codes import CODED_REGIONS, learned

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"
MASTERS = DATA / "kis-master" / "2025-06"
pytestmark = [
    pytest.mark.realdata,
    pytest.mark.skipif(not DATA.is_dir(), reason="the real samples are not beside the repository"),
]


@pytest.fixture(scope="module")
def regions():
    return learned(MASTERS, DATA / "sectors", folds=10, rounds=5, seed=7)  # one round alone swings by a percent


@pytest.mark.parametrize("region", ["US", "HK", "CN", "JP"])
def test_ninety_five_percent_of_the_sure_sectors_of_held_back_stocks_are_right(regions, region):
    table = regions[region].table
    assert table.claimed > 0
    assert table.right / table.claimed >= 0.95


def test_the_tables_in_config_equal_the_tables_learned_from_the_real_files(regions):
    shipped = read_tables(ROOT / "config" / "sectors")
    assert set(shipped) == set(CODED_REGIONS)
    for region, found in regions.items():
        assert [(each.code, each.sector, each.confidence, each.is_sure) for each in shipped[region].codes] == [
            (each.code, each.sector, each.confidence, each.is_sure) for each in found.table.codes
        ]
