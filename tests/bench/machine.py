"""The machine of a measurement, printed with every figure."""

import os
import platform
import shlex
import sqlite3
import sys
from pathlib import Path

import msgspec
import psutil


class Machine(msgspec.Struct, frozen=True):
    """The command that measured, and on what: printed beside every figure."""

    command: str
    processor: str
    cores: int
    memory_bytes: int
    kernel: str
    python: str
    sqlite: str
    file_system: str


def this_machine(folder: Path) -> Machine:
    """Describe this machine, with the file system of `folder`."""
    return Machine(
        command=shlex.join(["python", "-m", "tests.bench", *sys.argv[1:]]),
        processor=_processor(),
        cores=os.cpu_count() or 1,
        memory_bytes=psutil.virtual_memory().total,
        kernel=platform.release(),
        python=platform.python_version(),
        sqlite=sqlite3.sqlite_version,
        file_system=_file_system(folder),
    )


def cpu_s(process: psutil.Process) -> float:
    """The seconds of processor time that the process has used."""
    times = process.cpu_times()
    return float(times.user + times.system)


def _processor() -> str:
    """The processor's name from the kernel (proc(5), cpuinfo)."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _file_system(folder: Path) -> str:
    """The type of the innermost mounted file system that holds the folder."""
    mounts = {Path(part.mountpoint): part.fstype for part in psutil.disk_partitions(all=True)}
    around = [mount for mount in (folder.resolve(), *folder.resolve().parents) if mount in mounts]
    return mounts[around[0]] if around else "unknown"
