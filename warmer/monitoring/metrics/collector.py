"""Metrics for Prometheus: the only file that imports its client.

All of them are taken from the shared database and caches when they are asked for, and none is kept in a
process. So it does not matter which process of how many is scraped, and no directory is shared.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, SummaryMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from warmer.monitoring.metrics import key_metrics, run_metrics, snapshot
from warmer.monitoring.metrics.families import Family

PARTS = (
    run_metrics.declared,
    run_metrics.ended_runs,
    run_metrics.last_runs,
    key_metrics.keys,
    key_metrics.reads,
    key_metrics.invalidations,
    key_metrics.audits,
)


class WarmerCollector(Collector):
    """The metrics of all jobs. Register it where a project has metrics of its own."""

    def collect(self) -> Iterator[Metric]:
        """Yield every metric, as it is now."""
        seen = snapshot.take()
        for part in PARTS:
            yield from map(_metric, part(seen))

    def describe(self) -> list[Metric]:
        """Return nothing, so that registering asks neither database nor cache."""
        return []


def scrape(accept: str) -> tuple[bytes, str]:
    """Return the metrics as text, and its content type.

    Args:
        accept: the header of the request.

    Raises:
        OperationalError, InterfaceError: the database does not answer.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(WarmerCollector())
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


def _metric(family: Family) -> Metric:
    if family.kind == "summary":
        summary = SummaryMetricFamily(family.name, family.help, labels=family.labels)
        for sample in family.samples:
            summary.add_metric(sample.labels, count_value=sample.count, sum_value=sample.value)
        return summary
    made = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    metric = made(family.name, family.help, labels=family.labels)
    for sample in family.samples:
        metric.add_metric(sample.labels, sample.value)
    return metric
