"""`observer coverage`: how complete a day's trades are, per symbol and in all: in the slots, and of the whole day."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from itertools import chain
from pathlib import Path

import click
import msgspec

from bus.events import QualityJudged
from observer.base.clock import clock_from_environment
from observer.brokers.accounts.clients import capacity_of
from observer.calendar.service import TradingDayService
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
from observer.cli.lines import AskedLines, SymbolOption, VenueOption, asked_lines, require_slot
from observer.cli.removed import require_hot
from observer.cli.tables import Table, show, show_text
from observer.cli.tape_progress import held_of_market, market_line
from observer.gaps.completeness import HeldShare
from observer.gaps.intervals import Interval, utilization
from observer.gaps.reconciliation import GAP_RATE_LIMIT, gap_rate, reconcile
from observer.store.reader import StoreReader


class DayQuality(msgspec.Struct, frozen=True, kw_only=True):
    """The keys of `observer coverage --json`. Volumes are shares; `symbols` are those that had a slot.

    `stored` says whether these are the quality reports in the database; otherwise they were computed now.
    `slots_quality` and `day_quality` count their words. The percentages of streamed, recovered and missing volume are
    of the volume that was traded while the symbols had a slot; null where nothing was. The gap rate is what the market
    data stream did not bring of it, recovered or not; `missing_at_most` is null where one symbol's is unknown. The
    day's volume percentage is that of the stored trades, among the symbols with a known volume of the day; the
    session's time percentage is the mean of the symbols. Slot utilization is the part of the time of all configured
    slots in which the broker acknowledged a subscription. `market` are the parts (0 to 1) of the whole market's volume
    and, by an estimate, of its trades that are stored one by one; null without a tape and for some symbols.
    """

    day: str
    stored: bool
    slots_quality: Mapping[str, int]
    day_quality: Mapping[str, int]
    day_volume_percent: float | None
    session_time_percent: float | None
    streamed_volume: float
    recovered_volume: float
    conflated_volume: float
    missing_volume: float
    missing_at_most: float | None
    streamed_percent: float | None
    recovered_percent: float | None
    missing_percent: float | None
    gap_rate_percent: float | None
    gap_rate_limit_percent: float
    slot_utilization_percent: float | None
    gaps: int
    gaps_open: int
    market: HeldShare | None
    symbols: Sequence[QualityJudged]


def coverage(
    day: DayArgument = None,
    symbol: SymbolOption = None,
    venue: VenueOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show how complete a day's trades are, in all. Covers the symbols that had a slot.

    In slots, the times with a slot: complete: every trade was streamed. recovered: what was missing was filled trade by
    trade. degraded: part of it is known as minute bars or conflated rows only, or not at all, or nothing shows what a
    cut missed. missing: it traded, and nothing was streamed. unknown: nothing was streamed, and no source shows whether
    it traded. Missing: the shares of these times that are known not to be stored. At most: the most that these can be.

    The day, from the open to the close: whole: every trade is stored. part: the trades of volume % of the day's shares
    are, streamed in time % of the session.

    Of a day without stored reports they are computed now. A stock at two venues is two symbols, SYMBOL and
    SYMBOL.VENUE. `observer quality` has the stored reports, of the tape's symbols, too.
    """
    settings = full_settings(config)
    lines = asked_lines(symbol, venue, settings.instance.market)
    slots = sum(capacity_of(settings.clients, account) for account in settings.pool.accounts)
    with StoreReader(settings.store.url) as reader:
        asked = stored_day(reader, day, settings.run)
        require_slot(reader, lines, asked.session_date)
        if not reader.quality(asked.session_date):
            require_hot(settings, asked.session_date)
        now_ns = time_on(asked.session_date, settings.run)
        days = TradingDayService(Path(settings.run.runtime), settings.day_rules, clock_from_environment())
        session = Interval(*days.session_of(date.fromisoformat(asked.session_date)))
        found = quality_of(reader, asked.session_date, lines, now_ns, slots, session)
        if lines.symbol is None and (reports := reader.tape_reports(asked.session_date)):
            market = held_of_market(reports, reader.quality(asked.session_date))
            found = msgspec.structs.replace(found, market=market)
    if as_json:
        print_json(_as_map(found))
        return
    if not found.symbols:
        click.echo(f"no symbol had a slot on {asked.title}")
        return
    show(_table(found, asked))
    for line in _reported(found):
        show_text(line)


def quality_of(
    reader: StoreReader, session_date: str, lines: AskedLines, now_ns: int, slots: int, session: Interval
) -> DayQuality:
    """The stored quality reports on these lines; when they have none, they are computed from what is stored until now.
    `slots` is how many symbols can be streamed at a time, `session` the day's from the open to the close.
    """
    reports: Sequence[QualityJudged] = [each for each in reader.quality(session_date) if lines.has(each.symbol)]
    stored = bool(reports)
    if not stored:
        symbols = [each for each in reader.stream_times(session_date, now_ns) if lines.has(each)]
        reports = [reconcile(day, now_ns)[1] for day in reader.symbol_days(session_date, now_ns, session, symbols)]
    hours = reader.stream_hours(session_date, now_ns)
    times = chain.from_iterable(reader.streamed_times(session_date, now_ns).values())
    used = utilization(times, hours, slots) if hours is not None else None
    return _summed(session_date, reports, used, stored=stored)


def _summed(session_date: str, reports: Sequence[QualityJudged], used: float | None, *, stored: bool) -> DayQuality:
    streamed = sum(report.streamed_volume for report in reports)
    recovered = sum(report.recovered_volume for report in reports)
    missing = sum(report.missing_volume for report in reports)
    traded = streamed + recovered + missing
    at_most = [report.missing_at_most for report in reports]
    of_day = [(report.day_volume, report.volume_share or 0.0) for report in reports if report.day_volume is not None]
    volume = sum(day_volume for day_volume, _ in of_day)
    shares = [report.time_share for report in reports if report.time_share is not None]

    def percent(volume: float) -> float | None:
        return 100 * volume / traded if traded else None

    return DayQuality(
        day=session_date,
        stored=stored,
        slots_quality=dict(Counter(report.slots_quality for report in reports)),
        day_quality=dict(Counter(report.day_quality for report in reports)),
        day_volume_percent=_percent(sum(share * each for each, share in of_day) / volume if volume else None),
        session_time_percent=_percent(sum(shares) / len(shares) if shares else None),
        streamed_volume=streamed,
        recovered_volume=recovered,
        conflated_volume=sum(report.conflated_volume for report in reports),
        missing_volume=missing,
        missing_at_most=None if None in at_most else sum(filter(None, at_most)),
        streamed_percent=percent(streamed),
        recovered_percent=percent(recovered),
        missing_percent=percent(missing),
        gap_rate_percent=_percent(gap_rate(reports)),
        gap_rate_limit_percent=100 * GAP_RATE_LIMIT,
        slot_utilization_percent=_percent(used),
        gaps=sum(report.gaps for report in reports),
        gaps_open=sum(report.gaps_open for report in reports),
        market=None,
        symbols=reports,
    )


def _percent(part: float | None) -> float | None:
    return None if part is None else 100 * part


def _shown(percent: float | None) -> str:
    return "not known" if percent is None else f"{percent:.2f} %"


def _as_map(found: DayQuality) -> dict[str, object]:
    """The events as maps: they are arrays on the bus, JSON output has names."""
    names = DayQuality.__struct_fields__
    document = {name: getattr(found, name) for name in names}
    document["market"] = None if found.market is None else msgspec.structs.asdict(found.market)
    document["symbols"] = [msgspec.structs.asdict(report) for report in found.symbols]
    return document


def _table(found: DayQuality, asked: AskedDay) -> Table:
    rows = [
        (
            report.symbol,
            report.slots_quality,
            report.day_quality,
            _figure(_percent(report.volume_share), ".2f"),
            _figure(_percent(report.time_share), ".2f"),
            *(_figure(volume) for volume in (report.streamed_volume, report.missing_volume, report.missing_at_most)),
            str(report.gaps),
        )
        for report in found.symbols
    ]
    shares = (_figure(share, ".2f") for share in (found.day_volume_percent, found.session_time_percent))
    volumes = (_figure(volume) for volume in (found.streamed_volume, found.missing_volume, found.missing_at_most))
    rows.append(("all", "", "", *shares, *volumes, str(found.gaps)))
    columns = ("symbol", "in slots", "day", "volume %", "time %", "streamed", "missing", "at most", "gaps")
    return Table(columns, rows, f"{asked.title}: shares of the symbols with a slot", right=columns[3:])


def _figure(figure: float | None, form: str = ",.0f") -> str:
    return "" if figure is None else f"{figure:{form}}"


def _reported(found: DayQuality) -> Iterator[str]:
    """Lines without a column: explanations of single reports, then the day's monitored figures and how many rows have
    each word.
    """
    yield from (f"  {report.symbol}: {report.detail}" for report in found.symbols if report.detail)
    yield "missing: shares known not to be stored; at most: the most that these can be"
    yield (
        f"traded in slots: {_shown(found.streamed_percent)} streamed, "
        f"{_shown(found.recovered_percent)} recovered, {_shown(found.missing_percent)} missing"
    )
    yield f"gap rate: {_shown(found.gap_rate_percent)} (limit {found.gap_rate_limit_percent:g} %)"
    yield f"open gaps: {found.gaps_open}"
    yield f"slot utilization: {_shown(found.slot_utilization_percent)}"
    yield f"in slots: {_counts(found.slots_quality)}; of the day: {_counts(found.day_quality)}"
    if found.market is not None:
        yield market_line(found.market)
    if not found.stored:
        yield "(computed now: the day has no reports stored)"


def _counts(words: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {word}" for word, count in sorted(words.items()))
