"""A day's list of funds: what several sources tell, put together field by field, and how it differs from before. Pure.

The first configured source that answers says *which* funds there are; *what* is known of each comes from all of them,
by a precedence for each field. What no source tells today stays as it was known. So nothing that was collected is lost
when a source fails, which deleting and inserting again would do (design.md 6.3).
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any, Final

import msgspec

from bus.events import FundChange, FundListed
from observer.reference.etf import Fund, FundEntry
from observer.reference.etf_leverage import leverage_of_name

FIELDS: Final = tuple(name for name in FundEntry.__struct_fields__ if name != "symbol")

# Who is believed first. A person's own table wins where somebody has to look things up (fees, names of indices), and
# comes last where a source states a fact of the exchange. KRX's data call knows most, its Open API names and shares.
_EXCHANGES_FACT: Final = ("kis_master", "krx_data", "krx_open_api", "csv")
_KRX_KNOWS: Final = ("csv", "krx_data", "krx_open_api", "kis_master")
PRECEDENCE: Final[Mapping[str, Sequence[str]]] = {
    **dict.fromkeys(FIELDS, _KRX_KNOWS),
    **dict.fromkeys(("name", "group", "isin", "listed_on", "listed_shares", "creation_unit_shares"), _EXCHANGES_FACT),
}
FROM_NAME: Final = "name"  # the source of a leverage that only the fund's name tells

_SYMBOL: Final = re.compile(r"[0-9A-Z]{6,9}")
_ISIN: Final = re.compile(r"[A-Z]{2}[0-9A-Z]{9}[0-9]")
_EXPENSE_RATIO_PERCENT_MAX: Final = 10.0
_LEVERAGE_MAX: Final = 3.0

Told = Mapping[str, Mapping[str, FundEntry]]  # source -> symbol -> entry


class Checked(msgspec.Struct, frozen=True):
    """The entries of one source that can be used, and what was left out of them and why."""

    entries: Mapping[str, FundEntry]
    problems: Sequence[str]


class Listed(msgspec.Struct, frozen=True):
    """One fund of the merged list, and where each of its fields is from."""

    entry: FundEntry
    sources: Mapping[str, str]


# --- validation ----------------------------------------------------------------------------------------------


def check(entries: Iterable[FundEntry]) -> Checked:
    """Leave out what cannot be: a fund without a proper code or that came before, and single fields out of bounds."""
    kept: dict[str, FundEntry] = {}
    problems: list[str] = []
    for entry in entries:
        if not _SYMBOL.fullmatch(entry.symbol):
            problems.append(f"{entry.symbol!r} is no code of a fund")
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


def members(entries: Mapping[str, FundEntry], known: Mapping[str, Fund]) -> frozenset[str]:
    """The funds of the list. A source speaks for its own groups: KRX, which has no ETNs, does not remove any."""
    groups = {entry.group for entry in entries.values()}
    others = (symbol for symbol, fund in known.items() if fund.active and fund.group not in groups)
    return frozenset(entries) | frozenset(others)


def shrink_problem(
    entries: Mapping[str, FundEntry], known: Mapping[str, Fund], max_shrink_percent: float
) -> str | None:
    """Why a list is not believed after what was known of its groups; None when it is."""
    if not entries:
        return "it has no funds"
    groups = {entry.group for entry in entries.values()}
    before = sum(fund.active and fund.group in groups for fund in known.values())
    shrink_percent = 100 * (before - len(entries)) / before if before else 0.0
    if shrink_percent > max_shrink_percent:
        return f"{len(entries)} funds after {before} are {shrink_percent:.1f} % fewer (limit {max_shrink_percent:g} %)"
    return None


# --- merging -------------------------------------------------------------------------------------------------


def merge(symbols: Iterable[str], told: Told, known: Mapping[str, Fund]) -> list[Listed]:
    """The funds of the list with all that the sources and our own memory tell of each, by symbol."""
    return [_merged(symbol, told, known.get(symbol)) for symbol in sorted(symbols)]


def _merged(symbol: str, told: Told, known: Fund | None) -> Listed:
    values: dict[str, str | float] = {}
    sources: dict[str, str] = {}
    remembered = parse_sources(known.sources) if known else {}
    for name in FIELDS:
        for source in PRECEDENCE[name]:
            entry = told.get(source, {}).get(symbol)
            if entry is not None and (value := getattr(entry, name)) is not None:
                values[name], sources[name] = value, source
                break
        else:
            if known is not None and name in remembered and remembered[name] != FROM_NAME:
                values[name], sources[name] = getattr(known, name), remembered[name]
    entry = msgspec.convert({"symbol": symbol, **values}, FundEntry)
    if entry.leverage is None and entry.name is not None:
        entry = msgspec.structs.replace(entry, leverage=leverage_of_name(entry.name))
        sources["leverage"] = FROM_NAME
    return Listed(entry, sources)


def parse_sources(text: str) -> dict[str, str]:
    """Where each field is from, out of the text that a `FundListed` carries."""
    return dict(pair.split("=", 1) for pair in text.split(",") if pair)


def sources_text(sources: Mapping[str, str]) -> str:
    """The text that `parse_sources` reads."""
    return ",".join(f"{name}={sources[name]}" for name in FIELDS if name in sources)


# --- what differs --------------------------------------------------------------------------------------------


def changes(listed: Sequence[Listed], known: Mapping[str, Fund], session_date: str, now_ns: int) -> list[FundListed]:
    """The day's list as facts: every fund that is in it, and each that is not any more, once, as it was."""
    present = {each.entry.symbol for each in listed}
    gone = [fund for symbol, fund in sorted(known.items()) if fund.active and symbol not in present]
    rows = [_fact(each, known.get(each.entry.symbol), session_date, now_ns) for each in listed]
    return rows + [_removed(fund, session_date, now_ns) for fund in gone]


def _fact(each: Listed, before: Fund | None, session_date: str, now_ns: int) -> FundListed:
    entry = msgspec.structs.replace(each.entry, name=each.entry.name or "", group=each.entry.group or "")
    changed = [] if before is None else [name for name in FIELDS if getattr(entry, name) != getattr(before, name)]
    change: FundChange = "changed" if changed else "same"
    if before is None or not before.active:
        change = "new" if before is None else "relisted"
    return _listed(entry, sources_text(each.sources), change, ",".join(changed), session_date, now_ns)


def _removed(fund: Fund, session_date: str, now_ns: int) -> FundListed:
    return _listed(fund, fund.sources, "removed", "", session_date, now_ns)


def _listed(
    state: FundEntry | Fund, sources: str, change: FundChange, changed_fields: str, session_date: str, now_ns: int
) -> FundListed:
    """The fact of this state: its fields have the same names."""
    values: dict[str, Any] = {name: getattr(state, name) for name in ("symbol", *FIELDS)}
    return FundListed(
        session_date=session_date,
        listed_ns=now_ns,
        change=change,
        changed_fields=changed_fields,
        sources=sources,
        **values,
    )
