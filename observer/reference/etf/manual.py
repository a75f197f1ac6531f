"""Parses the table that an operator maintains: fields of ETFs that no source reports, fees above all. Pure.

CSV with a header; `symbol` must be among its columns, every other column is a field of `EtfEntry`:

    symbol,expense_ratio_percent,issuer,leverage
    069500,0.15,삼성자산운용,1

`leverage` is a number or words ("2X 레버리지"). An empty cell is "not reported". Lines that begin with # are comments.
"""

import csv
from collections.abc import Mapping, Sequence
from typing import Final, get_type_hints

import msgspec

from observer.base.errors import DataFileError
from observer.reference.etf.list import Checked, check
from observer.reference.etf.model import EtfEntry, leverage_of

COLUMNS: Final = EtfEntry.__struct_fields__
_NUMBERS: Final = frozenset(name for name, hint in get_type_hints(EtfEntry).items() if hint == float | None)
_COMMENT: Final = "#"


def parse_manual(text: str, source: str) -> Checked:
    """The entries of the table, and the lines and cells left out with the reasons.

    Raises:
        DataFileError: the header lacks `symbol`, has an unknown field, or has a field twice.
    """
    lines = [(number, line) for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), start=1)]
    lines = [(number, line) for number, line in lines if line.strip() and not line.startswith(_COMMENT)]
    rows = list(csv.reader(line for _number, line in lines))
    header = [name.strip() for name in rows[0]] if rows else []
    _check_header(header, source)
    entries: list[EtfEntry] = []
    problems: list[str] = []
    for (number, _line), row in zip(lines[1:], rows[1:], strict=False):
        if len(row) != len(header):
            problems.append(f"{source} line {number}: {len(row)} cells under {len(header)} columns")
            continue
        entry, wrong = _entry(dict(zip(header, (cell.strip() for cell in row), strict=True)))
        entries.append(entry)
        problems += [f"{source} line {number}: {problem}" for problem in wrong]
    checked = check(entries)
    return Checked(checked.entries, [*problems, *(f"{source}: {problem}" for problem in checked.problems)])


def _check_header(header: Sequence[str], source: str) -> None:
    unknown = [name for name in header if name not in COLUMNS]
    if "symbol" not in header or unknown or len(set(header)) != len(header):
        wrong = f"{', '.join(map(repr, unknown))} is no field" if unknown else "it needs `symbol`, and each column once"
        raise DataFileError(f"{source}: the header is wrong: {wrong}; fields are {', '.join(COLUMNS)}")


def _entry(cells: Mapping[str, str]) -> tuple[EtfEntry, list[str]]:
    values: dict[str, str | float] = {"symbol": cells["symbol"]}
    wrong = []
    for name, cell in cells.items():
        if not cell or name == "symbol":
            continue
        value = _number(name, cell) if name in _NUMBERS else cell
        if value is None:
            wrong.append(f"{name} cannot be {cell!r}")
        else:
            values[name] = value
    return msgspec.convert(values, EtfEntry), wrong


def _number(name: str, cell: str) -> float | None:
    if name == "leverage" and (multiple := leverage_of(cell)) is not None:
        return multiple
    try:
        return float(cell.replace(",", "").removesuffix("%"))
    except ValueError:
        return None
