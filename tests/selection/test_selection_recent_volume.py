"""The volume of the latest minutes, the universe's pace, and the ratio of both."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.events import SlotExtended, TriggerEnded, TriggerFired
from observer.collection.decisions import evaluate_slots
from observer.gaps.detector import GapDetector
from observer.selection.context import Baseline
from observer.selection.market_state import MarketState
from observer.selection.profile import EarlierDays, Profile
from observer.selection.recent_volume import SYMBOLS_MIN, RecentVolume, UniversePace
from observer.selection.settings import SelectionSettings
from observer.selection.triggers import RecentVolumeSettings, TriggersSettings
from tests.builders import trade
from tests.selection.builders import all_of, member, selector_of, swept

SECOND_NS = 1_000_000_000
MINUTE_NS = 60 * SECOND_NS
USUAL = [f"U{number:02}" for number in range(30)]


def members(**changes):
    """Thirty usual symbols and A, each with an average day of 1,000 shares."""
    return [*(member(symbol) for symbol in USUAL), member("A", **changes)]


def market(**changes):
    return MarketState(members(**changes), TriggersSettings(), EarlierDays())


def sweep(state, minute, usual, volume):
    """A sweep in which the usual symbols have traded `usual` shares, and A `volume`."""
    for symbol in USUAL:
        swept(state, symbol, usual, receive_time_ns=round(minute * MINUTE_NS))
    swept(state, "A", volume, receive_time_ns=round(minute * MINUTE_NS))
    state.update_pace()


def ratio(state, opening=None, profile=None):
    return state.update_recent(state.members["A"], state.of("A"), profile, opening)


# --- the latest minutes ---


def test_the_latest_minutes_are_unknown_until_the_second_mark():
    recent = RecentVolume(step_ns=10)
    recent.mark(5, 100.0)
    assert (recent.since_ns, recent.next_ns) == (None, 15)
    recent.mark(15, 130.0)
    assert (recent.since_ns, recent.since_volume) == (5, 100.0)


@given(st.lists(st.integers(1, 400), min_size=2, max_size=60))
def test_updates_at_any_intervals_look_back_half_a_window_at_least_and_forget_what_is_older(steps_s):
    """Of a window of 300 s: from the last mark but one, which is at most 300 s and two steps old."""
    state, now_s, times = market(), 0, [0]
    swept(state, "A", 0.0)
    for step_s in steps_s:
        now_s += step_s
        times.append(now_s)
        swept(state, "A", float(now_s), receive_time_ns=now_s * SECOND_NS)
        since_ns = state.of("A").recent.since_ns
        if since_ns is not None:
            back_s = now_s - since_ns // SECOND_NS
            assert since_ns // SECOND_NS in times
            assert 150 <= back_s <= 300 + 2 * max(steps_s)
            assert state.of("A").recent.since_volume == since_ns // SECOND_NS
    assert state.of("A").recent.since_ns is not None or now_s < 150


# --- the pace of the universe ---


def shares_of(symbols, share):
    return {f"S{number}": share for number in range(symbols)}


def test_the_pace_is_the_mean_without_the_busiest_tenth():
    pace = UniversePace()
    for at_ns, share in ((0, 0.1), (10, 0.2)):
        pace.add(at_ns, {**shares_of(18, share), "X": 90 * share, "Y": 80 * share})
    assert pace.between(0, 10) == pytest.approx(0.1)
    assert pace.between(2, 4) == pytest.approx(0.02)
    assert pace.between(5, 20) == pytest.approx(0.15), "after the last moment at the latest pace"
    assert pace.between(-1, 5) is None


def test_the_sweep_of_an_opening_auction_shows_no_pace():
    """Half of the symbols were seen before the auction: the mean until their mean time is half of what it traded, and
    a symbol that was seen after it would have twice that, without a surge.
    """
    pace = UniversePace()
    pace.add(0, shares_of(40, 0.0))
    pace.add(10, shares_of(40, 0.0))
    pace.add(20, {**shares_of(40, 0.0), **{f"S{number}": 0.1 for number in range(20)}})
    assert pace.between(0, 10) == 0.0
    assert pace.between(8, 18) is None
    assert pace.between(21, 25) is None, "at the pace of the auction"
    pace.add(30, shares_of(40, 0.12))
    pace.add(40, shares_of(40, 0.14))
    assert pace.between(8, 18) is None
    assert pace.between(30, 45) == pytest.approx(0.03)


def test_too_few_symbols_have_no_pace():
    pace = UniversePace()
    for at_ns in (0, 10):
        pace.add(at_ns, shares_of(SYMBOLS_MIN - 1, 0.1))
    assert pace.between(0, 10) is None


def test_symbols_that_the_last_moment_did_not_have_do_not_change_the_pace():
    pace = UniversePace()
    pace.add(0, shares_of(SYMBOLS_MIN, 0.4))
    pace.add(10, {**shares_of(SYMBOLS_MIN, 0.5), **{f"new {number}": 0.0 for number in range(90)}})
    assert pace.between(0, 10) == pytest.approx(0.1)
    pace.add(20, {f"other {number}": 0.7 for number in range(90)})
    assert pace.between(0, 10) is None, "no symbol in common: the pace begins anew"


@given(st.lists(st.floats(0.01, 3), min_size=2, max_size=20), st.integers(0, 400), st.integers(0, 400))
def test_a_pace_never_falls_and_its_parts_add_up(shares, one_ns, other_ns):
    pace = UniversePace()
    for number, share in enumerate(shares):
        pace.add(number * 20, shares_of(SYMBOLS_MIN, share))
    first, second = sorted((one_ns, other_ns))
    whole, parts = pace.between(0, second), (pace.between(0, first), pace.between(first, second))
    assert whole is not None
    assert parts[0] is not None
    assert parts[1] is not None
    assert parts[1] >= -1e-9
    assert whole == pytest.approx(parts[0] + parts[1])


# --- the ratio ---


def test_without_a_profile_the_usual_volume_is_the_average_day_s_share_of_the_universe():
    state = market(average_volume_20d=2_000.0)
    sweep(state, 0, 100.0, 500.0)
    assert ratio(state) is None
    sweep(state, 10, 150.0, 800.0)
    assert ratio(state) == pytest.approx(300.0 / (2_000.0 * 0.05))
    assert state.of("A").usual_recent_volume == pytest.approx(100.0)


def test_who_does_not_trade_while_nobody_does_has_no_surge():
    """After the close the usual volume is 0; unknown, it would leave the surge to the day's ratio, which stays."""
    state = market()
    for minute in (0, 10, 20):
        sweep(state, minute, 1_000.0, 9_000.0)
    assert ratio(state) == 0.0


def test_who_trades_while_nothing_is_usual_has_no_surge_by_a_day_that_was_busy_before():
    """A's day is nine average days; then a share in ten minutes, in which the others have none."""
    pipeline, decided = selector_of(members(), {"main": 1}), []
    for minute, volume in ((0, 9_000.0), (10, 9_000.0), (20, 9_001.0), (30, 9_002.0)):
        sweep(pipeline.market, minute, 500.0, volume)
        found = pipeline.evaluate_universe(minute * MINUTE_NS)
        decided += found if minute else ()  # before the second sweep its day alone is known
    assert all_of(TriggerFired, decided) == []


def test_the_minutes_after_a_pause_are_not_compared_with_the_pace_before_it():
    """All trade a share a minute until 50, pause until 60, and then trade ten a minute."""
    state = MarketState(members(), TriggersSettings(), EarlierDays(), {"": (0, 60 * MINUTE_NS)})
    for minute in range(0, 60, 10):
        sweep(state, minute, 10.0 + minute, 10.0 + minute)
    for minute in range(61, 70):
        volumes = {"volume": 10.0, "cumulative_volume": 60.0 + 10 * (minute - 60)}
        state.update_trade(trade(minute, symbol="A", exchange_time_ns=minute * MINUTE_NS, **volumes))
        assert ratio(state) is None
    assert state.of("A").recent_awaited
    sweep(state, 70, 160.0, 160.0)
    assert ratio(state) == pytest.approx(1.0)
    assert state.usual_between("A", 62 * MINUTE_NS, 68 * MINUTE_NS) == pytest.approx(60.0)
    assert state.usual_between("A", 52 * MINUTE_NS, 58 * MINUTE_NS) is None
    assert state.usual_between("A", 70 * MINUTE_NS, 72 * MINUTE_NS) == pytest.approx(20.0)


def test_a_sweep_just_after_an_opening_shows_the_opening_alone():
    pace = UniversePace([15 * SECOND_NS])
    for at_s, share in ((0, 0.1), (10, 0.2), (20, 0.4)):
        pace.add(at_s * SECOND_NS, shares_of(40, share))
    assert pace.between(10 * SECOND_NS, 15 * SECOND_NS) == 0.0
    assert pace.between(10 * SECOND_NS, 20 * SECOND_NS) is None
    pace.add(30 * SECOND_NS, shares_of(40, 0.5))
    assert pace.between(20 * SECOND_NS, 35 * SECOND_NS) == pytest.approx(0.15)


def test_each_venue_has_a_pace_of_its_own():
    """At 08:00 a further venue trades and the main one does not: a common pace would make each line there a surge."""
    further = [f"{symbol}.NXT" for symbol in USUAL]
    state = MarketState([member(symbol) for symbol in USUAL + further], TriggersSettings(), EarlierDays())
    for minute, volume in ((0, 10.0), (10, 70.0)):
        for symbol in further:
            swept(state, symbol, volume, receive_time_ns=minute * MINUTE_NS)
        state.update_pace()
    assert state.usual_between("U00.NXT", 0, 10 * MINUTE_NS) == pytest.approx(60.0)
    assert state.usual_between("U00", 0, 10 * MINUTE_NS) is None


def test_with_a_profile_the_usual_volume_is_that_of_its_own_minutes_and_at_least_half_the_universe_s_share():
    busy, quiet = Profile((0.0, 600.0), (0.0, 200.0)), Profile((0.0, 600.0), (0.0, 1.0))
    for profile, usual in ((busy, 200.0), (quiet, 25.0)):
        state = market()
        sweep(state, 0, 100.0, 500.0)
        sweep(state, 10, 150.0, 800.0)
        assert ratio(state, profile=profile) == pytest.approx(300.0 / usual)


def test_a_symbol_without_an_average_is_compared_with_the_average_symbol_s_opening():
    state = market(average_volume_20d=None)
    base = Baseline(2, 4, average_volume=60.0, average_volatility=0.0, from_ns=0, to_ns=20 * MINUTE_NS)
    sweep(state, 0, 100.0, 500.0)
    sweep(state, 10, 150.0, 800.0)
    assert ratio(state) is None
    assert ratio(state, base) == pytest.approx(300.0 / 30.0)


def test_the_silence_of_a_streamed_symbol_counts_and_that_of_another_one_does_not():
    for is_streamed in (True, False):
        state = market()
        sweep(state, 0, 100.0, 500.0)
        sweep(state, 10, 150.0, 800.0)
        if is_streamed:
            at_ns = 10 * MINUTE_NS + 1
            state.update_trade(trade(1, symbol="A", volume=1.0, cumulative_volume=801.0, exchange_time_ns=at_ns))
        before = ratio(state)
        for minute in range(11, 20):
            state.update_silence("A", minute * MINUTE_NS)
        after = ratio(state)
        assert before is not None
        assert after == (0.0 if is_streamed else before)


def test_trades_that_are_read_late_count_in_the_minutes_in_which_they_were_traded():
    """A steady symbol, whose trades of ten minutes are read at once."""
    state = market()
    sweep(state, 0, 10.0, 10.0)
    sweep(state, 10, 60.0, 60.0)
    for minute in range(10, 21):
        times = {"exchange_time_ns": minute * MINUTE_NS + 1, "receive_time_ns": 20 * MINUTE_NS + minute}
        state.update_trade(trade(minute, symbol="A", volume=5.0, cumulative_volume=10 + 5.0 * minute, **times))
        assert ratio(state) == pytest.approx(1.0, abs=0.4)


def test_a_trade_that_is_read_after_a_later_sweep_is_older_than_that():
    state = market()
    for minute in (0, 10, 20):
        sweep(state, minute, 5.0 * minute, 5.0 * minute)
    before = ratio(state)
    state.update_trade(trade(1, symbol="A", volume=1.0, cumulative_volume=60.0, exchange_time_ns=12 * MINUTE_NS))
    assert ratio(state) == before == pytest.approx(1.0)
    assert state.volume_of("A") == (100.0, 20 * MINUTE_NS)
    state.update_trade(trade(2, symbol="A", volume=1.0, cumulative_volume=101.0, exchange_time_ns=19 * MINUTE_NS))
    assert state.volume_of("A") == (101.0, 20 * MINUTE_NS), "the sweep's answer was older than its receipt"


def test_a_stream_that_is_read_late_begins_no_surge():
    """A trades 5 shares a minute; from minute 12 to 19 nothing is read, and then all at once, with a symbol of the
    same connection. What was not read is no silence, and what is read late no surge.
    """
    pipeline, detector = selector_of(members(), {"main": 2}), GapDetector()
    for minute in (0, 10):
        sweep(pipeline.market, minute, 5.0 * minute, 5.0 * minute)
    pipeline.keep_pins({"A": None, "U00": None}, 10 * MINUTE_NS)
    for symbol in pipeline.wanted:
        detector.start(symbol)
    decided, read = [], 601
    for tens in range(601, 1_560, 10):
        at_ns = tens * SECOND_NS
        while read <= tens and not 720 < tens < 1_140:
            for symbol in ("A", "U00"):
                volumes = {"volume": 0.5, "cumulative_volume": 50.0 + (read - 600) / 12}
                times = {"exchange_time_ns": read * SECOND_NS, "receive_time_ns": at_ns}
                made = trade(read, symbol=symbol, price=10_000.0, cumulative_trades=read, **volumes, **times)
                detector.observe(made)
                pipeline.market.update_trade(made)
            read += 6
        decided += evaluate_slots(pipeline, detector, at_ns)
        recent = ratio(pipeline.market)
        assert recent is None or recent == pytest.approx(1.0, abs=0.2)
    assert not all_of(TriggerFired, decided)


# --- a surge of the whole pipeline ---


def traded(minute):
    """A's volume of the day: 1,800 shares a minute from minute 5 to 20, and one a minute from then on."""
    return 1_800.0 * min(max(minute - 5, 0.0), 15.0) + max(minute - 20, 0.0)


def test_a_surge_begins_is_streamed_and_ends_although_the_day_s_ratio_stays_high():
    pipeline = selector_of(members(), {"main": 1})
    decided, held = [], []
    for tens in range(60 * 6):
        minute, at_ns = tens / 6, tens * 10 * SECOND_NS
        if "A" in pipeline.wanted:
            held.append(minute)
            volumes = {"volume": 1.0, "cumulative_volume": traded(minute)}
            pipeline.market.update_trade(trade(tens, symbol="A", price=10_000.0, exchange_time_ns=at_ns, **volumes))
        if minute % 10 == 0:
            sweep(pipeline.market, minute, 2.5 * minute, traded(minute))
            decided += pipeline.evaluate_universe(at_ns)
        else:
            decided += pipeline.evaluate_slots(at_ns)
    [fired] = all_of(TriggerFired, decided)
    [ended] = all_of(TriggerEnded, decided)
    assert fired.fired_ns == 10 * MINUTE_NS
    assert 20 * MINUTE_NS <= ended.held_until_ns <= 26 * MINUTE_NS
    assert ended.ended_ns == ended.held_until_ns + 5 * MINUTE_NS
    assert held[0] == pytest.approx(10 + 1 / 6)
    *extended, kept = [event for event in decided if isinstance(event, SlotExtended) and event.symbol == "A"]
    ends_ns = [event.expires_ns or 0 for event in extended]
    assert ends_ns
    assert ends_ns == sorted(ends_ns)
    assert (kept.trigger, kept.extended_ns) == ("market_cap", ended.ended_ns)


def test_by_the_written_rule_the_same_surge_holds_its_slot_until_the_close():
    written = SelectionSettings(triggers=TriggersSettings(recent_volume=RecentVolumeSettings(enabled=False)))
    pipeline = selector_of(members(), {"main": 1}, written)
    for minute in range(0, 60, 10):
        volume = 0.0 if minute < 10 else 9_000.0
        swept(pipeline.market, "A", volume, receive_time_ns=minute * MINUTE_NS)
        pipeline.evaluate_universe(minute * MINUTE_NS)
    assert pipeline.wanted == ("A",)
