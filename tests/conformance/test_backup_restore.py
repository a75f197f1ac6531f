"""`observer backup restore` of both kinds of databases, where no system runs: losing the database costs nothing."""

import asyncio
import uuid
from pathlib import Path

import msgspec
import pytest
import tomli_w
from click.testing import CliRunner

from bus.outbox import Outbox
from bus.producer import Producer
from observer.base.errors import DataFileError
from observer.base.instance import Instance
from observer.cli.app import command_line
from observer.store.digest import digest
from observer.store.owner import claim
from observer.system import restoring
from observer.system.writer_process import writer_of
from tests.builders import trades
from tests.folders import short_folder
from tests.store.raw import execute, query
from tests.waiting import DEADLINE_S


def typed(folder, *words):
    return CliRunner().invoke(command_line(), ["backup", *words, "--config", str(folder / "observer.toml")])


def publish(url, outbox, count):
    """Publish trades as a process with this outbox, and have a writer store them."""

    async def published():
        async with writer_of(url, Instance()) as writer:
            producer = Producer(Outbox(outbox, outbox.name, uuid.uuid4().hex), writer.ingest_address)
            delivery = asyncio.create_task(producer.run())
            producer.publish_together(trades(count))
            assert await producer.drain(DEADLINE_S)
            delivery.cancel()
            await asyncio.gather(delivery, return_exceptions=True)
            producer.close()

    asyncio.run(published())


def configure(folder, url):
    run = {"data": str(folder / "data"), "runtime": str(folder / "run"), "universe": str(folder / "universe")}
    (folder / "run").mkdir(mode=0o700)
    (folder / "observer.toml").write_text(tomli_w.dumps({"run": run, "store": {"url": url}}))


def open_alerts(folder):
    """What `observer alerts` lists, without a running system: from the database."""
    words = ["alerts", "--json", "--config", str(folder / "observer.toml")]
    return [row["identity"] for row in msgspec.json.decode(CliRunner().invoke(command_line(), words).stdout)["alerts"]]


def lose(url):
    if url.startswith("sqlite"):
        Path(url.removeprefix("sqlite:///")).unlink()
        return
    [(schema,)] = query(url, "SELECT current_schema()")
    execute(url, f"DROP SCHEMA {schema} CASCADE")


@pytest.mark.timeout(600)
def test_losing_the_whole_database_costs_nothing(empty_database_url):
    url = empty_database_url
    with short_folder() as folder:
        configure(folder, url)
        claim(url, Instance(), ["kis"], 1)
        publish(url, folder / "run/outbox/track-b", 20)
        made = typed(folder, "now")
        assert made.exit_code == 0, made.output
        publish(url, folder / "run/outbox/track-b", 30)
        publish(url, folder / "run/outbox/track-a", 7)
        before = digest(url).tables["trades"]
        lose(url)
        done = typed(folder, "restore", "--yes", "--json")
        assert done.exit_code == 0, done.output
        report = msgspec.json.decode(done.stdout)
        assert (report["events"], report["delivered"], report["losses"]) == (20, 37, [])
        assert (report["kept_aside"], digest(url).tables["trades"]) == (None, before)
        assert open_alerts(folder) == []  # the command put the database back and reported it


@pytest.mark.slow  # the alert: tests/workers/test_workers_core_writer.py
def test_a_database_put_back_by_hand_is_an_alert(empty_database_url):
    url = empty_database_url
    with short_folder() as folder:
        configure(folder, url)
        claim(url, Instance(), ["kis"], 1)
        outbox = folder / "run/outbox/track-b"
        publish(url, outbox, 20)
        execute(url, "UPDATE streams SET high_water_mark = 5")  # as a server that lost its last commits
        publish(url, outbox, 1)
        assert "database_went_back" in open_alerts(folder)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_file_that_cannot_be_put_back_replaces_nothing(empty_database_url, monkeypatch):
    url = empty_database_url
    with short_folder() as folder:
        configure(folder, url)
        claim(url, Instance(), ["kis"], 1)
        publish(url, folder / "run/outbox/track-b", 20)
        (ledger := folder / "data/observer/system/20261118_ledger.jsonl").parent.mkdir(parents=True, exist_ok=True)
        ledger.write_text("a ledger\n")
        assert typed(folder, "now").exit_code == 0
        publish(url, folder / "run/outbox/track-b", 30)
        before = digest(url).tables["trades"]
        ledger.unlink()

        published_in = restoring.published_in

        def published_beside_damage(outboxes):  # behind the reading of the whole package
            for bundle in (folder / "data/backup").glob("*/ledgers/*.tar"):
                bundle.write_bytes(bundle.read_bytes()[:600])
            return published_in(outboxes)

        monkeypatch.setattr(restoring, "published_in", published_beside_damage)
        done = typed(folder, "restore", "--yes")
        assert isinstance(done.exception, DataFileError)
        assert "is damaged" in str(done.exception)
        assert digest(url).tables["trades"] == before


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_replaced_database_is_kept_and_its_events_beyond_the_outboxes_are_stated(empty_database_url):
    url = empty_database_url
    with short_folder() as folder:
        configure(folder, url)
        claim(url, Instance(), ["kis"], 1)
        outbox = folder / "run/outbox/track-b"
        publish(url, outbox, 20)
        typed(folder, "now")
        publish(url, outbox, 30)
        for path in (outbox / "archive").iterdir():
            path.unlink()
        done = typed(folder, "restore", "--yes", "--json")
        assert done.exit_code == 1
        report = msgspec.json.decode(done.stdout)
        assert sum(1 + loss["last_sequence"] - loss["first_sequence"] for loss in report["losses"]) == 30
        aside = report["kept_aside"].removeprefix("schema ")
        table = f"{aside}.trades" if report["kept_aside"].startswith("schema ") else "trades"
        kept = url if table != "trades" else f"sqlite:///{aside}"
        assert query(kept, f"SELECT count(*) FROM {table}") == [(50,)]
        if kept == url:
            execute(url, f"DROP SCHEMA {aside} CASCADE")
