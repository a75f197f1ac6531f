"""Samples become Prometheus's text; a strange one is left out, a dead process is absent."""

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from bus.commands import OpenAlert, ProcessStatus, Sample, StatusReply
from bus.histogram import BOUNDS_S
from observer.monitoring.metrics.families import exposition, of_process
from observer.monitoring.metrics.host import system_samples
from observer.monitoring.metrics.table import METRICS

BUCKETS = len(BOUNDS_S) + 1
RUNNING = ProcessStatus(
    "track-b", "RUNNING", pid=7, uptime_s=60.0, cpu_percent=50.0, rss_bytes=10**7, heartbeat_age_s=0.5, loop_lag_s=0.01
)
GONE = ProcessStatus("track-a", "BACKOFF", restarts=2)


def status(*processes, alerts=None):
    return StatusReply(list(processes), "FULL_OPERATION", 10**18, 1, 60.0, alerts=alerts or [])


def read(samples):
    """The exposition as Prometheus reads it, by name and labels."""
    return {
        (each.name, tuple(sorted(each.labels.items()))): each.value
        for family in text_string_to_metric_families(exposition(samples).decode())
        for each in family.samples
    }


def values(samples, name):
    """The values of a metric by its first label."""
    return {labels[0][1] if labels else "": value for (found, labels), value in read(samples).items() if found == name}


sample_of = st.sampled_from(sorted(METRICS)).flatmap(
    lambda name: st.builds(
        Sample,
        st.just(name),
        st.tuples(*(st.text(max_size=8) for _ in METRICS[name].labels)),
        st.floats(allow_nan=False),
        st.tuples(*[st.integers(0, 9)] * (BUCKETS if METRICS[name].type == "histogram" else 0)),
    )
)


@given(st.lists(sample_of, unique_by=lambda each: (each.metric, each.labels)))
def test_each_sample_of_the_table_is_exposed_with_its_value(samples):
    found = read(samples)
    for each in samples:
        name = each.metric if METRICS[each.metric].type != "histogram" else f"{each.metric}_sum"
        labels = tuple(sorted(zip(METRICS[each.metric].labels, each.labels, strict=True)))
        assert found[name, labels] == each.value


@given(st.builds(Sample, st.text(), st.lists(st.text()).map(tuple), st.floats(), st.lists(st.integers(0)).map(tuple)))
def test_a_sample_of_another_version_is_left_out(strange):
    good = Sample("observer_gap_queue", (), 3)
    assert read([strange, good]) == read([good])
    assert read([Sample("observer_gap_queue", ("one", "too many"), 3), good]) == read([good])
    assert read([Sample("observer_acknowledgement_seconds", ("track-b",), 1.0, (1, 2)), good]) == read([good])


def test_the_buckets_of_a_histogram_add_up():
    counts = tuple(range(BUCKETS))
    sample = Sample("observer_acknowledgement_seconds", ("track-b",), 2.5, counts)
    found = values([sample], "observer_acknowledgement_seconds_bucket")
    assert list(found) == [*(str(bound) for bound in BOUNDS_S), "+Inf"]
    assert list(found.values()) == [sum(counts[: index + 1]) for index in range(BUCKETS)]


def test_a_sample_of_a_heartbeat_gets_its_process_where_the_metric_has_one():
    sent = [Sample("observer_events_published_total", (), 7), Sample("observer_gap_queue", (), 3)]
    assert list(of_process("gap-recovery", sent)) == [
        Sample("observer_events_published_total", ("gap-recovery",), 7),
        Sample("observer_gap_queue", (), 3),
    ]


def test_a_process_that_does_not_run_reads_0_and_has_no_other_figures():
    samples = list(system_samples(status(RUNNING, GONE), "0.1.0"))
    assert values(samples, "observer_process_up") == {"track-b": 1, "track-a": 0}
    assert values(samples, "observer_process_restarts_total") == {"track-b": 0, "track-a": 2}
    for name in ("heartbeat_age_seconds", "process_resident_memory_bytes", "loop_lag_seconds"):
        assert values(samples, f"observer_{name}").keys() == {"track-b"}
    assert values(samples, "observer_process_cpu_ratio") == {"track-b": 0.5}


def test_silenced_alerts_do_not_count():
    loud = OpenAlert(identity="token:main", severity="critical", since_ns=1, text="no token", process="accounts")
    quiet = OpenAlert(
        identity="overflow", severity="warning", since_ns=1, text="x", process="track-b", silenced_until_ns=2
    )
    samples = list(system_samples(status(RUNNING, alerts=[loud, quiet]), "0.1.0"))
    assert values(samples, "observer_alerts_open") == {"critical": 1, "warning": 0}
    assert values(samples, "observer_alert_open") == {"token:main": 1}
