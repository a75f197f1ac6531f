"""What a broker has registered of a security that can be traded; what a test is about is given by name."""

import msgspec

from observer.providers.domestic import StockInformation
from observer.providers.overseas import OverseasInstrument


def instrument(**changes: object) -> OverseasInstrument:
    base = OverseasInstrument(
        exchange="NASD",
        symbol="AAPL",
        isin="US0378331005",
        name="애플",
        english_name="APPLE INC",
        country="840",
        market="02",
        currency="USD",
        kind="01",
        classification="",
        listed=True,
        delisted=False,
        listed_on=None,
        delisted_on=None,
        listed_shares=None,
        par_value=None,
        trading_stop="01",
        tracking_multiple=None,
        sedol="",
        bloomberg_ticker="",
        lei="",
        replaces="",
    )
    return msgspec.structs.replace(base, **changes)


def stock(**changes: object) -> StockInformation:
    base = StockInformation(
        symbol="005930",
        isin="KR7005930003",
        name="삼성전자",
        english_name="SAMSUNG ELECTRONICS",
        market="STK",
        group="ST",
        listed_shares=None,
        capital_krw=None,
        par_value=None,
        issue_price=None,
        listed_on=None,
        delisted_on=None,
        sector_large="",
        sector_medium="",
        sector_small="",
        industry="",
        in_kospi200=True,
        suspended=False,
        under_administration=False,
        tracking_multiple=None,
        creation_unit_shares=None,
        on_nxt=True,
        suspended_on_nxt=False,
    )
    return msgspec.structs.replace(base, **changes)
