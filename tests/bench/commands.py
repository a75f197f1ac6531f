"""`python -m tests.bench`: how fast and how large this program is on this machine, each figure beside its limit."""

import asyncio
import shutil
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Protocol, TypeAlias, TypeVar

from observer.cli.context import ConfigOption, JsonOption, full_settings, print_json
from observer.cli.options import Option
from observer.cli.tables import Table, show
from tests.bench.machine import Machine
from tests.bench.path import ReportProgress

FolderOption = Annotated[
    Path | None,
    Option(help="A folder on the disk to measure; its name must be short. Without it the temporary one."),
]
RateOption = Annotated[
    int | None, Option(min=1, help="Calls a second that the broker allows each account; default: the real broker's.")
]
RoundsOption = Annotated[int, Option(min=1, help="Number of rounds; the figures are medians.")]


class Measured(Protocol):
    """A result that says where it was measured."""

    @property
    def machine(self) -> Machine:
        """The command, and on what it ran."""
        ...


Lines: TypeAlias = Iterator[Sequence[str]]
"""A table: title and headers first, then the rows."""

Result = TypeVar("Result", bound=Measured)


def latency(
    rate: Annotated[list[float] | None, Option(min=1, help="Events a second; may be repeated.")] = None,
    seconds: Annotated[float, Option(min=0.5, help="How long each rate is kept up.")] = 10.0,
    folder: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure the time from publish to acknowledgement. Publishes 1,000 and 20,000 events per second."""
    from tests.bench.latency import LatencyResult, Spread, measure_latency

    def figures(spread: Spread) -> list[str]:
        return [f"{value:.2f}" for value in (spread.p50_ms, spread.p99_ms, spread.max_ms)]

    def table(result: LatencyResult) -> Lines:
        yield ("from publish to acknowledged, ms", "", "events/s", "p50", "p99", "max")
        yield ("the disk alone", "", *figures(result.disk_sync))
        for each in result.rates:
            yield ("whole path", f"{each.reached_per_s:,.0f}", *figures(each.published_to_acknowledged))

    rates = rate or [1_000.0, 20_000.0]
    measure(
        lambda workspace, report: measure_latency(workspace, rates, seconds, report), table, folder, as_json=as_json
    )


def restart(
    kills: Annotated[int, Option(min=1, help="Number of kills; the figure is the median.")] = 7,
    pause: Annotated[float, Option(min=0, help="Seconds of streaming before each kill.")] = 2.0,
    folder: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure the time from kill -9 to the next stored event. Kills the streaming worker of a running system."""
    from tests.bench.restart import RestartResult, measure_restart

    def table(result: RestartResult) -> Lines:
        yield (f"kill -9 {result.worker}: seconds to its next event committed", "", "s")
        for number, span_s in enumerate(result.spans_s, 1):
            yield (f"kill {number}", f"{span_s:.3f}")
        yield ("median", f"{result.median_s:.3f}")

    measure(lambda workspace, report: measure_restart(workspace, kills, pause, report), table, folder, as_json=as_json)


def footprint(folder: FolderOption = None, as_json: JsonOption = False) -> None:
    """Measure the memory of each process of an idle system. Also measures all together."""
    from tests.bench.footprint import DEMO_ONLY, FootprintResult, measure_footprint

    def megabytes(*counts: int) -> list[str]:
        return [f"{count / 1e6:.1f}" for count in counts]

    def table(result: FootprintResult) -> Lines:
        yield ("memory of the idle system, MB", "process", "RSS", "PSS", "own alone")
        for each in result.processes:
            yield (each.process, *megabytes(each.rss_bytes, each.pss_bytes, each.own_bytes))
        yield (f"all but the {DEMO_ONLY}", *megabytes(result.rss_bytes, result.pss_bytes))

    measure(measure_footprint, table, folder, as_json=as_json)


def frames(
    records: Annotated[int, Option(min=1000, help="Trades in each round.")] = 200_000,
    size: Annotated[list[int] | None, Option(min=1, max=999, help="Records a frame; may be repeated.")] = None,
    rounds: RoundsOption = 7,
    folder: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure decoded trade frames per second. Compares with bytes.split of the same frames."""
    from tests.bench.frames import FramesResult, measure_frames

    def table(result: FramesResult) -> Lines:
        yield ("trade frames -> trades", "records a frame", "records/s", "ns/record", "ns split", "of split")
        for each in result.sizes:
            yield (
                f"{each.records_per_frame}",
                f"{each.records_per_s:,.0f}",
                f"{each.ns_per_record:,.0f}",
                f"{each.bare_ns_per_record:,.0f}",
                f"{each.ratio_to_bare:.2f}",
            )

    sizes = size or [1, 2, 4, 20]
    measure(
        lambda workspace, report: measure_frames(workspace, records, sizes, rounds, report),
        table,
        folder,
        as_json=as_json,
    )


def sweep(
    symbols: Annotated[int, Option(min=31, help="Made-up symbols in the sweep.")] = 2500,
    rate: RateOption = None,
    accounts: Annotated[int, Option(min=1, help="Accounts that share the sweep.")] = 1,
    all_venues: Annotated[bool, Option("--all-venues", help="Sweep also their lines at further venues.")] = False,
    beside_tape: Annotated[bool, Option("--beside-tape", help="Sweep as often beside a tape at the limit.")] = False,
    rounds: RoundsOption = 3,
    folder: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure a sweep of the market against the broker's rate limit. Also shows what the broker counted."""
    from tests.bench.sweep import SweepResult, measure_sweep

    def table(result: SweepResult) -> Lines:
        venues = ", ".join(f"{count:,} at {venue}" for venue, count in result.lines.items())
        yield (f"a sweep of {result.symbols:,} lines in {result.calls} calls", "", "", "of floor")
        yield ("lines", venues, "")
        yield ("floor, s", f"{result.floor_s:.3f}", "1.000")
        for number, span_s in enumerate(result.rounds_s, 1):
            yield (f"round {number}, s", f"{span_s:.3f}", f"{span_s / result.floor_s:.3f}")
        yield ("median, s", f"{result.median_s:.3f}", f"{result.ratio_to_floor:.3f}")
        for span_s in result.beside_tape_s:
            yield (f"beside a tape of {result.tape_calls_per_second:.1f} calls/s, s", f"{span_s:.3f}", "")
        if result.ratio_beside_tape is not None:
            yield ("median beside it to the median alone", f"{result.ratio_beside_tape:.3f}", "")
        yield ("rate errors at the broker", f"{result.rate_errors}", "")
        yield ("calls in its busiest second", f"{result.busiest_second_calls}", "")

    measure(
        lambda workspace, report: measure_sweep(
            *(workspace, symbols, rate, accounts, rounds, report), all_venues=all_venues, beside_tape=beside_tape
        ),
        table,
        folder,
        as_json=as_json,
    )


def selection(
    symbols: Annotated[int, Option(min=1, help="Symbols of the universe.")] = 2_500,
    rounds: Annotated[int, Option(min=1, help="Number of rounds; the figures are medians.")] = 50,
    folder: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure triggers, allocation and context synchronization. Evaluates a sweep, into 410 slots, at 09:29:50."""
    from tests.bench.selection import SelectionResult, measure_selection

    def table(result: SelectionResult) -> Lines:
        yield (f"{result.symbols:,} symbols", "", "ms of processor time", "goal")
        yield ("triggers of a sweep", f"{result.evaluation_ms:.2f}", "5")
        yield (f"candidates into {result.slots} slots", f"{result.allocation_ms:.2f}", "5")
        yield ("context synchronisation", f"{result.context_ms:.2f}", "1,000")

    measure(
        lambda workspace, report: measure_selection(workspace, symbols, rounds, report), table, folder, as_json=as_json
    )


def slots(
    days: Annotated[int, Option(min=1, help="Made-up trading days.")] = 20,
    symbols: Annotated[int, Option(min=100, help="Symbols of the universe.")] = 1_700,
    accounts: Annotated[list[int] | None, Option(min=1, help="Number of accounts; may be repeated.")] = None,
    sweep: Annotated[int, Option(min=30, max=1_800, help="Seconds between sweeps; rounded to half minutes.")] = 600,
    seed: Annotated[int, Option(help="The same seed gives the same days.")] = 7,
    trades: Annotated[int, Option(min=100, help="Trades of the busiest symbol on an ordinary day.")] = 40_000,
    picture: Annotated[Path | None, Option(help="Draw the slots over the first day in this SVG file.")] = None,
    config: ConfigOption = None,
    folder: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure the share of made-up surges that the slots stream. By 1, by 3 and by 10 accounts.

    Compares the rule of the settings with the written one and with its own by sweeps alone, without requests between
    them, and all with an oracle that knows each surge. "wire" are a day's subscriptions and removals, bound by the
    setting changes_per_minute. "lost" is the share that is not streamed of the trades that no page of past trades
    holds, since too many later ones share their second.
    """
    from tests.bench.slots import measure_slots, table

    settings = full_settings(config)
    days_of = (days, symbols, seed, sweep // 30 * 30, accounts or [1, 3, 10], settings.selection)
    rate = settings.broker.rate_limit.calls_per_second * settings.track_a.attention_share_of_limit
    limits = (rate, settings.broker.stream.changes_per_minute)
    measure(
        lambda workspace, report: measure_slots(workspace, *days_of, *limits, trades, picture, report),
        table, folder, as_json=as_json,
    )  # fmt: skip


def gaps(
    trades: Annotated[int, Option(min=10_000, help="Trades in each round.")] = 200_000,
    rounds: RoundsOption = 7,
    folder: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure gap detection per streamed trade. One trade in a thousand follows a gap."""
    from tests.bench.gaps import GapsResult, measure_gaps

    def table(result: GapsResult) -> Lines:
        yield (f"{result.trades:,} trades, {result.gaps} gaps found", "", "ns a trade", "goal")
        yield ("gap check", f"{result.check_ns:.0f}", "1,000")
        yield ("the loop alone", f"{result.loop_ns:.0f}", "")

    measure(lambda workspace, report: measure_gaps(workspace, trades, rounds, report), table, folder, as_json=as_json)


def stream(
    rate: Annotated[int, Option(min=100, help="Trades a second that the broker streams, about.")] = 5_000,
    seconds: Annotated[float, Option(min=1, help="How long to listen.")] = 60.0,
    folder: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure trades from the broker's socket to the disk. Shows loss, latency and CPU of Track B."""
    from tests.bench.stream import StreamResult, measure_stream

    def table(result: StreamResult) -> Lines:
        yield (f"{result.trades:,} trades in {result.seconds:.0f} s", "", "", "goal")
        yield ("trades a second", f"{result.trades_per_s:,.0f}", f"{rate:,}")
        yield ("gaps", f"{result.gaps}", "0")
        yield ("received to committed and heard of, p50 ms", f"{result.p50_ms:.1f}", "")
        yield ("p99 ms", f"{result.p99_ms:.1f}", "50")
        yield ("slowest ms", f"{result.slowest_ms:.1f}", "")
        yield ("CPU us a trade, track-b", f"{result.cpu_us_per_trade_track_b:.1f}", "")
        yield ("CPU us a trade, core-writer", f"{result.cpu_us_per_trade_core_writer:.1f}", "")

    measure(lambda workspace, report: measure_stream(workspace, rate, seconds, report), table, folder, as_json=as_json)


def recovery(
    bursts: Annotated[int, Option(min=1, help="Number of bursts of unreadable frames a round.")] = 5,
    seconds: Annotated[float, Option(min=0.1, help="Seconds of each burst.")] = 2.0,
    beside_tape: Annotated[bool, Option("--beside-tape", help="Each round also beside a tape at the limit.")] = False,
    rounds: RoundsOption = 3,
    folder: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure the time from gap detection to stored rows. Uses a running system, at the market's own pace."""
    from tests.bench.recovery import RecoveryResult, measure_recovery

    def table(result: RecoveryResult) -> Lines:
        sides = [result.alone] if result.beside_tape is None else [result.alone, result.beside_tape]
        yield (
            f"{result.rounds} rounds of {result.bursts} bursts",
            "alone",
            *["beside the tape"] * (len(sides) - 1),
            "goal",
        )
        yield ("gaps", *(f"{each.gaps}" for each in sides), "")
        yield ("recovered", *(f"{each.recovered}" for each in sides), "all")
        yield ("to the share", *(f"{each.complete}" for each in sides), "all")
        yield ("detected to committed and heard of, p50 ms", *(f"{each.p50_ms:.0f}" for each in sides), "")
        yield ("p95 ms", *(f"{each.p95_ms:.0f}" for each in sides), "1,000")
        yield ("slowest ms", *(f"{each.slowest_ms:.0f}" for each in sides), "")
        if result.tape is not None:
            yield ("p95 beside the tape to that alone", "", f"{result.p95_ratio:.3f}", "1.1")
            yield ("calls of the tape a second", "", f"{result.tape.calls_per_second:.1f}", "")
            yield ("processor time of its process, ms a call", "", f"{result.tape.cpu_ms_per_call:.2f}", "")

    measure(
        lambda workspace, report: measure_recovery(
            *(workspace, rounds, bursts, seconds, report), beside_tape=beside_tape
        ),
        table,
        folder,
        as_json=as_json,
    )


def master(rounds: RoundsOption = 3, folder: FolderOption = None, as_json: JsonOption = False) -> None:
    """Measure parsing, applying and querying all master files. Shows records per second."""
    from tests.bench.master import MasterResult, measure_master

    def table(result: MasterResult) -> Lines:
        yield (f"{result.listings:,} listings of all exchanges", "", "", "of CPU time", "goal")
        for what, rate, goal in (
            ("tab-separated, records/s", result.tab_records, ">= 300,000"),
            ("fixed width, records/s", result.fixed_records, ">= 150,000"),
        ):
            yield (what, f"{rate.per_s:,.0f}", f"{rate.per_cpu_s:,.0f}", goal)
        for what, span, goal in (
            ("all applied to an empty database, s", result.first, "<= 2"),
            ("all looked at again, nothing changed, s", result.unchanged, "<= 1"),
        ):
            yield (what, f"{span.wall_s:.2f}", f"{span.cpu_s:.2f}", goal)
        yield (f"{result.tradable:,} tradable securities, ms", f"{result.tradable_ms:.1f}", "", "<= 30")

    measure(lambda workspace, report: measure_master(workspace, rounds, report), table, folder, as_json=as_json)


def etf(
    number: Annotated[int, Option("--etfs", min=1, max=1_500, help="ETFs that are listed.")] = 1_029,
    rate: RateOption = None,
    folder: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure the four ETF phases against the broker's rate limit. Compares with the least time that it allows."""
    from tests.bench.etf import EtfsResult, measure_etfs

    def table(result: EtfsResult) -> Lines:
        yield (f"{result.etfs:,} ETFs, {result.rate:g} calls a second", "", "calls", "s", "floor s", "of floor")
        for phase in result.phases:
            floor = (f"{phase.floor_s:.1f}", f"{phase.ratio_to_floor:.3f}") if phase.floor_s else ("", "")
            yield (phase.name, f"{phase.calls:,}", f"{phase.span_s:.2f}", *floor)
        yield ("all four, from nothing", "", f"{result.first_s:.1f}", "", "")
        yield ("all four, every later time (goal: 173)", "", f"{result.later_s:.1f}", "", "")
        yield ("rate errors at the broker", f"{result.rate_errors}", "", "", "")
        yield ("calls in its busiest second", f"{result.busiest_second_calls}", "", "", "")

    measure(lambda workspace, report: measure_etfs(workspace, number, rate, report), table, folder, as_json=as_json)


# --- what all of them share ----------------------------------------------------------------------------------


def measure(
    measurement: Callable[[Path, ReportProgress], Awaitable[Result]],
    table: Callable[[Result], Lines],
    folder: Path | None,
    *,
    as_json: bool,
) -> None:
    """Measure in a folder that is removed afterwards, show what is being done on a terminal, print the result."""
    from rich.console import Console

    console = Console(stderr=True)
    with _working_folder(folder) as workspace, console.status("starting") as status:
        result = asyncio.run(_awaited(measurement(workspace, status.update)))
    if as_json:
        print_json(result)
    else:
        (title, *columns), *rows = table(result)
        show(Table(columns, rows, title, right=columns[1:]))
        sys.stdout.write(f"{_where(result.machine)}\n")


def _where(machine: Machine) -> str:
    """Two lines that belong to every figure."""
    memory_gb = machine.memory_bytes / 1e9
    return (
        f"{machine.command}\n{machine.processor}, {machine.cores} cores, {memory_gb:.0f} GB, {machine.file_system}, "
        f"Linux {machine.kernel}, Python {machine.python}, SQLite {machine.sqlite}"
    )


async def _awaited(measurement: Awaitable[Result]) -> Result:
    return await measurement


@contextmanager
def _working_folder(folder: Path | None) -> Iterator[Path]:
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    workspace = Path(tempfile.mkdtemp(prefix="ob", dir=folder))
    try:
        yield workspace
    finally:
        shutil.rmtree(workspace, ignore_errors=True)
