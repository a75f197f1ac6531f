"""A private file (secrets, or notes about them): replaced in one step, readable by its owner only."""

import os
import shlex
import stat
from pathlib import Path

from observer.base.errors import MissingKeysError
from observer.base.files import WRITTEN_BYTES_MAX, as_owner, make_private_folder, replace_file


def replace_privately(path: Path, content: bytes) -> None:
    """Replace a file that only its owner can read at any moment. Makes the file's folder.

    Raises:
        OSError: the folder cannot be written.
    """
    make_private_folder(path.parent)
    replace_file(path, content)


def read_privately(path: Path) -> bytes:
    """Read a file of secrets, after a check of its permissions.

    Raises:
        FileNotFoundError: there is no file.
        MissingKeysError: other users may read the file, or it cannot be read. The text holds nothing of its content.
    """
    try:
        # Looked at and read through one descriptor: nothing can be put in between.
        with path.open("rb") as file:
            _check_private(os.fstat(file.fileno()), path)
            content = file.read(WRITTEN_BYTES_MAX + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise MissingKeysError(f"{path} cannot be read ({error.strerror}): give a file that can be") from None
    if len(content) > WRITTEN_BYTES_MAX:
        raise MissingKeysError(f"{path} has more than {WRITTEN_BYTES_MAX:,} bytes: give a file of keys")
    return content


def _check_private(status: os.stat_result, path: Path) -> None:
    """Require that the file belongs to our user and that no other user has access."""
    quoted = shlex.quote(str(path))
    if status.st_uid != os.geteuid():
        remedy = f"run `chown {os.geteuid()} {quoted}`" if os.geteuid() else as_owner(status.st_uid)
        raise MissingKeysError(f"{path} belongs to another user: {remedy}")
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise MissingKeysError(f"{path} can be read by others: run `chmod 600 {quoted}`")
