"""A whole installation in a folder, with a broker's host on loopback, in which a test breaks one thing."""

import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

from bus.codec import decode_events, unpack
from bus.delivery import Delivered, Lost
from bus.outbox import Outbox
from bus.segments import Packed
from observer.archive.backup.settings import BackupSettings
from observer.archive.backup.work import back_up, plan_of
from observer.base.clock import RealClock
from observer.base.instance import Instance
from observer.base.local_time import local_ns
from observer.base.settings import RunSettings
from observer.base.units import NS_PER_S
from observer.calendar.session_file import SHIPPED
from observer.store.owner import claim
from observer.store.writer import StoreWriter
from observer.system.doctor import machine
from observer.system.doctor.examination import CHECKS, Check, examine
from observer.system.doctor.finding import Finding
from observer.system.doctor.machine import Disk
from observer.system.doctor.place import place_of
from tests.archive.scene import GO_ON
from tests.builders import trades
from tests.store.migrated import make_database

TODAY: Final = date(2026, 11, 20)
NOW_NS: Final = local_ns(TODAY, 21)
URL: Final = "sqlite:///data/observer.db"
STREAM: Final = "aa" * 16
KEYS: Final = '[main]\napp_key = "PSfirst0123456789"\napp_secret = "hush-hush-hush"\n'
CONFIGURATION: Final = Path("observer.toml")

_TEXT: Final = """[run]
data = "data"
runtime = "run"
trading_days = "trading_days.toml"
provider_pool = "pool.json"

[store]
url = "{url}"

[kis]
rest_url = "http://127.0.0.1:{port}"
stream_url = "ws://127.0.0.1:{port}"
files_url = "http://127.0.0.1:{port}"
"""
_POOL: Final = '{"provider_pool": {"accounts": [{"account_id": "main", "keys_file": "keys.toml"}]}}'

# What no test can change of the machine that it runs on; a test gives other findings.
_SOUND_DISK: Final = Disk(folder="data", holds=["data"], total_bytes=10**12, free_bytes=9 * 10**11)
SOUND_MACHINE: Final = {
    "clock": [machine.clock_finding(True, 0.01, None)],
    "disk": [
        machine.disk_finding(Disk(folder="data", holds=["data"], total_bytes=10**12, free_bytes=9 * 10**11), None, 90.0)
    ],
    "file system": list(machine.file_system_findings({"database data": "ext4"})),
    "limits": [machine.limit_finding(4096)],
}


class BrokerHost:
    """A host that accepts connections and answers HEAD with the time, `ahead_s` seconds wrong."""

    def __init__(self) -> None:
        self.ahead_s = 0.0
        host = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self.send_response(404)
                self.end_headers()

            def date_time_string(self, timestamp: float | None = None) -> str:
                return super().date_time_string(RealClock().now_ns() / NS_PER_S + host.ahead_s)

            def log_message(self, *_: object) -> None:
                """Stay silent."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    @property
    def port(self) -> int:
        port: int = self._server.server_address[1]
        return port

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@contextmanager
def broker_host() -> Iterator[BrokerHost]:
    host = BrokerHost()
    try:
        yield host
    finally:
        host.close()


def install(port: int) -> None:
    """Make an installation in the working directory: ten events stored, an outbox, a verified package."""
    CONFIGURATION.write_text(_TEXT.format(url=URL, port=port))
    Path("pool.json").write_text(_POOL)
    keys = Path("keys.toml")
    keys.touch(mode=0o600)
    keys.write_text(KEYS)
    shutil.copy(SHIPPED.with_name("trading_days.toml"), "trading_days.toml")
    Path("run").mkdir(mode=0o700)
    make_database(URL)
    claim(URL, Instance(), ["kis"], NOW_NS)
    outbox = published(10)
    store(outbox)
    outbox.close(delivered=False)
    plan = plan_of(BackupSettings(), RunSettings(data="data", universe="universe"), Instance(), URL, CONFIGURATION)
    back_up(plan, "daily", NOW_NS, GO_ON)


def published(count: int) -> Outbox:
    """Track B's outbox with so many events."""
    outbox = Outbox(Path("run/outbox/track-b"), "track-b", STREAM)
    outbox.append(trades(count))
    return outbox


def store(outbox: Outbox, *, lost: int = 0) -> None:
    """Commit the outbox's first batch, with so many numbers behind it stated as lost."""
    found = outbox.batch_at(STREAM, 1)
    assert isinstance(found, Packed)
    events = decode_events(unpack(found.content))
    commit(Delivered("track-b", STREAM, 1, events))
    if lost:
        commit(Lost(STREAM, len(events) + 1, len(events) + lost, "damaged", "track-b"))


def commit(*parts: Delivered | Lost) -> None:
    writer = StoreWriter(URL)
    writer.open()
    writer.commit(list(parts))
    writer.close()


def configure(text: str) -> None:
    """Add sections to the configuration."""
    CONFIGURATION.write_text(f"{CONFIGURATION.read_text()}\n{text}\n")


def reconfigure(old: str, new: str) -> None:
    """Replace a text of the configuration."""
    before = CONFIGURATION.read_text()
    assert old in before
    CONFIGURATION.write_text(before.replace(old, new))


def replaced(checks: Mapping[str, Check]) -> Sequence[Check]:
    """All checks, with these in the place of those of the same name."""
    sound = {name: given(name, *findings)[name] for name, findings in SOUND_MACHINE.items()}
    return [{**sound, **checks}.get(each.name, each) for each in CHECKS]


def found(checks: Mapping[str, Check] | None = None, *, recount: bool = True) -> Sequence[Finding]:
    """What the doctor finds in the working directory."""
    return examine(place_of(CONFIGURATION, NOW_NS, recount=recount), replaced(checks or {}))


def given(name: str, *findings: Finding) -> Mapping[str, Check]:
    """A check with these findings."""
    return {name: Check(name, lambda _: findings)}
