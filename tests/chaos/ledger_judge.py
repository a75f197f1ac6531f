"""Checks a database against a broker's ledger: `python -m tests.chaos.ledger_judge LEDGER DATABASE OFFERED`.

LEDGER is the simulator's answer to GET /simulator/registrations; OFFERED is the output of `observer simulator offered`
for the same market. The judge reads these and the database, imports nothing of Observer, and uses none of its counters.

It makes two reconciliations per line (a stock at one venue: the symbol at the KRX, `SYMBOL.NXT` at NXT), exact to the
share:

*the wire*: the trades stored as streamed (conflated rows by their volume) equal the trades that the simulator sent,
less recorded gaps. Track B promises the trades up to its stop: of those behind it, which its stream brings until it is
closed, any may be missing. No trade is stored unless it was sent readable, none twice, none both streamed and missing.

*the day*: every trade from a slot's first subscription to its end is stored or lies in a recorded gap, including trades
during an outage, up to Track B's stop. A slot without a release lasts until the market closes. The database's own
quality report on the symbol's day, if there is one, claims no more than that. A subscription counts from its
acknowledgement, unless Observer had left that connection before the broker acknowledged and sent nothing over it: it
never learned of that one.

Prints one JSON object. Exit status 0: both reconcile; 1: not.
"""

import argparse
import contextlib
import csv
import json
import sqlite3
import sys
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.shares import Shares, common, united, volume, without

NS_PER_S = 1_000_000_000
NS_PER_MINUTE = 60 * NS_PER_S
SHORT_GAP_S = 60

STREAMED = (
    "SELECT symbol, cumulative_volume - volume, cumulative_volume, cumulative_trades FROM trades WHERE gap_id IS NULL"
)
CONFLATED = "SELECT symbol, cumulative_volume - volume, cumulative_volume, trades FROM conflated_trades"
RECOVERED = "SELECT symbol, cumulative_volume - volume, cumulative_volume, gap_id FROM trades WHERE gap_id IS NOT NULL"
GAPS = "SELECT symbol, after_volume, before_volume, gap_id, to_ns - from_ns FROM gaps"
PRICES = "SELECT symbol, cumulative_volume, price, volume, exchange_time_ns FROM trades"
CLOSED = "SELECT gap_id, source, complete FROM gap_recoveries"
STARTS = "SELECT symbol, assigned_ns, slot, reason FROM slot_assignments ORDER BY assigned_ns"
CONNECTIONS = "SELECT account, changed_ns, state FROM connections ORDER BY changed_ns, stream, sequence"
STOP = "SELECT max(changed_ns) FROM phases WHERE previous = 'FULL_OPERATION'"  # planned for a full minute
QUALITIES = "SELECT symbol, slots_quality FROM quality ORDER BY judged_ns, stream, sequence"
# A move to another account releases and assigns the slot at one moment; the slot does not end.
ENDS = """
    SELECT symbol, released_ns FROM slot_releases r WHERE NOT EXISTS
      (SELECT 1 FROM slot_assignments a WHERE a.symbol = r.symbol AND a.assigned_ns = r.released_ns)
    UNION ALL SELECT replaced, assigned_ns FROM slot_assignments WHERE replaced IS NOT NULL
"""


@dataclass
class Tape:
    """A symbol's day as the market offered it: ascending times and the day's volume after each trade."""

    times_ns: list[int] = field(default_factory=list)
    volumes: list[int] = field(default_factory=list)
    prices: list[int] = field(default_factory=list)

    def volume_after(self, trades: int) -> int:
        """The day's volume after so many trades."""
        return self.volumes[trades - 1] if trades else 0

    def volume_at(self, moment_ns: int) -> int:
        """The day's volume at a moment."""
        return self.volume_after(bisect_right(self.times_ns, moment_ns))

    def volume_before(self, moment_ns: int) -> int:
        """The day's volume just before a moment."""
        return self.volume_after(bisect_left(self.times_ns, moment_ns))


@dataclass
class Kept:
    """One symbol's stored data as intervals of the day's volume; `numbers`: sequence numbers of streamed trades."""

    streamed: list[tuple[int, int]] = field(default_factory=list)
    conflated: list[tuple[int, int]] = field(default_factory=list)
    recovered: list[tuple[int, int]] = field(default_factory=list)
    gaps: list[tuple[int, int]] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    starts_ns: list[int] = field(default_factory=list)
    ends_ns: list[int] = field(default_factory=list)
    accounts: list[tuple[int, str]] = field(default_factory=list)
    moves_ns: set[int] = field(default_factory=set)
    finding: str = ""

    @property
    def never_ended(self) -> bool:
        """Whether the last slot assignment has no release."""
        return max(self.starts_ns, default=0) > max(self.ends_ns, default=0)


def line_id(symbol: str, venue: str) -> str:
    """The name of a stock at a venue in the database."""
    return symbol if venue == "KRX" else f"{symbol}.{venue}"


def read_tapes(path: Path) -> dict[str, Tape]:
    """The market by line."""
    tapes: defaultdict[str, Tape] = defaultdict(Tape)
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            tape = tapes[line_id(row["symbol"], row["venue"])]
            tape.times_ns.append(int(row["exchange_time_ns"]))
            tape.volumes.append(int(row["cumulative_volume"]))
            tape.prices.append(int(row["price"]))
    return tapes


def read_kept(database: sqlite3.Connection) -> dict[str, Kept]:
    """The database's side by symbol."""
    kept: defaultdict[str, Kept] = defaultdict(Kept)
    for symbol, start, end, number in database.execute(STREAMED):
        kept[symbol].streamed.append((int(start), int(end)))
        kept[symbol].numbers.append(number)
    for symbol, start, end, _trades in database.execute(CONFLATED):
        kept[symbol].conflated.append((int(start), int(end)))
    for symbol, start, end, _gap in database.execute(RECOVERED):
        kept[symbol].recovered.append((int(start), int(end)))
    for symbol, start, end, _gap, _duration in database.execute(GAPS):
        kept[symbol].gaps.append((int(start), int(end)))
    for symbol, start_ns, slot, reason in database.execute(STARTS):
        kept[symbol].starts_ns.append(start_ns)
        kept[symbol].accounts.append((start_ns, slot.partition(":")[0]))
        kept[symbol].moves_ns.update([start_ns] if reason in ("moved", "moved_home") else [])
    for symbol, judged in database.execute(QUALITIES):
        kept[symbol].finding = judged
    for symbol, end_ns in database.execute(ENDS):
        kept[symbol].ends_ns.append(end_ns)
    return kept


def is_known(subscription: Mapping[str, Any], kept: Kept, changes: Sequence[tuple[str, int, str]]) -> bool:
    """Whether Observer can know of a subscription: something was sent, or the connection of its slot's account was not
    left when the broker acknowledged. `changes`: account, time and new state, ascending.
    """
    at_ns = subscription["acknowledged_ns"]
    _, account = max((each for each in kept.accounts if each[0] <= at_ns), default=(0, ""))
    states = [state for name, changed_ns, state in changes if name == account and changed_ns <= at_ns]
    return bool(subscription["spans"]) or not states or states[-1] == "connected"


def wire_account(subscriptions: Sequence[Mapping[str, Any]], kept: Kept, promised: Shares) -> dict[str, int]:
    """Differences between the wire and the database, in shares (`doubled_trades`, `unsent_trades`: in trades).
    `promised` is the line's volume up to Track B's stop.
    """
    spans = [span for subscription in subscriptions for span in subscription["spans"]]
    sent = united((span["volume_before"], span["volume_after"]) for span in spans)
    readable = united((span["volume_before"], span["volume_after"]) for span in spans if span["fate"] != "broken")
    stored, gaps = united([*kept.streamed, *kept.conflated]), united(kept.gaps)
    numbers = [(span["first_trade"], span["last_trade"]) for span in spans if span["fate"] != "broken"]
    return {
        "lost": volume(without(without(common(sent, promised), stored), gaps)),
        "unsent": volume(without(stored, readable)),
        "unsent_trades": sum(not any(first <= n <= last for first, last in numbers) for n in kept.numbers),
        "stored_though_missing": volume(common(stored, gaps)),
        "doubled": volume([*kept.streamed, *kept.conflated, *kept.recovered])
        - volume(united([*kept.streamed, *kept.conflated, *kept.recovered])),
        "doubled_trades": len(kept.numbers) - len(set(kept.numbers)),
        "recovered_outside_gaps": volume(without(united(kept.recovered), gaps)),
        "gaps_twice": volume(kept.gaps) - volume(gaps),
    }


def held(subscriptions: Sequence[Mapping[str, Any]], kept: Kept, tape: Tape) -> Shares:
    """Volume intervals from the first subscription of each slot to the slot's end; all must be accounted for."""
    parts: list[tuple[int, int]] = []
    begun: Mapping[str, Any] | None = None
    in_slots = (found for each in subscriptions if (found := _within_slot(each, kept, tape)) is not None)
    for subscription in sorted(in_slots, key=lambda each: each["acknowledged_ns"]):
        if begun is not None and (ends := _ends_between(begun, subscription["acknowledged_ns"], kept)):
            parts.append((tape.volume_after(begun["trades_before"]), tape.volume_at(ends[0])))
            begun = None
        begun = begun or subscription
    if begun is not None:
        ends = _ends_between(begun, sys.maxsize, kept) or ([sys.maxsize] if kept.never_ended else [])
        parts += [(tape.volume_after(begun["trades_before"]), tape.volume_at(end_ns)) for end_ns in ends[:1]]
    return united(parts)


def _within_slot(subscription: Mapping[str, Any], kept: Kept, tape: Tape) -> Mapping[str, Any] | None:
    """The subscription while a slot holds the symbol: one that is acknowledged after its slot's release begins with the
    next slot; None if it has ended by then.
    """
    at_ns = subscription["acknowledged_ns"]
    start_ns = max((each for each in kept.starts_ns if each <= at_ns), default=at_ns)
    if not any(start_ns <= end_ns < at_ns for end_ns in kept.ends_ns):
        return subscription
    ended_ns = subscription.get("ended_ns") or sys.maxsize
    next_ns = min((each for each in kept.starts_ns if at_ns < each < ended_ns), default=None)
    if next_ns is None:
        return None
    return {**subscription, "acknowledged_ns": next_ns, "trades_before": bisect_right(tape.times_ns, next_ns)}


def _ends_between(begun: Mapping[str, Any], until_ns: int, kept: Kept) -> list[int]:
    return sorted(end_ns for end_ns in kept.ends_ns if begun["acknowledged_ns"] <= end_ns < until_ns)


def day_account(subscriptions: Sequence[Mapping[str, Any]], kept: Kept, tape: Tape, promised: Shares) -> dict[str, int]:
    """Shares traded while the symbol has a slot, and how many are neither stored nor in a recorded gap."""
    should = common(held(subscriptions, kept, tape), promised)
    stored, gaps = united([*kept.streamed, *kept.conflated]), united(kept.gaps)
    not_streamed = without(should, stored)
    unknown = without(not_streamed, gaps)
    worse = {
        "complete": not_streamed,
        "recovered": without(not_streamed, united(kept.recovered)),
    }.get(kept.finding, [])
    return {
        "traded_while_held": volume(should),
        "missing_unrecorded": volume(unknown),
        "missing_and_judged_whole": volume(worse),
        "never_ended": int(kept.never_ended),
    }


def causes(subscriptions: Sequence[Mapping[str, Any]], kept: Kept) -> Counter[str]:
    """A line's registrations by cause: its `first`; after it got a `slot` again; after a `move` to another account; or
    in a slot that goes on, the last one `cut` with its connection, or removed by Observer (`renewed`). And its
    removals: `removed` where the slot ended or moved, else `removed_held`.
    """
    found: Counter[str] = Counter()
    before: Mapping[str, Any] = {}
    for each in sorted(subscriptions, key=lambda each: each["acknowledged_ns"]):
        at_ns, since_ns = each["acknowledged_ns"], before.get("acknowledged_ns", sys.maxsize)
        starts_ns = {start_ns for start_ns in kept.starts_ns if since_ns < start_ns <= at_ns}
        in_slot = "renewed" if before.get("removed") else "cut"
        in_new_slot = "move" if starts_ns <= kept.moves_ns else "slot"
        found[in_new_slot if starts_ns else in_slot if before else "first"] += 1
        if each.get("removed"):
            changes_ns = (*kept.ends_ns, *kept.moves_ns)
            is_over = any(at_ns <= moment_ns <= each["ended_ns"] for moment_ns in changes_ns)
            found["removed" if is_over else "removed_held"] += 1
        before = each
    return found


def altered(database: sqlite3.Connection, tapes: Mapping[str, Tape]) -> int:
    """Number of stored trades that differ from the market's trade (the wire has whole seconds)."""
    count = 0
    for symbol, total, price, shares, time_ns in database.execute(PRICES):
        tape = tapes[symbol]
        index = bisect_left(tape.volumes, int(total))
        twin = (
            (tape.volumes[index], tape.prices[index], tape.times_ns[index] // NS_PER_S * NS_PER_S)
            if index < len(tape.volumes)
            else None
        )
        count += twin != (total, price, time_ns) or shares != total - tape.volume_after(index)
    return count


def gap_figures(database: sqlite3.Connection) -> dict[str, int]:
    """Gaps by outcome; short: under 60 s of market time; `false_words`: stored as complete, but incomplete."""
    closed = {gap_id: (source, complete) for gap_id, source, complete in database.execute(CLOSED)}
    recovered: defaultdict[str, int] = defaultdict(int)
    for _symbol, start, end, gap_id in database.execute(RECOVERED):
        recovered[gap_id] += int(end) - int(start)
    figures = dict.fromkeys(("gaps", "complete", "short", "short_complete", "by_minutes", "false_words"), 0)
    for _symbol, start, end, gap_id, duration_ns in database.execute(GAPS):
        source, complete = closed.get(gap_id, ("", False))
        whole = recovered[gap_id] == end - start
        figures["gaps"] += 1
        figures["complete"] += whole
        figures["by_minutes"] += source == "minute_bars"
        figures["false_words"] += bool(complete) != whole
        if duration_ns < SHORT_GAP_S * NS_PER_S:
            figures["short"] += 1
            figures["short_complete"] += whole
    return figures


def finding(ledger: Sequence[Mapping[str, Any]], database: Path, offered: Path) -> dict[str, Any]:
    """All figures, and whether both reconciliations hold."""
    tapes = read_tapes(offered)
    by_symbol: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for subscription in ledger:
        by_symbol[line_id(subscription["symbol"], subscription["view"])].append(subscription)
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        kept = read_kept(connection)
        changes = connection.execute(CONNECTIONS).fetchall()
        [(stopped_ns,)] = connection.execute(STOP)
        figures = gap_figures(connection)
        wrong = {"altered": altered(connection, tapes), "false_words": figures.pop("false_words")}
    totals: defaultdict[str, int] = defaultdict(int)
    registrations: Counter[str] = Counter()
    details: dict[str, Mapping[str, int]] = {}
    for symbol in sorted({*by_symbol, *kept}):
        stop_ns = sys.maxsize if stopped_ns is None else stopped_ns // NS_PER_MINUTE * NS_PER_MINUTE
        promised = [(0, tapes[symbol].volume_at(stop_ns))]
        wire = wire_account(by_symbol[symbol], kept.get(symbol, Kept()), promised)
        known = [each for each in by_symbol[symbol] if is_known(each, kept.get(symbol, Kept()), changes)]
        day = day_account(known, kept.get(symbol, Kept()), tapes[symbol], promised)
        registrations.update(causes(by_symbol[symbol], kept.get(symbol, Kept())))
        totals["traded_while_held"] += day.pop("traded_while_held")
        for name, count in (*wire.items(), *day.items()):
            wrong[name] = wrong.get(name, 0) + count
        if any(wire.values()) or any(day.values()):
            details[symbol] = {name: count for name, count in (*wire.items(), *day.items()) if count}
    totals["streamed_trades"] = sum(len(each.streamed) for each in kept.values())
    totals["conflated_rows"] = sum(len(each.conflated) for each in kept.values())
    totals["recovered_trades"] = sum(len(each.recovered) for each in kept.values())
    totals["judged"] = sum(each.finding != "" for each in kept.values())
    balances = bool(kept) and not any(wrong.values())
    figures = {**totals, **figures}
    return {"balances": balances, "wrong": wrong, "totals": figures, "registrations": registrations, "symbols": details}


def main() -> int:
    """Run the judge and print the report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for name in ("ledger", "database", "offered"):
        parser.add_argument(name, type=Path)
    arguments = parser.parse_args()
    reported = finding(json.loads(arguments.ledger.read_text()), arguments.database, arguments.offered)
    sys.stdout.write(json.dumps(reported, indent=2) + "\n")
    return 0 if reported["balances"] else 1


if __name__ == "__main__":
    sys.exit(main())
