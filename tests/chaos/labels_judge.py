"""Checks what a database says of its data, by the broker's ledger: `python -m tests.chaos.labels_judge DATABASE`.

LEDGER is the simulator's answer to GET /simulator/registrations, OFFERED the output of `observer simulator offered`; by
default they are ledger.json and offered.csv beside the database, where `observer demo --keep` writes them. The judge
reads these and the database, imports nothing of Observer, and uses none of its counters.

It recomputes, for each symbol and day:

*coverage*: the volume of the day, and the share of it that was stored trade by trade when the report was made, exact to
the share; the share of the session's time between the broker's acknowledgements and the ends of the subscriptions, to
SLACK_S a subscription, or as long as trades were on their way at its begin or at its end (of a subscription that the
client removed: at both), where that is more: a busy machine reads late, and a fast day turns that into more market
time. Of less than the broker's time REMOVAL_S more are allowed a removal: the client counts to the moment at which it
asks for one. A day on which that is more than SLACK_PERCENT_MAX of the subscriptions' time is not judged fine:
slack_too_wide.

*the words*: a report that is better than the truth. complete, recovered: a trade from the first subscription of a slot
to its end is not stored accordingly; whole: a trade of the day is not stored; missing_at_most is less than what is
missing; missing is said of a symbol that did not trade in its slots.

*labels*: a slot with the trigger volume_surge of a symbol whose latest minutes, the times between its latest snapshots,
and those of its stored volume rises of late, had less than SURGE_MIN times their usual volume (its average day, times
the share of a day that the market trades in them; by the ledger, whatever the rises state), or that no fired trigger of
the kind precedes.

*slot use*: the part of all slots' time in which the broker acknowledged a subscription, by the reports and by the
ledger.

Prints one JSON object. Exit status 0: nothing is wrong; 1: something is.
"""

import argparse
import contextlib
import json
import sqlite3
import sys
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.chaos.ledger_judge import CONNECTIONS, Kept, Tape, held, is_known, line_id, read_kept, read_tapes
from tests.chaos.shares import Shares, common, united, volume, without

NS_PER_S = 1_000_000_000
MINUTE_NS = 60 * NS_PER_S
SESSION_S = 390 * 60.0  # 09:00 to 15:30
WHOLE_DAY_S = 12 * 3_600.0  # 08:00 to 20:00, where a second venue trades
SLOTS_PER_ACCOUNT = 41
SLACK_S = 15.0  # market seconds of a subscription between what the broker and what the client notes
REMOVAL_S = 60.0  # market seconds that a removal may be on its way to the broker, while the report counts no more
SLACK_PERCENT_MAX = 10.0  # of the subscriptions' time: with more of it a wrong report could not be told from a late one
AROUND_MINUTES = 2  # before and after a moment, whose trades show how late the client read then
SURGE_MIN = 2.0  # the lowest level of a volume surge (docs/requirement.md)
WINDOWS_NS = (5 * MINUTE_NS, 10 * MINUTE_NS)  # the latest minutes: of the stream, and of two sweeps
LOOKBACK_NS = 20 * MINUTE_NS  # evidence is at most a sweep and a life of five minutes old, and its window as long
SNAPSHOTS = 3  # between the latest ones of a symbol is the evidence of the last sweep, and of the one before
SYMBOLS_MIN = 20

REPORTS = """
    SELECT symbol, judged_ns, slots_quality, day_quality, missing_at_most, day_volume, volume_share, time_share,
           intervals
    FROM quality WHERE session_date = ? ORDER BY judged_ns, stream, sequence
"""
LABELS = """
    SELECT 'assigned', symbol, assigned_ns FROM slot_assignments WHERE trigger = 'volume_surge'
    UNION ALL SELECT 'extended', symbol, extended_ns FROM slot_extensions WHERE trigger = 'volume_surge'
"""
FIRED = "SELECT symbol, fired_ns FROM triggers WHERE kind = 'volume_surge'"
ENDED = "SELECT symbol, ended_ns FROM trigger_ends WHERE kind = 'volume_surge'"
SEEN = "SELECT symbol, receive_time_ns FROM snapshots ORDER BY receive_time_ns"
RISES = "SELECT symbol, since_ns, receive_time_ns FROM volume_rises"
RECEIVED = "SELECT symbol, cumulative_volume, receive_time_ns FROM trades WHERE gap_id IS NULL"
LATE = """
    SELECT symbol, cumulative_volume - volume, cumulative_volume, receive_time_ns FROM trades WHERE receive_time_ns > ?
"""
AVERAGES = "SELECT symbol, average_volume_20d FROM universe_members WHERE average_volume_20d > 0 AND session_date = ?"
HOURS = "SELECT min(changed_ns) FROM phases WHERE session_date = ? AND {} = 'FULL_OPERATION'"
ACCOUNTS = "SELECT count(DISTINCT substr(slot, 1, instr(slot, ':') - 1)) FROM slot_assignments"


@dataclass
class Report:
    """The database's last quality report on a symbol's day."""

    judged_ns: int
    slots_quality: str
    day_quality: str
    missing_at_most: float | None
    day_volume: float | None
    volume_share: float | None
    time_share: float | None
    intervals: Sequence[tuple[int, int]] = field(default_factory=list)


class Usual:
    """The usual volume of a symbol in a span of the day: its average day times the market's share of a day in it."""

    def __init__(self, tapes: Mapping[str, Tape], averages: Mapping[str, float]) -> None:
        self._tapes = tapes
        self._averages = averages
        self._shares: dict[tuple[str, int, int], float | None] = {}

    def highest(self, symbol: str, windows: Iterable[tuple[int, int]]) -> float | None:
        """The volume of the window with the most, in units of the usual one; None without an average or a market."""
        found = (self._ratio(symbol, *window) for window in windows)
        return max((ratio for ratio in found if ratio is not None), default=None)

    def _ratio(self, symbol: str, from_ns: int, to_ns: int) -> float | None:
        average, share = self._averages.get(symbol), self._share(venue_of(symbol), from_ns, to_ns)
        return _within(self._tapes[symbol], from_ns, to_ns) / (average * share) if average and share else None

    def _share(self, venue: str, from_ns: int, to_ns: int) -> float | None:
        """The mean share of a day that the venue's symbols trade in this time, without the busiest tenth."""
        if (venue, from_ns, to_ns) not in self._shares:
            found = sorted(
                _within(self._tapes[symbol], from_ns, to_ns) / average
                for symbol, average in self._averages.items()
                if symbol in self._tapes and venue_of(symbol) == venue
            )
            usual = found[: len(found) - len(found) // 10]
            self._shares[venue, from_ns, to_ns] = sum(usual) / len(usual) if len(found) >= SYMBOLS_MIN else None
        return self._shares[venue, from_ns, to_ns]


def _within(tape: Tape, from_ns: int, to_ns: int) -> int:
    return tape.volume_at(to_ns) - tape.volume_at(from_ns)


def read_reports(database: sqlite3.Connection, day: str) -> dict[str, Report]:
    """The day's reports by symbol; of several the last."""
    return {
        symbol: Report(*words, [(each["from_ns"], each["to_ns"]) for each in json.loads(intervals)])
        for symbol, *words, intervals in database.execute(REPORTS, (day,))
    }


def mislabelled(database: sqlite3.Connection, usual: Usual) -> Iterator[str]:
    """Slots with the trigger volume_surge of a symbol that did not surge, or without a fired trigger, in words."""
    fired, ended, seen = (_times(database.execute(query)) for query in (FIRED, ENDED, SEEN))
    rises: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    for symbol, since_ns, until_ns in database.execute(RISES):
        rises[symbol].append((since_ns, until_ns))
    for event, symbol, at_ns in database.execute(LABELS).fetchall():
        began = max((each for each in fired[symbol] if each <= at_ns), default=None)
        if began is None or any(began < each < at_ns for each in ended[symbol]):
            yield f"{symbol} {event} at {at_ns}: no trigger holds"
            continue
        highest = usual.highest(symbol, evidence(at_ns, seen[symbol], rises[symbol]))
        if highest is not None and highest < SURGE_MIN:
            yield f"{symbol} {event} at {at_ns}: {highest:.2f} times the usual volume"


def evidence(at_ns: int, seen_ns: Sequence[int], rises: Sequence[tuple[int, int]] = ()) -> Iterator[tuple[int, int]]:
    """The times whose volume may have been the evidence of a surge then: the latest minutes of each minute of the
    lookback, the times between the latest snapshots, which are longer where sweeps are slow, and those of the rises
    that Track A saw between its sweeps, which may be seconds.
    """
    latest = at_ns // MINUTE_NS * MINUTE_NS
    for until_ns in range(latest + MINUTE_NS, latest - LOOKBACK_NS, -MINUTE_NS):
        yield from ((until_ns - window_ns, until_ns) for window_ns in WINDOWS_NS)
    yield from pairwise([each for each in seen_ns if each <= at_ns][-SNAPSHOTS:])
    yield from (each for each in rises if at_ns - LOOKBACK_NS < each[1] <= at_ns)


def _times(rows: Iterable[tuple[str, int]]) -> defaultdict[str, list[int]]:
    times: defaultdict[str, list[int]] = defaultdict(list)
    for symbol, at_ns in rows:
        times[symbol].append(at_ns)
    return times


def subscribed(subscriptions: Sequence[Mapping[str, Any]], bounds: tuple[int, int]) -> Shares:
    """The times in which the broker acknowledged a subscription, within the bounds; one in force lasts to their end."""
    spans = ((each["acknowledged_ns"], each["ended_ns"] or bounds[1]) for each in subscriptions)
    return common(united(spans), [bounds])


class Lags:
    """How late the client read what the broker sent, by the minute: of the streamed trades of each, and of those that
    were read in it, the latest. Those that were on their way when a connection was cut were never read.
    """

    def __init__(self, tapes: Mapping[str, Tape], received: Iterable[tuple[str, float, int]]) -> None:
        self._latest_ns: defaultdict[int, int] = defaultdict(int)
        for symbol, reached, at_ns in received:
            tape = tapes[symbol]
            traded_ns = tape.times_ns[min(bisect_left(tape.volumes, reached), len(tape.times_ns) - 1)]
            for minute in (traded_ns // MINUTE_NS, at_ns // MINUTE_NS):
                self._latest_ns[minute] = max(self._latest_ns[minute], at_ns - traded_ns)

    def slack_s(self, subscriptions: Iterable[Mapping[str, Any]]) -> float:
        """How far the client's notes of these subscriptions may be from the broker's, in market seconds."""
        return max(SLACK_S, sum(max(SLACK_S, self._delay_s(each)) for each in subscriptions))

    def _delay_s(self, subscription: Mapping[str, Any]) -> float:
        """The client notes a begin and a cut late, so the time between them is wrong by one of both delays at most. A
        removal is noted when it is asked for, before the broker has it: then both delays shorten the time.
        """
        ends_ns = filter(None, (subscription["acknowledged_ns"], subscription["ended_ns"]))
        delays_s = [self._around_s(each) for each in ends_ns]
        return sum(delays_s) if subscription.get("removed") else max(delays_s)

    def _around_s(self, moment_ns: int) -> float:
        minute = moment_ns // MINUTE_NS
        around = range(minute - AROUND_MINUTES, minute + AROUND_MINUTES + 1)
        return max(self._latest_ns.get(each, 0) for each in around) / NS_PER_S


def coverage(
    report: Report,
    tape: Tape,
    stored: Shares,
    sent: Shares,
    *,
    slack_s: float,
    removals_s: float,
    session: tuple[int, int],
) -> dict[str, int]:
    """What a report says of the day and of its coverage, against market and ledger. `stored` when it was made; it may
    say less by `removals_s`, for which removals were on their way.
    """
    total = tape.volumes[-1] if tape.volumes else 0
    share = volume(common(stored, [(0, total)])) / total if total else None
    listed = common(united(report.intervals), [session])
    reported_s = (report.time_share or 0.0) * volume([session]) / NS_PER_S
    streamed_s = volume(sent) / NS_PER_S
    listed_s = volume(listed) / NS_PER_S
    outside_s = volume(without(listed, sent)) / NS_PER_S
    return {
        "day_volume_differs": int(report.day_volume != total),
        "volume_share_differs": int(report.volume_share != share),
        "time_share_differs": int(not -slack_s - removals_s <= reported_s - streamed_s <= slack_s),
        "intervals_differ": int(outside_s > slack_s or not -slack_s - removals_s <= listed_s - streamed_s <= slack_s),
    }


def is_silent(tape: Tape, kept: Kept) -> bool:
    """Whether the symbol did not trade in its slots."""
    ends_ns = [min((end for end in kept.ends_ns if end >= start), default=sys.maxsize) for start in kept.starts_ns]
    return all(tape.volume_at(start) == tape.volume_at(end) for start, end in zip(kept.starts_ns, ends_ns, strict=True))


def words(report: Report, tape: Tape, kept: Kept, slots: Shares) -> dict[str, int]:
    """The words of a report that are better than the truth, or say of a silent symbol that it misses something."""
    total = tape.volumes[-1] if tape.volumes else 0
    streamed, recovered = united(kept.streamed), united(kept.recovered)
    lacking = without(slots, united([*streamed, *recovered]))
    worse = {"complete": without(slots, streamed), "recovered": lacking}.get(report.slots_quality, [])
    whole = without([(0, total)], united([*streamed, *recovered])) if total else []
    at_most = report.missing_at_most
    return {
        "slots_better_than_truth": int(bool(worse)),
        "day_better_than_truth": int(report.day_quality == "whole" and bool(whole)),
        "bound_too_low": int(at_most is not None and at_most < volume(lacking)),
        "missing_of_silent": int(report.slots_quality == "missing" and is_silent(tape, kept)),
    }


def slot_use(
    database: sqlite3.Connection, day: str, reports: Mapping[str, Report], ledger: Mapping[str, Sequence[Any]]
) -> tuple[float, float] | None:
    """The used percentage of all slots' time by the reports, and by the ledger; None without hours."""
    began_ns, ended_ns = (
        database.execute(HOURS.format(side), (day,)).fetchone()[0] for side in ("current", "previous")
    )
    if began_ns is None or ended_ns is None:
        return None
    offered_ns = database.execute(ACCOUNTS).fetchone()[0] * SLOTS_PER_ACCOUNT * (ended_ns - began_ns)
    bounds = (began_ns, ended_ns)
    by_reports = sum(volume(common(united(report.intervals), [bounds])) for report in reports.values())
    by_ledger = sum(volume(subscribed(each, bounds)) for each in ledger.values())
    return 100 * by_reports / offered_ns, 100 * by_ledger / offered_ns


def finding(ledger: Sequence[Mapping[str, Any]], database: Path, offered: Path) -> dict[str, Any]:
    """All figures, and whether nothing is wrong."""
    tapes = read_tapes(offered)
    by_symbol: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for subscription in ledger:
        by_symbol[line_id(subscription["symbol"], subscription["view"])].append(subscription)
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        [(day,)] = connection.execute("SELECT max(session_date) FROM quality")
        reports, kept = read_reports(connection, day), read_kept(connection)
        labels = list(mislabelled(connection, Usual(tapes, dict(connection.execute(AVERAGES, (day,))))))
        count = connection.execute(f"SELECT count(*) FROM ({LABELS})").fetchone()[0]
        use = slot_use(connection, day, reports, by_symbol)
        late = stored_later(connection, reports)
        changes = connection.execute(CONNECTIONS).fetchall()
        lags = Lags(tapes, connection.execute(RECEIVED))
    session = _session(tapes)
    wrong: defaultdict[str, int] = defaultdict(int, misleading_labels=len(labels))
    details: dict[str, Any] = {}
    wrong["not_judged"] = sum(symbol not in reports for symbol, each in kept.items() if each.starts_ns)
    for symbol, report in reports.items():
        tape, own = tapes[symbol], kept.get(symbol, Kept())
        stored = united([*own.streamed, *own.recovered])
        then = without(stored, united(late[symbol]))
        sent = subscribed(by_symbol[symbol], session)
        known = [each for each in by_symbol[symbol] if is_known(each, own, changes)]
        slack_s = lags.slack_s(by_symbol[symbol])
        removals_s = REMOVAL_S * sum(bool(each.get("removed")) for each in by_symbol[symbol])
        found = {
            **coverage(report, tape, then, sent, slack_s=slack_s, removals_s=removals_s, session=session),
            **words(report, tape, own, held(known, own, tape)),
        }
        for name, number in found.items():
            wrong[name] += number
        if any(found.values()):
            details[symbol] = {name: number for name, number in found.items() if number}
    slack_of_all_s = lags.slack_s(ledger)
    subscribed_s = sum(volume(subscribed([each], session)) for each in ledger) / NS_PER_S
    slack_percent = 100 * slack_of_all_s / subscribed_s if subscribed_s else 0.0
    wrong["slack_too_wide"] = int(slack_percent > SLACK_PERCENT_MAX)
    wrong["slot_use_differs"] = int(use is not None and abs(use[0] - use[1]) > _percent(use, reports, slack_of_all_s))
    totals = {
        "reports": len(reports),
        "surge_labels": count,
        "slack_s": round(slack_of_all_s / max(len(ledger), 1), 1),
        "slack_percent": round(slack_percent, 2),
        "slot_use_percent_by_reports": use and round(use[0], 2),
        "slot_use_percent_by_ledger": use and round(use[1], 2),
    }
    is_fine = bool(reports) and not any(wrong.values())
    return {"nothing_wrong": is_fine, "wrong": dict(wrong), "totals": totals, "symbols": details, "labels": labels}


def stored_later(
    database: sqlite3.Connection, reports: Mapping[str, Report]
) -> defaultdict[str, list[tuple[int, int]]]:
    """By symbol, the spans of the trades that were received after its report was made."""
    late: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    first_ns = min((report.judged_ns for report in reports.values()), default=sys.maxsize)
    for symbol, start, end, received_ns in database.execute(LATE, (first_ns,)):
        if symbol in reports and received_ns > reports[symbol].judged_ns:
            late[symbol].append((int(start), int(end)))
    return late


def _percent(use: tuple[float, float], reports: Mapping[str, Report], seconds: float) -> float:
    """The percentage of all slots' time that these seconds are."""
    reported_s = sum(volume(united(report.intervals)) for report in reports.values()) / NS_PER_S
    return use[0] * seconds / reported_s if reported_s else 0.0


def _session(tapes: Mapping[str, Tape]) -> tuple[int, int]:
    """From the open to the close of all venues: it begins with the day's first trades, an opening auction's."""
    opens_ns = min(tape.times_ns[0] for tape in tapes.values() if tape.times_ns) // MINUTE_NS * MINUTE_NS
    return opens_ns, opens_ns + round(WHOLE_DAY_S if any(map(venue_of, tapes)) else SESSION_S) * NS_PER_S


def venue_of(line: str) -> str:
    """The venue in a line's name; empty for the main venue."""
    return line.partition(".")[2]


def main() -> int:
    """Run the judge and print the report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("database", type=Path)
    parser.add_argument("--ledger", type=Path)
    parser.add_argument("--offered", type=Path)
    arguments = parser.parse_args()
    beside = arguments.database.parent
    ledger = json.loads((arguments.ledger or beside / "ledger.json").read_text())
    reported = finding(ledger, arguments.database, arguments.offered or beside / "offered.csv")
    sys.stdout.write(json.dumps(reported, indent=2) + "\n")
    return 0 if reported["nothing_wrong"] else 1


if __name__ == "__main__":
    sys.exit(main())
