"""How the recovery fills a gap, and when it gives up."""

from itertools import accumulate

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.events import MinuteBarRecovered, Trade
from observer.brokers.broker import Bar, PastTrade
from observer.gaps.recovery import (
    RecoverySettings,
    Selection,
    by_minutes,
    give_up,
    is_last_attempt,
    is_past,
    plan,
    plan_now,
    retry_after_s,
    select,
    select_minutes,
    too_old,
)
from tests.gaps.builders import detected
from tests.reach import reaches

SETTINGS = RecoverySettings()
SECOND_NS = 1_000_000_000
MINUTE_NS = 60 * SECOND_NS
TEN_O_CLOCK_NS = 1_794_963_600 * SECOND_NS  # 2026-11-18 10:00 KST
RECEIVED_NS = TEN_O_CLOCK_NS + 3 * MINUTE_NS


def gap(duration_s=3.0, *, start_s=0.0, after=100.0, before=160.0):
    from_ns = TEN_O_CLOCK_NS + round(start_s * SECOND_NS)
    to_ns, detected_ns = from_ns + round(duration_s * SECOND_NS), TEN_O_CLOCK_NS + 90 * SECOND_NS
    return detected("g", after, before, detected_ns=detected_ns, from_ns=from_ns, to_ns=to_ns)


def rows(*volumes, first_total=0.0):
    """Time-and-sales of trades of these volumes, one a second, each at the ask."""
    totals = accumulate(volumes, initial=first_total)
    next(totals)
    return [
        row(total, volume, second=second)
        for second, (volume, total) in enumerate(zip(volumes, totals, strict=True), start=1)
    ]


def row(total, volume, price=70_000.0, *, second=1, **quotes):
    return PastTrade(
        "005930", TEN_O_CLOCK_NS + second * SECOND_NS, price, volume, total, quotes.get("bid"), quotes.get("ask")
    )


def totals(selection):
    return [trade.cumulative_volume for trade in selection.trades]


# --- the plan ---


@pytest.mark.parametrize(
    ("duration_s", "missing", "priority", "source", "rows_max"),
    [
        (0.0, 301, "high", "time_and_sales", None),
        (4.999, 301, "high", "time_and_sales", None),
        (5.0, 301, "medium", "time_and_sales", None),
        (60.0, 301, "medium", "time_and_sales", None),
        (60.0, None, "medium", "time_and_sales", None),
        (60.001, 301, "low", "minute_bars", None),
        (600.0, 300, "low", "time_and_sales", None),
        (600.0, None, "low", "time_and_sales", SETTINGS.max_trades_of_long_gap),
    ],
)
def test_the_duration_and_the_missing_trades_decide_priority_source_and_bound(
    duration_s, missing, priority, source, rows_max
):
    planned = plan(msgspec.structs.replace(gap(duration_s), missing_trades=missing), SETTINGS)
    assert (planned.priority, planned.source, planned.rows_max) == (priority, source, rows_max)


def test_time_and_sales_are_asked_for_in_whole_seconds_around_the_gap():
    planned = plan(gap(2.5, start_s=0.7), SETTINGS)
    assert (planned.from_ns, planned.to_ns) == (TEN_O_CLOCK_NS - 2 * SECOND_NS, TEN_O_CLOCK_NS + 6 * SECOND_NS)


def test_after_a_failure_time_and_sales_are_asked_for_from_long_before_the_gap():
    planned = plan_now(gap(2.5, start_s=0.7), 1, TEN_O_CLOCK_NS, SETTINGS)
    assert (planned.from_ns, planned.to_ns) == (TEN_O_CLOCK_NS - 3600 * SECOND_NS, TEN_O_CLOCK_NS + 14 * SECOND_NS)


def test_minute_bars_are_asked_for_from_the_first_to_the_last_minute_touched():
    planned = by_minutes(gap(150.0, start_s=59.0), SETTINGS)
    assert (planned.from_ns, planned.to_ns) == (TEN_O_CLOCK_NS, TEN_O_CLOCK_NS + 3 * MINUTE_NS)


# --- trades that belong to the gap ---


def test_equal_sums_with_a_broken_chain_are_not_complete():
    reported = [row(110, 20), row(130, 10), row(160, 30)]
    assert not select(reported, gap(), RECEIVED_NS).complete


def test_rows_of_another_symbol_are_ignored():
    other = msgspec.structs.replace(row(110, 10), symbol="000660")
    assert select([other], gap(), RECEIVED_NS).trades == ()


VOLUMES = st.lists(st.integers(1, 1_000), min_size=1, max_size=30)


@pytest.mark.parametrize("days", [-1, 1, 30])
def test_a_row_of_another_day_is_not_recovered_and_is_named(days):
    good, bad = row(110.0, 10.0), row(130.0, 20.0)
    bad = msgspec.structs.replace(bad, exchange_time_ns=bad.exchange_time_ns + days * 86_400 * SECOND_NS)
    selection = select([good, bad], gap(), RECEIVED_NS)
    assert totals(selection) == [110.0]
    assert selection.misdated == (bad,)
    assert not selection.complete


def test_a_row_ahead_of_the_clock_is_not_recovered_and_is_named():
    ahead = row(110.0, 10.0, second=2_000)
    assert select([ahead], gap(), RECEIVED_NS) == Selection((), 0.0, False, (ahead,))
    assert select([row(110.0, 10.0, second=1_900)], gap(), RECEIVED_NS).misdated == ()


@reaches(trades_outside_the_gap=16, pages_overlap=19, gap_of_several_trades=13)
@given(VOLUMES, st.data())
def test_a_gap_is_recovered_exactly_however_the_pages_overlap(reach, volumes, data):
    reported = rows(*volumes)
    first = data.draw(st.integers(0, len(reported) - 1), "first lost")
    last = data.draw(st.integers(first, len(reported) - 1), "last lost")
    lost = reported[first : last + 1]
    missing = gap(after=lost[0].cumulative_volume - lost[0].volume, before=lost[-1].cumulative_volume)
    answer = data.draw(
        st.permutations([*reported, *data.draw(st.lists(st.sampled_from(reported), max_size=5))]), "answer"
    )
    selection = select(answer, missing, RECEIVED_NS)
    assert totals(selection) == [item.cumulative_volume for item in lost]
    assert selection.complete
    assert selection.volume == missing.missing_volume
    reach.count("trades_outside_the_gap", len(lost) < len(reported))
    reach.count("pages_overlap", len(answer) > len(reported))
    reach.count("gap_of_several_trades", len(lost) > 1)


@reaches(partly_missing=13, all_missing=6, complete=5)
@given(VOLUMES, st.data())
def test_a_recovery_is_complete_only_when_no_trade_is_missing(reach, volumes, data):
    reported = rows(*volumes)
    missing = data.draw(st.sets(st.integers(0, len(reported) - 1)), "missing")
    missing_ = gap(after=0.0, before=reported[-1].cumulative_volume)
    answer = [item for index, item in enumerate(reported) if index not in missing]
    assert select(answer, missing_, RECEIVED_NS).complete == (not missing)
    reach.count("partly_missing" if 0 < len(missing) < len(reported) else "all_missing" if missing else "complete")


# --- the side, which time-and-sales does not contain ---

QUOTES = {"bid": 99.0, "ask": 100.0}


@pytest.mark.parametrize(
    ("reported", "sides"),
    [
        ([row(1, 1, 100.0, **QUOTES), row(2, 1, 101.0, **QUOTES)], ["buy", "buy"]),
        ([row(1, 1, 99.0, **QUOTES), row(2, 1, 98.0, **QUOTES)], ["sell", "sell"]),
        (  # between the quotes or without them the price before decides
            [row(1, 1, 100.0, ask=100.0), row(2, 1, 99.0), row(3, 1, 99.0), row(4, 1, 101.0, bid=98.0, ask=103.0)],
            ["buy", "sell", "sell", "buy"],
        ),
        ([row(1, 1, 100.0)], ["unknown"]),
    ],
)
def test_the_side_follows_from_the_quotes_or_from_the_price_before(reported, sides):
    found = select(reported, gap(after=0.0, before=reported[-1].cumulative_volume), RECEIVED_NS)
    assert [trade.side for trade in found.trades] == sides


def test_the_trade_before_the_gap_decides_the_side_of_the_first_trade_in_it():
    [first] = select([row(100, 100, 99.0), row(160, 60, 100.0)], gap(), RECEIVED_NS).trades
    assert first.side == "buy"


# --- minutes that stand in ---


def bar(minute, volume=10.0):
    return Bar("005930", TEN_O_CLOCK_NS + minute * MINUTE_NS, 1.0, 4.0, 0.5, 2.0, volume, 0.0)


def test_each_minute_with_trading_that_overlaps_the_gap_is_recovered_once_with_every_field():
    second = msgspec.structs.replace(bar(2), venue="NXT")
    answer = [bar(3, volume=0.0), second, bar(1), bar(1), bar(0), bar(4)]
    assert select_minutes(answer, gap(100.0, start_s=90.0), RECEIVED_NS) == tuple(
        MinuteBarRecovered(
            "kis", "005930", "2026-11-18", each.start_ns, 1.0, 4.0, 0.5, 2.0, 10.0, "g", RECEIVED_NS, each.venue
        )
        for each in (bar(1), second)
    )


def test_a_recovered_trade_has_every_field_of_the_answer_and_its_gap():
    reported = msgspec.structs.replace(row(130.0, 30.0, 71_000.0, bid=70_900.0, ask=71_000.0), venue="NXT")
    [found] = select([reported], gap(after=100.0, before=130.0), RECEIVED_NS).trades
    assert found == Trade(
        provider="kis",
        symbol="005930",
        session_date="2026-11-18",
        exchange_time_ns=TEN_O_CLOCK_NS + SECOND_NS,
        receive_time_ns=RECEIVED_NS,
        price=71_000.0,
        volume=30.0,
        cumulative_volume=130.0,
        cumulative_trades=None,
        side="buy",
        bid=70_900.0,
        ask=71_000.0,
        gap_id="g",
        side_inferred=True,
        venue="NXT",
    )


# --- trying again, and giving up ---


def test_the_pause_doubles_up_to_its_limit():
    assert [retry_after_s(attempt, SETTINGS) for attempt in range(1, 9)] == [1, 2, 4, 8, 16, 32, 60, 60]


MANY = msgspec.structs.replace(gap(600.0), missing_trades=1000)


@pytest.mark.parametrize(("attempts", "found"), [(5, MANY), (10, gap())])
def test_a_gap_is_given_up_after_the_last_attempt_at_its_last_source(attempts, found):
    assert give_up(found, attempts - 1, "busy", SETTINGS) is None
    assert give_up(found, attempts, "busy", SETTINGS) == f"{attempts} attempts failed, the last one: busy"


def test_a_gap_is_filled_for_a_week_and_then_given_up():
    week_ns = 7 * 24 * 60 * MINUTE_NS
    assert too_old(gap(), TEN_O_CLOCK_NS + week_ns) is None
    assert too_old(gap(), TEN_O_CLOCK_NS + week_ns + week_ns // 7) == "its day is more than 7 days ago"


def test_minute_bars_are_requested_when_time_and_sales_stays_empty_until_the_last_attempt():
    planned = [plan_now(gap(), failures, RECEIVED_NS, SETTINGS) for failures in (4, 5)]
    assert [each.source for each in planned] == ["time_and_sales", "minute_bars"]
    assert (planned[1].from_ns, planned[1].to_ns) == (TEN_O_CLOCK_NS, TEN_O_CLOCK_NS)


def test_only_minute_bars_are_requested_for_a_past_day():
    midnight_ns = TEN_O_CLOCK_NS + 14 * 60 * MINUTE_NS
    assert not is_past(gap().session_date, midnight_ns - 1)
    assert plan_now(gap(), 0, midnight_ns - 1, SETTINGS) == plan(gap(), SETTINGS)
    assert is_past(gap().session_date, midnight_ns)
    assert plan_now(gap(), 0, midnight_ns, SETTINGS).source == "minute_bars"


@pytest.mark.parametrize(("failures", "is_last"), [(0, False), (3, False), (4, True)])
def test_the_last_attempt_at_time_and_sales_is_accepted_as_it_is(failures, is_last):
    assert is_last_attempt(plan(gap(), SETTINGS), failures, SETTINGS) is is_last
    assert is_last_attempt(by_minutes(gap(600.0), SETTINGS), failures, SETTINGS)
