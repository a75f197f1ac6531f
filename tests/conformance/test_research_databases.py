"""The research API gives the same frames of either database."""

from polars.testing import assert_frame_equal
from sqlalchemy import event

import observer
from bus.events import TAPE, SweepCompleted, TradesConflated
from observer.research.days import DayRelations
from observer.store.research import ResearchReader
from tests.research.stored import DAY, NEXT_DAY, STREAM, all_events, append, at, make_store, traded


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


def test_a_day_in_the_database_is_summed_up_as_its_relations_have_it(database_url):
    """Beside stored minute bars: trades stored twice, a conflated row, minutes of a stock at two venues."""
    conflated = (at("09:03:00"), at("09:04:10"), at("09:04:11"), 3, 30.0, 50.0, 52.0, 49.0, 51.0, 40.0)
    append(
        database_url,
        STREAM,
        *all_events(),
        traded("005930", "09:04:00", 70_200, 40, 100, gap_id=TAPE, receive_time_ns=at("18:00:00")),
        traded("035420", "10:01:00", 1_020, 1, 3),
        traded("035420.NXT", "10:01:59", 1_030, 1, 3),
        traded("403800", "09:59:59", 100, 1, 1),
        traded("403800", "10:00:00", 100, 1, 2),
        traded("247540", "09:03:30", 50, 10, 30),
        TradesConflated("kis", "247540", DAY, *conflated, None, "KRX"),
    )
    with observer.open_store(database_url) as opened:
        append(database_url, STREAM, traded("403800", "11:00:00", 100, 1, 3), *all_events()[-12:])
        append(database_url, "6" * 32, traded("403800", "12:00:00", 100, 1, 4))
        days = DayRelations(opened.rows, "Asia/Seoul")
        for day in (DAY, NEXT_DAY):
            found = opened.summary(day).collect()
            made = {name: rows.collect().height for name, rows in days.all_of(day).items()}
            assert dict(found.select("relation", "rows").rows()) == made
            [shares] = found.filter(found["relation"] == "trades").select("volume_share", "trades_share").rows()
            assert shares == (days.held_share(day).volume, days.held_share(day).trades)
        assert made["trades"] == 0
        assert opened.rows.totals(DAY, [("trades", "")]).counts == (16,)


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
