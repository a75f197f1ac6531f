"""Reads the session rules from their file, and refuses rules that contradict each other."""

import datetime as dt
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

from observer.base.errors import ConfigError, did_you_mean
from observer.base.files import read_file
from observer.base.settings_errors import Problem, converted, decode_toml, wrong_settings
from observer.base.shipped_files import shipped_file
from observer.calendar.sessions import FIRST_SESSION, WEEKDAYS, SessionRules, TrackProfile, hours_on

SHIPPED: Final = shipped_file("sessions.toml")
"""The file that comes with Observer, used where the default's one is not in the folder."""

_DAY_S: Final = 24 * 3600


def read_session_rules(path: Path) -> SessionRules:
    """The rules in a file.

    Raises:
        ConfigError: it cannot be read, is no such file, or its rules contradict each other; one line for each problem.
    """
    try:
        content = read_file(path)
    except OSError as error:
        remedy = "work in Observer's folder, or name the file in [run] sessions"
        raise ConfigError(f"run.sessions = {str(path)!r}: {error.strerror}: {remedy}") from error
    return parse_session_rules(content, str(path))


def parse_session_rules(content: bytes, source: str) -> SessionRules:
    """The rules in a file's content; `source` names the file in errors.

    Raises:
        ConfigError: as for `read_session_rules`.
    """
    file = decode_toml(content, source)
    rules, problems = converted(file, (), SessionRules)
    if rules is None:
        raise wrong_settings(file, problems)
    if found := list(_unknown_names(rules)) or list(_contradictions(rules)):
        raise wrong_settings(file, found)
    return rules


def _unknown_names(rules: SessionRules) -> Iterator[Problem]:
    """Names that the rest of the file does not have, and what is named twice."""
    for number, shift in enumerate(rules.shift):
        for session in shift.sessions:
            if (name := f"{shift.venue}.{session}") not in rules.session_names:
                yield Problem(
                    ("shift", number, "sessions"), f"no session {name}{did_you_mean(name, rules.session_names)}"
                )
    for number, special in enumerate(rules.special_day):
        if special.shift not in rules.shift_names:
            text = f"unknown shift{did_you_mean(special.shift, rules.shift_names)}"
            yield Problem(("special_day", number, "shift"), text, special.shift)
    for number, profile in enumerate(rules.profile):
        for track in ("track_a", "track_b"):
            part: TrackProfile = getattr(profile, track)
            for name in part.sessions:
                if name not in rules.session_names:
                    text = f"unknown session {name}{did_you_mean(name, rules.session_names)}"
                    yield Problem(("profile", number, track, "sessions"), text)
    yield from _twice("special_day", "date", [str(each.day) for each in rules.special_day])
    yield from _twice("profile", "name", [each.name for each in rules.profile])
    moved = [
        (f"{each.name}: {each.venue}.{name}", number)
        for number, each in enumerate(rules.shift)
        for name in each.sessions
    ]
    counts = Counter(name for name, _ in moved)
    for name, number in moved:
        if counts[name] > 1:
            yield Problem(("shift", number), f"{name} is moved twice")


def _twice(section: str, key: str, names: Sequence[str]) -> Iterator[Problem]:
    for number, name in enumerate(names):
        if name in names[:number]:
            yield Problem((section, number, key), "is there twice", name)


def _contradictions(rules: SessionRules) -> Iterator[Problem]:
    """Sessions that end before they begin, leave the day or overlap, on any date, weekday and special day."""
    numbers = {id(rule): number for number, rule in enumerate(rules.session)}
    seen: set[tuple[int, str]] = set()
    for day in _changes(rules):
        for weekday in WEEKDAYS:
            for shift in ("", FIRST_SESSION, *rules.shift_names):
                hours = hours_on(rules, day, weekday, shift)
                on = f" (shift {shift})" if shift else ""
                found = [
                    (each, f"{each.rule.name} must open before it closes, within the day{on}")
                    for each in hours
                    if not 0 <= each.opens_s < each.closes_s <= _DAY_S
                ]
                found += [
                    (after, f"{after.rule.name} opens before {before.rule.name} closes, on {day} and later{on}")
                    for before, after in pairwise(hours)
                    if before.rule.venue == after.rule.venue and after.opens_s < before.closes_s
                ]
                for each, text in found:
                    number = numbers[id(each.rule)]
                    if (number, text) not in seen:
                        seen.add((number, text))
                        yield Problem(("session", number), text)


def _changes(rules: SessionRules) -> Sequence[dt.date]:
    """The dates on which rules begin to hold, or no longer hold."""
    begins = {rule.valid_from for rule in rules.session}
    ends = {rule.valid_to for rule in rules.session if rule.valid_to is not None and rule.valid_to < dt.date.max}
    return sorted(begins | {day + dt.timedelta(days=1) for day in ends})
