"""Compares stored listings with those of a master file, and decides whether the changes need an approval.

Every function handles one exchange: a comparison of one exchange's file with a whole region's listings would remove
those of the other exchanges. Sizes and times of a file decide about its download only; the content decides whether
something changed.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Annotated, Final, Literal

import msgspec

from bus.events import ListingChange, Severity
from observer.base.errors import DataFileError
from observer.base.units import S_PER_DAY
from observer.brokers.broker import DEFAULT_BROKER, FileStamp, broker_named
from observer.reference.listings.model import EXCHANGES, VALUES, Listing
from observer.reference.times import Weekday

# The stored listings of one exchange: symbol -> (its last listing, whether the last file had it).
KnownListings = Mapping[str, tuple[Listing, bool]]

UNKNOWN_STAMP: Final = FileStamp(None, "", "")  # of a host that states none, and of a version from a backup
_NOTABLE_PERCENT: Final = 0.1
_COMPARED: Final = tuple(field for field in Listing.__struct_fields__ if field not in {"exchange", "symbol", *VALUES})


TimeOfDay = Annotated[
    str, msgspec.Meta(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9])?$", description="a time of day, HH:MM")
]


class ReferenceSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which exchanges' master files are kept, and the thresholds above which a change needs an approval
    (docs/requirement.md). On the day of the week (sunday ...) and at the Korean local time of the weekly refresh, all
    files are downloaded, changed or not. A failed attempt is repeated up to the maximum, with doubling pauses.

    Raises:
        ValueError: an exchange is not known or named twice, or the refresh's time is none; names the key.
    """

    exchanges: tuple[str, ...] = broker_named(DEFAULT_BROKER).exchanges
    weekly_refresh_day: Weekday = "sunday"
    weekly_refresh_time: TimeOfDay = "03:00"
    attempts_max: Annotated[int, msgspec.Meta(ge=1, le=10)] = 3
    backups_kept: Annotated[int, msgspec.Meta(ge=1, le=100)] = 7
    max_removed: Annotated[int, msgspec.Meta(ge=0)] = 50
    max_new: Annotated[int, msgspec.Meta(ge=0)] = 100
    max_shrink_percent: Annotated[float, msgspec.Meta(ge=0, le=100)] = 10.0
    growth_warning_percent: Annotated[float, msgspec.Meta(ge=0)] = 20.0
    refresh_after_days: Annotated[float, msgspec.Meta(gt=0)] = 7.0

    def __post_init__(self) -> None:
        """Checks the exchanges and the time."""
        if unknown := [name for name in self.exchanges if name not in EXCHANGES]:
            raise ValueError(f"exchanges: {', '.join(unknown)} not among {', '.join(EXCHANGES)}")
        if len(set(self.exchanges)) != len(self.exchanges):
            raise ValueError("exchanges: one is named twice")


class FileDecision(msgspec.Struct, frozen=True):
    """The decision about a remote file, and its severity."""

    action: Literal["download", "skip", "refuse"]
    reason: str
    severity: Severity


class Change(msgspec.Struct, frozen=True):
    """One changed listing: its state afterwards, and the changed fields of a known one `before` the change."""

    kind: ListingChange
    listing: Listing
    fields: tuple[str, ...] = ()
    before: Listing | None = None


class ListingOutcome(msgspec.Struct, frozen=True):
    """Whether the changes are applied. Changes pending approval are not applied before it; a failed file is never
    applied.
    """

    decision: Literal["updated", "pending", "unchanged", "failed"]
    reason: str
    severity: Severity


_THE_SAME: Final = ListingOutcome("unchanged", "the same listings", "info")


def decide_download(
    local: FileStamp | None, remote: FileStamp, settings: ReferenceSettings, *, age_s: float = 0.0
) -> FileDecision:
    """Whether to download, from the stamps of the local copy (None: no copy) and of the server.

    Any difference means download; equal stamps mean skip until the copy, downloaded `age_s` market seconds ago, is due
    for its refresh. Equal sizes alone prove nothing: two real files of one length differed by 60 listings. Without any
    server metadata the file is downloaded.
    """
    if remote.size_bytes == 0:
        return FileDecision("refuse", "the server offers an empty file", "critical")
    if local is None:
        return FileDecision("download", "no local file", "info")
    if remote == local != UNKNOWN_STAMP:
        if age_s < settings.refresh_after_days * S_PER_DAY:
            return FileDecision("skip", "length, modification time and tag are as they were", "info")
        return FileDecision("download", f"the copy is {settings.refresh_after_days:g} days old", "info")
    return _changed_file(local.size_bytes, remote.size_bytes, settings)


def difference(known: KnownListings, stated: Sequence[Listing]) -> tuple[Change, ...]:
    """The changes from the known listings of one exchange to those its file states, ordered by symbol.

    Without known listings, of former ones too, those of the file are *initial*, not new. A known listing that is not in
    the file is removed once: those already inactive are not removed again, and one
    that returns is relisted, whatever else changed.

    Values of the day (`observer.reference.listings.model.VALUES`) are no difference.

    Raises:
        DataFileError: the file states a symbol twice, or listings of several exchanges.
    """
    present = _by_symbol(stated)
    changes = []
    unknown: ListingChange = "new" if known else "initial"
    for symbol in sorted(known.keys() | present.keys()):
        change = _change(known.get(symbol), present.get(symbol), unknown)
        if change is not None:
            changes.append(change)
    return tuple(changes)


def revalued(known: KnownListings, stated: Sequence[Listing]) -> tuple[Listing, ...]:
    """The listings whose values of the day alone differ from the stored ones."""
    return tuple(
        listing for listing in stated if (before := known.get(listing.symbol)) and _only_values_differ(before, listing)
    )


def outcome(
    changes: Iterable[Change],
    settings: ReferenceSettings,
    *,
    old_size_bytes: int | None,
    new_size_bytes: int,
    approved: bool = False,
) -> ListingOutcome:
    """Whether the changes of one exchange need an approval (docs/requirement.md).

    Initial listings may be many, new ones may not. `approved` changes are applied. A file that grew much, or shrank and
    did lose listings, is applied with a warning; less than a thousandth is no change of size: some listings come and
    go every day.
    """
    changes = tuple(changes)
    if approved:
        return ListingOutcome("updated", f"{_counted(changes)}, approved", "info")
    removed = sum(change.kind == "removed" for change in changes)
    new = sum(change.kind == "new" for change in changes)
    growth_percent = _growth_percent(old_size_bytes, new_size_bytes)
    shrink_percent = -growth_percent
    if removed > settings.max_removed:
        return ListingOutcome("pending", f"{removed:,} listings removed, over {settings.max_removed}", "critical")
    if shrink_percent > settings.max_shrink_percent:
        reason = f"the file is {shrink_percent:.1f} % smaller, over {settings.max_shrink_percent:g} %"
        return ListingOutcome("pending", reason, "critical")
    if new > settings.max_new:
        return ListingOutcome("pending", f"{new:,} new listings, over {settings.max_new}", "warning")
    answer = ListingOutcome("updated", _counted(changes), "info") if changes else _THE_SAME
    if growth_percent > settings.growth_warning_percent:
        return ListingOutcome(answer.decision, f"{answer.reason}; the file grew by {growth_percent:.1f} %", "warning")
    if shrink_percent >= _NOTABLE_PERCENT and removed:
        listings = f"{removed} listing{'s' if removed != 1 else ''}"
        reason = f"{answer.reason}; {listings} removed, and the file is {shrink_percent:.2f} % smaller"
        return ListingOutcome(answer.decision, reason, "warning")
    return answer


def _counted(changes: Sequence[Change]) -> str:
    return f"{len(changes):,} change{'s' if len(changes) != 1 else ''}"


def _changed_file(old_bytes: int | None, new_bytes: int | None, settings: ReferenceSettings) -> FileDecision:
    """The outcome for a changed file's download; the change of its size only sets the severity."""
    growth_percent = _growth_percent(old_bytes, new_bytes)
    if growth_percent > settings.growth_warning_percent:
        return FileDecision("download", f"the file grew by {growth_percent:.1f} %", "warning")
    if growth_percent < -settings.max_shrink_percent:
        return FileDecision("download", f"the file shrank by {-growth_percent:.1f} %", "critical")
    if growth_percent < 0:
        return FileDecision("download", f"the file shrank by {-growth_percent:.2f} %", "warning")
    return FileDecision("download", "length, modification time or tag differ", "info")


def _growth_percent(old_bytes: int | None, new_bytes: int | None) -> float:
    """Growth in percent of the old size; 0 where either size is unknown."""
    if not old_bytes or new_bytes is None:
        return 0.0
    return (new_bytes - old_bytes) / old_bytes * 100


def _by_symbol(stated: Sequence[Listing]) -> dict[str, Listing]:
    present = {listing.symbol: listing for listing in stated}
    if len(present) < len(stated):
        raise DataFileError(f"a master file states {len(stated) - len(present)} symbols more than once")
    exchanges = sorted({listing.exchange for listing in stated})
    if len(exchanges) > 1:
        raise DataFileError(f"one master file with listings of {', '.join(exchanges)}")
    return present


def _only_values_differ(before: tuple[Listing, bool], stated: Listing) -> bool:
    listing, active = before
    return active and _value_of(listing) != _value_of(stated) and _facts_of(listing) == _facts_of(stated)


def _change(known: tuple[Listing, bool] | None, stated: Listing | None, unknown: ListingChange) -> Change | None:
    """The change of one symbol, `unknown` that of one without a known listing; None when it has none."""
    if known is None:
        return None if stated is None else Change(unknown, stated)
    listing, active = known
    if stated is None:
        return Change("removed", listing) if active else None
    before, after = _facts_of(listing), _facts_of(stated)
    if active and before == after:
        return None
    fields = tuple(name for name, old, new in zip(_COMPARED, before, after, strict=True) if old != new)
    return Change("changed" if active else "relisted", stated, fields, listing if fields else None)


# Quick: every listing is compared every morning.
_facts_of: Final[Callable[[Listing], tuple[object, ...]]] = attrgetter(*_COMPARED)
_value_of: Final[Callable[[Listing], tuple[object, ...]]] = attrgetter(*VALUES)
