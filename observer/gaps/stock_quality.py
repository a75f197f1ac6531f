"""The quality of a stock's day over all venues, from the reports on its lines. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from bus.events import QualityJudged
from observer.base.lines import stock_of
from observer.gaps.intervals import VOLUME_NOISE

# From the strongest word to the weakest: a defect that is proved at one venue is the stock's, whatever is unknown of
# the other one.
SLOTS_WORDS: Final = ("complete", "recovered", "unknown", "degraded", "missing")
DAY_WORDS: Final = ("whole", "unknown", "part")


class StockQuality(msgspec.Struct, frozen=True, kw_only=True):
    """How complete a stock's trades of one day are at all venues together.

    `reports` are the reports on the stock's lines that had a slot. `day_volumes` holds the volume of each line that is
    known to exist on that day, by the line's id; None where a volume is unknown. Each word is the weakest of the lines'
    words; a line that traded without ever having a slot makes the day a part. Volumes are sums in shares;
    `missing_at_most` and `day_volume` are None where a summand is unknown. `volume_share` (0 to 1) is the stored part
    of `day_volume`.
    """

    stock: str
    session_date: str
    slots_quality: str
    day_quality: str
    streamed_volume: float
    recovered_volume: float
    conflated_volume: float
    missing_volume: float
    missing_at_most: float | None
    day_volume: float | None
    volume_share: float | None
    gaps: int
    gaps_open: int
    day_volumes: Mapping[str, float | None]
    reports: Sequence[QualityJudged]


def stock_qualities(
    reports: Iterable[QualityJudged], day_volumes: Mapping[str, Mapping[str, float | None]]
) -> list[StockQuality]:
    """A day's quality by stock, from the reports on the lines that had a slot.

    Args:
        reports: of one day, one for each line.
        day_volumes: by stock, the volumes of the whole day by line as other sources have them (None: unknown).
    """
    of_stocks: dict[str, list[QualityJudged]] = {}
    for report in reports:
        of_stocks.setdefault(stock_of(report.symbol), []).append(report)
    return [_of_stock(stock, found, day_volumes.get(stock, {})) for stock, found in sorted(of_stocks.items())]


def _of_stock(stock: str, reports: Sequence[QualityJudged], other: Mapping[str, float | None]) -> StockQuality:
    judged = {report.symbol: report.day_volume for report in reports}
    volumes = {**other, **judged}
    unjudged = [volume for line, volume in volumes.items() if line not in judged]
    at_most = [report.missing_at_most for report in reports]
    day_volume = _sum(volumes.values())
    stored = sum((report.volume_share or 0.0) * (report.day_volume or 0.0) for report in reports)
    return StockQuality(
        stock=stock,
        session_date=reports[0].session_date,
        slots_quality=max((report.slots_quality for report in reports), key=SLOTS_WORDS.index),
        day_quality=max([*(report.day_quality for report in reports), *map(_day_word, unjudged)], key=DAY_WORDS.index),
        streamed_volume=sum(report.streamed_volume for report in reports),
        recovered_volume=sum(report.recovered_volume for report in reports),
        conflated_volume=sum(report.conflated_volume for report in reports),
        missing_volume=sum(report.missing_volume for report in reports),
        missing_at_most=_sum(at_most),
        day_volume=day_volume,
        volume_share=stored / day_volume if day_volume else None,
        gaps=sum(report.gaps for report in reports),
        gaps_open=sum(report.gaps_open for report in reports),
        day_volumes={line: volumes[line] for line in sorted(volumes)},
        reports=sorted(reports, key=lambda report: report.symbol),
    )


def _day_word(volume: float | None) -> str:
    """The day's word of a line without a slot: the line's trades are not stored at all."""
    return "unknown" if volume is None else "part" if volume > VOLUME_NOISE else "whole"


def _sum(volumes: Iterable[float | None]) -> float | None:
    known = list(volumes)
    return None if None in known else sum(volume for volume in known if volume is not None)
