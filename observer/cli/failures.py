"""The line on stderr and the exit status for an error that ends a command."""

import errno
import os
import sys
from collections.abc import Mapping
from typing import Final

from click.exceptions import ClickException, UsageError

_USAGE: Final = 2
_FAILED: Final = 1
_REMEDIES: Final[Mapping[int, tuple[int, str]]] = {
    errno.ENOENT: (_USAGE, "correct the path, or make its folder first"),
    errno.ENOTDIR: (_USAGE, "a part of this path is a file where a folder is expected: correct the path"),
    errno.EISDIR: (_USAGE, "give a file, not a folder"),
    errno.EEXIST: (_USAGE, "give a name that is not there yet"),
    errno.ENAMETOOLONG: (_USAGE, "give a shorter path"),
    errno.EACCES: (_FAILED, "run as the owner, or change the permissions with chmod or chown"),
    errno.EPERM: (_FAILED, "run as the owner, or change the permissions with chmod or chown"),
    errno.EROFS: (_FAILED, "this disk is read-only: choose a folder on another one"),
    errno.ENOSPC: (_FAILED, "free some space on this disk, then run the command again"),
    errno.EDQUOT: (_FAILED, "your share of this disk is used up: free some space, then run the command again"),
    errno.EFBIG: (_FAILED, "the file would be larger than allowed: see `ulimit -f`"),
    errno.EMFILE: (_FAILED, "too many files are open: see `ulimit -n`"),
    errno.EADDRINUSE: (_FAILED, "choose another port, or end the program that has this one"),
}


def failure(error: Exception) -> tuple[str, int] | None:
    """The text, each of its lines a problem, and the exit status; None for an error of our own making: a bug."""
    from bus.endpoints import BusError
    from observer.base.errors import ObserverError

    match error:
        case ClickException():
            return _usage(error), error.exit_code
        case ObserverError():
            return str(error), error.exit_status
        case BusError():
            return str(error), _USAGE
        case OSError():
            status, remedy = _REMEDIES.get(error.errno or 0, (_FAILED, ""))
            return f"{system_error(error)}{f': {remedy}' if remedy else ''}", status
    return None


def system_error(error: OSError) -> str:
    """The file and the system's words for what it refused."""
    name = f"{os.fspath(error.filename)!s}: " if error.filename else ""
    return f"{name}{error.strerror or error}"


def print_failure(text: str) -> None:
    """Print each line on stderr, without control characters.

    What a full disk or a closed pipe did not take of stdout is given up.
    """
    from observer.base.text import plain_text

    for line in text.splitlines():
        sys.stderr.write(f"observer: {plain_text(line)}\n")
    try:
        sys.stdout.flush()
    except OSError:  # Python would flush once more at its exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _usage(error: ClickException) -> str:
    help_hint = f" (see `{error.ctx.command_path} --help`)" if isinstance(error, UsageError) and error.ctx else ""
    return f"{' '.join(error.format_message().split())}{help_hint}"
