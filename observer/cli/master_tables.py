"""Tables, lines and JSON of `observer master`."""

from collections.abc import Iterable, Sequence
from typing import Final

import click
import msgspec

from bus.events import ListingChange, MasterFileChecked
from observer.base.local_time import local_datetime
from observer.cli.context import as_maps, print_json
from observer.cli.tables import Table, show, show_text
from observer.reference.listings.diff import Change
from observer.reference.listings.files import PendingApproval
from observer.reference.listings.model import NAMES
from observer.reference.listings.sync import Examined
from observer.reference.listings.verification import Verified

_NUMBERS: Final = ("listings", "removed", "kB", "backups", "records", "bad", "new", "changed")


class ExchangeStatus(msgspec.Struct, frozen=True, kw_only=True):
    """An exchange's row of `observer master status`. Times are UTC nanoseconds."""

    exchange: str
    region: str
    listed: int
    gone: int
    file_bytes: int | None
    downloaded_ns: int | None
    backups: int
    last_check: MasterFileChecked | None
    waits: PendingApproval | None


def show_dry_run(found: Sequence[Examined], *, as_json: bool) -> None:
    """Print the lines that the requirement shows (000, 12.3)."""
    if as_json:
        print_json([{"exchange": each.exchange, "outcome": each.outcome, "changes": each.changes} for each in found])
        return
    for each in found:
        click.echo(f"[{each.exchange}] DRY RUN MODE - No actual database updates")
        for change in each.changes:
            click.echo(f"{change_line(change)} (DRY RUN)")
        click.echo(f"[{each.exchange}] {each.outcome.decision}: {each.outcome.reason}; {counts_text(each.changes)}")
        click.echo(f"[{each.exchange}] DRY RUN - Changes rolled back")


def show_checks(checks: Sequence[MasterFileChecked], title: str, *, as_json: bool) -> None:
    """Print the checks as a table, with numbers for parsed files, and beneath it the reasons of rejected files."""
    if as_json:
        print_json(as_maps(checks))
        return
    columns = ("exchange", "checked", "outcome", "records", "bad", "new", "changed", "removed")
    rows: list[Sequence[str]] = []
    for check in checks:
        read = (check.records, check.quarantined, check.new, check.changed, check.removed) if check.sha256 else ()
        texts = (check.exchange, moment_text(check.checked_ns), check.outcome)
        rows.append((*texts, *(f"{number:,}" for number in read), *("" for _ in columns[len(texts) + len(read) :])))
    show(Table(columns, rows, title, right=_NUMBERS))
    refused = [each for each in checks if each.outcome in ("pending", "failed")]
    _show_reasons((each.run, f"{each.outcome}: {_reason(each)}") for each in refused)


def show_verified(found: Sequence[Verified]) -> None:
    """Print each exchange's file against the database, and beneath it the remedy for differences."""
    columns = ("exchange", "in file", "listings", "missing", "surplus", "different", "incomplete", "outcome")
    rows = []
    for each in found:
        numbers = (each.stated, each.listed, each.missing, each.surplus, each.different, each.incomplete)
        rows.append((each.exchange, *(f"{number:,}" for number in numbers), _report(each)))
    show(Table(columns, rows, right=columns[1:-1]))
    if differing := [each.exchange for each in found if each.problems]:
        exchanges = " ".join(f"--exchange {exchange}" for exchange in differing)
        click.echo(f"To check again: observer master update --force {exchanges}")


def show_status(rows: Sequence[ExchangeStatus], *, as_json: bool) -> None:
    """Print one line an exchange; beneath, failures and pending approvals."""
    if as_json:
        checks = (row.last_check and msgspec.structs.asdict(row.last_check) for row in rows)
        print_json([row | {"last_check": check} for row, check in zip(as_maps(rows), checks, strict=True)])
        return
    columns = ("exchange", "in", "listings", "removed", "kB", "downloaded", "backups", "last check", "outcome")
    lines = []
    for row in rows:
        check = row.last_check
        size = "" if row.file_bytes is None else f"{row.file_bytes / 1_000:,.0f}"
        lines.append(
            (
                *(row.exchange, row.region, f"{row.listed:,}", f"{row.gone:,}", size, _short(row.downloaded_ns)),
                *(str(row.backups), _short(check.checked_ns if check else None), check.outcome if check else "never"),
            )
        )
    show(Table(columns, lines, right=_NUMBERS))
    last = [row.last_check for row in rows if row.last_check is not None]
    _show_reasons((each.exchange, f"failed: {_reason(each)}") for each in last if each.outcome == "failed")
    for row in rows:
        if row.waits is not None:
            show_text(
                f"{row.exchange} has a pending approval: {row.waits.reason}\n"
                f"  to apply it: observer master approve {row.waits.run}"
            )


def counts_text(changes: Sequence[Change]) -> str:
    """The number of each kind, in words."""
    kinds = [change.kind for change in changes]
    later: Sequence[ListingChange] = ("new", "changed", "removed", "relisted")
    named: Sequence[ListingChange] = ("initial",) if "initial" in kinds else later
    return ", ".join(f"{kinds.count(kind)} {kind}" for kind in named)


def _short(moment_ns: int | None) -> str:
    """Month, day and time, without the year."""
    return moment_text(moment_ns)[len("2026-") :]


def _show_reasons(reasons: Iterable[tuple[str, str]]) -> None:
    """Print each reason once, after all the names that it has."""
    alike: dict[str, list[str]] = {}
    for name, reason in reasons:
        alike.setdefault(reason, []).append(name)
    for reason, names in alike.items():
        show_text(f"{', '.join(names)} {reason}")


def _reason(check: MasterFileChecked) -> str:
    """The reason without the exchange, which errors name first or after the call."""
    return check.reason.removeprefix(f"{check.exchange}: ").replace(f"master_file {check.exchange}: ", "", 1)


def _report(each: Verified) -> str:
    if "no file" in each.problems:
        return "no file"
    return "differs" if each.problems else "the same"


def change_line(change: Change) -> str:
    """One line, as the requirement shows it (000, 5.2)."""
    listing = change.listing
    symbol, name = f"[{listing.symbol}]", listing.english_name or listing.name
    match change.kind:
        case "initial" | "new":
            return f"✅ {symbol} {change.kind.upper()}: {name} ({NAMES.get(listing.exchange, listing.exchange)})"
        case "removed":
            return f"⏸️ {symbol} REMOVED: Marked as inactive"
        case "relisted":
            return f"✅ {symbol} RELISTED: {name} ({NAMES.get(listing.exchange, listing.exchange)})"
        case "changed":
            return f"🔄 {symbol} CHANGED: {_fields_text(change)}"


def moment_text(moment_ns: int | None) -> str:
    """In Korean time, to the minute; empty for none."""
    return "" if moment_ns is None else local_datetime(moment_ns).strftime("%Y-%m-%d %H:%M")


def _fields_text(change: Change) -> str:
    before = change.before or change.listing
    return ", ".join(
        f"{name}: {_text(getattr(before, name))} → {_text(getattr(change.listing, name))}" for name in change.fields
    )


def _text(value: object) -> str:
    return f"{value:,.0f}" if isinstance(value, float) else str(value)
