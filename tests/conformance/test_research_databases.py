"""The research API gives the same frames of either database."""

from pathlib import Path

from polars.testing import assert_frame_equal

import observer
from tests.research.stored import DAY, NEXT_DAY, STREAM, all_events, append, make_store


def test_both_databases_give_the_same_frames(database_url: str, tmp_path: Path) -> None:
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
