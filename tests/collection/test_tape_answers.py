"""From a broker's rows to stored trades and back: breaks in a page are named, stored pages make the same planner."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from bus.codec import BATCH_BYTES_MAX, pack
from bus.events import TapeJudged, TapePage, TapeSpan
from observer.brokers.broker import PastTrade
from observer.collection.tape.answers import TapeLine, breaks_of, judged, new_trades, page_of, restore, span_of
from observer.collection.tape.chain import Span
from observer.collection.tape.output import REPORTS_AT_ONCE, SPANS_AT_ONCE, in_batches
from observer.collection.tape.planner import TapePlanner

S = 10**9
LINE = TapeLine("kis", "000001", "2026-11-18", "KRX")


def row(second, volume, cumulative):
    return PastTrade("000001", second * S, 100.0, float(volume), float(cumulative), 99.0, 100.0, "KRX")


ROWS = [row(1, 5, 5), row(2, 5, 10), row(4, 5, 25), row(5, 5, 30)]


def fetched(rows, limit=30.0):
    planner = TapePlanner(30)
    planner.close({"000001": limit}, 100)
    visit = planner.take()
    taken = planner.page(visit, planner.ask(visit), page_of(rows), breaks_of(rows))
    assert planner.ask(visit) is None
    return planner, taken


def report(planner):
    chain = planner.chain("000001")
    return judged(LINE, chain, 1, 4, has_minute_bars=False, is_swept=True)


def test_a_break_in_a_page_is_unreachable_and_its_trades_are_stored():
    planner, taken = fetched(ROWS)
    trades = new_trades(ROWS, taken, LINE, 9)
    assert [each.cumulative_volume for each in trades] == [5, 10, 25, 30]
    assert {(each.gap_id, each.side, each.side_inferred) for each in trades} == {("tape", "buy", True)}
    found = report(planner)
    assert (found.quality, found.held_volume, found.day_volume) == ("seconds", 20, 30)
    assert [(each.after_volume, each.upto_volume, each.to_ns) for each in found.unreachable] == [(10, 20, 4 * S)]


def test_rows_above_the_evaluated_volume_are_not_stored():
    planner, taken = fetched(ROWS, limit=10.0)
    trades = new_trades(ROWS, taken, LINE, 9)
    assert [each.cumulative_volume for each in trades] == [5, 10]
    assert report(planner).quality == "complete"


def test_a_stored_page_makes_the_same_planner():
    planner, taken = fetched(ROWS)
    named = {"provider": "kis", "symbol": "000001", "session_date": "2026-11-18", "fetched_ns": 1, "asked_ns": 5 * S}
    page = TapePage(
        trades=4, stored=4, volume=20.0, after_volume=0.0, upto_volume=30.0, from_ns=S, to_ns=5 * S,
        unreachable=tuple(map(span_of, taken.lost)), **named,
    )  # fmt: skip
    again = TapePlanner(30)
    restore(again, [page])
    again.close({"000001": 30.0}, 100)
    assert report(again) == report(planner)
    assert again.take() is None


def test_a_second_whose_page_is_stored_is_not_asked_again_for_newer_trades():
    named = {"provider": "kis", "symbol": "000001", "session_date": "2026-11-18", "fetched_ns": 1, "asked_ns": 5 * S}
    above = TapePage(
        trades=30,
        stored=0,
        volume=0.0,
        after_volume=40.0,
        upto_volume=30.0,
        from_ns=S,
        to_ns=5 * S,
        unreachable=(),
        **named,
    )
    again = TapePlanner(30)
    restore(again, [above])
    again.learn("000001", 30.0, 5)
    again.first("000001", 0)
    assert again.ask(again.take()) is None
    assert again.chain("000001").trades == 0, "it says nothing of the size of a trade"


def test_a_false_volume_above_the_limit_hides_no_second_of_the_day():
    planner = TapePlanner(30)
    planner.chain("000001").hold(Span(90.0, 95.0, 3, 3))
    planner.close({"000001": 30.0}, 100)
    assert planner.ask(planner.take()) == 100


SPAN = TapeSpan(1e12, 1e12 + 1, 10**9, 10**9)


def report_of(spans):
    return TapeJudged("kis", "000001", "2026-11-18", 1, "seconds", 1e12, 1e12, 1, (SPAN,) * spans, (), "KRX")


@given(st.lists(st.sampled_from([0, 1, 30, SPANS_AT_ONCE // 3, SPANS_AT_ONCE + 5]), max_size=12))
def test_reports_stay_in_order_and_each_part_has_few_enough_spans(spans):
    reports = [replace(report_of(0), unreachable=(SPAN,) * count) for count in spans]
    parts = in_batches(reports)
    assert [each for part in parts for each in part] == reports
    assert all(len(part) == 1 or sum(len(each.unreachable) for each in part) <= SPANS_AT_ONCE for part in parts)


def test_a_part_fits_in_a_batch_and_has_so_many_reports_at_most():
    [part] = in_batches([report_of(SPANS_AT_ONCE)])
    assert len(pack("1" * 32, 1, part)) < BATCH_BYTES_MAX / 2
    assert [len(part) for part in in_batches([report_of(0)] * (REPORTS_AT_ONCE + 1))] == [REPORTS_AT_ONCE, 1]
