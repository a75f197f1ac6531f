"""The current reader reads the journals of every schema version so far (tests/bus/journals)."""

import json
from pathlib import Path

import msgspec
import pytest

from bus.codec import decode_events, unpack
from bus.events import EVENT_TYPES, SCHEMA_DIGEST, SCHEMA_VERSION, Poison, Trade, kind_of
from bus.journal import JournalReader
from tests.bus.journals.keep import packed_examples
from tests.bus.schema import schema_digest

FOLDER = Path(__file__).parent / "journals"
VERSIONS = sorted(int(path.stem.removeprefix("version-")) for path in FOLDER.glob("version-*.journal"))


def lines(version):
    return [json.loads(line) for line in (FOLDER / f"version-{version}.jsonl").read_text().splitlines()]


def read(version):
    """The journal's events as the current code reads them, in the form of its `jsonl`."""
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


def test_a_journal_of_every_version_since_the_first_release_is_kept():
    assert list(range(VERSIONS[0], SCHEMA_VERSION + 1)) == VERSIONS


def test_the_schema_of_the_events_is_the_schema_of_the_current_version():
    assert schema_digest() == SCHEMA_DIGEST, (
        "the events changed: raise SCHEMA_VERSION, put the digest of `python -m tests.bus.schema` beside it, "
        "add a migration, and keep a journal (`python -m tests.bus.journals.keep`)"
    )


def test_the_schema_of_a_version_never_changes():
    """The digest alone could be put right; the journal that was kept when the version was new cannot."""
    kept = JournalReader(FOLDER / f"version-{SCHEMA_VERSION}.journal")
    assert [record.payload for record in kept] == packed_examples(), "raise SCHEMA_VERSION: journals of it exist"
    kept.close()


def _with(event_type, **added):
    """The events, one of them with a field more."""
    fields = [(name, type(default), default) for name, default in added.items()]
    changed = msgspec.defstruct(event_type.__name__, fields, bases=(event_type,), frozen=True, array_like=True)
    return tuple(changed if each is event_type else each for each in EVENT_TYPES)


def test_a_column_more_or_another_default_is_another_schema():
    found = {schema_digest(), *(schema_digest(_with(Trade, board=default)) for default in ("main", "side", 1))}
    assert len(found) == 4


def _known(found, written):
    """What was read, without the fields of the event and of its documents that came later."""
    if isinstance(found, dict) and isinstance(written, dict):
        return {name: _known(value, written[name]) for name, value in found.items() if name in written}
    return found


@pytest.mark.parametrize("version", VERSIONS)
def test_journals_of_older_versions_are_read_unaltered(version):
    for written, found in zip(lines(version), read(version), strict=True):
        assert _known(found, written) == written


@pytest.mark.parametrize("version", VERSIONS)
def test_fields_that_came_later_have_their_defaults(version):
    types = {kind_of(event_type): event_type for event_type in EVENT_TYPES}
    for written, found in zip(lines(version), read(version), strict=True):
        defaults = {field.name: field.default for field in msgspec.structs.fields(types[str(found["kind"])])}
        for name in found["event"].keys() - written["event"].keys():
            assert found["event"][name] == json.loads(msgspec.json.encode(defaults[name]))


def test_the_journal_of_today_has_every_kind():
    assert [line["kind"] for line in lines(SCHEMA_VERSION)] == [kind_of(event_type) for event_type in EVENT_TYPES]
