"""`observer quality`: how complete a day's streamed data is, per symbol and in all."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from itertools import chain
from typing import Annotated

import msgspec
import typer
from rich import box
from rich.console import Console
from rich.table import Table

from bus.events import QualityJudged
from observer.brokers import capacity_of
from observer.cli.here import ConfigOption, market_time_ns, settings_here
from observer.errors import ConfigError
from observer.gaps.intervals import utilization
from observer.gaps.judging import GAP_RATE_LIMIT, gap_rate
from observer.gaps.reconciliation import reconcile
from observer.store.reader import StoreReader


class DayQuality(msgspec.Struct, frozen=True, kw_only=True):
    """The keys of `observer quality --json`. Volumes are shares; `symbols` are those that had a place in the stream.

    `stored` says whether these are the verdicts in the database; otherwise they were computed now. Percentages are of
    the volume that was traded while the symbols were to be streamed; null where nothing was. The gap rate is what the
    stream itself did not bring of it, recovered or not. Slot utilization is of the time of all configured places.
    """

    session_date: str
    stored: bool
    verdicts: Mapping[str, int]
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
    day: Annotated[str, typer.Argument(metavar="DATE", help="The day: 2026-11-18, say.")],
    symbol: Annotated[str | None, typer.Option(help="One symbol alone.")] = None,
    config: ConfigOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Show how complete a day's data is: per symbol that had a place in the stream, and in all.

    complete: every trade was streamed. recovered: what was missing was filled trade by trade. degraded: part of it is
    known as minute bars or conflated rows only, or not at all. missing: nothing was streamed.
    """
    settings = settings_here(config)
    with StoreReader(settings.store.url) as reader:
        places = sum(capacity_of(settings, account) for account in settings.pool.accounts)
        found = quality_of(reader, parsed_day(day), symbol, market_time_ns(settings), places)
    if as_json:
        typer.echo(msgspec.json.encode(_as_maps(found)).decode())
        return
    Console().print(_table(found))
    for line in _told(found):
        typer.echo(line)
    if not found.stored:
        typer.echo("computed now: no verdicts of this day are stored")


def parsed_day(text: str) -> str:
    """An ISO date, also without its hyphens.

    Raises:
        ConfigError: it is none.
    """
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError as error:
        raise ConfigError(f"{text!r} is not a date such as 2026-11-18") from error


def quality_of(reader: StoreReader, session_date: str, symbol: str | None, now_ns: int, places: int) -> DayQuality:
    """The stored verdicts; when the day has none, they are computed from what is stored until now. `places` is how many
    symbols can be streamed at a time.
    """
    verdicts = reader.quality(session_date, symbol)
    stored = bool(verdicts)
    if not stored:
        days = (day for day in reader.symbol_days(session_date, now_ns) if symbol in (None, day.symbol))
        verdicts = [reconcile(day, now_ns)[1] for day in days]
    hours = reader.stream_hours(session_date, now_ns)
    times = chain.from_iterable(reader.stream_times(session_date, now_ns).values())
    used = utilization(times, hours, places) if hours is not None else None
    return _summed(session_date, verdicts, used, stored=stored)


def _summed(session_date: str, verdicts: Sequence[QualityJudged], used: float | None, *, stored: bool) -> DayQuality:
    streamed = sum(verdict.streamed_volume for verdict in verdicts)
    recovered = sum(verdict.recovered_volume for verdict in verdicts)
    missing = sum(verdict.missing_volume for verdict in verdicts)
    traded = streamed + recovered + missing

    def percent(volume: float) -> float | None:
        return 100 * volume / traded if traded else None

    return DayQuality(
        session_date=session_date,
        stored=stored,
        verdicts=dict(Counter(verdict.verdict for verdict in verdicts)),
        streamed_volume=streamed,
        recovered_volume=recovered,
        conflated_volume=sum(verdict.conflated_volume for verdict in verdicts),
        missing_volume=missing,
        streamed_percent=percent(streamed),
        recovered_percent=percent(recovered),
        missing_percent=percent(missing),
        gap_rate_percent=_percent(gap_rate(verdicts)),
        gap_rate_limit_percent=100 * GAP_RATE_LIMIT,
        slot_utilization_percent=_percent(used),
        gaps=sum(verdict.gaps for verdict in verdicts),
        gaps_open=sum(verdict.gaps_open for verdict in verdicts),
        symbols=verdicts,
    )


def _percent(part: float | None) -> float | None:
    return None if part is None else 100 * part


def _shown(percent: float | None) -> str:
    return "not known" if percent is None else f"{percent:.2f} %"


def _as_maps(found: DayQuality) -> dict[str, object]:
    """Events are arrays on the bus; people's JSON has names."""
    names = DayQuality.__struct_fields__
    document = {name: getattr(found, name) for name in names}
    document["symbols"] = [msgspec.structs.asdict(verdict) for verdict in found.symbols]
    return document


def _table(found: DayQuality) -> Table:
    table = Table(
        title=f"{found.session_date}: trades of the symbols in the stream", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0)
    )  # 80 columns
    table.add_column("symbol", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for column in ("streamed", "recovered", "missing", "gaps", "open"):
        table.add_column(column, justify="right", no_wrap=True)
    for verdict in found.symbols:
        volumes = (verdict.streamed_volume, verdict.recovered_volume, verdict.missing_volume)
        table.add_row(
            verdict.symbol,
            verdict.verdict,
            *(f"{volume:,.0f}" for volume in volumes),
            str(verdict.gaps),
            str(verdict.gaps_open),
        )
    table.add_section()
    totals = (found.streamed_volume, found.recovered_volume, found.missing_volume)
    table.add_row("all", "", *(f"{volume:,.0f}" for volume in totals), str(found.gaps), str(found.gaps_open))
    shares = (found.streamed_percent, found.recovered_percent, found.missing_percent)
    table.add_row("%", "", *("" if share is None else f"{share:.4f}" for share in shares), "", "")
    return table


def _told(found: DayQuality) -> Iterator[str]:
    """What has no column: what is watched of the day (requirement 004, Monitoring & Alerting), the counts of verdicts,
    and what a verdict is about where it is not plain.
    """
    yield f"gap rate: {_shown(found.gap_rate_percent)} (limit {found.gap_rate_limit_percent:g} %)"
    yield f"slot utilization: {_shown(found.slot_utilization_percent)}"
    if found.verdicts:
        yield "verdicts: " + ", ".join(f"{count} {verdict}" for verdict, count in sorted(found.verdicts.items()))
    yield from (f"  {verdict.symbol}: {verdict.detail}" for verdict in found.symbols if verdict.detail)
