"""`observer init`: a new system's folder, with its configuration and, where asked, a file for a service manager."""

import contextlib
import itertools
import os
import sys
import sysconfig
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import Annotated, Final

import click
import msgspec

from observer.base.errors import ConfigError
from observer.base.files import make_private_folder, replace_file
from observer.cli.context import DEFAULT_CONFIGURATION, JsonOption, print_error, print_json
from observer.cli.init_files import KEYS, SYSTEMD_UNIT, InitOptions, is_hidden, new_files
from observer.cli.options import Argument, Option
from observer.system.config import load_settings

_FOLDERS: Final = ("config", "config/universe", "data", "run")
_REPLACED: Final = ".before"  # behind the name of a file that --force replaced


class NewSystem(msgspec.Struct, frozen=True):
    """What `observer init` did: the folder, the files that it wrote, those of an earlier one that stay as they are, and
    what to type next.
    """

    folder: str
    written: Sequence[str]
    kept: Sequence[str]
    next: Sequence[str]


def init(
    folder: Annotated[Path, Argument(metavar="DIR", help="The folder; it is made where there is none.")],
    instance: Annotated[str, Option(help="The instance's name; in PostgreSQL the name of its schema, too.")] = "main",
    paper: Annotated[bool, Option(help="Use the broker's hosts for practice.")] = False,
    metrics: Annotated[bool, Option(help="Serve figures for Prometheus, /healthz and /readyz on loopback.")] = False,
    systemd: Annotated[bool, Option(help="Also write a unit for systemd.")] = False,
    supervisord: Annotated[bool, Option(help="Also write supervisord.conf.")] = False,
    force: Annotated[bool, Option(help="Replace an earlier configuration; keys and data stay.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a new system's configuration into a folder. Each key has its default and says what it means.

    All is for its owner alone, and loads. Templates for keys are beside it. An earlier configuration is not replaced:
    its files are listed, and exit status 2. With --force each replaced file stays beside the new one, as NAME.before.
    """
    options = InitOptions(instance=instance, paper=paper, metrics=metrics, systemd=systemd, supervisord=supervisord)
    absolute = folder.resolve()
    files = new_files(options, absolute, Path(sysconfig.get_path("scripts")) / "observer")
    _require_loadable(files)
    if not force:
        _require_absent(absolute, files)
    written, kept = _write(absolute, files)
    interpreter = Path(sys.executable).resolve()
    if systemd and is_hidden(interpreter):
        remedy = "make its environment anew with one outside of them, /usr/bin/python3 say"
        print_error(f"Observer's Python is {interpreter}, and the unit hides all home folders: {remedy}")
    made = NewSystem(str(folder), written, kept, next_commands(folder, options))
    if as_json:
        print_json(made)
        return
    click.echo(f"{folder}: {len(written)} files written" + "".join(f"\n{name} stays as it is" for name in kept))
    click.echo("Keys of the broker go into config/keys.toml, or into the environment. Next:")
    for command in made.next:
        click.echo(f"  {command}")


def next_commands(folder: Path, options: InitOptions) -> Sequence[str]:
    """The commands for the shell of the person who typed `observer init`; with a unit, as root."""
    enter = () if folder.resolve() == Path.cwd() else (f"cd {quote(str(folder))}",)
    if options.systemd:
        unit = Path(SYSTEMD_UNIT)
        return (*enter, f"head -n 9 {unit}", f"systemctl enable --now {unit.stem}")
    program = _program(sys.argv[0])
    run = "supervisord" if options.supervisord else f"{program} run"
    return (*enter, f"{program} demo", run)


def _program(called_as: str) -> str:
    """The program as it can be typed in the new folder, too."""
    path = Path(called_as)
    if path.name == "__main__.py":
        return f"{quote(sys.executable)} -m observer"
    is_found = any((Path(each) / path.name) == path for each in os.get_exec_path())
    return path.name if is_found else quote(os.path.normpath(path.absolute()))


def _require_loadable(files: Mapping[str, str]) -> None:
    """Load the configuration in a folder of its own, as `observer run` would.

    Raises:
        ConfigError: an option made it wrong.
    """
    with tempfile.TemporaryDirectory(prefix="observer-init-") as trial:
        for name, content in files.items():
            path = Path(trial) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
        with contextlib.chdir(trial):
            load_settings(DEFAULT_CONFIGURATION)


def _require_absent(folder: Path, files: Mapping[str, str]) -> None:
    """Raises ConfigError, with a line for each file that is there, unless none is."""
    there = [name for name in files if (folder / name).exists()]
    if there:
        lines = [f"{folder / name} {_difference(folder / name, files[name])}" for name in there]
        remedy = "--force replaces what differs, keeps it as NAME.before, and leaves keys and data alone"
        raise ConfigError("\n".join([f"{folder} has a configuration, nothing was written: {remedy}", *lines]))


def _difference(path: Path, content: str) -> str:
    return "is the same" if path.read_bytes() == content.encode() else "differs"


def _write(folder: Path, files: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Write the files that are not there or differ; the names of the written and of the kept ones."""
    for name in ("", *_FOLDERS, *{str(Path(name).parent) for name in files}):
        make_private_folder(folder / name)
    written, kept = [], []
    for name, content in {**files, **KEYS}.items():
        path = folder / name
        if path.exists():
            if name in KEYS or _difference(path, content) == "is the same":
                kept.append(name)
                continue
            path.replace(_free_name(path))
        replace_file(path, content.encode())
        written.append(name)
    return written, kept


def _free_name(path: Path) -> Path:
    """NAME.before, or NAME.before.2 and so on where there is one: no replaced file is lost."""
    names = (f"{path.name}{_REPLACED}" + (f".{number}" if number > 1 else "") for number in itertools.count(1))
    return next(path.with_name(name) for name in names if not path.with_name(name).exists())
