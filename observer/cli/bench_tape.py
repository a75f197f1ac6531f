"""`observer bench tape`: the planner of the tape against a made-up day of the market's size."""

from typing import Annotated

from observer.cli.bench import FolderOption, Lines, measure
from observer.cli.context import JsonOption
from observer.cli.options import Option


def tape(
    trades: Annotated[int, Option(min=10_000, help="Trades of the day.")] = 15_000_000,
    lines: Annotated[int, Option(min=100, max=10_000, help="Lines: stocks, ETFs and ETNs.")] = 3_700,
    share: Annotated[list[float] | None, Option(min=0.01, max=1, help="Share of the limit; may be repeated.")] = None,
    calls: Annotated[float, Option(min=0.1, help="Calls a second that the broker allows an account.")] = 18.0,
    accounts: Annotated[int, Option(min=1, help="Accounts.")] = 1,
    folder: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure which part of a market's day the tape can hold. A made-up day and a virtual clock."""
    from observer.bench.tape import TapeResult, measure_tape

    def table(result: TapeResult) -> Lines:
        reachable = 100 * (1 - result.unreachable / result.trades)
        market = f"{result.trades:,} trades of {result.lines:,} lines, {reachable:.2f} % of them reachable"
        yield (
            f"{market}; {result.accounts} x {result.calls_per_second:g} calls a second",
            *("share", "fetched %", "of reachable %", "complete lines %", "calls", "of floor", "done", "planner MB"),
        )
        for each in result.shares:
            yield (
                f"{each.share:g}",
                f"{each.fetched_percent:.2f}",
                f"{each.reachable_percent:.2f}",
                f"{each.complete_percent:.1f}",
                f"{each.calls:,}",
                f"{each.calls_of_floor:.3f}",
                each.done_at or "-",
                f"{each.planner_bytes / 1e6:.1f}",
            )

    shares = share or [1.0, 0.8, 0.65, 0.5]
    measure(
        lambda workspace, report: measure_tape(workspace, trades, lines, shares, calls, accounts, report),
        table,
        folder,
        as_json=as_json,
    )
