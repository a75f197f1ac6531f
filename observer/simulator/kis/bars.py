"""Bars of a symbol as KIS answers them: days, minutes of the session day, minutes of a past day. Pure."""

from collections.abc import Iterator
from typing import Final

from observer.simulator.kis.answers import (
    DAILY_ROW,
    DAILY_SUMMARY,
    MINUTE_ROW,
    MINUTE_SUMMARY,
    Body,
    Query,
    Row,
    asked_instrument,
    input_refusal,
    moved,
    nothing,
    one_of,
    required,
    row,
    second_of_day,
    session_day,
    shown,
    wants_adjusted,
)
from observer.simulator.kis.past_minutes import past_minutes
from observer.simulator.kis.quotations import finished_day
from observer.simulator.market.instruments import Instrument
from observer.simulator.market.market import Market, MinuteBar, hhmmss
from observer.simulator.market.plan import DayBar

DAYS_PER_CALL: Final = 100
MINUTES_PER_CALL: Final = 30
PAST_MINUTES_PER_CALL: Final = 120


def daily_bars(market: Market, now_ns: int, query: Query) -> Body:
    """기간별시세, days only: at most 100 rows, newest first; the session day is there once it is over.

    Raises:
        Refusal: a parameter is missing, or another period than D is asked for.
    """
    instrument = asked_instrument(market, query)
    first, last = required(query, "FID_INPUT_DATE_1"), required(query, "FID_INPUT_DATE_2")
    adjusted = wants_adjusted(query)
    one_of(query, "FID_PERIOD_DIV_CODE", ("D",))
    if instrument is None:
        return {"output1": nothing(DAILY_SUMMARY), "output2": []}
    today = finished_day(market, instrument.symbol, now_ns)
    past = market.daily_bars(instrument.symbol, adjusted=adjusted)
    # The change of a day is against its base price: the close before it, but on the day of a split; the oldest bar has
    # none and shows no change.
    bases = [instrument.base_price] * len(today)
    bases += [*(bar.close for bar in past[1:]), *(bar.open for bar in past[-1:])]
    bars = [*today, *past]
    rows = [
        row(DAILY_ROW, {"bar": bar, **moved(bar.close, base)})
        for bar, base in zip(bars, bases, strict=True)
        if first <= bar.day <= last
    ]
    summary = shown(market, instrument, now_ns)
    summary["yesterday"] = next(iter(market.daily_bars(instrument.symbol)), DayBar("", 0, 0, 0, 0, 0, 0))
    return {"output1": row(DAILY_SUMMARY, summary), "output2": rows[:DAYS_PER_CALL]}


def minute_bars(market: Market, now_ns: int, query: Query) -> Body:
    """당일분봉: at most 30 minutes with trades, newest first, from FID_INPUT_HOUR_1 backwards."""
    instrument = asked_instrument(market, query)
    until = second_of_day(query, "FID_INPUT_HOUR_1")
    one_of(query, "FID_PW_DATA_INCU_YN", ("Y", "N"))
    if instrument is None:
        return {"output1": nothing(MINUTE_SUMMARY), "output2": []}
    bars = market.minute_bars(instrument.symbol, now_ns, until // 60, MINUTES_PER_CALL)
    rows = [row(MINUTE_ROW, {"day": session_day(market), "bar": bar}) for bar in bars]
    return {"output1": row(MINUTE_SUMMARY, shown(market, instrument, now_ns)), "output2": rows}


def past_minute_bars(market: Market, now_ns: int, query: Query) -> Body:
    """일별분봉: at most 120 minutes with trades, newest first, of FID_INPUT_DATE_1 and, where so asked, before it.

    Raises:
        Refusal: a parameter is missing or cannot be read.
    """
    instrument = asked_instrument(market, query)
    until = second_of_day(query, "FID_INPUT_HOUR_1") // 60
    day = required(query, "FID_INPUT_DATE_1")
    if len(day) != len("YYYYMMDD") or not (day.isascii() and day.isdigit()):
        raise input_refusal("FID_INPUT_DATE_1")
    earlier_too = one_of(query, "FID_PW_DATA_INCU_YN", ("Y", "N")) == "Y"
    if instrument is None:
        return {"output1": nothing(MINUTE_SUMMARY), "output2": []}
    rows: list[Row] = []
    for bar_day, bar in _minutes_back_from(market, instrument, now_ns, day, until):
        if len(rows) == PAST_MINUTES_PER_CALL or (bar_day != day and not earlier_too):
            break
        rows.append(row(MINUTE_ROW, {"day": bar_day, "bar": bar}))
    return {"output1": row(MINUTE_SUMMARY, shown(market, instrument, now_ns)), "output2": rows}


def _minutes_back_from(
    market: Market, instrument: Instrument, now_ns: int, day: str, until_minute: int
) -> Iterator[tuple[str, MinuteBar]]:
    """Minutes with their days, newest first, from a minute of a day on; the session day's own come from its trades."""
    latest = hhmmss(until_minute * 60)
    if session_day(market) <= day:
        for bar in market.minute_bars(instrument.symbol, now_ns, until_minute, 24 * 60):
            yield session_day(market), bar
    for past_day, minutes in past_minutes(market, instrument):
        if past_day <= day:
            for bar in reversed(minutes):
                if past_day < day or bar.start_hhmmss <= latest:
                    yield past_day, bar
