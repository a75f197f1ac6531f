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
    """Make a key pair for the servers and one for the clients. Refused where there are keys already.

    For a machine with clients only, copy client.public, client.secret and server.public, and keep them at mode 600.
    """
    directory = _directory(config)
    make_keys(directory)
    click.echo(f"made in {directory}")
    _print_public(directory)


def show(config: ConfigOption = DEFAULT_CONFIGURATION) -> None:
    """Print the public keys and their directory. Never a secret."""
    directory = _directory(config)
    click.echo(str(directory))
    _print_public(directory)


def _directory(config: Path) -> Path:
    return Endpoints(Path(load_base_settings(config).run.runtime)).keys_directory


def _print_public(directory: Path) -> None:
    click.echo(f"server {public_key(directory, 'server').decode()}")
    click.echo(f"client {public_key(directory, 'client').decode()}")
