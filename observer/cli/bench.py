"""`observer bench`: how fast and how large this program is on this machine, each figure beside its bare limit."""

import asyncio
import shutil
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Protocol, TypeVar

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from observer.bench.machine import Machine
from observer.bench.path import Tell

app = typer.Typer(help="Measure speed and size on this machine.", no_args_is_help=True)

JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
FolderOption = Annotated[
    Path | None,
    typer.Option(help="A folder on the disk to measure; its name must be short. Without it the temporary one."),
]
RoundsOption = Annotated[int, typer.Option(min=1, help="How often; the figures are medians.")]


class Measured(Protocol):
    """A result that says where it was measured."""

    @property
    def machine(self) -> Machine:
        """The command, and on what it ran."""
        ...


Result = TypeVar("Result", bound=Measured)


@app.command()
def ingest(
    events: Annotated[int, typer.Option(min=1000, help="Trades in each round.")] = 500_000,
    producers: Annotated[list[int] | None, typer.Option(min=1, help="How many at once; may be repeated.")] = None,
    rounds: RoundsOption = 3,
    folder: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Trades a second made durable by the whole path, from 1 and from 4 producers, and by sqlite3 alone."""
    from observer.bench.ingest import IngestResult, measure_ingest

    def table(result: IngestResult) -> Table:
        shown = _table(
            "trades a second durable", "", "trades/s", "of bare", "CPU us producers", "CPU us writer", "RSS MB"
        )
        bare_cpu_us = f"{result.bare_cpu_us_per_event:.2f}"
        shown.add_row("sqlite3 alone", f"{result.bare_events_per_s:,.0f}", "1.00", "", bare_cpu_us)
        for path in result.paths:
            shown.add_row(
                f"producers: {path.producers}",
                f"{path.events_per_s:,.0f}",
                f"{path.ratio_to_bare:.2f}",
                f"{path.producers_cpu_us_per_event:.2f}",
                f"{path.writer_cpu_us_per_event:.2f}",
                " ".join(
                    f"{step.rss_bytes / 1e6:.0f}" for step in path.writer_rss[:: max(1, len(path.writer_rss) // 4)]
                ),
            )
        return shown

    counts = producers or [1, 4]
    _measure(lambda place, tell: measure_ingest(place, events, counts, rounds, tell), table, folder, as_json=as_json)


@app.command()
def latency(
    rate: Annotated[list[float] | None, typer.Option(min=1, help="Events a second; may be repeated.")] = None,
    seconds: Annotated[float, typer.Option(min=0.5, help="How long each rate is kept up.")] = 10.0,
    folder: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """From publish to durable and acknowledged, at 1,000 and at 20,000 events a second, beside the disk's floor."""
    from observer.bench.latency import LatencyResult, Spread, measure_latency

    def figures(spread: Spread) -> list[str]:
        return [f"{value:.2f}" for value in (spread.p50_ms, spread.p99_ms, spread.max_ms)]

    def table(result: LatencyResult) -> Table:
        shown = _table("from publish to acknowledged, ms", "", "events/s", "p50", "p99", "max")
        shown.add_row("the disk alone", "", *figures(result.disk_sync))
        for each in result.rates:
            shown.add_row("whole path", f"{each.reached_per_s:,.0f}", *figures(each.published_to_acknowledged))
        return shown

    rates = rate or [1_000.0, 20_000.0]
    _measure(lambda place, tell: measure_latency(place, rates, seconds, tell), table, folder, as_json=as_json)


@app.command()
def restart(
    kills: Annotated[int, typer.Option(min=1, help="How often; the figure is the median.")] = 7,
    pause: Annotated[float, typer.Option(min=0, help="Seconds of streaming before each kill.")] = 2.0,
    folder: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """From kill -9 of the streaming worker to its next event in the database, in a whole running system."""
    from observer.bench.restart import RestartResult, measure_restart

    def table(result: RestartResult) -> Table:
        shown = _table(f"kill -9 {result.worker}: seconds to its next event committed", "", "s")
        for number, span_s in enumerate(result.spans_s, 1):
            shown.add_row(f"kill {number}", f"{span_s:.3f}")
        shown.add_row("median", f"{result.median_s:.3f}")
        return shown

    _measure(lambda place, tell: measure_restart(place, kills, pause, tell), table, folder, as_json=as_json)


@app.command()
def footprint(folder: FolderOption = None, as_json: JsonOption = False) -> None:
    """The memory of each process of a whole system that runs and has nothing to do, and of all together."""
    from observer.bench.footprint import PRACTICE_ONLY, FootprintResult, measure_footprint

    def megabytes(*counts: int) -> list[str]:
        return [f"{count / 1e6:.1f}" for count in counts]

    def table(result: FootprintResult) -> Table:
        shown = _table("memory of the idle system, MB", "process", "RSS", "PSS", "own alone")
        for each in result.processes:
            shown.add_row(each.process, *megabytes(each.rss_bytes, each.pss_bytes, each.own_bytes))
        shown.add_row(f"all but the {PRACTICE_ONLY}", *megabytes(result.rss_bytes, result.pss_bytes))
        return shown

    _measure(measure_footprint, table, folder, as_json=as_json)


@app.command()
def frames(
    records: Annotated[int, typer.Option(min=1000, help="Trades in each round.")] = 200_000,
    size: Annotated[list[int] | None, typer.Option(min=1, max=999, help="Records a frame; may be repeated.")] = None,
    rounds: RoundsOption = 7,
    folder: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Trade frames of the stream read a second, beside bytes.split of the same frames alone."""
    from observer.bench.frames import FramesResult, measure_frames

    def table(result: FramesResult) -> Table:
        shown = _table("trade frames -> trades", "records a frame", "records/s", "ns/record", "ns split", "of split")
        for each in result.sizes:
            shown.add_row(
                f"{each.records_per_frame}",
                f"{each.records_per_s:,.0f}",
                f"{each.ns_per_record:,.0f}",
                f"{each.bare_ns_per_record:,.0f}",
                f"{each.ratio_to_bare:.2f}",
            )
        return shown

    sizes = size or [1, 2, 4, 20]
    _measure(lambda place, tell: measure_frames(place, records, sizes, rounds, tell), table, folder, as_json=as_json)


@app.command()
def sweep(
    symbols: Annotated[int, typer.Option(min=31, help="Made-up symbols in the sweep.")] = 2500,
    rate: Annotated[int, typer.Option(min=1, help="Calls a second that the broker allows each account.")] = 20,
    accounts: Annotated[int, typer.Option(min=1, help="Accounts that share the sweep.")] = 1,
    rounds: RoundsOption = 3,
    folder: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """A sweep of the whole market beside the time that the broker's limit makes it take, and what the broker saw."""
    from observer.bench.sweep import SweepResult, measure_sweep

    def table(result: SweepResult) -> Table:
        shown = _table(f"a sweep of {result.symbols:,} symbols in {result.calls} calls", "", "", "of floor")
        shown.add_row("floor, s", f"{result.floor_s:.3f}", "1.000")
        for number, span_s in enumerate(result.rounds_s, 1):
            shown.add_row(f"round {number}, s", f"{span_s:.3f}", f"{span_s / result.floor_s:.3f}")
        shown.add_row("median, s", f"{result.median_s:.3f}", f"{result.ratio_to_floor:.3f}")
        shown.add_row("rate errors at the broker", f"{result.rate_errors}", "")
        shown.add_row("calls in its busiest second", f"{result.busiest_second_calls}", "")
        return shown

    _measure(
        lambda place, tell: measure_sweep(place, symbols, rate, accounts, rounds, tell), table, folder, as_json=as_json
    )


@app.command()
def selection(
    symbols: Annotated[int, typer.Option(min=1, help="Symbols of the universe.")] = 2_500,
    rounds: Annotated[int, typer.Option(min=1, help="How often; the figures are medians.")] = 50,
    folder: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """The decisions about places: triggers of a sweep, candidates into 410 places, the context at 09:29:50."""
    from observer.bench.selection import SelectionResult, measure_selection

    def table(result: SelectionResult) -> Table:
        shown = _table(f"{result.symbols:,} symbols", "", "ms of processor time", "goal")
        shown.add_row("triggers of a sweep", f"{result.evaluation_ms:.2f}", "5")
        shown.add_row(f"candidates into {result.places} places", f"{result.allocation_ms:.2f}", "5")
        shown.add_row("context synchronisation", f"{result.context_ms:.2f}", "1,000")
        return shown

    _measure(lambda place, tell: measure_selection(place, symbols, rounds, tell), table, folder, as_json=as_json)


@app.command()
def gaps(
    trades: Annotated[int, typer.Option(min=10_000, help="Trades in each round.")] = 200_000,
    rounds: RoundsOption = 7,
    folder: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """The look for gaps: what it costs for each trade that is streamed, with a hole in each thousand."""
    from observer.bench.gaps import GapsResult, measure_gaps

    def table(result: GapsResult) -> Table:
        shown = _table(f"{result.trades:,} trades, {result.gaps} gaps found", "", "ns a trade", "goal")
        shown.add_row("gap check", f"{result.check_ns:.0f}", "1,000")
        shown.add_row("the loop alone", f"{result.loop_ns:.0f}", "")
        return shown

    _measure(lambda place, tell: measure_gaps(place, trades, rounds, tell), table, folder, as_json=as_json)


@app.command()
def stream(
    rate: Annotated[int, typer.Option(min=100, help="Trades a second that the broker streams, about.")] = 5_000,
    seconds: Annotated[float, typer.Option(min=1, help="How long to listen.")] = 60.0,
    folder: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Trades from the broker's socket through Track B to the disk, in the running system: loss, latency, CPU."""
    from observer.bench.stream import StreamResult, measure_stream

    def table(result: StreamResult) -> Table:
        shown = _table(f"{result.trades:,} trades in {result.seconds:.0f} s", "", "", "goal")
        shown.add_row("trades a second", f"{result.trades_per_s:,.0f}", f"{rate:,}")
        shown.add_row("gaps", f"{result.gaps}", "0")
        shown.add_row("received to committed and heard of, p50 ms", f"{result.p50_ms:.1f}", "")
        shown.add_row("p99 ms", f"{result.p99_ms:.1f}", "50")
        shown.add_row("slowest ms", f"{result.slowest_ms:.1f}", "")
        shown.add_row("CPU us a trade, track-b", f"{result.cpu_us_per_trade_track_b:.1f}", "")
        shown.add_row("CPU us a trade, core-writer", f"{result.cpu_us_per_trade_core_writer:.1f}", "")
        return shown

    _measure(lambda place, tell: measure_stream(place, rate, seconds, tell), table, folder, as_json=as_json)


@app.command()
def recovery(
    bursts: Annotated[int, typer.Option(min=1, help="How often frames of the stream cannot be read.")] = 5,
    seconds: Annotated[float, typer.Option(min=0.1, help="For how long each time.")] = 2.0,
    folder: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """From a gap's detection to its recovered rows in the database, in the running system at the market's own pace."""
    from observer.bench.recovery import RecoveryResult, measure_recovery

    def table(result: RecoveryResult) -> Table:
        shown = _table(f"{result.bursts} bursts, {result.gaps} gaps", "", "", "goal")
        shown.add_row("recovered", f"{result.recovered}", f"{result.gaps}")
        shown.add_row("to the share", f"{result.complete}", f"{result.gaps}")
        shown.add_row("detected to committed and heard of, p50 ms", f"{result.p50_ms:.0f}", "")
        shown.add_row("p95 ms", f"{result.p95_ms:.0f}", "1,000")
        shown.add_row("slowest ms", f"{result.slowest_ms:.0f}", "")
        return shown

    _measure(lambda place, tell: measure_recovery(place, bursts, seconds, tell), table, folder, as_json=as_json)


@app.command()
def master(rounds: RoundsOption = 3, folder: FolderOption = None, as_json: JsonOption = False) -> None:
    """Master files of all exchanges: records read a second, all applied, a market's tradable securities told."""
    from observer.bench.master import MasterResult, measure_master

    def table(result: MasterResult) -> Table:
        shown = _table(f"{result.listings:,} listings of all exchanges", "", "", "of CPU time", "goal")
        for what, rate, goal in (
            ("tab-separated, records/s", result.tab_records, ">= 300,000"),
            ("fixed width, records/s", result.fixed_records, ">= 150,000"),
        ):
            shown.add_row(what, f"{rate.per_s:,.0f}", f"{rate.per_cpu_s:,.0f}", goal)
        for what, span, goal in (
            ("all applied to an empty database, s", result.first, "<= 2"),
            ("all looked at again, nothing changed, s", result.unchanged, "<= 1"),
        ):
            shown.add_row(what, f"{span.wall_s:.2f}", f"{span.cpu_s:.2f}", goal)
        shown.add_row(f"{result.tradable:,} tradable securities, ms", f"{result.tradable_ms:.1f}", "", "<= 30")
        return shown

    _measure(lambda place, tell: measure_master(place, rounds, tell), table, folder, as_json=as_json)


@app.command()
def funds(
    number: Annotated[int, typer.Option("--funds", min=1, max=1_500, help="ETFs that are listed.")] = 1_029,
    rate: Annotated[int, typer.Option(min=1, help="Calls a second that the broker allows.")] = 20,
    folder: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """The four phases of what is known of ETFs, each beside the time that the broker's limit makes it take."""
    from observer.bench.funds import FundsResult, measure_funds

    def table(result: FundsResult) -> Table:
        shown = _table(f"{result.funds:,} ETFs, {result.rate} calls a second", "", "calls", "s", "floor s", "of floor")
        for phase in result.phases:
            floor = (f"{phase.floor_s:.1f}", f"{phase.ratio_to_floor:.3f}") if phase.floor_s else ("", "")
            shown.add_row(phase.name, f"{phase.calls:,}", f"{phase.span_s:.2f}", *floor)
        shown.add_row("all four, from nothing", "", f"{result.first_s:.1f}", "", "")
        shown.add_row("all four, every later time (goal: 173)", "", f"{result.later_s:.1f}", "", "")
        shown.add_row("rate errors at the broker", f"{result.rate_errors}", "", "", "")
        shown.add_row("calls in its busiest second", f"{result.busiest_second_calls}", "", "", "")
        return shown

    _measure(lambda place, tell: measure_funds(place, number, rate, tell), table, folder, as_json=as_json)


# --- what all of them share ----------------------------------------------------------------------------------


def _measure(
    measurement: Callable[[Path, Tell], Awaitable[Result]],
    table: Callable[[Result], Table],
    folder: Path | None,
    *,
    as_json: bool,
) -> None:
    """Measure in a folder that is removed afterwards, show what is being done on a terminal, print the result."""
    console = Console(stderr=True)
    with _working_folder(folder) as place, console.status("starting") as status:
        result = asyncio.run(_awaited(measurement(place, status.update)))
    if as_json:
        sys.stdout.write(f"{msgspec.json.encode(result).decode()}\n")
    else:
        Console().print(table(result))
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
    place = Path(tempfile.mkdtemp(prefix="ob", dir=folder))
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _table(title: str, *columns: str) -> Table:
    first, *figures = columns
    shown = Table(title=title, title_justify="left")
    shown.add_column(first)
    for column in figures:
        shown.add_column(column, justify="right")
    return shown
