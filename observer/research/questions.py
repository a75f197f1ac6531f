"""What is stored of a question: its days and lines. What was not collected is an error, never an empty answer."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import polars as pl

from observer.base.errors import ConfigError
from observer.base.lines import stock_of
from observer.research.arguments import EARLIEST, Span, Symbols, When, span_of, symbols_of
from observer.research.asked import Asked, Part
from observer.research.errors import NotCollected, unknown_day
from observer.research.reading import Rows
from observer.research.relation import Relation

_CUT: Final = ("trades", "bars", "official_bars", "snapshots")  # relations that moments cut
_Collected = Callable[[Sequence[str]], Mapping[str, Sequence[str]]]  # by day the lines


def asked_of(
    rows: Rows,
    relation: Relation,
    start: When | None,
    end: When | None,
    symbols: Symbols,
    known_ns: int | None,
    options: Mapping[str, object],
) -> Asked:
    """The question for a relation, with the days and lines that are stored of it.

    Raises:
        ConfigError: an argument is wrong.
        NoDataError: a day, or a symbol, is not stored or was not collected.
    """
    named = symbols_of(symbols)
    if named is not None and relation.symbols == "no":
        raise ConfigError(f"{relation.name} have no symbol: ask for a day, or for all")
    if start is None and end is not None and relation.span == "since":
        start = EARLIEST
    span = None if start is None and relation.span in ("since", "now") else span_of(start, end)
    parts: Sequence[Part] = ()
    if span is not None and relation.span == "days":
        parts = _PARTS[relation.symbols](rows, named, span)
    return Asked(parts=parts, symbols=named, span=span, known_ns=known_ns, options=_options(relation, options))


def within(found: pl.LazyFrame, relation: Relation, span: Span, zone: str) -> pl.LazyFrame:
    """The rows whose `time` is from the span's first moment to its last one, where it has these: of what was traded.
    Decisions and gaps are those of the days.
    """
    time = pl.col("time")
    if relation.name not in _CUT:
        return found
    if span.from_ns is not None:
        found = found.filter(time >= pl.lit(span.from_ns).cast(pl.Datetime("ns", zone)))
    if span.to_ns is not None:
        found = found.filter(time < pl.lit(span.to_ns).cast(pl.Datetime("ns", zone)))
    return found


def _options(relation: Relation, given: Mapping[str, object]) -> object:
    known = () if relation.options is None else relation.options.__struct_fields__
    if unknown := [name for name in given if name not in known]:
        raise ConfigError(f"{relation.name} have no parameter {unknown[0]}: there are {', '.join(known) or 'none'}")
    return None if relation.options is None else relation.options(**given)


def _stored(rows: Rows, span: Span) -> Sequence[str]:
    found = [day for day in rows.days if span.first.isoformat() <= day <= span.last.isoformat()]
    if not found:
        raise unknown_day(str(span), rows.days)
    return found


def streamed(rows: Rows, asked: Sequence[str] | None, span: Span) -> Sequence[Part]:
    """The span's stored days, each with the asked lines that had a slot on it or are of its tape."""
    return _with_lines(
        rows,
        asked,
        span,
        rows.traded_on,
        "had no slot on {span}, so its trades were not streamed: snapshots() has what sweeps saw, and "
        "`observer slots pin {symbol}` streams it from now on",
    )


def _swept(rows: Rows, asked: Sequence[str] | None, span: Span) -> Sequence[Part]:
    missing = "was not in the universe of {span}, so sweeps did not ask for it: universe() shows what was"
    return _with_lines(rows, asked, span, rows.swept_on, missing)


def _of_days(rows: Rows, asked: Sequence[str] | None, span: Span) -> Sequence[Part]:
    def lines_on(days: Sequence[str]) -> Mapping[str, Sequence[str]]:
        return {day: rows.lines_on(day) for day in days}

    return _with_lines(rows, asked, span, lines_on, "was neither in the universe nor in a slot on {span}")


def _whole(rows: Rows, _asked: Sequence[str] | None, span: Span) -> Sequence[Part]:
    return [(day, None) for day in _stored(rows, span)]


def _with_lines(
    rows: Rows, asked: Sequence[str] | None, span: Span, collected: _Collected, missing: str
) -> Sequence[Part]:
    days = _stored(rows, span)
    if asked is None:
        return [(day, None) for day in days]
    by_day = {
        day: [line for line in lines if line in asked or stock_of(line) in asked]
        for day, lines in collected(days).items()
    }
    found = {name for lines in by_day.values() for line in lines for name in (line, stock_of(line))}
    for symbol in asked:
        if symbol not in found:
            rows.require_known(symbol)
            raise NotCollected(f"{symbol} {missing.format(span=span, symbol=symbol)}")
    return [(day, lines) for day, lines in by_day.items() if lines]


def _fetched(rows: Rows, asked: Sequence[str] | None, span: Span) -> Sequence[Part]:
    """The span's days with fetched minute bars, each with the asked lines."""
    first, last = span.first.isoformat(), span.last.isoformat()
    lines = None if asked is None else rows.lines_ever(asked)
    days = rows.dates_of("bar_fetches", first, last, lines)
    is_wanted = pl.col("kind") == "minutes"
    found = {day: each.filter(is_wanted) for day, each in rows.of_days("bar_fetches", days, lines).items()}
    fetched = {line for each in found.values() for line in each["symbol"]}
    missing = [each for each in asked or () if not any(each in (line, stock_of(line)) for line in fetched)]
    if not missing and fetched:
        return [(day, lines) for day, each in found.items() if not each.is_empty()]
    for symbol in missing:
        rows.require_known(symbol)
    of_symbols = f" --symbols {','.join(missing)}" if missing else ""
    raise NotCollected(
        f"no minute bars of {', '.join(missing) or 'any symbol'} on {span} are fetched: `observer backfill bars "
        f"--minutes --from {first} --to {last}{of_symbols}` fetches them"
    )


_PARTS: Final[Mapping[str, Callable[[Rows, Sequence[str] | None, Span], Sequence[Part]]]] = {
    "streamed": streamed, "swept": _swept, "fetched": _fetched, "stored": _of_days, "no": _whole,
}  # fmt: skip
