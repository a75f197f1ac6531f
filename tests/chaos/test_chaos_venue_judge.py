"""The judge of a day at both venues finds a misplaced trade, a false report, a halt without a fact, harm by a stop."""

import contextlib
import json
import sqlite3

import pytest

from bus.delivery import Delivered
from bus.events import GapDetected, MarketStateChanged, QualityJudged, SlotAssigned, SlotReleased
from observer.store.writer import StoreWriter
from tests.builders import trade
from tests.chaos.venue_judge import finding
from tests.store.migrated import make_database
from tests.store.writable import with_writable_trades

S = 1_000_000_000
DAY, STOCK = "2026-11-18", "005930"
OPEN_NS = 1_794_960_000 * S  # 09:00 KST
BEGINS_NS, ENDS_NS = OPEN_NS - 3_600 * S, OPEN_NS + 11 * 3_600 * S
STOP = (OPEN_NS + 3_600 * S, OPEN_NS + 5_400 * S)
HALT = (OPEN_NS + 7_200 * S, OPEN_NS + 7_320 * S, "volatility")
# Venue, session, second after 09:00; each trade has one share.
TAPE = (
    ("KRX", "regular", 0), ("KRX", "regular", 60), ("KRX", "closing_auction", 23_400), ("KRX", "after", 30_000),
    ("NXT", "pre", -1_800), ("NXT", "regular", 60), ("NXT", "regular", 120), ("NXT", "after", 30_000),
)  # fmt: skip
MISSED = 6  # NXT's second trade of its regular session lies in a gap
STATED = {"closing_auction": "regular"}


def line(venue):
    return STOCK if venue == "KRX" else f"{STOCK}.{venue}"


def rows():
    """The tape with the day's volume after each trade, which is also its number in its line's day."""
    numbers = [sum(venue == each[0] for each in TAPE[: index + 1]) for index, (venue, _, _) in enumerate(TAPE)]
    return [(*each, number) for each, number in zip(TAPE, numbers, strict=True)]


def stored(venue, session, second, number):
    own = {"symbol": line(venue), "venue": venue, "session": STATED.get(session, session), "session_date": DAY}
    moment_ns = OPEN_NS + second * S
    times = {"exchange_time_ns": moment_ns, "receive_time_ns": moment_ns, "cumulative_trades": number}
    return trade(number, **own, **times, volume=1.0, cumulative_volume=float(number))


def report(venue, word, share):
    own = ("kis", line(venue), DAY, ENDS_NS, word, "", 1.0, 4, 4.0, 0.0, 0.0, 0.0, 0, 0)
    return QualityJudged(*own, "part", 1.0, 4.0, share, venue=venue)


def state(venue, at_ns, *, stop="", interrupted="N"):
    return MarketStateChanged("kis", line(venue), at_ns, False, "", stop, "", "", "", "", interrupted, "", venue)


def events():
    """A day on which nothing is wrong."""
    gap_ns = OPEN_NS + 90 * S, OPEN_NS + 121 * S
    return [
        *(SlotAssigned(f"a:{v}", line(v), BEGINS_NS, "market_cap", 1.0, "free_slot", None, v) for v in ("KRX", "NXT")),
        *(stored(*row) for index, row in enumerate(rows()) if index != MISSED),
        GapDetected("g", "kis", line("NXT"), DAY, gap_ns[1], *gap_ns, 2.0, 3.0, 1.0, 1, "reconnect", "NXT"),
        *(state(venue, STOP[0], stop="174") for venue in ("KRX", "NXT")),
        state("KRX", HALT[0], interrupted="Y"),
        *(SlotReleased(f"a:{v}", line(v), ENDS_NS, 1.0, "closed", None, v) for v in ("KRX", "NXT")),
        report("KRX", "complete", 1.0),
        report("NXT", "degraded", 0.75),
    ]


def judged(folder, *statements):
    """The judge's report on that day, after these changes of the database."""
    url, offered = f"sqlite:///{folder}/observer.db", folder / "offered.csv"
    make_database(url)
    writer = StoreWriter(url)
    writer.open()
    writer.commit([Delivered("track-b", "5" * 32, 1, events())])
    writer.close()
    with contextlib.closing(sqlite3.connect(folder / "observer.db")) as database, database:
        with_writable_trades(database)
        for statement in statements:
            database.execute(statement)
    lines = [f"{STOCK},{OPEN_NS + s * S},{number},1,100,{v},{session}" for v, session, s, number in rows()]
    header = "symbol,exchange_time_ns,cumulative_volume,volume,price,venue,session"
    offered.write_text("\n".join([header, *lines]))
    ledger = [
        {"symbol": STOCK, "view": view, "acknowledged_ns": BEGINS_NS, "trades_before": 0, "spans": []}
        for view in ("KRX", "NXT")
    ]
    return finding(ledger, folder / "observer.db", offered, {"halts": {STOCK: [HALT]}, "stops": [STOP]})


def test_the_tables_have_each_venue_with_its_sessions_reports_halts_and_stops(tmp_path):
    reported = judged(tmp_path)
    assert reported["nothing_wrong"], json.dumps(reported)
    fates = {key: (row["offered"], row["in slots"], row["streamed"], row["in gaps"], row["lost"])
             for key, row in reported["trades"].items()}  # fmt: skip
    assert fates == {
        "KRX after": (1, 1, 1, 0, 0),
        "KRX closing_auction": (1, 1, 1, 0, 0),
        "KRX regular": (2, 2, 2, 0, 0),
        "NXT after": (1, 1, 1, 0, 0),
        "NXT pre": (1, 1, 1, 0, 0),
        "NXT regular": (2, 2, 1, 1, 0),
    }
    assert reported["quality"] == {"KRX": {"complete": 1}, "NXT": {"degraded": 1}}
    assert reported["halts_in_slots"] == {"KRX volatility": {"in slots": 1, "stated": 1}}
    assert reported["stops"]["facts_by_venue"] == {"KRX": 1, "NXT": 1}


@pytest.mark.parametrize(
    ("statement", "wrong"),
    [
        ("DELETE FROM trades WHERE symbol = '005930.NXT' AND session = 'after'", "lost"),
        ("DELETE FROM gaps", "lost"),
        ("UPDATE trades SET session = 'regular' WHERE venue = 'NXT' AND session = 'after'", "misplaced"),
        ("UPDATE trades SET venue = 'KRX' WHERE symbol = '005930.NXT'", "misplaced"),
        ("UPDATE quality SET slots_quality = 'complete'", "slots_better_than_truth"),
        ("UPDATE quality SET day_volume = 5 WHERE venue = 'NXT'", "day_volume_differs"),
        ("UPDATE quality SET volume_share = 1", "volume_share_differs"),
        ("DELETE FROM quality WHERE venue = 'NXT'", "not_judged"),
        ("DELETE FROM market_states WHERE volatility_interruption = 'Y'", "halts"),
        ("UPDATE market_states SET venue = 'KRX'", "stops"),
        (f"UPDATE slot_releases SET released_ns = {STOP[0] + 1} WHERE symbol = '005930.NXT'", "stops"),
        (f"UPDATE gaps SET from_ns = {STOP[0] + 1}, to_ns = {STOP[1] - 1}", "stops"),
    ],
)
def test_the_judge_notices_each_kind_of_tampering(tmp_path, statement, wrong):
    reported = judged(tmp_path, statement)
    assert reported["wrong"][wrong] > 0
    assert not reported["nothing_wrong"]


def test_a_move_to_another_account_in_a_stop_is_counted_and_is_no_loss_of_the_slot(tmp_path):
    moved_ns = STOP[0] + 1
    reported = judged(
        tmp_path,
        f"UPDATE slot_releases SET released_ns = {moved_ns}, reason = 'moved' WHERE symbol = '005930.NXT'",
        f"INSERT INTO slot_assignments SELECT stream, sequence + 1000, 'b:1', symbol, {moved_ns}, \"trigger\", score, "
        "'moved', replaced, expires_ns, venue FROM slot_assignments WHERE symbol = '005930.NXT'",
    )
    assert (reported["stops"]["slots_released"], reported["stops"]["slots_moved"]) == (0, 1)
    assert "stops" not in reported["wrong"]
