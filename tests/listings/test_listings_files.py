"""The folder of the master files: what a killed process leaves is removed by the next check."""

import subprocess
import sys
from pathlib import Path
from signal import SIGKILL

import pytest

from observer.listings.files import LocalFiles

KILLED_WHILE_IT_WRITES = """
import os, signal, sys
from pathlib import Path
from observer.files import replacing
with replacing(Path(sys.argv[1])) as file:
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("written", ["kospi.mst", "kospi.json", "pending/kospi.json", ".kospi.1.incoming"])
def test_what_a_killed_process_wrote_is_removed(tmp_path: Path, written: str) -> None:
    local = LocalFiles(tmp_path, backups_kept=1)
    killed = subprocess.run([sys.executable, "-c", KILLED_WHILE_IT_WRITES, str(tmp_path / written)], check=False)
    assert killed.returncode == -SIGKILL
    assert list(tmp_path.rglob("*.part"))
    local.tidy("KOSPI")
    assert list(tmp_path.rglob("*.part")) == []
