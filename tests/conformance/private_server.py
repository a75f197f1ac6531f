"""A PostgreSQL server of one test, which may be stopped, put back to a copy of its files, and promoted."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.waiting import DEADLINE_S

_USER = "nobody"  # PostgreSQL does not run as root


class PrivateServer:
    """Runs in a folder of its own and listens on a socket there. Nothing waits for the disk."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self._folder = folder
        self._programs = programs
        self.data = folder / "data"
        self.url = f"postgresql+psycopg://observer@/postgres?host={folder}&application_name=writer"

    def make(self) -> None:
        self._run(
            "initdb",
            "--pgdata",
            self.data,
            "--username=observer",
            "--auth=trust",
            "--no-sync",
            "--no-locale",
            "--encoding=UTF8",
        )

    def start(self) -> None:
        options = f"-c listen_addresses= -c unix_socket_directories={self._folder} -c fsync=off -c max_connections=60"
        log = self._folder / "log"
        self._control("start", "--wait", f"--log={log}", f"--options={options}")

    def stop(self, *, in_order: bool = False) -> None:
        """At once, as a killed one; or in order, so that the next start recovers nothing."""
        self._control("stop", "--wait", f"--mode={'fast' if in_order else 'immediate'}")

    def promote(self) -> None:
        self._control("promote", "--wait")

    def copy(self) -> Path:
        """Stop in order, copy the files as a base backup does, and start again."""
        self.stop(in_order=True)
        copied = self._folder / "copy"
        shutil.copytree(self.data, copied, copy_function=self._copied)
        self._own(copied)
        self.start()
        return copied

    def base_backup(self) -> Path:
        """A base backup of the running server."""
        backup = self._folder / "backup"
        self._run(
            "pg_basebackup",
            f"--pgdata={backup}",
            f"--host={self._folder}",
            "--username=observer",
            "--checkpoint=fast",
            "--no-sync",
        )
        return backup

    def put_back(self, copied: Path, *, as_standby: bool = False) -> None:
        """Stop at once and start with the copied files."""
        self.stop()
        self.replace(copied, as_standby=as_standby)

    def replace(self, copied: Path, *, as_standby: bool = False) -> None:
        """Start the stopped server with the copied files, which become its own."""
        shutil.rmtree(self.data)
        copied.rename(self.data)
        if as_standby:
            (self.data / "standby.signal").touch()
        self._own(self.data)
        self.start()

    def _copied(self, source: str, target: str) -> str:
        return shutil.copy2(source, target)

    def _own(self, folder: Path) -> None:
        if os.geteuid() == 0:
            for path in (folder, *folder.rglob("*")):
                shutil.chown(path, _USER)

    def _control(self, *arguments: object) -> None:
        self._run("pg_ctl", *arguments, "--silent", "--pgdata", self.data)

    def _run(self, program: str, *arguments: object) -> None:
        command = [str(self._programs / program), *map(str, arguments)]
        user = _USER if os.geteuid() == 0 else None
        ran = subprocess.run(
            command,
            cwd=self._folder,
            user=user,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=DEADLINE_S,
        )
        log = self._folder / "log"
        assert ran.returncode == 0, f"{ran.stderr}\n{log.read_text() if log.exists() else ''}"


@contextmanager
def private_server() -> Iterator[PrivateServer]:
    """A running server; skips where PostgreSQL is not installed."""
    programs = _programs()
    if programs is None:
        pytest.skip("no initdb and pg_ctl of PostgreSQL here")
    with tempfile.TemporaryDirectory(prefix="obs") as name:
        folder = Path(name)
        if os.geteuid() == 0:
            shutil.chown(folder, _USER)
        server = PrivateServer(folder, programs)
        server.make()
        server.start()
        try:
            yield server
        finally:
            server.stop()


def _programs() -> Path | None:
    found = [path.parent for path in sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"), reverse=True)]
    on_path = shutil.which("pg_ctl")
    return next(iter(found), Path(on_path).parent if on_path else None)
