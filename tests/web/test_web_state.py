"""The pure parts of the page's state: what follows from events and from a status."""

from hypothesis import given
from hypothesis import strategies as st

from bus.commands import OpenAlert, ProcessStatus, Sample, StatusReply
from bus.events import (
    ConnectionChanged,
    GapDetected,
    GapEmpty,
    GapOpened,
    GapRecovered,
    GapUnrecoverable,
    SlotAssigned,
    SlotReleased,
    Snapshot,
    SweepCompleted,
    TapeProgressed,
    TokenRenewed,
    TriggerEnded,
    TriggerFired,
    UniverseMember,
)
from bus.histogram import BOUNDS_S
from observer.base.units import NS_PER_MINUTE, NS_PER_MS, NS_PER_S
from observer.monitoring.metrics.host import ACKNOWLEDGEMENT, WAITING
from observer.web.model import Alerts, Processes
from observer.web.state_board import without_connections
from observer.web.state_day import TILES_MAX, DayBasis, DayFold
from observer.web.state_gaps import SPANS_MAX, STRIPS_MAX, GapEvent, GapFold
from observer.web.state_prices import POINT_MINUTES, LinePrices, Prices
from observer.web.state_system import (
    NO_SYSTEM,
    acknowledgement_s,
    alerts_of,
    answer_of,
    processes_of,
    timeline_of,
    waiting_events,
)
from tests.builders import trade
from tests.day_plans import day_plan
from tests.store.etf import etf_valued
from tests.store.filled import SESSIONS, ten_ns

DAY = SESSIONS[1]
TEN_NS = ten_ns(DAY)
BEGINS_NS = TEN_NS - 600 * NS_PER_MINUTE
LEVELS = ("ok", "warning", "critical")


def ms_of(moment_ns):
    return moment_ns // NS_PER_MS


def member(rank, line):
    return UniverseMember("kis", "KR", DAY, rank, line, f"name of {line}", "KOSPI", 1e12, 100.0, None, None)


def snapshot(line, price, value, minute=600):
    at_ns = BEGINS_NS + round(minute * NS_PER_MINUTE)
    return Snapshot("kis", line, DAY, 1, at_ns, price, *[None] * 3, 100.0, *[None] * 4, 10.0, value)


def fold(*events, lines=3, is_past=False):
    basis = DayBasis(
        session_date=DAY,
        begins_ns=BEGINS_NS,
        capacities={"main": 41},
        members=[member(rank, f"{rank:06}") for rank in range(1, lines + 1)],
        sectors={("KOSPI", "000001"): "Energy"},
        etf_names={"069500": "a fund"},
    )
    made = DayFold(basis, is_past=is_past)
    for event in events:
        made.apply(event)
    return made


def assigned(line, slot="main:01", trigger="volume_surge"):
    return SlotAssigned(slot, line, TEN_NS, trigger, 1.5, "free_slot", None)


# --- slots and prices ---


def test_a_slot_shows_its_line_s_last_price_its_age_and_the_trades_of_the_last_minute():
    found = fold(
        snapshot("000001", 100.0, 5.0),
        assigned("000001"),
        *(
            trade(number, symbol="000001", session_date=DAY, exchange_time_ns=TEN_NS + number * NS_PER_S, price=110.0)
            for number in range(1, 31)
        ),
    )
    [account] = found.board(TEN_NS + 70 * NS_PER_S, 3).accounts
    [slot] = account.slots
    assert (slot.name, slot.price, slot.price_age_s, slot.change_percent) == ("name of 000001", 110.0, 40.0, 10.0)
    assert slot.trades_per_minute == 20
    assert slot.prices == [(600.0, 110.0)]
    assert (account.name, account.slots_max) == ("main", 41)


def test_trades_that_were_fetched_later_are_no_last_prices():
    late = trade(1, symbol="000001", session_date=DAY, exchange_time_ns=TEN_NS, price=1.0, gap_id="tape")
    [account] = fold(assigned("000001"), late).board(TEN_NS, 3).accounts
    assert account.slots[0].price is None


def test_a_pin_says_so_and_a_released_slot_is_gone():
    pinned = assigned("000001", trigger="manual")
    [account] = fold(pinned).board(TEN_NS, 3).accounts
    assert account.slots[0].why == "pin"
    released = SlotReleased("main:01", "000001", TEN_NS, 1.5, "unpinned")
    assert not fold(pinned, released).board(TEN_NS, 3).accounts[0].slots


def test_a_past_day_keeps_the_slots_that_its_end_released_and_has_no_rates():
    closing = SlotReleased("main:01", "000001", TEN_NS, 1.5, "closed")
    assert not fold(assigned("000001"), closing).board(TEN_NS, 3).accounts[0].slots
    [slot] = fold(assigned("000001"), closing, is_past=True).board(TEN_NS, 3).accounts[0].slots
    assert (slot.line, slot.trades_per_minute) == ("000001", None)


def test_a_line_waits_while_its_condition_holds():
    fired = TriggerFired("000002", "volume_surge", TEN_NS, None, 3.0, 2.0, 1.0, 1.0, 1.0)
    replaced = SlotReleased("main:01", "000002", TEN_NS, 1.0, "replaced", "000001")
    events = (fired, assigned("000002"), replaced, assigned("000001"))
    assert fold(*events).board(TEN_NS, 3).waiting == 1
    ended = TriggerEnded("000002", "volume_surge", TEN_NS, TEN_NS, TEN_NS + 1)
    assert fold(*events, ended).board(TEN_NS, 3).waiting == 0


def test_an_account_shows_its_connection_and_its_token_s_end():
    [account] = fold().board(TEN_NS, 3).accounts
    assert (account.is_connected, account.token_expires) == (None, None)
    up = ConnectionChanged("kis", "main", TEN_NS, "connected", "", 0)
    renewed = TokenRenewed("kis", "main", TEN_NS, TEN_NS, "daily", True, "")
    [account] = fold(up, renewed).board(TEN_NS, 3).accounts
    assert (account.is_connected, account.token_expires) == (True, f"{DAY}T10:00:00+09:00")


def test_trades_of_a_minute_take_an_entry_a_second():
    line = LinePrices()
    for number in range(200_000):
        line.count(TEN_NS + number * NS_PER_S // 1_000, 1)
    assert line.trades_in_minute(TEN_NS + 199 * NS_PER_S) == 60_000
    assert len(line._trades) <= 61  # so a busy line costs no more than a quiet one


def test_a_board_without_its_streaming_process_says_nothing_of_connections():
    up = ConnectionChanged("kis", "main", TEN_NS, "connected", "", 0)
    [account] = without_connections(fold(up).board(TEN_NS, 3)).accounts
    assert (account.is_connected, account.slots_max) == (None, 41)


@given(st.lists(st.tuples(st.integers(0, 24 * 60 - 1), st.floats(1, 1e6)), max_size=60))
def test_points_are_in_order_and_the_last_is_the_newest_price(seen):
    prices = Prices(DAY, BEGINS_NS)
    for minute, price in seen:
        prices.see_snapshot("000001", BEGINS_NS + minute * NS_PER_MINUTE, price, None, 1.0)
    line = prices.lines.get("000001")
    assert (line is None) is (not seen)
    if line is not None:
        minutes = [minute for minute, _ in line.points]
        newest = max(minute for minute, _ in seen)
        assert minutes == sorted(set(minutes))
        assert all(minute % POINT_MINUTES == 0 for minute in minutes)
        assert line.points[-1] == (newest - newest % POINT_MINUTES, line.price)


# --- the universe, sweeps, ETFs, the tape ---


def test_tiles_are_the_lines_with_the_largest_traded_value():
    found = fold(snapshot("000001", 101.0, 5.0), snapshot("000002", 90.0, 9.0), snapshot("999999", 1.0, 99.0))
    universe = found.universe(ms_of)
    assert [(tile.line, tile.change_percent, tile.sector) for tile in universe.tiles] == [
        ("000002", -10.0, ""),
        ("000001", 1.0, "Energy"),
    ]
    assert universe.lines == 3


def test_there_are_no_more_tiles_than_the_page_shows():
    many = [snapshot(f"{number:06}", 100.0, float(number)) for number in range(1, TILES_MAX + 50)]
    tiles = fold(*many, lines=TILES_MAX + 49).universe(ms_of).tiles
    assert len(tiles) == TILES_MAX
    assert tiles[0].line == f"{TILES_MAX + 49:06}"


def test_a_day_without_a_universe_says_so():
    assert "universe" in fold(lines=0).universe(ms_of).missing


def test_sweeps_are_in_order_and_each_is_once():
    later = SweepCompleted("kis", DAY, 2, TEN_NS + 60 * NS_PER_S, TEN_NS + 90 * NS_PER_S, 3, 2, 1)
    first = SweepCompleted("kis", DAY, 1, TEN_NS, TEN_NS + NS_PER_S, 3, 3, 1)
    other_day = SweepCompleted("kis", SESSIONS[0], 3, TEN_NS, TEN_NS + NS_PER_S, 3, 3, 1)
    found = fold(later, first, later, other_day).sweeps(3, ms_of).sweeps
    assert [(sweep.begin_minute, sweep.duration_s, sweep.answered) for sweep in found] == [(600, 1, 3), (601, 30, 2)]


def test_premiums_are_of_the_newest_day_and_the_largest_first():
    def value(symbol, day, price):
        return etf_valued(symbol=symbol, session_date=day, price=price, nav=100.0)

    found = fold(
        value("069500", DAY, 101.0), value("2", DAY, 97.0), value("3", SESSIONS[0], 1.0), value("4", DAY, None)
    )
    premiums = found.premiums(ms_of)
    assert premiums.day == DAY
    assert [(each.name, each.premium_percent) for each in premiums.premiums] == [("2", -3.0), ("a fund", 1.0)]


def test_the_tape_shows_its_share_and_its_end():
    assert fold().tape(ms_of).missing
    progress = TapeProgressed("kis", DAY, TEN_NS, 3, 1, 1, 3, 30.0, 9.0, 1.0, 1, 2, 60.0, False)
    tape = fold(progress).tape(ms_of)
    assert (tape.share_held, tape.lines_complete, tape.done_at) == (0.3, 1, f"{DAY}T10:01:00+09:00")


# --- gaps ---

GAP = GapDetected("g", "kis", "000001", DAY, TEN_NS, TEN_NS, TEN_NS + 6 * NS_PER_S, 1.0, 2.0, 1.0, None, "reconnect")


def test_an_open_cut_lasts_until_now_and_an_empty_one_is_over():
    cut = GapOpened("g", "kis", "000001", DAY, TEN_NS, TEN_NS, 1.0, "reconnect")
    found = fold(cut).gaps(TEN_NS + 60 * NS_PER_S, 3)
    assert (found.open, found.strips[0].spans[0].end_minute) == (1, 601)
    empty = GapEmpty("g", "kis", "000001", DAY, TEN_NS, TEN_NS, TEN_NS + 30 * NS_PER_S, 1.0)
    [span] = fold(cut, empty).gaps(TEN_NS + 60 * NS_PER_S, 3).strips[0].spans
    assert (span.state, span.end_minute) == ("empty", 600.5)


def test_a_gap_s_outcome_is_the_last_one():
    lost = GapUnrecoverable("g", "000001", TEN_NS, "too late")
    recovered = GapRecovered("g", "000001", TEN_NS, "time_and_sales", 1, 1.0, True)
    assert fold(GAP, lost).gaps(TEN_NS, 3).lost == 1
    assert fold(GAP, lost, recovered).gaps(TEN_NS, 3).recovered == 1


gap_events: st.SearchStrategy[GapEvent] = st.tuples(st.integers(0, 4), st.sampled_from("abcde")).map(
    lambda drawn: (
        GapOpened(drawn[1], "kis", "000001", DAY, TEN_NS, TEN_NS, 1.0, "reconnect"),
        GapDetected(drawn[1], "kis", "000001", DAY, TEN_NS, TEN_NS, TEN_NS, 1.0, 2.0, 1.0, None, "reconnect"),
        GapEmpty(drawn[1], "kis", "000001", DAY, TEN_NS, TEN_NS, TEN_NS, 1.0),
        GapRecovered(drawn[1], "000001", TEN_NS, "time_and_sales", 1, 1.0, True),
        GapUnrecoverable(drawn[1], "000001", TEN_NS, "too late"),
    )[drawn[0]]
)


@given(st.lists(gap_events, max_size=30), st.integers(0, 30))
def test_a_tail_of_events_that_comes_twice_changes_nothing(events, read):
    once, twice = GapFold(DAY, BEGINS_NS), GapFold(DAY, BEGINS_NS)
    for event in events:
        once.apply(event)
    for event in [*events, *events[read:]]:
        twice.apply(event)
    assert once.gaps(TEN_NS, 1, str) == twice.gaps(TEN_NS, 1, str)


def test_strips_are_bounded_and_lines_with_open_gaps_come_first():
    gaps = GapFold(DAY, BEGINS_NS)
    for number in range(STRIPS_MAX + 20):
        for part in range(SPANS_MAX + 1 if number == 5 else 1):
            gap = GapDetected(
                *(f"{number}-{part}", "kis", f"{number:06}", DAY, TEN_NS, TEN_NS + part, TEN_NS + part),
                *(1.0, 2.0, 1.0, None, "reconnect"),
            )
            gaps.apply(gap)
            if number != STRIPS_MAX + 19:
                gaps.apply(GapRecovered(gap.gap_id, gap.symbol, TEN_NS, "time_and_sales", 1, 1.0, True))
    strips = gaps.gaps(TEN_NS, 1, str).strips
    assert len(strips) == STRIPS_MAX
    assert strips[0].line == f"{STRIPS_MAX + 19:06}"
    assert [len(strip.spans) for strip in strips[1:3]] == [SPANS_MAX, 1]


# --- is all well? ---

severities = st.sampled_from(["info", "warning", "critical"])
alerts = st.lists(
    st.builds(
        OpenAlert,
        identity=st.sampled_from(["disk_full", "token:main"]),
        severity=severities,
        since_ns=st.integers(TEN_NS, TEN_NS + 9),
        text=st.just("it is so"),
        process=st.just("track-b"),
        silenced_until_ns=st.none() | st.just(TEN_NS),
    ),
    max_size=4,
)
states = st.sampled_from(["RUNNING", "STARTING", "STOPPED", "BACKOFF", "EXITED", "FATAL", "LOOPING"])
processes = st.lists(
    st.builds(ProcessStatus, st.sampled_from(["track-a", "track-b"]), states, heartbeat_age_s=st.none() | st.just(9.0)),
    max_size=3,
)


def answer(found, opened, feed_age_s=1.0):
    reply = StatusReply(found, "FULL_OPERATION", TEN_NS, 1, 1.0)
    level, text = answer_of(
        processes_of(reply, "1", 1), alerts_of(opened, 1), "FULL_OPERATION", feed_age_s, feed_age_s_max=60
    )
    return LEVELS.index(level), text


@given(processes, alerts, alerts)
def test_a_further_alert_never_makes_the_answer_better(found, opened, more):
    assert answer(found, [*opened, *more])[0] >= answer(found, opened)[0]


@given(processes, alerts)
def test_silenced_and_informing_alerts_do_not_count(found, opened):
    loud = [each for each in opened if each.silenced_until_ns is None and each.severity != "info"]
    assert answer(found, opened) == answer(found, loud)


@given(processes, alerts)
def test_the_answer_is_as_bad_as_the_worst_finding(found, opened):
    loud = [each.severity for each in opened if each.silenced_until_ns is None]
    is_given_up = any(each.state in ("FATAL", "LOOPING") for each in found)
    is_ill = any(each.state not in ("RUNNING", "EXITED") or each.heartbeat_age_s for each in found)
    expected = 2 if is_given_up or "critical" in loud else 1 if is_ill or "warning" in loud else 0
    assert answer(found, opened)[0] == expected


def test_all_is_well_names_the_phase():
    level, text = answer([ProcessStatus("track-b", "RUNNING")], [])
    assert (level, text) == (0, "All is well: 1 processes run, full operation")


def test_a_silent_feed_counts_only_while_slots_stream():
    assert answer([], [], feed_age_s=61.0)[0] == 1
    quiet = answer_of(Processes(known_ms=1), Alerts(known_ms=1), "IDLE", 61.0, 60.0)
    assert quiet[0] == "ok"


def test_a_system_that_does_not_answer_is_critical():
    missing = Processes(known_ms=1, missing=NO_SYSTEM)
    assert answer_of(missing, Alerts(known_ms=1), "", 0.0, 60.0) == ("critical", NO_SYSTEM)


def test_the_worst_alerts_come_first_and_silenced_ones_after_loud_ones():
    def opened(identity, severity, silenced_ns=None):
        return OpenAlert(
            identity=identity,
            severity=severity,  # type: ignore[arg-type]
            since_ns=TEN_NS,
            text="it is so",
            process="track-b",
            silenced_until_ns=silenced_ns,
        )

    found = alerts_of([opened("a", "warning"), opened("b", "critical", TEN_NS), opened("c", "critical")], 1)
    assert [alert.identity for alert in found.alerts] == ["c", "b", "a"]


def test_the_lag_is_what_waits_and_the_time_of_most_acknowledgements_between_two_replies():
    def reply(waiting, *counts):
        samples = [Sample(WAITING, (), waiting), Sample(ACKNOWLEDGEMENT, (), 0.0, (*counts, *[0] * (16 - len(counts))))]
        return StatusReply([], "IDLE", TEN_NS, 1, 1.0, samples={"track-a": samples, "track-b": samples})

    before, after = reply(1, 1_000, 0, 7), reply(4, 1_099, 0, 8)
    assert waiting_events(after) == 8
    assert acknowledgement_s(before, after) == BOUNDS_S[0]
    assert acknowledgement_s(before, reply(4, 1_000, 0, 8)) == BOUNDS_S[2]
    assert acknowledgement_s(after, before) is None
    assert waiting_events(StatusReply([], "IDLE", TEN_NS, 1, 1.0)) is None


def test_the_timeline_has_the_plan_s_phases_in_minutes_of_the_day():
    from datetime import date

    plan = day_plan(date.fromisoformat(DAY))
    timeline = timeline_of(plan, TEN_NS, 5)
    assert timeline.now_minute == 600
    assert (timeline.phases[0].begin_minute, timeline.phases[-1].end_minute) == (0, 1440)
    assert "calendar" in timeline_of(None, TEN_NS, 5).missing
    assert not timeline_of(day_plan(date.fromisoformat(DAY), trades=False), TEN_NS, 5).phases
