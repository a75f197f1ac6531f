"""The picture of `python -m tests.bench slots`: who held slots over a day, as SVG."""

from collections.abc import Iterator, Sequence
from typing import Final

from tests.bench.surges import STREAM_FIRST, Surge, SymbolDay

_LANE: Final = 4  # pixels
_WIDE: Final = 660


def svg(drawn: Sequence[tuple[str, Sequence[frozenset[str]], Sequence[SymbolDay]]]) -> str:
    """The holders over a day, one panel a rule, one line a symbol in the order of their first slots: dark while the
    symbol surges.
    """
    parts: list[str] = []
    top = 20
    for title, held, market in drawn:
        parts.append(f'<text x="4" y="{top - 6}" font-size="11">{title}: symbols in slots, 09:30 to 15:00</text>')
        surges = {each.member.symbol: each.surges for each in market}
        lanes = dict.fromkeys(symbol for symbols in held for symbol in sorted(symbols))
        for lane, symbol in enumerate(lanes):
            for first, end, is_surging in _spans(held, symbol, surges[symbol]):
                x, wide = first * _WIDE / len(held), (end - first) * _WIDE / len(held)
                colour = "#b3261e" if is_surging else "#c8ccd0"
                y = top + lane * _LANE
                parts.append(f'<rect x="{x:.1f}" y="{y}" width="{wide:.1f}" height="{_LANE - 1}" fill="{colour}"/>')
        top += len(lanes) * _LANE + 30
    return f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDE}" height="{top}">{"".join(parts)}</svg>\n'


def _spans(held: Sequence[frozenset[str]], symbol: str, surges: Sequence[Surge]) -> Iterator[tuple[int, int, bool]]:
    """The runs of steps in which the symbol has a slot, split where a surge begins or ends."""
    states = [_state(symbol in symbols, number + STREAM_FIRST, surges) for number, symbols in enumerate(held)]
    first = 0
    for number in range(1, len(states) + 1):
        if number == len(states) or states[number] != states[first]:
            if (is_surging := states[first]) is not None:
                yield first, number, is_surging
            first = number


def _state(is_held: bool, step: int, surges: Sequence[Surge]) -> bool | None:
    return any(surge.first <= step < surge.end for surge in surges) if is_held else None
