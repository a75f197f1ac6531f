"""Each state of the stored data has one remedy, which every command names and which ends in a whole system."""

import asyncio
import contextlib
import re
import shlex
import shutil
import sqlite3
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec
import pytest
import tomli_w
import zstandard
from click.testing import CliRunner, Result

from bus.commands import Refused
from bus.outbox import Outbox
from bus.producer import delivering
from observer.base.clock import RealClock
from observer.base.errors import StoreFailedError
from observer.base.instance import Instance
from observer.base.remedies import REMEDIES
from observer.cli.app import command_line
from observer.monitoring.alerts.process import DATABASE_DAMAGED, Alerts
from observer.store.integrity import report_integrity
from observer.store.owner import claim
from observer.system.restoring import require_damaged
from observer.system.writer_process import writer_of
from tests.builders import trades
from tests.folders import short_folder
from tests.store.damaged import damage_page, damage_rows
from tests.store.raw import query
from tests.waiting import DEADLINE_S, until_async

EVENTS: Final = 120
ROOT: Final = Path(__file__).parents[2]


class Place(msgspec.Struct):
    """A folder with a database whose events are all in the archive of an outbox, and two packages."""

    folder: Path

    @property
    def database(self) -> Path:
        return self.folder / "data/observer.db"

    @property
    def packages(self) -> list[Path]:
        return sorted((self.folder / "data/backup").glob("2*"))

    def typed(self, *words: str) -> Result:
        return CliRunner().invoke(command_line(), [*words, "--config", str(self.folder / "observer.toml")])

    def said(self, words: str) -> str:
        """What a command says, its error as well, or the check whose text is the alert's."""
        if words == ALERT:
            return self.alerted()
        done = self.typed(*shlex.split(words))
        return f"{done.output} {done.exception or ''}"

    def alerted(self) -> str:
        """The text of the alert; the check before a package has the same one."""
        alerts = Alerts(RealClock(), "core-writer")
        refused = asyncio.run(report_integrity(f"sqlite:///{self.database}", alerts))
        assert isinstance(refused, Refused)
        assert alerts.are_open(DATABASE_DAMAGED)
        return refused.message

    @property
    def rows(self) -> int:
        [(count,)] = query(f"sqlite:///{self.database}", "SELECT count(*) FROM trades")
        return int(count)


def deliver(place: Place) -> None:
    """What `observer run` does: a writer stores what the outboxes and their archives hold."""

    async def delivered() -> None:
        url = f"sqlite:///{place.database}"
        claim(url, Instance(), ["kis"], 1)
        async with writer_of(url, Instance()) as writer:
            for folder in sorted((place.folder / "run/outbox").iterdir()):
                outbox = Outbox(folder, folder.name, uuid.uuid4().hex)
                async with delivering(outbox, writer.ingest_address) as producer:
                    await until_async(lambda: place.rows == EVENTS)
                    assert await producer.drain(DEADLINE_S)

    asyncio.run(delivered())


@pytest.fixture
def place() -> Iterator[Place]:
    with short_folder() as folder:
        (folder / "run").mkdir(mode=0o700)
        run = {"data": str(folder / "data"), "runtime": str(folder / "run"), "universe": str(folder / "universe")}
        url = f"sqlite:///{folder}/data/observer.db"
        (folder / "observer.toml").write_text(tomli_w.dumps({"run": run, "store": {"url": url}}))
        claim(url, Instance(), ["kis"], 1)
        found = Place(folder)
        outbox = Outbox(folder / "run/outbox/track-b", "track-b", uuid.uuid4().hex)
        outbox.append(trades(EVENTS))
        outbox.close(delivered=False)
        deliver(found)
        assert found.typed("backup", "now").exit_code == 0
        assert found.typed("backup", "now").exit_code == 0
        yield found


# --- states -------------------------------------------------------------------------------------------------------


def missing(place: Place) -> None:
    place.database.unlink()


def damaged(place: Place) -> None:
    damage_rows(place.database, "trade_rows")


def beheaded(place: Place) -> None:
    damage_page(place.database, 1)
    with place.database.open("r+b") as file:
        file.write(b"SQLite format 3")  # the rest of the page is lost


def older(place: Place) -> None:
    """As a copy that somebody took before the events came."""
    place.database.unlink()
    claim(f"sqlite:///{place.database}", Instance(), ["kis"], 1)


def no_package(place: Place) -> None:
    shutil.rmtree(place.folder / "data/backup")


def newest_package_damaged(place: Place) -> None:
    damage_page(place.packages[-1] / "database.sqlite3", 3)
    place.typed("backup", "verify")


def packages_damaged(place: Place) -> None:
    for package in place.packages:
        damage_page(package / "database.sqlite3", 3)
    place.typed("backup", "verify", "--all")


def archive_damaged(place: Place) -> None:
    """With events that no package has."""
    no_package(place)
    [segment] = (place.folder / "run/outbox/track-b/archive").iterdir()
    compressor = zstandard.ZstdCompressor(write_checksum=True)
    content = bytearray(compressor.compress(segment.read_bytes()))
    content[len(content) // 2] ^= 1
    segment.with_name(f"{segment.name.removesuffix('.zst')}.zst").write_bytes(content)
    segment.with_name(segment.name.removesuffix(".zst")).unlink(missing_ok=True)


def both(*makers: Callable[[Place], None]) -> Callable[[Place], None]:
    return lambda place: [make(place) for make in makers] and None


RESTORE: Final = "backup restore --yes"
PACKAGE: Final = "backup now"
RUN: Final = "run"


class State(msgspec.Struct, frozen=True):
    """How it is made, its remedy, and the commands that name it."""

    name: str
    make: Callable[[Place], None]
    remedy: str
    commands: tuple[str, ...]


ALERT: Final = "the alert"
LOOKS: Final = ("doctor", "db check", "backup restore", "backup now")
ALERTED: Final = ("doctor --recount", *LOOKS[1:], ALERT)
STATES: Final = (
    State("the database is missing", missing, RESTORE, LOOKS),
    State("the database is damaged", damaged, RESTORE, ALERTED),
    State("the database has no first page", beheaded, RESTORE, LOOKS),
    State("the database is missing, and there is no package", both(missing, no_package), RESTORE, LOOKS),
    State("the database is damaged, and there is no package", both(damaged, no_package), RESTORE, ALERTED),
    State("the database and each package are damaged", both(packages_damaged, damaged), RESTORE, ALERTED),
    State("the database and the newest package are damaged", both(newest_package_damaged, damaged), RESTORE, ALERTED),
    State("the database is older than its marks, or another one", older, RUN, ("doctor",)),
    State("there is no package", no_package, PACKAGE, ("doctor", "backup list", "backup verify", "backup restore")),
    State("the newest package is damaged", newest_package_damaged, PACKAGE, ("doctor",)),
    State("each package is damaged", packages_damaged, PACKAGE, ("doctor", "backup restore")),
    State("an archive is damaged", archive_damaged, PACKAGE, ("doctor --recount",)),
)


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.name)
def test_each_command_names_the_one_remedy_which_ends_in_a_whole_system(place: Place, state: State) -> None:
    state.make(place)
    assert remedies_in(place.said("status")) <= {state.remedy, RUN}
    assert {words: remedies_in(place.said(words)) for words in state.commands} == {
        words: {state.remedy} for words in state.commands
    }
    followed, remedy = [], state.remedy
    while remedy:  # a restore without a package ends in a database without one
        followed.append(remedy)
        if remedy == RUN:
            deliver(place)
        else:
            done = place.typed(*shlex.split(remedy))
            assert done.exit_code == 0, f"{done.output} {done.exception}"
        assert place.rows == EVENTS
        remedy = next(iter(remedies_of_doctor(place)), "")
        assert remedy not in followed, "a circle"
    assert len(followed) <= 2


def test_the_operations_manual_has_the_table_of_remedies() -> None:
    table = "".join(f"| {state} | {remedy} |\n" for state, remedy in REMEDIES.items())
    assert f"| state | remedy |\n| --- | --- |\n{table}\n" in (ROOT / "OPERATIONS.md").read_text()


def test_a_whole_database_that_another_program_has_locked_is_no_damaged_one(place: Place) -> None:
    no_package(place)
    with contextlib.closing(sqlite3.connect(place.database, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode=EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreFailedError, match="locked"):
            require_damaged(f"sqlite:///{place.database}", place.folder, threading.Event())


def remedies_of_doctor(place: Place) -> set[str]:
    findings = msgspec.json.decode(place.typed("doctor", "--recount", "--json").stdout)
    wrong = [each for each in findings if each["check"] in CHECKED and each["level"] != "ok"]
    assert all(remedies_in(each["remedy"]) for each in wrong), wrong
    return {remedy for each in wrong for remedy in remedies_in(each["remedy"])}


CHECKED: Final = ("database", "integrity", "rows", "outboxes", "archives", "backup", "losses")


def remedies_in(text: str) -> set[str]:
    """The commands that a text names as remedies: in backticks, or as the one that does what was only said."""
    text = re.sub(r"\s+", " ", text)
    planned = re.findall(r"To do it: observer (backup restore)(?: \S+)? (--yes)", text)
    named = re.findall(r"`observer (backup restore --yes|backup now|run|backup [a-z]+|doctor)`", text)
    return {*named, *(" ".join(words) for words in planned)}
