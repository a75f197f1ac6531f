"""The judge of labels and reports finds each that says more than the ledger."""

import contextlib
from typing import Any

import msgspec
import pytest

from bus.delivery import Delivered
from bus.events import (
    ConnectionChanged,
    PhaseChanged,
    QualityJudged,
    SlotAssigned,
    SlotReleased,
    StreamedTime,
    TriggerEnded,
    TriggerFired,
    UniverseMember,
    VolumeRise,
)
from observer.store.writer import StoreWriter
from tests.builders import trade
from tests.chaos.labels_judge import SESSION_S, SURGE_MIN, Usual, evidence, finding
from tests.chaos.ledger_judge import Tape
from tests.store.migrated import make_database

DAY, S = "2026-11-18", 1_000_000_000
OPEN_NS = 1_794_960_000 * S  # 09:00 KST
SURGED, STREAMED_S = "000001", (3_600, 7_200)  # ten trades a minute in these seconds of the day, else one
OTHERS = [f"{number:06}" for number in range(2, 32)]
SYMBOLS = [SURGED, *OTHERS]
FROM_NS, TO_NS = (OPEN_NS + second * S for second in STREAMED_S)
FIRED_NS = FROM_NS + 600 * S
AVERAGE = 360.0  # one share a minute


def tape(symbol):
    """One share a minute; of the surging symbol ten in each minute of its slot."""
    seconds = [60 * minute + 30 for minute in range(360)]
    if symbol == SURGED:
        seconds = sorted({*seconds, *range(STREAMED_S[0] + 6, STREAMED_S[1], 6)})
    return [
        trade(
            number,
            symbol=symbol,
            exchange_time_ns=OPEN_NS + second * S,
            receive_time_ns=OPEN_NS + second * S,
        )
        for number, second in enumerate(seconds, 1)
    ]


def tape_of(symbol):
    trades = tape(symbol)
    volumes = [int(each.cumulative_volume) for each in trades]
    return Tape([each.exchange_time_ns for each in trades], volumes, [int(each.price) for each in trades])


TAPE = tape(SURGED)
STORED = [each for each in TAPE if FROM_NS <= each.exchange_time_ns <= TO_NS]
BEFORE = STORED[0].cumulative_volume - 1
SHARE = len(STORED) / len(TAPE)
FIRED = TriggerFired(SURGED, "volume_surge", FIRED_NS, FIRED_NS + 300 * S, 9.0, 3.0, 5.0, 1.8, 28.0, "severe", "recent")
ASSIGNED = SlotAssigned("a:01", SURGED, FROM_NS, "market_cap", 1.0, "free_slot", None)
RELEASED = SlotReleased("a:01", SURGED, TO_NS, 1.0, "expired")
LABELLED = SlotAssigned("a:01", SURGED, FIRED_NS, "volume_surge", 28.0, "free_slot", None)
LATER = SlotAssigned("a:01", SURGED, FIRED_NS + 2, "volume_surge", 28.0, "free_slot", None)


def report(**changes):
    """The truth about the day, but for the changes."""
    truth: dict[str, Any] = {
        "provider": "kis",
        "symbol": SURGED,
        "session_date": DAY,
        "judged_ns": TO_NS,
        "detail": "",
        "slots_quality": "complete",
        "seconds": 3_600.0,
        "streamed_trades": len(STORED),
        "streamed_volume": float(len(STORED)),
        "recovered_volume": 0.0,
        "conflated_volume": 0.0,
        "missing_volume": 0.0,
        "gaps": 0,
        "gaps_open": 0,
        "day_quality": "part",
        "missing_at_most": 0.0,
        "day_volume": float(len(TAPE)),
        "volume_share": SHARE,
        "time_share": 3_600 / 23_400,
        "intervals": (StreamedTime(FROM_NS, TO_NS),),
    }
    return QualityJudged(**{**truth, **changes})


def member(symbol):
    return UniverseMember("kis", "kr_stocks", DAY, 1, symbol, symbol, "KOSPI", 1e12, 100.0, AVERAGE, 1.0)


def judged(
    folder,
    *events,
    without=0,
    late_s=0,
    venue="KRX",
    spans=(),
    ended_ns=TO_NS,
    removed=False,
):
    """The judge's findings; `without` trades of the slot are not stored. The client read each trade so late, and the
    subscription was one at this venue, over which these trades were sent.
    """
    url, offered = f"sqlite:///{folder}/observer.db", folder / "offered.csv"
    make_database(url)
    phases = [PhaseChanged(DAY, FROM_NS, "TRACK_A_ONLY", "FULL_OPERATION")]
    phases.append(PhaseChanged(DAY, TO_NS, "FULL_OPERATION", "TRACK_A_CLOSING"))
    in_time = STORED[: len(STORED) - without]
    stored = [msgspec.structs.replace(each, receive_time_ns=each.receive_time_ns + late_s * S) for each in in_time]
    with contextlib.closing(StoreWriter(url)) as writer:
        writer.open()
        members = [member(symbol) for symbol in SYMBOLS]
        writer.commit([Delivered("track-b", "5" * 32, 1, [*phases, *members, ASSIGNED, RELEASED, *stored, *events])])
    rows = (each for symbol in SYMBOLS for each in tape(symbol))
    lines = (
        f"{each.symbol},KRX,{each.exchange_time_ns},{each.cumulative_volume:.0f},{each.price:.0f}" for each in rows
    )
    offered.write_text("\n".join(["symbol,venue,exchange_time_ns,cumulative_volume,price", *lines]))
    times = {"acknowledged_ns": FROM_NS, "ended_ns": ended_ns, "trades_before": int(BEFORE), "removed": removed}
    return finding([{"symbol": SURGED, "view": venue, **times, "spans": spans}], folder / "observer.db", offered)


def wrong(found):
    return {name: count for name, count in found["wrong"].items() if count}


def test_a_day_that_says_what_it_covers_has_nothing_wrong(tmp_path):
    found = judged(tmp_path, report(), FIRED, LABELLED)
    assert found["nothing_wrong"], found
    assert found["totals"]["surge_labels"] == 1
    assert found["totals"]["slot_use_percent_by_reports"] == found["totals"]["slot_use_percent_by_ledger"] == 2.44


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"day_volume": 700.0}, "day_volume_differs"),
        ({"day_volume": None}, "day_volume_differs"),
        ({"volume_share": 1.0}, "volume_share_differs"),
        ({"time_share": 0.5}, "time_share_differs"),
        ({"day_quality": "whole"}, "day_better_than_truth"),
    ],
    ids=str,
)
def test_a_report_that_covers_less_than_it_says_is_found(tmp_path, changes, name):
    assert wrong(judged(tmp_path, report(**changes))) == {name: 1}


def test_intervals_that_the_broker_did_not_acknowledge_are_found_and_change_the_use_of_slots(tmp_path):
    longer = (StreamedTime(FROM_NS - 600 * S, TO_NS),)
    assert wrong(judged(tmp_path, report(intervals=longer))) == {"intervals_differ": 1}
    shorter = (StreamedTime(FROM_NS + 600 * S, TO_NS),)
    (tmp_path / "shorter").mkdir()
    found = wrong(judged(tmp_path / "shorter", report(intervals=shorter)))
    assert found == {"intervals_differ": 1, "slot_use_differs": 1}


@pytest.mark.parametrize(("late_s", "names"), [(70, ()), (80, ("time_share_differs", "intervals_differ"))])
def test_a_removal_may_be_under_way_for_a_minute(tmp_path, late_s, names):
    shorter = (StreamedTime(FROM_NS, TO_NS - late_s * S),)
    share = report().time_share * (1 - late_s * S / (TO_NS - FROM_NS))
    found = wrong(judged(tmp_path, report(intervals=shorter, time_share=share), removed=True))
    found.pop("slot_use_differs", None)
    assert found == dict.fromkeys(names, 1)


@pytest.mark.parametrize(
    ("word", "at_most", "names"),
    [
        ("complete", 3.0, ["slots_better_than_truth"]),
        ("recovered", 3.0, ["slots_better_than_truth"]),
        ("degraded", 2.0, ["bound_too_low"]),
        ("degraded", 3.0, []),
        ("degraded", None, []),
    ],
)
def test_words_that_are_better_than_the_stored_trades_are_found(tmp_path, word, at_most, names):
    share = (len(STORED) - 3) / len(TAPE)
    says = report(slots_quality=word, missing_at_most=at_most, volume_share=share)
    assert wrong(judged(tmp_path, says, without=3)) == dict.fromkeys(names, 1)


def test_a_subscription_of_the_same_stock_at_another_venue_covers_nothing(tmp_path):
    assert wrong(judged(tmp_path, report(), venue="NXT")) == {"time_share_differs": 1, "intervals_differ": 1}


@pytest.mark.parametrize(("spans", "names"), [([{}], ["slots_better_than_truth"]), ([], [])], ids=["sent", "silent"])
def test_a_subscription_that_its_client_never_learned_of_begins_no_slot(tmp_path, spans, names):
    share = (len(STORED) - 3) / len(TAPE)
    lost = ConnectionChanged("kis", "a", FROM_NS, "lost", "", 0)
    says = report(missing_at_most=3.0, volume_share=share)
    assert wrong(judged(tmp_path, says, lost, without=3, spans=spans)) == dict.fromkeys(names, 1)


def test_a_symbol_without_a_report_is_found(tmp_path):
    other = SlotAssigned("a:02", OTHERS[0], TO_NS, "market_cap", 1.0, "free_slot", None)
    assert wrong(judged(tmp_path, report(), other)) == {"not_judged": 1}


@pytest.mark.parametrize(("until_ns", "names"), [(TO_NS + S, ["missing_of_silent"]), (TO_NS + 60 * S, [])])
def test_a_report_that_says_missing_of_a_symbol_that_was_silent_in_its_slot_is_found(tmp_path, until_ns, names):
    assigned = SlotAssigned("a:02", OTHERS[0], TO_NS, "market_cap", 1.0, "free_slot", None)
    released = SlotReleased("a:02", OTHERS[0], until_ns, 1.0, "expired")
    says = report(
        symbol=OTHERS[0], slots_quality="missing", day_volume=360.0, volume_share=0.0, time_share=0.0, intervals=()
    )
    assert wrong(judged(tmp_path, report(), assigned, released, says)) == dict.fromkeys(names, 1)


@pytest.mark.parametrize(
    "events",
    [
        [LABELLED],
        [FIRED, TriggerEnded(SURGED, "volume_surge", FIRED_NS, FIRED_NS, FIRED_NS + 1), LATER],
        [
            TriggerFired(OTHERS[0], *(getattr(FIRED, name) for name in FIRED.__struct_fields__[1:])),
            SlotAssigned("a:02", OTHERS[0], FIRED_NS, "volume_surge", 28.0, "free_slot", None),
            SlotReleased("a:02", OTHERS[0], FIRED_NS, 1.0, "expired"),
        ],
    ],
    ids=["no trigger fired", "the trigger has ended", "it did not surge"],
)
def test_a_slot_labelled_with_a_surge_that_was_none_is_found(tmp_path, events):
    assert wrong(judged(tmp_path, report(), *events))["misleading_labels"] == 1


@pytest.mark.parametrize(
    ("longer_s", "removed", "names"),
    [(90, False, []), (150, False, ["intervals_differ"]), (150, True, []), (250, True, ["intervals_differ"])],
)
def test_a_cut_excuses_one_delay_and_a_removal_both(tmp_path, longer_s, removed, names):
    longer = report(intervals=(StreamedTime(FROM_NS, TO_NS + longer_s * S),), judged_ns=TO_NS + 400 * S)
    assert wrong(judged(tmp_path, longer, late_s=100, removed=removed)) == dict.fromkeys(names, 1)


def test_a_day_that_was_read_too_late_to_tell_a_wrong_report_from_a_late_one_is_not_fine(tmp_path):
    says = report(judged_ns=TO_NS + 1_000 * S)
    assert wrong(judged(tmp_path, says, late_s=400)) == {"slack_too_wide": 1}


def rise(symbol, since_ns, until_ns):
    """A rise that says of itself that it was a surge."""
    return VolumeRise("kis", symbol, DAY, since_ns, until_ns, 10.0, 90.0, 1.0, 100.0, None, None, None, 1.0)


def test_a_rise_that_the_ledger_does_not_show_is_no_evidence(tmp_path):
    """Whatever the rise states: the ledger has a share a minute of its symbol, as usual."""
    fired = TriggerFired(OTHERS[0], *(getattr(FIRED, name) for name in FIRED.__struct_fields__[1:]))
    events = [
        rise(OTHERS[0], FIRED_NS - 240 * S, FIRED_NS),
        fired,
        SlotAssigned("a:02", OTHERS[0], FIRED_NS, "volume_surge", 28.0, "free_slot", None),
        SlotReleased("a:02", OTHERS[0], FIRED_NS, 1.0, "expired"),
    ]
    assert wrong(judged(tmp_path, report(), *events))["misleading_labels"] == 1


def test_a_rise_of_seconds_that_the_ledger_shows_is_evidence_until_it_is_too_old():
    """Three more shares in half a minute, which are less than twice the usual volume of five minutes."""
    tapes = {symbol: tape_of(symbol) for symbol in OTHERS}
    burst_ns = [TO_NS + second * S for second in (12, 15, 18)]
    times_ns = sorted([*tapes[OTHERS[0]].times_ns, *burst_ns])
    tapes[OTHERS[0]] = Tape(times_ns, list(range(1, len(times_ns) + 1)), [1] * len(times_ns))
    usual, rises = Usual(tapes, dict.fromkeys(OTHERS, AVERAGE)), [(TO_NS + 10 * S, TO_NS + 40 * S)]
    for at_ns, known, is_evident in (
        (TO_NS + 60 * S, [], False),
        (TO_NS + 60 * S, rises, True),
        (TO_NS + 30 * S, rises, False),
        (TO_NS + 30 * 60 * S, rises, False),
    ):
        highest = usual.highest(OTHERS[0], evidence(at_ns, [], known))
        assert highest is not None
        assert (highest >= SURGE_MIN) == is_evident


@pytest.mark.parametrize(("late_s", "names"), [(0, ["intervals_differ"]), (40, [])])
def test_an_end_that_the_client_notes_no_later_than_it_read_the_trades_around_it_is_none_that_differs(
    tmp_path, late_s, names
):
    longer = report(intervals=(StreamedTime(FROM_NS, TO_NS + 40 * S),), judged_ns=TO_NS + 60 * S)
    assert wrong(judged(tmp_path, longer, late_s=late_s)) == dict.fromkeys(names, 1)


@pytest.mark.parametrize(("late_s", "differs"), [(0, True), (100, False)])
def test_trades_that_a_cut_lost_on_their_way_leave_those_read_at_its_time_to_show_how_late_the_client_read(
    tmp_path, late_s, *, differs
):
    longer = report(intervals=(StreamedTime(FROM_NS, TO_NS + 90 * S),), judged_ns=TO_NS + 160 * S)
    found = wrong(judged(tmp_path, longer, late_s=late_s, without=30))
    assert ("intervals_differ" in found) == differs


def test_a_subscription_that_ends_after_the_close_is_compared_until_the_close(tmp_path):
    close_ns = OPEN_NS + round(SESSION_S) * S
    longer = report(
        intervals=(StreamedTime(FROM_NS, close_ns + 600 * S),), time_share=(close_ns - FROM_NS) / SESSION_S / S
    )
    found = wrong(judged(tmp_path, longer, ended_ns=close_ns + 900 * S))
    assert "intervals_differ" not in found
    assert "time_share_differs" not in found


@pytest.mark.parametrize(("received_ns", "expected"), [(TO_NS + 1, {}), (TO_NS - 1, {"volume_share_differs": 1})])
def test_a_report_is_compared_with_what_was_stored_when_it_was_made(tmp_path, received_ns, expected):
    early = msgspec.structs.replace(TAPE[0], receive_time_ns=received_ns, gap_id="g")
    assert wrong(judged(tmp_path, report(), early)) == expected


@pytest.mark.parametrize(("before_ns", "is_evident"), [(FROM_NS, True), (TO_NS, False)], ids=["slow", "it is over"])
def test_the_time_since_the_sweep_before_is_evidence_however_slow_sweeps_are(before_ns, is_evident):
    at_ns = TO_NS + 40 * 60 * S
    usual = Usual({symbol: tape_of(symbol) for symbol in SYMBOLS}, dict.fromkeys(SYMBOLS, AVERAGE))
    highest = usual.highest(SURGED, evidence(at_ns, [before_ns, at_ns - S]))
    assert highest is not None
    assert (highest >= SURGE_MIN) == is_evident
