"""A builder of a broker's tradable instruments; a test sets the fields it checks by name."""

from observer.brokers.kis.schema import OVERSEAS_INSTRUMENT, STOCK


def instrument(**changes):
    known = {"exchange": "NASD", "symbol": "AAPL", "name": "애플", "english_name": "APPLE INC", "currency": "USD"}
    state = {"kind": "01", "listed": True, "delisted": False, "trading_stop": "01"}
    return _row(OVERSEAS_INSTRUMENT, known | state | changes)


def stock(**changes):
    known = {"symbol": "005930", "name": "삼성전자", "english_name": "SAMSUNG ELECTRONICS", "market": "STK"}
    return _row(STOCK, known | {"group": "ST", "suspended": False} | changes)


def _row(record, values):
    return record.result(**dict.fromkeys(record.result.__struct_fields__) | values)
