"""Each state of the lake has one remedy, which every command names and which ends in a whole lake and the same rows."""

import json
import re
import shlex
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec
import pytest
import tomli_w
from click.testing import CliRunner

from observer.archive.copying import copy_of_lake
from observer.archive.day import manifest_path, path_of, sealed_day, version_path, write_manifest
from observer.archive.scrub import scrub
from observer.archive.sealing import seal_days
from observer.archive.whole import whole_files
from observer.base.clock import RealClock
from observer.base.instance import Instance
from observer.base.units import NS_PER_S
from observer.cli.app import command_line
from tests.archive.stored import DAY, NEXT_DAY, day_of, make_stored, remove_sealed
from tests.folders import short_folder

MARKET: Final = Instance().market
GO_ON: Final = threading.Event()
NIGHTS: Final = 30  # of the scrub, in which each file is read
ASKED: Final = f"SELECT count(*) AS n, sum(price * volume) AS value FROM trades WHERE day = '{DAY}'"
SEAL: Final = f"lake seal {DAY}"
CHECKED: Final = ("database", "integrity", "rows", "outboxes", "backup", "losses", "lake", "copies")


class Place(msgspec.Struct):
    """A folder with a database, two sealed days, a package and the lake's copy beside it."""

    folder: Path

    @property
    def lake(self) -> Path:
        return self.folder / "data/lake"

    @property
    def url(self) -> str:
        return f"sqlite:///{self.folder}/observer.sqlite3"

    @property
    def version(self) -> Path:
        return version_path(self.lake, "trades", MARKET, DAY, 1)

    @property
    def glob(self) -> Path:
        return path_of(self.lake, "trades", MARKET, DAY)

    def typed(self, words: str) -> tuple[int, str]:
        """The exit status of a command, and what it says, its error and warnings as well."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            done = CliRunner().invoke(
                command_line(), [*shlex.split(words), "--config", str(self.folder / "observer.toml")]
            )
        said = [done.output, str(done.exception or ""), *(str(each.message) for each in caught)]
        return done.exit_code, "\n".join(said)

    def said(self, words: str) -> str:
        return self.scrubbed() if words == SCRUB else self.typed(words)[1]

    def scrubbed(self) -> str:
        """The text of the alert, of as many nights as read the whole lake."""
        whole_files.cache_clear()
        (self.lake / "_verified").unlink(missing_ok=True)
        now_s = RealClock().now_ns() // NS_PER_S
        return "; ".join(text for _ in range(NIGHTS) for text in scrub(self.lake, now_s, GO_ON).problems)

    @property
    def answer(self) -> str:
        words = ["query", ASKED, "--json", "--config", str(self.folder / "observer.toml")]
        with warnings.catch_warnings(action="ignore"):
            done = CliRunner().invoke(command_line(), words)
        return done.stdout or str(done.exception)

    @property
    def wrong(self) -> list[str]:
        """What the doctor does not find in order."""
        words = ["doctor", "--recount", "--offline", "--json", "--config", str(self.folder / "observer.toml")]
        found = json.loads(CliRunner().invoke(command_line(), words).stdout)
        return [str(each) for each in found if each["check"] in CHECKED and each["level"] != "ok"]


@pytest.fixture(params=[False, True], ids=["the database has the rows", "the rows are in the lake alone"])
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    with short_folder() as folder:
        monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        (folder / "run").mkdir(mode=0o700)
        run = {"data": str(folder / "data"), "runtime": str(folder / "run"), "universe": str(folder / "universe")}
        found = Place(folder)
        (folder / "observer.toml").write_text(tomli_w.dumps({"run": run, "store": {"url": found.url}}))
        make_stored(folder, *day_of(market=MARKET), *day_of(NEXT_DAY, market=MARKET, symbols=1))
        remove = [DAY] if request.param else []
        list(seal_days(found.lake, found.url, MARKET, [DAY, NEXT_DAY], lambda: 1, GO_ON, remove=remove))
        assert found.typed("backup now")[0] == 0
        assert version_path(copy_of_lake(folder / "data/backup", Instance()).folder, "trades", MARKET, DAY, 1).exists()
        if remove:
            remove_sealed(found.url, found.lake)
        yield found


# --- states -------------------------------------------------------------------------------------------------------


def damaged(place: Place) -> None:
    """A bit of the version and of what engines read, which are one file."""
    content = bytearray(place.version.read_bytes())
    content[len(content) // 2] ^= 1
    gone(place)
    place.version.write_bytes(content)
    place.glob.hardlink_to(place.version)


def gone(place: Place) -> None:
    place.version.unlink()
    place.glob.unlink()


def manifest_damaged(place: Place) -> None:
    path = manifest_path(place.lake, MARKET, DAY)
    path.write_bytes(path.read_bytes().replace(b'"rows": 6', b'"rows": 9', 1))


def manifest_false(place: Place) -> None:
    day = sealed_day(place.lake, MARKET, DAY)
    assert day is not None
    trades = msgspec.structs.replace(day.kinds["trades"][-1], rows=7)
    write_manifest(place.lake, msgspec.structs.replace(day, kinds={**day.kinds, "trades": (trades,)}))


SCRUB: Final = "the nightly alert"
QUERY: Final = f'query "{ASKED}"'
VERIFY: Final = "lake verify --all"
DOCTOR: Final = "doctor --recount --offline"
NAMING: Final = (SCRUB, VERIFY, DOCTOR, QUERY)
STATES: Final[dict[str, tuple[Callable[[Place], None], tuple[str, ...]]]] = {
    "a file is damaged": (damaged, NAMING),
    "a file is gone": (gone, NAMING),
    "the manifest is damaged": (manifest_damaged, (*NAMING, f"lake verify {DAY}", "backup now")),
    "the manifest states a false count": (manifest_false, (SCRUB, VERIFY, DOCTOR, "backup now")),
}
"""How each is made, and what names its remedy. A false count makes no answer wrong."""


@pytest.mark.parametrize("state", STATES)
def test_each_command_names_the_one_remedy_which_ends_in_a_whole_lake(place: Place, state: str) -> None:
    before, (make, commands) = place.answer, STATES[state]
    assert '"n":60' in before
    assert place.wrong == []
    make(place)
    assert {words: remedies_in(place.said(words)) for words in commands} == {words: {SEAL} for words in commands}
    assert place.answer == before
    status, text = place.typed(SEAL)
    assert status == 0, text
    assert place.typed(VERIFY)[0] == 0
    assert place.scrubbed() == ""
    assert place.wrong == []
    assert place.answer == before


def test_a_lake_whose_only_manifest_is_damaged_has_the_same_remedy(place: Place) -> None:
    manifest_damaged(place)
    manifest_path(place.lake, MARKET, NEXT_DAY).unlink()
    status, text = place.typed(VERIFY)
    assert (status, remedies_in(text)) == (1, {SEAL})


def remedies_in(text: str) -> set[str]:
    return set(re.findall(r"`observer ((?:lake|backup|run)[^`]*)`", re.sub(r"\s+", " ", text)))
