"""Tables and JSON of `observer master`, for 80 columns and more."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Final

import msgspec
import typer
from rich import box
from rich.console import Console, JustifyMethod
from rich.table import Table

from bus.events import ListingChanged, MasterFileChecked
from observer.cli.master_texts import change_line, change_text, moment_text
from observer.cli.master_verification import Verified
from observer.masters.local import Held
from observer.masters.rounds import Examined
from observer.reference.changes import Change

# What has a place in every row, by its column.
_NUMBERS: Final = frozenset(
    {
        *("listed", "gone", "kB", "backups", "records", "bad", "new", "changed", "removed"),
        *("in file", "missing", "surplus", "different", "incomplete"),
    }
)
_FOLDED: Final = "what"
_WIDTHS_MAX: Final[Mapping[str, int]] = {"name": 16, "english name": 22}

JsonOption = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]


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
    waits: Held | None


def show_dry_run(found: Sequence[Examined], *, as_json: bool) -> None:
    """The lines that the requirement shows (000, 12.3)."""
    if as_json:
        print_json([{"exchange": each.exchange, "verdict": each.verdict, "changes": each.changes} for each in found])
        return
    for each in found:
        typer.echo(f"[{each.exchange}] DRY RUN MODE - No actual database updates")
        for change in each.changes:
            typer.echo(f"{change_line(change)} (DRY RUN)")
        typer.echo(f"[{each.exchange}] {each.verdict.decision}: {each.verdict.reason}; {counts_text(each.changes)}")
        typer.echo(f"[{each.exchange}] DRY RUN - Changes rolled back")


def show_checks(checks: Sequence[MasterFileChecked], title: str, *, as_json: bool) -> None:
    """The looks in a table, numbers where a file was read, and beneath it why a file was not taken in. Failures in a
    row are one: a host that is away is asked every minute.
    """
    if as_json:
        print_json(_maps(checks))
        return
    table = table_of(title, "exchange", "when", "verdict", "records", "bad", "new", "changed", "removed")
    looks = failures_in_a_row(checks)
    for check, _ in looks:
        read = (check.records, check.quarantined, check.new, check.changed, check.removed) if check.sha256 else ()
        texts = (check.exchange, moment_text(check.checked_ns), check.verdict)
        table.add_row(*texts, *(f"{number:,}" for number in read))
    Console().print(table)
    for check, earlier in looks:
        if check.verdict in ("held", "failed"):
            repeated = f" ({len(earlier) + 1:,} looks since {moment_text(earlier[-1].checked_ns)})" if earlier else ""
            typer.echo(f"{check.run} {check.verdict}: {_reason(check)}{repeated}")


def failures_in_a_row(
    checks: Sequence[MasterFileChecked],
) -> Sequence[tuple[MasterFileChecked, Sequence[MasterFileChecked]]]:
    """Each look, newest first as they are given; one that failed with the looks of its exchange just before it that
    failed for the same reason, which have no place of their own.
    """
    looks: list[tuple[MasterFileChecked, list[MasterFileChecked]]] = []
    last: dict[str, tuple[MasterFileChecked, list[MasterFileChecked]]] = {}
    for check in checks:
        newer = last.get(check.exchange)
        if newer and check.verdict == "failed" and (check.verdict, check.reason) == (newer[0].verdict, newer[0].reason):
            newer[1].append(check)
        else:
            last[check.exchange] = (check, [])
            looks.append(last[check.exchange])
    return looks


def show_lifetime(changes: Sequence[ListingChanged], *, as_json: bool) -> None:
    """What became of a symbol, oldest first, under the name that it has now, on each exchange; a change may need more
    than a line.
    """
    if as_json:
        print_json(_maps(changes))
        return
    names = {change.exchange: change.name or change.english_name for change in changes}
    table = table_of(" / ".join(names.values()), "day", "exchange", "symbol", "change", "what")
    for change in changes:
        table.add_row(_day(change), change.exchange, change.symbol, change.change, change_text(change))
    Console().print(table)


def show_new(changes: Sequence[ListingChanged], since: str, *, as_json: bool) -> None:
    """What was newly listed, oldest first."""
    if as_json:
        print_json(_maps(changes))
        return
    abroad = any(change.english_name for change in changes)  # no file of Korea has one
    table = table_of("", "day", "exchange", "symbol", "name", *(("english name",) if abroad else ()))
    for change in changes:
        names = (change.name, change.english_name) if abroad else (change.name,)
        table.add_row(_day(change), change.exchange, change.symbol, *names)
    if changes:
        Console().print(table)
    typer.echo(f"{len(changes):,} new since {since}")


def show_verified(found: Sequence[Verified]) -> None:
    """Each exchange's file against the database, and beneath it what to do where they differ."""
    table = table_of("", "exchange", "in file", "listed", "missing", "surplus", "different", "incomplete", "verdict")
    for each in found:
        numbers = (each.stated, each.listed, each.missing, each.surplus, each.different, each.incomplete)
        table.add_row(each.exchange, *(f"{number:,}" for number in numbers), _verdict(each))
    Console().print(table)
    if differing := [each.exchange for each in found if each.problems]:
        exchanges = " ".join(f"--exchange {exchange}" for exchange in differing)
        typer.echo(f"To look at their files again: observer master update --force {exchanges}")


def show_status(rows: Sequence[ExchangeStatus], *, as_json: bool) -> None:
    """One line an exchange; beneath, what failed and what waits."""
    if as_json:
        checks = (row.last_check and msgspec.structs.asdict(row.last_check) for row in rows)
        print_json([row | {"last_check": check} for row, check in zip(_maps(rows), checks, strict=True)])
        return
    columns = ("exchange", "in", "listed", "gone", "kB", "downloaded", "backups", "last look", "verdict")
    table = table_of("", *columns)
    for row in rows:
        check = row.last_check
        table.add_row(
            *(row.exchange, row.region, f"{row.listed:,}", f"{row.gone:,}"),
            *("" if row.file_bytes is None else f"{row.file_bytes / 1_000:,.0f}", _short(row.downloaded_ns)),
            *(str(row.backups), _short(check.checked_ns if check else None), check.verdict if check else "never"),
        )
    Console().print(table)
    for row in rows:
        if row.last_check is not None and row.last_check.verdict == "failed":
            typer.echo(f"{row.exchange} failed: {_reason(row.last_check)}")
        if row.waits is not None:
            typer.echo(
                f"{row.exchange} waits for a person: {row.waits.reason}\n"
                f"  to apply it: observer master approve {row.waits.run}"
            )


def counts_text(changes: Sequence[Change]) -> str:
    """How many of each kind."""
    kinds = [change.kind for change in changes]
    return ", ".join(f"{kinds.count(kind)} {kind}" for kind in ("new", "changed", "removed", "relisted"))


def table_of(title: str, *columns: str) -> Table:
    """A table without a frame. Of two names both are cut, since they are there to recognise; what changed is folded."""
    widths_max = _WIDTHS_MAX if _WIDTHS_MAX.keys() <= set(columns) else {}
    table = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for column in columns:
        if column == _FOLDED:
            table.add_column(column, overflow="fold")
        else:
            justify: JustifyMethod = "right" if column in _NUMBERS else "left"
            table.add_column(column, justify=justify, no_wrap=True, max_width=widths_max.get(column))
    return table


def print_json(value: object) -> None:
    """As one line on stdout."""
    typer.echo(msgspec.json.encode(msgspec.to_builtins(value)).decode())


def _day(change: ListingChanged) -> str:
    return moment_text(change.changed_ns).partition(" ")[0]


def _short(moment_ns: int | None) -> str:
    """Month, day and time: of what happens every day."""
    return moment_text(moment_ns)[len("2026-") :]


def _maps(structs: Sequence[msgspec.Struct]) -> list[dict[str, object]]:
    """With the names of their fields: as events they are arrays."""
    return [msgspec.structs.asdict(struct) for struct in structs]


def _reason(check: MasterFileChecked) -> str:
    """Without the exchange, which errors name first."""
    return check.reason.removeprefix(f"{check.exchange}: ")


def _verdict(each: Verified) -> str:
    if "no file" in each.problems:
        return "no file"
    return "differs" if each.problems else "the same"
