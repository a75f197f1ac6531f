"""What a person may do wrong: each mistake is one line on stderr with the remedy, an exit status, and no traceback.

Status 2: the command line, the configuration or a file is wrong. Status 1: the machine, the database or the broker
refused. Each command runs in a forked child that obeys file permissions, as for a user who is not root.
"""

import asyncio
import os
import resource
import shlex
import socket
import sqlite3
import threading
import zipfile
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import NamedTuple

import pytest

from bus.capture import CaptureLabel
from bus.codec import pack
from bus.commands import Refused
from bus.journal import JournalWriter
from observer.base.clock import CLOCK_VARIABLE, HeldClock
from observer.brokers.accounts.token_cache import TokenRecord, TokenStore
from observer.supervisor.instance import InstanceLock
from tests.builders import trades
from tests.cli.test_cli_control import answering
from tests.cli.typed import command
from tests.folders import short_folder
from tests.privileges import in_a_fork
from tests.reference.scene import contents, symbols
from tests.simulator.simulator_client import APP_KEYS, at, running_on
from tests.store.migrated import make_database
from tests.waiting import DEADLINE_S

HOSTS = '[kis]\nrest_url = "http://127.0.0.1:9"\nstream_url = "ws://127.0.0.1:9"\nfiles_url = "http://127.0.0.1:9"\n'
KEYS = {"KIS_APP_KEY": "PSfirst", "KIS_APP_SECRET": "hush-hush-hush"}
Arrangement = Callable[[Path, ExitStack], dict[str, object] | None]


class Mistake(NamedTuple):
    name: str
    words: str
    reported: str
    status: int
    arrange: Arrangement | None = None
    environment: dict[str, str] = {}  # noqa: RUF012 - never changed


# --- arrangements ----------------------------------------------------------------------------------------------


def configuration(text):
    def arrange(folder, _stack):
        (folder / "config" / "observer.toml").write_text(text)

    return arrange


def mode(name, bits):
    def arrange(folder, stack):
        path = folder / name
        stack.callback(path.chmod, path.stat().st_mode)
        path.chmod(bits)

    return arrange


def both(*arrangements):
    def arrange(folder, stack):
        return {name: value for each in arrangements for name, value in (each(folder, stack) or {}).items()}

    return arrange


def no_configuration(folder, _stack):
    (folder / "config" / "observer.toml").unlink()


def keys_folder(folder, _stack):
    (folder / "pool.json").write_text('{"provider_pool": {"accounts": [{"account_id": "main", "keys_file": "data"}]}}')


def broken_keys(text):
    def arrange(folder, _stack):
        accounts = '{"provider_pool": {"accounts": [{"account_id": "main", "keys_file": "keys.toml"}]}}'
        (folder / "pool.json").write_text(accounts)
        (folder / "keys.toml").write_text(text)
        (folder / "keys.toml").chmod(0o600)

    return arrange


def keys_file(folder, _stack):
    (folder / "config" / "keys.toml").write_text('[main]\napp_key = "PSfirst"\napp_secret = "hush-hush"\n')


def used_port(folder, stack):
    del folder
    taken = stack.enter_context(socket.socket())
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    return {"port": taken.getsockname()[1]}


def used_endpoint(folder, stack):
    port = int(str(used_port(folder, stack)["port"]))
    addresses = {"ingest": port, **{name: 1024 + n for n, name in enumerate(("feed", "batch_feed", "control"))}}
    text = "".join(f'{name} = "tcp://127.0.0.1:{number}"\n' for name, number in addresses.items())
    (folder / "config" / "observer.toml").write_text(f"{HOSTS}[run.endpoints]\n{text}")
    in_folder(folder, "keys make")
    return {"port": port}


def trading_days(folder, _stack):
    (folder / "config" / "trading_days.toml").touch()


def archive(folder, _stack):
    with zipfile.ZipFile(folder / "master.zip", "w") as packed:
        packed.writestr("NASMST.COD", contents(symbols(3)))


def master_file(folder, _stack):
    (folder / "nasd.cod").write_bytes(contents(symbols(3)))


def changed(statement):
    def arrange(folder, _stack):
        with closing(sqlite3.connect(folder / "data" / "observer.db")) as database:
            database.execute(statement)
            database.commit()

    return arrange


other_schema = changed("UPDATE alembic_version SET version_num = '9999'")
other_build = changed("ALTER TABLE gaps RENAME TO gaps_before")
other_owner = changed(
    "INSERT INTO owner (id, name, market, providers, created_ns, database_id) VALUES (1, 'other', 'moon', 'x', 0, 'x')"
)


def foreign_database(folder, _stack):
    with closing(sqlite3.connect(folder / "foreign.db")) as database:
        database.execute("CREATE TABLE diary (day TEXT)")
        database.commit()


def running_instance(folder, stack):
    (folder / "run").mkdir(mode=0o700)
    stack.callback(InstanceLock(folder / "run").release)


def answering_system(folder, stack):
    refusal = Refused("unknown_process", "no process is named 'trackb'; did you mean track-b?")
    stack.enter_context(answering(folder, lambda _: refusal))


def simulator_with_other_secrets(folder, stack):
    """A simulator on whose clock the account has a token; its secret is not the user's."""
    clock = HeldClock(at(10), folder / "clock", 1.0)
    record = TokenRecord(access_token="t", approval_key="a", issued_ns=at(9), expires_ns=at(20), renewed_ns=at(9))
    (folder / "run").mkdir(mode=0o700)
    TokenStore(folder / "run" / "tokens", "main").write(record)
    loop, began, ends, url = asyncio.new_event_loop(), threading.Event(), asyncio.Event(), []

    async def serve():
        async with running_on(clock) as client:
            url.append(client.simulator.rest_url)
            began.set()
            await ends.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    stack.callback(loop.close)
    stack.callback(thread.join)
    stack.callback(loop.call_soon_threadsafe, ends.set)
    assert began.wait(DEADLINE_S)
    (folder / "config" / "observer.toml").write_text(HOSTS.replace("http://127.0.0.1:9", url[0], 1))
    return {"clock": clock.to_variable()}


def small_disk(folder, stack):
    """No file may have more than 64 kB: the system refuses writes as a full disk does."""
    del folder
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65_536, before[1]))
    stack.callback(resource.setrlimit, resource.RLIMIT_FSIZE, before)


def curve_keys(folder, _stack):
    in_folder(folder, "keys make")


def full_output(_folder, _stack):
    return {"stdout": "/dev/full"}


def a_capture(folder, _stack):
    journal = JournalWriter(folder / "x.journal", str(CaptureLabel("ab" * 16, None)))
    journal.append(pack("cd" * 16, 1, trades(1)))
    journal.close()


# --- the table -------------------------------------------------------------------------------------------------

DIFF = "master diff --exchange NASD --new nasd.cod --old"
OWN_POOL = f'{HOSTS}[run]\nprovider_pool = "pool.json"\n'


def run_on(name, text, reported):
    """`observer run` with this configuration and with keys."""
    return Mistake(name, "run", reported, 2, configuration(text), KEYS)


def on_database(name, url, reported):
    """`observer run` with this database."""
    return run_on(name, f'{HOSTS}[store]\nurl = "{url}"\n', reported)


def keys_of(name, text, reported):
    """`observer run` with this file of keys."""
    return Mistake(name, "run", reported, 2, both(broken_keys(text), configuration(OWN_POOL)))


MISTAKES = [
    # the command line
    Mistake("unknown command", "gap list", "No such command 'gap'. Did you mean 'gaps'? (see `observer --help`)", 2),
    Mistake(
        "unknown option", "status --jsn", "No such option '--jsn'. Did you mean '--json'? (see `observer status", 2
    ),
    Mistake("wrong value", "simulator --port many", "'many' is not a valid integer", 2),
    Mistake("no number", "demo --speed nan", "nan is not a finite number", 2),
    Mistake("endless number", "demo --speed inf", "inf is not in the range 1<=x<=100000", 2),
    Mistake(
        "controls in a path", "quality --config '\x1b[31mred\x07'", "'\\x1b[31mred\\x07' has control characters", 2
    ),
    Mistake("controls in a capture's path", "capture --out 'a\x1b[2J'", "'a\\x1b[2J' has control characters", 2),
    Mistake("controls in a demo's folder", "demo --folder 'a\u202eb'", "'a\\u202eb' has control characters", 2),
    Mistake("line feed in a path", "quality --config 'a\nb'", "'a\\nb' has control characters: rename the file", 2),
    Mistake("empty symbol", "slots why ''", "an argument is empty: name what is meant", 2),
    Mistake(
        "folder that is no package",
        "backup verify ../../etc",
        "'../../etc' names no package: give a name of `observ",
        2,
    ),
    Mistake("text that is not UTF-8", "slots why \udcff", "'\\udcff' is not text in UTF-8", 2),
    Mistake("missing argument", "ctl restart", "Missing argument 'PROCESS'. (see `observer ctl restart --help`)", 2),
    Mistake("wrong date", "quality 2026-13-45", "'2026-13-45' is not a date such as 2026-11-18", 2),
    Mistake("wrong day", "simulator --day tomorrow", "--day tomorrow: give a date such as 2026-", 2),
    Mistake("wrong time", "simulator --start 99:99", "--start '99:99' is not a time of day HH:MM", 2),
    Mistake("unknown exchange", "master diff --exchange KOSPY", "'KOSPY'; did you mean KOSPI?", 2),
    Mistake("unknown fault", "simulator fault strem_cut --url http://127.0.0.1:9", "'strem_cut' is not one of", 2),
    Mistake("unknown kind", "capture --out x --kinds trads --config config/observer.toml", "did you mean trade?", 2),
    Mistake("unknown call", "kis call horoscope", "no call 'horoscope': `observer kis calls` lists them", 2),
    # the configuration
    Mistake(
        "no configuration", "run", "cannot read config/observer.toml: No such file or directory", 2, no_configuration
    ),
    Mistake("configuration is a folder", "run --config config", "cannot read config: Is a directory", 2),
    run_on("misspelt section", "[stor]\n", "config/observer.toml:1: stor: unknown section; did you mean store?"),
    Mistake(
        "misspelt key",
        "status",
        "config/observer.toml:2: run.rutime: unknown key; did you mean runtime?",
        2,
        configuration('[run]\nrutime = "x"\n'),
    ),
    Mistake(
        "unreadable configuration",
        "gaps",
        "cannot read config/observer.toml: Permission denied",
        2,
        mode("config/observer.toml", 0),
    ),
    Mistake(
        "demo in a production folder", "demo --folder config", "config holds something that is not an earlier demo", 2
    ),
    # keys
    Mistake("no keys", "run", "set KIS_APP_KEY and KIS_APP_SECRET, or create config/keys.toml (mode 600)", 2),
    Mistake(
        "open keys", "run", "run `chmod 600 config/keys.toml`", 2, both(keys_file, mode("config/keys.toml", 0o644))
    ),
    Mistake("unreadable keys", "run", "keys.toml cannot be read", 2, both(keys_file, mode("config/keys.toml", 0))),
    Mistake(
        "settings of all",
        "run",
        "every user may change config/observer.toml (mode 0666): run `chmod o-w config/observer.toml`",
        2,
        both(trading_days, mode("config/observer.toml", 0o666)),
        KEYS,
    ),
    Mistake(
        "data of all",
        "run",
        "run.data = data: all users share this folder",
        2,
        both(trading_days, mode("data", 0o1777)),
        KEYS,
    ),
    Mistake("no CURVE keys", "keys list", "make them with `observer keys make`", 2),
    Mistake("CURVE keys twice", "keys make", "is there already: move it away first", 2, curve_keys),
    Mistake("simulator without keys", "simulator --keys data", "data: Is a directory: give a file", 2),
    Mistake("no keys file", "simulator --keys config/observer.toml", "config/observer.toml is no keys file", 2),
    # the running system
    Mistake("no system", "status", "no system runs here (run): start one with `observer run`", 2),
    Mistake("no system to command", "ctl restart track-b", "no system runs here (run): start one with", 2),
    Mistake("no system to follow", "tail", "no system runs here (run): start one with `observer run`", 2),
    Mistake("no system to record", "capture --out x.journal", "no system runs here: start one with `observer run`", 2),
    Mistake("unknown process", "ctl restart trackb", "did you mean track-b?", 1, answering_system),
    Mistake("a second system", "run", "`observer ctl shutdown` stops it", 2, running_instance, KEYS),
    # the machine
    Mistake(
        "used port", "simulator --port {port} --symbols 2", "address already in use: choose another port", 1, used_port
    ),
    Mistake(
        "used endpoint",
        "run",
        "run.endpoints.ingest = tcp://127.0.0.1:{port}: Address already in use: choose",
        1,
        used_endpoint,
        KEYS,
    ),
    Mistake(
        "read-only data", "run", "run.data = data: Permission denied: run as the owner", 1, mode("data", 0o500), KEYS
    ),
    Mistake(
        "read-only logs",
        "run",
        "run.data = data/logs: Permission denied: run as the owner",
        1,
        both(lambda f, _: (f / "data" / "logs").mkdir(), mode("data/logs", 0o500)),
        KEYS,
    ),
    Mistake(
        "writing to a read-only folder",
        "replay x.journal --db sqlite:///data/observer.db",
        "SQLite needs the folder, not only its file; run as its owner or chmod it",
        1,
        both(a_capture, mode("data", 0o500)),
    ),
    Mistake(
        "writing to a read-only database",
        "replay x.journal --db sqlite:///data/observer.db",
        "data/observer.db: run as its owner or chmod it",
        1,
        both(a_capture, mode("data/observer.db", 0o400)),
    ),
    Mistake(
        "read-only database",
        "run",
        "observer.db: Permission denied: run as the owner",
        1,
        mode("data/observer.db", 0o400),
        KEYS,
    ),
    Mistake(
        "data is a file",
        "run",
        "run.data = nasd/data: Not a directory",
        2,
        both(configuration(f'{HOSTS}[run]\ndata = "nasd/data"\n'), lambda f, _: (f / "nasd").touch()),
        KEYS,
    ),
    Mistake("read-only folder", "demo", "demo: Permission denied: run as the owner", 1, mode(".", 0o500)),
    Mistake(
        "demo in a file", "demo --folder config/observer.toml", "Not a directory: a part of this path is a file", 2
    ),
    Mistake(
        "full disk", "simulator offered --symbols 2 --out /dev/full", "No space left on device: free some space", 1
    ),
    Mistake("full disk of an output", "kis calls", "No space left on device: free some space", 1, full_output),
    Mistake(
        "full disk of a database",
        "replay x.journal --db sqlite:///new.db",
        "see whether its disk is full",
        1,
        both(a_capture, small_disk),
    ),
    Mistake(
        "no folder",
        "simulator offered --symbols 2 --out none/x.csv",
        "none/x.csv: No such file or directory: correct",
        2,
    ),
    Mistake("folder for a file", "simulator offered --symbols 2 --out data", "data: Is a directory: give a file", 2),
    # the database
    Mistake("no database", "db digest --db sqlite:///none.db", "there is no database", 2),
    Mistake("folder for a database", "db digest --db sqlite:///data", "data is a folder: give the database file", 2),
    Mistake("not a database", "db digest --db sqlite:///config/observer.toml", "file is not a database: give a", 2),
    Mistake(
        "foreign database",
        "db digest --db sqlite:///foreign.db",
        "there is no schema of Observer in it",
        2,
        foreign_database,
    ),
    Mistake("other schema", "gaps", "its schema is 9999, this program knows", 2, other_schema),
    Mistake("other schema to run on", "run", "its schema is 9999, this program knows", 2, other_schema, KEYS),
    Mistake("other build", "gaps", "another build of Observer wrote this database", 2, other_build),
    Mistake(
        "foreign database to run on",
        "run",
        "foreign.db holds tables of something else than Observer: give another [store] url",
        2,
        both(foreign_database, configuration(f'{HOSTS}[store]\nurl = "sqlite:///foreign.db"\n')),
        KEYS,
    ),
    on_database(
        "not a database to run on",
        "sqlite:///config/observer.toml",
        "config/observer.toml: file is not a database: give another [store] url",
    ),
    on_database(
        "a folder for a database to run on",
        "sqlite:///data",
        "store.url = data: Is a directory: give a file, not a folder",
    ),
    on_database("no database URL to run on", "observer.db", "observer.toml:6: store.url: must be sqlite:///PATH or"),
    on_database(
        "another driver of SQLite", "sqlite+aiosqlite:///data/observer.db", "store.url: must be sqlite:///PATH or"
    ),
    run_on(
        "no address of a broker",
        HOSTS.replace("http://127.0.0.1:9", "localhost:9443", 1),
        "kis.rest_url = 'localhost:9443': give http://HOST[:PORT] or https://HOST[:PORT]",
    ),
    run_on(
        "no port of a broker",
        HOSTS.replace("ws://127.0.0.1:9", "ws://127.0.0.1:99999"),
        "kis.stream_url = 'ws://127.0.0.1:99999': give ws://HOST[:PORT] or",
    ),
    run_on(
        "no file of trading days",
        f'{HOSTS}[run]\ntrading_days = "none.toml"\n',
        "run.trading_days = 'none.toml': No such file or directory: work in Observer's folder",
    ),
    run_on(
        "no file of sessions",
        f'{HOSTS}[run]\nsessions = "none.toml"\n',
        "run.sessions = 'none.toml': No such file or directory: work in Observer's folder",
    ),
    Mistake(
        "keys file is a folder",
        "run",
        "account main: data cannot be read (Is a directory): give a file",
        2,
        both(keys_folder, configuration(OWN_POOL)),
    ),
    keys_of(
        "keys file without an equals sign",
        '[main]\napp_key "hush-hush=="\n',
        "account main: keys.toml:2: is not TOML: Expected '=' after a key in a key/value pair: write [ACCOUNT],",
    ),
    keys_of(
        "keys file with a misspelt key",
        '[main]\napp_kee = "hush-hush"\napp_key = "hush-hush"\napp_secret = "hush-hush"\n',
        "keys.toml:2: main.app_kee: unknown key; did you mean app_key?: write [ACCOUNT], then app_key =",
    ),
    keys_of(
        "keys file without a section",
        'main = "hush-hush"\n',
        "keys.toml:1: main: must be a group of keys, not a text: write [ACCOUNT], then app_key =",
    ),
    Mistake("another instance's database", "run", "belongs to instance 'other' (market moon)", 2, other_owner, KEYS),
    Mistake("malformed URL", "db digest --db data/observer.db", "not a database URL: give sqlite:///PATH or", 2),
    Mistake("unknown scheme", "db digest --db mysql://me:hush-hush@host/db", "give sqlite:///PATH or postgresql", 2),
    Mistake(
        "configured URL",
        "gaps",
        "observer.toml:2: store.url: must be sqlite:///PATH or",
        2,
        configuration('[store]\nurl = "mysql://h/d"\n'),
    ),
    Mistake("no server", "db digest --db postgresql://me:hush-hush@127.0.0.1:1/db", "refused", 1),
    Mistake("no server for a demo", "demo --db postgresql://me:hush-hush@127.0.0.1:1/db", "refused", 1),
    Mistake("demo on no day", "demo --date 18.11.2026", "--date 18.11.2026: give a date such as 2026-11-18", 2),
    Mistake("demo on a closed day", "demo --date 2026-11-14", "2026-11-14 is no trading day of the usual hours", 2),
    Mistake("demo without a database", "demo --db data/observer.db", "not a database URL: give sqlite:///PATH", 2),
    Mistake(
        "unreadable database",
        "gaps",
        "unable to open database file: make the file readable",
        1,
        mode("data/observer.db", 0),
    ),
    # files
    Mistake("journal is a folder", "journal verify data", "data: Is a directory: give a file", 2),
    Mistake("no journal", "journal verify none", "none: No such file or directory", 2),
    Mistake("garbage for a journal", "journal show config/observer.toml", "config/observer.toml is not a journal", 2),
    Mistake("replay of garbage", "replay config/observer.toml --db sqlite:///new.db", "is not a journal", 2),
    Mistake("replay of a folder", "replay data --db sqlite:///new.db", "data: Is a directory: give a file", 2),
    Mistake("raw replay of nothing", "replay --raw data", "there is no raw capture in data", 2),
    Mistake(
        "capture exists",
        "capture --out config/observer.toml --config config/observer.toml",
        "is there already: give a new file",
        2,
    ),
    Mistake(
        "raw capture to a file",
        "capture --raw config/observer.toml --config config/observer.toml",
        "is a file: give a new folder",
        2,
    ),
    Mistake("diff of a folder", f"{DIFF} data", "data: Is a directory: give a file", 2, master_file),
    Mistake(
        "diff of a zip", f"{DIFF} master.zip", "master.zip is a zip archive: unpack it", 2, both(master_file, archive)
    ),
    Mistake(
        "diff of garbage",
        f"{DIFF} config/observer.toml",
        "is no master file of NASD: 4 records cannot be read",
        2,
        master_file,
    ),
    Mistake("diff of nothing", f"{DIFF} /dev/null", "/dev/null is no master file of NASD: no records", 2, master_file),
    Mistake(
        "unreadable file",
        f"{DIFF} secret",
        "Path 'secret' is not readable. (see",
        2,
        both(master_file, lambda f, _: (f / "secret").touch(0)),
    ),
    # the network
    Mistake(
        "no simulator", "simulator counters --url http://127.0.0.1:9", "no simulator answers at http://127.0.0.1:9", 1
    ),
    Mistake("no URL", "simulator counters --url localhost", "no simulator answers at localhost", 1),
    Mistake(
        "no token",
        "kis call quote_detail symbol=1",
        "no account of KIS has a valid token: `observer run` gets one",
        2,
        None,
        KEYS,
    ),
    Mistake(
        "wrong secret",
        "kis call quote_detail symbol=1",
        "this app secret does not belong to the app key",
        1,
        simulator_with_other_secrets,
        KEYS | {"KIS_APP_KEY": next(iter(APP_KEYS))},
    ),
]


@pytest.fixture(scope="module")
def migrated(tmp_path_factory):
    """An empty database with the current schema, closed and without files beside it."""
    path = tmp_path_factory.mktemp("migrated") / "observer.db"
    make_database(f"sqlite:///{path}")
    return path


@pytest.fixture
def folder(migrated):
    with short_folder() as short:
        (short / "config").mkdir()
        (short / "data").mkdir()
        (short / "config" / "observer.toml").write_text(HOSTS)
        (short / "data" / "observer.db").write_bytes(migrated.read_bytes())
        yield short


def in_folder(folder, words, environment=None, stdout=""):
    def run():
        if stdout:
            os.dup2(os.open(stdout, os.O_WRONLY), 1)
        command(*shlex.split(words), environment=environment)()

    return in_a_fork(run, folder, as_user=True)


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_a_mistake_is_one_line_with_its_remedy(folder, mistake):
    with ExitStack() as stack:
        arranged = (mistake.arrange(folder, stack) if mistake.arrange else None) or {}
        clock = {CLOCK_VARIABLE: str(arranged["clock"])} if "clock" in arranged else {}
        words, stdout = mistake.words.format(**arranged), str(arranged.get("stdout", ""))
        ran = in_folder(folder, words, mistake.environment | clock, stdout)
    lines = ran.stderr.splitlines()
    assert "Traceback" not in ran.stderr
    assert len(lines) == 1, ran
    assert lines[0].startswith("observer: ")
    assert mistake.reported.format(**arranged) in lines[0]
    assert "hush" not in ran.stderr
    assert lines[0].isprintable()
    assert ran.status == mistake.status
    assert ran.stdout == ""


def leftover_journal(folder):
    """Leave SQLite's files beside the database, as a killed writer does."""
    path = folder / "data" / "observer.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("CREATE TABLE more (x)")
        database.commit()
        kept = {each: each.read_bytes() for each in path.parent.iterdir()}
    for each, content in kept.items():
        each.write_bytes(content)


@pytest.mark.parametrize("is_leftover", [False, True])
@pytest.mark.parametrize("words", ["db digest --db sqlite:///data/observer.db", "etf report", "gaps"])
def test_a_read_only_database_in_a_read_only_folder_is_read_like_any_other(folder, words, is_leftover):
    if is_leftover:
        leftover_journal(folder)
    with ExitStack() as stack:
        for each in (folder / "data").iterdir():
            each.chmod(0o400)
        mode("data", 0o500)(folder, stack)
        ran = in_folder(folder, words)
    for each in (folder / "data").iterdir():
        each.chmod(0o600)
    assert ran == in_folder(folder, words)
    assert "sqlite" not in ran.stderr
