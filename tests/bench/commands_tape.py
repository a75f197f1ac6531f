"""`python -m tests.bench tape`: the planner of the tape against a made-up day of the market's size."""

from collections.abc import Sequence
from typing import Annotated

from observer.cli.context import JsonOption
from observer.cli.options import Option
from tests.bench.commands import FolderOption, Lines, measure


def tape(
    trades: Annotated[int, Option(min=10_000, help="Trades of the day.")] = 15_000_000,
    lines: Annotated[int, Option(min=100, max=10_000, help="Lines: stocks, ETFs and ETNs.")] = 3_700,
    share: Annotated[list[float] | None, Option(min=0.01, max=1, help="Share of the limit; may be repeated.")] = None,
    calls: Annotated[float, Option(min=1, help="Calls a second that the broker allows an account.")] = 18.0,
    per_minute: Annotated[float, Option(min=0, help="Calls a minute; the tape: 7 of 8. 0: no such limit.")] = 1000.0,
    accounts: Annotated[int, Option(min=1, help="Accounts.")] = 1,
    slots: Annotated[int, Option(min=0, help="Lines that are streamed all day: those whose seconds lose most.")] = 0,
    folder: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure which part of a market's day the tape can hold. A made-up day and a virtual clock.

    The first rows are the arithmetic of the broker's pages: one visit of each line, and the lines that calls within
    crowded seconds complete at most. A second is crowded if it has more trades than a page. Below each share are its
    calls by what filled the places of their pages.
    """
    from observer.brokers.settings import RateLimitSettings
    from tests.bench.tape import PAGE_TRADES, TapeResult, measure_tape

    def table(result: TapeResult) -> Lines:
        limits = f"{result.accounts} x {result.calls_per_second:g} calls a second, {result.calls_per_minute:g} a minute"
        slotted = f"{result.slots} slots stream {100 * result.streamed / result.trades:.1f} %"
        yield (
            f"{result.trades:,} trades of {result.lines:,} lines; {limits}; {slotted}",
            *("share", "calls/s", "held %", "of reachable %", "complete lines %", "calls", "of floor", "done", "MB"),
        )
        yield from arithmetic(result)
        for each in result.shares:
            yield (
                f"{each.share:g}",
                f"{each.calls_per_second:.1f}",
                f"{each.held_percent:.2f}",
                f"{each.reachable_percent:.2f}",
                f"{each.complete_percent:.1f}",
                f"{each.calls:,}",
                f"{each.calls_of_floor:.3f}",
                each.done_at or "-",
                f"{each.planner_bytes / 1e6:.1f}",
            )
            for name, places in each.places.items():
                yield ("", "", "", "", name, f"{places / PAGE_TRADES:,.0f}", "", "", "")

    def arithmetic(result: TapeResult) -> Lines:
        incomplete = (result.crowded_lines, result.crowded_lines - result.polled_lines)
        whole, polled = (f"{100 * (1 - lines / result.lines):.1f}" for lines in incomplete)
        reachable = f"{100 * (1 - result.unreachable / result.trades):.2f}"
        pages = (f"{result.pages:,}", f"{result.pages_of_floor:.3f}")
        yield ("one visit", "", reachable, "100.00", whole, *pages, "", "")
        yield ("and crowded seconds", "", "", "", polled, "", "", "", "")

    limit = RateLimitSettings(calls_per_second=calls, calls_per_minute=per_minute or None)
    shares: Sequence[float] = share or [1.0, 0.65, 0.5]
    measure(
        lambda workspace, report: measure_tape(workspace, trades, lines, shares, limit, accounts, slots, report),
        table,
        folder,
        as_json=as_json,
    )
