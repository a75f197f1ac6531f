"""What differs between the listings we know and those a master file states, and whether a person must approve it.

Everything here is about one exchange: comparing one exchange's file with the listings of a whole region would remove
those of the others (design.md 6.2). Sizes and times of a file decide about its download only; whether something
changed is said by the content.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Final, Literal, Protocol

import msgspec

from bus.events import ListingChange, Severity
from observer.errors import DataFileError
from observer.reference.listings import Listing

# What we know of one exchange: symbol -> (the listing as last seen, whether it was in the last file).
KnownListings = Mapping[str, tuple[Listing, bool]]

_SECONDS_PER_DAY: Final = 86_400
_COMPARED: Final = tuple(field for field in Listing.__struct_fields__ if field not in {"exchange", "symbol"})


class ReferenceSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """From which size on a change is not believed without a person (requirement 000, 8.3 and A.2)."""

    max_removed: Annotated[int, msgspec.Meta(ge=0)] = 50
    max_new: Annotated[int, msgspec.Meta(ge=0)] = 100
    max_shrink_percent: Annotated[float, msgspec.Meta(ge=0, le=100)] = 10.0
    growth_warning_percent: Annotated[float, msgspec.Meta(ge=0)] = 20.0
    refresh_after_days: Annotated[float, msgspec.Meta(gt=0)] = 7.0


class Stamp(Protocol):
    """What a server or a directory tells of a file without its content; `FileStamp` of the providers fits."""

    @property
    def size_bytes(self) -> int | None:
        """Length; None when it was not told."""
        ...

    @property
    def last_modified(self) -> str:
        """The server's text; empty when it was not told."""
        ...

    @property
    def etag(self) -> str:
        """The server's text; empty when it was not told."""
        ...


class FileDecision(msgspec.Struct, frozen=True):
    """What to do about a remote file, and how loudly to say so."""

    action: Literal["download", "skip", "refuse"]
    reason: str
    severity: Severity


class Change(msgspec.Struct, frozen=True):
    """One listing that differs; `listing` is its state afterwards, `fields` what differs in a known one."""

    kind: ListingChange
    listing: Listing
    fields: tuple[str, ...] = ()


class Verdict(msgspec.Struct, frozen=True):
    """Whether the changes are to be applied. Held ones wait for a person; nothing of them is applied meanwhile."""

    decision: Literal["updated", "held", "unchanged"]
    reason: str
    severity: Severity


def decide_download(
    local: Stamp | None, remote: Stamp, settings: ReferenceSettings, *, age_s: float = 0.0
) -> FileDecision:
    """Whether to download, from the stamp of the copy we have (None: no copy) and the server's.

    Any difference means download; equal stamps mean skip until the copy, downloaded `age_s` market seconds ago, is due
    for its refresh. Equal sizes alone prove nothing (design.md 6.1): two real files of one length differed by 60
    listings. A server that tells nothing is asked for the file.
    """
    if remote.size_bytes == 0:
        return FileDecision("refuse", "the server offers an empty file", "critical")
    if local is None:
        return FileDecision("download", "no local file", "info")
    if _tells_something(remote) and _same(local, remote):
        if age_s < settings.refresh_after_days * _SECONDS_PER_DAY:
            return FileDecision("skip", "length, modification time and tag are as they were", "info")
        return FileDecision("download", f"the copy is {settings.refresh_after_days:g} days old", "info")
    return _changed_file(local.size_bytes, remote.size_bytes, settings)


def difference(known: KnownListings, stated: Sequence[Listing]) -> tuple[Change, ...]:
    """The changes from the known listings of one exchange to those its file states, ordered by symbol.

    A known listing that is not in the file is removed once: those already inactive are not removed again, and one
    that returns is relisted, whatever else changed.

    Raises:
        DataFileError: the file states a symbol twice, or listings of several exchanges.
    """
    present = _by_symbol(stated)
    changes = []
    for symbol in sorted(known.keys() | present.keys()):
        change = _change(known.get(symbol), present.get(symbol))
        if change is not None:
            changes.append(change)
    return tuple(changes)


def verdict(
    changes: Iterable[Change],
    settings: ReferenceSettings,
    *,
    first_time: bool,
    old_size_bytes: int | None,
    new_size_bytes: int,
) -> Verdict:
    """Whether a person must approve the changes of one exchange (requirement 000, 8.3; design.md 6.4).

    Many new listings are only normal the first time, when every listing is new.
    """
    changes = tuple(changes)
    removed = sum(change.kind == "removed" for change in changes)
    new = sum(change.kind == "new" for change in changes)
    shrink_percent = -_growth_percent(old_size_bytes, new_size_bytes)
    if removed > settings.max_removed:
        return Verdict("held", f"{removed} listings removed, over {settings.max_removed}", "critical")
    if shrink_percent > settings.max_shrink_percent:
        reason = f"the file is {shrink_percent:.1f} % smaller, over {settings.max_shrink_percent:g} %"
        return Verdict("held", reason, "critical")
    if new > settings.max_new and not first_time:
        return Verdict("held", f"{new} new listings, over {settings.max_new}", "warning")
    if not changes:
        return Verdict("unchanged", "the same listings", "info")
    return Verdict("updated", f"{len(changes)} changes", "info")


def _changed_file(old_bytes: int | None, new_bytes: int | None, settings: ReferenceSettings) -> FileDecision:
    """The download of a file that differs; how much its size changed only sets how loudly it is announced."""
    growth_percent = _growth_percent(old_bytes, new_bytes)
    if growth_percent > settings.growth_warning_percent:
        return FileDecision("download", f"the file grew by {growth_percent:.1f} %", "warning")
    if growth_percent < -settings.max_shrink_percent:
        return FileDecision("download", f"the file shrank by {-growth_percent:.1f} %", "critical")
    if growth_percent < 0:
        return FileDecision("download", f"the file shrank by {-growth_percent:.2f} %", "warning")
    return FileDecision("download", "length, modification time or tag differ", "info")


def _growth_percent(old_bytes: int | None, new_bytes: int | None) -> float:
    """Growth in percent of the old size; 0 where one of the sizes is not known."""
    if not old_bytes or new_bytes is None:
        return 0.0
    return (new_bytes - old_bytes) / old_bytes * 100


def _tells_something(stamp: Stamp) -> bool:
    return stamp.size_bytes is not None or bool(stamp.last_modified) or bool(stamp.etag)


def _same(local: Stamp, remote: Stamp) -> bool:
    return (local.size_bytes, local.last_modified, local.etag) == (
        remote.size_bytes,
        remote.last_modified,
        remote.etag,
    )


def _by_symbol(stated: Sequence[Listing]) -> dict[str, Listing]:
    present = {listing.symbol: listing for listing in stated}
    if len(present) < len(stated):
        raise DataFileError(f"a master file states {len(stated) - len(present)} symbols more than once")
    exchanges = sorted({listing.exchange for listing in stated})
    if len(exchanges) > 1:
        raise DataFileError(f"one master file with listings of {', '.join(exchanges)}")
    return present


def _change(known: tuple[Listing, bool] | None, stated: Listing | None) -> Change | None:
    """How one symbol differs; None when it does not."""
    if known is None:
        return None if stated is None else Change("new", stated)
    listing, active = known
    if stated is None:
        return Change("removed", listing) if active else None
    fields = tuple(field for field in _COMPARED if getattr(listing, field) != getattr(stated, field))
    if not active:
        return Change("relisted", stated, fields)
    return Change("changed", stated, fields) if fields else None
