"""Every real frame of the stream is read, and nothing is quarantined that should not be."""

import json
from collections import Counter
from pathlib import Path

import pytest

from bus.events import OrderBook
from observer.brokers.dialect import Data
from observer.brokers.kis.session import KisSession

FRAMES = Path(__file__).parents[3] / "shared" / "data" / "kis-frames" / "frames.jsonl"
pytestmark = [
    pytest.mark.realdata,
    pytest.mark.skipif(not FRAMES.is_file(), reason="the real samples are not beside the repository"),
]
RECEIVED_NS = 1_790_053_570_000_000_000  # 2026-09-22 14:06:10 KST


def results():
    session = KisSession("key")
    samples = map(json.loads, FRAMES.read_text().splitlines())
    messages = {sample["id"]: session.read(sample["raw"]) for sample in samples}
    return {name: session.parse(data, RECEIVED_NS) for name, data in messages.items() if isinstance(data, Data)}


def test_only_the_torn_and_the_overseas_frame_are_quarantined(record_property):
    counts = Counter()
    for result in results().values():
        counts.update(trades=len(result.trades), facts=len(result.facts), quarantined=result.broken is not None)
    record_property("counts", dict(counts))
    print(dict(counts))  # noqa: T201 - the figures are asked for
    assert counts == {"trades": 2, "facts": 1, "quarantined": 2}
    broken = {name: result.broken.reason for name, result in results().items() if result.broken is not None}
    assert broken == {
        "trade-krx-2024-09-04-truncated": "70 fields do not make 4 records of at least 46",
        "trade-us-2024-12-27": "'HDFSCNT0' is a record of no kind that is kept",
    }


def test_the_order_book_of_63_fields_is_read():
    (book,) = results()["book-krx-2026-09-22"].facts
    assert isinstance(book, OrderBook)
    assert (book.symbol, book.session_date, book.exchange_time_ns) == ("005930", "2026-09-22", RECEIVED_NS)
    assert (book.ask_1, book.ask_10, book.bid_1, book.bid_10) == (278_000.0, 282_500.0, 277_500.0, 273_000.0)
    assert (book.ask_volume_1, book.bid_volume_10) == (47_584.0, 25_718.0)
    volumes = (book.total_ask_volume, book.total_bid_volume, book.expected_price, book.cumulative_volume)
    assert volumes == (794_831.0, 496_484.0, None, 11_955_000.0)
