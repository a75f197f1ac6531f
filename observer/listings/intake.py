"""What comes of a master file that was read: the facts to publish, decided from its records and what was known."""

from collections.abc import Iterable, Sequence
from typing import Final, Protocol

import msgspec

from bus.events import AlertRaised, Event, InputQuarantined, ListingChanged, ListingValued, MasterFileChecked
from observer.reference.changes import (
    Change,
    KnownListings,
    ReferenceSettings,
    Verdict,
    difference,
    revalued,
    verdict,
)
from observer.reference.listings import Listing

_KOREAN_SYMBOL_BYTES: Final = 9  # 단축코드, the first field (kis-api.md, master files)
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
    """One exchange's file, read: its records, what could not be read of it, size and digest of its content, and when.

    `run` names the look at it; the spans are machine seconds.
    """

    provider: str
    exchange: str
    listings: Sequence[Listing]
    bad_lines: Sequence[UnreadableLine]
    size_bytes: int
    sha256: str
    read_ns: int
    run: str = ""
    download_s: float = 0.0
    parse_s: float = 0.0


class Judged(msgspec.Struct, frozen=True):
    """The verdict on a file, what would change in the listings if it is applied, and in the values of the day."""

    verdict: Verdict
    changes: Sequence[Change]
    values: Sequence[Listing]


def take_in(
    file: MasterFile,
    known: KnownListings,
    settings: ReferenceSettings,
    *,
    old_size_bytes: int | None,
    approved: bool = False,
) -> tuple[Verdict, Sequence[Event]]:
    """The verdict on the file, and everything to publish of it, to be stored in one transaction.

    Raises:
        DataFileError: as for `judge`.
    """
    judged = judge(file, known, settings, old_size_bytes=old_size_bytes, approved=approved)
    return judged.verdict, events_of(file, judged)


def judge(
    file: MasterFile,
    known: KnownListings,
    settings: ReferenceSettings,
    *,
    old_size_bytes: int | None,
    approved: bool = False,
) -> Judged:
    """The verdict on the file, and how its listings differ from what is known.

    `old_size_bytes` is the size of the content of the version before, None for the first. A file of which too much is
    unreadable, or that has no record at all, fails: not even a person can approve it. A listing that an unreadable
    line names is not removed: it is there, only not legible.

    Raises:
        DataFileError: the file contradicts itself (a symbol twice, several exchanges).
    """
    if len(file.bad_lines) > BAD_LINES_MAX * (len(file.bad_lines) + len(file.listings)):
        return Judged(Verdict("failed", f"{len(file.bad_lines)} records cannot be read", "critical"), (), ())
    if not file.listings:
        return Judged(Verdict("failed", "no records", "critical"), (), ())
    named = {symbol for line in file.bad_lines for symbol in _may_name(line.content)}
    changes = tuple(
        change
        for change in difference(known, file.listings)
        if change.kind != "removed" or change.listing.symbol not in named
    )
    values = revalued(known, file.listings)
    answer = verdict(
        changes,
        settings,
        first_time=not known,
        old_size_bytes=old_size_bytes,
        new_size_bytes=file.size_bytes,
        approved=approved,
    )
    return Judged(answer, changes, values)


def _may_name(line: bytes) -> Iterable[str]:
    """What may be the symbol of a line that cannot be read: abroad any of its fields, in Korea what it begins with. Not
    the words of a name: GOLD is a symbol, too.
    """
    fields = line.split(b"\t") if b"\t" in line else [line[:_KOREAN_SYMBOL_BYTES]]
    return (field.decode("ascii", "replace").strip() for field in fields)


def events_of(file: MasterFile, judged: Judged) -> Sequence[Event]:
    """What to publish of the file. Only an `updated` one changes listings, a held one waits for a person; the values of
    the day count where the listings are what they were, too.
    """
    answer = judged.verdict
    changes = judged.changes if answer.decision == "updated" else ()
    values = judged.values if answer.decision in ("updated", "unchanged") else ()
    events: list[Event] = [_checked(file, judged)]
    events += [_listing_changed(file, change) for change in changes]
    events += [_listing_valued(file, listing) for listing in values]
    events += [_quarantined(file, line) for line in file.bad_lines]
    events += _alerts(file, answer)
    return events


def untouched(provider: str, exchange: str, checked_ns: int, answer: Verdict, run: str = "") -> Sequence[Event]:
    """The fact that a file was looked at and not taken in, and an alert where that is not as it should be."""
    file = MasterFile(provider, exchange, (), (), 0, "", checked_ns, run)
    return [_checked(file, Judged(answer, (), ())), *_alerts(file, answer)]


def _alerts(file: MasterFile, answer: Verdict) -> Sequence[AlertRaised]:
    if answer.severity == "info":
        return []
    return [AlertRaised(file.read_ns, answer.severity, _SOURCE, f"{file.exchange}: {answer.reason}")]


def _checked(file: MasterFile, judged: Judged) -> MasterFileChecked:
    """Of a held file the counts are of what would change."""
    kinds = [change.kind for change in judged.changes]
    answer = judged.verdict
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
        run=file.run,
        relisted=kinds.count("relisted"),
        revalued=len(judged.values),
        download_s=file.download_s,
        parse_s=file.parse_s,
    )


def _listing_changed(file: MasterFile, change: Change) -> ListingChanged:
    return ListingChanged(
        provider=file.provider,
        change=change.kind,
        changed_ns=file.read_ns,
        changed_fields=",".join(change.fields),
        previous=_previous(change),
        run=file.run,
        **msgspec.structs.asdict(change.listing),
    )


def _previous(change: Change) -> str:
    """What the changed fields were before, as a JSON object; empty where nothing was."""
    if change.before is None:
        return ""
    return msgspec.json.encode({name: getattr(change.before, name) for name in change.fields}).decode()


def _listing_valued(file: MasterFile, listing: Listing) -> ListingValued:
    return ListingValued(
        file.provider,
        file.exchange,
        listing.symbol,
        file.read_ns,
        listing.base_price,
        listing.market_cap_krw,
    )


def _quarantined(file: MasterFile, line: UnreadableLine) -> InputQuarantined:
    source = f"master_file {file.exchange} line {line.number}"
    return InputQuarantined(source, file.read_ns, line.reason, line.content)
