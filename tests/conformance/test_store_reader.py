"""The reader's queries, on both databases."""

import itertools
from datetime import date

import msgspec
import pytest

from bus.events import (
    TAPE,
    ConnectionChanged,
    DailyBar,
    GapDetected,
    GapRecovered,
    GapUnrecoverable,
    InputQuarantined,
    MasterFileChecked,
    Poison,
    SharesAdjusted,
    SlotAssigned,
    SlotOverflowed,
    SlotReleased,
    Snapshot,
    SweepCompleted,
    TapePage,
    TradesConflated,
    TriggerFired,
    UniverseBuilt,
    UniverseMember,
    VenueEligibility,
)
from observer.base.local_time import local_ns
from observer.selection.profile import MeanVolume
from observer.store.rows import listing_of
from observer.store.summary import StreamPosition
from observer.store.trades import TradeMark
from tests.builders import trade, trades
from tests.store.listings import listing_changed

DAY, NEXT_DAY = "2026-11-18", "2026-11-19"
ONE_DAY_NS = 86_400_000_000_000
NOON_NS = local_ns(date(2026, 11, 18), 12)
FIRST, SECOND = "5" * 32, "6" * 32


# --- builders ---


def snapshot(symbol, received_ns, session_date=DAY):
    return Snapshot("kis", symbol, session_date, 1, received_ns, 1.0, *[None] * 8, 10.0, 10.0)


def bar(symbol, session_date, close=1.0):
    return DailyBar("kis", symbol, session_date, 1.0, 1.0, 1.0, close, 10.0, 10.0)


def assigned(slot, symbol, moment_ns, replaced=None):
    return SlotAssigned(slot, symbol, moment_ns, "volume_surge", 12.5, "free slot", replaced)


def released(slot, symbol, moment_ns):
    return SlotReleased(slot, symbol, moment_ns, 12.5, "expired")


def gap(gap_id, detected_ns=NOON_NS, session_date=DAY):
    return GapDetected(
        gap_id, "kis", "005930", session_date, detected_ns, 1, 2, 10.0, 20.0, 10.0, None, "volume_mismatch"
    )


def recovered(gap_id):
    return GapRecovered(gap_id, "005930", NOON_NS, "time_and_sales", 1, 10.0, True)


def lost(gap_id):
    return GapUnrecoverable(gap_id, "005930", NOON_NS, "too late")


def build(symbols, session_date=DAY, built_ns=NOON_NS, market="KR"):
    members = [
        UniverseMember("kis", market, session_date, rank, symbol, symbol, "KOSPI", 1e12, 5_000.0, None, None)
        for rank, symbol in enumerate(symbols, 1)
    ]
    return [*members, UniverseBuilt("kis", market, session_date, "2026-11-17", built_ns, len(symbols), 9, 4_000.0)]


def check(exchange, checked_ns, new=0, removed=0, outcome="updated", initial=0):
    return MasterFileChecked("kis", exchange, checked_ns, outcome, "", 1, "", 1, 0, new, removed, 0, initial=initial)


# --- what was delivered --------------------------------------------------------------------------------------


def test_all_rows_together_are_the_sum_of_the_marks(store, reader):
    store(*trades(3), snapshot("005930", 1), Poison(b"", "unreadable"))
    store(gap("g"), stream=SECOND)
    assert reader.total_rows() == 6 == sum(position.high_water_mark for position in reader.streams())


def test_rows_are_counted_by_table(store, reader):
    store(*trades(3), Poison(b"", "unreadable"))
    counts = reader.row_counts()
    assert (counts["trades"], counts["quarantine"], counts["snapshots"]) == (3, 1, 0)


def test_streams_are_named_in_the_order_of_their_first_commit(store, reader):
    store(*trades(3), stream=SECOND)
    store(*trades(1), stream=FIRST)
    assert reader.streams() == [StreamPosition(SECOND, "track-b", 3, 0), StreamPosition(FIRST, "track-b", 1, 0)]


def test_a_reader_returns_rows_that_were_committed_after_it_opened(store, reader):
    assert reader.total_rows() == 0
    store(*trades(3))
    assert reader.total_rows() == 3


# --- the market ----------------------------------------------------------------------------------------------


def test_the_trades_of_a_day_come_back_as_they_were_published(store, reader):
    of_the_day = [*trades(3), trade(4, gap_id="g", cumulative_trades=None)]
    store(*of_the_day, trade(1, session_date=NEXT_DAY))
    assert list(reader.trades(DAY)) == of_the_day


def test_more_trades_than_fit_into_memory_at_once_come_in_order(store, reader):
    store(*trades(5_000))
    assert list(reader.trades(DAY)) == trades(5_000)


def test_a_trade_that_is_stored_twice_is_a_duplicate(store, reader):
    store(*trades(3), trade(1, symbol="000660"), trade(1, session_date=NEXT_DAY))
    assert reader.duplicate_trades(DAY) == 0
    store(trade(2), trade(2, gap_id="g"), trade(3))
    assert reader.duplicate_trades(DAY) == 3


def test_a_mark_is_the_last_streamed_trade(store, reader):
    store(*trades(3), trade(9, gap_id="g"), trade(1, symbol="000660"))
    last = trade(3)
    assert reader.last_marks(DAY, ["005930", "035720"]) == {
        "005930": TradeMark("005930", last.cumulative_volume, last.cumulative_trades, last.exchange_time_ns)
    }


def test_a_mark_of_another_day_does_not_count(store, reader):
    store(*trades(3))
    assert reader.last_marks(NEXT_DAY, ["005930"]) == {}


def test_snapshots_are_those_from_the_first_moment_to_before_the_last(store, reader):
    moments = [snapshot("005930", moment) for moment in (9, 10, 15, 19, 20)]
    store(*reversed(moments), snapshot("005930", 15, session_date=NEXT_DAY))
    assert reader.snapshots(DAY, 10, 20) == moments[1:4]


def test_the_last_daily_bars_come_oldest_first(store, reader):
    days = [f"2026-11-{day:02d}" for day in range(2, 7)]
    store(*(bar(symbol, day) for day in reversed(days) for symbol in ("005930", "000660")))
    expected = [bar("005930", day) for day in days[-3:]]
    assert reader.daily_bars(3, "005930") == {"005930": expected}
    assert reader.daily_bars(3).keys() == {"005930", "000660"}
    assert reader.daily_bars(3)["005930"] == expected


def test_the_later_bar_of_a_day_that_was_fetched_twice_counts_once(store, reader):
    store(bar("005930", "2026-11-02"), bar("005930", "2026-11-03"))
    store(bar("005930", "2026-11-03", close=2.0), stream=SECOND)
    assert reader.daily_bars(2) == {"005930": [bar("005930", "2026-11-02"), bar("005930", "2026-11-03", close=2.0)]}


# --- what exists ---------------------------------------------------------------------------------------------


def test_listings_are_those_of_the_exchange_active_or_not(store, reader):
    active = listing_changed(symbol="000660", suspended=True)
    gone = listing_changed(symbol="035720", change="removed")
    store(active, gone, listing_changed(exchange="KOSDAQ"))
    assert reader.active_listings("KOSPI") == {"000660": listing_of(active)}
    assert reader.inactive_listings("KOSPI") == {"035720": listing_of(gone)}
    assert reader.active_listings("KONEX") == {}


def test_a_universe_is_empty_until_it_was_built(store, reader):
    members_alone = build(["005930", "000660"])[:-1]
    store(*members_alone)
    assert reader.universe(DAY, "KR") == []


def test_of_each_stock_and_venue_the_latest_eligibility_of_these_days_counts(store, reader):
    def fact(day, symbol, venue, *, trades):
        return VenueEligibility("kis", day, symbol, venue, trades, 1)

    old = fact("2026-11-10", "A", "X", trades=True)
    before = [fact("2026-11-17", "A", "X", trades=True), fact("2026-11-17", "A", "Y", trades=True)]
    today, tomorrow = fact(DAY, "A", "X", trades=False), fact("2026-11-19", "A", "Y", trades=False)
    store(old, *before, today, tomorrow)
    assert set(reader.venue_eligibility("2026-11-16", DAY)) == {today, before[1]}
    assert set(reader.venue_eligibility("2026-11-16", "2026-11-17")) == set(before)


def test_a_universe_is_its_members_by_rank(store, reader):
    built = build(["005930", "000660"])
    store(*trades(2), *built, *build(["AAPL"], market="US"), *build(["035720"], session_date=NEXT_DAY), *trades(2))
    assert reader.universe(DAY, "KR") == built[:-1]


def test_the_members_of_a_universe_may_follow_the_event_that_it_was_built(store, reader):
    *members, built = build(["005930", "000660"])
    store(built, *members)
    assert reader.universe(DAY, "KR") == members


@pytest.mark.parametrize("second_stream", [FIRST, SECOND])
def test_the_later_build_of_a_universe_counts(store, reader, second_stream):
    store(*build(["005930", "000660", "035720"]))
    later = build(["000660", "051910"], built_ns=NOON_NS + 1)
    store(*later, stream=second_stream)
    assert reader.universe(DAY, "KR") == later[:-1]


def test_a_build_can_be_asked_for_by_its_time(store, reader):
    first = build(["005930"])
    store(*first, *build(["000660"], built_ns=NOON_NS + 1))
    assert reader.universe(DAY, "KR", NOON_NS) == first[:-1]


def in_force(reader, fixed_ns=NOON_NS):
    universe = reader.universe_in_force(DAY, "KR", fixed_ns)
    return universe.members if universe is not None else []


def test_a_day_goes_by_the_last_universe_of_its_own_that_was_built_in_time(store, reader):
    built = build(["005930"])
    store(*build(["000660"], built_ns=NOON_NS - 1), *built, *build(["035720"], built_ns=NOON_NS + 1))
    store(*build(["051910"], session_date=NEXT_DAY))
    assert in_force(reader) == built[:-1]


def test_a_day_without_a_universe_in_time_uses_the_latest_earlier_universe(store, reader):
    friday = build(["005930"], session_date="2026-11-13", built_ns=1)
    store(*build(["000660"], session_date="2026-11-12", built_ns=2), *friday)
    store(*build(["035720"], built_ns=NOON_NS + 1), *build([], built_ns=3))
    assert in_force(reader) == friday[:-1]


def test_a_universe_from_before_the_oldest_day_allowed_is_not_in_force(store, reader):
    store(*build(["005930"], session_date="2026-05-08", built_ns=1))
    assert reader.universe_in_force(DAY, "KR", NOON_NS, "2026-05-08") is not None
    assert reader.universe_in_force(DAY, "KR", NOON_NS, "2026-05-09") is None
    today = build(["000660"], built_ns=NOON_NS + 1)
    store(*today, stream=SECOND)
    found = reader.universe_in_force(DAY, "KR", NOON_NS, "2026-05-09")
    assert found is not None
    assert found.members == today[:-1]


def test_a_day_without_any_earlier_universe_uses_the_first_one_built(store, reader):
    assert in_force(reader) == []
    first = build(["005930"], built_ns=NOON_NS + 1)
    store(*first, *build(["000660"], built_ns=NOON_NS + 2))
    assert in_force(reader) == first[:-1]


def conflated(to_volume, *, symbol="005930", to_ns=95):
    prices = (1.0, 1.0, 1.0, 1.0)
    return TradesConflated("kis", symbol, DAY, 90, to_ns, to_ns + 1, 2, 5.0, *prices, to_volume, 12)


def test_a_conflated_row_may_be_the_last_mark_of_a_symbol(store, reader):
    store(trade(1, cumulative_volume=50.0), conflated(40.0))
    later_ns = trade(3).exchange_time_ns
    store(trade(2, symbol="000660", cumulative_volume=50.0), conflated(60.0, symbol="000660", to_ns=later_ns))
    marks = reader.last_marks(DAY, ["005930", "000660"])
    assert marks["005930"].cumulative_volume == 50.0
    assert marks["000660"] == TradeMark("000660", 60.0, 12, later_ns)


def test_a_larger_volume_of_the_day_before_later_trades_is_no_mark(store, reader):
    store(trade(1), trade(2, cumulative_volume=5_000.0), trade(3))
    assert reader.last_marks(DAY, ["005930"])["005930"].cumulative_volume == trade(3).cumulative_volume


def test_any_number_of_larger_volumes_before_later_trades_is_no_mark(store, reader):
    false = [trade(2, cumulative_volume=5_000.0 + number) for number in range(50)]
    store(trade(1), *false, trade(3), trade(4, symbol="000660"))
    marks = reader.last_marks(DAY, ["005930", "000660"])
    assert marks["005930"].cumulative_volume == trade(3).cumulative_volume
    assert marks["000660"].cumulative_volume == trade(4).cumulative_volume


def seen_at(hour, minute, volume, *, day, symbol="005930"):
    at_ns = local_ns(date(2026, 11, day), hour) + minute * 60 * 10**9
    prices = (10.0, None, None, None, 10.0, None, None, None, None)
    return Snapshot("kis", symbol, f"2026-11-{day}", 1, at_ns, *prices, volume, 0.0)


def swept(day):
    return SweepCompleted("kis", f"2026-11-{day}", 1, 0, 0, 1, 1, 1)


def split(symbol, session_date, factor, known_from=DAY):
    return SharesAdjusted("kis", symbol, session_date, known_from, factor * 10.0, 10.0)


def test_earlier_days_yield_the_mean_volume_and_mean_time_of_each_ten_minute_bucket(store, reader):
    store(swept(16), swept(17), swept(18))
    store(seen_at(9, 0, 100.0, day=16), seen_at(9, 9, 150.0, day=16), seen_at(9, 1, 350.0, day=17))
    store(seen_at(9, 10, 400.0, day=17), seen_at(9, 0, 9_999.0, day=18))
    nine_s = 9 * 3600.0
    assert reader.earlier_days(DAY, 20, DAY)[0] == [
        MeanVolume("005930", 54, nine_s + 5 * 60, 250.0, 2),
        MeanVolume("005930", 55, nine_s + 10 * 60, 400.0, 1),
    ]
    assert [row.volume for row in reader.earlier_days(DAY, 1, DAY)[0]] == [350.0, 400.0]


def test_earlier_days_are_in_the_shares_that_the_universe_knew_of(store, reader):
    store(swept(16), swept(17), split("005930", "2026-11-17", 0.2))
    store(seen_at(9, 0, 100.0, day=16), seen_at(9, 0, 700.0, day=17), seen_at(9, 0, 3.0, day=17, symbol="000660"))
    volumes = {row.symbol: row.volume for row in reader.earlier_days(DAY, 20, DAY)[0]}
    assert volumes == {"005930": pytest.approx(600.0), "000660": 3.0}
    volumes = {row.symbol: row.volume for row in reader.earlier_days(DAY, 20, "2026-11-17")[0]}
    assert volumes == {"005930": pytest.approx(400.0), "000660": 3.0}


def slot_assignment(symbol, day):
    return assigned("main:01", symbol, local_ns(date(2026, 11, day), 10))


def test_earlier_days_yield_the_mean_trade_size_of_the_last_earlier_day(store, reader):
    store(swept(16), swept(17), swept(18), slot_assignment("005930", 16), slot_assignment("000660", 17))
    for day, volume, count in ((16, 100.0, 10), (17, 300.0, 10), (17, 400.0, 20), (18, 900.0, 1)):
        store(trade(1, session_date=f"2026-11-{day}", cumulative_volume=volume, cumulative_trades=count))
    store(trade(2, symbol="000660", session_date="2026-11-17", cumulative_trades=None))
    assert reader.earlier_days(DAY, 20, DAY)[1] == {"005930": 20.0}


def test_the_trade_size_before_a_split_is_scaled_to_the_shares_after_it(store, reader):
    store(swept(16), swept(17), slot_assignment("005930", 16), split("005930", "2026-11-17", 0.2))
    store(trade(1, session_date="2026-11-16", cumulative_volume=100.0, cumulative_trades=10))
    assert reader.earlier_days(DAY, 20, DAY)[1] == {"005930": pytest.approx(50.0)}
    store(
        slot_assignment("005930", 17),
        trade(1, session_date="2026-11-17", cumulative_volume=100.0, cumulative_trades=10),
    )
    assert reader.earlier_days(DAY, 20, DAY)[1] == {"005930": 10.0}


def test_the_first_day_has_no_earlier_days(store, reader):
    store(swept(18), seen_at(9, 0, 1.0, day=18))
    assert reader.earlier_days(DAY, 20, DAY) == ([], {})


def test_share_adjustments_are_read_since_a_session_without_duplicates(store, reader):
    later, earlier = split("A", "2026-11-16", 0.5), split("A", "2026-11-12", 0.2, "2026-11-13")
    store(later, earlier, split("B", "2026-11-11", 2.0), split("A", "2026-11-16", 0.5))
    assert reader.share_adjustments("2026-11-12", DAY) == {"A": [earlier, later]}
    assert reader.share_adjustments("2026-11-12", "2026-11-17") == {"A": [earlier]}


def test_the_closes_of_a_session_are_those_that_were_fetched_last(store, reader):
    bars = (("A", "2026-11-16", 1.0), ("A", "2026-11-17", 2.0), ("A", "2026-11-17", 3.0), ("B", "2026-11-17", 4.0))
    store(*(DailyBar("kis", symbol, day, 9.0, 9.0, 1.0, close, 5.0, 5.0) for symbol, day, close in bars))
    assert reader.closes("2026-11-17") == {"A": 3.0, "B": 4.0}


# --- what mattered, what was missed --------------------------------------------------------------------------


def test_an_assigned_slot_is_open_until_it_is_released(store, reader):
    store(assigned("main:01", "005930", 10), assigned("main:02", "000660", 11))
    store(released("main:01", "005930", 20))
    assert reader.open_slots() == [assigned("main:02", "000660", 11)]


def test_a_slot_belongs_to_the_symbol_that_replaced_another(store, reader):
    store(assigned("main:01", "005930", 10), released("main:01", "005930", 20))
    store(assigned("main:01", "000660", 20, replaced="005930"))
    assert reader.open_slots() == [assigned("main:01", "000660", 20, replaced="005930")]


def test_a_release_of_the_replaced_symbol_takes_nothing_from_its_successor(store, reader):
    store(assigned("main:01", "005930", 10), assigned("main:01", "000660", 20, replaced="005930"))
    store(released("main:01", "005930", 20))
    assert [slot.symbol for slot in reader.open_slots()] == ["000660"]


def test_a_symbol_may_come_back_to_its_slot(store, reader):
    store(assigned("main:01", "005930", 10), released("main:01", "005930", 20), assigned("main:01", "005930", 30))
    assert [slot.assigned_ns for slot in reader.open_slots()] == [30]


def test_slots_from_before_the_given_time_do_not_count(store, reader):
    store(assigned("main:01", "005930", 10), assigned("main:02", "000660", 30))
    assert [slot.slot for slot in reader.open_slots(since_ns=20)] == ["main:02"]


def connection(account, changed_ns, state):
    return ConnectionChanged("kis", account, changed_ns, state, "", 0)


def test_the_last_stream_change_of_each_account_counts(store, reader):
    store(connection("first", 10, "connected"), connection("second", 11, "connected"))
    store(connection("first", 12, "lost"), stream=SECOND)
    store(connection("second", 5, "closed"))  # stored later, with an earlier time
    latest = reader.latest_connections(since_ns=0)
    assert {name: (change.changed_ns, change.state) for name, change in latest.items()} == {
        "first": (12, "lost"),
        "second": (11, "connected"),
    }
    assert set(reader.latest_connections(since_ns=12)) == {"first"}


def test_a_gap_is_open_until_it_is_recovered_or_given_up(store, reader):
    store(gap("a", 3), gap("b", 2), gap("c", 1), gap("d", 4), gap("e", session_date=NEXT_DAY))
    store(recovered("a"), lost("d"), stream=SECOND)
    assert reader.open_gaps(DAY) == [gap("c", 1), gap("b", 2), gap("e", session_date=NEXT_DAY)]
    assert [open_gap.gap_id for open_gap in reader.open_gaps(NEXT_DAY)] == ["e"]


def test_a_gap_that_was_found_twice_is_open_once(store, reader):
    store(gap("a", 3), gap("a", 5))
    assert reader.open_gaps(DAY) == [gap("a", 3)]


# --- a day in counts -----------------------------------------------------------------------------------------


def test_a_day_on_which_nothing_happened_is_all_zeros(reader):
    counts = msgspec.structs.asdict(reader.day_summary(DAY))
    assert {name: count for name, count in counts.items() if count} == {"session_date": DAY}


def test_the_bytes_of_a_times_inputs_in_quarantine_are_counted(store, reader):
    store(*(InputQuarantined("kis stream", NOON_NS + n, "no" * n, b"\x00\xff" * 10) for n in range(3)))
    assert reader.quarantined_input_bytes(NOON_NS, NOON_NS + 2) == 20 + 22
    assert reader.quarantined_input_bytes(NOON_NS + 3, NOON_NS + 9) == 0


def test_a_day_is_counted(store, reader):
    sweep = SweepCompleted("kis", DAY, 1, NOON_NS, NOON_NS, 2, 2, 1)
    fired = TriggerFired("005930", "volume_surge", NOON_NS, None, 3.0, 3.0, 1.0, 0.6, 16.0)
    store(*build(["005930", "000660"]), *build(["AAPL"], market="US"), sweep, snapshot("005930", NOON_NS))
    store(*trades(3), trade(4, gap_id="a"), fired, fired, msgspec.structs.replace(fired, kind="manual"))
    page = TapePage("kis", "005930", DAY, NOON_NS, NOON_NS, 30, 1, 9.0, 1.0, 10.0, 10, 11, (), "KRX")
    store(trade(5, gap_id=TAPE), page)  # it is neither streamed nor recovered
    store(assigned("main:01", "005930", NOON_NS), assigned("main:01", "000660", NOON_NS, replaced="005930"))
    store(released("main:01", "005930", NOON_NS))
    store(SlotOverflowed("035720", NOON_NS, "volume_surge", 0.6, 16.0, 20.0, "full"))
    store(gap("a"), gap("a"), gap("b"), gap("c"), recovered("a"), recovered("a"), lost("b"))
    store(gap("d"), msgspec.structs.replace(recovered("d"), source="minute_bars"))
    store(InputQuarantined("kis stream", NOON_NS, "too short", b"0|H0STCNT0"), Poison(b"", "unreadable"))
    summary = reader.day_summary(DAY)
    assert (summary.universe, summary.sweeps, summary.snapshots) == (3, 1, 1)
    assert (summary.trades, summary.recovered_trades) == (3, 1)
    assert summary.triggers == {"volume_surge": 2, "manual": 1}
    assert (summary.slots_allocated, summary.slots_replaced) == (2, 1)
    assert (summary.slots_released, summary.slots_overflow) == (1, 1)
    assert (summary.gaps_found, summary.gaps_recovered, summary.gaps_unrecoverable) == (4, 2, 1)
    assert summary.gaps_recovered_as_bars == 1
    assert (summary.quarantined_inputs, summary.quarantined_events) == (1, 1)
    assert reader.day_summary("2026-11-17") == msgspec.structs.replace(
        reader.day_summary("2026-11-16"), session_date="2026-11-17"
    )


def test_an_exchanges_first_import_brings_no_new_listings(store, reader):
    earlier_ns = local_ns(date(2026, 11, 17), 6)
    store(check("KOSPI", earlier_ns, initial=900), check("KOSPI", NOON_NS, new=2, removed=1))
    store(check("KOSDAQ", NOON_NS, initial=1_700), check("KOSDAQ", NOON_NS + 1, new=1))
    store(check("KOSPI", NOON_NS + 2, new=50, outcome="pending"))
    summary = reader.day_summary(DAY)
    assert (summary.listings_new, summary.listings_removed) == (3, 1)


@pytest.mark.parametrize(("moment_ns", "counted"), [(-1, 0), (0, 1), (ONE_DAY_NS - 1, 1), (ONE_DAY_NS, 0)])
def test_a_day_goes_from_midnight_to_midnight_in_korea(store, reader, moment_ns, counted):
    store(released("main:01", "005930", local_ns(date(2026, 11, 18)) + moment_ns))
    assert reader.day_summary(DAY).slots_released == counted


def test_one_query_reads_one_state_while_the_writer_continues(store, reader):
    store(*trades(5_000))
    answer = reader.trades(DAY)
    seen = list(itertools.islice(answer, 1))
    store(*trades(5_000, first=5_001))
    seen += answer
    assert len(seen) == 5_000
