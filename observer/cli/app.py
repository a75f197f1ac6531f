"""The command line: what can be typed, and what it answers. Each command lives in a module of its own."""

import sys

import typer

from bus.endpoints import BusError
from observer.cli import bench, capture, control, database, demo, journal, replay, run, simulator
from observer.errors import ObserverError

app = typer.Typer(
    name="observer",
    help="Owns the Korean market's data: every listed symbol sampled, the trades of those that matter streamed, "
    "every gap found and filled.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("demo")(demo.demo)
app.command("run")(run.run)
app.command("status")(control.status)
app.add_typer(bench.app, name="bench")
app.command("capture")(capture.capture)
app.command("replay")(replay.replay)
app.add_typer(control.app, name="ctl")
app.add_typer(journal.app, name="journal")
app.add_typer(database.app, name="db")
app.add_typer(simulator.app, name="simulator")


def main() -> None:
    """Run the command line; an error of ours is one line with its remedy, and exit status 2."""
    try:
        app()
    except (ObserverError, BusError) as error:
        sys.stderr.write(f"observer: {error}\n")
        sys.exit(2)
