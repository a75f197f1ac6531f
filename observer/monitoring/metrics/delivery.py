"""The figures of a producer: what it published, what waits, how long an acknowledgement takes."""

from collections.abc import Sequence

from bus.commands import Sample
from bus.producer import Producer
from observer.monitoring.metrics.counters import histogram_sample
from observer.monitoring.metrics.host import ACKNOWLEDGEMENT, WAITING


def producer_samples(producer: Producer) -> Sequence[Sample]:
    """The figures of a process's outbox and its delivery."""
    return (
        Sample("observer_events_published_total", (), producer.published),
        Sample("observer_events_refused_total", (), producer.refused + producer.unstorable),
        Sample(WAITING, (), producer.unacknowledged),
        histogram_sample(ACKNOWLEDGEMENT, (), producer.latency),
    )
