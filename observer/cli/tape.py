"""`observer tape`: which part of the market's trades a day's tape holds, in all and by symbol."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from bus.events import TapeJudged, TapePage, TapeProgressed
from observer.base.errors import NoDataError
from observer.base.local_time import local_datetime
from observer.cli.context import ConfigOption, DayArgument, JsonOption, full_settings, print_json, stored_day
from observer.cli.lines import SymbolOption, asked_lines
from observer.cli.tables import Table, show, show_text
from observer.cli.tape_progress import held_of_market, market_line, official_bars, official_line, percent, progress_line
from observer.collection.tape.official_lines import OfficialBars
from observer.gaps.completeness import HeldShare, completeness
from observer.store.reader import StoreReader

_ROWS_SHOWN = 40


class LineTape(msgspec.Struct, frozen=True, kw_only=True):
    """One symbol's tape: calls made and trades fetched for it; when judged, the quality and what it is made of. `calls`
    is None where the pages left the database for the lake (`[store] keep_days`).
    """

    symbol: str
    quality: str
    calls: int | None
    trades: int
    day_volume: float | None
    held_percent: float | None
    unknown_spans: int | None
    unreachable_seconds: int


class DayTape(msgspec.Struct, frozen=True, kw_only=True):
    """The keys of `observer tape --json`. Percentages are of the day's volume of all lines; `seconds_left` as of
    `progressed_ns`. `held` are the parts (0 to 1) of the volume and, by an estimate, of the trades of the lines with a
    report that are stored one by one. `symbols` are the asked lines, those with the most fetched trades first.
    `official` is None before an official bar of the day is stored.
    """

    day: str
    progress: TapeProgressed
    held_percent: float | None
    held: HeldShare
    qualities: Mapping[str, int]
    symbols: Sequence[LineTape]
    official: OfficialBars | None


def tape(
    day: DayArgument = None, symbol: SymbolOption = None, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """Show how much of a day's trades the tape holds. By symbol and in all.

    The tape fetches what no slot streams, with calls that nothing else needs ([tape] in the configuration). Qualities:
    complete: every share of the day is stored trade by trade. seconds: all but the unreachable seconds, which had more
    trades than the broker returns. spans: unknown spans are missing too. minute_bars, snapshots: no trade is stored.
    """
    settings = full_settings(config)
    lines = asked_lines(symbol, None, settings.instance.market)
    with StoreReader(settings.store.url) as reader:
        asked = stored_day(reader, day, settings.run)
        progress = reader.tape_progress(asked.session_date)
        if progress is None:
            raise NoDataError(f"no tape on {asked.title}: it is on with a section [tape] in the configuration")
        reports = reader.tape_reports(asked.session_date, lines.symbol)
        slots = {each.symbol: each for each in reader.quality(asked.session_date, lines.symbol)}
        fetched = {each.symbol for each in reader.minute_fetches(asked.session_date) if each.bars}
        with_bars = fetched | reader.lines_with_minute_bars(asked.session_date)
        of_lines = {
            name: completeness(report, slots.get(name), has_minute_bars=name in with_bars)
            for name, report in reports.items()
        }
        symbols = _by_symbol(reader.tape_pages(asked.session_date, lines.symbol), reports, of_lines)
        official = official_bars(reader, asked.session_date)
    if symbol is not None and not symbols:
        raise NoDataError(f"nothing of {symbol} is in the tape of {asked.title}: `observer tape` names its symbols")
    found = DayTape(
        day=asked.session_date,
        progress=progress,
        held_percent=percent(progress.held_volume, progress.day_volume),
        held=held_of_market(reports, slots.values()),
        qualities=dict(Counter(of_lines.values())),
        symbols=symbols,
        official=official,
    )
    if as_json:
        document = msgspec.structs.asdict(found)
        rows = [msgspec.structs.asdict(each) for each in found.symbols]
        structs = {name: msgspec.structs.asdict(getattr(found, name)) for name in ("progress", "held")}
        print_json({**document, **structs, "symbols": rows})
        return
    show(_table(found, asked.title))
    for line in _reported(found):
        show_text(line)


def _by_symbol(
    pages: Iterable[TapePage], reports: Mapping[str, TapeJudged], of_lines: Mapping[str, str]
) -> Sequence[LineTape]:
    calls, trades = Counter[str](), Counter[str]()
    seconds: dict[str, set[int]] = {}
    for page in pages:
        calls[page.symbol] += 1
        trades[page.symbol] += page.stored
        seconds.setdefault(page.symbol, set()).update(span.to_ns for span in page.unreachable)
    found = [
        _line(
            symbol,
            reports.get(symbol),
            of_lines.get(symbol, ""),
            calls[symbol],
            trades[symbol],
            seconds.get(symbol, set()),
        )
        for symbol in calls.keys() | reports.keys()
    ]
    return sorted(found, key=lambda each: (-each.trades, each.symbol))


def _line(symbol: str, report: TapeJudged | None, quality: str, calls: int, trades: int, seconds: set[int]) -> LineTape:
    is_removed = report is not None and report.fetched_trades > 0 and not calls
    if report is not None and is_removed:
        trades, seconds = report.fetched_trades, {span.to_ns for span in report.unreachable}
    return LineTape(
        symbol=symbol,
        quality=quality,
        calls=None if is_removed else calls,
        trades=trades,
        day_volume=None if report is None else report.day_volume,
        held_percent=None if report is None else percent(report.held_volume, report.day_volume),
        unknown_spans=None if report is None else len(report.unknown),
        unreachable_seconds=len(seconds),
    )


def _table(found: DayTape, title: str) -> Table:
    rows = [
        (
            each.symbol,
            each.quality,
            f"{each.trades:,}",
            "" if each.held_percent is None else f"{each.held_percent:.2f}",
            "" if each.unknown_spans is None else f"{each.unknown_spans:,}",
            f"{each.unreachable_seconds:,}",
            "" if each.calls is None else f"{each.calls:,}",
        )
        for each in found.symbols[:_ROWS_SHOWN]
    ]
    columns = ("symbol", "quality", "trades", "volume %", "spans", "seconds", "calls")
    return Table(columns, rows, f"{title}: fetched by the tape", right=columns[2:])


def _reported(found: DayTape) -> Iterator[str]:
    if (more := len(found.symbols) - _ROWS_SHOWN) > 0:
        yield f"{more:,} symbols more: --symbol shows one, --json all"
    if found.qualities:
        yield ", ".join(f"{count:,} {quality}" for quality, count in sorted(found.qualities.items()))
    if found.held.volume is not None and len(found.symbols) > 1:
        yield market_line(found.held)
    yield progress_line(found.progress)
    if found.official is not None:
        yield official_line(found.official)
    yield f"as of {local_datetime(found.progress.progressed_ns):%H:%M:%S}"
