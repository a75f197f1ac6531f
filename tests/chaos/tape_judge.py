"""Checks a database that a tape filled against what the market offered, symbol by symbol, to the share.

The judge reads the database and the market, and uses none of Observer's code or counters. Of each symbol it asks:

- each stored trade is one that was offered, unaltered (price, volume, second), and stored once;
- each trade that is not stored lies in a named span: a recorded gap, conflated trades, or a span of the tape's report;
- a span that the report calls unreachable holds no trade among the newest PAGE of its second;
- the report's word is what is stored; the official minute bars equal those of the stored trades, but for minutes with
  missing trades; where the system compared them itself, it found no other difference.
"""

import json
import sqlite3
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.shares import Shares, united

NS_PER_S = 1_000_000_000
PAGE = 30
REPEATED_MOST = 0.01
DECILES = 10
PLACES = ("new", "same_second", "earlier_visit", "streamed", "above_limit", "short")
FATES = ("offered", "streamed", "recovered", "fetched", "unreachable", "gap", "unknown", "unnamed")
STORED = (
    "SELECT cumulative_volume, volume, price, exchange_time_ns, gap_id FROM trades "
    "WHERE symbol = ? AND session_date = ? ORDER BY cumulative_volume"
)
REPORTS = "SELECT symbol, quality, unreachable, unknown FROM tape_reports WHERE session_date = ? ORDER BY judged_ns"
GAPS = "SELECT symbol, after_volume, before_volume FROM gaps WHERE session_date = ?"
CONFLATED = "SELECT symbol, cumulative_volume - volume, cumulative_volume FROM conflated_trades WHERE session_date = ?"
PAGES = "SELECT symbol, asked_ns, after_volume, upto_volume, stored FROM tape_pages WHERE session_date = ?"
PAGES_OF = (
    "SELECT asked_ns, trades, upto_volume FROM tape_pages WHERE symbol = ? AND session_date = ? ORDER BY fetched_ns"
)
OFFICIAL = (
    "SELECT symbol, minutes, equal, without_trades, differences FROM bar_checks "
    "WHERE session_date = ? ORDER BY checked_ns"
)
FETCHES = "SELECT COUNT(*), SUM(calls), SUM(bars) FROM bar_fetches WHERE session_date = ? AND kind = 'minutes'"
ASSIGNED = """
    SELECT a.symbol, a.assigned_ns, MAX(t.fired_ns) FROM slot_assignments a
    JOIN triggers t ON t.symbol = a.symbol AND t.fired_ns <= a.assigned_ns GROUP BY a.symbol, a.assigned_ns
"""
OF_PREROLL = (
    "SELECT exchange_time_ns, receive_time_ns FROM trades WHERE symbol = ? AND session_date = ? "
    "AND exchange_time_ns BETWEEN ? AND ?"
)


@dataclass
class Offered:
    """A symbol's day as the market offered it, oldest first, and its official minute bars: volume by minute (ns)."""

    times_ns: Sequence[int]
    prices: Sequence[int]
    volumes: Sequence[int]
    volumes_after: Sequence[int]
    minutes: Mapping[int, tuple[int, int, int, int, int]]
    """Open, high, low, close and volume by the minute's begin (UTC ns)."""


@dataclass
class Named:
    """The spans of a symbol's day that something names, by what names them, and its quality."""

    quality: str = ""
    unreachable: Shares = ()
    unknown: Shares = ()
    gaps: list[tuple[int, int]] = field(default_factory=list)


@dataclass
class SymbolDay:
    """What the judge found of one symbol: trades by fate, and faults by kind with an example."""

    fates: Counter[str] = field(default_factory=Counter)
    faults: dict[str, str] = field(default_factory=dict)
    places: Counter[str] = field(default_factory=Counter)
    minutes: int = 0
    minutes_excused: int = 0
    missing_minutes: set[int] = field(default_factory=set)


def finding(
    database: Path, session_date: str, offered: Iterable[tuple[str, Offered]], *, preroll_s: float = 600.0
) -> dict[str, Any]:
    """The judge's report; `offered` is read once, symbol by symbol."""
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        named = _named(connection, session_date)
        days, session = dict[str, SymbolDay](), dict[str, Offered]()
        slotted = {symbol for symbol, *_ in connection.execute(ASSIGNED)}
        for symbol, market in offered:
            rows = connection.execute(STORED, (symbol, session_date)).fetchall()
            days[symbol] = symbol_day(symbol, market, rows, named.get(symbol, Named()))
            fetched = {row[0] for row in rows if _source(row[-1]) == "fetched"}
            days[symbol].places = places(market, fetched, connection.execute(PAGES_OF, (symbol, session_date)))
            if symbol in slotted:
                session[symbol] = market
        prerolls = _prerolls(connection, session_date, session, preroll_s)
        calls = _calls(connection, session_date, days)
        official = _official(connection, session_date, days)
    faults: defaultdict[str, list[str]] = defaultdict(list)
    for day in days.values():
        for kind, example in day.faults.items():
            faults[kind].append(example)
    fates = sum((day.fates for day in days.values()), Counter[str]())
    reported = {
        "symbols": len(days),
        "trades": {fate: fates[fate] for fate in FATES},
        "stored_twice": fates["twice"],
        "stored_share": _share(fates["offered"] - _missing(fates), fates["offered"]),
        "reachable_share": _share(fates["offered"] - _missing(fates), fates["offered"] - fates["truly_unreachable"]),
        "whole_symbol_days": sum(not _missing(day.fates) for day in days.values()),
        "deciles": deciles(days),
        "qualities": dict(Counter(each.quality for symbol, each in named.items() if symbol in days)),
        "faults": {kind: {"count": len(found), "examples": found[:5]} for kind, found in sorted(faults.items())},
        "minute_bars": {
            "compared": sum(day.minutes for day in days.values()),
            "excused": sum(day.minutes_excused for day in days.values()),
        },
        "official_bars": official,
        "prerolls": prerolls,
        "calls": calls,
    }
    reported["sound"] = not faults and calls["repeated_share"] <= REPEATED_MOST and not prerolls["missing"]
    return reported


def symbol_day(symbol: str, market: Offered, rows: Sequence[Sequence[Any]], named: Named) -> SymbolDay:
    """Judge one symbol's day."""
    day = SymbolDay()
    index_of = {after: index for index, after in enumerate(market.volumes_after)}
    stored: dict[int, tuple[str, float, float]] = {}
    for cumulative, volume, price, time_ns, gap_id in rows:
        index = index_of.get(cumulative)
        if index is None:
            day.faults.setdefault("never_offered", f"{symbol} at {cumulative}")
        elif index in stored:
            day.fates["twice"] += 1
            day.faults.setdefault("stored_twice", f"{symbol} at {cumulative}")
        elif (price, volume, time_ns // NS_PER_S) != (
            market.prices[index], market.volumes[index], market.times_ns[index] // NS_PER_S,
        ):  # fmt: skip
            day.faults.setdefault("altered", f"{symbol} at {cumulative}: {price} x {volume} at {time_ns}")
        if index is not None:
            stored[index] = (_source(gap_id), price, volume)
    day.fates["offered"] = len(index_of)
    day.fates.update(source for source, *_ in stored.values())
    seconds = [time_ns // NS_PER_S for time_ns in market.times_ns]
    spans = {"unreachable": named.unreachable, "gap": united(named.gaps), "unknown": named.unknown}
    missing_minutes = day.missing_minutes
    for index, after in enumerate(market.volumes_after):
        is_reachable = index >= bisect_right(seconds, seconds[index]) - PAGE
        day.fates["truly_unreachable"] += not is_reachable and index not in stored
        if index in stored:
            continue
        missing_minutes.add(market.times_ns[index] // (60 * NS_PER_S))
        fate = next((fate for fate, found in spans.items() if _covers(found, after - market.volumes[index], after)), "")
        day.fates[fate or "unnamed"] += 1
        if not fate:
            day.faults.setdefault("unnamed", f"{symbol} up to {after} of {market.volumes_after[-1]}")
        elif fate == "unreachable" and is_reachable:
            day.faults.setdefault("not_unreachable", f"{symbol} up to {after}")
    _check_quality(symbol, day, named)
    _check_minutes(symbol, day, market, stored, missing_minutes)
    return day


def places(market: Offered, fetched: Container[float], pages: Iterable[Sequence[int]]) -> Counter[str]:
    """What filled the places of a symbol's pages, PAGE of each: trades that were new, that the page before had too (two
    pages share a second), that an earlier visit had brought, that were streamed or recovered, that lie above the volume
    up to which the tape asked; or none (the day begins). `fetched` are cumulative volumes of trades that it stored.
    """
    found, had, before = Counter[str](), set[int](), range(0)
    seconds = [time_ns // NS_PER_S for time_ns in market.times_ns]
    for asked_ns, trades, upto_volume in pages:
        end = bisect_right(seconds, asked_ns // NS_PER_S)
        page = range(max(0, end - trades), end)
        is_same_visit = bool(before) and asked_ns // NS_PER_S <= seconds[before.start]
        for index in page:
            if index in had:
                found["same_second" if is_same_visit and index in before else "earlier_visit"] += 1
            elif market.volumes_after[index] not in fetched:
                found["streamed"] += 1
            elif market.volumes_after[index] > upto_volume:
                found["above_limit"] += 1
            else:
                found["new"] += 1
                had.add(index)
        found["short"] += PAGE - len(page)
        before = page
    return found


def deciles(days: Mapping[str, SymbolDay]) -> list[dict[str, int]]:
    """The trades by fate of each tenth of the symbols, the busiest first."""
    busiest = sorted(days.values(), key=lambda day: -day.fates["offered"])
    parts = [busiest[len(busiest) * n // DECILES : len(busiest) * (n + 1) // DECILES] for n in range(DECILES)]
    return [{"symbols": len(part), **{fate: sum(day.fates[fate] for day in part) for fate in FATES}} for part in parts]


def table(reported: Mapping[str, Any]) -> str:
    """The day's table by activity decile, in lines, and the calls by what they brought."""
    rows: list[tuple[str, ...]] = [("decile", "symbols", *FATES)]
    rows += [(str(n), *map("{:,}".format, row.values())) for n, row in enumerate(reported["deciles"], start=1)]
    rows.append(("all", f"{reported['symbols']:,}", *map("{:,}".format, reported["trades"].values())))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    calls = reported["calls"]
    brought = ", ".join(f"{name} {count:,}" for name, count in calls["by_places"].items())
    return "\n".join([*lines, f"calls {calls['pages']:,} = {calls['over_floor']} of the floor: {brought}"])


def _source(gap_id: str | None) -> str:
    return "streamed" if gap_id is None else "fetched" if gap_id == "tape" else "recovered"


def _covers(spans: Shares, after: int, upto: int) -> bool:
    at = bisect_right(spans, (after, float("inf"))) - 1
    return at >= 0 and spans[at][0] <= after and upto <= spans[at][1]


def _missing(fates: Counter[str]) -> int:
    return sum(fates[fate] for fate in ("unreachable", "gap", "unknown", "unnamed"))


def _share(part: int, whole: int) -> float:
    return round(part / whole, 6) if whole else 1.0


def _named(connection: sqlite3.Connection, session_date: str) -> dict[str, Named]:
    named: defaultdict[str, Named] = defaultdict(Named)
    for symbol, quality, unreachable, unknown in connection.execute(REPORTS, (session_date,)):
        own = named[symbol]
        own.quality, own.unreachable, own.unknown = quality, _spans(unreachable), _spans(unknown)
    for query in (GAPS, CONFLATED):
        for symbol, after, before in connection.execute(query, (session_date,)):
            named[symbol].gaps.append((after, before))
    return dict(named)


def _spans(text: str | bytes) -> Shares:
    return united((span["after_volume"], span["upto_volume"]) for span in json.loads(text))


def _check_quality(symbol: str, day: SymbolDay, named: Named) -> None:
    missing = {fate for fate in ("unreachable", "gap", "unknown", "unnamed") if day.fates[fate]}
    if not named.quality:
        if day.fates["offered"]:
            day.faults.setdefault("no_report", symbol)
        return
    if not day.fates["fetched"] + day.fates["streamed"] + day.fates["recovered"] and day.fates["offered"]:
        true = {"minute_bars", "snapshots"}
    elif not missing:
        true = {"complete"}
    else:
        true = {"seconds"} if missing == {"unreachable"} else {"spans"}
    if named.quality not in true:
        day.faults.setdefault("wrong_quality", f"{symbol}: {named.quality}, not {' or '.join(sorted(true))}")


def _check_minutes(
    symbol: str,
    day: SymbolDay,
    market: Offered,
    stored: Mapping[int, tuple[str, float, float]],
    missing_minutes: set[int],
) -> None:
    """Compare the stored trades' minutes with the official bars."""
    made: defaultdict[int, list[int]] = defaultdict(list)
    for index in sorted(stored):
        made[market.times_ns[index] // (60 * NS_PER_S)].append(index)
    for start_ns, official in market.minutes.items():
        minute = start_ns // (60 * NS_PER_S)
        day.minutes += 1
        if minute in missing_minutes:
            day.minutes_excused += 1
            continue
        prices = [stored[index][1] for index in made[minute]] or [0.0]
        bar = (prices[0], max(prices), min(prices), prices[-1], sum(stored[index][2] for index in made[minute]))
        if bar != official:
            day.faults.setdefault("minute_bar", f"{symbol} at {start_ns}: {bar}, official {official}")


def _official(connection: sqlite3.Connection, session_date: str, days: Mapping[str, SymbolDay]) -> dict[str, int]:
    """The system's own comparisons with official bars: a minute that differs must have missing trades."""
    latest = {symbol: row for symbol, *row in connection.execute(OFFICIAL, (session_date,))}
    named = 0
    for symbol, (*_, differences) in latest.items():
        for each in json.loads(differences):
            if each["minute_start_ns"] // (60 * NS_PER_S) in days[symbol].missing_minutes:
                named += 1
            else:
                days[symbol].faults.setdefault("official_bar", f"{symbol}: {each}")
    lines, calls, bars = connection.execute(FETCHES, (session_date,)).fetchone()
    minutes, equal, without_trades = (sum(row[at] for row in latest.values()) for at in range(3))
    return {
        "lines": lines, "calls": calls or 0, "bars": bars or 0, "compared_lines": len(latest), "minutes": minutes,
        "equal": equal, "without_trades": without_trades, "differ_where_trades_are_named_missing": named,
    }  # fmt: skip


def _prerolls(
    connection: sqlite3.Connection, session_date: str, session: Mapping[str, Offered], preroll_s: float
) -> dict[str, Any]:
    """Of the slots that a trigger won after the market traded the symbol: whether a trade before the trigger is stored,
    and how long after the assignment the first such trade came (market seconds).
    """
    slots, missing, delays_s = 0, list[str](), list[float]()
    for symbol, assigned_ns, fired_ns in connection.execute(ASSIGNED).fetchall():
        market = session.get(symbol)
        from_ns = assigned_ns - round(preroll_s * NS_PER_S)
        if market is None or not any(from_ns <= time_ns < fired_ns for time_ns in market.times_ns):
            continue
        slots += 1
        found = connection.execute(OF_PREROLL, (symbol, session_date, from_ns, fired_ns)).fetchall()
        if not found:
            missing.append(f"{symbol} at {assigned_ns}")
        else:
            delays_s.append(max(0, min(received for _, received in found) - assigned_ns) / NS_PER_S)
    delays_s.sort()
    return {
        "slots": slots,
        "missing": missing,
        "delay_p50_s": delays_s[len(delays_s) // 2] if delays_s else None,
        "delay_p95_s": delays_s[len(delays_s) * 95 // 100] if delays_s else None,
    }


def _calls(connection: sqlite3.Connection, session_date: str, days: Mapping[str, SymbolDay]) -> dict[str, Any]:
    """The stored pages against the arithmetic floor: a page for each 30 trades, and one for each symbol."""
    pages = connection.execute(PAGES, (session_date,)).fetchall()
    repeated = len(pages) - len({page[:4] for page in pages})
    fetched = sum(day.fates["fetched"] for day in days.values())
    floor = fetched / PAGE + len(days)
    filled = sum((day.places for day in days.values()), Counter[str]())
    return {
        "pages": len(pages),
        "without_a_new_trade": sum(not page[4] for page in pages),
        "repeated": repeated,
        "repeated_share": repeated / max(1, len(pages)),
        "floor": round(floor),
        "over_floor": round(len(pages) / floor, 3) if floor else None,
        "by_places": {name: round(filled[name] / PAGE) for name in PLACES},
    }
