"""The planner fetches every trade that can be had, once, asks nothing that streams, and needs few calls."""

import itertools
from math import ceil

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from observer.collection.tape.chain import Span
from observer.collection.tape.planner import VISIT_PAGES, Page, TapePlanner
from tests.collection.market import PAGE, Fetched, Line, visit_all
from tests.reach import reaches

DAY_END = 1_000_000
# Half of the lines have several trades in a second, more than a page holds.
pauses = st.integers(0, 12) | st.sampled_from([0, 0, 0, 1])
trades = st.integers(0, 30).flatmap(
    lambda least: st.lists(st.tuples(pauses, st.integers(1, 9)), min_size=least, max_size=60)
)


def line_of(gaps, lacking=()):
    """A line of (seconds since the trade before, volume)."""
    seconds = itertools.accumulate(second for second, _ in gaps)
    return Line(list(zip(seconds, (volume for _, volume in gaps), strict=True)), lacking)


markets = st.lists(trades.map(line_of), min_size=1, max_size=4).map(
    lambda lines: {f"{number:06}": line for number, line in enumerate(lines)}
)
sizes = st.integers(1, 7)


def volumes(market):
    return {symbol: line.volume for symbol, line in market.items()}


def closed(market, size):
    planner = TapePlanner(size)
    planner.close(volumes(market), DAY_END)
    return planner


@reaches(line_with_a_trade_that_no_page_has=45, line_of_several_pages=58)
@given(markets, sizes)
@example({"000000": line_of([(1, 1), *[(0, 1)] * 5, (1, 1)])}, 3)  # three of a second's six trades cannot be had
def test_after_the_close_every_trade_that_a_page_has_is_fetched_once_and_every_other_is_named(reach, market, size):
    planner, fetched = closed(market, size), Fetched()
    visit_all(planner, market, fetched, size)
    for symbol, line in market.items():
        numbers, lost = fetched.numbers.get(symbol, []), fetched.lost.get(symbol, [])
        assert sorted(numbers) == sorted(line.reachable(size))
        assert sorted([*numbers, *lost]) == list(range(len(line.volumes)))
        assert all(line.seconds[number] in {span.to_s for span in planner.chains[symbol].lost} for number in lost)
        assert planner.chains[symbol].missing_volume == 0
        reach.count("line_with_a_trade_that_no_page_has", bool(lost))
        reach.count("line_of_several_pages", sum(name == symbol for name, *_ in fetched.pages) > 1)


TABLE = [
    pytest.param(size, shared, id=f"pages of {size}, seconds {shared}")
    for size in (1, 2, 3)
    for shared in itertools.product((0, 1), repeat=4)
]


@pytest.mark.parametrize(("size", "shared"), TABLE)
def test_of_any_trades_that_the_broker_lacks_each_is_named_and_every_other_is_fetched_once(size, shared):
    """All choices of what is lacking among five trades, and of how many of them are evaluated before the close."""
    gaps = [(second, 1 << number) for number, second in enumerate((1, *shared))]
    for lacking, evaluated in itertools.product(itertools.product((False, True), repeat=5), range(1, 6)):
        line, fetched = line_of(gaps, {*itertools.compress(range(5), lacking)}), Fetched()
        planner = TapePlanner(size)
        planner._threshold = 0.0
        planner.learn("000001", float(line.cumulative[evaluated]), line.seconds[evaluated - 1])
        visit_all(planner, {"000001": line}, fetched, size)
        numbers, lost = fetched.numbers.setdefault("000001", []), fetched.lost.setdefault("000001", [])
        assert max([*numbers, *lost], default=0) < evaluated, "what is not evaluated may come over the stream"
        planner.close({"000001": line.volume}, DAY_END)
        visit_all(planner, {"000001": line}, fetched, size)
        chain = planner.chain("000001")
        unknown = [number for span, _ in chain.unknown for number in line.numbers(span.after_volume, span.upto_volume)]
        assert sorted(numbers) == sorted(line.reachable(size))
        assert sorted([*numbers, *lost, *unknown]) == list(range(5))
        assert all(number > max(numbers, default=-1) for number in unknown), "it may be of a later second"
        assert chain.lost_volume == sum(line.volumes[number] for number in lost)
        for span in chain.lost:
            own = line.numbers(span.after_volume, span.upto_volume)
            assert line.seconds[own[0]] <= span.to_s <= line.seconds[min(own[-1] + 1, 4)]


def test_a_line_that_is_offered_again_and_again_waits_once_with_all_that_is_missing():
    planner = TapePlanner(1)
    planner.learn("000002", 500.0, 1)
    for volume in range(100, 1_001, 100):
        planner.learn("000001", float(volume), volume)
        assert len(planner._heap) <= 2 * len(planner.chains)
    assert [planner.take().symbol, planner.take().symbol] == ["000001", "000002"]
    assert planner.take() is None


LEARNED = [  # volume, second and value; limit, its second and price then
    ((100.0, 10, 0.0), (100.0, 10, 7.0)),
    ((100.0, 11, 300.0), (100.0, 11, 3.0)),
    ((101.0, 10, 303.0), (101.0, 10, 3.0)),
    ((99.0, 11, 0.0), (100.0, 10, 7.0)),
    ((101.0, 9, 0.0), (100.0, 10, 7.0)),
    ((0.0, 9, 5.0), (100.0, 10, 7.0)),
    ((1.0, 9, 1.0), (100.0, 10, 1.0)),
]


@pytest.mark.parametrize(("learned", "expected"), LEARNED)
def test_a_limit_never_falls_and_a_price_stays_until_a_value_says_another_one(learned, expected):
    planner = TapePlanner(1)
    planner.learn("000001", 100.0, 10)
    chain = planner.chain("000001")
    assert chain.price == 0.0
    planner.learn("000001", 100.0, 10, 700.0)
    planner.learn("000001", *learned[:2], **({"value": learned[2]} if learned[2] else {}))
    assert (chain.limit, chain.limit_s, chain.price) == expected


def test_a_trade_is_as_large_as_its_lines_mean_or_as_what_the_mean_value_of_all_trades_buys():
    planner = TapePlanner(2)

    def missing(symbol, volume, value=0.0):
        planner.learn(symbol, volume, 9, value)
        return planner.missing_trades(planner.chain(symbol))

    def answered(symbol, page):
        visit = planner.take()
        assert visit.symbol == symbol
        planner.page(visit, planner.ask(visit), page)
        planner.end(visit)

    assert missing("000000", 0.0) == 0.0
    assert missing("000001", 90.0, 900.0) == 90.0, "nothing was seen: a trade is a share"
    answered("000001", Page(2, 70.0, 90.0, 5, 9))
    assert missing("000001", 90.0) == 7.0
    assert missing("000002", 30.0, 150.0) == 1.5, "a trade of 100 buys 20"
    assert missing("000003", 7.0, 1_400.0) == 7.0, "a share at least"
    assert missing("000004", 99.0) == 99.0, "of no known price"
    assert missing("000005", 4.0, 20.0) == 1.0, "a trade at least"
    answered("000004", Page(2, 98.0, 99.0, 5, 9))
    assert missing("000004", 99.0) == 98.0 * 2
    assert missing("000002", 30.0, 150.0) == 1.5, "a page without a price says nothing of values"
    planner.close({}, 9)
    planner.end(planner.take(), again=False)
    planner.first("000001", 0)
    answered("000001", Page(2, 40.0, 70.0, 1, 5))
    assert missing("000001", 90.0) == 40.0 / (50.0 / 4)
    assert missing("000002", 30.0, 150.0) == 30.0 / (500.0 / 4 / 5.0)


@pytest.mark.parametrize(
    ("left", "other", "first"),
    [(45, 60, "000001"), (50, 60, "000002"), (55, 60, "000002"), (45, 40, "000002"), (45, 45, "000002")],
)
def test_a_line_of_which_most_was_held_meanwhile_lets_larger_ones_go_first(left, other, first):
    planner = TapePlanner(1)
    planner.learn("000002", 100.0, 1)
    planner.learn("000001", float(other), 1)
    planner.learn("000003", 30.0, 1)
    planner.chain("000002").hold(Span(0.0, 100.0 - left, 1, 1))
    order = [planner.take().symbol for _ in range(3)]
    assert order[0] == first
    assert sorted(order[:2]) == ["000001", "000002"], "the smallest one comes last"


@pytest.mark.parametrize("size", [1, 3])
def test_a_line_is_worth_a_visit_above_so_many_trades_until_they_are_held(size):
    planner, trades = TapePlanner(size), VISIT_PAGES * size
    planner.learn("000001", trades, 1)
    assert not planner.has_work
    planner.learn("000001", trades + 1, 2)
    assert planner.has_work
    planner.close({"000001": trades + 1, "000002": 1.0}, 3)
    planner.offer("000001")
    planner.chain("000001").hold(Span(0.0, trades + 1, 1, 2))
    assert planner.take().symbol == "000002", "what is held keeps no other line waiting, and one trade is worth a visit"
    assert planner.take() is None


def test_a_visit_that_ends_early_goes_on_at_once_or_when_its_line_is_offered():
    planner = TapePlanner(1)
    planner.learn("000001", 100.0, 1)
    planner.end(planner.take())
    planner.end(visit := planner.take(), again=False)
    assert visit.symbol == "000001"
    assert planner.take() is None
    planner.offer("000001")
    assert planner.take().symbol == "000001"


def a_visit(held):
    """A planner of pages of two trades, and the visit of a line of ten shares up to second 9 that holds these spans."""
    planner = TapePlanner(2)
    for span in held:
        planner.chain("000001").hold(Span(*span))
    planner.close({"000001": 10.0}, 9)
    return planner, planner.take()


TOP = [(4.0, 10.0, 5, 9)]
AROUND = [(0.0, 3.0, 1, 3), (6.0, 10.0, 7, 9)]
PAGES = {  # what is held; for each page the second that is asked, the page, its new volumes and what cannot be had
    "an empty page: all is later than the limit's second": ([], [(9, None, [], [])]),
    "page after page, from the first second of the page before": (
        [],
        [(9, Page(2, 6.0, 10.0, 8, 9), [(6.0, 10.0)], []), (8, Page(2, 0.0, 7.0, 3, 8), [(0.0, 6.0)], [])],
    ),
    "a page that is not full: the broker's day begins with it": (
        [],
        [(9, Page(1, 6.0, 10.0, 8, 9), [(6.0, 10.0)], [Span(0.0, 6.0, 8, 8)])],
    ),
    "what is above the newest page is later than the limit's second": (
        [],
        [(9, Page(2, 6.0, 8.0, 7, 8), [(6.0, 8.0)], []), (7, Page(2, 0.0, 6.0, 3, 7), [(0.0, 6.0)], [])],
    ),
    "what is above the limit may come over the stream": (
        [],
        [(9, Page(2, 6.0, 14.0, 8, 9), [(6.0, 10.0)], []), (8, Page(1, 0.0, 6.0, 3, 8), [(0.0, 6.0)], [])],
    ),
    "a first page of the day above the limit": ([], [(9, Page(1, 12.0, 14.0, 8, 9), [], [Span(0.0, 10.0, 8, 8)])]),
    "a full page above the limit": ([], [(9, Page(2, 12.0, 14.0, 9, 9), [], [])]),
    "a page within one second, and the one of the second before": (
        [],
        [
            (9, Page(2, 6.0, 10.0, 9, 9), [(6.0, 10.0)], []),
            (8, Page(2, 3.0, 5.0, 7, 8), [(3.0, 5.0)], [Span(5.0, 6.0, 9, 9)]),
            (7, Page(2, 0.0, 3.0, 1, 7), [(0.0, 3.0)], []),
        ],
    ),
    "down from a held span": (
        TOP,
        [(5, Page(2, 2.0, 4.0, 4, 5), [(2.0, 4.0)], []), (4, Page(2, 0.0, 2.0, 1, 4), [(0.0, 2.0)], [])],
    ),
    "a page within the held span's first second": (
        TOP,
        [
            (5, Page(2, 4.0, 8.0, 5, 5), [], []),
            (4, Page(2, 1.0, 3.0, 2, 4), [(1.0, 3.0)], [Span(3.0, 4.0, 5, 5)]),
            (2, Page(1, 0.0, 1.0, 2, 2), [(0.0, 1.0)], []),
        ],
    ),
    "a page that brings nothing": (
        TOP,
        [(5, Page(2, 5.0, 8.0, 4, 5), [], []), (4, Page(2, 0.0, 4.0, 1, 4), [(0.0, 4.0)], [])],
    ),
    "a page that lacks what is held of its own second is asked once more": (
        TOP,
        [
            (5, Page(2, 1.0, 3.0, 4, 5), [(1.0, 3.0)], []),
            (5, Page(2, 1.0, 3.0, 4, 5), [], [Span(3.0, 4.0, 5, 5)]),
            (4, Page(2, 0.0, 1.0, 1, 4), [(0.0, 1.0)], []),
        ],
    ),
    "an empty page of the second before": (
        TOP,
        [(5, Page(2, 4.0, 8.0, 5, 5), [], []), (4, None, [], [Span(0.0, 4.0, 5, 5)])],
    ),
    "nothing is lacking between a second and the one before": (
        TOP,
        [
            (5, Page(2, 4.0, 8.0, 5, 5), [], []),
            (4, Page(2, 1.0, 4.0, 2, 4), [(1.0, 4.0)], []),
            (2, Page(1, 0.0, 1.0, 1, 2), [(0.0, 1.0)], []),
        ],
    ),
    "down to a held span": (
        AROUND,
        [(7, Page(2, 4.0, 6.0, 5, 7), [(4.0, 6.0)], []), (5, Page(2, 3.0, 4.0, 4, 5), [(3.0, 4.0)], [])],
    ),
    "a page below what is unknown of its own second": (
        AROUND,
        [(7, Page(2, 4.0, 6.0, 5, 7), [(4.0, 6.0)], []), (5, Page(2, 2.0, 3.0, 3, 5), [], [Span(3.0, 4.0, 5, 5)])],
    ),
    "a page of the second before that is held": (
        AROUND,
        [(7, Page(2, 5.0, 9.0, 7, 7), [(5.0, 6.0)], []), (6, Page(2, 1.0, 2.0, 2, 6), [], [Span(3.0, 5.0, 7, 7)])],
    ),
}


@pytest.mark.parametrize(("held", "pages"), PAGES.values(), ids=PAGES.keys())
def test_a_visit_asks_down_to_what_is_held_and_names_what_no_page_can_bring(held, pages):
    planner, visit = a_visit(held)
    for second, page, new, lost in pages:
        assert planner.ask(visit) == second
        assert planner.page(visit, second, page) == (new, lost)
    assert planner.ask(visit) is None
    planner.end(visit)
    assert planner.take() is None, "what is left cannot be asked"
    assert list(planner.chain("000001").lost) == [span for *_, lost in pages for span in lost]
    assert planner.chain("000001").trades == sum(page.trades for _, page, *_ in pages if page)


def test_what_a_page_lacks_cannot_be_had_but_for_what_is_held_or_above_the_limit():
    planner, visit = a_visit([(5.0, 6.0, 6, 6)])
    page, breaks = Page(2, 3.0, 14.0, 5, 9), [Span(4.0, 7.0, 8, 8), Span(9.0, 12.0, 9, 9)]
    lost = [Span(4.0, 5.0, 8, 8), Span(6.0, 7.0, 8, 8), Span(9.0, 10.0, 9, 9)]
    assert planner.page(visit, planner.ask(visit), page, breaks) == ([(3.0, 4.0), (7.0, 9.0)], lost)


def two_lines():
    """A planner that visits the first one of two lines."""
    planner = TapePlanner(1)
    for symbol, volume in (("000001", 100.0), ("000002", 50.0)):
        planner.learn(symbol, volume, 10)
    return planner, planner.take()


def test_a_pre_roll_whose_line_is_visited_lets_the_next_one_go_first_and_keeps_its_turn():
    planner, visit = two_lines()
    assert not visit.is_first
    assert not planner.has_first
    planner.first("000001", 5)
    planner.first("000002", 7)
    assert planner.has_first
    assert [planner.waits_first(symbol) for symbol in ("000001", "000002", "000003")] == [True, True, False]
    second = planner.take()
    assert (second.symbol, second.since_s, second.is_first) == ("000002", 7, True)
    assert not planner.has_first
    assert [planner.waits_first(symbol) for symbol in ("000001", "000002")] == [True, False]
    assert planner.take() is None
    assert planner.has_work, "it waits for the end of a visit"
    planner.end(visit, again=False)
    third = planner.take()
    assert (third.symbol, third.since_s) == ("000001", 5)
    planner.end(second, again=False)
    assert planner.take() is None
    assert not planner.has_work


def test_the_close_lowers_no_limit_and_makes_every_line_worth_a_visit_that_misses_a_trade():
    planner, visit = two_lines()
    planner.end(visit)
    planner.learn("000003", 3.0, 10)
    planner.close({"000001": 90.0, "000002": 60.0, "000004": 4.0, "000005": 0.0}, 20)
    limits = [
        (planner.chain(f"00000{number}").limit, planner.chain(f"00000{number}").limit_s) for number in range(1, 6)
    ]
    assert limits == [(100.0, 20), (60.0, 20), (3.0, 10), (4.0, 20), (0.0, 20)]
    assert [planner.take().symbol for _ in range(4)] == ["000001", "000002", "000004", "000003"]
    assert planner.take() is None


def test_a_line_is_visited_once_at_a_time_and_what_is_learned_meanwhile_is_asked_later():
    planner, visit = two_lines()
    planner.learn("000001", 200.0, 11)
    planner.offer("000001")
    assert planner.take().symbol == "000002"
    assert planner.take() is None
    planner.page(visit, planner.ask(visit), Page(100, 0.0, 200.0, 1, 11))
    planner.end(visit)
    assert planner.take() is None
    planner.learn("000001", 300.0, 12)
    planner.learn("000001", 225.0, 13)
    again = planner.take()
    assert (again.symbol, planner.ask(again)) == ("000001", 12)


def test_a_visit_of_a_line_that_had_a_slot_learns_the_newest_volume_with_its_value_at_its_end():
    planner, visit = two_lines()
    planner.chain("000001").is_streamed = True
    planner.learn("000001", 150.0, 11, 300.0)
    planner.learn("000001", 160.0, 12, 480.0)
    assert (visit.chain.limit, visit.chain.limit_s, visit.chain.price) == (100.0, 10, 0.0)
    planner.end(visit, again=False)
    assert (visit.chain.limit, visit.chain.limit_s, visit.chain.price) == (160.0, 12, 3.0)
    planner.end(planner.take())
    assert (visit.chain.limit, visit.chain.limit_s) == (160.0, 12)


@reaches(crowded_line=20, line_of_several_pages=35)
@given(markets, sizes)
def test_calls_are_bounded_by_pages_and_by_seconds_that_two_pages_share(reach, market, size):
    planner, fetched = closed(market, size), Fetched()
    visit_all(planner, market, fetched, size)
    for symbol, line in market.items():
        calls = sum(name == symbol for name, *_ in fetched.pages)
        crowded = sum(line.seconds.count(second) >= size for second in set(line.seconds))
        pages = ceil(len(line.seconds) / max(1, size - max([0, *map(line.seconds.count, line.seconds)])))
        reach.count("crowded_line", crowded > 0)
        reach.count("line_of_several_pages", pages > 1)
        assert calls <= pages + 2 * crowded + 2 or calls <= len(set(line.seconds)) + crowded + 1


@pytest.mark.parametrize(("end_s", "calls"), [(5, 2), (DAY_END, 3)])
def test_a_second_of_more_trades_than_a_page_and_the_one_before_it_are_asked_once(end_s, calls):
    line, planner, fetched = line_of([(1, 1), (4, 1), *[(0, 1)] * 4]), TapePlanner(2), Fetched()
    planner.close({"000001": line.volume}, end_s)
    visit_all(planner, {"000001": line}, fetched, 2)
    assert (fetched.calls, fetched.numbers, fetched.lost) == (calls, {"000001": [4, 5, 0]}, {"000001": [1, 2, 3]})


@reaches(both_planners_ask=19)
@given(markets, sizes, st.integers(1, 10))
def test_a_planner_made_of_the_pages_of_another_one_fetches_the_rest(reach, market, size, calls):
    first, fetched = closed(market, size), Fetched()
    visit_all(first, market, fetched, size, calls_max=calls)
    second = TapePlanner(size)
    for symbol, taken, page in fetched.pages:
        chain = second.chain(symbol)
        if page is not None:
            chain.limit = market[symbol].volume
            chain.hold(Span(page.after_volume, page.upto_volume, page.from_s, page.to_s))
        for span in taken.lost:
            chain.lose(span)
    second.close(volumes(market), DAY_END)
    before = len(fetched.pages)
    visit_all(second, market, fetched, size)
    reach.count("both_planners_ask", 0 < before < len(fetched.pages))
    for symbol, line in market.items():
        assert sorted(fetched.numbers.get(symbol, [])) == sorted(line.reachable(size))


@reaches(trade_streamed=190, line_streamed_in_part=14, fetched_beside_the_stream=14)
@given(markets, sizes, st.integers(0, 20), st.integers(0, 30), st.lists(st.integers(0, 150), max_size=6))
def test_what_streams_is_never_asked_and_the_rest_is_fetched(reach, market, size, begin, length, moments):
    """One line has a slot from some trade to another one; sweeps come at some seconds."""
    symbol, line = next(iter(market.items()))
    planner, fetched = TapePlanner(size), Fetched()
    planner._threshold = 0.0
    begin = min(begin, len(line.seconds))
    end = min(begin + length, len(line.seconds))
    begin_s = line.seconds[begin] if begin < len(line.seconds) else DAY_END - 1
    end_s = line.seconds[end - 1] if end > begin else begin_s
    streamed = {number for number in range(len(line.seconds)) if begin_s <= line.seconds[number] <= end_s}
    for moment in sorted(moments):
        for name, each in market.items():
            if name != symbol or moment < begin_s:
                planner.learn(name, each.volume_at(moment), moment)
        visit_all(planner, market, fetched, size)
        assert not streamed & set(fetched.numbers.get(symbol, []))
    if streamed:
        planner.chain(symbol).is_streamed = True
        low, high = min(streamed), max(streamed)
        span = Span(float(line.cumulative[low]), float(line.cumulative[high + 1]), begin_s, end_s)
        planner.chain(symbol).hold(span)
    planner.close(volumes(market), DAY_END)
    visit_all(planner, market, fetched, size)
    numbers = fetched.numbers.get(symbol, [])
    assert len(numbers) == len(set(numbers))
    assert not streamed & set(numbers)
    assert set(numbers) >= line.reachable(size) - streamed
    reach.count("trade_streamed", len(streamed))
    reach.count("line_streamed_in_part", 0 < len(streamed) < len(line.seconds))
    reach.count("fetched_beside_the_stream", bool(streamed and numbers))


@given(st.integers(1, 400))
def test_during_the_session_a_line_is_visited_when_its_pages_are_worth_it(count):
    market = {"000000": Line([(3 * number, 10) for number in range(count)])}
    planner, fetched = TapePlanner(PAGE), Fetched()
    planner.chain("000000").trades, planner.chain("000000").volume = 1, 10.0
    planner.learn("000000", market["000000"].volume, 3 * count)
    visit_all(planner, market, fetched)
    if count > VISIT_PAGES * PAGE:
        assert len(fetched.numbers["000000"]) == count
        assert fetched.calls == ceil(count / (PAGE - 1)) or fetched.calls == ceil((count - 1) / (PAGE - 1))
    else:
        assert fetched.calls == 0


def test_the_line_with_the_most_missing_trades_is_visited_first():
    market = {f"{count:06}": Line([(3 * number, 10) for number in range(count)]) for count in (300, 900, 500)}
    planner, order = closed(market, PAGE), Fetched()
    visit_all(planner, market, order)
    assert [name for name, _ in itertools.groupby(name for name, *_ in order.pages)] == ["000900", "000500", "000300"]


def test_a_pre_roll_comes_first_and_ends_at_its_second():
    market = {
        "000001": Line([(3 * number, 10) for number in range(1000)]),
        "000002": Line([(3 * number, 10) for number in range(500)]),
    }
    planner, fetched = TapePlanner(PAGE), Fetched()
    for symbol, line in market.items():
        planner.learn(symbol, line.volume_at(1200), 1200)
    planner.first("000002", 600)
    visit_all(planner, market, fetched, calls_max=8)
    assert {name for name, *_ in fetched.pages[:6]} == {"000002"}
    had = [market["000002"].seconds[number] for number in fetched.numbers["000002"]]
    assert min(had) <= 600
    assert min(had) >= 600 - 3 * PAGE
    assert max(had) == 1200


def test_a_pre_roll_reads_the_second_it_goes_back_to_and_none_before_it():
    planner, line = TapePlanner(1), Line([(second, 10) for second in range(1, 11)])
    planner.learn("000001", line.volume, 10)
    planner.first("000001", 7)
    fetched = Fetched()
    visit_all(planner, {"000001": line}, fetched, 1)
    assert sorted(line.seconds[number] for number in fetched.numbers["000001"]) == [7, 8, 9, 10]


def streamed_line():
    """A line with a trade a second, and a planner that holds its trades from second 2000 on: they were streamed."""
    market = {"000001": Line([(second, 10) for second in range(1, 3001)])}
    line, planner = market["000001"], TapePlanner(PAGE)
    planner.learn("000001", line.volume_at(1000), 1000)
    planner.chain("000001").is_streamed = True
    planner.chain("000001").hold(Span(line.volume_at(2000), line.volume_at(2500), 2001, 2500))
    return planner, market, line


def test_a_line_is_asked_from_its_limit_down_whatever_was_streamed_later():
    planner, market, _ = streamed_line()
    fetched = Fetched()
    visit_all(planner, market, fetched)
    assert sorted(fetched.numbers["000001"]) == list(range(1000))
    assert fetched.calls <= ceil(1000 / (PAGE - 1)) + 1


def test_a_visit_asks_nothing_that_was_streamed_after_it_began():
    planner, _, line = streamed_line()
    fetched = Fetched()
    visit = planner.take()
    planner.learn("000001", line.volume_at(2700), 2700)  # trades up to then were streamed; its visit knows 2500
    while (second := planner.ask(visit)) is not None:
        page = line.page(second)
        fetched.numbers.setdefault("000001", []).extend(
            number for part in planner.page(visit, second, page).new for number in line.numbers(*part)
        )
    assert max(fetched.numbers["000001"]) == 999
    planner.end(visit)
    assert planner.chain("000001").limit == line.volume_at(2700)


def test_a_pre_roll_waits_for_the_visit_at_work_on_its_line_and_others_make_way():
    planner, _, _ = streamed_line()
    visit = planner.take()
    planner.first("000001", 900)
    assert planner.take() is None
    assert not planner.has_first
    assert planner.waits_first("000001"), "so that the visit at work ends"
    planner.end(visit)
    assert planner.has_first
    assert planner.take().since_s == 900
