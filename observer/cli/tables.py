"""Renders tables, and text beside them.

Without a terminal a line is as wide as its content: plain, nothing cut, no colour. On a terminal that is too
narrow, headers are folded at their blanks first; then columns that may be left out are; then the cells of the foldable
columns are folded at their blanks, and inside words only where that is not enough.
"""

import shutil
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import Final
from unicodedata import combining, east_asian_width

import msgspec

from observer.base.text import plain_text

_GAP: Final = "  "
_NARROW_GAP: Final = " "
_FOLDED_WIDTH_MIN: Final = 8


class Table(msgspec.Struct, frozen=True):
    """A table. `right` names the columns of figures, `folded` those whose cells may take more than one line, `optional`
    those that a narrow terminal leaves out, the first one first.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""
    right: Collection[str] = ()
    folded: Collection[str] = ()
    optional: Sequence[str] = ()


def show(table: Table) -> None:
    """Print the table."""
    sys.stdout.write("".join(f"{line}\n" for line in lines(table, terminal_width())))


def show_text(text: str) -> None:
    """Print lines of text; on a terminal, those that are wider than it go on below, further to the right."""
    sys.stdout.write("".join(f"{line}\n" for line in folded_lines(text, terminal_width())))


def folded_lines(text: str, width: int | None) -> Iterator[str]:
    """The text's lines, those wider than `width` folded at blanks; None folds nothing."""
    for line in map(plain_text, text.splitlines()):
        if width is None or display_width(line) <= width:
            yield line
            continue
        margin = line[: len(line) - len(line.lstrip())]
        first, *rest = fold(line, max(width - len(margin) - len(_GAP), 1))
        yield margin + first
        yield from (f"{margin}{_GAP}{each}" for each in rest)


def terminal_width() -> int | None:
    """The width of the terminal on stdout; None without one."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def lines(table: Table, width: int | None = None) -> Iterator[str]:
    """The lines of the table: title, headers, a rule, rows. `width` None: as wide as the content. Control characters,
    which would steer the terminal, are taken out.
    """
    rows = [list(map(plain_text, row)) for row in table.rows]
    table = msgspec.structs.replace(table, rows=rows, title=plain_text(table.title))
    cells = list(zip_longest(*table.rows, fillvalue="")) or [()] * len(table.columns)
    of_cells = [max(map(display_width, column), default=0) for column in cells]
    headers = [[name] for name in table.columns]
    widths = [max(own, display_width(name)) for own, name in zip(of_cells, table.columns, strict=True)]
    gap = _GAP
    if width is not None and _total(widths, gap) > width:
        gap = _NARROW_GAP
    if width is not None and _total(widths, gap) > width:
        words = map(_longest_word, table.columns)
        widths = [max(own, word) for own, word in zip(of_cells, words, strict=True)]
        if table.optional and _total(widths, gap) > width:
            yield from lines(_without(table, table.optional[0]), width)
            return
        may_fold = [name in table.folded for name in table.columns]
        longest = [max((_longest_word(text) for text in column), default=0) for column in cells]
        for narrowest in ([max(each, _FOLDED_WIDTH_MIN) for each in longest], [_FOLDED_WIDTH_MIN] * len(widths)):
            widths = _narrowed(widths, may_fold, narrowest, _total(widths, gap) - width)
        headers = [fold(name, own) for name, own in zip(table.columns, widths, strict=True)]
    is_right = [name in table.right for name in table.columns]

    def line(texts: Iterable[str]) -> str:
        return gap.join(map(_padded, texts, widths, is_right)).rstrip()

    if table.title:
        yield from [table.title] if width is None else fold(table.title, width)
    depth = max(map(len, headers))
    yield from (line(texts) for texts in zip(*(_bottom(header, depth) for header in headers), strict=True))
    yield gap.join("-" * each for each in widths)
    is_whole = all(own <= each for own, each in zip(of_cells, widths, strict=True))
    for row in table.rows:
        if is_whole:
            yield line(row)
        else:
            folded = (fold(text, each) for text, each in zip(row, widths, strict=False))
            yield from (line(texts) for texts in zip_longest(*folded, fillvalue=""))


def display_width(text: str) -> int:
    """How many columns of a terminal the text takes: two for each wide letter (Korean, Chinese, Japanese)."""
    if text.isascii():
        return len(text)
    return sum(0 if combining(letter) else 2 if east_asian_width(letter) in "WF" else 1 for letter in text)


def fold(text: str, width: int) -> list[str]:
    """Break the text at blanks into lines of at most this width; cut only words that are wider themselves."""
    found = [""]
    for word in text.split():
        if found[-1] and display_width(found[-1]) + 1 + display_width(word) <= width:
            found[-1] += f" {word}"
            continue
        if found[-1]:
            found.append("")
        for letter in word:
            if found[-1] and display_width(found[-1]) + display_width(letter) > width:
                found.append("")
            found[-1] += letter
    return found


def _without(table: Table, column: str) -> Table:
    at = table.columns.index(column)
    rows = [(*row[:at], *row[at + 1 :]) for row in table.rows]
    columns = (*table.columns[:at], *table.columns[at + 1 :])
    return msgspec.structs.replace(table, columns=columns, rows=rows, optional=table.optional[1:])


def _padded(text: str, width: int, is_right: bool) -> str:
    blanks = " " * (width - display_width(text))
    return blanks + text if is_right else text + blanks


def _bottom(header: Sequence[str], depth: int) -> Sequence[str]:
    return [*[""] * (depth - len(header)), *header]


def _total(widths: Sequence[int], gap: str) -> int:
    return sum(widths) + len(gap) * (len(widths) - 1)


def _longest_word(text: str) -> int:
    return max(map(display_width, text.split()), default=0)


def _narrowed(widths: Sequence[int], may_fold: Sequence[bool], narrowest: Sequence[int], excess: int) -> list[int]:
    """Take the excess from the columns that may fold, always from the widest of them that is not at its narrowest."""
    narrowed = list(widths)
    for _ in range(excess):
        candidates = [at for at, folds in enumerate(may_fold) if folds and narrowed[at] > narrowest[at]]
        if not candidates:
            break
        narrowed[max(candidates, key=narrowed.__getitem__)] -= 1
    return narrowed
