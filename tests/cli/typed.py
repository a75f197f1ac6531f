"""Types commands: in this process for a system that does not run, or in a forked child."""

import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from click.testing import CliRunner, Result

from bus.codec import pack
from bus.delivery import Delivered
from bus.events import Event
from observer.cli.app import command_line, function_of, main
from observer.cli.commands import COMMANDS, Command, Group
from observer.demo.configuration import DemoConfiguration, write_demo_configuration
from observer.store.writer import StoreWriter
from tests.store.migrated import make_database

Typed = Callable[..., Result]


def typed_system(folder: Path, *events: Event) -> Typed:
    """What runs a command with the configuration of a new system in this folder."""
    configuration = write_demo_configuration(folder, DemoConfiguration(symbols=10, seed=7))
    (folder / "data").mkdir()
    (folder / "data" / "observer.db").write_bytes(_stored(events))
    return lambda *words: CliRunner().invoke(command_line(), [*words, "--config", str(configuration)])


def _stored(events: tuple[Event, ...]) -> bytes:
    """The file of a database with these events, which are stored once a process."""
    packed = pack(_STREAM, 1, events)
    if packed not in _FILES:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "observer.db")
            make_database(f"sqlite:///{path}")
            writer = StoreWriter(f"sqlite:///{path}")
            writer.open()
            writer.commit([Delivered("track-b", _STREAM, 1, events)])
            writer.close()
            _FILES[packed] = path.read_bytes()
    return _FILES[packed]


_STREAM: Final = "5" * 32
_FILES: Final[dict[bytes, bytes]] = {}


def command(*words: object, environment: Mapping[str, str] | None = None) -> Callable[[], None]:
    """What a child runs (tests/privileges.py): the program with these words, and of our variables only these. Its
    module is imported here: else each fork of this process would do it.
    """
    entry: Command | Group = COMMANDS
    for word in map(str, words):
        entry = entry.commands.get(word, entry) if isinstance(entry, Group) else entry
    if isinstance(entry, Command):
        function_of(entry.function)

    def run() -> None:
        for name in [name for name in os.environ if name.startswith(("KIS_", "OBSERVER_"))]:
            del os.environ[name]
        os.environ.update(environment or {})
        sys.argv = ["observer", *map(str, words)]
        main()

    return run
