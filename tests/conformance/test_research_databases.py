"""The research API gives the same frames of either database."""

from polars.testing import assert_frame_equal
from sqlalchemy import event

import observer
from bus.events import SweepCompleted
from observer.store.research import ResearchReader
from tests.research.stored import DAY, NEXT_DAY, STREAM, all_events, append, make_store


def test_both_databases_give_the_same_frames(database_url, tmp_path):
    append(database_url, STREAM, *all_events())
    (tmp_path / "other").mkdir()
    with observer.open_store(database_url) as found, observer.open_store(make_store(tmp_path / "other")) as expected:
        assert_frame_equal(found.days(), expected.days())
        assert_frame_equal(found.trades(None, DAY), expected.trades(None, DAY))
        assert_frame_equal(found.bars(["005930", "035420"], DAY), expected.bars(["005930", "035420"], DAY))
        assert_frame_equal(found.daily("005930", "2026-11-01", DAY), expected.daily("005930", "2026-11-01", DAY))
        assert_frame_equal(found.instruments(DAY), expected.instruments(DAY))
        for name in ("gaps", "quality", "slots", "triggers"):
            assert_frame_equal(getattr(found, name)(DAY, NEXT_DAY), getattr(expected, name)(DAY, NEXT_DAY))
        assert found.listed("247540", "2019-03-04") == expected.listed("247540", "2019-03-04")


def test_the_stored_days_take_one_statement_a_kind(database_url):
    days = [f"2026-01-{number:02}" for number in range(1, 21)]
    append(database_url, STREAM, *(SweepCompleted("kis", day, 1, 2, 3, 1, 1, 0) for day in days))
    statements: list[str] = []
    with ResearchReader(database_url) as reader:

        @event.listens_for(reader._engine, "before_cursor_execute")
        def _note(_connection, _cursor, statement, *_):
            statements.append(statement)

        assert reader.session_dates() == days
    assert sum("session_date" in each for each in statements) == 5
