"""The tape's judge finds a trade that is missing, altered, twice or invented, and a report that is not true."""

import contextlib
import json
import sqlite3

import pytest

from bus.delivery import Delivered
from bus.events import (
    BarsChecked,
    Event,
    GapDetected,
    MinuteDifference,
    SlotAssigned,
    TapeJudged,
    TapePage,
    TapeSpan,
    TriggerFired,
)
from observer.store.writer import StoreWriter
from tests.builders import trade
from tests.chaos.tape_judge import PAGE, Offered, finding, places, table
from tests.store.migrated import make_database
from tests.store.writable import with_writable_trades

S = 1_000_000_000
DAY, BUSY, SLOTTED = "2026-11-18", "005930", "000660"
OPEN_NS = 1_794_960_000 * S  # 09:00 KST
# Trades of one share. The busy symbol has 35 in one second: its page lacks the older five.
BURST_S, BURST = 600, PAGE + 5
BUSY_SECONDS = [*range(0, 400, 10), *[BURST_S] * BURST, *range(700, 950, 10)]
FIRST_LOST = BUSY_SECONDS.index(BURST_S)
LOST = range(FIRST_LOST, FIRST_LOST + 5)
# The other one wins a slot at 200 s: what was before is pre-roll; two streamed trades lie in a gap.
SLOTTED_SECONDS = list(range(0, 400, 10))
ASSIGNED_S, IN_GAP = 200, (30, 31)
UNSTORED = {BUSY: set(LOST), SLOTTED: set(IN_GAP)}
SECONDS = {BUSY: BUSY_SECONDS, SLOTTED: SLOTTED_SECONDS}


def offered():
    for symbol, seconds in SECONDS.items():
        minutes: dict[int, tuple[int, int, int, int, int]] = {}
        for second in seconds:
            start_ns = OPEN_NS + second // 60 * 60 * S
            minutes[start_ns] = (100, 100, 100, 100, minutes.get(start_ns, (0, 0, 0, 0, 0))[-1] + 1)
        count = len(seconds)
        moments = [OPEN_NS + second * S + 5 for second in seconds]
        yield symbol, Offered(moments, [100] * count, [1] * count, list(range(1, count + 1)), minutes)


def events():
    """A day on which nothing is wrong."""
    assigned_ns = OPEN_NS + ASSIGNED_S * S
    kept: list[Event] = []
    for symbol, seconds in SECONDS.items():
        for index, second in enumerate(seconds):
            if index in UNSTORED[symbol]:
                continue
            moment_ns = OPEN_NS + second * S
            source = None if symbol == SLOTTED and second > ASSIGNED_S else "tape"
            received_ns = moment_ns if source is None else max(moment_ns, assigned_ns) + 7 * S
            own = {"symbol": symbol, "session_date": DAY, "price": 100.0, "gap_id": source}
            kept.append(trade(index + 1, **own, exchange_time_ns=moment_ns, receive_time_ns=received_ns))
    burst_ns = OPEN_NS + BURST_S * S
    lost = TapeSpan(float(LOST.start), float(LOST.stop), burst_ns, burst_ns)
    gap_ns = OPEN_NS + 290 * S, OPEN_NS + 320 * S
    return [
        *kept,
        TriggerFired(SLOTTED, "volume_surge", assigned_ns - S, None, 3.0, 2.0, 1.0, 1.0, 1.0),
        SlotAssigned("a:1", SLOTTED, assigned_ns, "volume_surge", 1.0, "free_slot", None),
        GapDetected("g", "kis", SLOTTED, DAY, gap_ns[1], *gap_ns, 30.0, 32.0, 2.0, 2, "reconnect"),
        *(page(number) for number in range(4)),
        official(BURST_S // 60),
        report(BUSY, "seconds", unreachable=(lost,)),
        report(SLOTTED, "spans", unknown=(TapeSpan(30.0, 32.0, *gap_ns),)),
    ]


def page(number):
    moment_ns = OPEN_NS + number * 60 * S
    bounds = (number * PAGE + 0.0, number * PAGE + PAGE + 0.0)
    return TapePage("kis", BUSY, DAY, moment_ns, moment_ns, PAGE, PAGE, PAGE, *bounds, moment_ns, moment_ns)


def official(minute):
    """A comparison of the busy symbol: one minute differs."""
    differs = MinuteDifference(OPEN_NS + minute * 60 * S, "volume", float(BURST), float(PAGE))
    return BarsChecked("kis", BUSY, DAY, OPEN_NS, 12, 11, 1, 0, 0, 0, 100.0, 95.0, (differs,))


def report(symbol, word, *, unreachable=(), unknown=()):
    count = len(SECONDS[symbol])
    judged_ns = OPEN_NS + 40_000 * S
    return TapeJudged("kis", symbol, DAY, judged_ns, word, count, count - 2, count - 2, unreachable, unknown)


def judged(folder, *statements):
    """The judge's report on that day, after these changes of a copy of the database."""
    url = f"sqlite:///{folder}/observer.db"
    make_database(url)
    writer = StoreWriter(url)
    writer.open()
    writer.commit([Delivered("tape", "5" * 32, 1, events())])
    writer.close()
    with contextlib.closing(sqlite3.connect(folder / "observer.db")) as database, database:
        with_writable_trades(database)
        for statement in statements:
            before = database.total_changes
            database.execute(statement)
            assert database.total_changes > before
    return finding(folder / "observer.db", DAY, offered())


def test_a_whole_tape_is_sound_and_each_trade_has_its_fate(tmp_path):
    reported = judged(tmp_path)
    assert reported["sound"], json.dumps(reported)
    count = len(BUSY_SECONDS) + len(SLOTTED_SECONDS)
    streamed = sum(second > ASSIGNED_S for second in SLOTTED_SECONDS) - len(IN_GAP)
    fates = reported["trades"]
    assert fates["offered"] == count
    assert (fates["streamed"], fates["unreachable"], fates["gap"], fates["unnamed"]) == (streamed, 5, 2, 0)
    assert fates["fetched"] == count - streamed - 7
    assert reported["reachable_share"] == round((count - 7) / (count - 5), 6)
    assert reported["prerolls"] == {"slots": 1, "missing": [], "delay_p50_s": 7.0, "delay_p95_s": 7.0}
    assert reported["calls"]["pages"] == 4
    assert reported["official_bars"]["compared_lines"] == 1
    assert reported["official_bars"]["differ_where_trades_are_named_missing"] == 1
    assert sum(part["offered"] for part in reported["deciles"]) == count
    assert f"{count}" in table(reported)


@pytest.mark.parametrize(
    ("statement", "fault"),
    [
        (f"DELETE FROM trades WHERE symbol = '{BUSY}' AND cumulative_volume = 7", "unnamed"),
        (f"UPDATE trades SET price = 101 WHERE symbol = '{BUSY}' AND cumulative_volume = 7", "altered"),
        (f"UPDATE trades SET price = 101 WHERE symbol = '{BUSY}' AND cumulative_volume = 7", "minute_bar"),
        (f"UPDATE trades SET exchange_time_ns = exchange_time_ns + {S} WHERE cumulative_volume = 7", "altered"),
        (f"UPDATE trades SET cumulative_volume = 8 WHERE symbol = '{BUSY}' AND cumulative_volume = 7", "stored_twice"),
        ("UPDATE trades SET cumulative_volume = 1e6 WHERE cumulative_volume = 7", "never_offered"),
        ("UPDATE tape_reports SET quality = 'complete'", "wrong_quality"),
        (f"DELETE FROM tape_reports WHERE symbol = '{SLOTTED}'", "no_report"),
        (f"DELETE FROM trades WHERE symbol = '{BUSY}' AND cumulative_volume = {LOST.stop + 1}", "unnamed"),
        ("UPDATE bar_checks SET differences = replace(differences, '600000000000', '660000000000')", "official_bar"),
    ],
)
def test_the_judge_notices_each_kind_of_tampering(tmp_path, statement, fault):
    reported = judged(tmp_path, statement)
    assert reported["faults"][fault]["count"] >= 1
    assert not reported["sound"]


def test_a_reachable_trade_in_a_span_called_unreachable_is_a_fault(tmp_path):
    wider = json.dumps([{"after_volume": 0.0, "upto_volume": 1e6, "from_ns": 0, "to_ns": 0}])
    reported = judged(
        tmp_path,
        f"UPDATE tape_reports SET unreachable = '{wider}' WHERE symbol = '{BUSY}'",
        f"DELETE FROM trades WHERE symbol = '{BUSY}' AND cumulative_volume = 7",
    )
    assert "not_unreachable" in reported["faults"]


def test_calls_that_are_repeated_and_a_preroll_that_is_missing_fail_the_day(tmp_path):
    repeated = (
        "INSERT INTO tape_pages SELECT stream, sequence + 1000, provider, symbol, session_date, fetched_ns + 1, "
        "asked_ns, trades, 0, volume, after_volume, upto_volume, from_ns, to_ns, unreachable, venue FROM tape_pages "
        "WHERE after_volume = 0"
    )
    reported = judged(tmp_path, repeated)
    assert (reported["calls"]["repeated"], reported["sound"]) == (1, False)


def test_a_slot_whose_preroll_is_not_stored_fails_the_day(tmp_path):
    before_ns = OPEN_NS + ASSIGNED_S * S
    reported = judged(tmp_path, f"DELETE FROM trades WHERE symbol = '{SLOTTED}' AND exchange_time_ns < {before_ns}")
    assert (reported["prerolls"]["slots"], len(reported["prerolls"]["missing"])) == (1, 1)
    assert not reported["sound"]


def test_the_places_of_the_pages_say_what_each_call_brought():
    seconds = [*range(50), *[50] * 10, *range(51, 61)]
    count = len(seconds)
    market = Offered(
        [OPEN_NS + second * S for second in seconds], [100] * count, [1] * count, list(range(1, count + 1)), {}
    )
    fetched = set(range(1, 66))  # the last five were streamed
    first = (OPEN_NS + 55 * S, PAGE, 63)  # trades 36 to 65, asked up to volume 63
    beside = (OPEN_NS + 35 * S, PAGE, 60)  # trades 7 to 36: its newest is the oldest of the page before
    second = (OPEN_NS + 60 * S, PAGE, count)  # another visit: trades 41 to 70, five of them streamed
    last = (OPEN_NS + 6 * S, 7, 7)
    assert places(market, fetched, [first, beside, second, last]) == {
        "new": 28 + 29 + 2 + 6,
        "above_limit": 2,
        "same_second": 1,
        "streamed": 5,
        "earlier_visit": 23 + 1,
        "short": PAGE - 7,
    }
