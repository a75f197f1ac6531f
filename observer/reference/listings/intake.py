"""Turns a parsed master file into the facts to publish, from its records and the stored listings."""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from bus.events import Event, InputQuarantined, ListingChanged, ListingValued, MasterFileChecked
from observer.brokers.quarantine import bounded
from observer.reference.listings.diff import (
    Change,
    KnownListings,
    ListingOutcome,
    ReferenceSettings,
    difference,
    outcome,
    revalued,
)
from observer.reference.listings.model import Listing, UnreadableLine

_KOREAN_SYMBOL_BYTES: Final = 9  # 단축코드, the first field of a record
BAD_LINES_MAX: Final = 0.005  # share of unreadable records above which the file is rejected


class MasterFile(msgspec.Struct, frozen=True):
    """One exchange's parsed file: its records, its unreadable lines, size and digest of its content, and the times.

    `run` names the check that found it; the spans are machine seconds; `unknown_tail` says in words what the records
    have behind their known fields.
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
    unknown_tail: str = ""


class Judged(msgspec.Struct, frozen=True):
    """The outcome of a file, its changes of listings if it is applied, and its values of the day."""

    outcome: ListingOutcome
    changes: Sequence[Change]
    values: Sequence[Listing]


def judge(
    file: MasterFile,
    known: KnownListings,
    settings: ReferenceSettings,
    *,
    old_size_bytes: int | None,
    approved: bool = False,
) -> Judged:
    """Return the file's outcome and the differences of its listings from the stored ones.

    `old_size_bytes` is the size of the previous version's content, None for the first. A file without any record, or
    with too many unreadable ones, fails: no approval can apply it. A listing named by an unreadable line is not
    removed.

    Raises:
        DataFileError: the file contradicts itself (a symbol twice, several exchanges).
    """
    if reason := unreadable(file.listings, file.bad_lines):
        return Judged(ListingOutcome("failed", reason, "critical"), (), ())
    named = {symbol for line in file.bad_lines for symbol in _may_name(line.content)}
    changes = tuple(
        change
        for change in difference(known, file.listings)
        if change.kind != "removed" or change.listing.symbol not in named
    )
    values = revalued(known, file.listings)
    answer = outcome(
        changes,
        settings,
        old_size_bytes=old_size_bytes,
        new_size_bytes=file.size_bytes,
        approved=approved,
    )
    return Judged(answer, changes, values)


def unreadable(listings: Sequence[Listing], bad_lines: Sequence[UnreadableLine]) -> str:
    """Why a file is rejected whole: too many of its records cannot be read, or it has none; empty if it is not."""
    if len(bad_lines) > BAD_LINES_MAX * (len(bad_lines) + len(listings)):
        return f"{len(bad_lines)} records cannot be read"
    return "" if listings else "no records"


def _may_name(line: bytes) -> Iterable[str]:
    """The possible symbols of an unreadable line: any of its fields abroad, its first characters in Korea. Words of a
    name do not count: GOLD is a symbol, too.
    """
    fields = line.split(b"\t") if b"\t" in line else [line[:_KOREAN_SYMBOL_BYTES]]
    return (field.decode("ascii", "replace").strip() for field in fields)


def events_of(file: MasterFile, judged: Judged) -> Sequence[Event]:
    """The file's events. Only an `updated` file changes listings, a held one is pending approval; values of the day are
    published for unchanged listings, too.
    """
    answer = judged.outcome
    changes = judged.changes if answer.decision == "updated" else ()
    values = judged.values if answer.decision in ("updated", "unchanged") else ()
    events: list[Event] = [_checked(file, judged)]
    events += [_listing_changed(file, change) for change in changes]
    events += [_listing_valued(file, listing) for listing in values]
    return events + [_quarantined(file, line) for line in file.bad_lines]


def untouched(provider: str, exchange: str, checked_ns: int, answer: ListingOutcome, run: str = "") -> Sequence[Event]:
    """The fact of a check without an applied file."""
    return [_checked(MasterFile(provider, exchange, (), (), 0, "", checked_ns, run), Judged(answer, (), ()))]


def _checked(file: MasterFile, judged: Judged) -> MasterFileChecked:
    """The counts of a held file are those of its pending changes."""
    kinds = [change.kind for change in judged.changes]
    answer = judged.outcome
    return MasterFileChecked(
        provider=file.provider,
        exchange=file.exchange,
        checked_ns=file.read_ns,
        outcome=answer.decision,
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
        initial=kinds.count("initial"),
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
    """The changed fields' previous values as a JSON object; empty without any."""
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
        listing.market_cap,
    )


def _quarantined(file: MasterFile, line: UnreadableLine) -> InputQuarantined:
    source = f"master_file {file.exchange} line {line.number}"
    return bounded(InputQuarantined(source, file.read_ns, line.reason, line.content))
