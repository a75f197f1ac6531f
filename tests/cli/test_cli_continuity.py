"""`observer coverage`, `gaps` and `slots` as they are typed, over a database with one short day."""

import contextlib
import json
from collections import Counter
from pathlib import Path

import pytest

from bus.delivery import Delivered
from bus.events import (
    GapEmpty,
    GapOpened,
    GapTimesMeasured,
    GapUnrecoverable,
    Pinned,
    SelectionAdvanced,
    SlotAssigned,
    SlotExtended,
    SlotReleased,
    WatchChanged,
    WatchStarted,
)
from observer.base.clock import CLOCK_VARIABLE, HeldClock
from observer.base.errors import ConfigError, NoDataError
from observer.store.writer import StoreWriter
from tests.builders import day_began
from tests.cli.typed import typed_system
from tests.store.exporting import DAY, START_NS, recovery, refusal
from tests.store.listings import listing_changed

TRIGGERED = ("volume_surge", 9.5, "free_slot", None)


@pytest.fixture
def typed(tmp_path, monkeypatch):
    """Types a command for a system that does not run; its database has two slots, a refusal and two filled gaps."""
    monkeypatch.setenv("COLUMNS", "80")
    slot = SlotAssigned("a:01", "000001", START_NS, *TRIGGERED)
    began = SelectionAdvanced(DAY, START_NS, day_began(DAY))
    acknowledged = WatchChanged("kis", "000001", DAY, START_NS, WatchStarted())
    pin = SelectionAdvanced(DAY, START_NS, Pinned("000003", "halted"))
    other = SlotAssigned("main:41", "000004", START_NS, *TRIGGERED)
    reported = [began, slot, acknowledged, other, refusal(2), pin]
    listed = listing_changed(symbol="000005")
    return typed_system(tmp_path, *reported, *recovery(1), *recovery(2), listed)


def test_quality_fits_eighty_columns_and_says_that_nothing_was_stored(typed):
    reported = typed("coverage", DAY)
    assert reported.exit_code == 0
    assert [line for line in reported.stdout.splitlines() if len(line) > 80] == []
    assert "000001" in reported.stdout
    assert "computed now" in reported.stdout
    assert "at most: the most that these can be" in reported.stdout


def test_quality_shows_the_gap_rate_with_its_limit_and_the_slot_utilization(typed):
    reported = typed("coverage", DAY).stdout
    assert "gap rate: 100.00 % (limit 5 %)" in reported
    assert "slot utilization: not known" in reported, "no phase of the day is stored"
    document = json.loads(typed("coverage", DAY, "--json").stdout)
    assert (document["gap_rate_percent"], document["gap_rate_limit_percent"]) == (100, 5)
    assert document["slot_utilization_percent"] is None


def test_quality_as_json_names_every_field_of_a_report(typed):
    document = json.loads(typed("coverage", DAY, "--json").stdout)
    assert document["stored"] is False
    report, _ = document["symbols"]
    assert report["symbol"] == "000001"
    assert report["slots_quality"] in {"complete", "recovered", "degraded", "missing", "unknown"}
    assert report["day_quality"] == "unknown"
    assert report["intervals"] == [{"from_ns": START_NS, "to_ns": START_NS}]


def test_quality_never_shows_the_word_of_the_slots_without_that_of_the_day(typed):
    header, row = (
        line.split() for line in typed("coverage", DAY).stdout.splitlines() if line.startswith(("sym", "000001"))
    )
    assert header[:5] == ["symbol", "in", "slots", "day", "volume"]
    assert row[2] == "unknown"
    assert row[1] in {"complete", "recovered", "degraded", "missing", "unknown"}
    assert typed("coverage", DAY).stdout.splitlines()[-2].startswith("in slots: ")
    assert "; of the day: 2 unknown" in typed("coverage", DAY).stdout


def test_gaps_are_listed_shown_and_filtered(typed):
    listed = typed("gaps", DAY)
    assert listed.stdout.startswith(f"gaps on {DAY}: 2 rows; 2 recovered\n")
    assert typed("show", "gaps", DAY).stdout == listed.stdout
    rows = json.loads(typed("gaps", DAY, "--json").stdout)
    assert [(each["gap_id"], each["outcome"]) for each in rows] == [("gap-1", "recovered"), ("gap-2", "recovered")]
    assert json.loads(typed("gaps", DAY, "--where", "outcome = 'open'", "--json").stdout) == []
    assert typed("gaps", DAY, "--where", "outcome = 'open'").stdout == f"no gaps on {DAY}\n"
    assert "recovered_volume" in typed("gaps", DAY, "--where", "gap_id = 'gap-1'").stdout, "of one row all is shown"
    assert isinstance(typed("gaps", DAY, "--where", "outcome =").exception, ConfigError)


def test_rows_are_sorted_chosen_and_written(typed, tmp_path):
    rows = json.loads(typed("gaps", DAY, "--sort", "-gap_id", "--columns", "gap_id,symbol", "--json").stdout)
    assert [each["gap_id"] for each in rows] == ["gap-2", "gap-1"]
    assert list(rows[0]) == ["gap_id", "symbol"]
    assert typed("gaps", DAY, "--format", "csv").stdout.startswith("day,symbol,venue,since")
    path = tmp_path / "gaps.parquet"
    assert typed("gaps", DAY, "--format", "parquet", "--out", str(path)).stdout == f"{path}: 2 rows\n"
    assert "there is no column 'nothing'" in str(typed("gaps", "--columns", "nothing").exception)


def test_the_catalogue_is_listed(typed):
    shown = typed("show").stdout
    assert {line.split()[0] for line in shown.splitlines() if line} >= {"gaps", "phases", "etfs", "alerts"}
    assert "did you mean gaps?" in str(typed("show", "gap").exception)


def test_cuts_without_a_loss_are_rows_with_the_times_of_detection_beside_them(typed, tmp_path):
    second_ns = 1_000_000_000
    cuts = [
        GapOpened(f"cut-{symbol}", "kis", symbol, DAY, START_NS, START_NS, 5.0, "reconnect")
        for symbol in ("000001", "000004", "000006")
    ]
    empty = GapEmpty("cut-000001", "kis", "000001", DAY, START_NS + 9, START_NS, START_NS + 7 * second_ns, 5.0)
    lost = GapUnrecoverable("cut-000006", "000006", START_NS + 9, "left")
    times = GapTimesMeasured(DAY, START_NS, "detection", 2, 1, 0.25, 1.5, 1.5, 1.5)
    with contextlib.closing(StoreWriter(f"sqlite:///{tmp_path / 'data' / 'observer.db'}")) as writer:
        writer.open()
        writer.commit([Delivered("track-b", "6" * 32, 1, [*cuts, empty, lost, times])])
    rows = json.loads(typed("cuts", DAY, "--sort", "symbol", "--json").stdout)
    assert [(each["symbol"], each["outcome"], each["lost_reason"]) for each in rows] == [
        ("000001", "empty", None), ("000004", "open", None), ("000006", "lost", "left"),
    ]  # fmt: skip
    [measured] = json.loads(typed("gap_times", DAY, "--json").stdout)
    assert (measured["measure"], measured["p95_s"], measured["met"]) == ("detection", 1.5, 1)


def test_the_day_is_the_last_stored_session_and_is_named(typed):
    for words in (("slots", "show"), ("coverage",), ("decisions", "verify"), ("exports", "rebuild")):
        first, *_ = typed(*words).stdout.splitlines()
        assert first.startswith(f"{DAY} (the last stored session)"), words
        assert typed(*words, "last").stdout.splitlines()[0] == first
        assert json.loads(typed(*words, "--json").stdout)["day"] == DAY
    assert json.loads(typed("slots", "why", "000001", "--json").stdout)["day"] == DAY
    for words in (("gaps",), ("slots",), ("slots", "why", "000001")):
        assert f"{DAY} (the last stored session)" in typed(*words).stdout


@pytest.mark.parametrize("day", [DAY, "20261118", "today"])
def test_a_day_is_typed_in_several_forms(typed, monkeypatch, day):
    monkeypatch.setenv(CLOCK_VARIABLE, HeldClock(START_NS, Path("/nowhere"), 1.0).to_variable())
    assert typed("gaps", day).stdout.startswith(f"gaps on {DAY}: 2 rows")


def test_yesterday_is_the_day_before_the_market_s(typed, monkeypatch):
    monkeypatch.setenv(CLOCK_VARIABLE, HeldClock(START_NS + 24 * 3600 * 10**9, Path("/nowhere"), 1.0).to_variable())
    assert typed("gaps", "yesterday").stdout.startswith(f"gaps on {DAY}: 2 rows")


@pytest.mark.parametrize("days", [-300, 0, 300])
def test_a_stored_day_is_explained_whatever_day_the_clock_has(typed, monkeypatch, days):
    now_ns = START_NS + 60 * 10**9 + days * 24 * 3600 * 10**9  # a demo's day may be in this machine's future
    monkeypatch.setenv(CLOCK_VARIABLE, HeldClock(now_ns, Path("/nowhere"), 1.0).to_variable())
    assert "000001 has a:01" in typed("slots", "why", "000001").stdout
    assert "000001" in typed("coverage").stdout


UNKNOWN_DAY = f"2026-11-19 is not stored: stored are {DAY}"
NOT_STORED = f"2026-11-19 is not stored: the last stored session is {DAY}"
NO_SLOT = f"no trades of 000009 on {DAY}: it had no slot"
UNKNOWN = f"000009 is not in the universe of {DAY}, and no master file has it"


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("gaps", "2026-11-19"), UNKNOWN_DAY),
        (("gaps", "retry", "gap-1", "--date", "2026-11-19"), NOT_STORED),
        (("gaps", "000009"), "'000009' is not a stored symbol"),
        (("gaps", "retry", "nothing"), "has 'nothing' in its id"),
        (("slots", "show", "2026-11-19"), NOT_STORED),
        (("slots", "why", "000001", "--date", "2026-11-19"), NOT_STORED),
        (("slots", "why", "000009"), UNKNOWN),
        (("decisions", "000001", "2026-11-19"), UNKNOWN_DAY),
        (("coverage", "2026-11-19"), NOT_STORED),
        (("coverage", "--symbol", "000009"), NO_SLOT),
        (("decisions", "verify", "2026-11-19"), NOT_STORED),
        (("exports", "rebuild", "2026-11-19"), NOT_STORED),
        (("universe",), f"no universe of {DAY} was built"),
        (("universe", "diff", "2026-11-19"), NOT_STORED),
        (("etfs",), "no ETF is stored"),
        (("etfs", "069500"), "no list of ETFs ever had 069500"),
        (("etf", "report"), "nothing is stored of ETFs"),
        (("enrich", "show"), "no sector is stored"),
        (("enrich", "show", "NASD:AAPL"), "no sector is stored for NASD:AAPL"),
        (("master", "status"), "no master file was ever checked"),
        (("master_checks", DAY), "no master file was checked then"),
        (("listing_changes", "000001"), "no listing 000001 was ever seen"),
        (("master", "tradable", "--region", "US"), "NASD: unknown"),
        (("accounts",), "nothing is known of the accounts"),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, tuple) else "",
)
@pytest.mark.parametrize("form", [(), ("--json",)], ids=["text", "json"])
def test_what_is_not_stored_is_an_error_and_prints_nothing(typed, words, why, form):
    answer = typed(*words, *form)
    assert isinstance(answer.exception, NoDataError), answer.output
    assert why in str(answer.exception)
    assert "\n" not in str(answer.exception)
    assert answer.stdout == ""


def test_what_is_stored_and_empty_is_a_sentence(typed):
    nothing = typed("gaps", "000001", "--where", "outcome = 'open'")
    assert (nothing.exit_code, nothing.stdout) == (0, f"no gaps on {DAY} (the last stored session)\n")


def test_decisions_have_a_refusal_and_slots_why_shows_the_slot(typed):
    [refused] = json.loads(typed("decisions", DAY, "--where", "decision = 'refused'", "--json").stdout)
    assert (refused["symbol"], refused["slot"]) == ("000002", None)
    assert json.loads(typed("slots", "why", "000001", "--date", DAY, "--json").stdout)["slot"] == "a:01"


def test_decisions_slots_and_why_have_extensions_and_the_symbol_that_took_the_slot(typed, tmp_path):
    kept = SlotExtended("main:41", "000004", START_NS + 1, "trade_velocity", 2.0, None)
    replaced = SlotReleased("main:41", "000004", START_NS + 1, 2.0, "replaced", "000007")
    taken = SlotAssigned("main:41", "000007", START_NS + 1, "volume_surge", 3.0, "outranks", "000004")
    with contextlib.closing(StoreWriter(f"sqlite:///{tmp_path / 'data' / 'observer.db'}")) as writer:
        writer.open()
        writer.commit([Delivered("track-b", "6" * 32, 1, [kept, replaced, taken])])
    decisions = json.loads(typed("decisions", DAY, "000004", "--json").stdout)
    assert [(each["decision"], each["trigger"], each["other"]) for each in decisions] == [
        ("assigned", "volume_surge", None), ("extended", "trade_velocity", None), ("released", None, "000007"),
    ]  # fmt: skip
    [slot] = json.loads(typed("slots", DAY, "000004", "--json").stdout)
    assert (slot["triggers"], slot["release_reason"]) == ("volume_surge trade_velocity", "replaced")
    told = json.loads(typed("slots", "why", "000004", "--date", DAY, "--json").stdout)["why"].split("; ")
    assert [each.split(" ")[1:3] for each in told] == [
        ["000004", "has"], ["000004", "keeps"], ["000004", "left"], ["000007", "has"],
    ]  # fmt: skip


def test_slots_are_intervals_and_subscriptions_the_times_that_the_broker_acknowledged(typed):
    shown = json.loads(typed("slots", DAY, "--sort", "symbol", "--json").stdout)
    assert [(each["symbol"], each["until"]) for each in shown] == [("000001", None), ("000004", None)]
    streamed = json.loads(typed("subscriptions", DAY, "--json").stdout)
    assert [(each["symbol"], each["slot"], each["until"]) for each in streamed] == [("000001", "a:01", None)]


def test_slots_show_lists_assigned_symbols_and_waiting_pins(typed, monkeypatch):
    monkeypatch.setenv(CLOCK_VARIABLE, HeldClock(START_NS, Path("/nowhere"), 1.0).to_variable())
    shown = json.loads(typed("slots", "show", "--json").stdout)["slots"]
    assert [(each["event"], each["symbol"], each["reason"]) for each in shown if each["event"] != "free"] == [
        ("assigned", "000004", "free_slot"),
        ("assigned", "000001", "free_slot"),
        ("waits", "000003", "halted"),
    ]
    assert "000003 is pinned; halted: gets a slot when trading resumes" in typed("slots", "show").stdout


def test_slots_show_reports_which_assigned_symbols_the_broker_streams(typed, monkeypatch):
    monkeypatch.setenv(CLOCK_VARIABLE, HeldClock(START_NS, Path("/nowhere"), 1.0).to_variable())
    states = Counter(each.get("state") for each in json.loads(typed("slots", "show", "--json").stdout)["slots"])
    assert states == {"active": 1, "allocated": 1, "available": 40, None: 1}
    table = typed("slots", "show").stdout
    assert "2 slots taken, 40 available" in table
    assert max(len(line) for line in table.splitlines()) <= 80


def test_exports_are_rebuilt_where_the_configuration_says(typed, tmp_path):
    paths = [Path(path) for path in json.loads(typed("exports", "rebuild", DAY, "--json").stdout)["files"]]
    assert len(paths) == 3
    assert all(path.is_relative_to(tmp_path / "data" / "observer") and path.read_bytes() for path in paths)
