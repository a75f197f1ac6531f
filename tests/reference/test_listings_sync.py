"""MasterFileSync: every answer of a host is one row of a table, and no listing is lost."""

import asyncio
import contextlib
import sqlite3
import zipfile
from collections.abc import Awaitable, Callable

import msgspec
import pytest
from aiohttp import web

from bus.commands import Refused
from bus.events import (
    AlertRaised,
    AlertRepeated,
    AlertResolved,
    ListingChanged,
    ListingValued,
    MasterFileApproved,
    MasterFileChecked,
)
from observer.base.errors import DataFileError, StoreError
from observer.brokers.kis.broker import BROKER
from observer.reference.listings.diff import ReferenceSettings
from observer.reference.listings.jobs import MasterFileJobs
from observer.reference.listings.verification import verify_exchange
from observer.store import engine
from observer.store.listings import ListingReader
from tests.reference.scene import Scene, contents, scene, symbols, zipped

Body = Callable[[Scene], Awaitable[None]]


def play(folder, body, timeout_s=60.0):
    async def run():
        async with scene(folder, timeout_s=timeout_s) as found:
            await body(found)

    asyncio.run(run())


def kinds(played):
    found = [event for event in played.publication.events if isinstance(event, ListingChanged)]
    return {kind: sum(event.change == kind for event in found) for kind in {event.change for event in found}}


def state(played, exchange="NASD"):
    path = played.local.path(exchange)
    return (path.read_bytes() if path.exists() else b"", frozenset(played.reader.active_listings(exchange)))


async def first(played, count=300):
    played.host.offer("NASD", contents(symbols(count)))
    assert (await played.masters.check("NASD")).outcome.decision == "updated"


def test_verification_reads_the_file_as_its_own_broker_writes_it(tmp_path):
    other = msgspec.structs.replace(BROKER, listings=lambda _exchange, _content: ([], []))

    async def body(played):
        await first(played)
        with ListingReader(f"sqlite:///{tmp_path / 'observer.db'}") as reader:
            assert verify_exchange(reader, played.local, BROKER, "NASD").problems == []
            assert verify_exchange(reader, played.local, other, "NASD").problems == ["300 not in the file"]

    play(tmp_path, body)


def test_the_first_file_is_taken_in_whole_and_kept(tmp_path):
    async def body(played):
        await first(played)
        assert state(played) == (contents(symbols(300)), frozenset(symbols(300)))
        assert kinds(played) == {"initial": 300}
        assert played.host.requests == ["HEAD", "GET"]

    play(tmp_path, body)


def test_an_unchanged_file_is_not_downloaded_unless_forced(tmp_path):
    async def body(played):
        await first(played)
        assert (await played.masters.check("NASD")).outcome.decision == "unchanged"
        assert played.host.requests == ["HEAD", "GET", "HEAD"]
        assert (await played.masters.check("NASD", force=True)).outcome.decision == "unchanged"
        assert played.host.requests[-1] == "GET"
        assert kinds(played) == {"initial": 300}

    play(tmp_path, body)


def test_new_changed_removed_and_relisted_are_reported_and_a_removed_one_stays_known(tmp_path):
    async def body(played):
        await first(played)
        both = contents(symbols(298)) + contents(["X1", "X2"])
        played.host.offer("NASD", both)
        await played.masters.check("NASD")
        assert kinds(played) == {"initial": 300, "new": 2, "removed": 2}
        assert set(played.reader.inactive_listings("NASD")) == {"S00298", "S00299"}
        played.host.offer("NASD", contents(symbols(299)) + contents(["X1"], "새이름") + contents(["X2"]))
        await played.masters.check("NASD")
        assert kinds(played) == {"initial": 300, "new": 2, "removed": 2, "relisted": 1, "changed": 1}
        changed = [event for event in played.publication.events if isinstance(event, ListingChanged)][-1]
        assert (changed.symbol, changed.changed_fields) == ("X1", "name,english_name")
        assert changed.previous == '{"name":"회사","english_name":"회사 INC"}'
        assert changed.run.startswith("NASD-2026")

    play(tmp_path, body)


def test_prices_alone_make_no_history(tmp_path):
    async def body(played):
        await first(played)
        played.host.offer("NASD", contents(symbols(300), price="11.0000"))
        found = await played.masters.check("NASD")
        assert (found.outcome.decision, kinds(played)) == ("unchanged", {"initial": 300})
        assert sum(isinstance(event, ListingValued) for event in played.publication.events) == 300
        assert played.reader.active_listings("NASD")["S00000"].base_price == 11.0
        assert state(played)[0] == contents(symbols(300), price="11.0000")

    play(tmp_path, body)


def test_the_file_of_one_exchange_never_touches_the_listings_of_another(tmp_path):
    async def body(played):
        await first(played)
        played.host.offer("NYSE", contents(symbols(10), code="NYS"))
        await played.masters.check("NYSE")
        assert len(played.reader.active_listings("NASD")) == 300
        assert len(played.reader.active_listings("NYSE")) == 10

    play(tmp_path, body)


# --- pending approval ---


@pytest.mark.parametrize("count", [240, 401])
def test_a_mass_change_waits_and_is_applied_when_a_person_approves(tmp_path, count):
    async def body(played):
        await first(played)
        before = state(played)
        played.host.offer("NASD", contents(symbols(count)))
        found = await played.masters.check("NASD")
        assert found.outcome.decision == "pending"
        assert state(played) == before
        with pytest.raises(DataFileError, match=found.run):
            await played.masters.approve("NASD-19700101T000000", ["NASD"])
        await played.masters.approve(found.run, ["NASD"])
        assert state(played) == (contents(symbols(count)), frozenset(symbols(count)))
        assert [event.run for event in played.publication.events if isinstance(event, MasterFileApproved)] == [
            found.run
        ]
        with pytest.raises(DataFileError, match="none waits"):
            await played.masters.approve(found.run, ["NASD"])

    play(tmp_path, body)


def reported(played, since):
    """Alert texts and published runs after the first `since` events."""
    return [
        event.text if isinstance(event, AlertRaised) else event.run
        for event in played.publication.events[since:]
        if isinstance(event, AlertRaised | MasterFileChecked)
    ]


def test_a_pending_version_keeps_its_run_and_raises_no_second_alert(tmp_path):
    async def body(played):
        await first(played)
        played.host.offer("NASD", contents(symbols(240)))
        found = await played.masters.check("NASD")
        published = len(played.publication.events)
        await played.clock.advance(86_400)
        again = await played.masters.check("NASD")
        assert (again.outcome.decision, again.run) == ("pending", found.run)
        assert reported(played, published) == [found.run]
        assert [len(again.changes), len(found.changes)] == [60, 60]
        await played.masters.approve(found.run, ["NASD"])
        assert state(played) == (contents(symbols(240)), frozenset(symbols(240)))

    play(tmp_path, body)


def test_another_version_replaces_the_pending_version_and_raises_an_alert(tmp_path):
    async def body(played):
        await first(played)
        played.host.offer("NASD", contents(symbols(240)))
        found = await played.masters.check("NASD")
        published = len(played.publication.events)
        played.host.offer("NASD", contents(symbols(239)))
        await played.clock.advance(60)
        another = await played.masters.check("NASD")
        assert another.run != found.run
        assert reported(played, published) == [another.run, "NASD: 61 listings removed, over 50"]

    play(tmp_path, body)


def test_an_exchange_with_a_pending_file_is_not_checked_again_until_the_next_due_time(tmp_path):
    async def body(played):
        await first(played)
        await played.clock.advance(86_400)
        due_ns = played.clock.now_ns()
        played.host.offer("NASD", contents(symbols(240)))
        assert [each.exchange for each in await played.masters.check_all(["NASD"], since_ns=due_ns)] == ["NASD"]
        played.host.requests.clear()
        assert await played.masters.check_all(["NASD"], since_ns=due_ns) == []
        assert played.host.requests == []
        await played.clock.advance(86_400)
        [again] = await played.masters.check_all(["NASD"], since_ns=played.clock.now_ns())
        assert again.outcome.decision == "pending"
        assert await played.masters.check_all(["NASD"], since_ns=played.clock.now_ns()) == []

    play(tmp_path, body)


# --- faults of the host: none changes a file or a listing ---


def body_of(content, status=200):
    async def answer(request):
        return web.Response(status=status, body=content, headers={"ETag": '"other"'})

    return answer


def stored_zip(content):
    """Not compressed, so that files of one length make zips of one length."""
    return zipped(content, method=zipfile.ZIP_STORED)


def stored(content):
    async def answer(request):
        return web.Response(body=stored_zip(content), headers={"ETag": f'"{hash(content)}"'})

    return answer


async def wrong_length(request):
    response = web.StreamResponse(headers={"Content-Length": "5000", "ETag": '"other"'})
    await response.prepare(request)
    if request.method == "GET":
        await response.write(b"x" * 100)
        assert request.transport is not None
        request.transport.abort()
    return response


async def stall(request):
    response = web.StreamResponse(headers={"Content-Length": "5000", "ETag": '"other"'})
    await response.prepare(request)
    if request.method == "GET":
        await response.write(b"x" * 100)
        await asyncio.Event().wait()  # until the client has had enough
    return response


async def silence(request):
    await asyncio.Event().wait()
    return web.Response()


async def nothing(request):
    return web.Response(headers={"Content-Length": "0"})


async def elsewhere(request):
    raise web.HTTPFound("/common/master/kospi_code.mst.zip")


WHOLE = zipped(contents(symbols(301)))
BAD_LINES = contents(symbols(290)) + b"no record\n" * 3
ERRORS = {
    "zero bytes": (nothing, "empty file", ["HEAD"]),
    "404": (body_of(b"", 404), "HTTP 404", ["HEAD"]),
    "500": (body_of(b"", 500), "HTTP 500", ["HEAD"] * 3),
    "redirect": (elsewhere, "HTTP 302", ["HEAD"]),
    "timeout": (silence, "Timeout", ["HEAD"] * 3),
    "stall": (stall, "Timeout", ["HEAD", *["GET"] * 3]),
    "wrong length": (wrong_length, "RemoteProtocolError|ReadError", ["HEAD", *["GET"] * 3]),
    "truncated zip": (body_of(WHOLE[:-40]), "not a whole zip", ["HEAD", *["GET"] * 3]),
    "damaged zip": (body_of(WHOLE[:70] + b"\0\0\0\0" + WHOLE[74:]), "not a whole zip", ["HEAD", *["GET"] * 3]),
    "a page": (body_of(b"<html>"), "not a whole zip", ["HEAD", *["GET"] * 3]),
    "an empty file in the zip": (body_of(zipped(b"")), "no records", ["HEAD", "GET"]),
    "too much unreadable": (body_of(zipped(BAD_LINES)), "3 records cannot be read", ["HEAD", "GET"]),
}


@pytest.mark.parametrize("case", ERRORS)
def test_a_host_that_fails_changes_nothing_and_is_reported_once(tmp_path, case):
    answer, reason, requests = ERRORS[case]

    async def body(played):
        await first(played)
        before = state(played)
        played.host.requests.clear()
        played.host.answer = answer
        found = await played.masters.check("NASD")
        assert found.outcome.decision == "failed"
        assert any(part in found.outcome.reason for part in reason.split("|"))
        assert (state(played), played.host.requests) == (before, requests)
        checked = [event for event in played.publication.events if isinstance(event, MasterFileChecked)][-1]
        alert = played.publication.events[-1]
        assert isinstance(alert, AlertRaised)
        assert (checked.outcome, alert.severity) == ("failed", "critical")
        published = len(played.publication.events)
        await played.clock.advance(60)
        assert (await played.masters.check("NASD")).outcome == found.outcome
        again, repeated = played.publication.events[published:]
        assert isinstance(again, MasterFileChecked)
        assert isinstance(repeated, AlertRepeated)
        assert (repeated.identity, repeated.count) == ("master_file:NASD", 2)
        assert (again.outcome, again.checked_ns > checked.checked_ns) == ("failed", True)
        played.host.answer = played.host.usual
        assert (await played.masters.check("NASD", force=True)).outcome.decision == "unchanged"
        resolved = played.publication.events[-1]
        assert isinstance(resolved, AlertResolved)
        assert (resolved.identity, resolved.count) == ("master_file:NASD", 2)
        assert [path.name for path in played.local.path("NASD").parent.glob(".*")] == []

    play(tmp_path, body, timeout_s=0.5 if reason == "Timeout" else 60.0)  # it is waited for three times


def test_a_second_attempt_that_works_is_enough(tmp_path):
    async def body(played):
        attempts = iter([body_of(b"", 500), body_of(b"", 500)])

        async def answer(request):
            return await next(attempts, played.host.usual)(request)

        played.host.answer = answer
        began_ns = played.clock.now_ns()
        await first(played)
        assert played.clock.now_ns() - began_ns == 3_000_000_000  # one second, then two

    play(tmp_path, body)


def test_a_check_whose_commit_fails_changes_nothing_and_the_next_check_applies_the_file(tmp_path, monkeypatch):
    patient = engine._SQLITE_WRITER_PRAGMAS
    monkeypatch.setattr(engine, "_SQLITE_WRITER_PRAGMAS", [*patient, "busy_timeout=50"])

    async def body(played):
        await first(played)
        before = state(played)
        played.host.offer("NASD", contents(symbols(301)))
        with contextlib.closing(sqlite3.connect(tmp_path / "observer.db")) as another:
            another.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreError, match="locked"):
                await played.masters.check("NASD")
            assert state(played) == before
            another.rollback()
        assert (await played.masters.check("NASD")).outcome.decision == "updated"
        assert state(played) == (contents(symbols(301)), frozenset(symbols(301)))
        assert [path.name for path in played.local.path("NASD").parent.glob(".*")] == []

    play(tmp_path, body)


# --- the decision table, at a real host ---


@pytest.mark.parametrize(
    ("before", "after", "outcome", "severity", "alerts"),
    [
        (300, 306, "updated", "info", []),
        (300, 390, "updated", "warning", ["warning"]),
        (300, 298, "updated", "warning", ["warning"]),
        (300, 255, "pending", "critical", ["critical"]),
    ],
    ids=["normal growth", "massive growth", "minor decrease", "major decrease"],
)
def test_the_change_in_file_size_decides_the_outcome(tmp_path, before, after, outcome, severity, alerts):
    async def body(played):
        await first(played, before)
        played.host.offer("NASD", contents(symbols(after)))
        found = await played.masters.check("NASD")
        assert found.decision is not None
        assert (found.decision.action, found.decision.severity) == ("download", severity)
        assert found.outcome.decision == outcome
        assert [each.severity for each in played.publication.events if isinstance(each, AlertRaised)] == alerts

    play(tmp_path, body)


def test_a_file_of_the_same_length_with_another_tag_is_downloaded(tmp_path):
    async def body(played):
        old, new = (contents([symbol]) for symbol in ("AAAAA", "BBBBB"))
        played.host.answer = stored(old)
        await played.masters.check("NASD")
        played.host.answer = stored(new)
        found = await played.masters.check("NASD")
        assert len(stored_zip(old)) == len(stored_zip(new))
        assert found.outcome.decision == "updated"
        assert state(played) == (new, frozenset(["BBBBB"]))

    play(tmp_path, body)


def test_a_file_without_stamps_is_downloaded_at_each_check(tmp_path):
    async def answer_without_stamps(request):
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        if request.method == "GET":
            await response.write(zipped(contents(symbols(300))))
        await response.write_eof()
        return response

    async def body(played):
        played.host.answer = answer_without_stamps
        assert (await played.masters.check("NASD")).outcome.decision == "updated"
        assert (await played.masters.check("NASD")).outcome.decision == "unchanged"
        assert played.host.requests == ["HEAD", "GET"] * 2

    play(tmp_path, body)


def test_a_local_copy_is_downloaded_again_after_a_week(tmp_path):
    async def body(played):
        await first(played)
        await played.clock.advance(7 * 86_400 - 1)
        await played.masters.check("NASD")
        assert played.host.requests == ["HEAD", "GET", "HEAD"]
        await played.clock.advance(1)
        await played.masters.check("NASD")
        assert played.host.requests == ["HEAD", "GET", "HEAD", "HEAD", "GET"]

    play(tmp_path, body)


# --- backups ---


def test_seven_versions_are_kept_and_the_newest_is_put_back(tmp_path):
    async def body(played):
        for count in range(300, 310):
            played.host.offer("NASD", contents(symbols(count)))
            await played.masters.check("NASD")
            await played.clock.advance(86_400)
        backups = played.local.backups("NASD")
        assert [len(path.read_bytes().splitlines()) for path in backups] == list(range(308, 301, -1))
        found = await played.masters.restore("NASD")
        assert found.outcome.decision == "updated"
        assert state(played) == (contents(symbols(308)), frozenset(symbols(308)))
        assert (await played.masters.check("NASD")).outcome.decision == "updated"
        assert state(played) == (contents(symbols(309)), frozenset(symbols(309)))

    play(tmp_path, body)


def test_a_restore_that_is_held_leaves_the_file_in_force_until_it_is_approved(tmp_path):
    async def body(played):
        await first(played)
        played.host.offer("NASD", contents(symbols(400)))
        await played.masters.check("NASD")
        newest = contents(symbols(400))
        restored = await played.masters.restore("NASD")
        assert restored.outcome.decision == "pending"
        assert state(played) == (newest, frozenset(symbols(400)))
        await played.clock.advance(1)
        await played.masters.approve(restored.run, ["NASD"])
        assert state(played) == (contents(symbols(300)), frozenset(symbols(300)))
        assert newest in [path.read_bytes() for path in played.local.backups("NASD")]

    play(tmp_path, body)


def test_a_held_restore_is_refused_by_the_running_system_with_the_command_that_approves_it(tmp_path):
    async def body(played):
        await first(played)
        played.host.offer("NASD", contents(symbols(400)))
        await played.masters.check("NASD")
        refused = await MasterFileJobs(ReferenceSettings(), played.masters).restore(["NASD"])
        assert isinstance(refused, Refused)
        assert refused.code == "pending_approval"
        assert "`observer master approve NASD-" in refused.message

    play(tmp_path, body)


def test_without_a_backup_nothing_can_be_put_back(tmp_path):
    async def body(played):
        await first(played)
        with pytest.raises(DataFileError, match="no backup"):
            await played.masters.restore("NASD")

    play(tmp_path, body)


@pytest.mark.parametrize("damage", [b"", b"damaged\n" * 100, None])
def test_a_damaged_file_is_fetched_again_or_replaced_by_its_backup(tmp_path, damage):
    async def body(played):
        await first(played)
        played.host.offer("NASD", contents(symbols(301)))
        await played.masters.check("NASD")
        path = played.local.path("NASD")
        path.unlink()
        if damage is not None:
            path.write_bytes(damage)
        played.host.answer = body_of(b"", 500)
        assert (await played.masters.check("NASD")).outcome.decision == "failed"
        assert path.read_bytes() == contents(symbols(300))
        played.host.answer = played.host.usual
        await played.masters.check("NASD")
        assert state(played) == (contents(symbols(301)), frozenset(symbols(301)))

    play(tmp_path, body)


def test_where_the_backups_are_damaged_too_the_host_s_file_comes(tmp_path):
    async def body(played):
        await first(played)
        played.host.offer("NASD", contents(symbols(301)))
        await played.masters.check("NASD")
        for path in (played.local.path("NASD"), *played.local.backups("NASD")):
            path.write_bytes(b"damaged\n")
        await played.masters.check("NASD")
        assert state(played) == (contents(symbols(301)), frozenset(symbols(301)))

    play(tmp_path, body)


def test_a_dry_run_repairs_nothing(tmp_path):
    async def body(played):
        await first(played)
        played.host.offer("NASD", contents(symbols(301)))
        await played.masters.check("NASD")
        path = played.local.path("NASD")
        path.write_bytes(b"damaged\n")
        played.host.answer = body_of(b"", 500)
        assert (await played.masters.examine("NASD")).outcome.decision == "failed"
        assert path.read_bytes() == b"damaged\n"
        await played.masters.check("NASD")
        assert path.read_bytes() == contents(symbols(300))

    play(tmp_path, body)


def test_a_restore_of_a_much_smaller_file_is_held(tmp_path):
    async def body(played):
        await first(played, 255)
        played.host.offer("NASD", contents(symbols(300)))
        await played.masters.check("NASD")
        assert (await played.masters.restore("NASD")).outcome.decision == "pending"
        assert played.local.path("NASD").read_bytes() == contents(symbols(300))

    play(tmp_path, body)


@pytest.mark.parametrize("way", ["restored", "mended"])
def test_a_file_much_smaller_than_the_restored_one_waits_for_approval(tmp_path, way):
    async def body(played):
        await first(played)
        played.host.offer("NASD", contents(symbols(301)))
        await played.masters.check("NASD")
        if way == "restored":
            await played.masters.restore("NASD")
        else:
            played.local.path("NASD").unlink()
        played.host.offer("NASD", contents(symbols(255)))
        found = await played.masters.check("NASD")
        assert found.outcome.decision == "pending"
        assert found.outcome.reason == "the file is 15.0 % smaller, over 10 %"

    play(tmp_path, body)


def test_records_with_an_appended_column_raise_one_alert_and_lose_no_listing(tmp_path):
    grown = b"".join(line + b"\tX\n" for line in contents(symbols(300)).splitlines())

    async def body(played):
        await first(played)
        played.host.offer("NASD", grown)
        assert (await played.masters.check("NASD")).outcome.decision == "unchanged"
        await played.masters.check("NASD", force=True)
        raised = [each for each in played.publication.events if isinstance(each, AlertRaised)]
        assert [(each.identity, each.text) for each in raised] == [
            ("master_file_grown:NASD", "nasmst.cod: 25 columns, of which 24 are known; the rest is not read")
        ]
        played.host.offer("NASD", contents(symbols(300)))
        await played.masters.check("NASD")
        assert [type(each) for each in played.publication.events].count(AlertResolved) == 1
        assert kinds(played) == {"initial": 300}

    play(tmp_path, body)
