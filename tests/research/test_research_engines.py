"""Engines over the lake of the small store: those of the development environment, in the form that all are asked in."""

import threading
from pathlib import Path

import pytest

from observer.archive.sealing import seal_days
from tests.comparison.engine_child import ENGINES, QUESTIONS
from tests.comparison.engines import SEES, copy_without_a_trade, last_day, right_answers
from tests.research.stored import DAY, MARKET, make_store, url_of

REQUIREMENTS = Path(__file__).parents[1] / "comparison" / "requirements"


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    folder = make_store(tmp_path_factory.mktemp("engines"))
    lake = folder / "data" / "lake"
    list(seal_days(lake, url_of(folder), MARKET, [DAY], lambda: 1, threading.Event()))
    return lake


def test_the_right_answers_are_those_of_the_small_store(lake):
    found = right_answers(lake, "005930", last_day(lake))
    assert set(found) == set(QUESTIONS)
    assert found["largest"][:2] == [["005930", 6, 100], ["000660", 2, 3]]
    assert found["price"][0][0] == 6
    assert [row[1:] for row in found["minutes"]][1] == [70_150, 70_200, 20]
    assert found["quality"] == [["degraded", 2, 3], ["recovered", 6, 100]]
    assert found["last"] == [["005930", 70_300, 60]]


@pytest.mark.parametrize("engine", ["duckdb", "polars", "pandas"])
def test_an_engine_gives_the_right_answers_and_sees_a_missing_trade(lake, engine, tmp_path):
    right = right_answers(lake, "005930", DAY)
    asked = ENGINES[engine][1]
    assert asked(str(lake), "005930", DAY) == right
    copy_without_a_trade(lake, tmp_path, "005930", DAY)
    found = asked(str(tmp_path), "005930", DAY)
    assert {name for name in QUESTIONS if found[name] != right[name]} == set(SEES)


def test_the_engines_of_other_environments_are_pinned():
    pinned = {path.stem: path.read_text() for path in REQUIREMENTS.glob("*.txt")}
    assert set(pinned) == {"dask", "spark"}
    assert all(f"{ENGINES[name][0]}==" in text and "--hash=sha256:" in text for name, text in pinned.items())
