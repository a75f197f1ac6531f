"""`observer master` where no system runs: by a writer of its own, against a host on loopback."""

import http.server
import threading
import tomllib
import zipfile
from functools import partial
from pathlib import Path

import msgspec
import pytest
import tomli_w
from click.testing import CliRunner
from rich.cells import cell_len

from observer.base.errors import NoDataError
from observer.brokers.kis.listings import file_name
from observer.cli.app import command_line
from observer.demo.configuration import DemoConfiguration, write_demo_configuration
from tests.reference.scene import contents, symbols

EXCHANGE = "NASD"


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format, *args):  # noqa: A002 - the name is the base class's
        """Nothing."""


class Scene(msgspec.Struct):
    """A folder with a configuration and a host that serves what is put there."""

    folder: Path

    def offer(self, content):
        path = self.folder / "web" / "common" / "master" / f"{file_name(EXCHANGE)}.zip"
        path.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
            packed.writestr("NASMST.COD", content)

    def typed(self, *words):
        arguments = ["master", *words, "--config", str(self.folder / "observer.toml")]
        return CliRunner().invoke(command_line(), arguments)

    def shown(self, *words):
        """The rows of a relation."""
        arguments = [*words, "--json", "--config", str(self.folder / "observer.toml")]
        return msgspec.json.decode(CliRunner().invoke(command_line(), arguments).stdout)


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    folder = tmp_path_factory.mktemp("m")
    found = Scene(folder)
    found.offer(contents(symbols(300)))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder / "web"))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    document = {
        "run": {"data": str(folder / "data"), "runtime": str(folder / "run")},
        "store": {"url": f"sqlite:///{folder / 'data' / 'observer.db'}"},
        "kis": {"files_url": f"http://127.0.0.1:{server.server_port}"},
        "reference": {"exchanges": [EXCHANGE]},
    }
    (folder / "data").mkdir()
    (folder / "observer.toml").write_text(tomli_w.dumps(document))
    try:
        yield found
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_master_commands_show_and_approve_the_changes_of_a_master_file(scene):
    first = scene.typed("update", "--all", "--json")
    assert first.exit_code == 0, first.output
    [check] = msgspec.json.decode(first.stdout)
    assert (check["provider"], check["exchange"], check["outcome"]) == ("kis", EXCHANGE, "updated")

    scene.offer(contents(symbols(299)) + contents(["NEW"], "새회사"))
    dry = scene.typed("update", "--exchange", "nasd", "--dry-run")
    assert dry.stdout.splitlines() == [
        "[NASD] DRY RUN MODE - No actual database updates",
        "✅ [NEW] NEW: 새회사 INC (NASDAQ) (DRY RUN)",
        "⏸️ [S00299] REMOVED: Marked as inactive (DRY RUN)",
        "[NASD] updated: 2 changes; 1 new, 0 changed, 1 removed, 0 relisted",
        "[NASD] DRY RUN - Changes rolled back",
    ]
    assert msgspec.json.decode(scene.typed("status", "--json").stdout)[0]["listed"] == 300
    assert scene.typed("update", "--exchange", EXCHANGE).exit_code == 0

    scene.offer(contents(symbols(200)))
    assert scene.typed("update", "--exchange", EXCHANGE).exit_code == 1
    [row] = msgspec.json.decode(scene.typed("status", "--json").stdout)
    assert (row["listed"], row["gone"], row["backups"], row["last_check"]["outcome"]) == (300, 1, 1, "pending")
    assert f"observer master approve {row['waits']['run']}" in scene.typed("status").stdout
    assert "100 changes, approved" in scene.typed("approve", row["waits"]["run"]).stdout
    for words in ((), ("--region", "US")):  # only NASD is configured
        verified = scene.typed("verify", *words, "--json")
        assert (verified.exit_code, [each["exchange"] for each in msgspec.json.decode(verified.stdout)]) == (
            0,
            [EXCHANGE],
        )
    assert "no exchange of KR is configured" in str(scene.typed("verify", "--region", "KR").exception)

    tradable = scene.typed("tradable", "--region", "US", "--json")
    answers = {each["exchange"]: each for each in msgspec.json.decode(tradable.stdout)}
    assert [len(answers[each]["securities"]) for each in ("NASD", "NYSE", "AMEX")] == [200, 0, 0]
    assert [answers[each]["source"] for each in ("NASD", "NYSE", "AMEX")] == ["database", "", ""]
    assert tradable.exit_code == 1
    assert "NASD: 200, from the database\nNYSE: unknown" in scene.typed("tradable", "--region", "US").stdout
    assert [each["change"] for each in scene.shown("listing_changes", "S00299")] == ["initial", "removed"]
    assert [each["symbol"] for each in scene.shown("new_listings", "2020-01-01")] == ["NEW"]
    assert len(scene.shown("master_checks", "--where", f"exchange = '{EXCHANGE}'")) == 4
    assert "S00250" in scene.typed("diff", "--exchange", EXCHANGE).stdout

    for words in (("status",), ("verify", "--region", "US")):
        table = [
            line for line in scene.typed(*words).stdout.splitlines() if not line.startswith(("To check", "NASD-2"))
        ]
        assert max(map(cell_len, table)) <= 80
        assert "…" not in "".join(table)

    restored = scene.typed("restore", "--exchange", EXCHANGE)
    assert (restored.exit_code, restored.stdout) == (0, "NASD: 100 changes; the file grew by 50.0 %\n")
    in_force = (scene.folder / "data" / "master" / "nasd.mst").read_bytes()

    held = scene.typed("restore", "--exchange", EXCHANGE)
    assert (held.exit_code, held.stdout) == (1, "")
    assert "NASD: held for approval: " in held.stderr
    assert "`observer master approve NASD-" in held.stderr
    assert (scene.folder / "data" / "master" / "nasd.mst").read_bytes() == in_force
    assert (scene.folder / "data" / "master" / "nasd.mst").read_bytes() == contents(symbols(299)) + contents(
        ["NEW"], "새회사"
    )


def test_a_demo_that_has_ended_has_no_host_to_ask(tmp_path):
    path = write_demo_configuration(tmp_path, DemoConfiguration(symbols=10, seed=7))
    for words in (["update", "--all"], ["update", "--dry-run"]):
        refused = CliRunner().invoke(command_line(), ["master", *words, "--config", str(path)])
        assert isinstance(refused.exception, NoDataError)
        assert "the simulated broker runs only while its system does" in str(refused.exception)


def test_the_reasons_of_a_failed_update_stand_in_its_table_alone(scene, caplog):
    absent = scene.folder / "absent.toml"
    document = tomllib.loads((scene.folder / "observer.toml").read_text())
    document["reference"]["exchanges"] = ["NYSE"]
    absent.write_text(tomli_w.dumps(document))
    failed = CliRunner().invoke(command_line(), ["master", "update", "--all", "--config", str(absent)])
    assert failed.exit_code == 1
    assert failed.stdout.count("HTTP 404") == 1
    assert caplog.text == ""


@pytest.mark.slow  # `test_listings_sync.py` has the damaged file
def test_an_update_says_what_its_table_does_not(scene, caplog, monkeypatch):
    scene.offer(contents(symbols(299)) + contents(["NEW"], "새회사"))
    assert scene.typed("update", "--all").exit_code == 0
    scene.offer(contents(symbols(299)) + contents(["NEW", "OTHER"], "새회사"))
    assert scene.typed("update", "--all").exit_code == 0
    caplog.clear()
    in_force = scene.folder / "data" / "master" / "nasd.mst"
    in_force.write_bytes(b"damaged")
    assert scene.typed("update", "--all").exit_code == 0
    assert "NASD: the local file was damaged" in caplog.text

    monkeypatch.setattr("observer.cli.master._WAIT_S", 0.0)
    monkeypatch.setattr("observer.cli.master.market_time_ns", lambda _: 2**62)
    unknown = scene.typed("update", "--all")
    assert (unknown.exit_code, "NASD: no result within 0 s" in unknown.stderr) == (1, True)


@pytest.mark.parametrize("words", [("update", "--exchange", "NASDAQ"), ("verify", "--region", "EU")])
def test_an_unknown_value_is_named_in_the_error(scene, words):
    found = scene.typed(*words)
    assert found.exit_code != 0
    assert words[-1] in f"{found.exception} {found.output}"
