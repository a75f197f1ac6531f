"""A walk over pages while rows arrive has the rows of its first page's moment, or ends; what identifies an answer."""

import contextlib
import itertools
import threading
from collections.abc import Sequence
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import observer
from observer.archive.sealing import seal_days
from observer.base.errors import StoreError
from observer.research.catalogue import RELATIONS
from observer.research.errors import NotCollected
from observer.research.reading import Rows
from observer.research.store import Store
from observer.web.data_answers import Answers, CursorLostError, Page, Unchanged
from observer.web.data_questions import Question
from tests.research.stored import DAY, MARKET, NEXT_DAY, STREAM, append, listings, make_store, traded, universe, url_of
from tests.research.test_research_tape import of_tape

LATE = "6" * 32
QUESTIONS: Sequence[Question] = (
    Question(relation="trades", day=DAY, symbol="005930"),
    Question(relation="bars", day=DAY, end=NEXT_DAY, symbol="005930", options={"interval": "1s"}),
    *(Question(relation=name, day=DAY, end=NEXT_DAY) for name in ("quality", "gaps", "slots", "triggers", "decisions")),
    Question(relation="universe", day=NEXT_DAY),
)


class Asker:
    """Asks a store of its own, `step_s` seconds after the question before: then the snapshot is old."""

    def __init__(self, folder, cache_bytes=1 << 20):
        self.step_s = 20.0
        self._now_s = 0.0
        self._answers = Answers(lambda: observer.open_store(folder), lambda: self._now_s, cache_bytes)

    def ask(self, question, cursor=None, limit=1000, known=""):
        self._now_s += self.step_s
        return self._answers.page(question, cursor, limit, "json", known.__eq__)

    def page(self, question, cursor=None, limit=1000):
        found = self.ask(question, cursor, limit)
        assert isinstance(found, Page)
        return found

    def tag(self, question):
        return self.page(question).tag


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("walks"))


def rows_of(page):
    return pl.concat(page.frames).rows()


def late(number):
    """Rows that come later and belong to the first day: before, between and after those that are there."""
    moment = f"09:{number % 5:02}:{number % 60:02}"
    return [
        traded("005930", moment, 70_000, 1, 1_000 + number, gap_id="g1"),
        *universe(NEXT_DAY, "08:55:00", ["035420", "005930", "000660"]),
    ]


_NUMBERS = itertools.count()


@pytest.mark.slow
@given(
    question=st.sampled_from(QUESTIONS),
    limits=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    arrivals=st.lists(st.booleans(), min_size=1, max_size=4),
    cache_bytes=st.sampled_from([0, 1 << 20]),
)
@example(question=QUESTIONS[0], limits=[1], arrivals=[True], cache_bytes=0)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_walk_has_each_row_once_or_is_refused_when_late_rows_arrive(folder, question, limits, arrivals, cache_bytes):
    asker = Asker(folder, cache_bytes)
    whole = rows_of(asker.page(question))
    found: list[tuple[Any, ...]] = []
    cursor = None
    has_changed = False
    for limit, arrives in zip(itertools.cycle(limits), itertools.cycle(arrivals), strict=False):
        if has_changed:
            with pytest.raises(CursorLostError):
                asker.page(question, cursor, limit)
            return
        page = asker.page(question, cursor, limit)
        assert page.rows == limit or page.rest is None
        found += rows_of(page)
        if page.rest is None or len(found) > len(whole):
            break
        cursor = page.rest.cursor
        if arrives:
            append(url_of(folder), LATE, *late(next(_NUMBERS)))
            has_changed = True
    assert found == whole


def test_an_answer_is_another_one_after_a_late_row_and_a_new_walk_has_it(tmp_path):
    folder = make_store(tmp_path)
    asker = Asker(folder)
    question = Question(relation="trades", day=DAY, symbol="005930")
    before = asker.page(question)
    append(url_of(folder), STREAM, traded("005930", "09:05:00", 70_000, 1, 101))
    after = asker.page(question)
    assert (before.rows, after.rows) == (6, 7)
    assert before.tag != after.tag


def test_a_walk_goes_on_in_another_process_while_nothing_is_added(folder):
    question = Question(relation="universe", day=DAY)
    first = Asker(folder).page(question, limit=4)
    assert first.rest is not None
    second = Asker(folder).page(question, first.rest.cursor)
    assert rows_of(first) + rows_of(second) == rows_of(Asker(folder).page(question))


@pytest.mark.parametrize(
    "question", [Question(relation="trades", day=DAY, symbol="005930"), Question(relation="listings")]
)
def test_a_cursor_whose_rows_changed_is_refused_with_the_remedy(tmp_path, question):
    folder = make_store(tmp_path)
    asker = Asker(folder)
    first = asker.page(question, limit=2)
    assert first.rest is not None
    assert asker.page(question, first.rest.cursor).rows > 0
    append(url_of(folder), LATE, traded("005930", "09:05:00", 70_000, 1, 101), listings()[0])
    with pytest.raises(CursorLostError, match="ask again without cursor"):
        asker.page(question, first.rest.cursor)


def test_an_answer_that_the_asker_has_reads_no_row(folder, monkeypatch):
    asker = Asker(folder, cache_bytes=0)
    question = Question(relation="bars", day=DAY, symbol="005930")
    tag = asker.tag(question)
    scanned = recorded(monkeypatch)
    assert asker.ask(question, known=tag) == Unchanged(tag)
    assert not scanned


# --- connections -----------------------------------------------------------------------------------------------


class Opened:
    """The stores that an `Answers` opened, and those that it closed last of all that it did with them."""

    def __init__(self, folder, monkeypatch):
        self.stores: list[Store] = []
        self.closed: list[Store] = []
        self._folder = folder
        close = Store.close

        def closing(store):
            close(store)
            self.closed.append(store)

        monkeypatch.setattr(Store, "close", closing)

    def __call__(self):
        self.stores.append(observer.open_store(self._folder))
        return self.stores[-1]


def test_a_snapshot_that_cannot_be_read_any_more_is_closed(tmp_path, monkeypatch):
    folder = make_store(tmp_path)
    opened = Opened(folder, monkeypatch)
    answers = Answers(opened, lambda: 0.0, 0)
    question = Question(relation="trades", day=DAY, symbol="005930")
    answers.page(question, None, 1, "json", "".__eq__)
    for path in (folder / "data").glob("observer.db*"):
        path.unlink()
    with pytest.raises(StoreError):
        answers.page(Question(relation="gaps", day=DAY), None, 1, "json", "".__eq__)
    assert opened.stores[0] in opened.closed


# --- sealed days -----------------------------------------------------------------------------------------------


def recorded(monkeypatch):
    """The kinds that are read from now on."""
    kinds: set[str] = set()
    scan = Rows.scan

    def scanning(self, kind, day, lines=None):
        kinds.add(kind)
        return scan(self, kind, day, lines)

    monkeypatch.setattr(Rows, "scan", scanning)
    return kinds


@pytest.fixture(scope="module")
def taped(tmp_path_factory):
    folder = make_store(tmp_path_factory.mktemp("taped"))
    append(url_of(folder), STREAM, *of_tape())
    return folder


@pytest.mark.parametrize("has_tape", [False, True])
@pytest.mark.parametrize("name", [each.name for each in RELATIONS.values() if each.span == "days"])
def test_a_relation_names_each_kind_that_it_reads(folder, taped, name, has_tape, monkeypatch):
    symbol = "005930" if RELATIONS[name].needs_symbol else None
    kinds = recorded(monkeypatch)
    with contextlib.suppress(NotCollected):
        Asker(taped if has_tape else folder).page(Question(relation=name, day=DAY, symbol=symbol))
    assert kinds <= set(RELATIONS[name].kinds)


@pytest.fixture
def sealed(tmp_path):
    """A store whose first day is sealed."""
    folder = make_store(tmp_path)
    seal(folder)
    return folder, Asker(folder)


def seal(folder):
    lake = folder / "data" / "lake"
    list(seal_days(lake, url_of(folder), MARKET, [DAY], lambda: 1, threading.Event()))


def test_the_answer_of_a_sealed_day_stays_the_same_while_other_days_get_rows(sealed):
    folder, asker = sealed
    of_day = Question(relation="bars", day=DAY, symbol="005930")
    of_both = Question(relation="bars", day=DAY, end=NEXT_DAY, symbol="005930")
    before = asker.tag(of_day), asker.tag(of_both)
    append(url_of(folder), LATE, traded("005930", "09:00:01", 70_000, 1, 1, session_date=NEXT_DAY))
    after = asker.tag(of_day), asker.tag(of_both)
    assert before[0] == after[0]
    assert before[1] != after[1]


def test_the_answer_of_a_sealed_day_is_another_one_with_a_late_row_and_when_that_is_sealed(
    sealed,
):
    folder, asker = sealed
    question = Question(relation="trades", day=DAY, symbol="005930")
    tags = [asker.tag(question)]
    append(url_of(folder), LATE, traded("005930", "09:05:00", 70_000, 1, 101))
    tags.append(asker.tag(question))
    seal(folder)
    tags.append(asker.tag(question))
    assert len(set(tags)) == 3
    assert asker.page(question).rows == 7
