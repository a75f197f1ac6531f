"""Our supervisor beside supervisord and circus: `make comparison` prints the table. It needs the package index.

The other two are installed into an environment that is thrown away. All three run the same children (child.py).
"""

import argparse
import asyncio
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from bus.commands import Request, Restart, Stop
from bus.control import ControlClient
from bus.endpoints import Endpoints
from tests import waiting

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
OTHERS = ("supervisor==4.3.0", "circus==0.19.0")
STORM_S = 30.0
FOR_EVER = 10**9  # restart intensity: no limit
QUIET_S = 10.0  # without a restart for so long, the manager has given up
Commands = dict[str, list[str]]


class Manager:
    """One process manager at work in a folder."""

    name = ""

    def __init__(self, programs: Path, folder: Path, modes: dict[str, str], intensity: int) -> None:
        self.programs, self.folder = programs, folder
        self.commands: Commands = {
            name: [sys.executable, "-S", "-E", str(HERE / "child.py"), mode, str(folder / f"{name}.pids")]
            for name, mode in modes.items()
        }
        with (folder / "manager.log").open("w") as log:
            argv = self.start(intensity)
            self.process = psutil.Popen(argv, cwd=ROOT, stdout=log, stderr=log, start_new_session=True)
        until(lambda: all(self.pids(name) for name in modes), f"{self.name}: children")

    def start(self, intensity: int) -> list[str]:
        """Prepare the folder; the command that starts the manager."""
        raise NotImplementedError

    def order(self, verb: str, name: str) -> object:
        """Run the order; return after the manager obeyed or refused it."""
        raise NotImplementedError

    def pids(self, name: str) -> list[int]:
        """Pids of all lives of a child so far."""
        path = self.folder / f"{name}.pids"
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    def left(self) -> list[int]:
        """Living children of this manager and their descendants."""
        leaders = {pid for name in self.commands for pid in self.pids(name)}
        found = []
        for process in psutil.process_iter():
            try:
                ours = str(self.folder) in " ".join(process.cmdline()) or os.getsid(process.pid) in leaders
                ours = ours or os.getpgid(process.pid) in leaders
                if ours and process.pid != self.process.pid and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process.pid)
            except (psutil.Error, ProcessLookupError):
                continue
        return found


class Ours(Manager):
    name = "observer"

    def start(self, intensity: int) -> list[str]:
        host = str(HERE / "host.py")
        return [
            "env",
            f"PYTHONPATH={ROOT}",
            sys.executable,
            host,
            str(self.folder),
            json.dumps(self.commands),
            str(intensity),
        ]

    def order(self, verb: str, name: str) -> object:
        return asyncio.run(self._ask(Restart(name) if verb == "restart" else Stop(name)))

    async def _ask(self, request: Request) -> object:
        client = ControlClient(Endpoints(self.folder / "run").control)
        try:
            return await client.request(request, 15.0)
        finally:
            client.close()


class Supervisord(Manager):
    name = "supervisord"

    def start(self, intensity: int) -> list[str]:
        programs = "".join(
            f"[program:{name}]\ncommand={' '.join(argv)}\nstartsecs={int(intensity < FOR_EVER)}\nstopwaitsecs=8\n"
            "autorestart=true\n"
            for name, argv in self.commands.items()
        )
        self.conf = self.folder / "supervisord.conf"
        self.conf.write_text(
            f"[unix_http_server]\nfile={self.folder}/s\n[supervisorctl]\nserverurl=unix://{self.folder}/s\n"
            "[rpcinterface:supervisor]\nsupervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n"
            f"[supervisord]\nlogfile={self.folder}/l\npidfile={self.folder}/p\nchildlogdir={self.folder}\n{programs}"
        )
        return [str(self.programs / "supervisord"), "-n", "-c", str(self.conf)]

    def order(self, verb: str, name: str) -> object:
        return run([str(self.programs / "supervisorctl"), "-c", str(self.conf), verb, name])


class Circus(Manager):
    name = "circus"

    def start(self, intensity: int) -> list[str]:
        watchers = "".join(
            f"[watcher:{name}]\ncmd={' '.join(argv)}\ngraceful_timeout=8\ncopy_env=True\n"
            for name, argv in self.commands.items()
        )
        self.endpoint = f"ipc://{self.folder}/c"
        conf = self.folder / "circus.ini"
        conf.write_text(
            f"[circus]\ncheck_delay=0.2\nendpoint={self.endpoint}\npubsub_endpoint=ipc://{self.folder}/b\n{watchers}"
        )
        return [str(self.programs / "circusd"), str(conf)]

    def order(self, verb: str, name: str) -> object:
        ctl = [str(self.programs / "circusctl"), "--endpoint", self.endpoint, "--timeout", "20"]
        return run([*ctl, verb, name, *(["--waiting"] if verb == "restart" else [])])


MANAGERS: tuple[type[Manager], ...] = (Ours, Supervisord, Circus)


def run(argv: list[str]) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).strip().split("\n")[0]


def until(condition: Callable[[], object], what: str, deadline_s: float = 20.0) -> bool:
    """Whether the condition became true in time; a timeout is a result here, not a failure."""
    try:
        waiting.until(condition, what, deadline_s)
    except AssertionError:
        return False
    return True


@contextmanager
def managing(kind: type[Manager], programs: Path, modes: dict[str, str], intensity: int = 8) -> Iterator[Manager]:
    with tempfile.TemporaryDirectory(prefix="cmp") as name:
        manager = kind(programs, Path(name), modes, intensity)
        try:
            yield manager
        finally:
            if manager.process.is_running():
                manager.process.kill()
                manager.process.wait()
            for pid in manager.left():
                os.kill(pid, signal.SIGKILL)


def left_after_kill(kind: type[Manager], programs: Path) -> str:
    """Two children with a child each: how many of the four live 2 s after SIGKILL of the manager."""
    with managing(kind, programs, {"a": "works", "b": "works"}) as manager:
        until(lambda: len(manager.left()) == 4, "four")
        before = len(manager.left())
        manager.process.kill()
        manager.process.wait()
        until(lambda: not manager.left(), "none", 2.0)
        return f"{len(manager.left())} of {before}"


def restart_beside_a_hang(kind: type[Manager], programs: Path) -> str:
    """How long a restart of b takes while a, which ignores SIGTERM, is being stopped with a grace of 8 s."""
    with managing(kind, programs, {"a": "stubborn", "b": "works"}) as manager:
        pid = os.fork()
        if pid == 0:
            manager.order("stop", "a")
            os._exit(0)
        time.sleep(1.0)
        began_s = time.monotonic()
        said = manager.order("restart", "b")
        done = until(lambda: len(manager.pids("b")) > 1, "b again", 15.0)
        took_s = time.monotonic() - began_s
        os.waitpid(pid, 0)
        return f"{took_s:.2f} s" if done else f"refused: {said}"


def storm(kind: type[Manager], programs: Path) -> str:
    """Starts within 30 s of a child that always ends after 1.3 s."""
    with managing(kind, programs, {"a": "ends"}) as manager:
        time.sleep(STORM_S - QUIET_S)  # what is counted is starts in this time
        before = len(manager.pids("a"))
        time.sleep(QUIET_S)
        starts = len(manager.pids("a"))
        return f"{starts} starts, {'given up' if starts == before else 'goes on'}"


def growth(kind: type[Manager], programs: Path, restarts: int) -> str:
    """The manager's memory and descriptors over so many kills of a child, the first tenth left out as warm-up."""
    with managing(kind, programs, {"a": "works"}, intensity=FOR_EVER) as manager:
        figures = []
        for number in range(restarts):
            if number in (restarts // 10, restarts - 1):
                figures.append((manager.process.memory_info().rss / 1e6, manager.process.num_fds()))
            os.kill(manager.pids("a")[-1], signal.SIGKILL)
            if not until(lambda count=number + 2: len(manager.pids("a")) >= count, "again", 15.0):
                return f"stopped restarting after {number}"
        (rss, fds), (rss_after, fds_after) = figures
        return f"{rss:.1f} -> {rss_after:.1f} MB, {fds} -> {fds_after} fds"


def compare(restarts: int, programs: Path) -> None:
    rows: dict[str, Callable[[type[Manager], Path], str]] = {
        "left after SIGKILL of the manager": left_after_kill,
        "restart of one while another hangs": restart_beside_a_hang,
        f"a child that ends after 1.3 s, {STORM_S:.0f} s": storm,
        f"the manager over {restarts} restarts": lambda kind, where: growth(kind, where, restarts),
    }
    report(f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores", [kind.name for kind in MANAGERS])
    report("---", ["---" for _ in MANAGERS])
    for what, measure in rows.items():
        report(what, [measure(kind, programs) for kind in MANAGERS])


def report(first: str, others: list[str]) -> None:
    sys.stdout.write(f"| {' | '.join([first, *others])} |\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--restarts", type=int, default=10_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="others") as name:
        venv.create(name, with_pip=True)
        programs = Path(name) / "bin"
        subprocess.run([str(programs / "pip"), "install", "--quiet", *OTHERS, "setuptools<81"], check=True)
        compare(arguments.restarts, programs)


if __name__ == "__main__":
    main()
