"""Scrapes of `/metrics`."""

from django.test import Client
from prometheus_client.parser import text_string_to_metric_families


class Scraped:
    """What a scrape says."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.samples = [s for family in text_string_to_metric_families(text) for s in family.samples]

    def __call__(self, name: str, **labels: str) -> float | None:
        """Return the value of the metric `warmer_NAME`, by default of the job `things`, or None."""
        wanted = {"job": "things"} | labels
        found = [s.value for s in self.samples if s.name == f"warmer_{name}" and s.labels in (wanted, labels)]
        assert len(found) <= 1
        return found[0] if found else None

    def number(self, name: str, **labels: str) -> float:
        value = self(name, **labels)
        assert value is not None, name
        return value


def scrape(**headers: str) -> Scraped:
    response = Client().get("/metrics", headers=headers)
    assert response.status_code == 200, response.content
    return Scraped(response.content.decode())
