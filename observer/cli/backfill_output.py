"""What `observer backfill` shows: the estimate, progress, the result of a fetch and of a comparison."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from bus.events import BarsChecked, BarsFetched, FetchOutcome
from observer.cli.context import as_maps, print_error
from observer.cli.tables import Table, show, show_text
from observer.collection.backfill.fetching import Result
from observer.collection.backfill.plan import Estimate

_SHOWN: Final = 20
_OUTCOMES: Final[Mapping[FetchOutcome, str]] = {
    "equal": "equal the daily bar",
    "differs": "differ",
    "nothing": "have no bars",
    "unproved": "unproved",
}


def show_estimate(found: Estimate) -> None:
    """Print it."""
    show_text(
        f"missing: {found.daily_spans:,} spans of daily bars and {found.minute_days:,} days of minute bars of "
        f"{found.symbols:,} symbols\nat most {found.calls:,} calls and {found.bars:,} bars: "
        f"{_duration(found.seconds)} at {found.calls_per_second:.1f} calls a second, longer beside other calls"
    )


def estimate_map(found: Estimate) -> dict[str, object]:
    """Its fields and the time that it takes."""
    return {**msgspec.structs.asdict(found), "seconds": found.seconds}


@contextlib.contextmanager
def progress(symbols: int) -> Iterator[Callable[[Result], None]]:
    """A bar of the symbols, on a terminal."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    times = (TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, *times, console=console, transient=True, disable=not console.is_terminal) as shown:
        task = shown.add_task("symbols", total=symbols)

        def report(result: Result) -> None:
            bars = result.daily_bars + result.minute_bars
            text = f"symbols, {result.calls:,} calls, {bars:,} bars"
            shown.update(task, completed=result.symbols, description=text)

        yield report


def result_map(result: Result, found: Estimate | None) -> dict[str, object]:
    """The fields of the result, and the estimate before it."""
    return {
        **msgspec.structs.asdict(result),
        "differing": as_maps(result.differing),
        "estimate": None if found is None else estimate_map(found),
    }


def show_result(result: Result) -> None:
    """Print the result, and the largest differences."""
    bars = f"{result.daily_bars:,} daily bars, {result.minute_bars:,} minute bars of {result.minute_days:,} days"
    show_text(f"stored: {bars}; {result.calls:,} calls")
    if result.minute_days:
        counts = (f"{result.outcomes[outcome]:,} {text}" for outcome, text in _OUTCOMES.items())
        show_text(f"volumes of these days: {', '.join(counts)}")
    if result.differing:
        shown = sorted(result.differing, key=_difference, reverse=True)[:_SHOWN]
        show(_differences(shown, f"{len(result.differing):,} days without the volume of their daily bar"))
    if result.unreached:
        show_text(f"{result.unreached:,} days are before what the broker keeps")
    if result.unreadable:
        show_text(f"{result.unreadable:,} rows cannot be read: they are in quarantine (quarantined_inputs)")
    for symbol, error in list(result.failed.items())[:_SHOWN]:
        print_error(f"{symbol}: {error}")
    if result.failed:
        print_error(f"{len(result.failed):,} symbols got no answer: run the command again")


def _difference(fetched: BarsFetched) -> float:
    return abs(fetched.volume - (fetched.daily_volume or 0.0))


def _differences(fetches: Sequence[BarsFetched], title: str) -> Table:
    rows = [
        (
            *(each.symbol, each.session_date, f"{each.bars:,}", f"{each.volume:,.0f}"),
            *("?" if each.daily_volume is None else f"{each.daily_volume:,.0f}", str(each.unreadable or "")),
        )
        for each in fetches
    ]
    columns = ("symbol", "day", "bars", "volume", "of daily bar", "unreadable")
    return Table(columns, rows, title, right=columns[2:])


def show_checks(session_date: str, fetched: int, found: Sequence[BarsChecked]) -> None:
    """Print the comparison of a day, the symbols with the most differing minutes first."""
    held = [each.minutes - each.without_trades for each in found]
    equal = sum(each.equal for each in found)
    show_text(
        f"{session_date}: {fetched:,} symbols with official minute bars, {len(found):,} of them with stored trades: "
        f"{equal:,} of {sum(held):,} minutes with stored trades are equal"
    )
    other = [each for each in found if each.differences]
    rows = [
        (
            *(each.symbol, *map(str, (each.equal, each.other_volume, each.other_prices))),
            *map(str, (each.without_trades, each.without_bar)),
            *(f"{each.stored_volume:,.0f}", f"{each.official_volume:,.0f}"),
        )
        for each in sorted(other, key=lambda each: len(each.differences), reverse=True)[:_SHOWN]
    ]
    if rows:
        columns = ("symbol", "equal", "volume", "prices", "no trades", "no bar", "stored", "official")
        show(Table(columns, rows, f"{len(other):,} symbols with differing minutes", right=columns[1:]))


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{seconds:.0f} s" if minutes < 2 else f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"
