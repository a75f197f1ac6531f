"""The judge of whole days finds a slot without a release and a stale subscription."""

import contextlib
import sqlite3

import msgspec
import pytest

from bus.delivery import Delivered
from bus.events import GapDetected, PhaseChanged, QualityJudged, SlotAssigned, SlotReleased
from observer.store.writer import StoreWriter
from tests.builders import trades
from tests.chaos.ledger_judge import Kept, Tape, causes, finding, held, is_known
from tests.store.migrated import make_database

SYMBOL, DAY = "005930", "2026-11-18"
TAPE = trades(10)  # one share a second
SENT = 4  # the number of trades received; the broker does not send the others
BEGINS_NS = TAPE[0].exchange_time_ns - 1
ENDS_NS = TAPE[7].exchange_time_ns

ASSIGNED = SlotAssigned("a:01", SYMBOL, BEGINS_NS, "volume_surge", 1.0, "free_place", None)
RELEASED = SlotReleased("a:01", SYMBOL, ENDS_NS, 1.0, "closed")


def gap(before):
    missing = before - SENT
    return GapDetected("g", "kis", SYMBOL, DAY, ENDS_NS, 0, ENDS_NS, SENT, before, missing, None, "restart")


def judged(word):
    return QualityJudged("kis", SYMBOL, DAY, ENDS_NS, word, "", 1.0, SENT, SENT, 0.0, 0.0, 0.0, 0, 0)


def wrong(folder, *events, sent=SENT):
    """The judge's findings on a day with only the first `SENT` trades stored, of so many that the broker sent."""
    url, offered = f"sqlite:///{folder}/observer.db", folder / "offered.csv"
    make_database(url)
    writer = StoreWriter(url)
    writer.open()
    writer.commit([Delivered("track-b", "5" * 32, 1, [ASSIGNED, *TAPE[:SENT], *events])])
    writer.close()
    rows = [f"{SYMBOL},{each.exchange_time_ns},{int(each.cumulative_volume)},{int(each.price)},KRX" for each in TAPE]
    offered.write_text("\n".join(["symbol,exchange_time_ns,cumulative_volume,price,venue", *rows]))
    span = {"volume_before": 0, "volume_after": sent, "first_trade": 1, "last_trade": sent, "fate": "sent"}
    subscription = {"symbol": SYMBOL, "acknowledged_ns": BEGINS_NS, "trades_before": 0, "spans": [span], "view": "KRX"}
    with contextlib.closing(sqlite3.connect(folder / "observer.db")) as database, database:
        database.execute("UPDATE trade_rows SET exchange_time_ns = exchange_time_ns / 1000000000 * 1000000000")
    reported = finding([subscription], folder / "observer.db", offered)
    return {name: count for name, count in reported["wrong"].items() if count}


@pytest.mark.parametrize(
    ("events", "found"),
    [
        ([RELEASED, gap(8), judged("degraded")], {}),
        ([RELEASED, judged("complete")], {"missing_unrecorded": 4, "missing_and_judged_whole": 4}),
        ([RELEASED, gap(8), judged("complete")], {"missing_and_judged_whole": 4}),
        ([RELEASED, gap(8), judged("recovered")], {"missing_and_judged_whole": 4}),
        ([RELEASED, gap(7)], {"missing_unrecorded": 1}),
        ([], {"missing_unrecorded": 6, "never_ended": 1}),
        ([judged("complete")], {"missing_unrecorded": 6, "missing_and_judged_whole": 6, "never_ended": 1}),
    ],
)
def test_the_judge_finds_missing_trades_that_no_process_reported(tmp_path, events, found):
    assert wrong(tmp_path, *events) == found


@pytest.mark.parametrize(
    ("stopped_ns", "found"),
    [
        (TAPE[0].exchange_time_ns - 60_000_000_000, {}),
        (TAPE[-1].exchange_time_ns + 60_000_000_000, {"lost": 4, "missing_unrecorded": 4}),
    ],
)
def test_what_is_sent_behind_the_stop_of_track_b_may_be_missing(tmp_path, stopped_ns, found):
    stopped = PhaseChanged(DAY, stopped_ns, "FULL_OPERATION", "TRACK_A_CLOSING")
    assert wrong(tmp_path, RELEASED, stopped, sent=8) == found


def test_a_trade_of_another_venue_with_the_same_volume_of_the_day_is_not_the_offered_one(tmp_path):
    elsewhere = msgspec.structs.replace(TAPE[0], symbol=f"{SYMBOL}.NXT")
    found = wrong(tmp_path, RELEASED, gap(8), elsewhere)
    assert (found["altered"], found["unsent"], found["unsent_trades"]) == (1, 1, 1)


def test_a_trade_changed_on_its_way_would_show(tmp_path):
    dearer = msgspec.structs.replace(TAPE[5], price=TAPE[5].price + 1, gap_id="g")
    assert wrong(tmp_path, dearer, RELEASED, gap(8))["altered"] == 1


@pytest.mark.parametrize(
    ("assigned_again_ns", "ended_ns", "held_volume"),
    [
        (None, None, []),  # it belongs to no slot
        (TAPE[4].exchange_time_ns, None, [(5, 8)]),  # from the next slot's begin on
        (TAPE[4].exchange_time_ns, TAPE[3].exchange_time_ns, []),  # it had ended by then
    ],
)
def test_a_subscription_acknowledged_after_its_slot_is_judged_from_the_next_slot_on(
    assigned_again_ns, ended_ns, held_volume
):
    late = {"acknowledged_ns": TAPE[2].exchange_time_ns, "trades_before": 3, "ended_ns": ended_ns}
    again = [] if assigned_again_ns is None else [assigned_again_ns]
    kept = Kept(starts_ns=[BEGINS_NS, *again], ends_ns=[TAPE[1].exchange_time_ns, *([ENDS_NS] if again else [])])
    tape = Tape([each.exchange_time_ns for each in TAPE], [int(each.cumulative_volume) for each in TAPE])
    assert held([late], kept, tape) == held_volume


@pytest.mark.parametrize(
    ("account", "state", "spans", "known"),
    [
        ("a", "lost", [], False),
        ("a", "connected", [], True),
        ("b", "lost", [], True),
        ("a", "lost", [{"volume_before": 0, "volume_after": 1}], True),
    ],
)
def test_a_subscription_acknowledged_over_a_connection_that_was_left_and_never_used_is_not_known(
    account, state, spans, known
):
    changes = [("a", BEGINS_NS, "connected"), (account, BEGINS_NS + 2, state), ("a", BEGINS_NS + 9, "connected")]
    late = {"acknowledged_ns": BEGINS_NS + 5, "trades_before": 0, "spans": spans}
    assert is_known(late, Kept(accounts=[(BEGINS_NS, "a"), (BEGINS_NS + 7, "c")]), changes) == known


@pytest.mark.parametrize(
    ("starts_ns", "moves_ns", "ends_ns", "removed", "found"),
    [
        ([1], [], [], False, {"first": 1, "cut": 1}),
        ([1], [], [], True, {"first": 1, "renewed": 1, "removed_held": 1}),
        ([1, 6], [], [4], True, {"first": 1, "slot": 1, "removed": 1}),
        ([1, 6], [], [4], False, {"first": 1, "slot": 1}),
        ([1, 4], [4], [], True, {"first": 1, "move": 1, "removed": 1}),
        ([1, 6], [6], [], False, {"first": 1, "move": 1}),
        ([1, 4, 6], [4], [5], True, {"first": 1, "slot": 1, "removed": 1}),
    ],
)
def test_each_registration_and_removal_of_a_line_has_a_cause(starts_ns, moves_ns, ends_ns, removed, found):
    kept = Kept(starts_ns=starts_ns, moves_ns={*moves_ns}, ends_ns=ends_ns)
    one = {"acknowledged_ns": 2, "ended_ns": 5, "removed": removed}
    assert causes([{"acknowledged_ns": 7, "ended_ns": None, "removed": False}, one], kept) == found
