"""One life of a child: its start, its end, and that no process of it survives."""

import contextlib
import os
import stat
from pathlib import Path

import psutil
import pytest

from observer.base.environment import withhold
from observer.supervisor.lifeline import Lifeline
from observer.supervisor.orphans import adopting
from observer.supervisor.pid_registry import PidRegistry
from observer.supervisor.proc import scan
from observer.supervisor.process import RunningProcess, exit_text
from observer.supervisor.watch import Watch, is_hung
from observer.supervisor.zygote import Zygote
from tests.supervisor.scenes import IGNORES_SIGTERM, LIVES, Way, is_alive, kill, program, quiet
from tests.waiting import DEADLINE_S, until_async

pytestmark = pytest.mark.usefixtures("both_ways")


@contextlib.asynccontextmanager
async def living(child):
    lifeline = Lifeline()
    with zygote_of(child.log_path.parent) as zygote:
        process = await RunningProcess.start(child, lifeline, lambda _pid: None, zygote=zygote)
        try:
            yield process
        finally:
            if is_alive(process.pid):
                await process.stop(0.0)
            lifeline.close()


@contextlib.contextmanager
def zygote_of(folder):
    """The zygote for the way of this test; the processes that it forks become children of this one."""
    if not Way.forked:
        yield None
        return
    folder.mkdir(exist_ok=True)
    with adopting(), contextlib.closing(Zygote(Way.preload(), PidRegistry(folder))) as zygote:
        yield zygote
        assert zygote.fallbacks == 0


def open_files():
    return int(psutil.Process().num_fds())


async def log_says(child, text):
    await until_async(lambda: child.log_path.exists() and text in child.log_path.read_text(), text)


async def family(child, process, size):
    """Wait until its session has so many members, and return their pids."""

    def members():
        return [each.pid for each in scan().values() if each.session == process.pid]

    await until_async(lambda: len(members()) == size, f"{size} processes")
    return members()


async def test_a_child_leads_a_session_and_a_group_of_its_own(tmp_path):
    async with living(quiet(tmp_path, "a")) as process:
        assert os.getsid(process.pid) == os.getpgid(process.pid) == process.pid


async def test_output_is_appended_to_a_log_that_only_its_owner_reads(tmp_path):
    code = "import sys; print('out', flush=True); print('err', file=sys.stderr)"
    child = quiet(tmp_path / "logs", "a", code)
    for _ in range(2):
        async with living(child) as process:
            assert await process.finish() == 0
    assert child.log_path.read_text() == "out\nerr\n" * 2
    assert stat.S_IMODE(child.log_path.stat().st_mode) == 0o600


async def test_a_child_has_the_environment_of_the_supervisor_and_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("FROM_THE_SUPERVISOR", "1")

    code = "import os; print(os.environ['FROM_THE_SUPERVISOR'], os.environ['FROM_THE_CHILD'])"
    child = quiet(tmp_path, "a", code, environment={"FROM_THE_CHILD": "2"})
    async with living(child) as process:
        await process.finish()
    assert child.log_path.read_text() == "1 2\n"


async def test_a_secret_reaches_the_child_that_needs_it_and_no_other_nor_what_proc_shows_of_the_supervisor(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("A_KEY", "hush-hush")
    withhold(("A_KEY",))

    code = "import os; print(os.environ.get('A_KEY'), flush=True); import time; time.sleep(600)"
    trusted, other = quiet(tmp_path, "a", code, secrets=("A_KEY",)), quiet(tmp_path, "b", code)
    async with living(trusted), living(other) as process:
        await log_says(trusted, "hush-hush\n")
        await log_says(other, "None\n")
        for pid in (process.pid, os.getpid()):
            assert b"hush-hush" not in Path(f"/proc/{pid}/environ").read_bytes()


async def test_a_program_that_is_not_there_is_an_error_and_leaves_nothing(tmp_path):
    before = open_files()
    with pytest.raises(FileNotFoundError):
        await RunningProcess.start(
            program(tmp_path, "a", ("/no/such/program",)), lifeline := Lifeline(), lambda _pid: None
        )
    lifeline.close()
    await until_async(lambda: open_files() <= before, "all descriptors closed")


async def test_a_life_leaves_no_descriptor_behind(tmp_path):
    before = open_files()
    for _ in range(5):
        async with living(quiet(tmp_path, "a")) as process:
            await process.stop(DEADLINE_S)
    await until_async(lambda: open_files() <= before, "all descriptors closed")


async def test_a_child_that_obeys_sigterm_ends_by_it(tmp_path):
    async with living(quiet(tmp_path, "a")) as process:
        assert exit_text(await process.stop(DEADLINE_S)) == "SIGTERM"


async def test_a_child_that_ignores_sigterm_is_killed_after_the_grace(tmp_path):
    child = quiet(tmp_path, "a", IGNORES_SIGTERM + LIVES)
    async with living(child) as process:
        await log_says(child, "ignores SIGTERM")
        assert exit_text(await process.stop(0.1)) == "SIGKILL"


async def test_a_suspended_child_still_handles_sigterm(tmp_path):
    # It waits for the signal: a handler that comes just before `pause` would leave it there.
    waits = "import signal, sys; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM]); print('up', flush=True)"
    child = quiet(tmp_path, "a", f"{waits}\nsignal.sigwait([signal.SIGTERM])\nsys.exit(7)")
    async with living(child) as process:
        await log_says(child, "up")
        psutil.Process(process.pid).suspend()
        assert await process.stop(DEADLINE_S) == 7


def with_grandchild(options, before="", after=""):
    """Code that starts a `sleep` with these options of Popen, and then lives on itself."""
    return f"import signal, subprocess\n{before}\nsubprocess.Popen(['sleep', '600'], {options})\n{after}\n{LIVES}"


async def test_grandchildren_are_gone_when_a_stop_is_done_even_those_that_ignore_sigterm(tmp_path):
    before = "signal.signal(signal.SIGTERM, signal.SIG_IGN)"  # being ignored is inherited
    after = "signal.signal(signal.SIGTERM, signal.SIG_DFL); print('up', flush=True)"
    child = quiet(tmp_path, "a", with_grandchild("", before, after))
    async with living(child) as process:
        await log_says(child, "up")
        pids = await family(child, process, 2)
        await process.stop(DEADLINE_S)
        assert not [pid for pid in pids if is_alive(pid)]


async def test_grandchildren_in_a_process_group_of_their_own_are_gone_too(tmp_path):
    child = quiet(tmp_path, "a", with_grandchild("process_group=0"))
    async with living(child) as process:
        pids = await family(child, process, 2)
        await until_async(lambda: len({os.getpgid(pid) for pid in pids}) == 2, "a second group")
        await process.stop(DEADLINE_S)
        assert not [pid for pid in pids if is_alive(pid)]


async def test_grandchildren_do_not_outlive_a_child_that_is_killed(tmp_path):
    child = program(tmp_path, "a", ("sh", "-c", "sleep 600 & wait"))
    async with living(child) as process:
        pids = await family(child, process, 2)
        kill(process.pid)
        assert exit_text(await process.finish()) == "SIGKILL"
        assert not [pid for pid in pids if is_alive(pid)]


async def test_the_exit_is_reported_once(tmp_path):
    reported: list[int] = []
    lifeline = Lifeline()
    with zygote_of(tmp_path) as zygote:
        child = quiet(tmp_path, "a", "pass")
        process = await RunningProcess.start(child, lifeline, reported.append, zygote=zygote)
        assert await process.finish() == 0
    assert reported == [process.pid]
    lifeline.close()


@pytest.mark.parametrize(("status", "text"), [(0, "exit 0"), (3, "exit 3"), (-9, "SIGKILL"), (-99, "signal 99")])
def test_an_exit_status_is_described_in_words(status, text):
    assert exit_text(status) == text


async def test_figures_cover_a_child_and_its_own_children(tmp_path):
    child = program(tmp_path, "a", ("sh", "-c", "while :; do :; done & wait"))
    async with living(child) as process:
        await family(child, process, 2)
        watch = Watch()

        def sampled():
            return watch.sample(scan().values(), [process.pid])[process.pid]

        assert sampled().cpu_percent == 0.0
        alone_bytes = psutil.Process(process.pid).memory_info().rss
        await until_async(lambda: sampled().cpu_percent > 5.0, "computing")
        figures = sampled()
        assert figures.rss_bytes > alone_bytes
        assert figures.threads == 2
        assert figures.open_files >= 6


async def test_an_ended_process_has_no_figures(tmp_path):
    async with living(quiet(tmp_path, "a")) as process:
        await process.stop(DEADLINE_S)
        assert Watch().sample(scan().values(), [process.pid]) == {}


@pytest.mark.parametrize(
    ("age_s", "limit_s", "hung"), [(9.9, 10.0, False), (10.0, 10.0, False), (10.1, 10.0, True), (1e9, None, False)]
)
def test_a_process_is_hung_when_its_heartbeat_is_older_than_the_limit(age_s, limit_s, hung):
    assert is_hung(age_s, limit_s) is hung
