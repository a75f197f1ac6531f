"""`observer keys`: the CURVE keys of a system whose sockets are on the network."""

from pathlib import Path
from typing import Annotated

import click

from bus.endpoints import Endpoints
from bus.keys import make_keys, public_key
from observer.base_settings import load_base_settings
from observer.cli.context import DEFAULT_CONFIGURATION
from observer.cli.options import Option

ConfigOption = Annotated[Path, Option(help="The configuration: the keys are in its runtime directory.")]


def make(config: ConfigOption = DEFAULT_CONFIGURATION) -> None:
    """Make a key pair for the servers and one for the clients. Existing keys are never replaced.

    For a machine with clients only, copy client.public, client.secret and server.public, and keep them at mode 600.
    """
    directory = _directory(config)
    make_keys(directory)
    _print_public(directory, f"made in {directory}")


def show(config: ConfigOption = DEFAULT_CONFIGURATION) -> None:
    """Print the public keys and their directory. A secret is never printed."""
    directory = _directory(config)
    _print_public(directory, str(directory))


def _directory(config: Path) -> Path:
    return Endpoints(Path(load_base_settings(config).run.runtime)).keys_directory


def _print_public(directory: Path, heading: str) -> None:
    server, client = public_key(directory, "server"), public_key(directory, "client")
    click.echo(f"{heading}\nserver {server.decode()}\nclient {client.decode()}")
