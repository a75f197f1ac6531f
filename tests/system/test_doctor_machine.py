"""Figures behind the findings: versions in order, the bounds of a clock's offset, growth by packages."""

import resource
import socket
from pathlib import Path

import msgspec
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.delivery import Delivered
from observer.archive.backup import back_up, plan_of
from observer.archive.day import SealedDay, Version, write_manifest
from observer.archive.settings import BackupSettings
from observer.base.instance import Instance
from observer.base.settings import RunSettings
from observer.base.units import NS_PER_DAY
from observer.store.exports import ledgers_folder
from observer.system.doctor.machine import (
    Offset,
    bytes_per_day,
    clock_finding,
    disk_of,
    is_older,
    kind_at,
    limit_finding,
    offset_bounds,
    tried_hosts,
    zone_finding,
)
from observer.system.doctor.place import place_of
from tests.archive.scene import GO_ON
from tests.builders import trades
from tests.folders import short_folder
from tests.system.scene import CONFIGURATION, NOW_NS, URL, broker_host, commit, install


@pytest.mark.parametrize(
    ("version", "least", "older"),
    [
        ("3.9.7", "3.11", True),
        ("3.11", "3.11.0", False),
        ("27.1.0", "27", False),
        ("0.19.9", "0.20", True),
        ("8.0rc1", "8", False),
        ("2.0.0.post1", "2.0", False),
    ],
)
def test_versions_are_compared_by_their_numbers(version, least, older):
    assert is_older(version, least) is older


@given(
    offset_ms=st.integers(-100_000, 100_000),
    sent_ms=st.integers(10**9, 2 * 10**9),
    out_ms=st.integers(0, 3_000),
    back_ms=st.integers(0, 3_000),
)
def test_the_true_offset_lies_between_the_bounds(offset_ms, sent_ms, out_ms, back_ms):
    stamped_s = (sent_ms + out_ms - offset_ms) // 1000  # the server's clock, cut to its second
    received_ms = sent_ms + out_ms + back_ms
    least_s, most_s = offset_bounds(sent_ms * 10**6, received_ms * 10**6, stamped_s)
    assert least_s - 1e-6 <= offset_ms / 1000 <= most_s + 1e-6


@pytest.mark.parametrize(
    ("least_s", "most_s", "level"),
    [(-0.4, 0.7, "ok"), (1.5, 2.7, "warning"), (-4.0, -2.9, "warning"), (6, 7, "critical")],
)
def test_an_offset_counts_by_its_smallest_possible_size(least_s, most_s, level):
    assert clock_finding(True, None, Offset("broker", least_s, most_s)).level == level


def test_a_clock_that_was_not_asked_about_is_no_finding():
    assert clock_finding(None, None, None).level == "ok"


def test_wrong_time_zone_data_are_critical():
    assert "+0 h instead of +9 h" in zone_finding("Asia/Seoul", 0.0, 32_400.0).text


def test_any_number_of_open_files_is_enough():
    finding = limit_finding(resource.RLIM_INFINITY)
    assert (finding.level, finding.text) == ("ok", "a process may open any number of files")


def test_of_two_mounts_at_one_folder_the_later_one_counts():
    mounts = [("/", "ext4"), ("/data", "autofs"), ("/data", "nfs4"), ("/data/other", "xfs"), ("/datas", "btrfs")]
    assert kind_at(Path("/data/observer.db"), [(Path(folder), kind) for folder, kind in mounts]) == "nfs4"


def test_a_disk_is_read_only_as_the_kernel_says(tmp_path):
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    read_only = [Path(mount[1]) for mount in mounts if "ro" in mount[3].split(",") and Path(mount[1]).is_dir()]
    assert not disk_of(tmp_path, []).is_read_only
    if not read_only:
        pytest.skip("no file system is mounted read-only here")
    assert disk_of(read_only[0], []).is_read_only


def test_a_disk_is_as_full_as_the_alert_of_the_machine_says(tmp_path):
    """What a file system reserves for root is neither used nor free."""
    disk, used_percent = disk_of(tmp_path, ["data"]), psutil.disk_usage(str(tmp_path)).percent
    assert 100 * (1 - disk.free_bytes / disk.total_bytes) == pytest.approx(used_percent, abs=0.1)


@pytest.fixture
def installed(monkeypatch):
    """An installation in the working directory."""
    with short_folder() as folder, broker_host() as host:
        monkeypatch.chdir(folder)
        install(host.port)
        yield folder


def back_up_after(days):
    """The daily package of so many days later."""
    plan = plan_of(BackupSettings(), RunSettings(data="data", universe="universe"), Instance(), URL, CONFIGURATION)
    back_up(plan, "daily", NOW_NS + days * NS_PER_DAY, GO_ON)


def test_the_growth_between_the_packages_of_two_days_gives_the_days_left(installed):
    assert bytes_per_day(place_of(CONFIGURATION, NOW_NS)) is None
    commit(Delivered("track-a", "cc" * 16, 1, trades(20_000)))
    back_up_after(1)
    grown = [each.stat().st_size for each in sorted(Path("data/backup").glob("*/database.sqlite3"))]
    assert bytes_per_day(place_of(CONFIGURATION, NOW_NS)) == 3 * (
        grown[1] - grown[0]
    )  # the database, and two packages of it
    place = place_of(CONFIGURATION, NOW_NS)
    assert place.base is not None
    other = msgspec.structs.replace(place.base, instance=Instance(name="other"))
    assert bytes_per_day(msgspec.structs.replace(place, base=other)) is None, "these are not its packages"


def test_the_ledgers_take_room_in_the_data_folder_and_once_for_each_three_packages(installed):
    folder = ledgers_folder("data")
    for day, ledger_bytes in ((1, 900_000), (2, 1_800_000), (3, 0)):
        (folder / "gaps").mkdir(parents=True, exist_ok=True)
        (folder / "gaps" / f"2026112{day}.jsonl").write_bytes(bytes(ledger_bytes))
        back_up_after(day)
    packages = sorted(Path("data/backup").glob("*-daily-*"))
    copies = [(each / "database.sqlite3").stat().st_size for each in packages]
    bundled = (packages[-1] / "ledgers/202611.tar").stat().st_size
    assert bundled > 2_700_000, "the ledgers of three days"
    # Four packages lie there: two files for a month that is over, and the data folder's own.
    expected = ((copies[-1] - copies[0]) * 5 + bundled * 3) / 3
    assert bytes_per_day(place_of(CONFIGURATION, NOW_NS)) == pytest.approx(expected)


def test_the_sealed_days_take_room_on_five_days_of_a_week(installed):
    with CONFIGURATION.open("a") as file:
        file.write("[lake]\n")
    back_up_after(1)
    grown = bytes_per_day(place_of(CONFIGURATION, NOW_NS)) or 0.0
    for session_date in ("2026-11-04", "2026-11-05", "2026-11-06", "2026-11-09", "2026-11-10", "2026-11-11"):
        version = Version(1, 1_000, "", 70_000_000, NOW_NS, 1)
        write_manifest(Path("data/lake"), SealedDay("kr_stocks", session_date, NOW_NS, {"trades": (version,)}))
    assert bytes_per_day(place_of(CONFIGURATION, NOW_NS)) == grown + 5 * 140_000_000 / 7, "the copy, too"
    (metadata := Path("data/lake/_catalogue/observer/trades/metadata")).mkdir(parents=True)
    (metadata / "1-m0.avro").write_bytes(bytes(42_000))
    assert bytes_per_day(place_of(CONFIGURATION, NOW_NS)) == grown + 5 * (140_000_000 + 42_000 / 6) / 7


def test_the_tables_of_days_take_room_on_five_days_of_a_week(installed):
    back_up_after(1)
    grown = bytes_per_day(place_of(CONFIGURATION, NOW_NS)) or 0.0
    for day in ("20261104", "20261105", "20261106", "20261109", "20261110", "20261111"):
        for track, name in (("scalp", "trades.csv"), ("swing", "snapshots.csv")):
            (folder := ledgers_folder("data") / track / "kis/kr_stocks" / day).mkdir(parents=True)
            (folder / name).write_bytes(bytes(70_000))
            (folder / ".rows.json").write_text("{}")
    assert bytes_per_day(place_of(CONFIGURATION, NOW_NS)) == grown + 5 * 140_000 / 7


def test_a_host_that_takes_no_connection_is_given_up_after_a_short_time(installed, monkeypatch):
    monkeypatch.setattr("observer.system.doctor.machine.CONNECT_S", 0.05)
    with socket.socket() as full:  # a queue that is full answers nothing
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        waiting = []
        for _ in range(4):
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(address)
            waiting.append(client)
        text = CONFIGURATION.read_text()
        line = next(line for line in text.splitlines() if line.startswith("files_url"))
        CONFIGURATION.write_text(text.replace(line, f'files_url = "http://127.0.0.1:{address[1]}"'))
        [host] = [each for each in tried_hosts(place_of(CONFIGURATION, NOW_NS)) if each.error]
        for client in waiting:
            client.close()
    assert (host.setting, host.error) == ("kis.files_url", "timed out")


def with_rest(line):
    """Add a section `[kis.rest]` with this line to the configuration."""
    CONFIGURATION.write_text(f"{CONFIGURATION.read_text()}\n[kis.rest]\n{line}\n")


def test_a_file_of_certificates_that_is_not_there_is_stated_for_each_encrypted_host(installed):
    with socket.create_server(("127.0.0.1", 0)) as server:
        with_rest('certificates = "/nowhere/company.pem"')
        text = CONFIGURATION.read_text()
        for key in ("rest_url", "files_url"):
            line = next(line for line in text.splitlines() if line.startswith(key))
            text = text.replace(line, f'{key} = "https://127.0.0.1:{server.getsockname()[1]}"')
        CONFIGURATION.write_text(text)
        errors = {each.setting: each.error for each in tried_hosts(place_of(CONFIGURATION, NOW_NS)) if each.error}
    assert {"kis.rest_url", "kis.files_url"} <= set(errors)
    assert "certificates: /nowhere/company.pem" in errors["kis.rest_url"]


def test_hosts_that_are_called_through_a_proxy_are_not_tried(installed):
    with_rest('proxy = "http://127.0.0.1:9"')
    assert [each.setting for each in tried_hosts(place_of(CONFIGURATION, NOW_NS))] == ["kis.stream_url"]
