"""Nautilus Trader loads the catalogue that `Store.export` writes (make judges)."""

import pytest

import observer
from tests.judges.judging import is_installed
from tests.judges.nautilus_judging import NAME, loaded, stored
from tests.research.stored import DAY, make_store


@pytest.mark.slow
@pytest.mark.nightly
def test_nautilus_trader_loads_each_trade_and_bar(tmp_path):
    if not is_installed(NAME):
        pytest.skip(f"{NAME} is not installed: make judges")
    folder = tmp_path / "catalogue"
    with observer.open_store(make_store(tmp_path)) as store:
        files = store.export(DAY, folder, "nautilus")
        expected = stored(store, DAY)
    assert (expected.passed_on, expected.volume_passed_on) == (10, 106)
    assert loaded(folder) == expected
    next(path for path in files if "trade_tick" in path.parts).unlink()
    assert loaded(folder) != expected
