"""The host's orders: their target process, a reload of a real file, and malformed requests."""

import asyncio
import contextlib
import json
import logging
import sys
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import msgspec
import pytest
import zmq
import zmq.asyncio

from bus.commands import (
    Done,
    Drain,
    EachReply,
    Heartbeat,
    Pin,
    Ready,
    Refused,
    Reload,
    ReloadReply,
    Reply,
    Request,
    Restart,
    RetryGaps,
    RunJob,
    SetLogLevel,
    Start,
    StartCapture,
    Stop,
    StopCapture,
    UnderWay,
    Unpin,
)
from bus.control import ORDER
from bus.delivery import Delivered
from bus.events import GapDetected
from observer.cli.app import main
from observer.store.writer import StoreWriter
from observer.supervisor.supervisor import Supervisor
from observer.system.config import Settings, load_settings
from observer.system.orders import HostOrders
from observer.system.processes import GAPS_OWNER, JOB_OWNERS, SLOTS_OWNER, children_of, revision_of
from tests.cli.test_cli_control import answering, exit_status
from tests.folders import short_folder
from tests.store.migrated import make_database
from tests.supervisor.scenes import Changes, speaker, supervisor_of
from tests.waiting import DEADLINE_S

NAMES = ("core-writer", "master-file", "etf", "track-b")


@pytest.fixture
def folder(monkeypatch):
    """A configuration, and keys in the environment."""
    monkeypatch.setenv("KIS_APP_KEY", "PSkeykeykey")
    monkeypatch.setenv("KIS_APP_SECRET", "secretsecret")
    with short_folder() as name:
        path = Path(name)
        (path / "demo").mkdir()
        write(path)
        monkeypatch.chdir(path)
        yield path


def write(folder, more="", run=""):
    path = folder / "demo" / "observer.toml"
    path.write_text(f'[run]\nruntime = "{folder}/run"\ndata = "{folder}/data"\n{run}\n{more}\n')
    return path


# --- the table of processes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("section", "touched"),
    [
        ("[track_b]\nevaluation_s = 11.0", {"track-b"}),
        ("[track_a]\ninterval_s = 300.0", {"track-a", "track-b"}),
        ("[recovery]", set()),
        (
            "[store]\nurl = 'sqlite:///x.db'",
            {"core-writer", "accounts", "master-file", "etf", "gap-recovery", "track-a", "track-b"},
        ),
        (
            "[track_b]\nsessions = ['KRX.regular']",
            {"core-writer", "accounts", "master-file", "etf", "gap-recovery", "track-a", "track-b"},
        ),
        (
            "[schedule]\nbackup = '22:00'",
            {"core-writer", "accounts", "master-file", "etf", "gap-recovery", "track-a", "track-b"},
        ),
    ],
)
def test_a_change_touches_the_processes_that_read_it_and_no_others(folder, section, touched):
    before = load_settings(write(folder))
    after = load_settings(write(folder, section))
    assert touched_between(before, after) == touched


@pytest.mark.parametrize(
    ("selection", "touched"),
    [
        ('{"slots": {"max_slots": 7}}', {"track-b"}),
        ('{"universe": {"min_close_price": 1}}', {"master-file"}),
        ("{}", set()),
    ],
)
def test_a_change_of_the_selection_file_touches_the_processes_that_read_the_changed_part(folder, selection, touched):
    before = load_settings(write(folder))
    (folder / "config" / "observer").mkdir(parents=True)
    (folder / "config" / "observer" / "symbol_selection.json").write_text(selection)
    assert touched_between(before, load_settings(write(folder))) == touched


BROKERS_USERS = {"accounts", "master-file", "etf", "gap-recovery", "track-a", "track-b"}


def touched_between(before, after):
    pairs = zip(children_of(before, Path("x")), children_of(after, Path("x")), strict=True)
    return {old.name for old, new in pairs if old != new}


def test_the_processes_that_call_the_broker_get_the_keys_of_the_environment_and_no_other_does(folder):
    simulator = "[simulator]\nseed = 7\nsession_date = '2026-11-18'\napp_keys = {}"
    children = children_of(load_settings(write(folder, simulator)), Path("x"))
    got = {child.name: child.secrets for child in children}
    assert {name for name, secrets in got.items() if secrets} == BROKERS_USERS
    assert {secrets for secrets in got.values() if secrets} == {("KIS_APP_KEY", "KIS_APP_SECRET")}


def test_a_change_of_the_accounts_touches_the_processes_that_call_the_broker(folder):
    before = load_settings(write(folder))
    (folder / "config").mkdir()
    pool = '{"provider_pool": {"accounts": [{"account_id": "main", "keys_file": "keys.toml", "max_slots": 40}]}}'
    (folder / "config" / "provider_pool.json").write_text(pool)
    assert touched_between(before, load_settings(write(folder))) == BROKERS_USERS | {"core-writer"}


def test_another_key_in_the_keys_file_touches_the_processes_that_call_the_broker(folder):
    (folder / "config").mkdir()
    keys = folder / "config" / "keys.toml"
    settings = []
    for app_key in ("first", "first", "second"):
        keys.write_text(f'[main]\napp_key = "{app_key}"\napp_secret = "secret"\n')
        settings.append(load_settings(write(folder)))
    assert touched_between(settings[0], settings[1]) == set()
    assert touched_between(settings[1], settings[2]) == BROKERS_USERS


def test_a_revision_is_the_same_for_the_same_values_however_they_are_written(folder):
    written = load_settings(write(folder, "[track_b]\nevaluation_s = 10.0"))
    assert revision_of(written, ["track_b"]) == revision_of(load_settings(write(folder)), ["track_b"])


# --- the host ------------------------------------------------------------------------------------------------


@dataclass
class Scene:
    orders: HostOrders
    supervisor: Supervisor
    changes: Changes
    folder: Path
    adopted: list[Settings] = field(default_factory=list)

    def pids(self):
        return {process.name: process.pid for process in self.supervisor.status().processes}

    async def refusal(self, request):
        reply = await self.orders.obey(request)
        assert isinstance(reply, Refused)
        return reply.code, reply.message


@contextlib.asynccontextmanager
async def hosted(folder, names=("track-b",)):
    """A supervisor with children that obey as our workers do, and the host's orders before it."""
    scene: list[Scene] = []

    async def obey(request):
        return await scene[0].orders.obey(request)

    children = [speaker(folder, name, "worker") for name in names]
    supervisor, changes = supervisor_of(folder, children, orders=obey)
    configuration = folder / "demo" / "observer.toml"
    adopted: list[Settings] = []
    orders = HostOrders(
        "host", supervisor, configuration, load_settings(configuration), adopted.append, lambda: None, not_silenced
    )
    scene.append(Scene(orders, supervisor, changes, folder, adopted))
    async with asyncio.timeout(2 * DEADLINE_S), supervisor:
        await supervisor.start_all()
        yield scene[0]


def not_silenced(order):
    return Refused("unknown_alert", order.identity)


async def test_a_job_a_pin_and_a_retry_go_to_the_process_that_owns_them(folder):
    async with hosted(folder, NAMES) as scene:
        for job, owner in JOB_OWNERS.items():
            if owner == GAPS_OWNER:
                continue  # it does not run here
            assert await scene.refusal(RunJob(job)) == ("unknown_job", f"{owner} has no job {job!r}; it has none")
        code, message = await scene.refusal(Pin("005930"))
        assert (code, message.split()[0]) == ("not_now", SLOTS_OWNER)
        code, message = await scene.refusal(RetryGaps())
        assert code == "unknown_process"  # it does not run here
        assert GAPS_OWNER in message


async def test_a_job_without_an_owner_is_refused_with_the_existing_jobs(folder):
    async with hosted(folder) as scene:
        refused = await scene.refusal(RunJob("sweep"))
        assert refused == ("unknown_job", f"no job is named 'sweep'; there are {', '.join(JOB_OWNERS)}")


async def test_a_drain_without_a_name_asks_everyone(folder):
    async with hosted(folder, NAMES) as scene:
        reply = await scene.orders.obey(Drain())
        assert isinstance(reply, EachReply)
        assert list(reply.replies) == [*NAMES, "host"]
        assert reply.replies["track-b"] == Done("track-b", "publishes nothing")


def test_the_host_s_own_log_level_can_be_set_like_any_other(folder):
    root = logging.getLogger()
    before = root.level

    async def run():
        async with hosted(folder) as scene:
            assert isinstance(await scene.orders.obey(SetLogLevel("host", "ERROR")), Done)

    try:
        asyncio.run(run())
        assert root.level == logging.ERROR
    finally:
        root.setLevel(before)


async def test_a_wrong_configuration_is_refused_with_every_wrong_key_and_nothing_happens(folder):
    async with hosted(folder) as scene:
        before = scene.pids()
        write(folder, '[nonsense]\n[track_b]\nevaluation_s = "often"\n[store]\nurls = 1')
        code, message = await scene.refusal(Reload())
        assert code == "wrong_configuration"
        assert all(key in message for key in ("nonsense", "evaluation_s", "urls"))
        assert (scene.pids(), scene.adopted) == (before, [])


async def test_missing_keys_are_refused_too(folder, monkeypatch):
    async with hosted(folder) as scene:
        monkeypatch.delenv("KIS_APP_KEY")
        assert (await scene.refusal(Reload()))[0] == "wrong_configuration"


async def test_a_change_of_a_setting_that_is_read_only_once_is_refused_by_name(folder):
    async with hosted(folder) as scene:
        write(folder, "[metrics]\nport = 9000\n[supervision.host]\ncpu_percent = 12.0")
        code, message = await scene.refusal(Reload())
        assert code == "needs_shutdown"
        assert "[metrics], [supervision.host]" in message
        assert scene.adopted == []


async def test_a_dry_run_adopts_nothing(folder):
    async with hosted(folder, NAMES) as scene:
        reply = await scene.orders.obey(Reload(dry_run=True))
        assert isinstance(reply, ReloadReply)
        assert set(NAMES) <= {*reply.restarted, *reply.stopped}  # the scene's children are not the real ones
        assert scene.adopted == []


async def test_a_recording_of_unknown_kinds_or_into_a_file_that_is_there_is_refused(folder):
    async with hosted(folder) as scene:
        taken = folder / "taken"
        taken.touch()
        assert (await scene.refusal(StartCapture(f"{folder}/new", ["rumour"])))[0] == "unknown_kind"
        assert (await scene.refusal(StartCapture(str(taken))))[0] == "failed"
        assert (await scene.refusal(StartCapture("relative")))[0] == "failed"
        assert (await scene.refusal(StopCapture()))[0] == "not_running"
        assert list(scene.pids()) == ["track-b"]


async def test_a_recording_outside_the_data_folder_is_refused_and_writes_nothing(folder):
    async with hosted(folder) as scene:
        data = folder / "data"
        data.mkdir(exist_ok=True)
        (data / "link").symlink_to(folder)
        for out in (folder / "x", data / ".." / "x", data / "link" / "x", Path("/x")):
            code, message = await scene.refusal(StartCapture(str(out)))
            assert code == "failed"
            assert f"give {data.resolve()}/captured.journal, say" in message
        assert list(scene.pids()) == ["track-b"]
        assert not list(folder.rglob("x"))


# --- garbage -------------------------------------------------------------------------------------------------

NOBODY: tuple[Request, ...] = (
    Ready("zz", 9),
    Heartbeat("zz", 9, 0.0, 1),
    Start("zz"),
    Stop("zz"),
    Restart("zz"),
    Reload(dry_run=True),
    Drain("zz"),
    RunJob("zz"),
    SetLogLevel("zz", "DEBUG"),
    Pin("zz"),
    Unpin("zz"),
    RetryGaps(["zz"]),
    RetryGaps(),
    StartCapture("zz", ["zz"]),
    StopCapture(),
)
IN_EARNEST = msgspec.msgpack.encode(Reload(dry_run=False))
AT_ONCE = 100


MANY = pytest.param(100_000, marks=[pytest.mark.slow, pytest.mark.timeout(900)])


@pytest.mark.parametrize("count", [3_000, MANY])
async def test_random_and_mutated_requests_end_nothing_and_change_nothing(folder, count):
    """Every request gets a reply; those that stay valid name no known process or only read state."""
    seeds = [msgspec.msgpack.encode(request) for request in NOBODY]

    async with hosted(folder) as scene:
        before = scene.pids(), len(scene.changes.all), logging.getLogger().level
        rng = Random(7)
        socket = zmq.asyncio.Context.instance().socket(zmq.DEALER)
        socket.setsockopt(zmq.LINGER, 0)
        socket.connect(f"ipc://{folder}/run/control")
        for _ in range(count // AT_ONCE):
            for _ in range(AT_ONCE):
                await socket.send_multipart(garbage(rng, seeds))
            for _ in range(AT_ONCE):
                async with asyncio.timeout(DEADLINE_S):
                    frames = await socket.recv_multipart()
                msgspec.msgpack.decode(frames[-1], type=Reply)
        socket.close()
        assert (scene.pids(), len(scene.changes.all), logging.getLogger().level) == before
        assert scene.adopted == []
        assert isinstance(await scene.orders.obey(Drain("track-b")), Done)


def garbage(rng, seeds):
    """Random or mutated frames, except the one bit change that turns a dry run into a real (valid) reload."""
    while (frames := anything(rng, seeds))[-1] == IN_EARNEST:
        pass
    return frames


def anything(rng, seeds):
    if rng.random() < 0.2:
        return [rng.randbytes(rng.randrange(60)) for _ in range(rng.randrange(1, 5))]
    body = bytearray(rng.choice(seeds))
    for _ in range(rng.randrange(4)):
        match rng.randrange(3):
            case 0:
                body[rng.randrange(len(body))] = rng.randrange(256)
            case 1:
                body.insert(rng.randrange(len(body)), rng.randrange(256))
            case _:
                del body[rng.randrange(len(body))]
    return [*([ORDER] if rng.random() < 0.1 else []), rng.randbytes(rng.randrange(20)), bytes(body)]


# --- the command line ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ("reload", Reload()),
        ("reload --dry-run", Reload(dry_run=True)),
        ("drain", Drain()),
        ("drain track_b", Drain("track-b")),
        ("run-job master-files", RunJob("master_files")),
        ("log-level track-b debug", SetLogLevel("track-b", "DEBUG")),
        ("capture start --out /x/y --kinds trade,snapshot", StartCapture("/x/y", ["trade", "snapshot"])),
        ("capture stop", StopCapture()),
    ],
)
def test_each_ctl_command_sends_its_request(folder, monkeypatch, words, asked):
    with answering(folder, lambda _: Done("track-b", "as asked")) as received:
        assert exit_status(monkeypatch, "ctl", *words.split()) == 0
    assert received == [asked]


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ("slots pin 005930", Pin("005930")),
        ("slots unpin 005930", Unpin("005930")),
        ("gaps retry --all-open", RetryGaps()),
    ],
)
def test_the_commands_outside_the_ctl_group_send_their_requests(folder, monkeypatch, words, asked):
    with answering(folder, lambda _: Done("track-b", "as asked")) as received:
        assert exit_status(monkeypatch, *words.split()) == 0
    assert received == [asked]


def test_a_retry_asks_for_the_stored_gaps_that_have_these_parts_in_their_ids(folder, monkeypatch):
    store(load_settings(folder / "demo" / "observer.toml").store.url, gap("kis-1-2"), gap("kis-3-4"), gap("kis-5-6"))
    with answering(folder, lambda _: Done("gap-recovery", "as asked")) as received:
        assert exit_status(monkeypatch, "gaps", "retry", "kis-1-2", "5-6", "--date", "2026-11-18") == 0
    assert received == [RetryGaps(["kis-1-2", "kis-5-6"])]


def gap(gap_id):
    return GapDetected(gap_id, "kis", "005930", "2026-11-18", 1, 2, 3, 4.0, 5.0, 1.0, 1, "reconnect")


def store(url, *facts):
    make_database(url)
    with contextlib.closing(StoreWriter(url)) as writer:
        writer.open()
        writer.commit([Delivered("track-b", "4" * 32, 1, list(facts))])


@pytest.mark.parametrize("words", ["gaps retry", "gaps retry g-1 --all-open"])
def test_a_retry_needs_either_gap_ids_or_all_open(folder, monkeypatch, words):
    with answering(folder, lambda _: Done("gap-recovery", "as asked")) as received:
        assert exit_status(monkeypatch, *words.split()) == 2
    assert received == []


@pytest.mark.parametrize(
    ("reply", "status", "reported"),
    [
        (UnderWay("universe is running"), 0, "universe is running\n"),
        (ReloadReply(["track-b"], [], [], [], "done"), 0, "track-b: restarted\n"),
        (ReloadReply(["track-b"], [], [], [], "dry_run"), 0, "track-b: would be restarted\n"),
        (ReloadReply([], [], [], [], "done"), 0, "nothing that a process reads has changed\n"),
        (ReloadReply(["a"], [], [], ["b"], "under_way"), 0, "a: restarted\nb: changed, from its next start on\n"),
        (ReloadReply(["a"], [], [], [], "done", ["a"]), 1, "a: restarted\na: does not run; ask for the status\n"),
        (EachReply({"a": Done("a", "stored"), "b": UnderWay("7 events")}), 0, "a: stored\nb: 7 events\n"),
        (EachReply({"a": Refused("not_running", "a is FATAL")}), 1, ""),
    ],
)
def test_each_reply_has_its_text_and_its_exit_status(
    folder,
    monkeypatch,
    capsys,
    reply,
    status,
    reported,
):
    with answering(folder, lambda _: reply):
        assert exit_status(monkeypatch, "ctl", "reload") == status
        assert capsys.readouterr().out.startswith(reported)
        assert exit_status(monkeypatch, "ctl", "reload", "--json") == status
    assert msgspec.json.decode(capsys.readouterr().out, type=Reply) == reply


def test_a_reload_finds_the_system_though_the_rest_of_the_configuration_is_wrong(folder, monkeypatch, capsys):
    write(folder, "[nonsense]")
    with answering(folder, lambda _: Refused("wrong_configuration", "unknown section [nonsense]")):
        assert exit_status(monkeypatch, "ctl", "reload", "--json") == 1
    assert json.loads(capsys.readouterr().out)["code"] == "wrong_configuration"


def test_a_level_that_does_not_exist_is_never_asked_for(folder, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["observer", "ctl", "log-level", "track-b", "LOUD"])
    with answering(folder, lambda _: Done("", "")) as received, pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert received == []
    assert "Invalid value for 'LEVEL'" in capsys.readouterr().err
