"""What is kept of unreadable inputs: bounded, and nothing is dropped uncounted."""

import re

from hypothesis import given
from hypothesis import strategies as st

from bus.events import InputQuarantined
from observer.base.local_time import local_datetime
from observer.base.text import conceal, plain_text
from observer.base.units import NS_PER_S
from observer.brokers.quarantine import HEAD_BYTES_MAX, ROWS_PER_MINUTE_MAX, InputQuarantine, bounded
from tests.brokers.hostile import MB

NINE_NS = 1_795_046_400 * NS_PER_S
COUNT = re.compile(r"([\d,]+) more with ([\d,]+) bytes, only counted")
ROW_BYTES_MAX = HEAD_BYTES_MAX + 600


def item(content=b"x", source="kis.trades", reason="no record"):
    return InputQuarantined(source, NINE_NS, reason, content)


def counted_in(rows):
    """Inputs and bytes that the counting rows state."""
    found = [COUNT.fullmatch(row.reason) for row in rows]
    numbers = [[int(number.replace(",", "")) for number in each.groups()] for each in found if each]
    return sum(number for number, _ in numbers), sum(size for _, size in numbers)


def test_a_short_input_is_kept_as_it_came():
    assert bounded(item(b"\x00\xff any bytes")) == item(b"\x00\xff any bytes")


def test_of_a_long_input_the_beginning_is_kept_and_its_length():
    row = bounded(item(b"0|H0STCNT0|" + b"x" * 20_000_000, reason="r" * 20_000_000))
    assert row.content == (b"0|H0STCNT0|" + b"x" * HEAD_BYTES_MAX)[:HEAD_BYTES_MAX]
    assert row.reason.endswith("(the first 4,096 of 20,000,011 bytes)")
    assert len(row.reason) < 600


def test_a_secret_in_an_input_is_blanked_out_even_where_the_beginning_ends():
    conceal("a-secret-of-a-broker-0123456789")
    content = b"y" * (HEAD_BYTES_MAX - 20) + b"a-secret-of-a-broker-0123456789" + b'{"approval_key":"unknown-key"}'
    assert b"a-secret" not in bounded(item(content)).content
    assert b"unknown" not in bounded(item(content[HEAD_BYTES_MAX:])).content


def test_the_first_of_a_minute_are_kept_and_the_others_are_one_row():
    quarantine = InputQuarantine()
    rows = [row for _ in range(3_000) for row in quarantine.take(item(b"x" * 100_000), NINE_NS)]
    assert len(rows) == ROWS_PER_MINUTE_MAX
    assert quarantine.counted == ["kis.trades"]
    [row] = quarantine.after_time(NINE_NS + 60 * NS_PER_S)
    assert row.reason == "2,990 more with 299,000,000 bytes, only counted"
    assert (row.source, row.content, quarantine.counted) == ("kis.trades", b"", [])


def test_one_source_does_not_take_the_rows_of_another():
    quarantine = InputQuarantine()
    for _ in range(100):
        quarantine.take(item(), NINE_NS)
    assert quarantine.take(item(source="kis.order_book"), NINE_NS) == [item(source="kis.order_book")]


def test_a_full_day_is_only_counted_until_the_next():
    quarantine = InputQuarantine(day_bytes_max=2 * HEAD_BYTES_MAX)
    kept = [bool(quarantine.take(item(b"x" * MB), NINE_NS)) for _ in range(5)]
    assert kept == [True, True, False, False, False]
    assert quarantine.is_full
    tomorrow_ns = NINE_NS + 86_400 * NS_PER_S
    [counts, row] = quarantine.take(item(), tomorrow_ns)
    assert counted_in([counts]) == (3, 3 * MB)
    assert row == item()
    assert not quarantine.is_full


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["kis.trades", "kis.stream", "\x1b[2J"]) | st.text(max_size=3),
            st.integers(0, 20_000),
            st.integers(-10, 40_000) | st.integers(0, 2),
        ),
        max_size=100,
    ),
    st.integers(0, 100_000),
)
def test_every_input_has_a_row_or_is_counted_and_a_day_keeps_its_bound(inputs, day_bytes_max):
    quarantine = InputQuarantine(day_bytes_max)
    now_ns, rows, by_day = NINE_NS, [], {}
    for source, size, after_s in inputs:
        now_ns += after_s * NS_PER_S
        new = quarantine.take(item(b"x" * size, source), now_ns)
        rows += new
        day = local_datetime(now_ns).date()
        by_day[day] = by_day.get(day, 0) + sum(len(row.content) for row in new)
    rows += quarantine.finish(now_ns)
    counted, counted_bytes = counted_in(rows)
    kept = [row for row in rows if not COUNT.fullmatch(row.reason)]
    assert len(kept) + counted == len(inputs)
    assert counted_bytes <= sum(size for _, size, _ in inputs)
    assert all(len(row.content) <= HEAD_BYTES_MAX and row.source == plain_text(row.source) for row in rows)
    if all(after_s >= 0 for _, _, after_s in inputs):
        assert all(size < day_bytes_max + ROW_BYTES_MAX for size in by_day.values())
    assert quarantine.finish(now_ns) == []
