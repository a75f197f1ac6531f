"""Which lines of a day lack official minute bars or their comparison, and how far these are. Pure.

Everything follows from what is stored, so a new process goes on where the last one was.
"""

from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Final

import msgspec

from bus.events import BarsChecked, BarsFetched, TapeJudged
from observer.base.units import NS_PER_S

_PACE_LINES: Final = 100  # the latest lines, whose pace gives the time left


class OfficialBars(msgspec.Struct, frozen=True, kw_only=True):
    """The official minute bars of a day's lines: of `lines` with trades so many are fetched; of these, `equal_lines`
    have the volume of their daily bar. Of `minutes` with stored trades, `equal_minutes` are the broker's.
    `seconds_left` is by the pace of the latest lines; None before there is one.
    """

    lines: int
    fetched_lines: int
    equal_lines: int
    checked_lines: int
    minutes: int
    equal_minutes: int
    seconds_left: float | None


class Day(msgspec.Struct, frozen=True):
    """What is stored of a day, by line: the tape's reports, the fetches of minute bars, and the comparisons."""

    reports: Mapping[str, TapeJudged]
    fetches: Mapping[str, BarsFetched]
    checks: Mapping[str, BarsChecked]

    @property
    def unfetched(self) -> Sequence[str]:
        """The lines with trades and without minute bars: those with the most volume that the tape lacks first."""
        missing = [each for each in self._traded if each.symbol not in self.fetches]
        return [each.symbol for each in sorted(missing, key=_urgency)]

    @property
    def unchecked(self) -> Sequence[BarsFetched]:
        """The fetches of lines with stored trades that are not compared with these yet."""
        held = (each.symbol for each in self._traded if each.held_volume > 0 and each.symbol in self.fetches)
        return [self.fetches[symbol] for symbol in held if not self._is_checked(symbol)]

    @property
    def outdated(self) -> Sequence[TapeJudged]:
        """The reports of lines without a stored trade that have minute bars now."""
        fetched = ((each, self.fetches.get(each.symbol)) for each in self._traded if each.quality == "snapshots")
        return [each for each, fetch in fetched if fetch is not None and fetch.bars]

    @property
    def _traded(self) -> Sequence[TapeJudged]:
        return [each for each in self.reports.values() if each.day_volume > 0]

    def _is_checked(self, symbol: str) -> bool:
        check = self.checks.get(symbol)
        return check is not None and check.checked_ns >= self.fetches[symbol].received_ns

    def progress(self) -> OfficialBars:
        """How far the day's official bars are."""
        lines = {each.symbol for each in self._traded}
        fetches = sorted(
            (each for symbol, each in self.fetches.items() if symbol in lines), key=attrgetter("received_ns")
        )
        checks = [check for symbol, check in self.checks.items() if symbol in lines]
        latest, left = fetches[-_PACE_LINES - 1 :], len(lines) - len(fetches)
        each_s = (latest[-1].received_ns - latest[0].received_ns) / NS_PER_S / (len(latest) - 1) if latest[1:] else None
        return OfficialBars(
            lines=len(lines),
            fetched_lines=len(fetches),
            equal_lines=sum(each.outcome == "equal" for each in fetches),
            checked_lines=len(checks),
            minutes=sum(each.minutes - each.without_trades for each in checks),
            equal_minutes=sum(each.equal for each in checks),
            seconds_left=0.0 if not left else None if each_s is None else each_s * left,
        )


def day_of(reports: Mapping[str, TapeJudged], fetches: Iterable[BarsFetched], checks: Iterable[BarsChecked]) -> Day:
    """What is stored of a day; `fetches` of minute bars and `checks` are the last ones of each line."""
    return Day(reports, {each.symbol: each for each in fetches}, {each.symbol: each for each in checks})


def _urgency(report: TapeJudged) -> tuple[float, float, str]:
    return report.held_volume - report.day_volume, -report.day_volume, report.symbol
