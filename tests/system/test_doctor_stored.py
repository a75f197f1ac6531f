"""The doctor compares what was published with what is stored, from files and the database alone."""

import pytest

from bus.codec import decode_events, unpack
from bus.delivery import Delivered, Lost
from bus.events import PhaseChanged
from bus.outbox import Outbox
from bus.segments import Packed
from observer.archive.backup import back_up
from observer.base.units import NS_PER_DAY
from observer.store.summary import RowsAndMarks, SummaryReader
from observer.store.writer import StoreWriter
from observer.system.doctor.stored import Stored, examine
from tests.archive.scene import GO_ON, NOW_NS, plan_in
from tests.builders import trades
from tests.store.migrated import make_database
from tests.store.raw import execute

A, B = "aa" * 16, "bb" * 16


@pytest.fixture
def url(tmp_path):
    made = f"sqlite:///{tmp_path}/observer.db"
    make_database(made)
    return made


def published(folder, count=10):
    outbox = Outbox(folder / "outbox" / "track-b", "track-b", A)
    outbox.append(trades(count))
    return outbox


def store(url, outbox, *, lost=0):
    """Commit the outbox's first stream, with so many numbers behind it stated as lost."""
    found = outbox.batch_at(A, 1)
    assert isinstance(found, Packed)
    events = decode_events(unpack(found.content))
    parts: list[Delivered | Lost] = [Delivered("track-b", A, 1, events)]
    if lost:
        parts.append(Lost(A, len(events) + 1, len(events) + lost, "damaged", "track-b"))
    writer = StoreWriter(url)
    writer.open()
    writer.commit(parts)
    writer.close()


def findings(url, folder, *, recount=True):
    stored = Stored(url=url, outboxes=folder / "outbox", backups=folder / "backup", recount=recount)
    return {finding.check: finding for finding in examine(stored)}


def test_a_sound_system_has_no_critical_finding(tmp_path, url):
    store(url, published(tmp_path))
    found = findings(url, tmp_path)
    assert {found[check].level for check in ("database", "rows", "losses", "outboxes")} == {"ok"}
    assert found["backup"].level == "warning"


def test_events_that_wait_in_an_outbox_are_counted(tmp_path, url):
    outbox = published(tmp_path)
    store(url, outbox)
    outbox.append(trades(7, first=11))
    outbox.close(delivered=False)
    found = findings(url, tmp_path)["outboxes"]
    assert found.level == "warning"
    assert "track-b 7" in found.text


def test_without_an_outbox_the_doctor_says_that_there_is_nothing_to_compare_with(tmp_path, url):
    assert "to compare with" in findings(url, tmp_path)["outboxes"].text


def test_stated_losses_are_critical(tmp_path, url):
    store(url, published(tmp_path), lost=5)
    found = findings(url, tmp_path)
    assert found["losses"].level == "critical"
    assert "5 published events" in found["losses"].text
    assert found["rows"].level == "ok"


def test_a_row_that_is_gone_is_found_by_the_recount(tmp_path, url):
    store(url, published(tmp_path))
    execute(url, "DELETE FROM trade_rows WHERE sequence = 4")
    assert findings(url, tmp_path)["rows"].level == "critical"
    assert "rows" not in findings(url, tmp_path, recount=False)


def test_a_row_of_a_trade_without_its_group_is_found_by_the_recount(tmp_path, url):
    store(url, published(tmp_path))
    execute(url, "UPDATE trade_rows SET group_id = 999 WHERE sequence IN (3, 4)")
    found = findings(url, tmp_path)
    assert found["rows"].level == "ok"
    assert found["groups"].level == "critical"
    assert found["groups"].text.startswith("2 rows of trade_rows have a group that is not in trade_groups")


def test_a_database_that_is_gone_is_critical(tmp_path):
    published(tmp_path)
    found = findings(f"sqlite:///{tmp_path}/observer.db", tmp_path)
    assert found["database"].level == "critical"


def test_damaged_segments_are_named_until_they_are_deleted(tmp_path, url):
    store(url, published(tmp_path))
    kept = tmp_path / "outbox" / "track-b" / "damaged" / "segment.journal"
    kept.parent.mkdir()
    kept.write_bytes(b"")
    assert findings(url, tmp_path)["damage"].level == "warning"
    kept.unlink()
    assert "damage" not in findings(url, tmp_path)


def test_a_database_that_went_back_is_named_with_the_reason(tmp_path, url):
    writer = StoreWriter(url)
    writer.open()
    writer.epoch()
    writer.begin_epoch("it was put back")
    writer.close()
    assert "it went back once because it was put back" in findings(url, tmp_path)["epochs"].text


@pytest.mark.parametrize(("days", "level"), [(-300, "ok"), (0, "ok"), (3, "ok"), (5, "warning")])
def test_a_package_is_old_when_events_were_stored_long_after_it(tmp_path, url, days, level):
    newest_ns = NOW_NS + days * NS_PER_DAY
    writer = StoreWriter(url)
    writer.open()
    writer.commit([Delivered("supervisor", A, 1, [PhaseChanged("2026-11-18", newest_ns, "CLOSED", "IDLE")])])
    writer.close()
    back_up(plan := plan_in(tmp_path, url), "daily", NOW_NS, GO_ON)
    [found] = [
        each for each in examine(Stored(url=url, outboxes=tmp_path, backups=plan.folder)) if each.check == "backup"
    ]
    assert found.level == level
    assert f"{max(0, days):.1f} days older than the newest event" in found.text


def test_a_package_is_named_without_its_database(tmp_path, url):
    back_up(plan := plan_in(tmp_path, url), "daily", NOW_NS, GO_ON)
    found = examine(Stored(url=f"sqlite:///{tmp_path}/absent.db", outboxes=tmp_path, backups=plan.folder))
    assert [each.level for each in found] == ["critical", "ok"]


def test_a_recount_compares_the_rows_with_the_marks_less_the_losses(tmp_path, url):
    store(url, published(tmp_path), lost=5)
    with SummaryReader(url) as reader:
        assert reader.rows_and_marks() == RowsAndMarks(10, 0, 10)
