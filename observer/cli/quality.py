"""`observer quality`: how complete a day's streamed data is, per symbol and in all."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Annotated

import click
import msgspec

from bus.events import QualityJudged
from observer.accounts.clients import capacity_of
from observer.cli.context import (
    AskedDay,
    ConfigOption,
    DayArgument,
    JsonOption,
    full_settings,
    print_json,
    stored_day,
    time_on,
)
from observer.cli.gaps import require_slot
from observer.cli.options import Option
from observer.cli.tables import Table, show, show_text
from observer.gaps.intervals import utilization
from observer.gaps.reconciliation import GAP_RATE_LIMIT, gap_rate, reconcile
from observer.store.reader import StoreReader


class DayQuality(msgspec.Struct, frozen=True, kw_only=True):
    """The keys of `observer quality --json`. Volumes are shares; `symbols` are those that had a slot.

    `stored` says whether these are the quality reports in the database; otherwise they were computed now. Percentages
    are of the volume that was traded while the symbols were to be streamed; null where nothing was. The gap rate is
    what the market data stream did not bring of it, recovered or not. Slot utilization is of the time of all configured
    slots.
    """

    day: str
    stored: bool
    reports: Mapping[str, int]
    streamed_volume: float
    recovered_volume: float
    conflated_volume: float
    missing_volume: float
    streamed_percent: float | None
    recovered_percent: float | None
    missing_percent: float | None
    gap_rate_percent: float | None
    gap_rate_limit_percent: float
    slot_utilization_percent: float | None
    gaps: int
    gaps_open: int
    symbols: Sequence[QualityJudged]


def quality(
    day: DayArgument = None,
    symbol: Annotated[str | None, Option(help="Show one symbol only.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show how complete a day's trades are, by symbol. Covers the symbols that had a slot.

    complete: every trade was streamed. recovered: what was missing was filled trade by trade. degraded: part of it is
    known as minute bars or conflated rows only, or not at all. missing: nothing was streamed.
    """
    settings = full_settings(config)
    slots = sum(capacity_of(settings.clients, account) for account in settings.pool.accounts)
    with StoreReader(settings.store.url) as reader:
        asked = stored_day(reader, day, settings.run)
        if symbol is not None:
            require_slot(reader, symbol, asked.session_date)
        found = quality_of(reader, asked.session_date, symbol, time_on(asked.session_date, settings.run), slots)
    if as_json:
        print_json(_as_maps(found))
        return
    if not found.symbols:
        click.echo(f"no symbol had a slot on {asked.title}")
        return
    show(_table(found, asked))
    for line in _reported(found):
        show_text(line)


def quality_of(reader: StoreReader, session_date: str, symbol: str | None, now_ns: int, slots: int) -> DayQuality:
    """The stored quality reports; when the day has none, they are computed from what is stored until now. `slots` is
    how many symbols can be streamed at a time.
    """
    reports = reader.quality(session_date, symbol)
    stored = bool(reports)
    if not stored:
        days = (day for day in reader.symbol_days(session_date, now_ns) if symbol in (None, day.symbol))
        reports = [reconcile(day, now_ns)[1] for day in days]
    hours = reader.stream_hours(session_date, now_ns)
    times = chain.from_iterable(reader.stream_times(session_date, now_ns).values())
    used = utilization(times, hours, slots) if hours is not None else None
    return _summed(session_date, reports, used, stored=stored)


def _summed(session_date: str, reports: Sequence[QualityJudged], used: float | None, *, stored: bool) -> DayQuality:
    streamed = sum(report.streamed_volume for report in reports)
    recovered = sum(report.recovered_volume for report in reports)
    missing = sum(report.missing_volume for report in reports)
    traded = streamed + recovered + missing

    def percent(volume: float) -> float | None:
        return 100 * volume / traded if traded else None

    return DayQuality(
        day=session_date,
        stored=stored,
        reports=dict(Counter(report.quality for report in reports)),
        streamed_volume=streamed,
        recovered_volume=recovered,
        conflated_volume=sum(report.conflated_volume for report in reports),
        missing_volume=missing,
        streamed_percent=percent(streamed),
        recovered_percent=percent(recovered),
        missing_percent=percent(missing),
        gap_rate_percent=_percent(gap_rate(reports)),
        gap_rate_limit_percent=100 * GAP_RATE_LIMIT,
        slot_utilization_percent=_percent(used),
        gaps=sum(report.gaps for report in reports),
        gaps_open=sum(report.gaps_open for report in reports),
        symbols=reports,
    )


def _percent(part: float | None) -> float | None:
    return None if part is None else 100 * part


def _shown(percent: float | None) -> str:
    return "not known" if percent is None else f"{percent:.2f} %"


def _as_maps(found: DayQuality) -> dict[str, object]:
    """The events as maps: they are arrays on the bus, JSON output has names."""
    names = DayQuality.__struct_fields__
    document = {name: getattr(found, name) for name in names}
    document["symbols"] = [msgspec.structs.asdict(report) for report in found.symbols]
    return document


def _table(found: DayQuality, asked: AskedDay) -> Table:
    rows = [
        (
            report.symbol,
            report.quality,
            *_figures(report.streamed_volume, report.recovered_volume, report.missing_volume),
            str(report.gaps),
            str(report.gaps_open),
        )
        for report in found.symbols
    ]
    volumes = _figures(found.streamed_volume, found.recovered_volume, found.missing_volume)
    shares = (found.streamed_percent, found.recovered_percent, found.missing_percent)
    rows.append(("all", "", *volumes, str(found.gaps), str(found.gaps_open)))
    rows.append(("%", "", *("" if share is None else f"{share:.4f}" for share in shares), "", ""))
    columns = ("symbol", "quality", "streamed", "recovered", "missing", "gaps", "open")
    return Table(columns, rows, f"{asked.title}: shares of the symbols in the stream", right=columns[2:])


def _figures(*volumes: float) -> Iterator[str]:
    return (f"{volume:,.0f}" for volume in volumes)


def _reported(found: DayQuality) -> Iterator[str]:
    """Lines without a column: explanations of single reports, then the day's monitored figures (requirement 004,
    Monitoring & Alerting) and the counts of quality reports.
    """
    yield from (f"  {report.symbol}: {report.detail}" for report in found.symbols if report.detail)
    yield f"gap rate: {_shown(found.gap_rate_percent)} (limit {found.gap_rate_limit_percent:g} %)"
    yield f"slot utilization: {_shown(found.slot_utilization_percent)}"
    reports = ", ".join(f"{count} {report}" for report, count in sorted(found.reports.items()))
    yield f"quality reports: {reports}" + ("" if found.stored else " (computed now: the day has none stored)")
