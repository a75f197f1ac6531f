"""The files of a new system's folder, from the shipped ones. Pure but for reading those.

A unit names its folder and the program; a configuration is the shipped one, with the values of the options in it.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from observer.base.errors import ConfigError
from observer.base.shipped_files import configuration_files, shipped_file
from observer.brokers.broker import DEFAULT_BROKER, broker_named

CONFIGURATION: Final = "config/observer.toml"
SYSTEMD_UNIT: Final = "config/observer.service"
SUPERVISORD: Final = "supervisord.conf"
_MANUAL: Final = "OPERATIONS.md"
KEYS: Final = {
    "config/keys.toml": """\
# Keys of the broker's accounts: a table for each account of provider_pool.json. For their owner alone: mode 600.

# [main]
# app_key = ""
# app_secret = ""
""",
    "config/alert_targets.toml": """\
# URLs of the targets of alerts, by the names of [alerts.targets] in observer.toml. For their owner alone: mode 600.

# phone = "ntfys://ntfy.example/a-topic-that-only-you-know"
""",
}
"""Templates of the files of secrets, which a person fills in, so that no later init replaces them."""

_UNIT_FOLDER: Final = "/opt/observer"
_UNIT_PROGRAM: Final = f"{_UNIT_FOLDER}/.venv/bin/observer"
_SUPERVISED_PROGRAM: Final = "%(here)s/.venv/bin/observer"
_PLAIN_PATH: Final = re.compile(r"/[A-Za-z0-9_./+-]*")  # nothing that systemd or supervisord would replace or split
_HIDDEN: Final = ("/home/", "/root/", "/run/user/")  # by ProtectHome=yes of the unit


class InitOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a new configuration says: the instance's name, whether the broker's hosts are those for practice, whether
    figures are served for Prometheus; and for which service managers there is a file.
    """

    instance: str = "main"
    paper: bool = False
    metrics: bool = False
    systemd: bool = False
    supervisord: bool = False


def new_files(options: InitOptions, folder: Path, program: Path) -> dict[str, str]:
    """The files of the new folder without those of secrets, by their paths in it. Both paths are absolute.

    Raises:
        ConfigError: a service manager cannot use one of these paths.
    """
    found = {f"config/{name}": shipped_file(name).read_text(encoding="utf-8") for name in configuration_files()}
    found[CONFIGURATION] = _configuration(found[CONFIGURATION], options)
    found[_MANUAL] = shipped_file(_MANUAL).read_text(encoding="utf-8")
    if options.systemd:
        found[SYSTEMD_UNIT] = _unit(folder, program)
    if options.supervisord:
        found[SUPERVISORD] = _supervisord(program)
    return found


def is_hidden(path: Path) -> bool:
    """Whether the unit hides this path from Observer, as it does all home folders."""
    return f"{path}/".startswith(_HIDDEN)


def _configuration(text: str, options: InitOptions) -> str:
    if options.instance != "main":
        text = _with_value(text, "instance", "name", f'"{options.instance}"')
    if options.paper:
        for name, value in broker_named(DEFAULT_BROKER).settings.PRACTICE.items():
            section, _, key = f"{DEFAULT_BROKER}.{name}".rpartition(".")
            text = _with_value(text, section, key, value)
    if options.metrics:
        text = text.replace("# [metrics] ", "[metrics]   ").replace("# port = 9464 ", "port = 9464   ")
    return text


def _with_value(text: str, section: str, key: str, value: str) -> str:
    """The text of a TOML file in which the section's key has another value, with the comment that it had."""
    before, header, rest = text.partition(f"\n[{section}]")
    pattern = re.compile(rf'^{key} = (?:"[^"]*"|[\d._]+)', re.MULTILINE)
    own, marker, behind = rest.partition("\n[")
    changed, count = pattern.subn(lambda _: f"{key} = {value}", own)
    assert count == 1, f"the shipped configuration has [{section}] {key}"
    return f"{before}{header}{changed}{marker}{behind}"


def _unit(folder: Path, program: Path) -> str:
    _require_plain({"folder": folder, "program": program}, "systemd")
    for path in (folder, program):
        if is_hidden(path):
            remedy = f"install Observer and make this folder elsewhere, in {_UNIT_FOLDER} say"
            raise ConfigError(f"{path}: the unit hides all home folders from Observer (ProtectHome=yes): {remedy}")
    text = shipped_file("observer.service").read_text(encoding="utf-8")
    introduction, _, rest = text.partition("#   useradd")  # it says where the two paths stood
    rest = rest.replace(_UNIT_PROGRAM, "\0").replace(_UNIT_FOLDER, str(folder)).replace("\0", str(program))
    return f"{introduction}#   useradd{rest}"


def _supervisord(program: Path) -> str:
    _require_plain({"program": program}, "supervisord")
    text = shipped_file(SUPERVISORD).read_text(encoding="utf-8")
    return text.replace(_SUPERVISED_PROGRAM, str(program)).replace(".venv/bin/supervisor", "supervisor")


def _require_plain(paths: Mapping[str, Path], manager: str) -> None:
    for name, path in paths.items():
        if _PLAIN_PATH.fullmatch(str(path)) is None:
            remedy = "use letters, digits and ._+- alone"
            raise ConfigError(f"{path}: {manager} would read this path of the {name} in another way: {remedy}")
