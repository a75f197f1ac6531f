"""Completion of commands and options in bash, zsh and fish: click's scripts, and where each shell reads them."""

import os
from pathlib import Path
from shlex import quote
from typing import Final

from click import Command
from click.shell_completion import get_completion_class

from observer.base.errors import ConfigError

# bash-completion and fish find a script by its name; zsh has no folder of its user's own, so ~/.zshrc loads it.
_FILES: Final = {
    "bash": ".local/share/bash-completion/completions/{name}",
    "zsh": ".{name}-completion.zsh",
    "fish": ".config/fish/completions/{name}.fish",
}


def script(name: str) -> str:
    """The completion script for the shell of $SHELL.

    Raises:
        ConfigError: there is none for this shell.
    """
    shell = _shell()
    found = get_completion_class(shell)
    assert found is not None, "click completes in the shells of our table"
    return found(Command(name), {}, name, f"_{name.upper()}_COMPLETE").source()


def install(name: str) -> str:
    """Write the script where the shell of $SHELL reads it; returns what was done, in words.

    Raises:
        ConfigError: there is none for this shell, or the file cannot be written.
    """
    shell = _shell()
    path = written = Path.home() / _FILES[shell].format(name=name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(script(name))
        if shell == "zsh":
            written = Path.home() / ".zshrc"
            _add_line(written, f"source {quote(str(path))}")
    except OSError as error:
        raise ConfigError(f"cannot write {written}: {error.strerror}") from error
    return f"installed {path}; start a new shell to use it"


def _shell() -> str:
    shell = Path(os.environ.get("SHELL", "")).name
    if shell not in _FILES:
        raise ConfigError(f"no completion for SHELL={shell!r}: set SHELL to one of {', '.join(_FILES)}")
    return shell


def _add_line(path: Path, line: str) -> None:
    """Append the line to a file of the user's, in any encoding, unless it is there."""
    added = os.fsencode(line)
    content = path.read_bytes() if path.exists() else b""
    if added in content.splitlines():
        return
    start = b"" if not content or content.endswith(b"\n") else b"\n"
    with path.open("ab") as file:  # never rewritten: a full disk must not cost the user's lines
        file.write(start + added + b"\n")
