"""Processes that outlive a killed supervisor or their child: mark, control group and registry find them alone."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import msgspec
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.endpoints import BusError
from observer.supervisor import mark as mark_module
from observer.supervisor.cgroup import Cgroup, cgroup_for, recorded_cgroup
from observer.supervisor.containment import end_leftovers, end_marked, left_over
from observer.supervisor.ending import end
from observer.supervisor.mark import MARK_VARIABLE, Mark, end_own_system, folder_id, own_mark, parse_mark
from observer.supervisor.pid_registry import PidRegistry
from observer.supervisor.proc import ProcessId, ProcessSeen, scan, seen, signal_exactly
from observer.supervisor.surroundings import ORPHAN
from tests.privileges import in_a_fork
from tests.supervisor.scenes import LIVES, Way, is_alive, kill, quiet, running, supervised, supervisor_of
from tests.supervisor.supervising import start_supervisor
from tests.waiting import DEADLINE_S, until, until_async

# One process that leaves the session by one fork and setsid, and writes its pid. `emptied` also clears its environment.
FORKS = """
import os, signal, sys
def detach(emptied=False):
    if os.fork() == 0:
        os.setsid()
        lives = "import os, signal; os.write(1, f'{os.getpid()}{os.linesep}'.encode()); signal.pause()"
        os.execve(sys.executable, [sys.executable, "-S", "-E", "-c", lives], {} if emptied else os.environ)
"""
LIVES_WITH_ONE = f"{FORKS}\ndetach()\n{LIVES}"
LIVES_WITH_AN_EMPTIED_ONE = f"{FORKS}\ndetach(emptied=True)\n{LIVES}"
LIVES_WITH_AN_ORDINARY_ONE = f"import subprocess; print(subprocess.Popen(['sleep', '600']).pid, flush=True)\n{LIVES}"
# What `observer.system.worker` does at the end of its lifeline, in a process that loads nothing else of a worker.
ENDS_ITS_SYSTEM = f"""{FORKS}
sys.path[:0] = {sys.path!r}
from observer.supervisor.mark import end_own_system
detach()
os.read(int(os.environ["OBSERVER_LIFELINE_FD"]), 1)
end_own_system()
os.killpg(0, 9)
"""


def can_group():
    """Whether this user may make control groups here."""
    probe = cgroup_for(f"probe.{os.getpid()}.0")
    if probe is not None:
        probe.remove()
    return probe is not None


needs_cgroups = pytest.mark.skipif(not can_group(), reason="this user cannot make control groups here")
grouped_or_not = pytest.mark.parametrize(
    "grouped", [pytest.param(True, marks=needs_cgroups, id="cgroup"), pytest.param(False, id="mark")]
)


def written(folder, name):
    """The pid that the child's own child has written."""
    log = folder / f"{name}.log"
    return int(until(lambda: log.exists() and log.read_text().endswith("\n") and log.read_text(), "its pid"))


def registered(folder):
    return {process.identity.pid for process in PidRegistry(folder / "run").earlier().processes}


# --- the supervisor is killed ------------------------------------------------------------------------------


@grouped_or_not
@pytest.mark.usefixtures("forked_first")
def test_a_process_that_left_its_session_is_ended_by_the_lifeline_of_a_worker(tmp_path, grouped):
    """Not of its own worker only: `b` speaks to no lifeline, and what it left ends, too."""
    codes = {"a": ENDS_ITS_SYSTEM, "b": LIVES_WITH_ONE}
    supervisor, pids = start_supervisor(tmp_path, codes, grouped=grouped)
    pids += [written(tmp_path, name) for name in codes]
    assert len({os.getsid(pid) for pid in pids}) == len(pids)
    supervisor.kill()
    supervisor.wait()
    until(lambda: not any(is_alive(pid) for pid in pids), "the end of all")


@grouped_or_not
@pytest.mark.usefixtures("forked_first")
@pytest.mark.parametrize("code", [LIVES_WITH_ONE, LIVES_WITH_AN_ORDINARY_ONE], ids=["detached", "ordinary"])
async def test_what_a_worker_left_that_was_killed_with_its_supervisor_is_ended_by_the_next_start(
    tmp_path, code, grouped
):
    supervisor, [worker] = start_supervisor(tmp_path, {"a": code}, grouped=grouped)
    left = written(tmp_path, "a")
    psutil.Process(supervisor.pid).suspend()  # so that it cannot see the end of its worker
    kill(worker)
    supervisor.kill()
    supervisor.wait()
    assert is_alive(left)

    async with supervised(tmp_path, [quiet(tmp_path, "b")]) as scene:
        assert not is_alive(left)
        await scene.supervisor.start_all()
        reports = {change.pid: change.reason for change in scene.changes.all if change.name == ORPHAN}
        assert "left over from an earlier run: ended by SIG" in reports[left]
        assert scene.supervisor.status().orphans_ended == len(reports)


@pytest.mark.parametrize(
    "grouped", [pytest.param(True, marks=needs_cgroups, id="cgroup"), pytest.param(False, id="registry")]
)
async def test_a_process_that_cleared_its_environment_and_left_its_session_is_ended_by_the_next_start(
    tmp_path, grouped
):
    """With a control group at once; without one when a check of the monitor loop saw it."""
    supervisor, [worker] = start_supervisor(tmp_path, {"a": LIVES_WITH_AN_EMPTIED_ONE}, grouped=grouped)
    left = written(tmp_path, "a")
    if not grouped:
        until(lambda: left in registered(tmp_path), "a check")
    psutil.Process(supervisor.pid).suspend()
    kill(worker)
    supervisor.kill()
    supervisor.wait()
    assert is_alive(left)

    async with supervised(tmp_path, [quiet(tmp_path, "b")]):
        assert not is_alive(left)


# --- an orderly end ----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("forked_first")
async def test_a_daemon_without_its_notify_address_is_ended_with_the_system_and_reported(tmp_path, monkeypatch):
    """Its address is all that names its life; without a control group it lives until the end of the system."""
    monkeypatch.setattr("observer.supervisor.containment.cgroup_for", lambda _folder: None)
    code = f"{FORKS}\nimport os\nos.environ.pop('NOTIFY_SOCKET')\ndetach()"

    async with running(tmp_path, [quiet(tmp_path, "a", code, restart="never")]) as scene:
        left = written(tmp_path, "a")
        await scene.changes.until("a", "EXITED")
        assert is_alive(left)
    assert not psutil.pid_exists(left)
    [report] = [change for change in scene.changes.all if change.name == ORPHAN]
    assert (report.pid, report.current) == (left, "STOPPED")
    assert report.reason.endswith("left over from this run: ended by SIGKILL")


@needs_cgroups
@pytest.mark.usefixtures("forked_first")
async def test_a_control_group_ends_an_emptied_daemon_with_its_worker_and_is_removed_at_the_end(tmp_path):
    async with running(tmp_path, [quiet(tmp_path, "a", LIVES_WITH_AN_EMPTIED_ONE)]) as scene:
        left = written(tmp_path, "a")
        path = Path(PidRegistry(tmp_path / "run").earlier().cgroup)
        assert Cgroup(path).pids() >= {scene.pid("a"), left}
        kill(scene.pid("a"))
        again = await scene.changes.until("a", "RUNNING", 2)
        assert again.pid is not None
        assert not is_alive(left)
        [backoff] = [change for change in scene.changes.all if change.current == "BACKOFF"]
        assert f"it left 1 that were killed: pid {left}" in backoff.reason
        assert scene.supervisor.status().orphans_ended == 1
        await until_async(lambda: (tmp_path / "a.log").read_text().count("\n") == 2, "the next one")
    assert not path.exists()


# --- strangers ---------------------------------------------------------------------------------------------


@contextlib.contextmanager
def stranger(**environment):
    """A process of somewhere else, with these variables."""
    with subprocess.Popen(["sleep", "600"], start_new_session=True, env={**os.environ, **environment}) as process:
        try:
            yield process.pid
        finally:
            process.kill()


def test_the_mark_of_another_folder_or_of_a_living_supervisor_is_not_touched(tmp_path):
    (tmp_path / "other").mkdir()
    dead = ProcessId(os.getpid(), 1)
    other = Mark(folder_id(tmp_path / "other"), dead)
    with stranger() as leader, contextlib.ExitStack() as stack:
        process = seen(leader)
        assert process is not None
        living = Mark(folder_id(tmp_path), process.identity)
        spared = [stack.enter_context(stranger(**{MARK_VARIABLE: str(each)})) for each in (other, living)]
        ended = stack.enter_context(stranger(**{MARK_VARIABLE: str(Mark(folder_id(tmp_path), dead))}))
        found = asyncio.run(end_leftovers(PidRegistry(tmp_path), folder_id(tmp_path)))
        assert [each.pid for each in found] == [ended]
        assert all(is_alive(pid) for pid in (*spared, leader))
        assert not is_alive(ended)


def test_a_process_below_a_leftover_is_ended_with_it_unless_it_belongs_to_a_living_system(tmp_path):
    processes, marks = {}, {}
    folder = folder_id(tmp_path)
    for pid, parent, session in [(1, 0, 1), (10, 1, 10), (11, 10, 10), (12, 11, 12), (20, 10, 20), (30, 1, 30)]:
        processes[pid] = ProcessSeen(ProcessId(pid, pid), parent, session, "x")
    marks[10] = Mark(folder, ProcessId(9, 9))
    marks[20] = Mark("another", ProcessId(30, 30))
    assert left_over(processes, marks, (), (), folder, own_pid=2) == {10, 11, 12}


def test_only_the_process_with_the_same_start_is_signalled():
    with stranger() as pid:
        process = seen(pid)
        assert process is not None
        recycled = msgspec.structs.replace(process.identity, start_ticks=process.identity.start_ticks - 1)
        assert not signal_exactly(recycled, signal.SIGKILL)
        assert is_alive(pid)
        assert signal_exactly(process.identity, signal.SIGKILL)
        until(lambda: not is_alive(pid), "its end")
        assert not signal_exactly(process.identity, signal.SIGKILL)


def test_a_worker_whose_lifeline_another_process_held_ends_no_system(tmp_path, monkeypatch):
    """The supervisor that its mark names lives: here it is this process."""
    monkeypatch.setattr(mark_module, "_ROUNDS_MAX", 2)
    mark = str(own_mark(tmp_path))
    monkeypatch.setenv(MARK_VARIABLE, mark)
    with stranger() as pid:
        end_own_system()
        assert is_alive(pid)


def test_a_worker_kills_nothing_while_another_worker_sweeps(tmp_path):
    """Two that sweep at once could kill each other before either reaches the rest: this process is the other one."""
    mark = Mark(folder_id(tmp_path), ProcessId(os.getpid(), 1))
    code = f"import sys; sys.path[:0] = {sys.path!r}\nfrom observer.supervisor import mark\nmark._ROUNDS_MAX = 10**9\n"
    code += "print(flush=True)\nmark.end_own_system()"
    environment = {**os.environ, MARK_VARIABLE: str(mark)}
    with socket.socket(socket.AF_UNIX) as sweeping, stranger(**{MARK_VARIABLE: str(mark)}) as orphan:
        sweeping.bind(f"\0observer-{mark}")
        with subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE) as worker:
            assert worker.stdout is not None
            assert worker.stdout.readline() == b"\n"
            process = psutil.Process(worker.pid)
            first = process.num_ctx_switches().voluntary
            until(lambda: process.num_ctx_switches().voluntary > first + 5, "its waits")
            assert is_alive(orphan)
            sweeping.close()
            until(lambda: not is_alive(orphan), "the end of the sweep")
            assert worker.wait() == 0


@needs_cgroups
def test_a_process_of_another_living_system_in_the_control_group_is_not_ended(tmp_path):
    """Neither by an orderly end nor by the next start; one without a mark is."""
    mark = own_mark(tmp_path)
    with stranger() as leader, contextlib.ExitStack() as stack:
        other = seen(leader)
        assert other is not None
        spared = stack.enter_context(stranger(**{MARK_VARIABLE: str(Mark("other", other.identity))}))
        cgroup = cgroup_for(str(mark))
        assert cgroup is not None
        stack.callback(cgroup.remove)
        stack.callback(until, lambda: not cgroup.pids(), "the end of all in the group")
        stack.callback(cgroup.kill)
        assert cgroup.add(spared)
        for end in (lambda: end_marked(mark, cgroup), lambda: end_leftovers(PidRegistry(tmp_path), mark.folder)):
            PidRegistry(tmp_path).record_cgroup(cgroup.path)
            ended = stack.enter_context(stranger())
            assert cgroup.add(ended)
            assert [each.pid for each in asyncio.run(end())] == [ended]
            assert is_alive(spared)


@needs_cgroups
def test_the_control_groups_of_two_supervisors_of_one_folder_id_are_two(tmp_path):
    """An id is given again after the removal of its folder; the earlier supervisor may live."""
    mark = own_mark(tmp_path)
    earlier, ours = cgroup_for(str(Mark(mark.folder, ProcessId(1, 1)))), cgroup_for(str(mark))
    assert earlier is not None
    assert ours is not None
    with stranger() as pid:
        assert earlier.add(pid)
        assert ours.pids() == set()
        assert asyncio.run(end_marked(mark, ours)) == []
        assert is_alive(pid)
        earlier.kill()
        until(lambda: not earlier.pids(), "its end")
    earlier.remove()
    assert not ours.path.exists()


@needs_cgroups
async def test_a_start_that_fails_leaves_no_control_group(tmp_path):
    supervisor, _ = supervisor_of(tmp_path, [])
    (tmp_path / "run" / "control").mkdir()  # in the way of the socket
    probe = cgroup_for(str(own_mark(tmp_path)))
    assert probe is not None
    probe.remove()

    with pytest.raises(BusError):
        async with supervisor:
            pass
    assert PidRegistry(tmp_path / "run").earlier().cgroup == ""
    assert not probe.path.with_name(f"observer-{own_mark(tmp_path / 'run')}").exists()


async def test_a_process_that_survives_its_kill_is_logged_and_not_waited_for_longer_than_asked(caplog):
    """One that no signal reaches, and that every look finds."""
    hanging = ProcessSeen(ProcessId(os.getpid(), 1), 1, 17, "hangs")
    kills = []
    async with asyncio.timeout(DEADLINE_S):
        found = await end(lambda: [hanging], within_s=0.05, end_group=lambda: kills.append("all"))
    assert found == {hanging.identity: hanging}
    assert kills
    assert f"SIGKILL does not end [{hanging.pid}]" in caplog.text


pids = st.integers(2, 12)
forests = st.dictionaries(pids, st.tuples(pids | st.just(1), pids | st.just(1), st.integers(1, 3)), max_size=10)
someones_marks = st.dictionaries(pids, st.tuples(st.sampled_from(["ours", "other"]), pids, st.integers(1, 3)))


@given(forests, someones_marks, st.frozensets(st.tuples(pids, st.integers(1, 3))), pids)
def test_what_is_ended_descends_from_a_dead_leader_and_is_neither_this_process_nor_above_it(
    forest,
    said,
    registered,
    own_pid,
):
    """Each one that is ended has a path upwards to a root, and no path leads through a spared one."""
    processes = {
        pid: ProcessSeen(ProcessId(pid, ticks), parent, session, "x")
        for pid, (parent, session, ticks) in forest.items()
    }
    living = {process.identity for process in processes.values()}
    marks = {pid: Mark(folder, ProcessId(leader, ticks)) for pid, (folder, leader, ticks) in said.items()}
    marks = {pid: mark for pid, mark in marks.items() if pid in processes}
    known = [ProcessId(*each) for each in registered]
    found = left_over(processes, marks, known, (), "ours", own_pid)
    roots = {
        pid
        for pid, process in processes.items()
        if process.identity in known
        or (
            pid in marks and marks[pid].folder == "ours" and marks[pid].leader not in living - {own(processes, own_pid)}
        )
    }
    above, pid = set(), own_pid
    while pid in processes and pid not in above:
        above.add(pid)
        pid = processes[pid].parent_pid
    spared = above | {pid for pid in marks if pid not in roots}
    expected = roots - spared
    for _ in processes:
        expected |= {
            pid
            for pid, process in processes.items()
            if {process.parent_pid, process.session} & expected and pid not in spared
        }
    assert found == expected


def own(processes, own_pid):
    return processes[own_pid].identity if own_pid in processes else None


# --- marks, scans and control groups -----------------------------------------------------------------------


@given(st.text(max_size=30))
def test_any_text_is_read_as_a_mark_or_as_none(text):
    mark = parse_mark(text)
    assert mark is None or str(mark) == text or parse_mark(str(mark)) == mark


def test_a_mark_is_read_from_its_text(tmp_path):
    mark = own_mark(tmp_path)
    assert parse_mark(str(mark)) == mark
    assert parse_mark(None) is None


def test_a_renamed_folder_keeps_its_id_and_a_copy_has_another_one(tmp_path):
    first = tmp_path / "a"
    first.mkdir()
    identity = folder_id(first)
    first.rename(tmp_path / "b")
    first.mkdir()
    assert folder_id(tmp_path / "b") == identity != folder_id(first)


def test_a_scan_knows_what_psutil_knows():
    with stranger() as pid:
        process, other = scan()[pid], psutil.Process(pid)
        assert (process.parent_pid, process.session, process.command) == (other.ppid(), os.getsid(pid), other.name())
        other.kill()
        until(lambda: pid not in scan(), "its end")  # not reaped yet: it counts as ended


def test_a_recorded_control_group_of_another_name_is_not_used():
    assert recorded_cgroup("/sys/fs/cgroup/observer-1-2.3.4", "1-2") is not None
    assert recorded_cgroup("/sys/fs/cgroup/observer-1-2.3.4", "1-3") is None
    assert recorded_cgroup("/sys/fs/cgroup/observer-1-23.3.4", "1-2") is None
    assert recorded_cgroup("/sys/fs/cgroup", "1-3") is None
    assert recorded_cgroup("", "1-3") is None


def test_without_the_right_to_make_a_control_group_there_is_none_and_the_children_run(tmp_path):
    def work():
        async def run():
            async with running(tmp_path, [quiet(tmp_path, "a")]) as scene:
                assert not scene.supervisor.status().is_contained
                assert scene.changes.states("a")[-1] == "RUNNING"

        Way.forked = False
        asyncio.run(run())

    tmp_path.chmod(0o700)
    ran = in_a_fork(work, tmp_path, as_user=True)
    assert ran.status == 0, ran.stderr


@needs_cgroups
def test_a_control_group_with_a_process_that_was_not_ended_stays(tmp_path):
    cgroup = cgroup_for(str(own_mark(tmp_path)))
    assert cgroup is not None
    with stranger() as pid:
        assert cgroup.below("a").add(pid)
        cgroup.remove()
        assert cgroup.pids() == {pid}
        cgroup.kill()
        until(lambda: not cgroup.pids(), "its end")
    cgroup.remove()
    assert not cgroup.path.exists()
