"""The folder of the master files: what a killed process leaves is removed by the next check."""

import hashlib
import subprocess
import sys
from signal import SIGKILL

import pytest

from observer.reference.listings.diff import UNKNOWN_STAMP
from observer.reference.listings.files import LocalCopy, LocalFiles

KILLED_WHILE_IT_WRITES = """
import os, signal, sys
from pathlib import Path
from observer.base.files import replacing
with replacing(Path(sys.argv[1])) as file:
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("written", ["kospi.mst", "kospi.json", "pending/kospi.json", ".kospi.1.incoming"])
def test_what_a_killed_process_wrote_is_removed(tmp_path, written):
    local = LocalFiles(tmp_path, backups_kept=1)
    killed = subprocess.run([sys.executable, "-c", KILLED_WHILE_IT_WRITES, str(tmp_path / written)], check=False)
    assert killed.returncode == -SIGKILL
    assert list(tmp_path.rglob("*.part"))
    local.tidy("KOSPI")
    assert list(tmp_path.rglob("*.part")) == []


def replace_with(local, content, checked_ns):
    version = local.incoming("KOSPI")
    version.write_bytes(content)
    local.keep("KOSPI", version, LocalCopy(UNKNOWN_STAMP, checked_ns, checked_ns, hashlib.sha256(content).hexdigest()))


def test_replacements_of_one_microsecond_each_leave_a_backup(tmp_path):
    local = LocalFiles(tmp_path, backups_kept=7)
    versions = [b"first", b"second", b"third", b"fourth"]
    for nanoseconds, content in enumerate(versions):
        replace_with(local, content, 1_000_000_000 + nanoseconds)
    assert [path.read_bytes() for path in local.backups("KOSPI")] == [b"third", b"second", b"first"]


def test_a_replacement_that_was_killed_after_its_backup_makes_no_second_one(tmp_path):
    local = LocalFiles(tmp_path, backups_kept=7)
    replace_with(local, b"first", 0)
    replace_with(local, b"second", 1_000_000_000)
    [backup] = local.backups("KOSPI")
    local.path("KOSPI").unlink()
    local.path("KOSPI").hardlink_to(backup)
    replace_with(local, b"second", 1_000_000_000)
    assert local.backups("KOSPI") == [backup]
