"""`observer show`: the relations of the stored data, typed. `observer gaps` is `observer show gaps`."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import click

from observer.base.errors import ConfigError
from observer.cli.context import ConfigOption, JsonOption, parsed_day
from observer.cli.options import Argument, Option
from observer.cli.rows import ROWS_FIRST, named_day, opened, print_record, print_rows, write_rows
from observer.cli.tables import Table
from observer.cli.tables import show as show_table
from observer.research.catalogue import RELATIONS, relation_named
from observer.research.relation import Relation

if TYPE_CHECKING:
    import polars as pl

    from observer.research.store import Store

_LAST: Final = "last"
_LIKE_A_DAY: Final = re.compile(r"\d+-\d+-\d+$")
Form = Literal["table", "json", "csv", "parquet"]


def show(
    relation: Annotated[str | None, Argument(help="The relation; without it all are listed.")] = None,
    words: Annotated[
        list[str] | None, Argument(metavar="[DATE] [SYMBOL]...", help="A day, and symbols; default: the last session.")
    ] = None,
    to: Annotated[str | None, Option(metavar="DATE", parser=parsed_day, help="The last day, of several.")] = None,
    where: Annotated[str | None, Option(help="Rows that satisfy this condition, in SQL.")] = None,
    sort: Annotated[str | None, Option(help="By this column; -COLUMN: the largest first.")] = None,
    columns: Annotated[str | None, Option(help="These columns, with commas between them; '*' for all.")] = None,
    every: Annotated[bool, Option("--all", help="Show all rows.")] = False,
    form: Annotated[Form, Option("--format", help="The form of the rows.")] = "table",
    out: Annotated[Path | None, Option(metavar="FILE", help="Write the rows to a file.")] = None,
    parameters: Annotated[
        list[str] | None, Option("--set", metavar="NAME=VALUE", help="A parameter of the relation's own.")
    ] = None,
    known_at: Annotated[str | None, Option(help="Leave out what was stored later than this moment.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a relation of the stored data.

    docs/relations.md has each relation with its columns. A line of counts comes first, then ten rows.
    """
    if relation is None:
        show_table(_catalogue())
        return
    asked = relation_named(relation)
    day, symbols = _asked(words or ())
    with opened(config) as store:
        first = _day_of(store, asked, day, config)
        last = None if to is None else named_day(store, to, config)
        found = store.relation(
            asked.name, first, last, symbols=symbols, known_at=known_at, **_parameters(asked, parameters or ())
        )
        rows = _chosen(found, where, sort)
    form = "json" if as_json else form
    if form != "table" or out is not None:
        write_rows(rows if columns is None else rows.select(_names(columns, rows)), form, out)
        return
    title = _title(asked, rows, first, last, is_last=day in (None, _LAST))
    if rows.height == 1:
        print_record(rows if columns is None else rows.select(_names(columns, rows)), title)
    elif rows.is_empty():
        click.echo(title)
    else:
        names = _names(columns, rows) if columns is not None else asked.shown or rows.columns
        is_one_day = asked.span == "days" and last is None
        print_rows(rows.select(names), 0 if every else ROWS_FIRST, title, is_one_day=is_one_day)


def _catalogue() -> Table:
    rows = [(each.name, each.meaning.partition(". ")[0].rstrip(".")) for each in RELATIONS.values()]
    return Table(("relation", "rows"), rows, "observer show RELATION [DATE] [SYMBOL]", folded=("rows",))


def _asked(words: Sequence[str]) -> tuple[str | None, Sequence[str] | None]:
    """The day, and the symbols, that the words name."""
    days, symbols = [], []
    for word in words:
        try:
            days.append(parsed_day(word))
        except ConfigError:
            if _LIKE_A_DAY.match(word):
                raise
            symbols.append(word)
    if len(days) > 1:
        raise ConfigError(f"{' and '.join(days)} are two days: give the last one with --to")
    return (days[0] if days else None), symbols or None


def _day_of(store: "Store", relation: Relation, day: str | None, config: Path | None) -> str | None:
    if day is None and relation.span in ("since", "now") and relation.name != "lifetimes":
        return None
    return named_day(store, day, config)


def _parameters(relation: Relation, given: Sequence[str]) -> Mapping[str, object]:
    """The values of NAME=VALUE, as the relation's options have them."""
    import msgspec

    texts = dict(each.partition("=")[::2] for each in given)
    if relation.options is None or not texts:
        return texts
    try:
        found = msgspec.convert(texts, relation.options, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(f"--set: {error}") from error
    return {name: getattr(found, name) if name in relation.options.__struct_fields__ else None for name in texts}


def _chosen(found: "pl.LazyFrame", where: str | None, sort: str | None) -> "pl.DataFrame":
    from observer.research.frame import chosen

    return chosen(found, where, sort)


def _names(columns: str, rows: "pl.DataFrame") -> Sequence[str]:
    names = rows.columns if columns == "*" else columns.split(",")
    if unknown := [name for name in names if name not in rows.columns]:
        raise ConfigError(f"there is no column {unknown[0]!r}: there are {', '.join(rows.columns)}")
    return names


def _title(relation: Relation, rows: "pl.DataFrame", first: str | None, last: str | None, *, is_last: bool) -> str:
    days = "" if first is None else f" from {first} to {last}" if last else f" on {first}"
    session = " (the last stored session)" if is_last and first is not None else ""
    name = relation.name.replace("_", " ")
    if rows.is_empty():
        return f"no {name}{days}{session}"
    count = f"{rows.height:,} row{'s' if rows.height > 1 else ''}"
    counts = [
        ", ".join(f"{count:,} {word}" for word, count in sorted(Counter(rows[each].drop_nulls()).items()))
        for each in relation.counted
    ]
    return "; ".join([f"{name}{days}{session}: {count}", *filter(None, counts)])
