"""sd_notify: the children's messages to the supervisor, checked with systemd's own client, and ours to systemd."""

import array
import asyncio
import contextlib
import os
import select
import shutil
import signal
import socket

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from observer.supervisor.notify import (
    STATUS_LENGTH_MAX,
    Notification,
    NotifySocket,
    ServiceManager,
    child_environment,
    parse_notification,
)
from tests.supervisor.scenes import LIVES, PYTHON, program, supervised
from tests.waiting import until_async

needs_systemd_notify = pytest.mark.skipif(shutil.which("systemd-notify") is None, reason="systemd-notify is not here")

SAY = """
import os, socket, sys, time
def say(text):
    address = os.environ["NOTIFY_SOCKET"].replace("@", "\\0", 1)
    socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(text.encode(), address)
"""


# --- what a datagram says ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("datagram", "said"),
    [
        (b"READY=1", Notification(ready=True)),
        (b"READY=1\nSTATUS=warm\n", Notification(ready=True, status="warm")),
        (b"STOPPING=1", Notification(stopping=True)),
        (b"WATCHDOG=1", Notification(alive=True)),
        (b"STATUS=a=b", Notification(status="a=b")),
        (b"STATUS=", Notification(status="")),
        (b"STATUS=\x1b[2J", Notification(status="?[2J")),
        ("STATUS=장중".encode(), Notification(status="장중")),
        (b"READY=0\nWATCHDOG=trigger", Notification()),
        (b"MAINPID=7\nFDSTORE=1\nX_OURS=2\nnonsense\n\n=", Notification()),
        (b"", Notification()),
    ],
)
def test_a_datagram_is_read_line_by_line_and_unknown_lines_are_ignored(datagram, said):
    assert parse_notification(datagram) == said


@given(st.binary(max_size=5000) | st.binary(max_size=500).map(lambda noise: b"STATUS=" + noise))
def test_any_bytes_are_read_and_a_status_is_one_short_line(datagram):
    status = parse_notification(datagram).status
    assert status is None or (len(status) <= STATUS_LENGTH_MAX and (status.isprintable()))


# --- the socket of one life --------------------------------------------------------------------------------


@contextlib.contextmanager
def listening():
    """A notify socket, the messages it received, and a socket that is connected to it."""
    reported: list[Notification] = []
    listener = NotifySocket(reported.append)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as speaker:
        speaker.connect(listener.address.replace("@", "\0", 1))
        yield listener, reported, speaker
    listener.close()


def test_a_received_descriptor_is_closed_after_the_earlier_messages_are_handled():
    with listening() as (listener, reported, speaker):
        reading, writing = os.pipe()
        speaker.send(b"READY=1")
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [writing]))
        speaker.sendmsg([b"BARRIER=1"], [rights])
        os.close(writing)
        assert not select.select([reading], [], [], 0)[0]
        listener.receive()
        assert os.read(reading, 1) == b""
        os.close(reading)
        assert reported == [Notification(ready=True), Notification()]


def test_many_descriptors_are_all_closed(tmp_path):
    with listening() as (listener, _, speaker), (path := tmp_path / "sent").open("wb") as sent:
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [sent.fileno()] * 253))
        speaker.sendmsg([b"FDSTORE=1"], [rights])
        listener.receive()
        assert [each.path for each in psutil.Process().open_files()].count(str(path)) == 1


def test_messages_of_processes_of_another_user_are_ignored():
    if os.geteuid() != 0:
        pytest.skip("only root can switch to another user")
    with listening() as (listener, reported, speaker):
        if (pid := os.fork()) == 0:
            os.setuid(65534)
            speaker.send(b"READY=1")
            os._exit(0)
        os.waitpid(pid, 0)
        listener.receive()
        assert reported == []


def test_two_runs_of_a_child_have_two_addresses():
    with listening() as (one, _, _), listening() as (other, _, _):
        assert one.address != other.address


def test_a_child_does_not_inherit_the_way_to_our_own_service_manager():
    ours = {"NOTIFY_SOCKET": "/run/systemd/notify", "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1", "HOME": "/h"}
    assert child_environment(ours, "@1", None) == {"NOTIFY_SOCKET": "@1", "HOME": "/h"}
    assert child_environment(ours, "@1", 2.5)["WATCHDOG_USEC"] == "2500000"


# --- children that speak it --------------------------------------------------------------------------------


def sayer(folder, code, **changes):
    return program(folder, "a", (*PYTHON, "-c", SAY + code), expects_ready=True, **changes)


@contextlib.asynccontextmanager
async def started(folder, child):
    async with supervised(folder, [child]) as scene:
        starting = asyncio.create_task(scene.supervisor.start_all())
        yield scene
        starting.cancel()


@needs_systemd_notify
async def test_systemd_notify_makes_a_child_ready_and_sets_its_status(tmp_path):
    """The judge: systemd's own client, which sends BARRIER=1 and waits until its descriptor is closed."""

    script = "systemd-notify --ready --status='warm and well'; echo heard; exec sleep 600"
    child = program(tmp_path, "a", ("sh", "-c", script), expects_ready=True)
    async with started(tmp_path, child) as scene:
        change = await scene.changes.until("a", "RUNNING")
        assert change.reason == "ready"
        assert scene.supervisor.status().processes[0].says == "warm and well"
        await until_async(lambda: "heard" in scene.log("a"), "the end of systemd-notify")


async def test_a_child_that_never_reports_ready_is_not_ready(tmp_path):
    child = sayer(tmp_path, f"say('STATUS=thinking')\n{LIVES}", ready_deadline_s=0.3)
    async with started(tmp_path, child) as scene:
        change = await scene.changes.until("a", "STOPPING")
        assert change.reason == "not ready within 0.3 s"


def test_a_child_that_stops_feeding_its_watchdog_counts_as_hung(tmp_path):
    async def run():
        code = f"""
assert os.environ["WATCHDOG_USEC"] == "2000000"
say("READY=1")
for _ in range(10): say("WATCHDOG=1"); time.sleep(0.1)
print("fell silent", flush=True)
{LIVES}"""
        async with started(tmp_path, sayer(tmp_path, code, heartbeat_limit_s=2.0)) as scene:
            await scene.changes.until("a", "RUNNING")
            await until_async(lambda: scene.supervisor.status().processes[0].heartbeat_age_s is not None)
            change = await scene.changes.until("a", "STOPPING")
            assert "no heartbeat" in change.reason
            assert "fell silent" in scene.log("a")

    asyncio.run(run())


def test_a_child_that_reports_stopping_gets_its_grace(tmp_path):
    async def run():
        code = """
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})  # one that comes before it is waited for is not lost
say("READY=1")
say("STOPPING=1")
signal.sigwait({signal.SIGUSR2})
"""
        async with started(tmp_path, sayer(tmp_path, code, restart="on_failure")) as scene:
            await scene.changes.until("a", "STOPPING")
            os.kill(scene.pid("a"), signal.SIGUSR2)
            change = await scene.changes.until("a", "EXITED")
            assert change.reason == "exit 0"
            assert scene.changes.states("a") == [
                "STARTING",
                "RUNNING",
                "STOPPING",
                "EXITED",
            ]

    asyncio.run(run())


async def test_the_status_text_of_a_child_ends_with_its_run(tmp_path):
    async with started(tmp_path, sayer(tmp_path, f"say('READY=1\\nSTATUS=busy')\n{LIVES}")) as scene:
        await scene.changes.until("a", "RUNNING")
        await until_async(lambda: scene.supervisor.status().processes[0].says == "busy")
        await scene.supervisor.stop("a")
        assert scene.supervisor.status().processes[0].says is None


# --- our own service manager -------------------------------------------------------------------------------


@contextlib.contextmanager
def service_manager(address, **environment):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as received:
        received.bind(address.replace("@", "\0", 1))
        received.setblocking(False)
        yield ServiceManager({"NOTIFY_SOCKET": address, **environment}, os.getpid()), received


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_the_service_manager_receives_assignments(tmp_path, kind):
    address = str(tmp_path / "n") if kind == "path" else f"@observer-test-{os.getpid()}"
    with service_manager(address) as (manager, received):
        manager.report(ready=1, status="IDLE: 6 of 6 processes run")
        assert received.recv(4096) == b"READY=1\nSTATUS=IDLE: 6 of 6 processes run"


def test_a_report_without_a_service_manager_does_nothing(caplog):
    ServiceManager({}, 1).report(ready=1)
    assert caplog.records == []


def test_a_service_manager_that_is_gone_is_logged_once_and_no_reason_to_stop(tmp_path, caplog):
    address = str(tmp_path / "n")
    manager = ServiceManager({"NOTIFY_SOCKET": address}, 1)
    manager.report(ready=1)
    manager.report(watchdog=1)
    with service_manager(address):
        manager.report(watchdog=1)
    manager.report(watchdog=1)
    said = [record.getMessage() for record in caplog.records]
    assert [text.partition(":")[0] for text in said] == ["the service manager cannot be notified"] * 2


@pytest.mark.parametrize(
    ("environment", "watchdog_s"),
    [
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7"}, 30.0),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_used_only_if_its_pid_is_ours(environment, watchdog_s):
    assert ServiceManager(environment, 7).watchdog_s == watchdog_s
