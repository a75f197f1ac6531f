"""Detection of missing trades."""

import sys
from itertools import accumulate, pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.events import GapDetected, Trade, TradesConflated
from observer.gaps.detector import GapDetector, Mark, TradeOutcome, in_order
from tests import builders
from tests.gaps.builders import detected
from tests.reach import reaches

SECOND_NS = 1_000_000_000
BASE_NS = 1_795_000_000 * SECOND_NS
DAY, NEXT_DAY = "2026-11-18", "2026-11-19"


def tape(*volumes, symbol="005930", day=DAY):
    """A day's trades of these volumes, one a second."""
    of_day = {"symbol": symbol, "session_date": day}
    return [
        builders.trade(count, volume=float(volume), cumulative_volume=float(total), **of_day)
        for count, (volume, total) in enumerate(zip(volumes, accumulate(volumes), strict=True), start=1)
    ]


def watching(*symbols):
    detector = GapDetector()
    for symbol in symbols or ("005930",):
        detector.start(symbol)
    return detector


def mark_of(trade):
    return Mark(
        trade.symbol,
        trade.session_date,
        trade.cumulative_volume,
        trade.cumulative_trades,
        trade.exchange_time_ns,
    )


def gap(outcome):
    assert isinstance(outcome, GapDetected)
    return outcome


def gap_of(after, before, from_ns, to_ns, detected_ns, reason, missing_trades=None):
    """A gap of the stock's day, with every field."""
    return detected(
        f"kis-005930-{DAY}-{after}-{before}",
        after,
        before,
        detected_ns=detected_ns,
        from_ns=from_ns,
        to_ns=to_ns,
        missing_trades=missing_trades,
        reason=reason,
    )


def test_the_first_trade_of_a_subscription_is_compared_with_nothing():
    assert watching().observe(tape(5, 3, 8)[2]) == "new"


def test_a_gap_is_reported_to_the_share_and_to_the_trade():
    detector = watching()
    _, last, *_, late, after = tape(2, 3, 3, 8, 1, 2)
    assert [detector.observe(trade) for trade in tape(2, 3)] == ["new"] * 2
    assert detector.observe(late) == gap_of(
        5, 16, last.exchange_time_ns, late.exchange_time_ns, late.receive_time_ns, "volume_mismatch", 2
    )
    assert detector.observe(after) == "new"


@pytest.mark.parametrize(("before", "after"), [(None, 3), (1, None), (1, 2)])
def test_without_counts_or_with_such_as_contradict_the_volume_the_missing_trades_are_not_counted(before, after):
    detector = watching()
    first, _, third = tape(5, 3, 8)
    detector.observe(msgspec.structs.replace(first, cumulative_trades=before))
    assert gap(detector.observe(msgspec.structs.replace(third, cumulative_trades=after))).missing_trades is None


def test_a_trade_seen_before_is_a_duplicate_and_never_a_gap():
    detector = watching()
    trades = tape(5, 3, 8)
    for trade in trades:
        detector.observe(trade)
    assert [detector.observe(trade) for trade in trades] == ["duplicate"] * 3
    assert detector.duplicates == 3


def test_less_volume_is_a_repetition_unless_it_is_later_or_ends_within_the_last_trade():
    detector, trades = watching(), tape(5, 3, 8)
    for trade in trades:
        detector.observe(trade)
    found = {}
    for volume in (5.0, 8.0, 9.0, 15.0, 16.0):
        for later_s in (-1, 0, 1):
            at_ns = trades[2].exchange_time_ns + later_s * SECOND_NS
            again = msgspec.structs.replace(trades[2], cumulative_volume=volume, exchange_time_ns=at_ns)
            found[volume, later_s] = detector.observe(again)
    contradict = {key for key, outcome in found.items() if outcome == "contradiction"}
    assert contradict == {(5.0, 1), (8.0, 1), *((volume, later_s) for volume in (9.0, 15.0) for later_s in (-1, 0, 1))}
    assert {outcome for key, outcome in found.items() if key not in contradict} == {"duplicate"}
    assert (detector.contradictions, detector.duplicates, detector.reached("005930")) == (8, 7, 16.0)
    detector.account("005930", 20.0, trades[2].exchange_time_ns, "kis")
    inside = msgspec.structs.replace(trades[2], cumulative_volume=19.5)
    assert detector.observe(inside) == "duplicate", "a volume without a trade has no inside"


def test_trades_that_overlap_are_counted_and_are_no_gap():
    detector = watching()
    for trade in tape(5, 3, 8):
        assert detector.observe(msgspec.structs.replace(trade, volume=trade.volume + 1)) == "new"
    assert detector.inconsistent == 2


def test_fractional_volumes_make_no_gaps_of_rounding():
    detector = watching()
    total = 0.0
    for trade in tape(*[1] * 50):
        total += 0.1
        changed = msgspec.structs.replace(trade, volume=0.1, cumulative_volume=total)
        assert detector.observe(changed) == "new"
    assert detector.last_trade_ns("005930") == trade.exchange_time_ns
    assert detector.observe(msgspec.structs.replace(changed, cumulative_volume=total - 0.05)) == "contradiction"


def test_another_day_begins_a_new_chain_and_stragglers_of_the_earlier_one_are_duplicates():
    detector = watching()
    detector.observe(tape(5, 3)[1])
    assert detector.observe(tape(9, 9, 9, day=NEXT_DAY)[2]) == "new"
    assert [detector.observe(straggler) for straggler in tape(5, 3)] == ["duplicate"] * 2
    assert detector.duplicates == 2


def test_a_symbol_that_is_left_before_it_traded_again_is_settled_by_the_days_volume():
    """The next trade reveals a gap; without one, only the exchange's cumulative volume does."""
    detector = watching("005930", "A")
    [first] = tape(5)
    detector.observe(first)
    detector.interrupted("005930", "reconnect")
    assert detector.unsettled() == {"005930"}
    now_ns = BASE_NS + 9 * SECOND_NS
    found = detector.settle("005930", 16.0, now_ns, "kis")
    assert found == gap_of(5, 16, first.exchange_time_ns, now_ns, now_ns, "reconnect")
    assert detector.watched == {"A"}


def test_trades_between_two_subscriptions_are_not_a_gap():
    detector = watching()
    trades = tape(5, 3, 8, 1)
    detector.observe(trades[0])
    detector.stop("005930")
    detector.observe(trades[1])
    detector.start("005930")
    assert detector.observe(trades[3]) == "new"


def test_a_subscription_renewed_after_a_reconnection_goes_on_and_its_gap_has_the_reason():
    detector = watching()
    trades = tape(5, 3, 8, 1, 4)
    detector.observe(trades[0])
    detector.interrupted("005930", "reconnect")
    detector.start("005930")
    assert gap(detector.observe(trades[2])).reason == "reconnect"
    assert gap(detector.observe(trades[4])).reason == "volume_mismatch"


def test_a_gap_of_refused_trades_begins_with_the_first_of_them():
    detector = watching()
    trades = tape(5, 3, 8, 1)
    for trade in trades[:3]:
        detector.observe(trade)
    detector.refused(trades[1])
    found = gap(detector.observe(trades[3]))
    assert (found.from_ns, found.reason, found.missing_trades) == (trades[1].exchange_time_ns, "volume_mismatch", 2)


def test_a_refused_gap_is_reported_again_from_where_it_began():
    detector = watching()
    trades = tape(5, 3, 8, 1)
    detector.observe(trades[0])
    first = gap(detector.observe(trades[2]))
    for event in (first, trades[2]):
        detector.refused(event)
    again = gap(detector.observe(trades[3]))
    assert (again.from_ns, again.after_volume, again.before_volume) == (first.from_ns, 5.0, 16.0)


def test_a_symbol_that_traded_since_the_interruption_needs_no_settling():
    detector = watching()
    trades = tape(5, 3)
    detector.observe(trades[0])
    assert detector.unsettled() == frozenset()
    detector.interrupted("005930", "reconnect")
    detector.observe(trades[1])
    assert detector.unsettled() == frozenset()


def test_a_symbol_resumed_from_an_earlier_process_is_unsettled_until_it_trades():
    trades = tape(5, 3)
    detector = GapDetector()
    detector.resume(mark_of(trades[0]))
    detector.start("005930")
    assert detector.unsettled() == {"005930"}
    found = gap(detector.settle("005930", 8.0, trades[1].exchange_time_ns, "kis"))
    assert (found.reason, found.from_ns) == ("restart", trades[0].exchange_time_ns)


def test_an_interruption_concerns_its_symbol_only():
    detector = watching("005930", "A")
    trades = tape(5, 3, 8)
    detector.observe(trades[0])
    detector.interrupted("A", "reconnect")
    detector.interrupted("nobody", "reconnect")
    assert gap(detector.observe(trades[2])).reason == "volume_mismatch"


@pytest.mark.parametrize("has_traded", [True, False])
def test_an_interruption_lasts_until_a_trade_that_came_after_it(has_traded):
    detector, trades = watching(), tape(5, 3, 8, 1)
    if has_traded:
        detector.observe(trades[0])
    detector.interrupted("005930", "reconnect", trades[1].receive_time_ns)
    assert detector.observe(trades[1]) == "new"
    assert detector.unsettled() == {"005930"}
    found = gap(detector.observe(msgspec.structs.replace(trades[3], venue="NXT")))
    assert (found.reason, found.venue) == ("reconnect", "NXT")
    assert detector.unsettled() == frozenset()


def test_a_restart_drops_trades_that_are_stored_already():
    trades = tape(5, 3, 8)
    detector = GapDetector()
    detector.resume(mark_of(trades[1]))
    detector.start("005930")
    assert detector.last_trade_ns("005930") == 0, "the mark is no trade of this process"
    assert [detector.observe(trade) for trade in trades] == ["duplicate", "duplicate", "new"]


def test_a_mark_of_a_symbol_that_lost_its_slot_is_forgotten():
    detector = GapDetector()
    trades = tape(5, 3, 8)
    detector.resume(mark_of(trades[0]))
    detector.stop("005930")
    detector.start("005930")
    assert detector.observe(trades[2]) == "new"


def test_a_known_volume_accounts_for_a_symbol_and_its_chain_goes_on_from_there():
    detector, (first, second, _, fourth) = watching(), tape(5, 3, 8, 1)
    assert detector.account("005930", 9.0, 7, "kis") is None, "no earlier volume is known"
    assert detector.account("000660", 9.0, 7, "kis") is None, "it is not watched"
    detector.observe(first)
    detector.interrupted("005930", "reconnect")
    assert detector.account("005930", 5.0, first.receive_time_ns, "kis") is None
    assert (detector.reached("005930"), detector.unsettled()) == (5.0, {"005930"})
    now_ns = second.exchange_time_ns
    found = detector.account("005930", 8.0, now_ns, "kis")
    assert found == gap_of(5, 8, first.exchange_time_ns, now_ns, now_ns, "reconnect")
    assert (detector.position("005930"), detector.last_trade_ns("005930")) == ((8.0, now_ns), 0)
    assert detector.unsettled() == frozenset()
    found = gap(detector.observe(fourth))
    assert (found.after_volume, found.from_ns, found.missing_trades, found.reason) == (
        8,
        now_ns,
        None,
        "volume_mismatch",
    )
    found = gap(detector.account("005930", 20.0, fourth.receive_time_ns, "kis"))
    assert (found.missing_volume, found.reason) == (3, "volume_mismatch")


def test_the_last_known_volume_of_a_symbol_has_the_time_of_its_trade_or_mark():
    detector, (first, second, third) = GapDetector(), tape(5, 3, 8)

    def known():
        return detector.is_watched("005930"), detector.reached("005930"), detector.position("005930")

    assert known() == (False, None, None)
    assert detector.last_trade_ns("005930") == 0
    detector.start("005930")
    assert known() == (True, None, None)
    detector.start("005930", mark_of(first))
    detector.start("005930", mark_of(second))  # one is set
    detector.start("005930", None)
    assert known() == (True, None, (5.0, first.exchange_time_ns))
    detector.observe(third)
    detector.interrupted("005930", "reconnect")
    detector.start("005930", mark_of(second))  # too late
    assert known() == (True, 16.0, (16.0, third.exchange_time_ns))
    assert detector.last_trade_ns("005930") == third.exchange_time_ns
    assert detector.settle("005930", 20.0, 9, "kis", at_ns=8) is not None
    assert known() == (False, None, (20.0, 8))
    detector.start("005930")
    assert known() == (True, None, (20.0, 8))
    detector.interrupted("005930", "reconnect")
    assert detector.settle("005930", 19.0, 9, "kis") is None, "the volume is of an earlier moment"
    assert known() == (False, None, (20.0, 9))


def test_a_subscription_begins_behind_the_later_of_its_mark_and_the_trades_stored_before_it():
    for mark, after, count in ((0, 8.0, 2), (3, 17.0, 1)):
        trades = tape(5, 3, 8, 1, 2, 1)
        detector = GapDetector()
        detector.observe(trades[1])
        detector.note(trades[1])
        detector.start("005930", mark_of(trades[mark]))
        detector.interrupted("005930", "reconnect")
        found = gap(detector.observe(trades[5 if mark else 4]))
        assert (found.after_volume, found.missing_trades) == (after, count)
        assert found.from_ns == trades[mark or 1].exchange_time_ns


VOLUMES = st.integers(2, 12).flatmap(lambda least: st.lists(st.integers(1, 1_000), min_size=least, max_size=40))


@reaches(gap=39, gap_of_several_trades=12, duplicate=57)
@given(VOLUMES, st.data())
def test_inserted_gaps_are_found_exactly_and_nothing_else_is(reach, volumes, data):
    trades = tape(*volumes)
    lost = set(data.draw(st.lists(st.integers(1, len(trades) - 1), min_size=len(trades) // 4), "lost"))
    repeated = data.draw(st.sets(st.integers(0, len(trades) - 1)), "repeated")
    detector = watching()
    found: list[GapDetected] = []
    for index, trade in enumerate(trades):
        if index in lost:
            continue
        for _ in range(2 if index in repeated else 1):
            outcome = detector.observe(trade)
            if isinstance(outcome, GapDetected):
                found.append(outcome)
    seen = [index for index in range(len(trades)) if index not in lost]
    totals = list(accumulate(volumes))
    expected = [
        (totals[before], totals[after - 1], after - before - 1)
        for before, after in pairwise(seen)
        if after - before > 1
    ]
    assert [(item.after_volume, item.before_volume, item.missing_trades) for item in found] == expected
    assert sum(item.missing_volume for item in found) == sum(volumes[index] for index in lost if index < seen[-1])
    assert detector.duplicates == len(repeated - lost)
    reach.count("gap", len(found))
    reach.count("gap_of_several_trades", sum(item.missing_trades > 1 for item in found))
    reach.count("duplicate", detector.duplicates)


@reaches(gap=193, frame_of_several_trades=47)
@given(VOLUMES, st.data(), st.randoms(use_true_random=False))
def test_the_order_of_the_records_within_a_frame_changes_nothing(reach, volumes, data, shuffler):
    tapes = [tape(*volumes), [msgspec.structs.replace(trade, symbol="000660") for trade in tape(*volumes)]]
    reported = [trade for pair in zip(*tapes, strict=True) for trade in pair if not data.draw(st.booleans(), "lost")]
    ends = sorted(data.draw(st.sets(st.integers(0, len(reported))), "frames end"))
    in_turn, shuffled = watching(), watching()
    for detector in (in_turn, shuffled):
        detector.start("000660")
    expected = [in_turn.observe(trade) for trade in reported]
    found: list[TradeOutcome] = []
    for start, end in pairwise([0, *ends, len(reported)]):
        frame = reported[start:end]
        shuffler.shuffle(frame)
        found += [shuffled.observe(trade) for trade in in_order(frame)]
    assert shuffled.duplicates == shuffled.inconsistent == 0
    assert gap_ids(found) == gap_ids(expected)
    reach.count("gap", len(gap_ids(found)))
    reach.count("frame_of_several_trades", sum(b - a > 1 for a, b in pairwise([0, *ends, len(reported)])))


def gap_ids(observations):
    return sorted(item.gap_id for item in observations if isinstance(item, GapDetected))


@reaches(restart_with_a_loss=19, loss_after_the_restart=11)
@given(VOLUMES, st.data())
def test_over_a_restart_every_lost_trade_is_in_exactly_one_gap(reach, volumes, data):
    trades = tape(*volumes)
    killed_at = data.draw(st.integers(1, len(trades) - 1), "killed at")
    back_at = data.draw(st.integers(killed_at, len(trades) - 1), "back at")
    after = range(back_at + 1, len(trades))
    lost_after = set(
        data.draw(st.lists(st.sampled_from(after), min_size=len(after) > 2) if after else st.just([]), "lost after")
    )
    first, second = watching(), GapDetector()
    gaps = [first.observe(trade) for trade in trades[:killed_at]]
    second.resume(mark_of(trades[killed_at - 1]))
    second.start("005930")
    received = [index for index in range(back_at, len(trades)) if index not in lost_after]
    gaps += [second.observe(trades[index]) for index in received]
    found = [item for item in gaps if isinstance(item, GapDetected)]
    lost = set(range(killed_at, back_at)) | {index for index in lost_after if index < received[-1]}
    for index, trade in enumerate(trades):
        holding = [item for item in found if item.after_volume < trade.cumulative_volume <= item.before_volume]
        assert len(holding) == (1 if index in lost else 0)
    restarts = [item for item in found if item.reason == "restart"]
    assert len(restarts) == (1 if killed_at < back_at else 0)
    reach.count("restart_with_a_loss", len(restarts))
    reach.count("loss_after_the_restart", len(found) - len(restarts))


def test_observing_a_trade_is_few_calls_however_many_came_before():
    """Its microseconds are the benchmark's: `python -m tests.bench gaps`."""
    detector, calls = watching(), []

    def count(_frame, event, _value):
        calls[-1] += event in ("call", "c_call")

    for trade in tape(*[1] * 20_000):
        calls.append(0)
        sys.setprofile(count)
        detector.observe(trade)
        sys.setprofile(None)
    assert max(calls) <= 10


@reaches(runs_of_refusals=11)
@given(
    volumes=st.lists(st.integers(1, 50), min_size=8, max_size=30),
    data=st.data(),
)
def test_trades_that_a_full_outbox_refused_are_a_gap_before_the_next_trade(reach, volumes, data):
    """A full outbox refuses runs of trades: the recorded gaps hold exactly the refused trades."""
    trades = tape(*volumes)
    first = data.draw(st.integers(1, len(trades) - 2))
    last = data.draw(st.integers(first, len(trades) - 2))
    detector = watching()
    for trade in trades[:first]:
        detector.observe(trade)
    run_length = data.draw(st.integers(1, 5))
    for start in range(first, last + 1, run_length):
        judged: list[Trade | GapDetected] = []
        for trade in trades[start : min(start + run_length, last + 1)]:
            outcome = detector.observe(trade)
            judged += [outcome, trade] if isinstance(outcome, GapDetected) else [trade]
        for event in judged:
            detector.refused(event)
    found = gap(detector.observe(trades[last + 1]))
    assert (found.after_volume, found.missing_volume) == (sum(volumes[:first]), sum(volumes[first : last + 1]))
    assert detector.unsettled() == frozenset()
    reach.count("runs_of_refusals", len(range(first, last + 1, run_length)) > 1)


def test_a_refused_trade_leaves_its_symbol_unsettled_and_others_as_they_were():
    detector = watching("005930", "000660")
    for trade in (*tape(5, 3), *tape(5, 3, symbol="000660")):
        detector.observe(trade)
    detector.refused(tape(5, 3)[1])
    assert detector.unsettled() == {"005930"}
    assert (detector.reached("005930"), detector.last_trade_ns("005930")) == (5, 0)
    detector.refused(msgspec.structs.replace(tape(5, 3, symbol="000660")[1], cumulative_trades=None))
    assert gap(detector.observe(tape(5, 3, 8, symbol="000660")[2])).missing_trades is None


def test_a_refused_trade_of_a_symbol_that_is_not_watched_or_of_another_day_changes_nothing():
    detector = watching()
    detector.observe(tape(5, day=NEXT_DAY)[0])
    detector.refused(tape(5)[0])
    detector.refused(tape(5, symbol="000660")[0])
    assert detector.unsettled() == frozenset()


def test_a_refused_row_of_several_trades_sets_the_chain_back_before_its_first_one():
    detector = watching()
    trades = tape(5, 3, 8, 1)
    for trade in trades[:3]:
        detector.observe(trade)
    first, last = trades[1], trades[2]
    row = TradesConflated(
        "kis", "005930", first.session_date, first.exchange_time_ns, last.exchange_time_ns, 0, 2, 11.0,
        1.0, 1.0, 1.0, 1.0, last.cumulative_volume, last.cumulative_trades,
    )  # fmt: skip
    detector.refused(row)
    found = gap(detector.observe(trades[3]))
    assert (found.after_volume, found.missing_volume, found.missing_trades) == (5.0, 11.0, 2)


# --- volume known before a subscription ---

TEN = tape(*range(10, 110, 10))
KNOWN = Mark("005930", DAY, TEN[2].cumulative_volume, None, 7)


def test_an_interruption_before_the_first_trade_leaves_a_gap_from_the_known_volume():
    known = KNOWN.cumulative_volume
    uncut, cut, settled = (GapDetector() for _ in range(3))
    for detector in (uncut, cut, settled):
        detector.start("005930", KNOWN)
    assert uncut.observe(TEN[5]) == "new"
    cut.interrupted("005930", "reconnect")
    found = gap(cut.observe(TEN[5]))
    assert (found.after_volume, found.before_volume) == (known, TEN[4].cumulative_volume)
    assert (found.from_ns, found.missing_trades, found.reason) == (7, None, "reconnect")
    settled.interrupted("005930", "reconnect")
    assert settled.unsettled() == {"005930"}
    found = gap(settled.settle("005930", TEN[8].cumulative_volume, 11, "kis"))
    assert (found.after_volume, found.before_volume) == (known, TEN[8].cumulative_volume)


def test_the_known_volume_may_arrive_after_the_start_until_the_first_trade():
    first, second, third, fourth = tape(1, 2, 4, 8)
    late = watching()
    late.interrupted("005930", "token_renewal")
    late.start("005930", mark_of(first))
    late.start("005930", mark_of(second))
    found = gap(late.observe(fourth))
    assert (found.after_volume, found.before_volume, found.reason) == (1, 7, "token_renewal")
    traded = watching()
    traded.observe(second)
    traded.interrupted("005930", "reconnect")
    traded.start("005930", mark_of(third))
    assert traded.reached("005930") == 3


def test_a_trade_that_two_connections_deliver_after_the_watch_ended_is_new_once():
    detector = GapDetector()
    detector.start("005930")
    assert detector.observe(TEN[3]) == "new"
    detector.stop("005930")
    assert detector.observe(TEN[3]) == "duplicate"
    assert detector.observe(TEN[4]) == "unwatched"
    detector.note(TEN[4])
    assert detector.observe(TEN[4]) == "duplicate"
    assert (detector.unwatched, detector.duplicates) == (3, 2)


def test_an_unwatched_trade_that_is_not_stored_leaves_no_trace():
    detector = GapDetector()
    detector.start("005930")
    assert detector.observe(TEN[3]) == "new"
    detector.stop("005930")
    for _ in range(2):
        assert detector.observe(TEN[8]) == "unwatched"
    detector.start("005930", Mark("005930", DAY, TEN[5].cumulative_volume, None, 7))
    detector.interrupted("005930", "reconnect")
    assert gap(detector.observe(TEN[9])).after_volume == TEN[5].cumulative_volume


def test_a_gap_never_reaches_back_into_an_earlier_interval():
    detector = GapDetector()
    detector.start("005930")
    assert detector.observe(TEN[3]) == "new"
    detector.stop("005930")
    detector.start("005930", Mark("005930", DAY, TEN[1].cumulative_volume, None, 7))
    detector.interrupted("005930", "reconnect")
    assert gap(detector.observe(TEN[5])).after_volume == TEN[3].cumulative_volume


def test_a_gap_is_named_by_provider_and_exact_volumes():
    first, _, third = tape(1, 1, 1, symbol="KRW-BTC")
    detector = GapDetector()
    detector.start("KRW-BTC")
    detector.observe(msgspec.structs.replace(first, provider="upbit", volume=0.25, cumulative_volume=0.25))
    later = msgspec.structs.replace(third, provider="upbit", volume=0.125, cumulative_volume=0.5)
    assert gap(detector.observe(later)).gap_id == f"upbit-KRW-BTC-{DAY}-0.25-0.375"


def test_the_two_lines_of_a_stock_have_chains_of_their_own():
    """The other venue counts for itself: its volumes are no gap and no duplicate of the main one's."""
    detector = GapDetector()
    for line in ("005930", "005930.NXT"):
        detector.start(line)
    here, there = TEN, [msgspec.structs.replace(each, symbol="005930.NXT") for each in TEN]
    for one in (*here[:3], there[0], *here[3:5], there[1]):
        assert detector.observe(one) == "new"
    found = gap(detector.observe(there[4]))
    assert (found.symbol, found.after_volume) == ("005930.NXT", there[1].cumulative_volume)
    assert found.before_volume == there[4].cumulative_volume - there[4].volume
    assert detector.observe(here[5]) == "new"


def test_a_connection_has_delivered_what_precedes_the_latest_trade_of_any_of_its_symbols():
    """Not of a symbol without a trade of its own yet, which may not be subscribed, nor of one that was cut."""
    detector, times_ns = watching("A", "B", "C", "other"), [each.exchange_time_ns for each in tape(1, 1, 1, 1)]
    for symbol, count in (("A", 1), ("B", 2), ("other", 4)):
        for each in tape(*[1] * count, symbol=symbol):
            detector.observe(each)
    assert detector.delivered_ns("ABC") == {"A": times_ns[1], "B": times_ns[1]}
    detector.interrupted("B", "reconnect")
    assert detector.delivered_ns("ABC") == {"A": times_ns[0]}
    detector.observe(tape(1, 1, 1, symbol="B")[2])
    assert detector.delivered_ns("ABC") == {"A": times_ns[2], "B": times_ns[2]}
    assert detector.delivered_ns("C") == {}
