"""Types commands: in this process for a system that does not run, or in a forked child."""

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from click.testing import CliRunner, Result

from bus.delivery import Delivered
from bus.events import Event
from observer.cli.app import command_line, main
from observer.demo.configuration import DemoConfiguration, write_demo_configuration
from observer.store.writer import StoreWriter
from tests.store.migrated import make_database

Typed = Callable[..., Result]


def typed_system(folder: Path, *events: Event) -> Typed:
    """What runs a command with the configuration of a new system in this folder."""
    configuration = write_demo_configuration(folder, DemoConfiguration(symbols=10, seed=7))
    (folder / "data").mkdir()
    url = f"sqlite:///{folder / 'data' / 'observer.db'}"
    make_database(url)
    writer = StoreWriter(url)
    writer.open()
    writer.commit([Delivered("track-b", "5" * 32, 1, events)])
    writer.close()
    return lambda *words: CliRunner().invoke(command_line(), [*words, "--config", str(configuration)])


def command(*words: object, environment: Mapping[str, str] | None = None) -> Callable[[], None]:
    """What a child runs (tests/privileges.py): the installed program with these words, and of our variables only these."""

    def run() -> None:
        for name in [name for name in os.environ if name.startswith(("KIS_", "OBSERVER_"))]:
            del os.environ[name]
        os.environ.update(environment or {})
        sys.argv = ["observer", *map(str, words)]
        main()

    return run
