"""PostgreSQL's client programs: dump one schema, read a dump, put one back.

Each program gets the password by its environment, as other users can see arguments; and it ends soon after `stop` is
set. A dump has the custom format of `pg_dump`.
"""

import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from sqlalchemy import URL

from observer.base.errors import StoppedError, StoreError, StoreFailedError
from observer.base.files import sync_path
from observer.store.engine import SECRET_OPTIONS, failure_of

_DUMP_S_MAX: Final = 3_600.0  # machine seconds
_POLL_S: Final = 0.1
_PIPE_BYTES: Final = 1024 * 1024
_COPY: Final = re.compile(r"COPY \S*?\.?\"?(\w+)\"? \((.*)\) FROM stdin;\Z")
_ESCAPED: Final = re.compile(r"\\(.)")
_ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "v": "\v"}
_NULL: Final = r"\N"

_Program = subprocess.Popen[bytes]

DumpRows = Mapping[str, Sequence[Mapping[str, str]]]
"""Rows of a dump's tables by name, each with its values by column; a value that is null is left out."""


def dump(url: URL, schema: str, destination: Path, stop: threading.Event) -> None:
    """Write the schema, and no other one of its database, to a new file.

    Raises:
        StoreError: `pg_dump` is not installed, or failed.
        StoppedError: `stop` was set.
    """
    options = ("--format=custom", "--no-password", f'--schema="{schema}"', f"--file={destination}")
    command = ["pg_dump", *options, f"--dbname={_address(url)}"]
    # Bit by bit: a commit of a server on the same disk would wait until all of the dump is there.
    _run(command, f"pg_dump of {url}", stop, _password(url), lambda: sync_path(destination))


def require_readable(path: Path, stop: threading.Event) -> None:
    """Return if `pg_restore` can list the dump.

    Raises:
        StoreError, StoppedError: as for `dump`.
    """
    _run(["pg_restore", "--list", str(path)], f"pg_restore --list {path}", stop)


def rows_in(path: Path, tables: Sequence[str], stop: threading.Event) -> DumpRows:
    """All rows of these small tables in a dump; a table that the dump does not have is left out.

    Raises:
        StoreError, StoppedError: as for `dump`.
    """
    names = [f"--table={name}" for name in tables]
    command = ["pg_restore", "--data-only", *names, "--file=-", str(path)]
    return _parsed(_run(command, f"pg_restore of {path}", stop))


def put_back(url: URL, path: Path, schema: str, aside: str | None, stop: threading.Event) -> None:
    """Restore a dump's schema in one transaction, in which the present schema is renamed to `aside` first; None where
    there is no present one. Owners and grants of the dump are left out.

    Raises:
        StoreError, StoppedError: as for `dump`; nothing was changed.
    """
    rename = f'ALTER SCHEMA "{schema}" RENAME TO "{aside}";\n' if aside else ""
    options = ("--no-owner", "--no-privileges", f"--schema={schema}", "--file=-")
    reading = [_program("pg_restore"), *options, str(path)]
    writing = [_program("psql"), "--no-psqlrc", "--quiet", "--no-password", "--set=ON_ERROR_STOP=1"]
    writing += ["--output=/dev/null", f"--dbname={_address(url)}"]
    with (
        subprocess.Popen(reading, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as source,  # noqa: S603
        subprocess.Popen(  # noqa: S603 - the arguments are lists, and the address is the operator's own
            writing, stdin=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, **_password(url)}
        ) as target,
    ):
        try:
            # Without COMMIT the server takes everything back: also when this process or a program dies on the way.
            whole = _piped(source, target, f'BEGIN;\n{rename}CREATE SCHEMA IF NOT EXISTS "{schema}";\n', stop)
        finally:
            for each in (source, target):
                if each.poll() is None:
                    each.kill()
    if not whole:
        raise StoreFailedError(f"the restore into {url} failed, nothing was changed: {_last_words(source, target)}")


def _piped(
    source: "subprocess.Popen[bytes]", target: "subprocess.Popen[bytes]", begin: str, stop: threading.Event
) -> bool:
    """Pass the script on between BEGIN and COMMIT. Returns whether all of it was committed."""
    assert source.stdout is not None
    assert target.stdin is not None
    try:
        target.stdin.write(begin.encode())
        while portion := source.stdout.read(_PIPE_BYTES):
            if stop.is_set():
                raise StoppedError("the restore was interrupted: nothing was changed")
            target.stdin.write(portion)
        if source.wait():
            return False
        target.stdin.write(b"\nCOMMIT;\n")
        target.stdin.close()
    except BrokenPipeError:  # psql ended with an error
        return False
    return target.wait() == 0


def _last_words(*programs: _Program) -> str:
    found = [each.stderr.read().decode(errors="replace").strip() for each in programs if each.stderr is not None]
    return " ".join(text.replace("\n", " ") for text in found if text) or "it ended without a message"


def _run(
    command: Sequence[str],
    what: str,
    stop: threading.Event,
    environment: Mapping[str, str] | None = None,
    meanwhile: Callable[[], None] = lambda: None,
) -> str:
    """The program's output; `meanwhile` is called some ten times a second."""
    program, *arguments = command
    with subprocess.Popen(  # noqa: S603 - the arguments are a list, and the address is the operator's own
        [_program(program), *arguments],
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            output, complaint = _finished(process, what, stop, meanwhile)
        finally:
            if process.poll() is None:
                process.kill()
    if process.returncode:
        raise failure_of(f"{what} failed: {complaint.strip()}")
    return output


def _finished(
    process: "subprocess.Popen[str]", what: str, stop: threading.Event, meanwhile: Callable[[], None]
) -> tuple[str, str]:
    deadline_s = time.monotonic() + _DUMP_S_MAX
    while not stop.is_set():
        try:
            return process.communicate(timeout=_POLL_S)
        except subprocess.TimeoutExpired:
            if time.monotonic() > deadline_s:
                raise StoreError(f"{what} took more than {_DUMP_S_MAX:.0f} s") from None
            meanwhile()
    raise StoppedError(f"{what} was interrupted")


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise StoreError(f"a backup of PostgreSQL needs {name}: install PostgreSQL's client programs")
    return found


def _address(url: URL) -> str:
    """The URL as libpq reads it, without the password: a password in the address would take precedence over PGPASSWORD.

    Raises:
        StoreError: the URL has another secret, for which libpq has no variable.
    """
    if secret := SECRET_OPTIONS & url.query.keys():
        raise StoreError(
            f"{url}: a backup cannot pass on {min(secret)}, as other users can see arguments: "
            "connect without it (a key file of mode 600 needs no password)"
        )
    return url._replace(drivername="postgresql", password=None).render_as_string()


def _password(url: URL) -> Mapping[str, str]:
    return {"PGPASSWORD": str(url.password)} if url.password else {}


def _parsed(script: str) -> DumpRows:
    """The rows in the COPY statements of a script."""
    found: dict[str, list[Mapping[str, str]]] = {}
    lines = iter(script.split("\n"))
    for line in lines:
        if copy := _COPY.match(line):
            columns = [name.strip().strip('"') for name in copy[2].split(",")]
            found[copy[1]] = list(_rows(lines, columns))
    return found


def _rows(lines: Iterator[str], columns: Sequence[str]) -> Iterator[Mapping[str, str]]:
    for line in lines:
        if line == r"\.":
            return
        values = zip(columns, line.split("\t"), strict=True)
        yield {name: _ESCAPED.sub(_unescaped, value) for name, value in values if value != _NULL}


def _unescaped(escaped: re.Match[str]) -> str:
    return _ESCAPES.get(escaped[1], escaped[1])
