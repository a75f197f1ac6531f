"""A day's list of ETFs, merged field by field from several sources, and its changes. Pure.

The first configured source that answers decides *which* ETFs there are; their *fields* come from all sources, by a
precedence for each field. A field that no source reports today keeps its last value. So a failing source loses no
collected data, unlike deleting and inserting again.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any, Final

import msgspec

from bus.events import EtfChange, EtfListed
from observer.reference.etf.model import Etf, EtfEntry, leverage_of_name

FIELDS: Final = tuple(name for name in EtfEntry.__struct_fields__ if name != "symbol")

# The precedence of sources. The operator's table wins for fields that need research (fees, names of indices), and
# comes last for facts that the exchange states. KRX's data call reports most, its Open API names and shares.
_EXCHANGES_FACT: Final = ("master_files", "krx_data", "krx_open_api", "csv")
_KRX_KNOWS: Final = ("csv", "krx_data", "krx_open_api", "master_files")
PRECEDENCE: Final[Mapping[str, Sequence[str]]] = {
    **dict.fromkeys(FIELDS, _KRX_KNOWS),
    **dict.fromkeys(("name", "group", "isin", "listed_on", "listed_shares", "creation_unit_shares"), _EXCHANGES_FACT),
}
FROM_NAME: Final = "name"  # source of a leverage taken from the ETF's name alone

_SYMBOL: Final = re.compile(r"[0-9A-Z]{6,9}")
_ISIN: Final = re.compile(r"[A-Z]{2}[0-9A-Z]{9}[0-9]")
_EXPENSE_RATIO_PERCENT_MAX: Final = 10.0
_LEVERAGE_MAX: Final = 3.0

ReportedEntries = Mapping[str, Mapping[str, EtfEntry]]  # source -> symbol -> entry


class Checked(msgspec.Struct, frozen=True):
    """The usable entries of one source, and the entries and fields left out with the reasons."""

    entries: Mapping[str, EtfEntry]
    problems: Sequence[str]


class Listed(msgspec.Struct, frozen=True):
    """One ETF of the merged list, and the source of each field."""

    entry: EtfEntry
    sources: dict[str, str]


# --- validation ----------------------------------------------------------------------------------------------


def check(entries: Iterable[EtfEntry]) -> Checked:
    """Leave out ETFs without a proper code, duplicates, and single fields out of bounds."""
    kept: dict[str, EtfEntry] = {}
    problems: list[str] = []
    for entry in entries:
        if not _SYMBOL.fullmatch(entry.symbol):
            problems.append(f"{entry.symbol!r} is no code of an ETF")
        elif entry.symbol in kept:
            problems.append(f"{entry.symbol} came twice")
        else:
            wrong = [name for name in FIELDS if not _is_possible(name, getattr(entry, name))]
            problems += [f"{entry.symbol}: {name} cannot be {getattr(entry, name)!r}" for name in wrong]
            kept[entry.symbol] = msgspec.structs.replace(entry, **dict.fromkeys(wrong))
    return Checked(kept, problems)


def _is_possible(name: str, value: str | float | None) -> bool:
    match name, value:
        case _, None:
            return True
        case "expense_ratio_percent", float():
            return 0 <= value <= _EXPENSE_RATIO_PERCENT_MAX
        case "leverage", float():
            return 0 < abs(value) <= _LEVERAGE_MAX
        case (("listed_shares" | "creation_unit_shares"), float()):
            return 0 < value < float("inf")
        case "isin", str():
            return _ISIN.fullmatch(value) is not None
        case "listed_on", str():
            return _is_day(value)
        case _, str():
            return bool(value.strip())
    return False


def _is_day(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


# --- who is in it --------------------------------------------------------------------------------------------


def members(entries: Mapping[str, EtfEntry], known: Mapping[str, Etf]) -> frozenset[str]:
    """The ETFs of the list. A source decides for its own groups only: KRX, which has no ETNs, removes none."""
    groups = {entry.group for entry in entries.values()}
    others = (symbol for symbol, etf in known.items() if etf.active and etf.group not in groups)
    return frozenset(entries) | frozenset(others)


def shrink_problem(entries: Mapping[str, EtfEntry], known: Mapping[str, Etf], max_shrink_percent: float) -> str | None:
    """Why a list is rejected: empty, or much shorter than the known ETFs of its groups; None if accepted."""
    if not entries:
        return "it has no ETFs"
    groups = {entry.group for entry in entries.values()}
    before = sum(etf.active and etf.group in groups for etf in known.values())
    shrink_percent = 100 * (before - len(entries)) / before if before else 0.0
    if shrink_percent > max_shrink_percent:
        return f"{len(entries)} ETFs after {before} are {shrink_percent:.1f} % fewer (limit {max_shrink_percent:g} %)"
    return None


# --- merging -------------------------------------------------------------------------------------------------


def merge(symbols: Iterable[str], reported: ReportedEntries, known: Mapping[str, Etf]) -> list[Listed]:
    """The ETFs of the list by symbol, each with the merged fields of all sources and of the last list."""
    return [_merged(symbol, reported, known.get(symbol)) for symbol in sorted(symbols)]


def _merged(symbol: str, reported: ReportedEntries, known: Etf | None) -> Listed:
    values: dict[str, str | float] = {}
    sources: dict[str, str] = {}
    remembered = known.sources if known else {}
    for name in FIELDS:
        for source in PRECEDENCE[name]:
            entry = reported.get(source, {}).get(symbol)
            if entry is not None and (value := getattr(entry, name)) is not None:
                values[name], sources[name] = value, source
                break
        else:
            if known is not None and name in remembered and remembered[name] != FROM_NAME:
                values[name], sources[name] = getattr(known, name), remembered[name]
    entry = msgspec.convert({"symbol": symbol, **values}, EtfEntry)
    if entry.leverage is None and entry.name is not None:
        entry = msgspec.structs.replace(entry, leverage=leverage_of_name(entry.name))
        sources["leverage"] = FROM_NAME
    return Listed(entry, sources)


# --- what differs --------------------------------------------------------------------------------------------


def changes(listed: Sequence[Listed], known: Mapping[str, Etf], session_date: str, now_ns: int) -> list[EtfListed]:
    """The day's list as facts: every listed ETF, and each removed one once, with its last state."""
    present = {each.entry.symbol for each in listed}
    gone = [etf for symbol, etf in sorted(known.items()) if etf.active and symbol not in present]
    unknown: EtfChange = "new" if known else "initial"

    def row(state: EtfEntry | Etf, sources: dict[str, str], change: EtfChange, changed_fields: str) -> EtfListed:
        values: dict[str, Any] = {name: getattr(state, name) for name in ("symbol", *FIELDS)}  # by the same names
        return EtfListed(
            session_date=session_date,
            listed_ns=now_ns,
            change=change,
            changed_fields=changed_fields,
            sources=sources,
            **values,
        )

    rows = []
    for each in listed:
        entry = msgspec.structs.replace(each.entry, name=each.entry.name or "", group=each.entry.group or "")
        rows.append(row(entry, each.sources, *_change_of(entry, known.get(entry.symbol), unknown)))
    return rows + [row(etf, etf.sources, "removed", "") for etf in gone]


def _change_of(state: EtfEntry, before: Etf | None, unknown: EtfChange) -> tuple[EtfChange, str]:
    """The change of a listed ETF, and its changed fields."""
    if before is None:
        return unknown, ""
    changed = ",".join(name for name in FIELDS if getattr(state, name) != getattr(before, name))
    if not before.active:
        return "relisted", changed
    return ("changed" if changed else "same"), changed
