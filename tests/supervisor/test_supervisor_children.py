"""The supervisor with real children: order, restarts, giving up, stopping, and one that never disturbs another."""

import asyncio
import contextlib
import functools
import os
import signal
from random import Random

import msgspec
import pytest

from bus.commands import Done, Refused
from observer.supervisor.restarts import RestartLimits
from observer.supervisor.states import ProcessState
from tests.supervisor.scenes import (
    IGNORES_SIGTERM,
    LIVES,
    is_alive,
    kill,
    program,
    quiet,
    running,
    speaker,
    supervised,
    supervisor_of,
)
from tests.waiting import until, until_async

pytestmark = pytest.mark.usefixtures("forked_first")

FAILS = "raise SystemExit(3)"


# --- start and stop --------------------------------------------------------------------------------------


async def test_a_group_starts_when_all_of_the_earlier_are_ready_and_stops_before_they_do(tmp_path):
    children = [
        quiet(tmp_path, "last", order=2),
        speaker(tmp_path, "writer", order=0),
        quiet(tmp_path, "a", order=1),
    ]
    async with running(tmp_path, children) as scene:
        assert [process.name for process in scene.supervisor.status().processes] == ["writer", "a", "last"]
        changes = [(change.name, change.current) for change in scene.changes.all]
        assert changes.index(("writer", "RUNNING")) < changes.index(("a", "STARTING"))
        assert changes.index(("a", "RUNNING")) < changes.index(("last", "STARTING"))
        await scene.supervisor.stop_all()
        changes = [(change.name, change.current) for change in scene.changes.all]
        assert changes.index(("last", "STOPPED")) < changes.index(("a", "STOPPING"))
        assert changes.index(("a", "STOPPED")) < changes.index(("writer", "STOPPING"))


async def test_children_of_one_group_start_together(tmp_path):
    async with running(tmp_path, [speaker(tmp_path, name) for name in "ab"]) as scene:
        first_ready = scene.changes.all.index(await scene.changes.until("a", "RUNNING"))
        second_starting = scene.changes.all.index(await scene.changes.until("b", "STARTING"))
        assert second_starting < first_ready


async def test_a_child_that_is_given_up_does_not_keep_the_next_group_from_its_start(tmp_path):
    hopeless = program(tmp_path, "job", ("/no/such/program",), restart="never")
    children = [hopeless, quiet(tmp_path, "a", order=1)]
    async with running(tmp_path, children) as scene:
        assert scene.changes.states("job") == ["STARTING", "FATAL"]
        assert scene.changes.states("a") == ["STARTING", "RUNNING"]


async def test_a_stop_in_the_middle_of_the_start_leaves_nothing(tmp_path):
    children = [speaker(tmp_path, "a", "unready"), quiet(tmp_path, "b", order=1)]
    async with supervised(tmp_path, children) as scene:
        starting = asyncio.create_task(scene.supervisor.start_all())
        await scene.changes.until("a", "STARTING")
        await scene.supervisor.stop_all()
        await starting
        assert scene.changes.states("b") == []
        assert scene.changes.states("a")[-1] == "STOPPED"


async def test_a_shutdown_in_the_middle_of_the_start_starts_no_further_group(tmp_path):
    async with supervised(tmp_path, [quiet(tmp_path, "a"), quiet(tmp_path, "b", order=1)]) as scene:
        starting = asyncio.create_task(scene.supervisor.start_all())
        await scene.changes.until("a", "STARTING")
        scene.supervisor.shutdown_asked.set()
        await starting
        assert scene.changes.states("b") == []
        assert not scene.supervisor.started.is_set()


async def test_run_until_starts_all_and_stops_all_when_its_event_is_set(tmp_path):
    supervisor, changes = supervisor_of(tmp_path, [quiet(tmp_path, "a")])
    stopping = asyncio.Event()
    running = asyncio.create_task(supervisor.run_until(stopping))
    pid = (await changes.until("a", "RUNNING")).pid
    stopping.set()
    await running
    assert changes.states("a")[-1] == "STOPPED"
    assert pid is not None
    assert not is_alive(pid)


async def test_run_until_stops_all_when_it_is_cancelled(tmp_path):
    supervisor, changes = supervisor_of(tmp_path, [quiet(tmp_path, "a")])
    running = asyncio.create_task(supervisor.run_until(asyncio.Event()))
    await changes.until("a", "RUNNING")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert changes.states("a")[-1] == "STOPPED"


async def test_the_context_of_run_until_begins_before_the_first_start_and_ends_before_the_first_stop(tmp_path):
    seen: dict[str, list[ProcessState]] = {}
    supervisor, changes = supervisor_of(tmp_path, [quiet(tmp_path, "a")])

    @contextlib.asynccontextmanager
    async def beside():
        seen["begin"] = changes.states("a")
        yield
        seen["end"] = changes.states("a")

    stopping = asyncio.Event()
    running = asyncio.create_task(supervisor.run_until(stopping, beside()))
    await changes.until("a", "RUNNING")
    stopping.set()
    await running
    assert seen == {"begin": [], "end": ["STARTING", "RUNNING"]}
    assert changes.states("a")[-1] == "STOPPED"


def test_two_children_of_one_name_are_refused(tmp_path):
    with pytest.raises(ValueError, match="same name"):
        supervisor_of(tmp_path, [quiet(tmp_path, "a"), quiet(tmp_path, "a")])


# --- unexpected exits ----------------------------------------------------------------------------


async def test_a_child_that_is_killed_is_started_again_and_the_others_keep_their_pids(tmp_path):
    async with running(tmp_path, [quiet(tmp_path, name) for name in "abc"]) as scene:
        before = scene.pids()
        kill(scene.pid("b"))
        assert (await scene.changes.until("b", "BACKOFF")).reason.startswith("SIGKILL; next start in 0.0")
        await scene.changes.until("b", "RUNNING", 2)
        after = scene.pids()
        assert after["b"] not in (None, before["b"])
        assert (after["a"], after["c"]) == (before["a"], before["c"])
        restarts = {process.name: process.restarts for process in scene.supervisor.status().processes}
        assert restarts == {"a": 0, "b": 1, "c": 0}


async def test_a_child_that_keeps_ending_is_given_up_and_can_be_started_by_hand(tmp_path):
    limits = RestartLimits(delay_first_s=0.01, delay_max_s=0.02, restarts_max=2, window_s=30.0)
    async with running(tmp_path, [quiet(tmp_path, "a", FAILS)], limits) as scene:
        given_up = await scene.changes.until("a", "FATAL")
        assert given_up.reason == "exit 3; ended 3 times within 30 s"
        assert isinstance(await scene.supervisor.start("a"), Done)
        await scene.changes.until("a", "FATAL", 2)
        assert scene.changes.states("a").count("STARTING") == 6


async def test_a_child_that_was_given_up_is_stopped_by_order_but_not_by_the_end_of_the_system(tmp_path):
    children = [quiet(tmp_path, name, FAILS, restart="never") for name in "ab"]
    async with running(tmp_path, children) as scene:
        await scene.changes.until("a", "FATAL")
        await scene.changes.until("b", "FATAL")
        assert isinstance(await scene.supervisor.stop("a"), Done)
        await scene.supervisor.stop_all()
        assert scene.changes.states("a")[-1] == "STOPPED"
        assert scene.changes.states("b")[-1] == "FATAL"


@pytest.mark.parametrize(
    ("restart", "code", "expected"),
    [
        ("never", "pass", "EXITED"),
        ("never", FAILS, "FATAL"),
        ("on_failure", "pass", "EXITED"),
        ("on_failure", FAILS, "BACKOFF"),
        ("always", "pass", "BACKOFF"),
        ("always", FAILS, "BACKOFF"),
    ],
)
async def test_the_restart_policy_decides_the_state_after_an_exit(tmp_path, restart, code, expected):
    async with supervised(tmp_path, [quiet(tmp_path, "a", code, restart=restart)]) as scene:
        await scene.supervisor.start("a")
        await scene.changes.until("a", expected)
        assert scene.changes.states("a")[:3] == ["STARTING", "RUNNING", expected]


async def test_the_start_of_a_child_that_exits_before_it_is_ready_is_refused(tmp_path):
    async with supervised(tmp_path, [quiet(tmp_path, "a", FAILS, expects_ready=True)]) as scene:
        outcome = await scene.supervisor.start("a")
        assert isinstance(outcome, Refused)
        assert "exit 3" in outcome.message
        await scene.supervisor.stop("a")


async def test_a_child_that_reports_stopping_gets_its_grace_and_then_follows_its_policy(tmp_path):
    child = speaker(tmp_path, "a", "leaving", restart="on_failure")
    async with supervised(tmp_path, [child]) as scene:
        await scene.supervisor.start("a")
        await scene.changes.until("a", "STOPPING")
        os.kill(scene.pid("a"), signal.SIGUSR2)
        assert (await scene.changes.until("a", "EXITED")).reason == "exit 0"
        assert scene.changes.states("a") == [
            "STARTING",
            "RUNNING",
            "STOPPING",
            "EXITED",
        ]


async def test_a_child_that_reports_stopping_and_stays_is_killed_after_its_grace(tmp_path):
    child = speaker(tmp_path, "a", "staying", restart="never", stop_grace_s=0.2)
    async with supervised(tmp_path, [child]) as scene:
        await scene.supervisor.start("a")
        assert (await scene.changes.until("a", "FATAL")).reason == "SIGKILL"


# --- hung --------------------------------------------------------------------------------------------------


async def test_a_child_without_heartbeats_dumps_its_stacks_and_is_restarted(tmp_path):
    child = speaker(tmp_path, "a", "silent", heartbeat_limit_s=0.4, stop_grace_s=0.3)
    async with running(tmp_path, [child]) as scene:
        hung = await scene.changes.until("a", "STOPPING")
        assert hung.reason.startswith("no heartbeat for")
        ended = await scene.changes.until("a", "BACKOFF")
        assert "ended by SIGKILL" in ended.reason  # its SIGTERM handler needs the loop that hangs
        assert "block_the_loop" in scene.log("a")
        await scene.changes.until("a", "RUNNING", 2)


async def test_a_child_that_is_not_ready_in_time_is_ended_and_started_again(tmp_path):
    child = speaker(tmp_path, "a", "unready", ready_deadline_s=0.2)
    async with supervised(tmp_path, [child]) as scene:
        outcome = await scene.supervisor.start("a")
        assert isinstance(outcome, Refused)
        assert "not ready within 0.2 s" in outcome.message
        await scene.changes.until("a", "STARTING", 2)


async def test_heartbeats_keep_a_child_and_show_in_its_status(tmp_path):
    async with running(tmp_path, [speaker(tmp_path, "a", heartbeat_limit_s=2.0)]) as scene:
        await until_async(lambda: (scene.supervisor.status().processes[0].uptime_s or 0.0) > 2.4, "more than its limit")
        (process,) = scene.supervisor.status().processes
        assert process.state == "RUNNING"
        assert process.loop_lag_s == 0.001
        assert process.heartbeat_age_s is not None
        assert process.heartbeat_age_s < 2.0
        assert (process.progress or 0) > 1
        assert scene.changes.states("a") == ["STARTING", "RUNNING"]


async def test_the_figures_of_a_child_are_those_of_its_last_heartbeat_and_end_with_it(tmp_path):
    async with running(tmp_path, [speaker(tmp_path, "a")]) as scene:
        await until_async(lambda: scene.supervisor.samples().get("a"))
        [sample] = scene.supervisor.samples()["a"]
        assert sample.metric == "observer_beats"
        assert await scene.supervisor.stop("a")
        assert scene.supervisor.samples() == {}
        await until_async(lambda: scene.supervisor.host_figures)


async def test_a_supervisor_that_was_suspended_kills_no_child_for_missing_heartbeats(tmp_path):
    async with running(tmp_path, [speaker(tmp_path, "a", heartbeat_limit_s=2.0)]) as scene:
        age_s = lambda: scene.supervisor.status().processes[0].heartbeat_age_s or 0.0  # noqa: E731 - read twice
        await until_async(lambda: age_s() > 0.0, "the first heartbeat")
        until(lambda: age_s() > 2.4)  # blocks the event loop, like a suspended machine
        received = scene.supervisor.status().processes[0].progress or 0
        await until_async(lambda: (scene.supervisor.status().processes[0].progress or 0) > received + 10, "heartbeats")
        assert scene.changes.states("a") == ["STARTING", "RUNNING"]


# --- independence of children --------------------------------------------------------------------------------------


async def test_restarting_one_leaves_the_other_pids(tmp_path):
    async with running(tmp_path, [speaker(tmp_path, "a"), quiet(tmp_path, "b")]) as scene:
        before = scene.pids()
        outcome = await scene.supervisor.restart("a")
        assert outcome == Done("a", f"running, pid {scene.pid('a')}")
        assert scene.pid("a") != before["a"]
        assert scene.pid("b") == before["b"]
        assert scene.supervisor.status().processes[0].restarts == 0  # it was asked for


async def test_a_child_that_ignores_sigterm_delays_no_command_for_another_child(tmp_path):
    children = [quiet(tmp_path, "a", IGNORES_SIGTERM + LIVES, stop_grace_s=600.0), quiet(tmp_path, "b")]
    async with running(tmp_path, children) as scene:
        await until_async(lambda: "ignores SIGTERM" in scene.log("a"))
        stopping = asyncio.create_task(scene.supervisor.stop("a"))
        await scene.changes.until("a", "STOPPING")
        assert isinstance(await scene.supervisor.restart("b"), Done)
        assert not stopping.done()
        kill(scene.pid("a"))
        assert await stopping == Done("a", "stopped: SIGKILL")


async def test_commands_for_one_child_are_executed_one_after_the_other(tmp_path):
    async with supervised(tmp_path, [quiet(tmp_path, "a")]) as scene:
        verbs = [scene.supervisor.start, scene.supervisor.stop, scene.supervisor.start, scene.supervisor.restart]
        outcomes = await asyncio.gather(*(verb("a") for verb in verbs))
        assert [type(outcome) for outcome in outcomes] == [Done] * 4
        assert scene.changes.states("a")[-1] == "RUNNING"


async def test_two_simultaneous_restarts_of_a_slow_child_are_one_restart(tmp_path):
    async with running(tmp_path, [speaker(tmp_path, "a")]) as scene:
        outcomes = await asyncio.gather(scene.supervisor.restart("a"), scene.supervisor.restart("a"))
        assert outcomes[0] == outcomes[1] == Done("a", f"running, pid {scene.pid('a')}")
        assert scene.changes.states("a").count("STARTING") == 2


async def test_a_stop_ends_a_start_that_is_under_way(tmp_path):
    async with supervised(tmp_path, [speaker(tmp_path, "a", "unready")]) as scene:
        starting = asyncio.create_task(scene.supervisor.start("a"))
        await scene.changes.until("a", "STARTING")
        assert isinstance(await scene.supervisor.stop("a"), Done)
        outcome = await starting
        assert isinstance(outcome, Refused)
        assert outcome.code == "superseded"


async def test_a_child_in_backoff_can_be_stopped_and_stays_so(tmp_path):
    limits = RestartLimits(delay_first_s=600.0, delay_max_s=600.0)
    async with supervised(tmp_path, [quiet(tmp_path, "a", FAILS)], limits) as scene:
        await scene.supervisor.start("a")
        await scene.changes.until("a", "BACKOFF")
        assert isinstance(await scene.supervisor.stop("a"), Done)
        assert scene.changes.states("a")[-1] == "STOPPED"


async def test_a_listener_that_fails_disturbs_no_child(tmp_path):
    async with supervised(tmp_path, [quiet(tmp_path, "a")]) as scene:

        def fail(*_):
            raise OSError("disk full")

        scene.changes.on_change = fail
        assert isinstance(await scene.supervisor.start("a"), Done)
        assert is_alive(scene.pid("a"))


class BrokenRng(Random):
    """Makes the ChildMonitor of an ended child raise, like a bug in it."""

    def random(self):
        raise ZeroDivisionError


async def test_an_internal_error_is_raised_after_all_children_are_stopped(tmp_path):
    children = [quiet(tmp_path, "a", restart="never"), quiet(tmp_path, "b"), quiet(tmp_path, "c", order=1)]
    supervisor, changes = supervisor_of(tmp_path, children, rng=BrokenRng())
    running = asyncio.create_task(supervisor.run_until(asyncio.Event()))
    await changes.until("c", "RUNNING")
    kill((await changes.until("b", "RUNNING")).pid or 0)
    with pytest.raises(ZeroDivisionError):
        await running
    assert changes.states("a")[-1] is changes.states("c")[-1] == "STOPPED"


@pytest.mark.parametrize("count", [50, pytest.param(200, marks=pytest.mark.slow)])
async def test_a_supervisor_under_many_kills_and_commands_answers_each_command_and_stays_responsive(tmp_path, count):
    rng = Random(20)
    limits = RestartLimits(delay_first_s=0.01, delay_max_s=0.03, restarts_max=10_000, loop_restarts_max=10_000)
    names = "abcd"
    async with running(tmp_path, [quiet(tmp_path, name, stop_grace_s=0.2) for name in names], limits) as scene:
        verbs = [scene.supervisor.start, scene.supervisor.stop, scene.supervisor.restart]
        asked: list[asyncio.Task[Done | Refused]] = []

        def has_come_further(changes_before):
            return len(scene.changes.all) > changes_before or all(task.done() for task in asked)

        for _ in range(count):
            name = rng.choice(names)
            pid = scene.pids()[name]
            if pid is not None and is_alive(pid) and rng.random() < 0.5:
                os.kill(pid, rng.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP]))
            else:
                asked.append(asyncio.create_task(rng.choice(verbs)(name)))
            await asyncio.sleep(0)
            if rng.random() < 0.3:
                await until_async(functools.partial(has_come_further, len(scene.changes.all)), "a change")
        assert {type(outcome) for outcome in await asyncio.gather(*asked)} <= {Done, Refused}
        for name in names:
            assert isinstance(await scene.supervisor.restart(name), Done)
            await scene.supervisor.stop(name)
        assert set(scene.pids().values()) == {None}


# --- crash loops -------------------------------------------------------------------------------------------

LOOPS_SOON = RestartLimits(
    delay_first_s=0.05, delay_max_s=0.1, jitter=0.0, restarts_max=2, window_s=600.0, slow_delay_max_s=0.2
)


async def test_an_essential_child_is_tried_again_from_its_crash_loop_and_delays_no_other(tmp_path):
    children = [quiet(tmp_path, "writer", FAILS, is_essential=True), quiet(tmp_path, "a", order=1)]
    async with running(tmp_path, children, LOOPS_SOON) as scene:
        reasons = [
            (await scene.changes.until("writer", "LOOPING", time)).reason.rpartition("; ")[0] for time in (1, 2, 3)
        ]
        assert reasons == [f"exit 3; ended {ends} times within 600 s" for ends in (3, 4, 5)]
        assert "FATAL" not in scene.changes.states("writer")
        assert scene.changes.states("a")[-1] == "RUNNING"


async def test_an_essential_child_in_a_crash_loop_starts_and_stops_on_request(tmp_path):
    limits = msgspec.structs.replace(LOOPS_SOON, delay_max_s=600.0, slow_delay_max_s=600.0)
    repaired = tmp_path / "repaired"
    code = f"import os, signal\nif not os.path.exists({str(repaired)!r}): {FAILS}\n{LIVES}"
    async with running(tmp_path, [quiet(tmp_path, "writer", code, is_essential=True)], limits) as scene:
        await scene.changes.until("writer", "LOOPING")
        assert isinstance(await scene.supervisor.stop("writer"), Done)
        assert scene.changes.states("writer")[-1] == "STOPPED"
        repaired.touch()
        assert isinstance(await scene.supervisor.start("writer"), Done)
        assert scene.changes.states("writer")[-1] == "RUNNING"


async def test_a_final_exit_gives_an_essential_child_up_only_before_it_ran(tmp_path):
    """Before, its configuration is wrong. Later, another process may have its database for a while."""

    ends = "import signal, sys\nsignal.signal(signal.SIGUSR2, lambda *_: sys.exit(2))\nprint('up', flush=True)\n"
    early = quiet(tmp_path, "early", "raise SystemExit(2)", expects_ready=True, is_essential=True, final_exits={2})
    late = quiet(tmp_path, "late", f"{ends}{LIVES}", is_essential=True, final_exits={2})
    async with running(tmp_path, [early, late]) as scene:
        assert scene.changes.states("early")[-1] == "FATAL"
        await until_async(lambda: "up" in scene.log("late"), "its handler")
        os.kill(scene.pid("late"), signal.SIGUSR2)
        await scene.changes.until("late", "RUNNING", 2)
        assert "FATAL" not in scene.changes.states("late")


class Machine:
    """Machine time that a test sets."""

    def __init__(self):
        self.now_s = 0.0

    def __call__(self):
        return self.now_s


async def test_a_start_that_is_late_but_sends_heartbeats_is_reported_once_and_goes_on(tmp_path):
    machine = Machine()
    child = speaker(tmp_path, "a", "warming", ready_deadline_s=0.2)
    supervisor, changes = supervisor_of(tmp_path, [child], monotonic=machine)
    async with supervisor:
        starting = asyncio.create_task(supervisor.start_all())
        for now_s in (0.0, 0.15, 0.3, 0.45):
            machine.now_s = now_s
            await until_async(lambda: supervisor.status().processes[0].heartbeat_age_s == 0, "a heartbeat")
        late = await changes.until("a", "STARTING", 2)
        assert late.previous == "STARTING"
        assert late.reason == "not ready within 0.2 s, but it sends heartbeats: it goes on"
        assert late.pid is not None
        os.kill(late.pid, signal.SIGUSR2)
        ready = await changes.until("a", "RUNNING")
        assert ready.pid == late.pid
        assert changes.states("a") == ["STARTING", "STARTING", "RUNNING"]
        await starting


async def test_a_start_that_never_becomes_ready_is_no_stable_run_however_long_it_took(tmp_path):
    limits = RestartLimits(delay_first_s=0.05, jitter=0.0, stable_s=0.0001, restarts_max=2)
    child = speaker(tmp_path, "a", "unready", ready_deadline_s=0.2)
    async with supervised(tmp_path, [child], limits) as scene:
        starting = asyncio.create_task(scene.supervisor.start_all())
        reasons = [(await scene.changes.until("a", "BACKOFF", time)).reason for time in (1, 2)]
        assert [reason.rpartition(" in ")[2] for reason in reasons] == ["0.05 s", "0.10 s"]
        await starting
        assert "ended 3 times" in (await scene.changes.until("a", "FATAL")).reason
