"""`observer enrich`: a whole run from master files to the database, with real yfinance, a real writer and kills."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from observer.base.clock import CLOCK_VARIABLE, ScaledClock
from observer.base.errors import ConfigError, DatabaseInUseError, NoDataError, StoreError
from observer.base.settings import endpoints_of, load_base_settings
from observer.base.units import NS_PER_S
from observer.cli.app import command_line
from observer.cli.enrich import ingest_of
from observer.reference.sectors.codes import CodeMeaning, CodeTable
from observer.reference.sectors.files import stocks_in
from observer.reference.sectors.run import INTERRUPTED, enrich, exit_status
from observer.store.engine import migrate
from observer.store.reader import StoreReader
from observer.store.sectors import SectorReader
from observer.store.writer import StoreWriter
from tests.brokers.test_providers_kis_masters_overseas import HONG_KONG
from tests.cli.test_cli_capture import configured_folder, core_writer
from tests.ports import listening
from tests.reference import sector_codes
from tests.reference.enriching_program import MASTERS, SNAPSHOT, TABLES, options
from tests.reference.sector_codes import write_table
from tests.reference.yahoo_stand_in import YahooStandIn
from tests.store.migrated import make_database
from tests.waiting import DEADLINE_S, until_async

REPOSITORY = Path(__file__).parents[2]
CODES = CodeTable("HK", (CodeMeaning("610", "Financials", 60, 1.0, 0.98, is_sure=True),))
OF_HONG_KONG = ("--masters", "masters", "--regions", "HK", "--config", "observer.toml")
STRAGGLERS = [f"{number:05}" for number in range(100, 130)]


def record(symbol, code, kind="2"):
    fields = HONG_KONG.split("\t")
    fields[4], fields[8], fields[19] = symbol, kind, code
    return "\t".join(fields) + "\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder to run in: configuration, a master file, a table of codes, a snapshot; market time runs fast."""
    monkeypatch.chdir(tmp_path)
    clock = ScaledClock(1_795_000_000 * NS_PER_S, time.monotonic_ns(), 1_000.0)
    monkeypatch.setenv(CLOCK_VARIABLE, clock.to_variable())
    Path("observer.toml").write_text('[run]\ndata = "data"\nruntime = "run"\n[store]\nurl = "sqlite:///data/o.db"\n')
    Path("data").mkdir()
    make_database("sqlite:///data/o.db")
    MASTERS.mkdir()
    stocks = [("00005", "610"), ("00700", "720"), ("01398", "000"), *((symbol, "000") for symbol in STRAGGLERS)]
    lines = [record(symbol, code) for symbol, code in stocks] + [record("02800", "000", kind="3")]
    (MASTERS / "HKSMST.COD").write_bytes("".join(lines).encode("cp949"))
    write_table(TABLES, CODES)
    SNAPSHOT.write_text("symbol,sector,industry\n0700.HK,Communication Services,Interactive Media\n")
    return tmp_path


def yahoo():
    """The screener knows 01398, a look-up every second of the stragglers."""
    known = {f"{symbol[1:]}.HK": ("Utilities", "") for symbol in STRAGGLERS[::2]}
    return YahooStandIn({("HKG", "Financial Services"): ["1398.HK"]}, known)


def run(stand_in, **changes):
    async def body():
        async with stand_in.serving() as address:
            ingest = ingest_of(load_base_settings(Path("observer.toml")))
            return await enrich(options(f"http://{address}", **changes), ingest)

    return asyncio.run(body())


def status(stand_in, **changes):
    return exit_status(run(stand_in, **changes))


def stored():
    with SectorReader("sqlite:///data/o.db") as reader:
        return {each.symbol: each for each in reader.assignments("HK")}


def test_a_run_asks_one_source_after_the_other_and_a_second_one_has_nothing_to_ask(folder, capsys):
    stand_in = yahoo()
    [round_] = run(stand_in)
    found = stored()
    assert {symbol: (found[symbol].source, found[symbol].sector) for symbol in ("00005", "00700", "01398")} == {
        "00005": ("sector_code", "Financials"),
        "00700": ("finance_database", "Communication Services"),
        "01398": ("yahoo_screener", "Financials"),
    }
    assert [found[symbol].sector for symbol in STRAGGLERS] == ["Utilities", None] * 15
    assert "02800" not in found, "an ETF has no sector"
    assert (round_.securities, round_.unknown, round_.unanswered) == (33, 15, 0)
    assert "100.0 % dealt with" in Path("report.txt").read_text()

    requests = sum(stand_in.paths.values())
    [round_] = run(stand_in)
    assert sum(stand_in.paths.values()) == requests
    assert round_.fresh == 33

    assert status(stand_in, max_age_days=None) == 0
    assert sum(stand_in.paths.values()) == requests, "today's answers serve again"
    assert typed("run", "--dry-run", "--full", *OF_HONG_KONG) == 0
    assert "33 of 33 stocks" in capsys.readouterr().out
    with StoreReader("sqlite:///data/o.db") as reader:
        counts = reader.row_counts()
    assert (counts["sector_assignments"], counts["enrichments"]) == (66, 3)


def test_a_dry_run_makes_no_database(folder):
    Path("data/o.db").unlink(missing_ok=True)
    with pytest.raises(StoreError, match="there is no database"):
        typed("run", "--dry-run", *OF_HONG_KONG)
    assert not list(Path("data").iterdir())


@pytest.mark.slow
def test_an_unsure_sector_is_stored_while_yahoo_fails_and_looked_up_after_its_recovery(folder):
    write_table(TABLES, CodeTable("HK", (CodeMeaning("610", "Financials", 60, 0.8, 0.7, is_sure=False),)))
    stand_in = yahoo()
    stand_in.always = 500
    assert status(stand_in, max_retries=0) == 1
    assert (stored()["00005"].sector, stored()["00005"].confidence) == ("Financials", 0.7)
    stand_in.always = None
    stand_in.sectors["0005.HK"] = ("Utilities", "")
    assert status(stand_in) == 0
    assert (stored()["00005"].sector, stored()["00005"].source) == ("Utilities", "yahoo_profile")


@pytest.mark.slow
def test_a_run_with_a_failing_yahoo_reports_it_and_leaves_stocks_for_the_next_run(folder, capsys):
    stand_in = yahoo()
    stand_in.always = 500
    assert status(stand_in, max_retries=0) == 1
    assert set(stored()) == {"00005", "00700"}
    assert "HTTP 500" in Path("report.txt").read_text()
    stand_in.always = None
    assert status(stand_in) == 0
    assert len(stored()) == 33


@pytest.mark.slow
@pytest.mark.system
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_run_is_resumed_by_the_next_run(folder, number):
    stand_in = yahoo()

    async def scenario():
        async with stand_in.serving() as address:
            first = start(f"http://{address}", folder)
            await until_async(lambda: len(set(stand_in.profiles)) >= 8, "eight look-ups")
            first.send_signal(number)
            status = await asyncio.to_thread(first.wait, DEADLINE_S)
            asked = set(stand_in.profiles)
            stand_in.profiles.clear()
            second = start(f"http://{address}", folder)
            assert await asyncio.to_thread(second.wait, DEADLINE_S) == 0
            return status, asked & set(stand_in.profiles), len(asked)

    status, twice, asked = asyncio.run(scenario())
    assert status == (-signal.SIGKILL if number is signal.SIGKILL else INTERRUPTED)
    assert asked >= 8
    assert len(twice) <= 1, "the look-up that was under way"
    assert len(stored()) == 33
    with StoreReader("sqlite:///data/o.db") as reader:
        assert reader.row_counts()["sector_assignments"] == 33


def start(address, folder):
    return subprocess.Popen(
        [sys.executable, "-m", "tests.reference.enriching_program", address],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.DEVNULL,
    )


@pytest.mark.system
def test_the_writer_of_a_running_system_stores_the_found_sectors(folder):
    with configured_folder() as short:
        settings = load_base_settings(short / "c.toml")
        migrate(settings.store.url)
        endpoints_of(settings.run)
        with core_writer(short), listening(short / "run/control"):
            wanted = options(
                "",
                url=settings.store.url,
                outbox=short / "run" / "outbox" / "enrich",
                sources=("sector_code",),
            )
            assert exit_status(asyncio.run(enrich(wanted, ingest_of(settings)))) == 1
        with SectorReader(settings.store.url) as reader:
            assert [each.symbol for each in reader.assignments("HK")] == ["00005"]


def test_a_run_with_its_own_writer_ends_at_once_while_another_process_writes(folder):
    writer = StoreWriter("sqlite:///data/o.db")
    writer.open()
    with pytest.raises(DatabaseInUseError, match="another process writes"):
        command_line()(["enrich", "run", *OF_HONG_KONG])
    writer.close()


def test_without_master_files_nothing_is_started(folder):
    with pytest.raises(ConfigError, match="--masters"):
        run(yahoo(), regions=("JP",))


def typed(*words):
    """The exit status of a command."""
    with pytest.raises(SystemExit) as ended:
        command_line()(["enrich", *words])
    return ended.value.code


def test_the_sector_of_one_stock_is_shown_with_its_other_names(folder, capsys):
    run(yahoo(), sources=("sector_code",))
    capsys.readouterr()
    assert typed("show", "SEHK:00005", "--config", "observer.toml", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["sector"], shown["gics_code"], shown["korean"]) == ("Financials", 40, "금융")
    with pytest.raises(NoDataError, match="SEHK:99999"):
        typed("show", "SEHK:99999", "--config", "observer.toml")
    with pytest.raises(ConfigError, match="give EXCHANGE:SYMBOL"):
        typed("show", "00005", "--config", "observer.toml")
    assert typed("show", "--config", "observer.toml", "--json") == 0
    counted = json.loads(capsys.readouterr().out)
    assert (counted["sectors"]["HK"], counted["sectors"]["US"]) == ({"Financials": 1}, {})
    assert [done["region"] for done in counted["rounds"]] == ["HK"]
    assert typed("show", "--config", "observer.toml") == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["Financials", "금융", "0", "1"] in [row[:4] for row in rows], "of the US none, of Hong Kong one"


@pytest.mark.parametrize(
    ("words", "name"), [(("--regions", "MARS"), "--regions MARS"), (("--sources", "hearsay"), "--sources hearsay")]
)
def test_wrong_options_are_named(folder, words, name):
    with pytest.raises(ConfigError, match=name):
        command_line()(["enrich", "run", "--config", "observer.toml", *words])


def test_learned_tables_state_their_accuracy_on_held_back_stocks(folder, capsys):
    codes = [record(f"{number:05}", "610") for number in range(200, 300)]
    (MASTERS / "HKSMST.COD").write_bytes("".join(codes).encode("cp949"))
    rows = "".join(f"{number:04}.HK,Financials\n" for number in range(200, 300))
    Path("known.csv").write_text(f"symbol,sector\n{rows}")
    sector_codes.main(["--masters", "masters", "--known", "known.csv", "--out", "learned"])
    reported = capsys.readouterr().out
    assert "100.0 %" in reported
    assert "JP: unmeasured" in reported
    table = json.loads(Path("learned/HK.json").read_text())
    assert (table["examples"], table["claimed"], table["right"]) == (100, 500, 500)


def test_master_files_may_be_packed_and_in_either_case(folder):
    unpacked = stocks_in(MASTERS, "HK")
    content = (MASTERS / "HKSMST.COD").read_bytes()
    (MASTERS / "HKSMST.COD").unlink()
    with zipfile.ZipFile(MASTERS / "hksmst.cod.zip", "w") as packed:
        packed.writestr("HKSMST.COD", content)
    assert stocks_in(MASTERS, "HK") == unpacked
