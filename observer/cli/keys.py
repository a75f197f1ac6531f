"""`observer keys`: the CURVE keys of a system whose sockets are on the network."""

from pathlib import Path
from typing import Annotated

import click

from bus.endpoints import Endpoints
from bus.keys import add_client, clients, make_keys, public_key, remove_client
from bus.roles import Role
from observer.base.settings import load_base_settings
from observer.cli.context import DEFAULT_CONFIGURATION
from observer.cli.frame import Answer
from observer.cli.options import Argument, Option

ConfigOption = Annotated[Path, Option(help="The configuration: the keys are in its runtime directory.")]
NameArgument = Annotated[str, Argument(help="The client's name, for the list and the log.")]


def make(config: ConfigOption = DEFAULT_CONFIGURATION) -> None:
    """Make key pairs for the servers and for this machine's operator. Existing keys are never replaced.

    For another machine, make a pair with a role: observer keys add.
    """
    directory = _directory(config)
    make_keys(directory)
    _print_all(directory)


def add(
    name: NameArgument,
    role: Annotated[Role, Option(help="Events and reports, feeds and status, or everything.")],
    out: Annotated[Path, Option(help="The new folder for its keys.")],
    config: ConfigOption = DEFAULT_CONFIGURATION,
) -> None:
    """Make a key pair for a client on another machine. It is admitted in its role at once.

    Move the folder to that machine, as `keys` in its runtime directory, and keep its files at mode 600.
    """
    add_client(_directory(config), name, role, out)
    click.echo(f"{name}, a {role}, is admitted: move {out} to its machine, as `keys` in its runtime directory")


def remove(name: NameArgument, config: ConfigOption = DEFAULT_CONFIGURATION) -> None:
    """Admit a client no more. Its open connections end with the next start of the system."""
    remove_client(_directory(config), name)
    click.echo(f"{name} is admitted no more; restart the system to end its open connections")


def list_clients(config: ConfigOption = DEFAULT_CONFIGURATION) -> Answer:
    """List the public keys with their roles. A secret is never printed."""
    directory = _directory(config)
    keys = [{"name": each.name, "role": each.role, "public": each.public.decode()} for each in clients(directory)]
    found = {"directory": str(directory), "server": public_key(directory, "server").decode(), "clients": keys}
    return Answer(found, lambda: _print_all(directory))


def _directory(config: Path) -> Path:
    return Endpoints(Path(load_base_settings(config).run.runtime)).keys_directory


def _print_all(directory: Path) -> None:
    server, admitted = public_key(directory, "server"), clients(directory)
    click.echo(f"{directory}\n{'server':<10} {'':<20} {server.decode()}")
    for client in admitted:
        click.echo(f"{client.role:<10} {client.name:<20} {client.public.decode()}")
