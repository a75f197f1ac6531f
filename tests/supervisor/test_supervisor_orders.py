"""Orders forwarded to a child's process, and a reload that restarts only the changed children."""

import asyncio
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from bus.commands import Done, Pin, Refused, Reload, ReloadReply, RunJob, SetLogLevel, UnderWay
from observer.supervisor.child import Child
from observer.supervisor.reload import AT_REST, plan_reload
from observer.supervisor.states import ProcessState
from tests.supervisor.scenes import kill, quiet, running, speaker, supervised, supervisor_of
from tests.waiting import DEADLINE_S

DEBUG = SetLogLevel("a", "DEBUG")


# --- orders --------------------------------------------------------------------------------------------------


async def test_an_order_reaches_the_process_and_its_answer_comes_back(tmp_path):
    async with running(tmp_path, [speaker(tmp_path, "a", "worker"), speaker(tmp_path, "b", "worker")]) as scene:
        assert await scene.supervisor.order("a", DEBUG) == Done("a", "logs from DEBUG on, until it ends")
        assert await scene.supervisor.order("b", RunJob("sweep")) == Refused(
            "unknown_job", "b has no job 'sweep'; it has none"
        )


async def test_an_order_goes_to_the_current_run_of_a_process(tmp_path):
    async with running(tmp_path, [speaker(tmp_path, "a", "worker")]) as scene:
        kill(scene.pid("a"))
        await scene.changes.until("a", "RUNNING", 2)
        assert isinstance(await scene.supervisor.order("a", DEBUG), Done)


async def test_an_order_that_takes_long_is_reported_under_way(tmp_path, monkeypatch):
    monkeypatch.setattr("observer.supervisor.supervisor.ANSWER_WITHIN_S", 0.1)

    async with running(tmp_path, [speaker(tmp_path, "a", "slow")]) as scene:
        assert isinstance(await scene.supervisor.order("a", DEBUG), UnderWay)


async def test_an_order_to_a_process_that_is_stopped_unknown_or_without_control_is_refused(tmp_path):
    async with supervised(tmp_path, [speaker(tmp_path, "a", "worker"), quiet(tmp_path, "mute")]) as scene:
        await scene.supervisor.start("mute")
        assert await refusal(scene, "a") == "not_running"
        assert await refusal(scene, "b") == "unknown_process"
        assert await refusal(scene, "mute") == "not_an_order"


async def refusal(scene, name):
    reply = await scene.supervisor.order(name, DEBUG)
    assert isinstance(reply, Refused)
    return reply.code


@pytest.mark.parametrize("request_", [Reload(), Pin("005930"), RunJob("backup")])
async def test_a_supervisor_without_an_order_handler_refuses_orders(tmp_path, request_):
    async with supervised(tmp_path, [quiet(tmp_path, "a")]) as scene:
        reply = await scene.client.request(request_, DEADLINE_S)
        assert isinstance(reply, Refused)
        assert reply.code == "not_an_order"


# --- reload --------------------------------------------------------------------------------------------------


def revised(child, **changes):
    return msgspec.structs.replace(child, **({"revision": "2"} | changes))


async def reload(scene, children, *, dry_run=False):
    """The reply, also of a reload that takes longer than a reply may: then of its end."""
    reply = await scene.supervisor.reload(children, dry_run=dry_run)
    assert isinstance(reply, ReloadReply)
    if reply.progress == "under_way" and (reloading := scene.supervisor._reloading) is not None:
        await reloading
        return replace(reply, progress="done")
    return reply


async def test_a_reload_restarts_only_the_changed_processes(tmp_path):
    a, b = quiet(tmp_path, "a"), quiet(tmp_path, "b", order=1)
    async with running(tmp_path, [a, b]) as scene:
        before = scene.pids()
        assert await reload(scene, [revised(a), b]) == ReloadReply(["a"], [], [], [], "done")
        assert scene.pid("a") != before["a"]
        assert scene.changes.states("b") == ["STARTING", "RUNNING"]
        assert await reload(scene, [revised(a), b]) == ReloadReply([], [], [], [], "done")


async def test_a_dry_run_returns_the_plan_and_changes_nothing(tmp_path):
    a, b = quiet(tmp_path, "a"), quiet(tmp_path, "b")
    async with running(tmp_path, [a, b]) as scene:
        before = scene.pids(), len(scene.changes.all)
        reported = await reload(scene, [revised(a), quiet(tmp_path, "c")], dry_run=True)
        assert reported == ReloadReply(["a"], ["c"], ["b"], [], "dry_run")
        assert (scene.pids(), len(scene.changes.all)) == before


async def test_a_reload_starts_a_new_process_in_its_order_and_stops_and_forgets_a_removed_one(tmp_path):
    a, c = quiet(tmp_path, "a"), quiet(tmp_path, "c", order=2)
    async with running(tmp_path, [a, c]) as scene:
        b = quiet(tmp_path, "b", order=1)
        assert await reload(scene, [a, b]) == ReloadReply([], ["b"], ["c"], [], "done")
        assert scene.changes.states("c")[-1] == "STOPPED"
        assert list(scene.pids()) == ["a", "b"]
        await reload(scene, [a, b, c])
        assert list(scene.pids()) == ["a", "b", "c"]
        assert None not in scene.pids().values()


async def test_a_stopped_process_stays_stopped_and_changes_with_its_next_start(tmp_path):
    a = quiet(tmp_path, "a")
    async with running(tmp_path, [a]) as scene:
        await scene.supervisor.stop("a")
        second = quiet(tmp_path, "a", "print('second', flush=True)", restart="never")
        assert await reload(scene, [second]) == ReloadReply([], [], [], ["a"], "done")
        assert scene.changes.states("a")[-1] == "STOPPED"
        await scene.supervisor.start("a")
        await scene.changes.until("a", "EXITED")
        assert "second" in scene.log("a")


async def test_a_process_that_was_given_up_is_started_again_when_it_changed(tmp_path):
    broken = quiet(tmp_path, "a", "raise SystemExit(1)", restart="never")
    async with running(tmp_path, [broken]) as scene:
        await scene.changes.until("a", "FATAL")
        assert (await reload(scene, [quiet(tmp_path, "a")])).restarted == ["a"]
        assert scene.changes.states("a")[-1] == "RUNNING"


async def test_a_process_that_fails_to_restart_is_named(tmp_path):
    a, b = quiet(tmp_path, "a"), quiet(tmp_path, "b")
    async with running(tmp_path, [a, b]) as scene:
        reported = await reload(scene, [revised(a, argv=("/nowhere/at/all",)), revised(b)])
        assert (reported.restarted, reported.failed, reported.progress) == (["a", "b"], ["a"], "done")
        assert scene.changes.states("b")[-1] == "RUNNING"


async def test_a_reload_that_takes_long_is_under_way_and_another_is_refused_meanwhile(tmp_path, monkeypatch):
    monkeypatch.setattr("observer.supervisor.supervisor.ANSWER_WITHIN_S", 0.1)

    a = speaker(tmp_path, "a")
    async with running(tmp_path, [a]) as scene:
        unready = revised(speaker(tmp_path, "a", "unready"))
        first = await scene.supervisor.reload([unready], dry_run=False)
        assert isinstance(first, ReloadReply)
        assert first.progress == "under_way"
        reply = await scene.supervisor.reload([a], dry_run=False)
        assert isinstance(reply, Refused)
        assert reply.code == "busy"


async def test_before_everything_is_started_a_reload_is_refused(tmp_path):
    async with supervised(tmp_path, [quiet(tmp_path, "a")]) as scene:
        reply = await scene.supervisor.reload([quiet(tmp_path, "a")], dry_run=True)
        assert isinstance(reply, Refused)
        assert reply.code == "busy"


async def test_a_supervisor_goes_on_running_when_a_child_is_taken_away(tmp_path):
    a = quiet(tmp_path, "a")
    supervisor, changes = supervisor_of(tmp_path, [a, quiet(tmp_path, "b")])
    stopping = asyncio.Event()
    running = asyncio.create_task(supervisor.run_until(stopping))
    await asyncio.wait_for(supervisor.started.wait(), DEADLINE_S)
    assert isinstance(await supervisor.reload([a], dry_run=False), ReloadReply)
    assert isinstance(await supervisor.restart("a"), Done)
    assert not running.done()
    stopping.set()
    await running
    assert changes.states("a")[-1] == "STOPPED"


# --- what a reload changes, without processes ----------------------------------------------------------------

children = st.dictionaries(st.sampled_from("abcdef"), st.tuples(st.integers(0, 2), st.sampled_from("12"))).map(
    lambda drawn: [
        Child(name=name, argv=(sys.executable,), log_path=Path("log"), order=order, revision=revision)
        for name, (order, revision) in drawn.items()
    ]
)


@given(children, children, st.lists(st.sampled_from(ProcessState), min_size=6, max_size=6))
def test_every_child_that_differs_is_in_exactly_one_list_and_no_other_in_any(before, wanted, states):
    current = {child.name: (child, state) for child, state in zip(before, states, strict=False)}
    plan = plan_reload(current, wanted)
    listed = [child.name for child in (*plan.restarted, *plan.started, *plan.at_next_start)] + list(plan.stopped)
    assert len(listed) == len(set(listed))
    old, new = {child.name: child for child in before}, {child.name: child for child in wanted}
    assert set(listed) == {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}
    assert {child.name for child in plan.started} == new.keys() - old.keys()
    assert set(plan.stopped) == old.keys() - new.keys()
    assert all(current[child.name][1] in AT_REST for child in plan.at_next_start)
    assert [child.order for child in plan.restarted] == sorted(child.order for child in plan.restarted)
