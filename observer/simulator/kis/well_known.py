"""Well-known listings of the simulated market: real names and codes, plausible prices and sizes. Data only.

Prices and volumes are made up for the session day. Codes of made-up listings are higher than all of these.
"""

from typing import Final

from observer.simulator.market.instruments import Exchange, Instrument, isin_of, market_cap_100m


def _listing(
    symbol: str, name: str, exchange: Exchange, group: str, price: int, shares: int, volume: int, listed_on: str
) -> Instrument:
    return Instrument(
        symbol=symbol,
        isin=isin_of(symbol),
        name=name,
        exchange=exchange,
        group=group,
        base_price=price,
        market_cap_100m=market_cap_100m(price, shares),
        listed_shares_thousands=shares,
        previous_volume=volume,
        listed_on=listed_on,
    )


# Code, name, exchange, group, base price (won), listed shares (thousands), previous volume (shares), listed on.
WELL_KNOWN: Final = (
    _listing("005930", "삼성전자", "KOSPI", "ST", 97_800, 5_919_638, 18_214_300, "19750611"),
    _listing("000660", "SK하이닉스", "KOSPI", "ST", 570_000, 728_002, 3_961_200, "19961226"),
    _listing("207940", "삼성바이오로직스", "KOSPI", "ST", 1_221_000, 71_174, 58_400, "20161110"),
    _listing("005380", "현대차", "KOSPI", "ST", 262_000, 204_758, 812_700, "19740628"),
    _listing("035420", "NAVER", "KOSPI", "ST", 255_000, 156_850, 904_100, "20081128"),
    _listing("051910", "LG화학", "KOSPI", "ST", 380_500, 70_592, 287_900, "20010425"),
    _listing("035720", "카카오", "KOSPI", "ST", 60_300, 442_260, 2_043_800, "20170710"),
    _listing("247540", "에코프로비엠", "KOSDAQ", "ST", 158_000, 97_801, 871_500, "20190305"),
    _listing("086520", "에코프로", "KOSDAQ", "ST", 92_000, 135_780, 1_763_200, "20070720"),
    _listing("069500", "KODEX 200", "KOSPI", "EF", 56_500, 192_300, 8_120_400, "20021014"),
    _listing("379800", "KODEX 미국S&P500", "KOSPI", "EF", 22_700, 254_000, 4_908_600, "20210409"),
    _listing("102110", "TIGER 200", "KOSPI", "EF", 56_600, 98_700, 2_871_300, "20080403"),
    _listing("122630", "KODEX 레버리지", "KOSPI", "EF", 45_500, 62_400, 14_630_500, "20100222"),
    _listing("229200", "KODEX 코스닥150", "KOSPI", "EF", 15_200, 88_500, 6_945_800, "20151001"),
    _listing("114800", "KODEX 인버스", "KOSPI", "EF", 2_900, 231_700, 58_402_600, "20090916"),
)
