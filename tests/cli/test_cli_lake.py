"""`observer lake`: a day is sealed, listed and verified by a person, and mistakes are answered in one line."""

import json
import signal
import subprocess
from pathlib import Path

import msgspec
import pytest
import tomli_w
from click.testing import CliRunner, Result

from observer.cli.app import command_line
from observer.errors import ConfigError, LakeInUseError, NoDataError
from observer.lake.layout import path_of, version_path
from observer.lake.publishing import locked
from tests.builders import trade
from tests.lake.stored import DAY, NEXT_DAY, append, day_of, make_stored
from tests.system.running import OBSERVER
from tests.waiting import DEADLINE_S, until

MARKET = "kr_stocks"


class Scene(msgspec.Struct):
    """A folder with a configuration and a database with one day of 60 trades."""

    folder: Path
    url: str

    @property
    def configuration(self) -> str:
        return str(self.folder / "observer.toml")

    @property
    def lake(self) -> Path:
        return self.folder / "data/lake"

    def typed(self, *words: str) -> Result:
        return CliRunner().invoke(command_line(), ["lake", *words, "--config", self.configuration])


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    url = make_stored(tmp_path, *day_of(market=MARKET))
    run = {"data": str(tmp_path / "data"), "runtime": str(tmp_path / "run")}
    (tmp_path / "observer.toml").write_text(tomli_w.dumps({"run": run, "store": {"url": url}}))
    return Scene(tmp_path, url)


def test_a_day_is_sealed_listed_and_verified(scene: Scene) -> None:
    sealed = scene.typed("seal", DAY)
    assert sealed.exit_code == 0, sealed
    assert sealed.stdout.startswith("2026-11-18: sealed trades, sweeps, universes; 62 rows, ")
    assert path_of(scene.lake, "trades", MARKET, DAY).exists()
    assert scene.typed("seal").stdout.startswith("2026-11-18: unchanged since it was sealed, 62 rows")
    [listed] = json.loads(scene.typed("status", "--json").stdout)
    assert (listed["session_date"], listed["is_sealed"], listed["rows"], listed["version"]) == (DAY, True, 62, 1)
    whole = scene.typed("verify", DAY)
    assert whole.stdout == "2026-11-18: whole, 62 rows of 3 kinds, 62 compared with the database\n"


def test_all_finished_days_are_sealed_in_their_order(scene: Scene) -> None:
    append(scene.url, *day_of(NEXT_DAY, market=MARKET, symbols=1), trade(99, symbol="000010"))
    lines = json.loads(scene.typed("seal", "--all", "--json").stdout)
    assert [(line["session_date"], line["rows"]) for line in lines] == [(DAY, 63), (NEXT_DAY, 22)]


def test_a_stored_day_that_is_not_sealed_is_listed_with_the_command(scene: Scene) -> None:
    assert "no: `observer lake seal 2026-11-18`" in scene.typed("status").stdout


def test_a_damaged_lake_is_exit_status_1(scene: Scene) -> None:
    scene.typed("seal")
    version_path(scene.lake, "trades", MARKET, DAY, 1).write_bytes(b"PAR1")
    failed = scene.typed("verify", "--all")
    assert failed.exit_code == 1
    assert "1.parquet" in failed.stderr


@pytest.mark.parametrize(
    ("words", "error", "text"),
    [
        (["seal", "2026-11-17"], NoDataError, "2026-11-17 is not stored"),
        (["seal", DAY, "--all"], ConfigError, "give a day or --all, not both"),
        (["verify", DAY], NoDataError, "2026-11-18 is not sealed in "),
        (["verify", "--all"], NoDataError, "no day is sealed in "),
    ],
)
def test_a_mistake_is_answered_with_what_to_do(
    scene: Scene, words: list[str], error: type[Exception], text: str
) -> None:
    failed = scene.typed(*words)
    assert isinstance(failed.exception, error)
    assert text in str(failed.exception)


def test_a_day_that_is_not_over_is_not_sealed(scene: Scene) -> None:
    append(scene.url, *day_of("2999-01-01", market=MARKET, symbols=1))
    failed = scene.typed("seal", "2999-01-01")
    assert "2999-01-01 is not over" in str(failed.exception)


def test_a_second_process_waits_for_nothing(scene: Scene) -> None:
    with locked(scene.lake):
        failed = scene.typed("seal")
    assert isinstance(failed.exception, LakeInUseError)


def test_without_the_extra_the_remedy_is_one_line(scene: Scene) -> None:
    blocked = "import sys; sys.modules['pyarrow'] = None; from observer.cli.app import main; main()"
    words = [OBSERVER.replace("observer", "python"), "-c", blocked, "lake", "status", "--config", scene.configuration]
    ended = subprocess.run(words, capture_output=True, text=True, check=False, timeout=DEADLINE_S)
    [line] = ended.stderr.splitlines()
    assert line == "observer: pyarrow not installed: pip install 'observer[lake]'"
    assert ended.returncode == 2


def test_ctrl_c_ends_a_sealing_in_order(scene: Scene) -> None:
    append(scene.url, *(trade(number, symbol="000040") for number in range(1, 60_000)))
    words = [OBSERVER, "lake", "seal", "--config", scene.configuration]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        until((scene.lake / "_staging").exists, "the sealing runs")
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 130
    assert errors.splitlines()[-1] == "observer: the sealing of 2026-11-18 was interrupted"
