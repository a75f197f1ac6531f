"""A reader of today reads the journals of every schema version that there ever was (tests/bus/journals)."""

import json
from pathlib import Path

import msgspec
import pytest

from bus.codec import decode_events, unpack
from bus.events import EVENT_TYPES, SCHEMA_VERSION, Poison, kind_of
from bus.journal import JournalReader

FOLDER = Path(__file__).parent / "journals"
VERSIONS = sorted(int(path.stem.removeprefix("version-")) for path in FOLDER.glob("version-*.journal"))


def lines(version: int) -> list[dict[str, object]]:
    return [json.loads(line) for line in (FOLDER / f"version-{version}.jsonl").read_text().splitlines()]


def read(version: int) -> list[dict[str, object]]:
    """What the code of today finds in the journal, in the form of its `jsonl`."""
    reader = JournalReader(FOLDER / f"version-{version}.journal")
    found = []
    for record in reader:
        batch = unpack(record.payload)
        assert batch.schema_version == version
        for sequence, event in enumerate(decode_events(batch), batch.first_sequence):
            assert not isinstance(event, Poison), event
            fields = json.loads(msgspec.json.encode(msgspec.structs.asdict(event)))
            found.append({"stream": batch.stream, "sequence": sequence, "kind": kind_of(type(event)), "event": fields})
    reader.close()
    return found


def test_a_journal_of_every_version_is_kept() -> None:
    assert list(range(1, SCHEMA_VERSION + 1)) == VERSIONS


@pytest.mark.parametrize("version", VERSIONS)
def test_what_an_older_version_wrote_is_read_unaltered(version: int) -> None:
    for written, found in zip(lines(version), read(version), strict=True):
        known = {name: value for name, value in found["event"].items() if name in written["event"]}
        assert {**found, "event": known} == written


@pytest.mark.parametrize("version", VERSIONS)
def test_fields_that_came_later_have_their_defaults(version: int) -> None:
    types = {kind_of(event_type): event_type for event_type in EVENT_TYPES}
    for written, found in zip(lines(version), read(version), strict=True):
        defaults = {field.name: field.default for field in msgspec.structs.fields(types[str(found["kind"])])}
        for name in found["event"].keys() - written["event"].keys():
            assert found["event"][name] == defaults[name]


def test_the_journal_of_today_has_every_kind() -> None:
    assert [line["kind"] for line in lines(SCHEMA_VERSION)] == [kind_of(event_type) for event_type in EVENT_TYPES]
