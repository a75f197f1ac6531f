"""What comes of a master file that was read: the facts to publish, decided from its records and what was known."""

from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from bus.events import AlertRaised, Event, InputQuarantined, ListingChanged, MasterFileChecked
from observer.reference.changes import Change, KnownListings, ReferenceSettings, Verdict, difference, verdict
from observer.reference.listings import Listing

BAD_LINES_MAX: Final = 0.005  # more unreadable records than this share, and the file is not believed

_SOURCE: Final = "master-file"


class UnreadableLine(Protocol):
    """A line that is no record; `BadLine` of the providers fits."""

    @property
    def number(self) -> int:
        """From 1."""
        ...

    @property
    def reason(self) -> str:
        """Why."""
        ...

    @property
    def content(self) -> bytes:
        """As it came."""
        ...


class MasterFile(msgspec.Struct, frozen=True):
    """One exchange's file, read: its records, what could not be read of it, its size and digest, and when it was."""

    provider: str
    exchange: str
    listings: Sequence[Listing]
    bad_lines: Sequence[UnreadableLine]
    size_bytes: int
    sha256: str
    read_ns: int


def take_in(
    file: MasterFile, known: KnownListings, settings: ReferenceSettings, *, old_size_bytes: int | None
) -> tuple[Verdict, Sequence[Event]]:
    """The verdict on the file, and everything to publish of it, to be stored in one transaction.

    `old_size_bytes` is the published size of the version before, None for the first. Only an `updated` file changes
    listings; a held one waits for a person.

    Raises:
        DataFileError: the file contradicts itself (a symbol twice, several exchanges).
    """
    answer, changes = _judge(file, known, settings, old_size_bytes)
    events: list[Event] = [_checked(file, answer, changes)]
    events += [_listing_changed(file, change) for change in changes]
    events += [_quarantined(file, line) for line in file.bad_lines]
    events += _alerts(file, answer)
    return answer, events


def untouched(provider: str, exchange: str, checked_ns: int, answer: Verdict) -> Sequence[Event]:
    """The fact that a file was looked at and not downloaded, and an alert where that is not as it should be."""
    file = MasterFile(provider, exchange, (), (), 0, "", checked_ns)
    return [_checked(file, answer, ()), *_alerts(file, answer)]


def _judge(
    file: MasterFile, known: KnownListings, settings: ReferenceSettings, old_size_bytes: int | None
) -> tuple[Verdict, Sequence[Change]]:
    if len(file.bad_lines) > BAD_LINES_MAX * (len(file.bad_lines) + len(file.listings)):
        return Verdict("held", f"{len(file.bad_lines)} records cannot be read", "critical"), ()
    changes = difference(known, file.listings)
    answer = verdict(
        changes, settings, first_time=not known, old_size_bytes=old_size_bytes, new_size_bytes=file.size_bytes
    )
    return answer, changes if answer.decision == "updated" else ()


def _alerts(file: MasterFile, answer: Verdict) -> Sequence[AlertRaised]:
    if answer.severity == "info":
        return []
    return [AlertRaised(file.read_ns, answer.severity, _SOURCE, f"{file.exchange}: {answer.reason}")]


def _checked(file: MasterFile, answer: Verdict, changes: Sequence[Change]) -> MasterFileChecked:
    kinds = [change.kind for change in changes]
    return MasterFileChecked(
        provider=file.provider,
        exchange=file.exchange,
        checked_ns=file.read_ns,
        verdict=answer.decision,
        reason=answer.reason,
        size_bytes=file.size_bytes,
        sha256=file.sha256,
        records=len(file.listings),
        quarantined=len(file.bad_lines),
        new=kinds.count("new"),
        removed=kinds.count("removed"),
        changed=kinds.count("changed") + kinds.count("relisted"),
    )


def _listing_changed(file: MasterFile, change: Change) -> ListingChanged:
    return ListingChanged(
        provider=file.provider,
        change=change.kind,
        changed_ns=file.read_ns,
        changed_fields=",".join(change.fields),
        **msgspec.structs.asdict(change.listing),
    )


def _quarantined(file: MasterFile, line: UnreadableLine) -> InputQuarantined:
    source = f"master_file {file.exchange} line {line.number}"
    return InputQuarantined(source, file.read_ns, line.reason, line.content)
