"""Samples as metric families of prometheus_client. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import Metric as Family

from bus.commands import Sample
from bus.histogram import BOUNDS_S
from observer.monitoring.metrics.table import METRICS, Metric

MEDIA_TYPE: Final = CONTENT_TYPE_LATEST
_BUCKETS: Final = (*(str(bound) for bound in BOUNDS_S), "+Inf")


def of_process(process: str, samples: Iterable[Sample]) -> Iterator[Sample]:
    """A heartbeat's samples with the process as the first label, where the metric has that label."""
    for each in samples:
        metric = METRICS.get(each.metric)
        is_by_process = metric is not None and metric.labels[:1] == ("process",)
        yield Sample(each.metric, (process, *each.labels), each.value, each.counts) if is_by_process else each


def families(samples: Iterable[Sample]) -> Sequence[Family]:
    """The families of these samples, in the order of the table. What the table does not have, or has in another form,
    is left out: it is of a process of another version.
    """
    found: dict[str, list[Sample]] = {}
    for each in samples:
        if fits(METRICS.get(each.metric), each):
            found.setdefault(each.metric, []).append(each)
    return [_family(metric, found[name]) for name, metric in METRICS.items() if name in found]


def fits(metric: Metric | None, sample: Sample) -> bool:
    """Whether the sample has the labels and the form of its metric."""
    if metric is None or len(sample.labels) != len(metric.labels):
        return False
    return len(sample.counts) == (len(_BUCKETS) if metric.type == "histogram" else 0)


def _family(metric: Metric, samples: Sequence[Sample]) -> Family:
    by_labels: Mapping[tuple[str, ...], Sample] = {each.labels: each for each in samples}  # the last one counts
    if metric.type == "histogram":
        histogram = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
        for labels, each in by_labels.items():
            buckets = list(zip(_BUCKETS, map(float, accumulate(each.counts)), strict=True))
            histogram.add_metric(labels, buckets, each.value)
        return histogram
    kind = CounterMetricFamily if metric.type == "counter" else GaugeMetricFamily
    family = kind(metric.name, metric.help, labels=metric.labels)
    for labels, each in by_labels.items():
        family.add_metric(labels, each.value)
    return family


class _Collector:
    """Families that are there already, for the registry of one answer."""

    def __init__(self, found: Sequence[Family]) -> None:
        self._found = found

    def collect(self) -> Sequence[Family]:
        """As the registry wants it."""
        return self._found


def exposition(samples: Iterable[Sample]) -> bytes:
    """The samples in Prometheus's text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(families(samples)))
    return generate_latest(registry)
