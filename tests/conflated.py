"""Days of one line: some trades are conflated to rows, some are stored; and what a judge counts of them."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Self

from hypothesis import strategies as st


class Traded(NamedTuple):
    """A trade: its second, price and volume, and the day's volume after it."""

    second: int
    price: float
    volume: float
    upto: float


class ConflatedDay(NamedTuple):
    """All trades of the day, those that are stored one by one, and the neighbours that are conflated to a row each."""

    trades: tuple[Traded, ...]
    held: tuple[Traded, ...]
    rows: tuple[tuple[Traded, ...], ...]

    @classmethod
    def of(cls, trades: Iterable[tuple[int, int, int]], rows: Sequence[tuple[int, int]], held: Iterable[int]) -> Self:
        """Trades as (second, price, volume); rows as (first, behind the last) and held trades by number."""
        made, total = [], 0.0
        for second, price, volume in trades:
            total += volume
            made.append(Traded(second, float(price), float(volume), total))
        return cls(tuple(made), tuple(made[nth] for nth in held), tuple(tuple(made[slice(*row)]) for row in rows))

    @property
    def counted(self) -> list[Traded]:
        """The trades that are stored in one way at least, each once, in their order."""
        of_rows = {each for row in self.rows for each in row}
        return [each for each in self.trades if each in of_rows or each in self.held]

    def volumes_by_minute(self) -> dict[int, tuple[float, int]]:
        """By minute the shares and the trades."""
        found: dict[int, tuple[float, int]] = {}
        for each in self.counted:
            minute = self._minute_of(each)
            volume, trades = found.get(minute, (0.0, 0))
            found[minute] = (volume + each.volume, trades + 1)
        return found

    def last_price(self) -> float:
        """The price at which the last minute closes. The last trade can be in an earlier one, with its row."""
        last = max(map(self._minute_of, self.counted))
        return [each.price for each in self.counted if self._minute_of(each) == last][-1]

    def _minute_of(self, trade: Traded) -> int:
        """A stored trade is in its own minute, another in that in which its row begins."""
        begins = {each: row[0].second for row in self.rows for each in row}
        return (trade.second if trade in self.held else begins[trade]) // 60


@st.composite
def conflated_days(draw: st.DrawFn, *, is_whole: bool = False) -> ConflatedDay:
    """`is_whole`: each trade is stored in one way at least."""
    one = st.tuples(st.integers(0, 40), st.integers(1, 9), st.integers(1, 5))
    steps = draw(st.lists(one, min_size=1 if is_whole else 0, max_size=14))
    second, trades = 0, []
    for step, price, volume in steps:
        second += step if step > 20 else 0  # many trades share a second
        trades.append((second, price, volume))
    rows, at = [], 0
    while at < len(trades):
        length = draw(st.integers(1, 4))
        if length > 1 and at + length <= len(trades):
            rows.append((at, at + length))
            at += length
        else:
            at += 1
    inside = {nth for row in rows for nth in range(*row)}
    held = [nth for nth in range(len(trades)) if (is_whole and nth not in inside) or draw(st.booleans())]
    return ConflatedDay.of(trades, rows, held)
