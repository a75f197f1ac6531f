"""Builders of KIS texts as the protocol describes them; independent of the parsers' own tables."""

import json

FIELDS = 47  # a record of 2026


def record(
    symbol="005930",
    hour="100000",
    price="70000",
    volume="10",
    total="1000",
    counts=("40", "60"),
    aggressor="1",
    date="20261120",
    ask="70100",
    bid="70000",
    width=FIELDS,
    hour_class="0",
):
    """HOUR_CLS_CODE is 0 of a trade, A to D of an auction's expected price."""
    fields = ["7"] * width
    fields[0], fields[1], fields[2] = symbol, hour, price
    fields[10], fields[11], fields[12], fields[13] = ask, bid, volume, total
    fields[15], fields[16], fields[21], fields[33], fields[43] = *counts, aggressor, date, hour_class
    return fields


def frame(*records, transaction="H0STCNT0", count=None, encrypted="0"):
    payload = "^".join("^".join(fields) for fields in records)
    return f"{encrypted}|{transaction}|{len(records) if count is None else count:03}|{payload}"


def reply(code, symbol="005930", text="", transaction="H0STCNT0"):
    header = {"tr_id": transaction, "tr_key": symbol, "encrypt": "N"}
    return json.dumps({"header": header, "body": {"rt_cd": "0", "msg_cd": code, "msg1": text}})


PINGPONG = '{"header":{"tr_id":"PINGPONG","datetime":"20260914093000"}}'
