"""Findings about the installation: configuration, keys, runtime folder, calendar, second copies, targets of alerts.

Pure: `observer.system.doctor.installation_facts` gathers what these functions judge.
"""

import datetime as dt
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from observer.system.doctor.finding import Finding, critical, ok, warning

REVIEW_DAYS_MAX: Final = 180
"""A review of the trading days older than this may lack a holiday or an election that was announced since."""
HORIZON_DAYS_MIN: Final = 30
"""So far ahead the reviewed days should reach; the program itself computes forty days."""

_PRIVATE: Final = 0o077


class ConfigurationFacts(msgspec.Struct, frozen=True):
    """The file, what is wrong in it and in the files that it names, and what may be a mistake; a line each."""

    path: str
    problems: Sequence[str]
    notices: Sequence[str]
    is_readable: bool = True


class SecretFile(msgspec.Struct, frozen=True):
    """A file or a folder of secrets: what is in it, its permissions (None: it is absent), what to do if it is
    another user's (empty: it is ours).
    """

    purpose: str
    path: str
    mode: int | None
    foreign: str = ""
    is_folder: bool = False


class KeyFacts(msgspec.Struct, frozen=True):
    """The accounts, why some have no usable keys (a line each), and the files of other secrets. `are_removed`: as
    `notices.are_keys_removed`.
    """

    accounts: int
    problems: Sequence[str]
    files: Sequence[SecretFile]
    are_removed: bool = False


class RuntimeFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The runtime folder: why it cannot be used (empty: it can), its permissions (None: it is absent); what to do if it
    is another user's (empty: it is ours); whether a system runs there; else what one that ended without order left:
    sockets, and processes by pid.
    """

    folder: str
    error: str = ""
    mode: int | None = None
    foreign: str = ""
    is_running: bool = False
    sockets: Sequence[str] = ()
    processes: Sequence[int] = ()


class CalendarFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The file of reviewed trading days: why it cannot be read, its last day, when it was last reviewed; the last day
    that a system computed (None: none did); and today.
    """

    path: str
    today: dt.date
    error: str = ""
    last_day: dt.date | None = None
    reviewed: dt.date | None = None
    computed_to: dt.date | None = None


class SecondCopyFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Where packages are copied to: the folder (empty: none), whether it is there, whether it has the newest package
    (None: there is none); the program that gets each package (empty: none), and whether it is there.
    """

    copy_to: str = ""
    has_folder: bool = False
    newest: str = ""
    has_newest: bool = False
    program: str = ""
    has_program: bool = False

    @property
    def is_well(self) -> bool:
        """Whether all that is named is there."""
        is_copied = not self.copy_to or (self.has_folder and (self.has_newest or not self.newest))
        return is_copied and (self.has_program or not self.program)


class TargetFacts(msgspec.Struct, frozen=True):
    """The targets of alerts, and what keeps messages from them, a line each."""

    targets: Sequence[str]
    problems: Sequence[str]


def judge_configuration(facts: ConfigurationFacts) -> Iterator[Finding]:
    """Every wrong key with its line; then what may be a mistake."""
    for line in facts.problems:
        remedy = "correct it; config/observer.toml of the release states every key with its default"
        yield critical("configuration", line, remedy if facts.is_readable else "name the file with --config")
    for line in facts.notices:
        yield warning("configuration", line, "correct it, or remove the key")
    if not facts.problems and not facts.notices:
        yield ok("configuration", facts.path)


def judge_keys(facts: KeyFacts) -> Iterator[Finding]:
    """Accounts without usable keys, and secrets that others can read."""
    is_well = not facts.problems
    if facts.are_removed:
        yield ok("keys", "none: the demo has removed those of its simulated broker")
    for line in () if facts.are_removed else facts.problems:
        yield critical("keys", *_parted(line))
    for file in facts.files:
        if file.mode is None:
            continue
        if file.foreign:
            yield critical("keys", f"{file.purpose} {file.path} belongs to another user", file.foreign)
        elif file.mode & _PRIVATE:
            right = 700 if file.is_folder else 600
            text = f"{file.purpose} {file.path} can be read by others (mode {file.mode:o})"
            yield critical("keys", text, f"`chmod {right} {file.path}`")
        else:
            continue
        is_well = False
    if is_well:
        yield ok("keys", f"of {facts.accounts} account{'s' * (facts.accounts != 1)}, readable by their owner alone")


def judge_runtime(facts: RuntimeFacts) -> Iterator[Finding]:
    """A folder that is ours alone, without anything of a system that ended."""
    if facts.error:
        yield critical("runtime", facts.error, "correct [run] runtime, or make the folder for this user alone")
        return
    if facts.mode is None:
        yield ok("runtime", f"{facts.folder}: made at the first start")
        return
    if facts.foreign:
        yield critical("runtime", f"{facts.folder} belongs to another user", facts.foreign)
    elif facts.mode & _PRIVATE:
        text = f"{facts.folder} is open to others (mode {facts.mode:o})"
        yield critical("runtime", text, f"`chmod 700 {facts.folder}`")
    elif facts.processes:
        pids = ", ".join(map(str, facts.processes))
        text = f"{facts.folder}: processes of a system that ended still run: pid {pids}"
        yield warning("runtime", text, "`observer run` ends them before it starts, or kill them")
    elif facts.sockets:
        text = f"{facts.folder}: {', '.join(facts.sockets)} of a system that did not end in order"
        yield warning("runtime", text, "`observer run` replaces them; see data/logs/supervisor.log for its end")
    else:
        yield ok("runtime", f"{facts.folder}: {'a system runs' if facts.is_running else 'no system runs'}")


def judge_calendar(facts: CalendarFacts) -> Iterator[Finding]:
    """How far the reviewed days reach, and how old their review is."""
    review = f"look at the exchange's notices, and date the review of {facts.path}"
    if facts.error:
        yield critical(
            "calendar",
            facts.error,
            "name the file in [run] trading_days; `observer init NEW` writes the shipped one into a new folder",
        )
        return
    if facts.reviewed is None or facts.last_day is None:
        yield warning("calendar", f"{facts.path} has no reviewed day", review)
        return
    reach = (facts.last_day - facts.today).days
    age = (facts.today - facts.reviewed).days
    text = f"{facts.path}: reviewed days to {facts.last_day}, last review {facts.reviewed}"
    if facts.computed_to is not None:
        text += f", days computed to {facts.computed_to}"
    if reach < HORIZON_DAYS_MIN or age > REVIEW_DAYS_MAX:
        yield warning("calendar", text, review)
    else:
        yield ok("calendar", text)


def judge_second_copy(facts: SecondCopyFacts) -> Iterator[Finding]:
    """Whether a package survives this disk."""
    if facts.copy_to and not facts.has_folder:
        text = f"backup.copy_to = {facts.copy_to}: no such folder"
        yield critical("second copy", text, "mount or make it, or remove the setting")
    elif facts.copy_to and facts.newest and not facts.has_newest:
        text = f"{facts.copy_to} does not have the newest package {facts.newest}"
        yield warning("second copy", text, "`observer backup now` copies the next one; see the alert of the last")
    if facts.program and not facts.has_program:
        text = f"backup.command = {facts.program}: no such program on PATH"
        yield critical("second copy", text, "install it, or give its path")
    if not facts.copy_to and not facts.program:
        yield ok("second copy", "none: packages lie beside the data ([backup] copy_to or command)")
    elif facts.is_well:
        yield ok("second copy", facts.copy_to or facts.program)


def judge_targets(facts: TargetFacts) -> Iterator[Finding]:
    """Whether a message about an alert can be sent."""
    for line in facts.problems:
        yield critical("alerts", *_parted(line))
    if not facts.problems:
        names = ", ".join(facts.targets)
        yield ok("alerts", f"sent to {names}" if names else "no target: alerts stay on this machine ([alerts.targets])")


def _parted(line: str) -> tuple[str, str]:
    """The text and the remedy of an error's line, "what: why: remedy"."""
    text, _, remedy = line.rpartition(": ")
    return text or line, remedy
