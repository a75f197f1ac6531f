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
from tests.folders import short_folder
from tests.reference.scene import Scene, contents, scene, symbols, zipped
from tests.scenes import on

Body = Callable[[Scene], Awaitable[None]]


def play(folder, body, timeout_s=60.0):
    async def run():
        async with scene(folder, timeout_s=timeout_s) as found:
            await body(found)

    asyncio.run(run())


@contextlib.asynccontextmanager
async def listings():
    with short_folder() as folder:
        async with scene(folder) as found:
            yield found


def offer(played, count, **fields):
    """The host has a file of so many listings."""
    played.host.offer("NASD", contents(symbols(count), **fields))


def kinds(played):
    found = [event for event in played.publication.events if isinstance(event, ListingChanged)]
    return {kind: sum(event.change == kind for event in found) for kind in {event.change for event in found}}


def state(played, exchange="NASD"):
    path = played.local.path(exchange)
    return (path.read_bytes() if path.exists() else b"", frozenset(played.reader.active_listings(exchange)))


async def first(played, count=300):
    offer(played, count)
    assert (await played.masters.check("NASD")).outcome.decision == "updated"


def test_verification_reads_the_file_as_its_own_broker_writes_it(tmp_path):
    other = msgspec.structs.replace(BROKER, listings=lambda _exchange, _content: ([], []))

    async def body(played):
        await first(played)
        with ListingReader(f"sqlite:///{tmp_path / 'observer.db'}") as reader:
            assert verify_exchange(reader, played.local, BROKER, "NASD").problems == []
            assert verify_exchange(reader, played.local, other, "NASD").problems == ["300 not in the file"]

    play(tmp_path, body)


@on(listings)
async def test_the_first_file_is_taken_in_whole_and_kept(made):
    await first(made)
    assert state(made) == (contents(symbols(300)), frozenset(symbols(300)))
    assert kinds(made) == {"initial": 300}
    assert made.host.requests == ["HEAD", "GET"]


@on(listings)
async def test_an_unchanged_file_is_not_downloaded_unless_forced(made):
    await first(made)
    assert (await made.masters.check("NASD")).outcome.decision == "unchanged"
    assert made.host.requests == ["HEAD", "GET", "HEAD"]
    assert (await made.masters.check("NASD", force=True)).outcome.decision == "unchanged"
    assert made.host.requests[-1] == "GET"
    assert kinds(made) == {"initial": 300}


@on(listings)
async def test_new_changed_removed_and_relisted_are_reported_and_a_removed_one_stays_known(made):
    await first(made)
    both = contents(symbols(298)) + contents(["X1", "X2"])
    made.host.offer("NASD", both)
    await made.masters.check("NASD")
    assert kinds(made) == {"initial": 300, "new": 2, "removed": 2}
    assert set(made.reader.inactive_listings("NASD")) == {"S00298", "S00299"}
    made.host.offer("NASD", contents(symbols(299)) + contents(["X1"], "새이름") + contents(["X2"]))
    await made.masters.check("NASD")
    assert kinds(made) == {"initial": 300, "new": 2, "removed": 2, "relisted": 1, "changed": 1}
    changed = [event for event in made.publication.events if isinstance(event, ListingChanged)][-1]
    assert (changed.symbol, changed.changed_fields) == ("X1", "name,english_name")
    assert changed.previous == '{"name":"회사","english_name":"회사 INC"}'
    assert changed.run.startswith("NASD-2026")


@on(listings)
async def test_prices_alone_make_no_history(made):
    await first(made)
    offer(made, 300, price="11.0000")
    found = await made.masters.check("NASD")
    assert (found.outcome.decision, kinds(made)) == ("unchanged", {"initial": 300})
    assert sum(isinstance(event, ListingValued) for event in made.publication.events) == 300
    assert made.reader.active_listings("NASD")["S00000"].base_price == 11.0
    assert state(made)[0] == contents(symbols(300), price="11.0000")


@on(listings)
async def test_the_file_of_one_exchange_never_touches_the_listings_of_another(made):
    await first(made)
    made.host.offer("NYSE", contents(symbols(10), code="NYS"))
    await made.masters.check("NYSE")
    assert len(made.reader.active_listings("NASD")) == 300
    assert len(made.reader.active_listings("NYSE")) == 10


# --- pending approval ---


@pytest.mark.parametrize("count", [240, 401])
@on(listings)
async def test_a_mass_change_waits_and_is_applied_when_a_person_approves(made, count):
    await first(made)
    before = state(made)
    offer(made, count)
    found = await made.masters.check("NASD")
    assert found.outcome.decision == "pending"
    assert state(made) == before
    with pytest.raises(DataFileError, match=found.run):
        await made.masters.approve("NASD-19700101T000000", ["NASD"])
    await made.masters.approve(found.run, ["NASD"])
    assert state(made) == (contents(symbols(count)), frozenset(symbols(count)))
    assert [event.run for event in made.publication.events if isinstance(event, MasterFileApproved)] == [found.run]
    with pytest.raises(DataFileError, match="none waits"):
        await made.masters.approve(found.run, ["NASD"])


def reported(played, since):
    """Alert texts and published runs after the first `since` events."""
    return [
        event.text if isinstance(event, AlertRaised) else event.run
        for event in played.publication.events[since:]
        if isinstance(event, AlertRaised | MasterFileChecked)
    ]


@on(listings)
async def test_a_pending_version_keeps_its_run_and_raises_no_second_alert(made):
    await first(made)
    offer(made, 240)
    found = await made.masters.check("NASD")
    published = len(made.publication.events)
    await made.clock.advance(86_400)
    again = await made.masters.check("NASD")
    assert (again.outcome.decision, again.run) == ("pending", found.run)
    assert reported(made, published) == [found.run]
    assert [len(again.changes), len(found.changes)] == [60, 60]
    await made.masters.approve(found.run, ["NASD"])
    assert state(made) == (contents(symbols(240)), frozenset(symbols(240)))


@on(listings)
async def test_another_version_replaces_the_pending_version_and_raises_an_alert(made):
    await first(made)
    offer(made, 240)
    found = await made.masters.check("NASD")
    published = len(made.publication.events)
    offer(made, 239)
    await made.clock.advance(60)
    another = await made.masters.check("NASD")
    assert another.run != found.run
    assert reported(made, published) == [another.run, "NASD: 61 listings removed, over 50"]


@on(listings)
async def test_an_exchange_with_a_pending_file_is_not_checked_again_until_the_next_due_time(made):
    await first(made)
    await made.clock.advance(86_400)
    due_ns = made.clock.now_ns()
    offer(made, 240)
    assert [each.exchange for each in await made.masters.check_all(["NASD"], since_ns=due_ns)] == ["NASD"]
    made.host.requests.clear()
    assert await made.masters.check_all(["NASD"], since_ns=due_ns) == []
    assert made.host.requests == []
    await made.clock.advance(86_400)
    [again] = await made.masters.check_all(["NASD"], since_ns=made.clock.now_ns())
    assert again.outcome.decision == "pending"
    assert await made.masters.check_all(["NASD"], since_ns=made.clock.now_ns()) == []


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


@on(listings)
async def test_a_second_attempt_that_works_is_enough(made):
    attempts = iter([body_of(b"", 500), body_of(b"", 500)])

    async def answer(request):
        return await next(attempts, made.host.usual)(request)

    made.host.answer = answer
    began_ns = made.clock.now_ns()
    await first(made)
    assert made.clock.now_ns() - began_ns == 3_000_000_000  # one second, then two


def test_a_check_whose_commit_fails_changes_nothing_and_the_next_check_applies_the_file(tmp_path, monkeypatch):
    patient = engine._SQLITE_WRITER_PRAGMAS
    monkeypatch.setattr(engine, "_SQLITE_WRITER_PRAGMAS", [*patient, "busy_timeout=50"])

    async def body(played):
        await first(played)
        before = state(played)
        offer(played, 301)
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
@on(listings)
async def test_the_change_in_file_size_decides_the_outcome(made, before, after, outcome, severity, alerts):
    await first(made, before)
    made.host.offer("NASD", contents(symbols(after)))
    found = await made.masters.check("NASD")
    assert found.decision is not None
    assert (found.decision.action, found.decision.severity) == ("download", severity)
    assert found.outcome.decision == outcome
    assert [each.severity for each in made.publication.events if isinstance(each, AlertRaised)] == alerts


@on(listings)
async def test_a_file_of_the_same_length_with_another_tag_is_downloaded(made):
    old, new = (contents([symbol]) for symbol in ("AAAAA", "BBBBB"))
    made.host.answer = stored(old)
    await made.masters.check("NASD")
    made.host.answer = stored(new)
    found = await made.masters.check("NASD")
    assert len(stored_zip(old)) == len(stored_zip(new))
    assert found.outcome.decision == "updated"
    assert state(made) == (new, frozenset(["BBBBB"]))


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


@on(listings)
async def test_a_local_copy_is_downloaded_again_after_a_week(made):
    await first(made)
    await made.clock.advance(7 * 86_400 - 1)
    await made.masters.check("NASD")
    assert made.host.requests == ["HEAD", "GET", "HEAD"]
    await made.clock.advance(1)
    await made.masters.check("NASD")
    assert made.host.requests == ["HEAD", "GET", "HEAD", "HEAD", "GET"]


# --- backups ---


@on(listings)
async def test_seven_versions_are_kept_and_the_newest_is_put_back(made):
    for count in range(300, 310):
        offer(made, count)
        await made.masters.check("NASD")
        await made.clock.advance(86_400)
    backups = made.local.backups("NASD")
    assert [len(path.read_bytes().splitlines()) for path in backups] == list(range(308, 301, -1))
    found = await made.masters.restore("NASD")
    assert found.outcome.decision == "updated"
    assert state(made) == (contents(symbols(308)), frozenset(symbols(308)))
    assert (await made.masters.check("NASD")).outcome.decision == "updated"
    assert state(made) == (contents(symbols(309)), frozenset(symbols(309)))


@on(listings)
async def test_a_restore_that_is_held_leaves_the_file_in_force_until_it_is_approved(made):
    await first(made)
    offer(made, 400)
    await made.masters.check("NASD")
    newest = contents(symbols(400))
    restored = await made.masters.restore("NASD")
    assert restored.outcome.decision == "pending"
    assert state(made) == (newest, frozenset(symbols(400)))
    await made.clock.advance(1)
    await made.masters.approve(restored.run, ["NASD"])
    assert state(made) == (contents(symbols(300)), frozenset(symbols(300)))
    assert newest in [path.read_bytes() for path in made.local.backups("NASD")]


@on(listings)
async def test_a_held_restore_is_refused_by_the_running_system_with_the_command_that_approves_it(made):
    await first(made)
    offer(made, 400)
    await made.masters.check("NASD")
    refused = await MasterFileJobs(ReferenceSettings(), made.masters).restore(["NASD"])
    assert isinstance(refused, Refused)
    assert refused.code == "pending_approval"
    assert "`observer master approve NASD-" in refused.message


@on(listings)
async def test_without_a_backup_nothing_can_be_put_back(made):
    await first(made)
    with pytest.raises(DataFileError, match="no backup"):
        await made.masters.restore("NASD")


@pytest.mark.parametrize("damage", [b"", b"damaged\n" * 100, None])
@on(listings)
async def test_a_damaged_file_is_fetched_again_or_replaced_by_its_backup(made, damage):
    await first(made)
    offer(made, 301)
    await made.masters.check("NASD")
    path = made.local.path("NASD")
    path.unlink()
    if damage is not None:
        path.write_bytes(damage)
    made.host.answer = body_of(b"", 500)
    assert (await made.masters.check("NASD")).outcome.decision == "failed"
    assert path.read_bytes() == contents(symbols(300))
    made.host.answer = made.host.usual
    await made.masters.check("NASD")
    assert state(made) == (contents(symbols(301)), frozenset(symbols(301)))


@on(listings)
async def test_where_the_backups_are_damaged_too_the_host_s_file_comes(made):
    await first(made)
    offer(made, 301)
    await made.masters.check("NASD")
    for path in (made.local.path("NASD"), *made.local.backups("NASD")):
        path.write_bytes(b"damaged\n")
    await made.masters.check("NASD")
    assert state(made) == (contents(symbols(301)), frozenset(symbols(301)))


@on(listings)
async def test_a_dry_run_repairs_nothing(made):
    await first(made)
    offer(made, 301)
    await made.masters.check("NASD")
    path = made.local.path("NASD")
    path.write_bytes(b"damaged\n")
    made.host.answer = body_of(b"", 500)
    assert (await made.masters.examine("NASD")).outcome.decision == "failed"
    assert path.read_bytes() == b"damaged\n"
    await made.masters.check("NASD")
    assert path.read_bytes() == contents(symbols(300))


@on(listings)
async def test_a_restore_of_a_much_smaller_file_is_held(made):
    await first(made, 255)
    offer(made, 300)
    await made.masters.check("NASD")
    assert (await made.masters.restore("NASD")).outcome.decision == "pending"
    assert made.local.path("NASD").read_bytes() == contents(symbols(300))


@pytest.mark.parametrize("way", ["restored", "mended"])
@on(listings)
async def test_a_file_much_smaller_than_the_restored_one_waits_for_approval(made, way):
    await first(made)
    offer(made, 301)
    await made.masters.check("NASD")
    if way == "restored":
        await made.masters.restore("NASD")
    else:
        made.local.path("NASD").unlink()
    offer(made, 255)
    found = await made.masters.check("NASD")
    assert found.outcome.decision == "pending"
    assert found.outcome.reason == "the file is 15.0 % smaller, over 10 %"


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
        offer(played, 300)
        await played.masters.check("NASD")
        assert [type(each) for each in played.publication.events].count(AlertResolved) == 1
        assert kinds(played) == {"initial": 300}

    play(tmp_path, body)
