"""The collector for Prometheus: the only file that imports its client.

All metrics are read from the shared database and caches at each scrape, and none is kept in a process. So it
does not matter which process answers the scrape, and processes share no directory.
"""

from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, SummaryMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from warmer.monitoring.families import FAMILIES, samples
from warmer.monitoring.snapshot import take

KINDS: dict[str, Any] = {
    "counter": CounterMetricFamily,
    "gauge": GaugeMetricFamily,
    "summary": SummaryMetricFamily,
}


class WarmerCollector(Collector):
    """The metrics of all jobs. Register it if your project has metrics of its own."""

    def collect(self) -> Iterator[Metric]:
        """Yield every metric, as it is now."""
        made = {each.name: KINDS[each.kind](each.name, each.help, labels=each.labels) for each in FAMILIES}
        for name, labels, *value in samples(take()):
            made[name].add_metric(labels, *value)
        yield from made.values()

    def describe(self) -> list[Metric]:
        """Return nothing, so that registering the collector queries neither database nor cache."""
        return []


def scrape(accept: str) -> tuple[bytes, str]:
    """Return the metrics as text, and its content type.

    Args:
        accept: the request's `Accept` header.

    Raises:
        OperationalError, InterfaceError: the database does not answer.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(WarmerCollector())
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type
