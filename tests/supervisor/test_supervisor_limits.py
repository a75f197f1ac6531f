"""Alerts on high figures: not at the first touch of the limit, and once however the figure swings."""

import asyncio
import itertools
import sys
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.commands import Done
from observer.supervisor.limits import (
    BACK_SHARE,
    Crossing,
    HostFigures,
    HostLimits,
    HysteresisThreshold,
    Resource,
    after_check,
    after_host_check,
    busiest,
    crossing_text,
)
from observer.supervisor.restarts import RestartLimits
from observer.supervisor.watch import Figures, HostWatch, disk_bytes, is_disk, read_traffic, shown
from tests.supervisor.scenes import LIVES, PYTHON, program, quiet, running, supervisor_of
from tests.waiting import until_async

LIMIT = 100.0
figures = st.lists(st.floats(0.0, 200.0), max_size=60)
CALM = HostFigures(cpu_percent=10.0, memory_bytes=10**9, disk_percent=50.0)


def conclusions(seen, checks):
    threshold, reported = HysteresisThreshold(), []
    for figure in seen:
        threshold = after_check(threshold, figure, LIMIT, checks)
        reported.append(threshold.is_over)
    return reported


# --- one figure --------------------------------------------------------------------------------------------


def test_a_figure_is_too_high_after_the_configured_number_of_checks_in_a_row():
    assert conclusions([101, 101, 101, 101], 3) == [False, False, True, True]
    assert conclusions([101, 101, 100, 101, 101], 3) == [False] * 5


def test_a_figure_is_normal_again_only_well_below_the_limit():
    assert conclusions([101, 99, 95, 91, 89], 1) == [True, True, True, True, False]


@given(figures, st.integers(1, 5))
def test_a_conclusion_changes_only_after_the_configured_number_of_agreeing_checks(seen, checks):
    reported = [False, *conclusions(seen, checks)]
    for end in range(1, len(reported)):
        if reported[end] is not reported[end - 1]:
            last = seen[end - checks : end]
            assert len(last) == checks
            assert all(figure > LIMIT for figure in last) or all(figure < LIMIT * BACK_SHARE for figure in last)


@given(st.lists(st.floats(LIMIT * BACK_SHARE, 200.0), max_size=60), st.integers(1, 5))
def test_a_figure_that_oscillates_around_the_limit_is_reported_at_most_once(seen, checks):
    reported = [False, *conclusions(seen, checks)]
    assert sum(one is not other for one, other in itertools.pairwise(reported)) <= 1


# --- the machine -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("resource", "figure"),
    [
        ("cpu_percent", 86.0),
        ("memory_bytes", 2_500_000_001),
        ("disk_percent", 90.5),
        ("network_mbps", 50.1),
        ("disk_io_mb_s", 500.1),
    ],
)
def test_each_resource_is_reported_separately_when_it_is_scarce_and_when_it_recovers(resource, figure):
    scarce = HostFigures(**{**{name: getattr(CALM, name) for name in CALM.__struct_fields__}, resource: figure})
    thresholds: Mapping[Resource, HysteresisThreshold] = {}
    reported = []
    for check in (CALM, scarce, scarce, scarce, CALM, CALM, CALM):
        thresholds, crossings = after_host_check(thresholds, check, HostLimits(checks=2))
        reported.append([(crossing.resource, crossing.is_over) for crossing in crossings])
    assert reported == [[], [], [(resource, True)], [], [], [(resource, False)], []]


@pytest.mark.parametrize(
    ("crossing", "text"),
    [
        (Crossing("memory_bytes", True, 2.61e9, 2.5e9), "memory: 2.61 GB, over 2.50 GB"),
        (Crossing("cpu_percent", True, 97.4, 85.0), "CPU: 97 %, over 85 %"),
        (Crossing("disk_percent", False, 80.0, 90.0), "disk: 80 %, no longer over 90 %"),
        (Crossing("network_mbps", True, 61.4, 50.0), "network: 61 Mbit/s, over 50 Mbit/s"),
        (Crossing("disk_io_mb_s", True, 612.3, 500.0), "disk traffic: 612 MB/s, over 500 MB/s"),
    ],
)
def test_a_crossing_is_described_in_words(crossing, text):
    assert crossing_text(crossing) == text


def test_a_host_check_counts_all_memory_and_finds_the_disk_of_a_future_folder(tmp_path):
    child = Figures(cpu_percent=0.0, rss_bytes=10**12, open_files=0, threads=0)
    seen = HostWatch(tmp_path / "not" / "yet").check([child, child])
    assert 2 * 10**12 < seen.memory_bytes < 2 * 10**12 + 10**10
    assert 0 < seen.disk_percent <= 100


def test_traffic_is_that_of_the_busiest_counter_and_a_new_or_restarted_one_counts_nothing():
    assert busiest({"a": 0, "b": 100}, {"a": 1_000, "b": 3_100}, 2.0) == 1_500
    assert busiest({}, {"a": 1_000}, 1.0) == 0
    assert busiest({"a": 1_000}, {"a": 10}, 1.0) == 0
    assert busiest({"a": 0}, {"a": 1_000}, 0.0) == 0
    assert busiest({}, {}, 1.0) == 0


@pytest.mark.parametrize("error", [OSError, NotImplementedError, ValueError], ids=lambda error: error.__name__)
def test_counters_that_the_system_does_not_show_are_absent(error):
    def read():
        raise error

    assert shown(read) is None
    assert shown(lambda: 3) == 3


def test_the_machine_s_counters_have_no_loopback_and_never_go_back():
    first, second = read_traffic(), read_traffic()
    assert "lo" not in first.interfaces
    assert all(second.interfaces[name] >= count for name, count in first.interfaces.items())
    assert all(second.disks[name] >= count for name, count in first.disks.items())


def test_the_listener_alone_reports_that_the_machine_is_too_small(tmp_path, caplog):
    async def run():
        limits = HostLimits(memory_bytes=1, checks=1)
        supervisor, changes = supervisor_of(tmp_path, [quiet(tmp_path, "a")], host_limits=limits)
        async with supervisor:
            await until_async(lambda: any(one.resource == "memory_bytes" for one in changes.crossings))

    asyncio.run(run())
    assert [line for line in caplog.messages if line.startswith("memory:")] == [], "its alert is the log line"


# --- a child's memory and its exit status ------------------------------------------------------------------


def test_a_child_that_uses_too_much_memory_is_restarted_in_order_with_the_reason(tmp_path, monkeypatch):
    monkeypatch.setattr("observer.supervisor.monitor_loop.POLL_S", 0.1)

    async def run():
        code = """
import pathlib, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # one that comes before it is waited for is not lost
again = pathlib.Path(sys.argv[1])
hoard = b"x" * (0 if again.exists() else 80_000_000)
again.touch()
signal.sigwait({signal.SIGTERM})
print("in order")
"""
        argv = (*PYTHON, "-c", code, str(tmp_path / "again"))
        child = program(tmp_path, "a", argv, rss_bytes_max=60_000_000)
        async with running(tmp_path, [child]) as scene:
            change = await scene.changes.until("a", "STOPPING")
            assert change.reason.startswith("uses ")
            assert change.reason.endswith(" MB of memory, more than its 60 MB")
            await scene.changes.until("a", "RUNNING", 2)
            assert scene.log("a") == "in order\n"
            [status] = scene.supervisor.status().processes
            assert status.restarts == 1
            assert "exit 0" in (status.exit or "")

    asyncio.run(run())


async def test_a_child_that_always_uses_too_much_memory_is_given_up(tmp_path):
    async with running(tmp_path, [quiet(tmp_path, "a", LIVES, rss_bytes_max=1)]) as scene:
        heavy = Figures(cpu_percent=0.0, rss_bytes=2, open_files=0, threads=0)
        monitor = scene.supervisor._monitors["a"]
        for life in range(1, 5):
            await scene.changes.until("a", "RUNNING", life)
            for _ in range(3):
                monitor.weigh(heavy)
            await scene.changes.until("a", "STOPPING", life)
        change = await scene.changes.until("a", "FATAL")
        assert "ended 4 times" in change.reason


def test_an_essential_child_that_uses_too_much_memory_is_reported_and_goes_on_until_it_has_run_for_long(
    tmp_path,
):
    async def run(recovered_s):
        child = quiet(tmp_path, "a", LIVES, rss_bytes_max=1, is_essential=True)
        limits = RestartLimits(recovered_s=recovered_s)
        async with running(tmp_path, [child], limits=limits) as scene:
            monitor = scene.supervisor._monitors["a"]
            for _ in range(20):
                monitor.weigh(Figures(cpu_percent=0.0, rss_bytes=2, open_files=0, threads=0))
            await scene.supervisor.restart("a")
            return [change.reason for change in scene.changes.all if change.current != "STOPPED"]

    young = asyncio.run(run(recovered_s=600.0))
    assert [reason for reason in young if "memory" in reason] == [
        "uses 0 MB of memory, more than its 0 MB; it goes on for now"
    ]
    assert any(reason == "uses 0 MB of memory, more than its 0 MB" for reason in asyncio.run(run(recovered_s=0.0)))


async def test_a_passing_peak_is_forgiven(tmp_path):
    async with running(tmp_path, [quiet(tmp_path, "a", LIVES, rss_bytes_max=10**9)]) as scene:
        monitor = scene.supervisor._monitors["a"]
        for rss_bytes in (2 * 10**9, 2 * 10**9, 10**8):
            monitor.weigh(Figures(cpu_percent=0.0, rss_bytes=rss_bytes, open_files=0, threads=0))
        assert isinstance(await scene.supervisor.restart("a"), Done)
        assert all("memory" not in change.reason for change in scene.changes.all)


async def test_a_final_exit_status_is_not_tried_again(tmp_path):
    argv = (sys.executable, "-S", "-E", "-c", "raise SystemExit(2)")
    async with running(tmp_path, [program(tmp_path, "a", argv, final_exits=frozenset({2}))]) as scene:
        change = await scene.changes.until("a", "FATAL")
        assert change.reason == "exit 2, which another start does not change"
        assert scene.changes.states("a").count("STARTING") == 1


async def test_other_exit_statuses_are_tried_again(tmp_path):
    argv = (sys.executable, "-S", "-E", "-c", "raise SystemExit(3)")
    async with running(tmp_path, [program(tmp_path, "a", argv, final_exits=frozenset({2}))]) as scene:
        await scene.changes.until("a", "STARTING", 2)


def test_a_disk_that_is_made_of_others_or_of_a_file_is_not_counted_beside_them(tmp_path):
    for name, entries in {
        "sda": ["device"],
        "dm-0": ["slaves/sda"],
        "md0": ["device", "slaves/sda"],
        "loop0": [],
    }.items():
        (tmp_path / name / "slaves").mkdir(parents=True)
        for entry in entries:
            (tmp_path / name / entry).touch()
    assert [name for name in ("sda", "sda1", "dm-0", "md0", "loop0") if is_disk(tmp_path / name)] == ["sda"]


def test_without_a_disk_that_the_system_shows_its_traffic_is_not_known(tmp_path):
    assert disk_bytes(tmp_path) is None
