"""What the tests of the health strip share: its items as the page shows them."""

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from tests.package.admin.pages import OVERVIEW
from warmer.admin import health
from warmer.models import BeatProcess, JobObservation

RUNBOOK = reverse("admin:warmer_runbook")


@dataclass(frozen=True, kw_only=True)
class Shown:
    """An item as the page shows it."""

    level: str
    text: str
    section: str


def strip(client: Client) -> dict[str, Shown]:
    """Return the items of the strip, by their labels."""
    page = client.get(OVERVIEW).content.decode()
    found = {}
    for level, label, rest in re.findall(
        r'<div class="warmer-health-(\w+)">\s*<dt>(.*?)</dt>\s*<dd>(.*?)</dd>', page, flags=re.S
    ):
        text = " ".join(re.sub("<[^>]+>", " ", rest).split())
        section = "".join(re.findall(rf'href="{RUNBOOK}#([\w-]+)"', rest))
        found[label] = Shown(level=level, text=text, section=section)
    return found


def count_calls(monkeypatch: pytest.MonkeyPatch, name: str) -> list[Any]:
    """Return a list that gets an entry for each call of a function of the strip."""
    calls: list[Any] = []
    function = getattr(health, name)

    def counted(*args: Any) -> Any:
        calls.append(args)
        return function(*args)

    monkeypatch.setattr(health, name, counted)
    return calls


def observed(**ago: float) -> None:
    """Let beat's message of a minute be done so long ago."""
    at = timezone.now() - timedelta(**ago)
    JobObservation.objects.update_or_create(job="posts", defaults={"attempted_at": at})
    BeatProcess.objects.update_or_create(name="gen1@a", defaults={"last_at": at})
