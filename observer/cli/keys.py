"""`observer keys`: the CURVE keys of a system whose sockets are on the network."""

from pathlib import Path
from typing import Annotated

import typer

from bus.endpoints import Endpoints
from bus.keys import make_keys, public_key
from observer.cli.run import DEFAULT_CONFIGURATION
from observer.config import load_run_settings

app = typer.Typer(help="Keys for sockets on the network ([run.endpoints]).", no_args_is_help=True)

ConfigOption = Annotated[Path, typer.Option(help="The configuration: the keys are in its runtime directory.")]


@app.command()
def make(config: ConfigOption = DEFAULT_CONFIGURATION) -> None:
    """Make a pair for the servers and a pair for the clients; refused where there are keys already.

    For a machine with clients only, copy client.public, client.secret and server.public, and keep them at mode 600.
    """
    directory = _directory(config)
    make_keys(directory)
    typer.echo(f"made in {directory}")
    _tell(directory)


@app.command()
def show(config: ConfigOption = DEFAULT_CONFIGURATION) -> None:
    """Print where the keys are and their public halves; never a secret."""
    directory = _directory(config)
    typer.echo(str(directory))
    _tell(directory)


def _directory(config: Path) -> Path:
    return Endpoints(Path(load_run_settings(config).runtime)).keys_directory


def _tell(directory: Path) -> None:
    typer.echo(f"server {public_key(directory, 'server').decode()}")
    typer.echo(f"client {public_key(directory, 'client').decode()}")
