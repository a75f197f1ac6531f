"""A cut is one gap of a symbol: opened at once, and closed by the first proof of what it missed."""

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.events import (
    GapDetected,
    GapEmpty,
    GapOpened,
    Reached,
    Trade,
    WatchChanged,
    WatchInterrupted,
    WatchObserved,
    WatchResumed,
    WatchSettled,
    WatchStarted,
    WatchStopped,
)
from observer.base.units import NS_PER_S
from observer.gaps.outages import GapTracker
from tests.reach import reaches

PROVIDER, SYMBOL, DAY = "kis", "005930", "2026-11-18"
S = NS_PER_S


def trade(total, volume, at_s):
    at_ns = round(at_s * S)
    return Trade(PROVIDER, SYMBOL, DAY, at_ns, at_ns, 1.0, volume, total, None, "buy", None, None, None)


class Watch:
    """One line that is watched, by its changes as they are published; times in seconds."""

    def __init__(self, symbol=SYMBOL, main_venue=""):
        self.tracker, self.symbol = GapTracker(main_venue), symbol

    def change(self, change, at_s):
        return self.tracker.apply(WatchChanged(PROVIDER, self.symbol, DAY, at_s * S, change))

    def trade(self, total, volume, at_s):
        return self.tracker.observe(trade(total, volume, at_s))

    def cut(self, at_s, reason="reconnect"):
        return self.change(WatchInterrupted(reason, at_s * S), at_s)

    def back(self, at_s):
        assert self.change(WatchStarted(), at_s) is None

    def quote(self, volume, at_s, asked_s=None):
        return self.change(WatchObserved(Reached(volume, None, (at_s if asked_s is None else asked_s) * S)), at_s)

    def settle(self, volume, at_s):
        return self.change(WatchSettled(Reached(volume, None, at_s * S)), at_s)


def traded():
    """A watch of a line that traded at second 1: 100 shares."""
    watch = Watch()
    watch.back(0)
    watch.trade(100.0, 100.0, 1)
    return watch


def opened(watch, at_s=10):
    gap = watch.cut(at_s)
    assert gap is not None
    return gap


def test_a_cut_opens_a_gap_at_once_with_the_time_of_the_cut():
    gap = opened(traded())
    assert (gap.from_ns, gap.opened_ns, gap.after_volume, gap.reason) == (10 * S, 10 * S, 100, "reconnect")


def test_a_cut_within_an_open_gap_is_the_same_gap():
    watch = traded()
    gap = opened(watch)
    assert watch.cut(11) is None
    watch.back(15)
    assert watch.cut(16) is None, "nothing has shown yet what the first one missed"
    watch.back(20)
    closed = watch.quote(100.0, 21)
    assert isinstance(closed, GapEmpty)
    assert (closed.gap_id, closed.from_ns, closed.to_ns) == (gap.gap_id, 10 * S, 20 * S)


def test_equal_volume_closes_the_gap_as_empty_with_the_outage_s_times():
    watch = traded()
    gap = opened(watch)
    watch.back(15)
    assert watch.quote(100.0, 16) == GapEmpty(gap.gap_id, PROVIDER, SYMBOL, DAY, 16 * S, 10 * S, 15 * S, 100)
    assert watch.quote(100.0, 17) is None, "it is closed"


def test_more_volume_proves_the_gap_with_the_outage_s_times_and_the_chain_goes_on_behind_it():
    watch = traded()
    gap = opened(watch)
    watch.back(15)
    proved = watch.quote(130.0, 16)
    assert (proved.gap_id, proved.from_ns, proved.to_ns) == (gap.gap_id, 10 * S, 15 * S)
    assert (proved.after_volume, proved.before_volume, proved.missing_trades) == (100, 130, None)
    assert watch.trade(140.0, 10.0, 17) == "new"


def test_the_next_trade_proves_the_gap_or_closes_it():
    missed, whole = traded(), traded()
    for watch in (missed, whole):
        opened(watch)
        watch.back(15)
    proved, closed = missed.trade(150.0, 20.0, 16), whole.trade(120.0, 20.0, 16)
    assert (proved.from_ns, proved.to_ns, proved.missing_volume) == (10 * S, 15 * S, 30)
    assert (closed.from_ns, closed.to_ns, closed.volume) == (10 * S, 15 * S, 100)


def test_an_answer_to_a_request_from_before_the_return_proves_nothing():
    watch = traded()
    opened(watch)
    assert watch.quote(130.0, 12) is None, "it is down"
    watch.back(15)
    assert watch.quote(130.0, 16, asked_s=14) is None
    assert watch.quote(90.0, 17) is None, "older than the last trade"
    assert watch.tracker.is_open(SYMBOL)


def test_a_trade_after_an_empty_close_that_shows_a_loss_is_of_the_same_gap():
    watch = traded()
    gap = opened(watch)
    watch.back(15)
    assert isinstance(watch.quote(100.0, 16), GapEmpty), "the broker's quote was old"
    proved = watch.trade(150.0, 20.0, 18)
    assert isinstance(proved, GapDetected)
    assert (proved.gap_id, proved.from_ns, proved.to_ns) == (gap.gap_id, 10 * S, 18 * S)


def test_a_cut_after_an_empty_close_is_another_gap():
    watch = traded()
    first = opened(watch)
    watch.back(15)
    watch.quote(100.0, 16)
    second = opened(watch, 20)
    assert second.gap_id != first.gap_id
    assert second.after_volume == first.after_volume


def test_a_loss_without_a_cut_opens_nothing_and_its_proof_is_a_gap_of_its_own():
    watch = traded()
    assert watch.cut(10, "volume_mismatch") is None
    proved = watch.quote(130.0, 16)
    assert (proved.gap_id, proved.reason) == (f"kis-005930-{DAY}-100-130", "volume_mismatch")


def test_a_symbol_that_is_left_is_settled_as_proved_or_empty():
    missed, whole = traded(), traded()
    gap, other = opened(missed), opened(whole)
    proved, closed = missed.settle(130.0, 20), whole.settle(100.0, 20)
    assert isinstance(proved, GapDetected)
    assert isinstance(closed, GapEmpty)
    assert (proved.gap_id, closed.gap_id) == (gap.gap_id, other.gap_id)
    assert missed.change(WatchStopped(), 21) is None


def test_a_symbol_that_is_left_without_an_answer_returns_its_unresolved_gap():
    watch = traded()
    gap = opened(watch)
    assert watch.tracker.unresolved(SYMBOL) == gap.gap_id
    assert watch.change(WatchStopped(), 20) is None
    assert watch.tracker.unresolved(SYMBOL) is None


def test_a_symbol_that_is_left_without_an_answer_and_without_a_cut_opens_its_gap_at_the_end():
    watch = traded()
    watch.cut(10, "volume_mismatch")
    gap = watch.change(WatchStopped(), 20)
    assert isinstance(gap, GapOpened)
    assert (gap.from_ns, gap.after_volume, gap.reason) == (S, 100, "volume_mismatch")


def resumed(gap_id):
    watch = Watch()
    gap = watch.change(WatchResumed(Reached(100.0, None, S), 10 * S, gap_id), 13)
    watch.back(15)
    return watch, gap


def test_a_restart_opens_a_gap_since_the_earlier_process_was_last_seen():
    watch, gap = resumed(None)
    assert (gap.from_ns, gap.opened_ns, gap.reason) == (10 * S, 13 * S, "restart")
    proved = watch.trade(150.0, 20.0, 16)
    assert isinstance(proved, GapDetected)
    assert (proved.gap_id, proved.from_ns, proved.to_ns) == (gap.gap_id, 10 * S, 15 * S)


def test_a_restart_during_an_outage_goes_on_with_its_gap():
    watch, gap = resumed("g")
    assert gap is None
    closed = watch.quote(100.0, 16)
    assert isinstance(closed, GapEmpty)
    assert (closed.gap_id, closed.from_ns) == ("g", 10 * S)


@pytest.mark.parametrize("total", [120.0, 150.0])
def test_a_resolution_that_the_disk_refused_comes_again_with_its_id(total):
    watch = traded()
    gap = opened(watch)
    watch.back(15)
    last = trade(total, 20.0, 16)
    resolution = watch.tracker.observe(last)
    assert isinstance(resolution, GapDetected | GapEmpty)
    for refused in (resolution, last):
        watch.tracker.refused(refused)
    again = watch.trade(total + 10, 10.0, 17)
    assert isinstance(again, GapDetected), "the refused trade itself is missing now"
    assert again.gap_id == gap.gap_id


Step = tuple[str, int]


@reaches(cut=38, several_cuts=14, gap_with_volume=16, gap_empty=22)
@given(
    st.lists(
        st.tuples(st.sampled_from(["deal", "cut", "back", "quote", "old_quote", "sweep"]), st.integers(1, 9)),
        min_size=12,
        max_size=40,
    )
)
def test_each_cut_is_one_gap_each_gap_resolves_once_and_every_lost_share_is_in_exactly_one(reach, steps):
    """A day of one symbol: deals reach the stream while it is up; quotes are true, or as old as the last quote."""
    watch = traded()
    total, streamed, lost, is_up, quoted = 100.0, 100.0, list[tuple[float, float]](), True, 100.0
    openings: list[GapOpened] = []
    resolutions: list[GapDetected | GapEmpty] = []
    for number, (kind, volume) in enumerate(steps, start=10):
        found: object = None
        match kind:
            case "deal":
                total += volume
                if is_up:
                    found = watch.trade(total, float(volume), number)
                    streamed = total
                else:
                    lost.append((total - volume, total))
            case "cut" if is_up:
                is_up = False
                found = watch.cut(number)
            case "back" if not is_up:
                is_up = True
                watch.back(number)
            case "quote":
                quoted = total
                found = watch.quote(total, number)
            case "old_quote":
                found = watch.quote(quoted, number)
            case "sweep" if is_up and not watch.tracker.is_open(SYMBOL):
                found = watch.quote(total, number)
        openings += [found] if isinstance(found, GapOpened) else []
        resolutions += [found] if isinstance(found, GapDetected | GapEmpty) else []
    if not is_up or streamed < total:
        watch.cut(99) if is_up else None
        last = watch.settle(total, 100)
        resolutions += [last] if last is not None else []
    gaps = [each for each in resolutions if isinstance(each, GapDetected)]
    reach.count("cut", len(openings))
    reach.count("gap_with_volume", len(gaps))
    reach.count("gap_empty", len(resolutions) - len(gaps))
    reach.count("several_cuts", len(openings) > 1)
    ids = [each.gap_id for each in openings]
    assert len(set(ids)) == len(ids)
    assert len({gap.gap_id for gap in gaps}) == len(gaps)
    assert all(each.from_ns <= each.to_ns for each in resolutions)
    spans = sorted((gap.after_volume, gap.before_volume) for gap in gaps)
    assert all(end <= start for (_, end), (start, _) in pairwise(spans))
    assert sum(end - start for start, end in spans) == sum(end - start for start, end in lost)
    assert all(any(start <= a and b <= end for start, end in spans) for a, b in lost)
    closed = {each.gap_id for each in resolutions}
    still_open = watch.tracker.is_open(SYMBOL)
    assert set(ids) <= closed or still_open


@pytest.mark.parametrize(("symbol", "venue"), [("005930", "KRX"), ("005930.NXT", "NXT")])
def test_each_event_of_a_gap_states_the_venue_of_its_line(symbol, venue):
    watch = Watch(symbol, "KRX")
    watch.back(0)
    first = msgspec.structs.replace(trade(100.0, 100.0, 1), symbol=symbol, venue=venue)
    watch.tracker.observe(first)
    seen = [watch.tracker.observe(msgspec.structs.replace(first, cumulative_volume=300.0))]
    for volume in (300.0, 400.0):
        seen.append(watch.cut(10))
        watch.back(15)
        seen.append(watch.quote(volume, 16))
    kinds = [GapDetected, GapOpened, GapEmpty, GapOpened, GapDetected]
    assert [(type(each), getattr(each, "venue", "")) for each in seen] == [(kind, venue) for kind in kinds]
