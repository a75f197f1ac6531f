"""The command line: what can be typed, and what it answers. Each command lives in a module of its own.

Only the module of the command that was typed is loaded, so that `observer run`, which lives as long as the system, has
nothing of the others in its memory. Help needs all of them.
"""

import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import typer

from bus.endpoints import BusError
from observer.errors import ObserverError


def _add_demo(app: typer.Typer) -> None:
    from observer.cli import demo

    app.command("demo")(demo.demo)


def _add_run(app: typer.Typer) -> None:
    from observer.cli import run

    app.command("run")(run.run)


def _add_status(app: typer.Typer) -> None:
    from observer.cli import control

    app.command("status")(control.status)


def _add_accounts(app: typer.Typer) -> None:
    from observer.cli import accounts

    app.command("accounts")(accounts.accounts)


def _add_ctl(app: typer.Typer) -> None:
    from observer.cli import control

    app.add_typer(control.app, name="ctl")


def _add_bench(app: typer.Typer) -> None:
    from observer.cli import bench

    app.add_typer(bench.app, name="bench")


def _add_capture(app: typer.Typer) -> None:
    from observer.cli import capture

    app.command("capture")(capture.capture)


def _add_replay(app: typer.Typer) -> None:
    from observer.cli import replay

    app.command("replay")(replay.replay)


def _add_journal(app: typer.Typer) -> None:
    from observer.cli import journal

    app.add_typer(journal.app, name="journal")


def _add_db(app: typer.Typer) -> None:
    from observer.cli import database

    app.add_typer(database.app, name="db")


def _add_slots(app: typer.Typer) -> None:
    from observer.cli import slots

    app.add_typer(slots.app, name="slots")


def _add_gaps(app: typer.Typer) -> None:
    from observer.cli import gaps

    app.add_typer(gaps.app, name="gaps")


def _add_quality(app: typer.Typer) -> None:
    from observer.cli import quality

    app.command("quality")(quality.quality)


def _add_exports(app: typer.Typer) -> None:
    from observer.cli import exports

    app.add_typer(exports.app, name="exports")


def _add_enrich(app: typer.Typer) -> None:
    from observer.cli import enrich

    app.add_typer(enrich.app, name="enrich")


def _add_universe(app: typer.Typer) -> None:
    from observer.cli import universe

    app.add_typer(universe.app, name="universe")


def _add_etf(app: typer.Typer) -> None:
    from observer.cli import etf

    app.add_typer(etf.app, name="etf")


def _add_master(app: typer.Typer) -> None:
    from observer.cli import master

    app.add_typer(master.app, name="master")


def _add_keys(app: typer.Typer) -> None:
    from observer.cli import keys

    app.add_typer(keys.app, name="keys")


def _add_decisions(app: typer.Typer) -> None:
    from observer.cli import decisions

    app.add_typer(decisions.app, name="decisions")


def _add_simulator(app: typer.Typer) -> None:
    from observer.cli import simulator

    app.add_typer(simulator.app, name="simulator")


COMMANDS: Final[Mapping[str, Callable[[typer.Typer], None]]] = {
    "demo": _add_demo,
    "run": _add_run,
    "status": _add_status,
    "accounts": _add_accounts,
    "ctl": _add_ctl,
    "capture": _add_capture,
    "replay": _add_replay,
    "journal": _add_journal,
    "db": _add_db,
    "enrich": _add_enrich,
    "universe": _add_universe,
    "slots": _add_slots,
    "gaps": _add_gaps,
    "quality": _add_quality,
    "decisions": _add_decisions,
    "exports": _add_exports,
    "etf": _add_etf,
    "master": _add_master,
    "keys": _add_keys,
    "bench": _add_bench,
    "simulator": _add_simulator,
}


def command_line(names: Iterable[str]) -> typer.Typer:
    """The application with these commands."""
    app = typer.Typer(
        name="observer",
        help="Owns the Korean market's data: every listed symbol sampled, the trades of those that matter streamed, "
        "every gap found and filled.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    app.callback()(_keep_names)
    for name in names:
        COMMANDS[name](app)
    return app


def _keep_names() -> None:
    """With one command alone the name would otherwise not be asked for."""


def main() -> None:
    """Run the command line; an error of ours is one line with its remedy, and exit status 2."""
    typed = sys.argv[1:2]
    names = typed if typed and typed[0] in COMMANDS else COMMANDS
    try:
        command_line(names)()
    except (ObserverError, BusError) as error:
        sys.stderr.write(f"observer: {error}\n")
        sys.exit(2)
