"""A builder of a broker's tradable instruments; a test sets the fields it checks by name."""

import msgspec

from observer.brokers.kis.schema import OverseasInstrument, StockInformation


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
        capital=None,
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
