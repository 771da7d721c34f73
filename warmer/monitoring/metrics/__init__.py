"""The metrics that Prometheus scrapes."""

from warmer.monitoring.metrics.collector import WarmerCollector, scrape

__all__ = ["WarmerCollector", "scrape"]
