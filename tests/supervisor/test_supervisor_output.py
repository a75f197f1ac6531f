"""A child's log: the child writes to the file itself; rotation keeps every byte cut off the front."""

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from observer.supervisor import output
from observer.supervisor.output import open_log, rotate
from observer.supervisor.surroundings import SUPERVISOR
from tests.supervisor.scenes import LIVES, log_files, quiet, running
from tests.waiting import until_async

MAX_BYTES = 200_000


def filled(log, size_bytes, byte=b"x"):
    log.parent.mkdir(exist_ok=True)
    with log.open("ab") as out:
        out.write(byte * size_bytes)


def test_nothing_is_lost_or_doubled_while_a_child_writes_on(folder):
    log = folder / "a.log"
    code = "import os\nfor number in range(150_000): os.write(1, b'%d and so on\\n' % number)"
    with os.fdopen(open_log(log), "wb") as out, subprocess.Popen([sys.executable, "-c", code], stdout=out) as child:
        rotations = 0
        while child.poll() is None:
            rotations += rotate(log, MAX_BYTES, 1000)
    rotations += rotate(log, MAX_BYTES, 1000)
    assert rotations >= 1
    assert b"".join(log_files(log)) == b"".join(b"%d and so on\n" % number for number in range(150_000))


def test_a_rotated_log_returns_its_disk_space(folder):
    log = folder / "a.log"
    filled(log, 5 * MAX_BYTES)
    assert rotate(log, MAX_BYTES, 0)
    assert log.stat().st_blocks * 512 < MAX_BYTES
    assert not list(folder.glob("a.log.*"))


def test_older_logs_move_up_and_the_oldest_goes(folder):
    log = folder / "a.log"
    for letter in (b"a", b"b", b"c", b"d"):
        filled(log, 2 * MAX_BYTES, letter)
        assert rotate(log, MAX_BYTES, 2)
    assert sorted(path.name for path in folder.iterdir()) == ["a.log", "a.log.1", "a.log.2"]
    assert set((folder / "a.log.1").read_bytes()) <= set(b"cd")
    assert set((folder / "a.log.2").read_bytes()) <= set(b"bc")


def test_a_log_that_is_not_too_long_stays(folder):
    log = folder / "a.log"
    filled(log, MAX_BYTES)
    assert not rotate(log, MAX_BYTES, 3)
    assert [path.name for path in folder.iterdir()] == ["a.log"]


def test_a_log_is_short_again_after_a_rotation(folder):
    log = folder / "a.log"
    filled(log, 2 * MAX_BYTES)
    assert rotate(log, MAX_BYTES, 3)
    assert not rotate(log, MAX_BYTES, 3)


def test_a_log_that_does_not_exist_yet_is_not_too_long(tmp_path):
    assert not rotate(tmp_path / "a.log", MAX_BYTES, 3)


def test_a_copy_that_fails_leaves_the_log_as_it_was(tmp_path):
    log = tmp_path / "a.log"
    filled(log, 2 * MAX_BYTES)
    (tmp_path / "a.log.new").mkdir()
    with pytest.raises(OSError):
        rotate(log, MAX_BYTES, 3)
    assert log.stat().st_size == 2 * MAX_BYTES


UNCUTTABLE = r"""
import sys
from pathlib import Path
from observer.base import logs
from observer.supervisor import output
log = Path("a.log")
head = b'{"time":"2026-11-18T09:00:00.000+09:00","level":"info","process":"a","logger":"observer.base.logs",'
log.write_bytes(head + b'"event":"log begins: observer=1"}\n' + b"x\n" * 100_000)
for number in range(1, 4): Path(f"a.log.{number}").write_bytes(b"%d" % number)
if sys.argv[1] == "late": output.require_cuttable = lambda descriptor: None
before = {path.name: path.read_bytes() for path in Path().iterdir()}
for _ in range(4):
    try:
        output.rotate(log, 65_536, 3)
    except OSError as error:
        print(error.errno)
assert {path.name: path.read_bytes() for path in Path().iterdir()} == before
"""


@pytest.mark.parametrize("found", ["before", "late"])
def test_a_file_system_that_cannot_cut_leaves_the_log_and_the_kept_files_as_they_were(tmp_path, found):
    mounted = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    script = f"mount -t ramfs none {tmp_path} && cd {tmp_path} && "
    if subprocess.run([*mounted, f"{script} true"], capture_output=True, check=False).returncode:
        pytest.skip("no file system of our own may be mounted")
    command = [*mounted, f'{script} exec "$@"', "sh", sys.executable, "-c", UNCUTTABLE, found]
    environment = {**os.environ, "PYTHONPATH": str(Path(output.__file__).parents[2])}
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert (ran.stdout.split(), ran.stderr) == ([str(errno.EOPNOTSUPP)] * 4, "")


def test_a_log_that_is_emptied_while_it_is_copied_is_an_error_of_the_system(tmp_path):
    log = tmp_path / "a.log"
    filled(log, MAX_BYTES)
    with log.open("rb") as source, pytest.raises(OSError, match="became shorter"):
        output._copy(source.fileno(), 0, 2 * MAX_BYTES, tmp_path / "a.log.new")


def test_kept_logs_are_their_owners_alone(tmp_path):
    log = tmp_path / "a.log"
    filled(log, 2 * MAX_BYTES)
    rotate(log, MAX_BYTES, 1)
    assert stat.S_IMODE((tmp_path / "a.log.1").stat().st_mode) == 0o600


async def test_a_childs_output_is_a_file_so_it_never_waits_for_us(tmp_path):
    code = "import os, stat; print([stat.S_ISREG(os.fstat(fd).st_mode) for fd in (1, 2)], flush=True)"
    async with running(tmp_path, [quiet(tmp_path, "a", code, restart="never")]) as scene:
        await until_async(lambda: scene.log("a") == "[True, True]\n")


async def test_the_supervisor_rotates_the_logs_of_its_children(tmp_path, monkeypatch):
    monkeypatch.setattr("observer.supervisor.monitor_loop.POLL_S", 0.1)

    code = f"print('x' * 300_000, flush=True)\n{LIVES}"
    child = quiet(tmp_path, "a", code, log_bytes_max=MAX_BYTES, logs_kept=2)
    async with running(tmp_path, [child]):
        await until_async((tmp_path / "a.log.1").exists, "a rotation")
    assert b"".join(log_files(tmp_path / "a.log")) == b"x" * 300_000 + b"\n"


async def test_a_log_that_cannot_be_rotated_is_complained_of_once_and_tried_again_later(tmp_path, caplog):
    filled(tmp_path / "a.log", 2 * MAX_BYTES)
    (tmp_path / "a.log.new").mkdir()
    child = quiet(tmp_path, "a", log_bytes_max=MAX_BYTES, logs_kept=2)
    async with running(tmp_path, [child]) as scene:
        await until_async(lambda: "cannot rotate" in caplog.text)
        monitor_loop = scene.supervisor._monitor_loop
        (tmp_path / "a.log.new").rmdir()
        await monitor_loop._check_logs()
        assert not (tmp_path / "a.log.1").exists(), "a path that failed is not tried again each second"
        reported = [change.reason for change in scene.changes.all if change.name == SUPERVISOR]
        assert [reason.partition(",")[0] for reason in reported] == [f"cannot rotate {tmp_path}/a.log"]
        monitor_loop._uncut = dict.fromkeys(monitor_loop._uncut, 0.0)
        await monitor_loop._check_logs()
        assert (tmp_path / "a.log.1").exists()
    assert caplog.text.count("cannot rotate") == 1
