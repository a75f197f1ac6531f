"""`observer quality`, `gaps` and `slots` as they are typed, over a database with one short day."""

import contextlib
import json
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from bus.delivery import Delivered
from bus.events import (
    GapDetected,
    GapEmpty,
    GapOpened,
    GapTimesMeasured,
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
    reported = typed("quality", DAY)
    assert reported.exit_code == 0
    assert [line for line in reported.stdout.splitlines() if len(line) > 80] == []
    assert "000001" in reported.stdout
    assert "computed now" in reported.stdout
    assert "at most: the most that these can be" in reported.stdout


def test_quality_shows_the_gap_rate_with_its_limit_and_the_slot_utilization(typed):
    reported = typed("quality", DAY).stdout
    assert "gap rate: 100.00 % (limit 5 %)" in reported
    assert "slot utilization: not known" in reported, "no phase of the day is stored"
    document = json.loads(typed("quality", DAY, "--json").stdout)
    assert (document["gap_rate_percent"], document["gap_rate_limit_percent"]) == (100, 5)
    assert document["slot_utilization_percent"] is None


def test_quality_as_json_names_every_field_of_a_report(typed):
    document = json.loads(typed("quality", DAY, "--json").stdout)
    assert document["stored"] is False
    report, _ = document["symbols"]
    assert report["symbol"] == "000001"
    assert report["slots_quality"] in {"complete", "recovered", "degraded", "missing", "unknown"}
    assert report["day_quality"] == "unknown"
    assert report["intervals"] == [{"from_ns": START_NS, "to_ns": START_NS}]


def test_quality_never_shows_the_word_of_the_slots_without_that_of_the_day(typed):
    header, row = (
        line.split() for line in typed("quality", DAY).stdout.splitlines() if line.startswith(("sym", "000001"))
    )
    assert header[:5] == ["symbol", "in", "slots", "day", "volume"]
    assert row[2] == "unknown"
    assert row[1] in {"complete", "recovered", "degraded", "missing", "unknown"}
    assert typed("quality", DAY).stdout.splitlines()[-2].startswith("in slots: ")
    assert "; of the day: 2 unknown" in typed("quality", DAY).stdout


def test_gaps_are_listed_shown_and_filtered(typed):
    assert "gap-1" in typed("gaps", "list", DAY).stdout
    assert json.loads(typed("gaps", "list", DAY, "--open", "--json").stdout) == {
        "day": DAY, "gaps": [], "cuts": [], "times": [],
    }  # fmt: skip
    assert typed("gaps", "list", DAY, "--open").stdout == f"no open gaps on {DAY}\n"
    assert json.loads(typed("gaps", "show", "gap-1", "--json").stdout)["outcome"] == "recovered"


def test_uncounted_trades_of_a_gap_are_those_that_its_recovery_found(tmp_path):
    gap, *found, recovered = recovery(1)
    bars = [msgspec.structs.replace(each, missing_trades=None) for each in recovery(3) if isinstance(each, GapDetected)]
    uncounted = msgspec.structs.replace(gap, missing_trades=None)
    listed = typed_system(tmp_path, uncounted, *found, recovered, *bars, *recovery(3)[1:])("gaps", "list", DAY).stdout
    assert [line.split()[4] for line in listed.splitlines() if "gap-" in line] == ["2", "?"]


def test_cuts_without_a_loss_are_listed_with_the_times_of_detection(typed, tmp_path):
    second_ns = 1_000_000_000
    cuts = [
        GapOpened(f"cut-{symbol}", "kis", symbol, DAY, START_NS, START_NS, 5.0, "reconnect")
        for symbol in ("000001", "000004")
    ]
    empty = GapEmpty("cut-000001", "kis", "000001", DAY, START_NS + 9, START_NS, START_NS + 7 * second_ns, 5.0)
    times = GapTimesMeasured(DAY, START_NS, "detection", 2, 1, 0.25, 1.5, 1.5, 1.5)
    with contextlib.closing(StoreWriter(f"sqlite:///{tmp_path / 'data' / 'observer.db'}")) as writer:
        writer.open()
        writer.commit([Delivered("track-b", "6" * 32, 1, [*cuts, empty, times])])
    listed = typed("gaps", "list", DAY).stdout
    assert f"{DAY}: 4 gaps, 1 of them empty" in listed
    assert "detection: p50 0.25 s, p95 1.50 s, p99 1.50 s, max 1.50 s; 1 of 2 in time" in listed
    only_open = json.loads(typed("gaps", "list", DAY, "--open", "--json").stdout)
    assert [(each["symbol"], each["outcome"]) for each in only_open["cuts"]] == [("000004", "open")]
    assert only_open["times"][0]["p95_s"] == 1.5
    shown = json.loads(typed("gaps", "show", "cut-000001", "--json").stdout)
    assert (shown["outcome"], shown["to_ns"]) == ("empty", START_NS + 7 * second_ns)


def test_a_part_of_an_id_names_the_only_gap_of_the_day_that_has_it(typed):
    assert "gap_id: gap-1" in typed("gaps", "show", "p-1").stdout
    several = typed("gaps", "show", "gap-")
    assert isinstance(several.exception, ConfigError)
    assert "2 gaps" in str(several.exception)
    assert "gap-1, gap-2" in str(several.exception)
    assert isinstance(typed("gaps", "show", "1", "--date", "today").exception, NoDataError)


def test_the_day_is_the_last_stored_session_and_is_named(typed):
    for words in (("gaps", "list"), ("slots", "show"), ("quality",), ("decisions", "verify"), ("exports", "rebuild")):
        first, *_ = typed(*words).stdout.splitlines()
        assert first.startswith(f"{DAY} (the last stored session)"), words
        assert typed(*words, "last").stdout.splitlines()[0] == first
        assert json.loads(typed(*words, "--json").stdout)["day"] == DAY
    for words in (("slots", "why", "000001"), ("slots", "history", "000001")):
        assert f"{DAY} (the last stored session)" in typed(*words).stdout
        assert json.loads(typed(*words, "--json").stdout)["day"] == DAY


@pytest.mark.parametrize("day", [DAY, "20261118", "today"])
def test_a_day_is_typed_in_several_forms(typed, monkeypatch, day):
    monkeypatch.setenv(CLOCK_VARIABLE, HeldClock(START_NS, Path("/nowhere"), 1.0).to_variable())
    assert typed("gaps", "list", day).stdout.startswith(f"{DAY}: 2 gaps")


def test_yesterday_is_the_day_before_the_market_s(typed, monkeypatch):
    monkeypatch.setenv(CLOCK_VARIABLE, HeldClock(START_NS + 24 * 3600 * 10**9, Path("/nowhere"), 1.0).to_variable())
    assert typed("gaps", "list", "yesterday").stdout.startswith(f"{DAY}: 2 gaps")


@pytest.mark.parametrize("days", [-300, 0, 300])
def test_a_stored_day_is_explained_whatever_day_the_clock_has(typed, monkeypatch, days):
    now_ns = START_NS + 60 * 10**9 + days * 24 * 3600 * 10**9  # a demo's day may be in this machine's future
    monkeypatch.setenv(CLOCK_VARIABLE, HeldClock(now_ns, Path("/nowhere"), 1.0).to_variable())
    assert "000001 has a:01" in typed("slots", "why", "000001").stdout
    assert "000001" in typed("quality").stdout


NOT_STORED = f"2026-11-19 is not stored: the last stored session is {DAY}"
NO_SLOT = f"no trades of 000009 on {DAY}: it had no slot"
UNKNOWN = f"000009 is not in the universe of {DAY}, and no master file has it"


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("gaps", "list", "2026-11-19"), NOT_STORED),
        (("gaps", "list", "--symbol", "000009"), NO_SLOT),
        (("gaps", "show", "nothing"), "has 'nothing' in its id"),
        (("slots", "show", "2026-11-19"), NOT_STORED),
        (("slots", "why", "000001", "--date", "2026-11-19"), NOT_STORED),
        (("slots", "why", "000009"), UNKNOWN),
        (("slots", "history", "000001", "--date", "2026-11-19"), NOT_STORED),
        (("slots", "history", "000009"), UNKNOWN),
        (("quality", "2026-11-19"), NOT_STORED),
        (("quality", "--symbol", "000009"), NO_SLOT),
        (("decisions", "verify", "2026-11-19"), NOT_STORED),
        (("exports", "rebuild", "2026-11-19"), NOT_STORED),
        (("universe", "show"), f"no universe of {DAY} is stored"),
        (("universe", "diff", "2026-11-19"), NOT_STORED),
        (("etf", "list"), "no ETF is stored"),
        (("etf", "list", DAY), "no ETF is stored"),
        (("etf", "show", "069500"), "no list of ETFs ever had '069500'"),
        (("etf", "report"), "nothing is stored of ETFs"),
        (("enrich", "show"), "no sector is stored"),
        (("enrich", "show", "NASD:AAPL"), "no sector is stored for NASD:AAPL"),
        (("master", "status"), "no master file was ever checked"),
        (("master", "history"), "no master file was ever checked"),
        (("master", "lifetime", "000001"), "no listing 000001 was ever seen"),
        (("master", "new"), "no master file was ever checked"),
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
    nothing = typed("gaps", "list", "--open", "--symbol", "000001")
    assert (nothing.exit_code, nothing.stdout) == (0, f"no open gaps of 000001 on {DAY} (the last stored session)\n")
    silent = typed("slots", "history", "000005")
    assert (silent.exit_code, silent.stdout) == (
        0,
        f"000005 was neither given nor refused a slot on {DAY} (the last stored session)\n",
    )


def test_slots_history_shows_a_refusal_and_slots_why_shows_the_slot(typed):
    assert "refused" in typed("slots", "history", "000002", "--date", DAY).stdout
    assert json.loads(typed("slots", "why", "000001", "--date", DAY, "--json").stdout)["slot"] == "a:01"


def test_slots_history_shows_extensions_and_the_symbol_that_took_the_slot(typed, tmp_path):
    kept = SlotExtended("main:41", "000004", START_NS + 1, "trade_velocity", 2.0, None)
    replaced = SlotReleased("main:41", "000004", START_NS + 1, 2.0, "replaced", "000007")
    taken = SlotAssigned("main:41", "000007", START_NS + 1, "volume_surge", 3.0, "outranks", "000004")
    with contextlib.closing(StoreWriter(f"sqlite:///{tmp_path / 'data' / 'observer.db'}")) as writer:
        writer.open()
        writer.commit([Delivered("track-b", "6" * 32, 1, [kept, replaced, taken])])
    shown = typed("slots", "history", "000004", "--date", DAY).stdout
    assert "000004 keeps main:41 without end: trade_velocity, score 2.000" in shown
    assert "000004 left main:41: replaced by 000007" in shown


def test_slots_history_of_all_symbols_lists_intervals_with_the_times_that_the_broker_acknowledged(
    typed,
):
    shown = json.loads(typed("slots", "history", "--date", DAY, "--json").stdout)["slots"]
    assert [(each["symbol"], each["released_ns"], each["streamed"]) for each in shown] == [
        ("000001", None, [[START_NS, None]]),
        ("000004", None, []),
    ]
    listed = typed("slots", "history", "--date", DAY).stdout
    assert "2 intervals" in listed
    assert max(len(line) for line in listed.splitlines()) <= 80


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
