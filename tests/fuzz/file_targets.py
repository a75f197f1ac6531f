"""Targets: files that a person edits, that lie beside the sockets, or that come back from a backup."""

import bz2
import hashlib
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Final

import msgspec

from observer.archive import configuration, manifest, package
from observer.base.clock import ManualClock
from observer.base.errors import ConfigError, ObserverError
from observer.base.instance import Instance
from observer.base.settings_errors import decode_toml
from observer.brokers.accounts.health import Health
from observer.brokers.accounts.health_file import HealthFile
from observer.brokers.accounts.keys import read_keys
from observer.brokers.accounts.pool import AccountSettings, parse_pool
from observer.brokers.accounts.shared_rate_limiter import SharedRateLimiter
from observer.brokers.accounts.token_cache import TokenRecord, TokenStore
from observer.brokers.broker import FileStamp
from observer.brokers.raw import RawCaptureRequest, _parsed
from observer.brokers.settings import RateLimitSettings
from observer.calendar import day_file, packages
from observer.calendar.phases import DayRules, contradictions
from observer.calendar.session_file import SHIPPED, parse_session_rules
from observer.calendar.trading_day import TradingDay
from observer.monitoring.alerts.decisions import Condition
from observer.monitoring.alerts.process import _file
from observer.monitoring.alerts.silences import Silences
from observer.reference.etf.manual import parse_manual
from observer.reference.etf.settings import KrxSettings
from observer.reference.etf.sources import _auth_key, _login
from observer.reference.listings.files import LocalCopy, LocalFiles, PendingApproval
from observer.reference.sectors.answer_cache import AnswerCache
from observer.reference.sectors.files import read_tables
from observer.reference.sectors.finance_database import read_known_sectors
from observer.selection.settings import parse_selection
from observer.supervisor.mark import parse_mark
from observer.supervisor.notify import parse_notification
from observer.supervisor.pid_registry import PidRegistry, Registered, Registry
from observer.supervisor.proc import ProcessId
from observer.system.config import settings_of
from tests.brokers.teaching import teach
from tests.fuzz.folder import file_of, folder
from tests.fuzz.target import Target, chosen, one_of

CONFIG: Final = Path(__file__).parents[2] / "config"
NOW_NS: Final = 1_795_000_000_000_000_000
_json: Final = msgspec.json.encode


# --- settings --------------------------------------------------------------------------------------------------


def read_settings(content: bytes) -> None:
    settings_of(decode_toml(content, "observer.toml"))


def read_pool(content: bytes) -> None:
    parse_pool(content, "provider_pool.json")


def read_selection(content: bytes) -> None:
    parse_selection(content, "symbol_selection.json")


def settings() -> Sequence[bytes]:
    small = b'[run]\ndata = "d"\nlog_level = "INFO"\n[store]\nurl = "sqlite:///x.db"\n[kis]\nrest_url = "http://a:1"\n'
    endpoints = b'[run.endpoints]\ningest = "tcp://127.0.0.1:1"\nfeed = "tcp://127.0.0.1:2"\n'
    times = b'[schedule]\nwake_up = "08:00"\n[track_a]\ninterval_s = 600.0\n[backup]\nat = "21:00"\nkeep = 3\n'
    shipped = (CONFIG / "observer.toml").read_bytes().split(b"\n[")
    return [small, endpoints, times, *(b"[" + section for section in shipped[1:])]


def pools() -> Sequence[bytes]:
    account = {"account_id": "account_001", "keys_file": "config/keys.toml", "max_slots": 41, "priority": 1}
    return [_json({"provider_pool": {"accounts": [account]}}), (CONFIG / "provider_pool.json").read_bytes()]


def selections() -> Sequence[bytes]:
    few = {"universe": {"min_close_price": 4000}, "slots": {"max_slots": 41}, "triggers": {"manual": {"ttl": 1}}}
    return [_json(few), (CONFIG / "observer" / "symbol_selection.json").read_bytes()]


def redact_configuration(content: bytes) -> None:
    configuration.configuration_files(file_of("configuration", "observer.toml", content))
    configuration._content(file_of("configuration", "pool.json", content))


# --- keys and tokens -------------------------------------------------------------------------------------------


def read_account_keys(content: bytes) -> None:
    path = file_of("keys", "keys.toml", content)
    read_keys([AccountSettings(account_id="main", keys_file=str(path))], {})


def read_krx_keys(content: bytes) -> None:
    settings = KrxSettings(keys_file=str(file_of("keys", "krx.toml", content)))
    _auth_key(settings)
    _login(settings)


def account_keys() -> Sequence[bytes]:
    return [
        *chosen(0, b'[main]\napp_key = "PS1"\napp_secret = "s"\n[other]\napp_key = "PS2"\napp_secret = "t"\n'),
        *chosen(1, b'[open_api]\nauth_key = "k"\n[data]\nuser = "u"\npassword = "p"\n'),
    ]


def read_token_file(content: bytes) -> None:
    record, _, note = content.partition(b"--")
    file_of("tokens", "main.rejected", note)
    TokenStore(file_of("tokens", "main.json", record).parent, "main").pending_rejection()


def read_health_file(content: bytes) -> None:
    HealthFile(file_of("tokens", "main.health", content).parent, "main").read()


def read_limiter_file(content: bytes) -> None:
    settings = RateLimitSettings(calls_per_second=18.0)
    limiter = SharedRateLimiter(file_of("limiter", "main.limit", content), ManualClock(NOW_NS), settings)
    limiter.learned()
    limiter.close()


def account_files() -> Sequence[bytes]:
    token = TokenRecord(access_token="t", approval_key="k", issued_ns=1, expires_ns=2, renewed_ns=1)
    path = folder() / "seed.limit"
    limiter = SharedRateLimiter(path, ManualClock(NOW_NS), RateLimitSettings(calls_per_second=18.0))
    teach(limiter, 3)
    limiter.close()
    return [
        *chosen(0, _json(token) + b"--0123456789abcdef"),
        *chosen(1, _json(Health(checked_ns=NOW_NS))),
        *chosen(2, path.read_bytes()),
    ]


# --- calendar --------------------------------------------------------------------------------------------------


def read_days(content: bytes) -> None:
    runtime = file_of("days", day_file.FILE_NAME, content).parent
    msgspec.json.encode(day_file.read_trading_days(runtime))
    day_file.answers(runtime, _question())


def _question() -> day_file.Question:
    return day_file.Question(first=date(2026, 11, 1), last=date(2026, 11, 30), reviewed="x", versions={})


def read_overlay(content: bytes) -> None:
    packages.read_overlay(file_of("days", "overlay.toml", content))


def read_sessions(content: bytes) -> None:
    rules = parse_session_rules(content, "sessions.toml")
    list(contradictions(DayRules(sessions=rules, venue="KRX", track_a=tuple(rules.names), track_b=tuple(rules.names))))


def days() -> Sequence[bytes]:
    made = [TradingDay(date(2026, 11, 20), True, "overlay"), TradingDay(date.max, False, "x")]
    entry = b'[[day]]\ndate = 2026-11-19\ntrades = true\nreason = "exam"\nreviewed = 2026-01-01\n'
    closed = b'[[day]]\ndate = 2026-12-31\ntrades = false\nreason = "end"\nreviewed = 2026-01-01\n'
    return [
        *chosen(0, _json(day_file.DayFile(made, _question()))),
        *chosen(1, entry + closed, entry + entry),
        *chosen(2, SHIPPED.read_bytes()),
    ]


# --- backups ---------------------------------------------------------------------------------------------------


def read_manifest(content: bytes) -> None:
    """A manifest with the right digest: its paths stay in the package, its numbers can be stored."""
    found = manifest.decoded(content, manifest.digest_line_of(content))
    top = Path("/package")
    for path in (found.database, *(file.path for file in found.files)):
        assert "\0" not in path
        assert (top / path).is_relative_to(top)
        assert ".." not in Path(path).parts
    msgspec.msgpack.encode(found)


def read_verified(content: bytes) -> None:
    path = file_of("package", package.VERIFIED, content)
    package._verified_ns(path.parent, b"{}")


def manifests() -> Sequence[bytes]:
    made = manifest.Manifest(
        kind="daily",
        taken_ns=NOW_NS,
        instance=Instance(),
        database="database.sqlite3",
        schema=None,
        schema_revision="0001",
        marks={"ab" * 16: 12},
        files=[manifest.PackagedFile("universe/20261120_kr_stocks.json", 10, "00" * 32)],
    )
    verified = manifest.Verified(verified_ns=NOW_NS, manifest_sha256=hashlib.sha256(b"{}").hexdigest())
    return [*chosen(0, manifest.encoded(made)), *chosen(1, _json(verified))]


# --- the runtime folder ----------------------------------------------------------------------------------------


def read_alerts(content: bytes) -> None:
    msgspec.json.encode(_file(file_of("runtime", "core-writer.json", content)).read())


def read_silences(content: bytes) -> None:
    Silences(file_of("alerts", "silenced.json", content).parent.parent).until(NOW_NS)


def read_registry(content: bytes) -> None:
    PidRegistry(file_of("registry", "children.json", content).parent).earlier()


def read_raw_request(content: bytes) -> None:
    _parsed(content)


def runtime_files() -> Sequence[bytes]:
    condition = Condition("critical", NOW_NS, "disk full", 2, NOW_NS, 1, NOW_NS)
    registry = Registry("boot", "/sys/fs/cgroup/x", (Registered(ProcessId(7, 9), "etf"),))
    return [
        *chosen(0, _json({"database_unavailable": condition})),
        *chosen(1, _json({"database_unavailable": NOW_NS + 1})),
        *chosen(2, _json(registry)),
        *chosen(3, _json(RawCaptureRequest("1", "/data/raw"))),
    ]


def read_mark(content: bytes) -> None:
    """The environment of any process on the machine."""
    parse_mark(content.decode(errors="surrogateescape"))


def read_notification(content: bytes) -> None:
    status = parse_notification(content).status
    assert status is None or status.isprintable()


def said_by_processes() -> Sequence[bytes]:
    return [
        *chosen(0, b"803-1f2e.1234.567890", b"x.1.2"),
        *chosen(1, b"READY=1\nSTATUS=collecting 41 symbols\nWATCHDOG=1", b"STOPPING=1\nBARRIER=1"),
    ]


# --- listings, ETFs, sectors -----------------------------------------------------------------------------------


def read_local_copy(content: bytes) -> None:
    files = LocalFiles(file_of("master", "kospi.json", content).parent, 3)
    file_of("master", "kospi.mst", b"x")
    files.copy("KOSPI")
    (files.pending_path("KOSPI").with_suffix(".json")).write_bytes(content)
    files.pending("KOSPI")


def read_manual(content: bytes) -> None:
    text = content.decode(errors="replace")
    msgspec.msgpack.encode(list(parse_manual(text, "etf.csv").entries.values()))


def read_known(content: bytes) -> None:
    read_known_sectors(file_of("known", "known.csv", content))


def read_packed_known(content: bytes) -> None:
    read_known_sectors(file_of("known", "known.bz2", content))


def read_answers(content: bytes) -> None:
    AnswerCache(file_of("answers", "answers.jsonl", content), NOW_NS).get("q", NOW_NS)


def read_code_table(content: bytes) -> None:
    read_tables(file_of("tables", "US.json", content).parent)


def reference_files() -> Sequence[bytes]:
    copy = LocalCopy(
        FileStamp(300, "Fri, 20 Nov 2026 00:00:00 GMT", "etag"), NOW_NS, NOW_NS, hashlib.sha256(b"x").hexdigest()
    )
    known = b"symbol,name,sector,industry\nAAPL,Apple,Technology,Phones\n0700.HK,Tencent,Healthcare,\n"
    table = (CONFIG / "sectors" / "US.json").read_bytes()
    return [
        *chosen(0, _json(copy), _json(PendingApproval("run", "60 removed", NOW_NS, copy))),
        *chosen(1, b"symbol,expense_ratio_percent,issuer,leverage\n069500,0.15,A,1\n# c\n252670,0.64%,B,-2X\n"),
        *chosen(2, known),
        *chosen(3, bz2.compress(known)),
        *chosen(4, b'["q",%d,["a","b"]]\n["r",1,[]]\n' % NOW_NS),
        *chosen(5, table[: table.index(b"\n", 400)].rstrip(b",") + b"]}"),
    ]


TARGETS: Final = (
    Target("settings_toml", settings, read_settings, (ConfigError,), weight=1, length_max=8192),
    Target(
        "settings_json",
        lambda: [*chosen(0, *pools()), *chosen(1, *selections())],
        one_of(read_pool, read_selection),
        (ConfigError,),
        weight=1.5,
        length_max=8192,
    ),
    Target("settings_redacted", settings, redact_configuration, (), weight=1, length_max=8192),
    Target("keys_file", account_keys, one_of(read_account_keys, read_krx_keys), (ObserverError,), weight=1.5),
    Target(
        "account_files",
        account_files,
        one_of(read_token_file, read_health_file, read_limiter_file),
        (ObserverError,),
        weight=2,
    ),
    Target("trading_days", days, one_of(read_days, read_overlay, read_sessions), (ObserverError,), weight=2),
    Target("manifest", manifests, one_of(read_manifest, read_verified), (ObserverError,), weight=3),
    Target(
        "runtime_files",
        runtime_files,
        one_of(read_alerts, read_silences, read_registry, read_raw_request),
        (),
        weight=3,
    ),
    Target("processes", said_by_processes, one_of(read_mark, read_notification), (), weight=3, length_max=8192),
    Target(
        "reference_files",
        reference_files,
        one_of(read_local_copy, read_manual, read_known, read_packed_known, read_answers, read_code_table),
        (ObserverError,),
        weight=2,
    ),
)
