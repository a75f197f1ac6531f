"""Eligibility for the day's universe."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.events import DailyBar, SharesAdjusted, UniverseBuilt
from observer.reference.listings.model import Listing
from observer.reference.universe.eligibility import (
    History,
    UniverseDay,
    build,
    exclusion,
    exclusion_by_kind,
    history_of,
    judged_close,
)
from observer.selection.settings import UniverseSettings

SETTINGS = UniverseSettings()
DAY = UniverseDay("kis", "kr_stocks", "2026-11-18", "2026-11-17", 7)
SHARE = Listing(
    exchange="KOSPI",
    symbol="005930",
    name="Samsung",
    isin="KR7005930003",
    group="ST",
    base_price=10_000.0,
    market_cap=1e12,
    listed_shares=1e8,
    listed_on="1975-06-11",
    suspended=False,
    administrative=False,
    preferred=False,
    spac=False,
)


def share(symbol="005930", **changes):
    return msgspec.structs.replace(SHARE, symbol=symbol, **changes)


def closed_at(close):
    return History(close, 1_000.0, 100.0)


def universe(*listings, **histories):
    return build(listings, histories, DAY, SETTINGS)


def symbols(built):
    return [member.symbol for member in built.members]


def test_the_close_must_be_at_least_4000_won():
    assert exclusion(share(), 4_000.0, SETTINGS) is None
    assert exclusion(share(), 3_999.0, SETTINGS) == "low_close"
    assert exclusion(share(), None, SETTINGS) == "no_close"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"suspended": True}, "suspended"),
        ({"group": "EF"}, "etf"),
        ({"group": "FE"}, "etf"),
        ({"group": "EN"}, "etn"),
        ({"spac": True}, "spac"),
        ({"group": "EW"}, "not_a_share"),
        ({"group": "SR"}, "not_a_share"),
        ({"administrative": True}, None),
        ({"preferred": True}, None),
        ({"group": "RT"}, None),
    ],
)
def test_the_default_rules_exclude_each_kind_with_its_reason(changes, reason):
    assert exclusion(share(**changes), 10_000.0, SETTINGS) == reason
    assert exclusion_by_kind(share(base_price=None, **changes), SETTINGS) == reason


def test_an_optional_exclusion_has_its_own_reason():
    strict = msgspec.structs.replace(SETTINGS, exclude_managed=True, exclude_preferred=True)
    assert exclusion(share(administrative=True), 10_000.0, strict) == "administrative"
    assert exclusion(share(preferred=True), 10_000.0, strict) == "preferred"


def test_the_price_is_checked_last():
    assert exclusion(share(suspended=True), 1.0, SETTINGS) == "suspended"


@pytest.mark.parametrize(
    ("option", "value", "changes"),
    [
        ("exclude_managed", True, {"administrative": True}),
        ("exclude_preferred", True, {"preferred": True}),
        ("exclude_etf", False, {"group": "EF"}),
        ("exclude_etn", False, {"group": "EN"}),
        ("exclude_spac", False, {"spac": True}),
        ("exclude_suspended", False, {"suspended": True}),
    ],
)
def test_every_exclusion_is_an_option(option, value, changes):
    changed = msgspec.structs.replace(SETTINGS, **{option: value})
    found = {exclusion(share(**changes), 10_000.0, settings) is None for settings in (changed, SETTINGS)}
    assert found == {True, False}


def test_the_members_are_ranked_by_capitalisation_and_then_by_symbol():
    built = universe(share("C"), share("B"), share("A", market_cap=None), share("D", market_cap=2e12))
    assert symbols(built) == ["D", "B", "C", "A"]
    assert [member.rank for member in built.members] == [1, 2, 3, 4]
    assert built.members[-1].market_cap == 0.0


def test_a_member_has_the_history_its_triggers_compare_with():
    (only,) = universe(share("A"), A=History(5_000.0, 1_234.0, 56.0)).members
    assert (only.previous_close, only.average_volume_20d, only.average_true_range_14d) == (5_000.0, 1_234.0, 56.0)
    assert (only.provider, only.market, only.session_date) == ("kis", "kr_stocks", "2026-11-18")
    assert (only.symbol, only.name, only.exchange) == ("A", "Samsung", "KOSPI")
    assert not only.close_is_base


def test_the_close_of_the_bars_wins_over_the_base_price():
    assert symbols(universe(share("A", base_price=10_000.0), A=closed_at(3_000.0))) == []
    assert symbols(universe(share("A", base_price=3_000.0), A=closed_at(10_000.0))) == ["A"]


def test_without_bars_the_base_price_stands_in_and_there_are_no_averages():
    (only,) = universe(share("A")).members
    assert (only.previous_close, only.average_volume_20d, only.average_true_range_14d) == (10_000.0, None, None)
    assert only.close_is_base


def test_without_a_bar_of_the_previous_session_the_base_price_stands_in_beside_the_averages():
    (only,) = universe(share("A"), A=History(None, 1_234.0, 56.0)).members
    assert (only.previous_close, only.average_volume_20d, only.average_true_range_14d) == (10_000.0, 1_234.0, 56.0)
    assert only.close_is_base
    assert judged_close(share(base_price=7.0), None) == 7.0
    assert judged_close(share(base_price=7.0), 8.0) == 8.0


def test_excluded_symbols_are_counted_by_reason():
    built = universe(share("A"), share("B", suspended=True), share("C", suspended=True), share("D", group="EF"))
    assert built.excluded == {"suspended": 2, "etf": 1}
    assert built.built == UniverseBuilt("kis", "kr_stocks", "2026-11-18", "2026-11-17", 7, 1, 4, 4_000.0)


@pytest.mark.parametrize(("count", "reported"), [(5, "000000, 000001, 000002, 000003, 000004"), (6, "000004 ...")])
def test_the_warning_about_missing_capitalisations_names_the_first_five_symbols(count, reported):
    listings = [share(f"{number:06}", market_cap=None) for number in range(count)]
    [_, warning] = universe(*listings).warnings.values()
    assert warning.startswith(f"{count} symbols without market capitalisation")
    assert warning.endswith(reported)


def test_fewer_than_a_hundred_members_are_a_warning():
    [warning] = universe(*(share(f"{number:06}") for number in range(99))).warnings.values()
    assert "99" in warning
    assert universe(*(share(f"{number:06}") for number in range(100))).warnings == {}


def bar(session_date, close=100.0, volume=10.0):
    """A bar whose range is 2 % of its close."""
    return DailyBar("kis", "A", session_date, close, close * 1.01, close * 0.99, close, volume, close * volume)


def test_the_history_is_read_from_daily_bars():
    days = [
        DailyBar("kis", "A", "2026-11-16", 100.0, 101.0, 99.0, 100.0, 10.0, 0.0),
        DailyBar("kis", "A", "2026-11-17", 100.0, 104.0, 100.0, 102.0, 30.0, 0.0),
    ]
    assert history_of(days, "2026-11-17") == History(102.0, 20.0, 4.0, volume_days=2, true_range_days=1)
    assert history_of([], "2026-11-17") == History(None, None, None)


@pytest.mark.parametrize(
    ("held", "stated"),
    [
        (["regular+after"] * 2, "regular+after"),
        (["regular", "regular+after"], "regular, regular+after"),
        (["regular", ""], "regular, unknown"),
        (["", ""], ""),
    ],
)
def test_the_history_states_which_sessions_the_averaged_volumes_hold(held, stated):
    days = [msgspec.structs.replace(bar(f"2026-11-{day}"), sessions=each) for day, each in enumerate(held, start=16)]
    assert history_of(days, "2026-11-17").average_sessions == stated


def test_a_last_bar_of_an_earlier_session_yields_no_previous_close():
    days = [bar("2026-11-12"), bar("2026-11-13", 110.0), bar("2026-11-16", 120.0)]
    known = history_of(days, "2026-11-16")
    assert known.previous_close == 120.0
    assert history_of(days, "2026-11-17") == msgspec.structs.replace(known, previous_close=None)


@pytest.mark.parametrize(("bars", "days"), [(1, (1, 0)), (2, (2, 1)), (14, (14, 13)), (15, (15, 14)), (21, (20, 14))])
def test_an_average_states_how_many_days_it_is_of(bars, days):
    history = history_of([bar(day) for day in DAYS[:bars]], "")
    assert (history.volume_days, history.true_range_days) == days


def test_a_day_without_a_trade_counts_in_the_volume_and_has_no_range():
    untraded = msgspec.structs.replace(bar(DAYS[1], volume=0.0), open=None, high=None, low=None)
    known = history_of([bar(DAYS[0]), untraded, bar(DAYS[2])], DAYS[2], [adjusted(DAYS[2], 0.5, 100.0)])
    assert (known.average_volume_20d, known.volume_days) == (pytest.approx((20.0 + 0.0 + 10.0) / 3), 3)
    assert (known.average_true_range_14d, known.true_range_days) == (pytest.approx(101.0 - 50.0), 1)


def test_a_member_states_the_days_of_its_averages_and_how_many_are_from_own_sweeps():
    days = [bar(day, 10_000.0) for day in DAYS[:3]]
    days[-1] = msgspec.structs.replace(days[-1], source="sweep")
    (only,) = universe(share("A"), A=history_of(days, DAYS[2])).members
    assert (only.average_volume_days, only.average_true_range_days, only.days_from_sweeps) == (3, 2, 1)


DAYS = [f"2026-10-{day:02}" for day in range(1, 31)]


def adjusted(session_date, factor, close_before):
    return SharesAdjusted("kis", "A", session_date, session_date, close_before * factor, close_before)


@given(
    st.lists(st.tuples(st.integers(1, 29), st.sampled_from([0.02, 0.2, 0.5, 0.9, 1.25, 2.0, 5.0])), max_size=3),
    st.floats(10.0, 1e6),
)
def test_the_history_after_any_splits_has_the_volume_and_range_of_ordinary_days(splits, turnover_shares):
    """Days of the same turnover and the same range in percent, in whatever shares they were traded."""
    factors, close, bars = dict(splits), 10_000.0, []
    adjustments = []
    for number, day in enumerate(DAYS):
        if (factor := factors.get(number)) is not None:
            adjustments.append(adjusted(day, factor, close))
            close *= factor
        bars.append(bar(day, close, turnover_shares * 10_000.0 / close))
    history = history_of(bars[-21:], DAYS[-1], adjustments)
    assert history.previous_close == pytest.approx(close)
    assert history.average_volume_20d == pytest.approx(bars[-1].volume)
    assert history.average_true_range_14d == pytest.approx(close * 0.02)


CLOSES = st.dictionaries(st.sampled_from("ABCDEFGH"), st.sampled_from([None, 3_999.0, 4_000.0, 9_000.0]))


@given(CLOSES)
def test_every_symbol_is_either_a_member_or_excluded(closes):
    listings = [share(symbol, base_price=None) for symbol in closes]
    built = build(listings, {symbol: closed_at(close) for symbol, close in closes.items()}, DAY, SETTINGS)
    assert len(built.members) + sum(built.excluded.values()) == len(listings)
    assert all(member.previous_close >= 4_000.0 for member in built.members)


def test_symbols_without_market_capitalisation_make_one_warning_that_counts_them_and_names_a_few():
    unknown = [share(f"9{number:05}", market_cap=None) for number in range(7)]
    [warning] = universe(*(share(f"{number:06}") for number in range(100)), *unknown).warnings.values()
    assert "7 symbols" in warning
    assert warning.endswith("900000, 900001, 900002, 900003, 900004 ...")
