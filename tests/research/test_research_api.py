"""The lines that a new user types first, and what a wrong one says: one line with a remedy, never a bug's traceback."""

from collections.abc import Callable
from datetime import date, datetime
from typing import Any

import polars as pl
import pytest

import observer
from observer.base.errors import ObserverError
from observer.research.listings import Listed
from observer.research.store import Store
from tests.research.stored import DAY

FRAMES: dict[str, Callable[[Store], Any]] = {
    "days": lambda s: s.days(),
    "summary": lambda s: s.summary(DAY),
    "trades": lambda s: s.trades("005930", DAY),
    "bars": lambda s: s.bars(["005930", "000660"], "2026-11-02", DAY, interval="5m", adjusted=True),
    "daily": lambda s: s.daily("005930", "2026-11-02", date(2026, 11, 18)),
    "snapshots": lambda s: s.snapshots("005930", DAY),
    "universe": lambda s: s.universe(DAY),
    "instruments": lambda s: s.instruments(as_of=DAY, kind="etf"),
    "etf_premium": lambda s: s.etf_premium("069500", "2026-01-02"),
    "gaps": lambda s: s.gaps(DAY),
    "quality": lambda s: s.quality("2026-11-01", "2026-11-30"),
    "slots": lambda s: s.slots(DAY),
    "triggers": lambda s: s.triggers(datetime(2026, 11, 18, 10)),  # noqa: DTZ001 - without a zone: the market's time
    "sql": lambda s: s.sql(f"select symbol, price from trades where day = '{DAY}'"),
}


@pytest.mark.parametrize("name", FRAMES)
def test_each_function_gives_a_frame(store, name):
    found = FRAMES[name](store)
    assert isinstance(found, pl.LazyFrame)
    rows = found.collect()
    assert not rows.is_empty()
    assert found.to_pandas().shape == found.to_arrow().shape == rows.shape


def test_the_other_functions(store, tmp_path):
    assert isinstance(store.listed("247540", on="2019-03-04"), Listed)
    for form in ("parquet", "csv", "nautilus", "lean"):
        assert all(path.is_file() for path in store.export(DAY, tmp_path / form, form))


WRONG: dict[str, tuple[Callable[[Store], Any], str]] = {
    "a symbol's number": (lambda s: s.trades(5930, DAY), "5930 is no symbol: give a text"),
    "numbers": (lambda s: s.trades([5930], DAY), "is no symbol: give a text"),
    "no symbol": (lambda s: s.trades([], DAY), "is no symbol: give a text"),
    "a blank symbol": (lambda s: s.trades(" ", DAY), "is no symbol: give a text"),
    "an unknown symbol": (lambda s: s.trades("00593", DAY), "did you mean 005930"),
    "a day's name": (lambda s: s.gaps("18 November"), "is neither a day such as 2026-11-18"),
    "no day": (lambda s: s.gaps(None), "is neither a day such as 2026-11-18"),
    "a number for a day": (lambda s: s.gaps(3.5), "is neither a day such as 2026-11-18"),
    "another day": (lambda s: s.gaps("2030-01-01"), "days() lists them"),
    "a last day before the first": (lambda s: s.gaps(DAY, "2026-11-01"), "give the earlier one first"),
    "an interval": (lambda s: s.bars("005930", DAY, interval="7m"), "give one that divides a day"),
    "a number for an interval": (lambda s: s.bars("005930", DAY, interval=5), "give one that divides a day"),
    "no interval": (lambda s: s.bars("005930", DAY, interval=None), "give one that divides a day"),
    "a moment": (lambda s: s.trades("005930", DAY, known_at="soon"), "is neither a day such as 2026-11-18"),
    "a kind": (lambda s: s.instruments(kind="bond"), "give one of stock, etf"),
    "an empty listing": (lambda s: s.listed("", on=DAY), "is no symbol: give a text"),
    "no listing": (lambda s: s.listed(None, on=DAY), "is no symbol: give a text"),
    "no book's symbol": (lambda s: s.book(None, at=DAY), "is no symbol: give a text"),
    "a book of a kind that is not streamed": (lambda s: s.book("005930", at=f"{DAY} 10:00"), "[track_b] records"),
    "no query": (lambda s: s.sql(None), "give one SELECT over trades"),
    "a writing query": (lambda s: s.sql("delete from trades"), "give one SELECT over trades"),
    "a format": (lambda s: s.export(DAY, "x", format="excel"), "give one of parquet, csv, nautilus, lean"),
    "no folder": (lambda s: s.export(DAY, None), "None is no path: give"),
    "no kind of event": (lambda s: s.follow(kinds=[]), "give at least one"),
    "a kind of event": (lambda s: s.follow(kinds="trade"), "did you mean trades"),
    "a store's number": (lambda _: observer.open_store(5), "5 is no path: give"),
    "a stock's premium": (lambda s: s.etf_premium("005930", "2026-01-02"), "none of its days are stored"),
    "another relation": (lambda s: s.sql("select * from nothing"), "nothing does not exist! There are trades,"),
    "a configuration that is not there": (
        lambda _: observer.open_store("nothing.toml"),
        "there is no nothing.toml: give",
    ),
    "a store that is not there": (lambda _: observer.open_store("nothing"), "give a folder, an observer.toml"),
    "a store of another kind": (lambda _: observer.open_store("s3://bucket/lake"), ""),
    "a time zone": (lambda _: observer.open_store(".", tz="Mars/Phobos"), ""),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_argument_is_one_line_with_its_remedy(store, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ask, said = WRONG[name]
    with pytest.raises(ObserverError) as caught:
        ask(store)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir()), "a wrong argument leaves nothing"
