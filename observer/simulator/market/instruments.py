"""Made-up listings of the simulated exchanges from a seed, and the price grid.

Pure: the rng is passed in. All kinds that a universe excludes are included (suspended, administrative, ETF, ETN, SPAC,
REIT, preferred, cheap), and codes with letters, as in about a third of the real files. Price steps are those of KRX's
business regulations in force since January 2023, in whole units of the currency; limits are 30 % of the base price on
either side, rounded towards the base price.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, Literal

import msgspec

if TYPE_CHECKING:
    from random import Random


_STEPS: Final = ((2_000, 1), (5_000, 5), (20_000, 10), (50_000, 50), (200_000, 100), (500_000, 500))
_STEP_ABOVE: Final = 1_000
_LIMIT_PERCENT: Final = 30


def tick_size(price: int) -> int:
    """The price step that holds at a price."""
    for below, step in _STEPS:
        if price < below:
            return step
    return _STEP_ABOVE


def rounded_down(price: int) -> int:
    """The highest price on the grid that is not above this one."""
    return price - price % tick_size(price)


def rounded_up(price: int) -> int:
    """The lowest price on the grid that is not below this one."""
    step = tick_size(price)
    return -(-price // step) * step


def price_limits(base_price: int) -> tuple[int, int]:
    """The lowest and the highest price of the day for a base price."""
    width = base_price * _LIMIT_PERCENT // 100
    return rounded_up(base_price - width), rounded_down(base_price + width)


Exchange = Literal["KOSPI", "KOSDAQ", "KONEX"]
RngSource = Callable[[str], "Random"]

_AMOUNT_PER_CAP_UNIT: Final = 100_000_000
_LARGEST_CAP_100M: Final = 900_000  # of a made-up exchange: 90 trillion, falling by rank
_FIRST_SERIAL: Final = 40_000  # made-up codes begin at 400000: no real listing that a market adds has such a code
_KONEX_LISTINGS: Final = 40
_KOSPI_SHARE: Final = 0.6
_LETTERS: Final = "ACDEFGHJKLMNPRSTVWXYZ"

# Made-up company names: one syllable of each text and a trade, 28 x 10 x 20 of them.
_FIRST_SYLLABLES: Final = "가누다라마바새아초한푸도은해미온하단보슬예찬늘여윤이소별"
_SECOND_SYLLABLES: Final = "온리솔론루람롱름담빛"
_TRADES: Final = (
    "전자",
    "화학",
    "바이오",
    "제약",
    "건설",
    "중공업",
    "소재",
    "반도체",
    "로보틱스",
    "식품",
    "물산",
    "통신",
    "에너지",
    "테크",
    "모빌리티",
    "금속",
    "정밀",
    "해운",
    "엔진",
    "유통",
)


class Instrument(msgspec.Struct, frozen=True, kw_only=True):
    """One listed security as the master file states it.

    `base_price` is whole units (0: none), `market_cap_100m` hundred millions, `listed_shares_thousands`
    thousand shares, `listed_on` YYYYMMDD; `group` is the exchange's 그룹코드 (ST, EF, EN, RT, ...). `split`
    (액면변경 01): the shares are split on the session day, and the base price is the one after it.
    """

    symbol: str
    isin: str
    name: str
    exchange: Exchange
    group: str
    base_price: int
    market_cap_100m: int
    listed_shares_thousands: int
    previous_volume: int
    listed_on: str
    suspended: bool = False
    settlement_trading: bool = False
    administrative: bool = False
    preferred: bool = False
    spac: bool = False
    split: bool = False

    @property
    def ordinary(self) -> bool:
        """A common share of a company: what a universe is made of."""
        return self.group == "ST" and not (self.preferred or self.spac)

    @property
    def etf(self) -> bool:
        """An ETF."""
        return self.group == "EF"

    @property
    def etp(self) -> bool:
        """An ETF or an ETN."""
        return self.group in ("EF", "EN")

    @property
    def trades(self) -> bool:
        """Whether it is dealt in on the session day at all."""
        return self.base_price > 0 and not self.suspended


def made_up_instruments(count: int, session_date: str, rng: RngSource) -> tuple[Instrument, ...]:
    """So many listings, the last of them an ordinary KOSDAQ share listed on the session day itself.

    Raises:
        ValueError: fewer than two are asked for, or more than there are names.
    """
    names_available = len(_FIRST_SYLLABLES) * len(_SECOND_SYLLABLES) * len(_TRADES)
    if not 2 <= count <= names_available:
        raise ValueError(f"symbols must be between 2 and {names_available}, not {count}")
    generator = rng("instruments")
    names = list(_all_names())
    generator.shuffle(names)
    day = session_date.replace("-", "")
    listings = [_made_up(rank, count, names[rank], generator) for rank in range(count - 1)]
    middling = _ordinary(count // 2, count, names[count - 1], "KOSDAQ", generator)
    code = _code(count - 1, generator)
    identity = {"symbol": code, "isin": isin_of(code), "listed_on": day, "previous_volume": 0}
    return (*listings, msgspec.structs.replace(middling, **identity))


def made_up_konex(session_date: str, rng: RngSource) -> tuple[Instrument, ...]:
    """Listings of KONEX, which are in its master file and are not dealt in by the simulated market."""
    generator = rng("konex")
    listings = []
    for serial in sorted(generator.sample(range(10_000), _KONEX_LISTINGS)):
        share = _ordinary(_KONEX_LISTINGS * 50, _KONEX_LISTINGS, f"코넥스모의{serial}", "KONEX", generator)
        code = f"9{serial:04d}0"
        listings.append(msgspec.structs.replace(share, symbol=code, isin=isin_of(code)))
    return tuple(share for share in listings if share.listed_on < session_date.replace("-", ""))


def isin_of(short_code: str, *, kind: str = "7") -> str:
    """The Korean ISIN of a six-character code, with its check digit (ISO 6166)."""
    body = f"KR{kind}{short_code}00"
    digits = "".join(str(int(character, 36)) for character in body)
    total = 0
    for index, digit in enumerate(reversed(digits)):
        doubled = int(digit) * (2 if index % 2 == 0 else 1)
        total += doubled // 10 + doubled % 10
    return f"{body}{-total % 10}"


def market_cap_100m(price: int, shares_thousands: int) -> int:
    """The market capitalisation in hundred millions of the currency, 1 at least."""
    return max(1, shares_thousands * 1_000 * price // _AMOUNT_PER_CAP_UNIT)


def _all_names() -> Iterator[str]:
    for trade in _TRADES:
        for second in _SECOND_SYLLABLES:
            for first in _FIRST_SYLLABLES:
                yield f"{first}{second}{trade}"


def _made_up(rank: int, count: int, name: str, generator: Random) -> Instrument:
    """One listing; the first tenth are plain shares, so that the largest are what a universe wants."""
    exchange: Exchange = "KOSPI" if generator.random() < _KOSPI_SHARE else "KOSDAQ"
    share = _ordinary(rank, count, name, exchange, generator)
    kind = generator.random() if rank >= count // 10 else 1.0
    return _varied(share, rank, kind)


def _ordinary(rank: int, count: int, name: str, exchange: Exchange, generator: Random) -> Instrument:
    """A common share whose size falls with its rank and whose turnover is a fraction of its size."""
    cheapest = 20_000 if rank < count // 10 else 1_200
    price = rounded_down(round(math.exp(generator.uniform(math.log(cheapest), math.log(400_000)))))
    cap = _LARGEST_CAP_100M / (rank + 2) * generator.uniform(0.8, 1.2) * _AMOUNT_PER_CAP_UNIT
    shares_thousands = max(1, round(cap / price / 1_000))
    code = _code(rank, generator)
    return Instrument(
        symbol=code,
        isin=isin_of(code),
        name=name,
        exchange=exchange,
        group="ST",
        base_price=price,
        market_cap_100m=market_cap_100m(price, shares_thousands),
        listed_shares_thousands=shares_thousands,
        previous_volume=max(500, round(shares_thousands * 1_000 * generator.uniform(0.002, 0.01))),
        listed_on=f"{generator.randint(1975, 2024)}{generator.randint(1, 12):02d}{generator.randint(1, 28):02d}",
    )


def _code(rank: int, generator: Random) -> str:
    """A common share's code: it ends in 0; every twelfth has a letter in the fifth place, as new codes do."""
    serial = _FIRST_SERIAL + rank * 7 + generator.randrange(7)
    if rank % 12 == 7:
        return f"{serial % 10_000:04d}{_LETTERS[serial // 10_000 % len(_LETTERS)]}0"
    return f"{serial:05d}0"


def as_etf(share: Instrument) -> Instrument:
    """The listing as an ETF."""
    return msgspec.structs.replace(share, group="EF", name=f"SIM {share.name}", exchange="KOSPI")


def _varied(share: Instrument, rank: int, kind: float) -> Instrument:
    """Turn some shares into other kinds of securities. `kind` is uniform in 0..1; most stay as they are."""
    replace = msgspec.structs.replace
    if kind < 0.05:
        return as_etf(share)
    if kind < 0.07:
        serial = f"{530_000 + rank:06d}"
        isin = isin_of(serial, kind="G")
        return replace(share, group="EN", symbol=f"Q{serial}", isin=isin, name=f"{share.name} ETN", exchange="KOSPI")
    if kind < 0.09:
        return replace(share, spac=True, name=f"{share.name}스팩{rank}호", exchange="KOSDAQ")
    if kind < 0.12:
        code = f"{share.symbol[:5]}5"
        return replace(share, preferred=True, symbol=code, isin=isin_of(code), name=f"{share.name}우", exchange="KOSPI")
    if kind < 0.13:
        return replace(share, group="RT", name=f"{share.name}리츠", exchange="KOSPI")
    if kind < 0.145:
        return replace(share, suspended=True)
    if kind < 0.165:
        return replace(share, administrative=True)
    if kind < 0.17:
        return replace(share, administrative=True, settlement_trading=True)
    if kind < 0.175:
        return replace(share, split=True)
    return share
