"""What an ETF is worth: its NAV through the day, its creation unit and what that holds. Pure.

NAVs are in hundredths of a won. The NAV goes with the fund's own price, a few tenths of a percent off it, every ten
seconds of the session; so premium and discount are small and change sign. A creation unit's shares are fixed by the
base prices; cash makes up the rest, so the parts are always worth exactly the whole.
"""

import math
from array import array
from bisect import bisect_right
from itertools import accumulate
from typing import Final

import msgspec

from observer.simulator.frames import sign_code
from observer.simulator.instruments import Instrument
from observer.simulator.market import Market
from observer.simulator.tape import NS_PER_S

STEP_S: Final = 10
UNIT_SHARES: Final = 50_000
COMPONENTS: Final = 10
CASH: Final = "KRD010010001"  # the code under which a creation unit's won are listed
_LARGEST_PREMIUM: Final = 0.003
_STEPS_PER_WAVE: Final = 37
_PART_IN_SHARES: Final = 0.8


class Component(msgspec.Struct, frozen=True):
    """So many shares of a symbol in one creation unit."""

    symbol: str
    shares: int


class FundDay:
    """The NAVs of one fund on the session day, every STEP_S seconds from the opening to the close."""

    def __init__(self, market: Market, instrument: Instrument) -> None:
        self._open_ns = market.open_ns
        self._step_ns = STEP_S * NS_PER_S
        self._phase = sum(instrument.symbol.encode())
        steps = (market.close_ns - market.open_ns) // self._step_ns + 1
        prices = (market.state_at(instrument.symbol, self.time_ns(step)).price_krw for step in range(steps))
        self.previous = self.near(instrument.base_price_krw, -1)
        self.nav = array("q", (self.near(price_krw, step) for step, price_krw in enumerate(prices)))
        self.high = array("q", accumulate(self.nav, max))
        self.low = array("q", accumulate(self.nav, min))

    def near(self, price_krw: int, step: int) -> int:
        """The NAV, in hundredths of a won, that belongs to a price at a step of the premium's wave."""
        premium = _LARGEST_PREMIUM * math.sin((step + self._phase) * 2 * math.pi / _STEPS_PER_WAVE)
        return round(price_krw * 100 * (1 - premium))

    def time_ns(self, step: int) -> int:
        """When the NAV of a step (from 0) is told."""
        return self._open_ns + step * self._step_ns

    def count_until(self, moment_ns: int) -> int:
        """How many NAVs have been told at or before a moment."""
        return min(len(self.nav), max(0, (moment_ns - self._open_ns) // self._step_ns + 1))

    def at(self, moment_ns: int) -> int:
        """The NAV in force at a moment, yesterday's last one before the opening."""
        told = self.count_until(moment_ns)
        return self.nav[told - 1] if told else self.previous


class FundTimeline:
    """A fund's NAVs as records of H0STNAV0; a symbol that is no fund has none."""

    def __init__(self, market: Market, instrument: Instrument) -> None:
        self._symbol = instrument.symbol
        self._day = FundDay(market, instrument) if instrument.group == "EF" else None

    def count_until(self, moment_ns: int) -> int:
        """How many NAVs have been told at or before a moment."""
        return 0 if self._day is None else self._day.count_until(moment_ns)

    def time_ns(self, place: int) -> int:
        """When the `place`-th NAV is told."""
        assert self._day is not None
        return self._day.time_ns(place)

    def record(self, place: int) -> str:
        """The `place`-th NAV (from 0) as the 12 fields of a record; the first four are an envelope's."""
        day = self._day
        assert day is not None
        shown = (nav_text(value) for value in (day.nav[0], day.high[place], day.low[place]))
        nav = day.nav[place]
        fields = ("0", "", "", "", self._symbol, nav_text(nav), *nav_change(nav, day.previous), *shown)
        return "^".join(fields)


def components(market: Market, fund: Instrument) -> tuple[Component, ...]:
    """What one creation unit holds besides cash: equal parts, by base price, of ordinary shares near it in the list."""
    shares = [i for i in market.instruments if i.ordinary and i.trades]
    start = bisect_right([i.symbol for i in shares], fund.symbol) if shares else 0
    chosen = [shares[(start + offset) % len(shares)] for offset in range(min(COMPONENTS, len(shares)))]
    part_krw = fund.base_price_krw * UNIT_SHARES * _PART_IN_SHARES / max(1, len(chosen))
    held = (Component(i.symbol, int(part_krw // i.base_price_krw)) for i in chosen)
    return tuple(component for component in held if component.shares)


def nav_text(nav: int) -> str:
    """Hundredths of a won as the wire writes a NAV: won with two decimals."""
    return f"{nav / 100:.2f}"


def nav_change(nav: int, previous: int) -> tuple[str, str, str]:
    """Sign code, change against the day before in won, and in percent."""
    difference = nav - previous
    return sign_code(difference), nav_text(difference), f"{100 * difference / previous if previous else 0:.2f}"


def premium_percent(price_krw: int, nav: int) -> str:
    """괴리율 (dprt): the price against the NAV, in percent of the NAV."""
    return f"{100 * (price_krw * 100 - nav) / nav if nav else 0:.2f}"
