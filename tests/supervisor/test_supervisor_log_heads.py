"""A log that begins with a head begins with it again after each rotation, and is cut between lines."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from observer.supervisor.output import open_log, rotate
from tests.supervisor.scenes import log_files

MAX_BYTES = 200_000
WRITES = """
import logging, sys
from observer.base import logs
from observer.base.clock import RealClock
logs.REPEATED_MAX = 1 << 30
logs.set_up("a", RealClock(), head=logs.Head("etc/o.toml", "main", ["first", "second"]))
for number in range(%d): logging.getLogger("x").info("%%d %%s", number, "and so on " * (number %% 40))
"""


def write_and_rotate(log, lines):
    """Let a process write so many lines, and rotate all the time; how often that was needed."""
    rotations = 0
    with os.fdopen(open_log(log), "wb") as out:
        child = subprocess.Popen([sys.executable, "-c", WRITES % lines], stderr=out)
        while child.poll() is None:
            rotations += rotate(log, MAX_BYTES, 1000)
    return rotations + rotate(log, MAX_BYTES, 1000)


def test_each_file_begins_with_the_head_and_no_line_is_cut_lost_or_doubled(folder):
    log = folder / "a.log"
    assert write_and_rotate(log, 8_000) >= 3
    seen: list[int] = []
    for content in log_files(log):
        assert content.endswith(b"\n")
        first, *lines = [json.loads(line) for line in content.splitlines()]
        begin, _, head = first["event"].partition(": ")
        assert begin == ("log goes on" if seen else "log begins")
        assert head.endswith(f"instance=main accounts=first,second configuration={Path('etc/o.toml').absolute()}")
        seen += [int(line["event"].split()[0]) for line in lines]
        assert not seen or first["time"] <= lines[0]["time"]
    assert seen == list(range(8_000))


def test_the_head_is_that_of_the_last_process(tmp_path):
    log = tmp_path / "a.log"
    for _ in range(2):
        with os.fdopen(open_log(log), "wb") as out:
            subprocess.run([sys.executable, "-c", WRITES % 800], stderr=out, check=True)
    begins = [line for line in log.read_text().splitlines() if "log begins" in line]
    assert rotate(log, MAX_BYTES, 3)
    assert json.loads(log.read_bytes().splitlines()[0])["event"] == (
        json.loads(begins[-1])["event"].replace("begins", "goes on")
    )


def test_without_kept_files_the_head_stays(tmp_path):
    log = tmp_path / "a.log"
    assert write_and_rotate(log, 2_000) >= 1
    with log.open("ab") as out:
        out.write(b"other output\n" * 30_000)
    assert rotate(log, MAX_BYTES, 0)
    assert b'"event":"log goes on: ' in log.read_bytes()[:400]
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


@pytest.mark.parametrize("content", [b"x" * 300_000, b"x\n" * 150_000], ids=["one line", "lines"])
def test_a_log_without_a_head_is_cut_at_a_block(tmp_path, content):
    log = tmp_path / "a.log"
    log.write_bytes(content)
    assert rotate(log, MAX_BYTES, 3)
    assert b"".join(log_files(log)) == content
