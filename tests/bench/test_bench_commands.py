"""`python -m tests.bench` as its user has it, with small amounts: every figure is there, and nothing is left behind."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.folders import short_folder
from tests.waiting import DEADLINE_S

pytestmark = pytest.mark.system

BENCH = (sys.executable, "-m", "tests.bench")


@pytest.fixture
def folder():
    """A folder with a name short enough for sockets in it."""
    with short_folder() as name:
        yield Path(name)


def bench(*words, folder):
    arguments = [*BENCH, *map(str, words), "--folder", str(folder), "--json"]
    completed = subprocess.run(arguments, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert completed.returncode == 0, completed.stderr
    assert list(folder.iterdir()) == []
    reported: dict[str, Any] = json.loads(completed.stdout)
    assert reported["machine"]["command"].startswith(f"python -m tests.bench {words[0]}")
    assert reported["machine"]["cores"] > 0
    return reported


@pytest.mark.slow
def test_ingest_reports_the_bare_limit_and_the_whole_path(folder):
    reported = bench("ingest", "--events", 3000, "--producers", 1, "--producers", 2, "--rounds", 1, folder=folder)
    assert reported["bare_events_per_s"] > 0
    assert [path["producers"] for path in reported["paths"]] == [1, 2]
    for path in reported["paths"]:
        assert path["ratio_to_bare"] == pytest.approx(path["events_per_s"] / reported["bare_events_per_s"])
        assert path["writer_rss"][-1]["rss_bytes"] > 0
        assert path["writer_rss"][-1]["events"] == 3000 + path["producers"]  # the warm-up's one each, too


@pytest.mark.slow
def test_ingest_with_held_trades_reports_the_bytes_of_each_part_of_one(folder):
    arguments = ("ingest", "--events", 2000, "--producers", 1, "--rounds", 2, "--held", 30_000)
    reported = bench(*arguments, folder=folder)
    whole, *parts = reported["sizes"]
    assert reported["held"] == 30_000
    assert whole["bytes_per_row"] == pytest.approx(sum(part["bytes_per_row"] for part in parts))
    assert {"column price", "row heads, alignment and free space"} <= {part["part"] for part in parts}


def test_commit_reports_the_writer_beside_sqlite3_for_each_size(folder):
    reported = bench("commit", "--size", 1, "--size", 3, "--commits", 30, "--rounds", 1, folder=folder)
    assert [each["trades"] for each in reported["sizes"]] == [1, 3]
    for each in reported["sizes"]:
        assert each["ratio_to_bare"] == pytest.approx(each["writer_us"] / each["bare_us"])


@pytest.mark.slow
def test_lake_reports_sealing_bytes_and_each_question_beside_the_same_by_hand(folder):
    reported = bench("lake", "--trades", 20_000, "--days", 2, "--rounds", 1, folder=folder)
    assert reported["all_trades"] == 25_000
    [sealing] = reported["sealings"]
    assert sealing["ratio_to_pyarrow"] == pytest.approx(sealing["seconds"] / reported["pyarrow_s"])
    assert 0 < reported["bytes_per_trade"] < 30
    assert len(reported["answers"]) == 5
    for answer in reported["answers"]:
        assert answer["rows"] > 0
        assert answer["ratio_to_duckdb"] == pytest.approx(answer["ms"] / answer["duckdb_ms"])


@pytest.mark.slow
def test_watched_reports_both_streams_and_what_the_clients_received(folder):
    reported = bench("watched", "--rate", 300, "--seconds", 3, "--clients", 2, "--rounds", 1, folder=folder)
    [alone], [beside], [watched] = reported["alone"], reported["beside"], reported["watched"]
    assert reported["p99_ratio"] == pytest.approx(beside["p99_ms"] / alone["p99_ms"])
    assert watched["states"] >= 2 * 3
    assert watched["scrapes"] >= 2


@pytest.mark.slow
def test_master_reports_each_rate_by_wall_time_and_by_cpu_time(folder):
    reported = bench("master", "--rounds", 1, folder=folder)
    assert (reported["listings"], reported["tradable"]) == (25_000, 6_500)
    for rate in (reported["tab_records"], reported["fixed_records"]):
        assert rate["per_s"] > 0
        assert rate["per_cpu_s"] > 0
    assert reported["unchanged"]["cpu_s"] < reported["first"]["cpu_s"]
    assert reported["tradable_ms"] > 0


@pytest.mark.slow
def test_latency_reports_each_rate_and_the_disk_floor(folder):
    reported = bench("latency", "--rate", 200, "--rate", 2000, "--seconds", 0.5, folder=folder)
    assert reported["disk_sync"]["count"] > 0
    assert [each["published_to_acknowledged"]["count"] for each in reported["rates"]] == [100, 1000]
    for each in reported["rates"]:
        assert 0 < each["published_to_acknowledged"]["p50_ms"] <= each["published_to_acknowledged"]["p99_ms"]


@pytest.mark.slow
def test_backup_reports_acknowledgements_beside_a_backup_and_alone(folder):
    reported = bench("backup", "--held", 30_000, "--rate", 200, "--rounds", 2, folder=folder)
    assert len(reported["rounds"]) == 2
    for each in reported["rounds"]:
        assert min(each["beside"]["count"], each["alone"]["count"]) >= 0.5 * 200 * each["backup_s"]
    assert reported["p99_ratio"] == pytest.approx(reported["p99_beside_ms"] / reported["p99_alone_ms"])


@pytest.mark.slow
def test_footprint_reports_every_process_and_excludes_the_simulator_from_the_sums(folder):
    reported = bench("footprint", folder=folder)
    counted = [each for each in reported["processes"] if each["process"] != "simulator"]
    assert {"supervisor", "core-writer", "track-a", "track-b"} <= {each["process"] for each in counted}
    assert reported["rss_bytes"] == sum(each["rss_bytes"] for each in counted)
    assert all(each["own_bytes"] <= each["pss_bytes"] <= each["rss_bytes"] for each in counted)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_day_reports_every_process_and_what_it_left(folder):
    reported = bench("day", "--symbols", 50, "--speed", 1000, folder=folder)
    counted = [each for each in reported["processes"] if each["process"] != "simulator"]
    assert {"supervisor", "core-writer", "track-a", "track-b"} <= {each["process"] for each in counted}
    assert reported["cpu_s"] == pytest.approx(sum(each["cpu_s"] for each in counted), abs=0.1)
    assert 0 < reported["slots_most"] <= 41
    assert reported["database_bytes"] > 100 * reported["trades"] > 0
    journals = {each["process"]: each["journal_bytes"] for each in reported["processes"]}
    assert reported["journal_bytes"] == sum(journals.values())
    assert min(journals["track-a"], journals["track-b"]) > 0
    assert reported["begins"] < "06:59"  # at this speed the universe takes more than the hour before NXT opens


@pytest.mark.slow
def test_restart_reports_every_kill_and_the_median(folder):
    reported = bench("restart", "--kills", 2, "--pause", 0.5, folder=folder)
    assert len(reported["spans_s"]) == 2
    assert reported["median_s"] == pytest.approx(sum(reported["spans_s"]) / 2)


def test_frames_reports_the_parser_and_the_bare_split_for_each_size(folder):
    reported = bench("frames", "--records", 2000, "--size", 1, "--size", 3, "--rounds", 1, folder=folder)
    assert [each["records_per_frame"] for each in reported["sizes"]] == [1, 3]
    for each in reported["sizes"]:
        assert each["ratio_to_bare"] == pytest.approx(each["ns_per_record"] / each["bare_ns_per_record"])
        assert each["records_per_s"] == pytest.approx(1e9 / each["ns_per_record"])


@pytest.mark.slow
def test_etf_reports_each_phase_and_the_floor_of_its_calls(folder):
    reported = bench("etf", "--etfs", 8, "--rate", 50, folder=folder)
    calls = {phase["name"]: (phase["answered"], phase["calls"]) for phase in reported["phases"]}
    assert calls == {
        "list": (8, 0),
        "values": (8, 8),
        "measures, first time": (8, 24),  # 250 sessions at 100 a call
        "ranges": (8, 0),
        "measures, every later time": (8, 8),
    }
    for phase in reported["phases"]:
        assert phase["floor_s"] == (phase["calls"] / 50 if phase["calls"] else None)
    assert reported["first_s"] + reported["phases"][4]["span_s"] == pytest.approx(
        reported["later_s"] + reported["phases"][2]["span_s"]
    )
    assert reported["rate_errors"] == 0
