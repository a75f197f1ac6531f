"""A version that the lake has lost and states as lacking: its copy is kept, unless that is lost, too."""

import threading

import pytest

from observer.archive.day import sealed_day, version_path, write_manifest
from observer.archive.lake_copy import copy_lake, problems_in_copy
from observer.archive.lost_versions import without
from observer.archive.restore import LakePlan, lacking
from observer.archive.sealing import seal_days
from tests.archive.scene import GO_ON
from tests.archive.stored import DAY, MARKET, append, day_of, make_stored
from tests.builders import trade


@pytest.mark.slow
@pytest.mark.parametrize("is_damaged", [False, True])
def test_a_forgotten_version_that_the_copy_has_lost_too_leaves_its_note(tmp_path, is_damaged):
    lake, copy, url = tmp_path / "lake", tmp_path / "copy", make_stored(tmp_path, *day_of())
    seal(lake, url)
    append(url, trade(99, symbol="000010"))
    seal(lake, url)
    copy_lake(lake, copy, GO_ON)
    day = sealed_day(lake, MARKET, DAY)
    assert day is not None
    path = version_path(lake, "trades", MARKET, DAY, 2)
    away = path.rename(lake / "away.parquet")
    write_manifest(lake, without(day, {"trades": day.kinds["trades"][1:]}))
    assert ["other rows of trades" in text for text in copy_lake(lake, copy, GO_ON).problems] == [True], (
        "the copy has it"
    )
    own = version_path(copy, "trades", MARKET, DAY, 2)
    if is_damaged:
        own.unlink()  # a link to the one that comes back
        own.write_bytes(b"PAR1")
    else:
        own.unlink()
        own.symlink_to(own)  # the system refuses to open it, also to root
        assert ["other rows of trades" in text for text in copy_lake(lake, copy, GO_ON).problems] == [True], (
            "it may be whole"
        )
        own.unlink()
    assert copy_lake(lake, copy, GO_ON).problems == []
    assert problems_in_copy(copy, {}, GO_ON) == []
    assert lacking(lake, copy, [], GO_ON) == LakePlan([], [])
    away.rename(path)
    seal(lake, url)
    assert (copy_lake(lake, copy, GO_ON).files, problems_in_copy(copy, {}, GO_ON)) == (1, [])


def seal(lake, url):
    for _ in seal_days(lake, url, MARKET, [DAY], lambda: 1, threading.Event()):
        pass
