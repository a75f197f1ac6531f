"""What a process counts, and how much of it a heartbeat carries."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from bus.commands import REQUEST_BYTES_MAX, Heartbeat, Sample, decode_request
from bus.histogram import BOUNDS_S, Histogram
from observer.monitoring.metrics.counters import Counters, bounded

durations = st.floats(min_value=0, max_value=1e6)
texts = st.text(max_size=80)
counts = st.lists(st.integers(0, 2**63), max_size=16).map(tuple)
samples = st.builds(Sample, texts, st.lists(texts, max_size=3).map(tuple), st.floats(allow_nan=False), counts)


def test_a_counter_grows_by_its_labels():
    counters = Counters()
    counters.add("observer_calls_total", "main", "quotes", "ok")
    counters.add("observer_calls_total", "main", "quotes", "ok", amount=2)
    counters.add("observer_calls_total", "main", "quotes", "sent")
    assert set(counters.samples()) == {
        Sample("observer_calls_total", ("main", "quotes", "ok"), 3.0),
        Sample("observer_calls_total", ("main", "quotes", "sent"), 1.0),
    }


def test_a_gauge_has_its_last_value_until_it_is_forgotten():
    counters = Counters()
    counters.set("observer_gap_queue", to=7)
    counters.set("observer_gap_queue", to=3)
    assert counters.samples() == [Sample("observer_gap_queue", (), 3)]
    counters.forget("observer_gap_queue")
    assert counters.samples() == []


def test_a_truth_value_is_a_number_in_a_heartbeat():
    counters = Counters()
    counters.set("observer_account_healthy", "main", to=True)
    beat = Heartbeat("accounts", 7, 0.0, 1, [], bounded(counters.samples()))
    assert decode_request(msgspec.msgpack.encode(beat)) == beat


@given(st.lists(durations))
def test_a_histogram_counts_each_duration_once_below_its_bound(found):
    histogram = Histogram()
    for each in found:
        histogram.observe(each)
    assert sum(histogram.counts) == len(found)
    assert histogram.sum_s == sum(found)
    for index, bound in enumerate(BOUNDS_S):
        assert sum(histogram.counts[: index + 1]) == sum(each <= bound for each in found)


@given(st.lists(samples, max_size=20).map(lambda few: few * 100))
def test_a_heartbeat_is_never_too_long_for_its_samples(found):
    beat = Heartbeat("track-b", 7, 0.0, 1, [], bounded(found))
    content = msgspec.msgpack.encode(beat)
    assert len(content) < REQUEST_BYTES_MAX
    assert decode_request(content) == beat


def test_what_does_not_fit_is_counted():
    found = [Sample("observer_calls_total", ("x" * 1000,), 1.0)] * 50
    *sent, left_out = bounded(found)
    assert sent == found[: len(sent)]
    assert left_out == Sample("observer_heartbeat_left_out", (), 50 - len(sent))


def test_what_a_process_has_fits():
    found = [
        Sample("observer_calls_total", ("account_001", f"a_call_with_a_name_{number}", "ok"), 1e9)
        for number in range(200)
    ]
    assert bounded(found) == found
