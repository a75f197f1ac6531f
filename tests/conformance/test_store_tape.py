"""The tape's queries, on both databases."""

import msgspec
import pytest

import observer.store.tape
from bus.events import (
    MinuteBarRecovered,
    Reached,
    SelectionAdvanced,
    SlotAssigned,
    SlotReleased,
    SlotsClosed,
    SlotsEvaluated,
    TapeJudged,
    TapePage,
    TapeProgressed,
    TapeSpan,
    TradesConflated,
    UniverseEvaluated,
    WatchChanged,
    WatchLearned,
    WatchStopped,
)
from observer.store.slots import day_bounds
from observer.store.tape import HeldSpan
from tests.builders import trade, trades
from tests.store.plans import recorded

DAY, NEXT_DAY = "2026-11-18", "2026-11-19"
FROM_NS, TO_NS = day_bounds(DAY)
SPAN = TapeSpan(1.0, 2.0, 10, 11)


def page(symbol, number, day=DAY):
    return TapePage("kis", symbol, day, number, number, 30, 3, 9.0, 1.0, 10.0, 10, 11, (SPAN,), "KRX")


def progress(at_ns, *, is_done):
    return TapeProgressed("kis", DAY, at_ns, 3, 1, 1, 3, 30.0, 9.0, 1.0, 1, 2, 60.0, is_done)


def report(symbol, at_ns, word):
    return TapeJudged("kis", symbol, DAY, at_ns, word, 30.0, 29.0, 3, (SPAN,), (), "KRX")


def events(found):
    return [event for _, event in found.changes]


def test_pages_come_back_by_line_in_their_order_of_a_line_or_of_all(store, reader):
    pages = [page("005930", 1), page("000660", 2), page("005930", 3), page("000660", 4), page("000660", 4, NEXT_DAY)]
    store(*pages)
    assert list(reader.tape_pages(DAY)) == [pages[1], pages[3], pages[0], pages[2]]
    assert list(reader.tape_pages(DAY, "000660")) == [pages[1], pages[3]]


@pytest.mark.parametrize("at_once", [1, 2, 3, 9, 10])
def test_pages_are_read_in_parts_of_bounded_size(store, reader, monkeypatch, at_once):
    monkeypatch.setattr(observer.store.tape, "_PAGES_AT_ONCE", at_once)
    pages = [page(symbol, number) for number in range(3) for symbol in ("000660", "005930", "035420")]
    store(*pages)
    parts, after = [], None
    while not parts or after is not None:
        part, after = reader.tape_part(DAY, None, after)
        parts.append(part)
    assert max(map(len, parts)) <= at_once
    assert [each for part in parts for each in part] == sorted(pages, key=lambda each: (each.symbol, each.asked_ns))


def test_the_latest_progress_and_the_last_reports_count(store, reader):
    assert reader.tape_progress(DAY) is None
    store(progress(2, is_done=True), progress(1, is_done=False))
    store(report("005930", 2, "complete"), report("005930", 1, "spans"), report("000660", 1, "seconds"))
    assert reader.tape_progress(DAY) == progress(2, is_done=True)
    assert {name: each.quality for name, each in reader.tape_reports(DAY).items()} == {
        "005930": "complete",
        "000660": "seconds",
    }
    assert reader.tape_reports(DAY, "000660").keys() == {"000660"}


def test_held_spans_are_the_stored_trades_between_gaps(store, reader):
    every = trades(9, symbol="005930", session_date=DAY)
    store(*every[:3], *every[5:8], trade(1, symbol="000660", session_date=DAY))
    first, fourth = every[0], every[5]
    assert reader.held_spans("005930", DAY) == [
        HeldSpan(
            first.cumulative_volume - first.volume,
            every[2].cumulative_volume,
            first.exchange_time_ns,
            every[2].exchange_time_ns,
        ),
        HeldSpan(
            fourth.cumulative_volume - fourth.volume,
            every[7].cumulative_volume,
            fourth.exchange_time_ns,
            every[7].exchange_time_ns,
        ),
    ]
    assert reader.held_spans("005930", NEXT_DAY) == ()


def test_a_conflated_row_is_held_between_the_trades_beside_it(store, reader):
    first, second, third = trades(3, symbol="005930", session_date=DAY)
    row = TradesConflated(
        *("kis", "005930", DAY, second.exchange_time_ns, second.exchange_time_ns + 5, 1, 2, second.volume),
        *(1.0, 1.0, 1.0, 1.0, second.cumulative_volume, None),
    )
    store(first, row)
    begin = first.cumulative_volume - first.volume
    assert reader.held_spans("005930", DAY) == [
        HeldSpan(begin, second.cumulative_volume, first.exchange_time_ns, second.exchange_time_ns + 5)
    ]
    store(third)
    assert reader.held_spans("005930", DAY) == [
        HeldSpan(begin, third.cumulative_volume, first.exchange_time_ns, third.exchange_time_ns)
    ]


def test_volumes_are_evaluated_until_the_last_sweep_that_track_b_took_in(store, reader):
    assert reader.decided(DAY).evaluated_ns == 0
    store(
        SelectionAdvanced(DAY, 5, UniverseEvaluated(1, 1, 3, 2)),
        SelectionAdvanced(DAY, 9, UniverseEvaluated(2, 6, 8, 2)),
        SelectionAdvanced(DAY, 11, SlotsEvaluated()),
    )
    found = reader.decided(DAY)
    assert (found.evaluated_ns, found.closed_ns, found.steps) == (8, None, 3)
    store(SelectionAdvanced(DAY, 12, SlotsClosed("closed")))
    assert (reader.decided(DAY).closed_ns, reader.decided(DAY, found.upto).closed_ns) == (12, 12)


def test_an_unfinished_day_is_closed_however_long_its_process_went_on_after_the_stop(store, reader, monkeypatch):
    monkeypatch.setattr(observer.store.tape, "_STEPS_AT_ONCE", 5)
    store(*(SelectionAdvanced(DAY, 100 + number, SlotsEvaluated()) for number in range(9)))
    store(SelectionAdvanced(DAY, 110, UniverseEvaluated(2, 6, 107, 2)))
    before = reader.decided(DAY)
    store(SelectionAdvanced(DAY, 99, SlotsClosed("unfinished")), stream="8" * 32)
    assert (reader.decided(DAY).closed_ns, reader.decided(DAY, before.upto).closed_ns) == (99, 99)


def test_a_database_that_went_back_is_behind_until_it_has_everything_again(store, reader):
    store(SelectionAdvanced(DAY, 5, SlotsEvaluated()))
    upto = reader.decided(DAY).upto
    assert not reader.is_behind(upto)
    assert reader.is_behind({stream: number + 1 for stream, number in upto.items()})
    assert reader.is_behind({**upto, "9" * 32: 1})


def test_decisions_since_an_earlier_answer_are_the_new_ones_of_the_day(store, reader):
    first = SlotAssigned("a:01", "005930", FROM_NS + 1, "volume_surge", 1.0, "free_slot", None)
    store(SelectionAdvanced(DAY, 5, UniverseEvaluated(1, 1, 3, 2)), first)
    found = reader.decided(DAY)
    assert (events(found), found.evaluated_ns, found.closed_ns) == ([first], 3, None)
    again = reader.decided(DAY, found.upto)
    assert (events(again), again.evaluated_ns, again.steps, again.upto) == ([], 0, 0, found.upto)
    released = SlotReleased("a:01", "005930", FROM_NS + 2, 1.0, "expired")
    back = SlotAssigned("a:01", "005930", FROM_NS + 2, "volume_surge", 1.0, "free_slot", None)
    other_day = SlotReleased("a:02", "000660", TO_NS, 1.0, "expired")
    left, of_other_day = (WatchChanged("kis", "005930", day, FROM_NS + 3, WatchStopped()) for day in (DAY, NEXT_DAY))
    learned = WatchChanged("kis", "005930", DAY, FROM_NS + 3, WatchLearned(Reached(1.0, None, 1)))  # begins no watch
    store(released, left, learned, of_other_day, back, other_day)
    store(SelectionAdvanced(NEXT_DAY, 8, SlotsClosed("closed")))
    new = reader.decided(DAY, found.upto)
    assert (events(new), new.closed_ns) == ([released, left, back], None)
    assert events(reader.decided(DAY)) == [first, released, left, back]


def test_a_new_stream_s_decisions_are_new_and_a_database_that_went_back_repeats_none(store, reader):
    slot = SlotAssigned("a:01", "005930", FROM_NS + 1, "volume_surge", 1.0, "free_slot", None)
    store(slot)
    found = reader.decided(DAY)
    later = msgspec.structs.replace(slot, symbol="000660")
    store(later, stream="8" * 32)
    [new] = reader.decided(DAY, found.upto).changes
    assert new[1] == later
    assert new[0] != found.changes[0][0]
    assert reader.decided(DAY).changes == [*found.changes, new]
    ahead = {stream: number + 1 for stream, number in found.upto.items()}
    assert reader.decided(DAY, ahead).upto.items() >= ahead.items()


def test_a_check_reads_only_the_steps_since_the_last_one(store, reader):
    store(*(SelectionAdvanced(DAY, number, SlotsEvaluated()) for number in range(400)))
    since = reader.decided(DAY).upto
    store(SelectionAdvanced(DAY, 500, UniverseEvaluated(2, 6, 8, 2)))
    with recorded() as statements:
        assert reader.decided(DAY, since).evaluated_ns == 8
    of_steps = [each for each in statements if "FROM selection_steps" in each.text]
    assert of_steps
    assert all(" stream = " in " ".join(each.text.split()).replace("selection_steps.", "") for each in of_steps)


def test_lines_with_minute_bars_are_those_of_the_day(store, reader):
    def bar(symbol, start_ns):
        return MinuteBarRecovered("kis", symbol, DAY, start_ns, 1.0, 1.0, 1.0, 1.0, 1.0, "g", 1)

    store(bar("005930", FROM_NS), bar("000660", TO_NS))
    assert reader.lines_with_minute_bars(DAY) == {"005930"}
