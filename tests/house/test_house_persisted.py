"""Persisted data has types: each fact of an event is a field, and no code parses an event's text."""

import ast
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from bus.events import EVENT_TYPES, QualityJudged, SelectionStep, WatchChange, is_document

ROOT = Path(__file__).parents[2]
ROOMS = (
    *("selection", "collection", "gaps", "store", "calendar"),
    *("brokers/accounts", "reference/universe", "reference/listings", "reference/etf"),
)
SOURCES = sorted(path for room in ROOMS for path in (ROOT / "observer" / room).glob("*.py"))

TAKES_TEXT_APART = {
    "split",
    "rsplit",
    "partition",
    "rpartition",
    "splitlines",
    "removeprefix",
    "removesuffix",
    "startswith",
}

# By file: whose text it is. None may be an event's but the one that says so.
OTHER_TEXT = {
    "observer/brokers/accounts/shared_rate_limiter.py": "the bytes of the file that all processes share",
    "observer/calendar/phases.py": "times of day in the configuration",
    "observer/reference/etf/manual.py": "a file that a person fills in",
    "observer/reference/etf/schedule.py": "times of day in the configuration",
    "observer/reference/listings/files.py": "the process id in the name of an unfinished file",
    "observer/reference/listings/intake.py": "a line of a broker's file that is no record",
    "observer/reference/universe/file_format.py": "the day in the name of a universe's file",
    "observer/store/admission.py": "the password in a PostgreSQL URL, which no error may repeat",
    "observer/store/column_process.py": "the first line of a driver's error; no event",
    "observer/store/columns.py": "the last line of a process's error output; no event",
    "observer/base/instance.py": "the options of a PostgreSQL URL",
    "observer/store/kinds.py": "the columns that a row of the table names; no event",
    "observer/store/owner.py": "the brokers in the owner row, names separated by commas; no event",
    "observer/store/postgresql_programs.py": "the script that pg_restore writes, for a dump's marks; no event",
    "observer/store/session.py": "the columns that a question orders by; no event",
    "observer/store/systems.py": "the kernel's /proc/PID/stat; no event",
    "observer/collection/receiver.py": "why a broker's stream dropped a subscription; no event carries it",
}

# Events whose text repeats their other fields for a reader.
FOR_READERS = {QualityJudged}


def texts_taken_apart(source):
    """Numbers of the lines that parse a text."""
    calls = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    return [
        call.lineno
        for call in calls
        if isinstance(call.func, ast.Attribute)
        and call.func.attr in TAKES_TEXT_APART
        and not isinstance(call.func.value, ast.Constant)
    ]


def test_no_text_is_taken_apart_where_events_are_read():
    names = {path.relative_to(ROOT).as_posix(): path for path in SOURCES}
    found = {name: texts_taken_apart(path.read_text()) for name, path in names.items() if name not in OTHER_TEXT}
    assert {name: taken for name, taken in found.items() if taken} == {}


def test_each_room_has_sources():
    assert [room for room in ROOMS if not any((ROOT / "observer" / room).glob("*.py"))] == []


def test_the_exceptions_are_needed():
    assert all(texts_taken_apart((ROOT / name).read_text()) for name in OTHER_TEXT)


def test_a_text_that_is_taken_apart_is_found():
    assert texts_taken_apart("universe, *words = began.detail.split(', ')") == [1]


@pytest.mark.parametrize("union", [SelectionStep, WatchChange], ids=["steps", "watch changes"])
def test_each_kind_of_step_is_a_struct_with_a_tag_of_its_own(union):
    tags = [each.__struct_config__.tag for each in get_args(union)]
    assert None not in tags
    assert len(set(tags)) == len(tags)


def test_no_event_has_a_text_beside_its_document():
    """A document event holds all facts in its document: a text field beside it would collect several meanings."""
    for event_type in EVENT_TYPES:
        fields = msgspec.structs.fields(event_type)
        if event_type not in FOR_READERS and any(is_document(field.type) for field in fields):
            assert not {field.name for field in fields} & {"detail", "reason", "text", "words"}
