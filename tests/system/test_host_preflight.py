"""A setting of backups that can only fail is refused before a process is spawned."""

import socket
from pathlib import Path

import msgspec
import pytest

from observer.archive.settings import BackupSettings
from observer.base.errors import ConfigError
from observer.base.settings import endpoints_of
from observer.cli.failures import failure
from observer.demo.configuration import DemoConfiguration, write_demo_configuration
from observer.system.config import load_settings
from observer.system.preflight import require_usable_machine
from tests.folders import short_folder


@pytest.fixture
def folder():
    with short_folder() as name:
        yield Path(name)


def with_backup(folder, backup):
    settings = load_settings(write_demo_configuration(folder, DemoConfiguration(symbols=10, seed=7)))
    endpoints_of(settings.run)  # makes the runtime folder
    return msgspec.structs.replace(settings, backup=backup)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"command": ("no-such-program", "{package}")}, "backup.command = 'no-such-program': no such program on PATH"),
        ({"folder": "{folder}/file/backup"}, "backup.folder = {folder}/file/backup"),
    ],
    ids=["command", "folder"],
)
def test_a_setting_of_backups_that_can_only_fail_is_refused(folder, changed, named):
    (folder / "file").touch()
    there = {
        key: each.replace("{folder}", str(folder)) if isinstance(each, str) else each for key, each in changed.items()
    }
    settings = with_backup(folder, msgspec.convert(there, BackupSettings))
    with pytest.raises((ConfigError, OSError)) as refusal:
        require_usable_machine(settings)
    assert named.replace("{folder}", str(folder)) in str(refusal.value)


def test_a_folder_that_cannot_be_made_is_refused_though_its_permissions_admit_it(folder):
    settings = with_backup(folder, BackupSettings())
    run = msgspec.structs.replace(settings.run, data="/proc/data")
    with pytest.raises(OSError, match=r"run\.data = /proc/data") as refusal:
        require_usable_machine(msgspec.structs.replace(settings, run=run))
    text, status = failure(refusal.value) or ("", 0)
    assert text.endswith("correct the path, or make its folder first")
    assert status == 2


def test_settings_of_backups_that_can_work_are_admitted_though_a_folder_is_not_mounted_yet(folder):
    backup = BackupSettings(folder=f"{folder}/made", copy_to=f"{folder}/other", command=("true", "{package}"))
    require_usable_machine(with_backup(folder, backup))


@pytest.mark.parametrize("section", ["metrics", "web"])
def test_a_port_of_the_exporter_or_the_page_that_is_in_use_is_refused(folder, section):
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        ports = {f"{section}_port": held.getsockname()[1]}
        settings = load_settings(write_demo_configuration(folder, DemoConfiguration(symbols=10, seed=7, **ports)))
        endpoints_of(settings.run)  # makes the runtime folder
        with pytest.raises(OSError, match=rf"{section}\.port"):
            require_usable_machine(settings)
