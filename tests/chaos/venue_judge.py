"""Checks a day of both venues by venue and session: `python -m tests.chaos.venue_judge LEDGER DATABASE OFFERED HALTS`.

LEDGER and OFFERED are those of tests/chaos/ledger_judge.py. HALTS is a JSON object: `halts`, the symbols' halts by line
(from, to, reason), and `stops` of the whole market (from, to), all in UTC ns. The judge reads these and the database,
imports nothing of Observer, and uses none of its counters.

*trades*: by venue and session, the trades that the market offered in all and of the lines with a slot; of those offered
while the line's slot had a subscription, how many are stored as streamed, how many as recovered, and how many lie in
recorded gaps only. The three add up: `lost` is 0. A stored row states the venue of its line and no other session than
the market's.

*quality*: by venue, how many lines have each report; a report that is better than the truth is wrong.

*halts*: a line traded in none of its halts. Of those that begin while it has a slot, so many are stored facts with its
venue; of each venue and reason at least one is. What a cut stream missed of states, no call recovers.

*stops*: in a stop of the whole market no line loses its slot and no gap begins and ends; both venues report it. A move
to another account is a release and an assignment of the line at one moment: it is counted, and is no loss.

Prints one JSON object. Exit status 0: nothing is wrong; 1: something is.
"""

import argparse
import contextlib
import csv
import json
import sqlite3
import sys
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.labels_judge import Report, read_reports, words
from tests.chaos.ledger_judge import Kept, Tape, held, line_id, read_kept, read_tapes
from tests.chaos.shares import Shares, common, united, volume

NS_PER_S = 1_000_000_000
NOTICE_NS = 900 * NS_PER_S  # a halt's fact may come with a record or from a quote after the next sweep
# The session that a record of the wire states while the market is in its own session.
STATED = {"pre": "pre", "regular": "regular", "closing_auction": "regular", "after": "after"}
FATES = ("offered", "of lines with a slot", "in slots", "streamed", "recovered", "in gaps", "lost")

ROWS = "SELECT symbol, cumulative_volume, venue, session FROM trades"
RELEASES = (
    "SELECT EXISTS (SELECT 1 FROM slot_assignments a WHERE a.symbol = r.symbol AND a.assigned_ns = r.released_ns) "
    "FROM slot_releases r WHERE released_ns >= ? AND released_ns < ?"
)
GAPS_WITHIN = "SELECT count(*) FROM gaps WHERE from_ns >= ? AND to_ns <= ?"
FACTS = "SELECT symbol, venue, receive_time_ns, halted, volatility_interruption, market_state FROM market_states"


@dataclass
class Offer:
    """One trade that the market offered: the day's volume before and after it, and its venue and session."""

    start: int
    end: int
    key: tuple[str, str]


@dataclass
class LineDay:
    """A line's side of the database and the ledger; `should` are the shares traded in its slots."""

    kept: Kept
    tape: Tape
    should: Shares = field(default_factory=list)


def read_offers(path: Path) -> dict[str, list[Offer]]:
    """The market's trades by line, in their order."""
    offers: defaultdict[str, list[Offer]] = defaultdict(list)
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            end = int(row["cumulative_volume"])
            key = row["venue"], row["session"]
            offers[line_id(row["symbol"], row["venue"])].append(Offer(end - int(row["volume"]), end, key))
    return offers


def is_in(shares: Shares, offer: Offer) -> bool:
    """Whether all of the trade lies in these shares."""
    index = bisect_right(shares, (offer.start, sys.maxsize)) - 1
    return index >= 0 and shares[index][1] >= offer.end


def trades_table(
    offers: Mapping[str, Sequence[Offer]], lines: Mapping[str, LineDay]
) -> dict[tuple[str, str], Counter[str]]:
    """The trades of each venue and session by their fate."""
    table: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for symbol, trades in offers.items():
        line = lines.get(symbol)
        streamed, recovered, gaps = _stored(line.kept) if line is not None else ([], [], [])
        for trade in trades:
            row = table[trade.key]
            row["offered"] += 1
            if line is None:
                continue
            row["of lines with a slot"] += 1
            if not is_in(line.should, trade):
                continue
            row["in slots"] += 1
            fates = (("streamed", streamed), ("recovered", recovered), ("in gaps", gaps))
            row[next((name for name, shares in fates if is_in(shares, trade)), "lost")] += 1
    return dict(table)


def _stored(kept: Kept) -> tuple[Shares, Shares, Shares]:
    return united([*kept.streamed, *kept.conflated]), united(kept.recovered), united(kept.gaps)


def misplaced(database: sqlite3.Connection, offers: Mapping[str, Sequence[Offer]]) -> Iterator[str]:
    """Stored trades with another venue than their line's, or a session in which the market did not make them."""
    keys = {(symbol, each.end): each.key for symbol, trades in offers.items() for each in trades}
    for symbol, total, venue, session in database.execute(ROWS):
        offered = keys.get((symbol, int(total)))
        if offered is None or venue != offered[0] or session not in (None, STATED[offered[1]]):
            yield f"{symbol} at {total}: {venue} {session}, offered {offered}"


def halts_account(
    halts: Mapping[str, Sequence[tuple[int, int, str]]], lines: Mapping[str, LineDay], facts: Sequence[Any]
) -> tuple[dict[str, dict[str, int]], list[str]]:
    """Halts within slots, and those with a stored fact, by venue and reason; and what is wrong with them."""
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    wrong = list[str]()
    for symbol, line in lines.items():
        for from_ns, to_ns, reason in halts.get(symbol, ()):
            if line.tape.volume_before(from_ns) != line.tape.volume_before(to_ns):
                wrong.append(f"{symbol}: the market traded in its {reason} halt")
            if _holds(line.kept, from_ns):
                venue = "NXT" if symbol.endswith(".NXT") else "KRX"
                own = (fact[2:5] for fact in facts if fact[:2] == (symbol, venue))
                stated = any(
                    from_ns <= at_ns <= to_ns + NOTICE_NS and (halted or interrupted == "Y")
                    for at_ns, halted, interrupted in own
                )
                found[f"{venue} {reason}"].update({"in slots": 1, "stated": int(stated)})
    wrong += [f"no {kind} halt is a stored fact" for kind, counts in found.items() if not counts["stated"]]
    return {kind: dict(counts) for kind, counts in sorted(found.items())}, wrong


def _holds(kept: Kept, moment_ns: int) -> bool:
    """Whether the symbol has a slot at a moment, and had it some minutes before."""
    starts = [each for each in kept.starts_ns if each <= moment_ns - NOTICE_NS]
    ended = max((each for each in kept.ends_ns if each <= moment_ns), default=0)
    return bool(starts) and max(starts) > ended


def stops_account(
    database: sqlite3.Connection, stops: Sequence[tuple[int, int]], facts: Sequence[Any]
) -> Mapping[str, Any]:
    """What is stored of the stops of the whole market."""
    bounds = [(from_ns, to_ns) for from_ns, to_ns in stops]
    released = Counter(bool(is_moved) for each in bounds for (is_moved,) in database.execute(RELEASES, each))
    return {
        "stops": len(bounds),
        "slots_released": released[False],
        "slots_moved": released[True],
        "gaps_within": sum(database.execute(GAPS_WITHIN, each).fetchone()[0] for each in bounds),
        "facts_by_venue": dict(
            Counter(venue for _, venue, at_ns, _, _, state in facts if state and _is_within(at_ns, bounds))
        ),
    }


def _is_within(moment_ns: int, bounds: Sequence[tuple[int, int]]) -> bool:
    return any(from_ns <= moment_ns < to_ns for from_ns, to_ns in bounds)


def quality_account(
    reports: Mapping[str, Report], lines: Mapping[str, LineDay]
) -> tuple[dict[str, dict[str, int]], Counter[str]]:
    """The reports by venue and word, and how many are better than the truth or of another day's volume."""
    table: defaultdict[str, Counter[str]] = defaultdict(Counter)
    wrong = Counter[str]()
    for symbol, report in reports.items():
        line = lines.get(symbol, LineDay(Kept(), Tape()))
        table["NXT" if symbol.endswith(".NXT") else "KRX"][report.slots_quality] += 1
        wrong.update(words(report, line.tape, line.kept, line.should))
        total = line.tape.volumes[-1] if line.tape.volumes else 0
        stored = united([*line.kept.streamed, *line.kept.recovered])
        share = volume(common(stored, [(0, total)])) / total if total else None
        wrong["day_volume_differs"] += report.day_volume != total
        wrong["volume_share_differs"] += report.volume_share != share
    wrong["not_judged"] = sum(symbol not in reports for symbol, each in lines.items() if each.kept.starts_ns)
    return {venue: dict(counts) for venue, counts in sorted(table.items())}, wrong


def finding(
    ledger: Sequence[Mapping[str, Any]], database: Path, offered: Path, halted: Mapping[str, Any]
) -> dict[str, Any]:
    """All tables, and whether nothing is wrong."""
    offers, tapes = read_offers(offered), read_tapes(offered)
    subscriptions: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for subscription in ledger:
        subscriptions[line_id(subscription["symbol"], subscription["view"])].append(subscription)
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        [(day,)] = connection.execute("SELECT max(session_date) FROM quality")
        reports, kept = read_reports(connection, day), read_kept(connection)
        lines = {
            symbol: LineDay(each, tapes[symbol], held(subscriptions[symbol], each, tapes[symbol]))
            for symbol, each in kept.items()
            if each.starts_ns
        }
        facts = connection.execute(FACTS).fetchall()
        stops = stops_account(connection, halted["stops"], facts)
        places = list(misplaced(connection, offers))
    table = trades_table(offers, lines)
    halts, wrong_halts = halts_account(halted["halts"], lines, facts)
    quality, wrong = quality_account(reports, lines)
    wrong.update(lost=sum(row["lost"] for row in table.values()), misplaced=len(places), halts=len(wrong_halts))
    wrong.update(stops=stops["slots_released"] + stops["gaps_within"] + _unreported(stops, {key[0] for key in table}))
    return {
        "nothing_wrong": bool(lines) and not any(wrong.values()),
        "wrong": {name: count for name, count in wrong.items() if count},
        "trades": {" ".join(key): {fate: row[fate] for fate in FATES} for key, row in sorted(table.items())},
        "quality": quality,
        "halts_in_slots": halts,
        "stops": stops,
        "details": [*places[:20], *wrong_halts],
    }


def _unreported(stops: Mapping[str, Any], venues: set[str]) -> int:
    """The venues whose lines report no stop, if there was one."""
    return len(venues - stops["facts_by_venue"].keys()) if stops["stops"] else 0


def main() -> int:
    """Run the judge and print the report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for name in ("ledger", "database", "offered", "halts"):
        parser.add_argument(name, type=Path)
    arguments = parser.parse_args()
    ledger, halts = (json.loads(path.read_text()) for path in (arguments.ledger, arguments.halts))
    reported = finding(ledger, arguments.database, arguments.offered, halts)
    sys.stdout.write(json.dumps(reported, indent=2) + "\n")
    return 0 if reported["nothing_wrong"] else 1


if __name__ == "__main__":
    sys.exit(main())
