"""What the documentation, the dashboard and the alert rules say of the metrics is what a scrape says."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from prometheus_client.parser import text_string_to_metric_families
from ruamel.yaml import YAML

from warmer.models import State, Trigger, Verdict
from warmer.monitoring.alerts import ALERTS
from warmer.monitoring.families import FAMILIES
from warmer.report import Outcome

pytestmark = pytest.mark.django_db

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs" / "metrics.md"
YAML_FILE = YAML(typ="safe", pure=True)
DASHBOARD = json.loads((ROOT / "deploy" / "grafana-dashboard.json").read_text())
RULES_FILE = YAML_FILE.load(ROOT / "deploy" / "alerts.yml")
PROMETHEUS = YAML_FILE.load(ROOT / "deploy" / "prometheus.yml")

VALUES: Mapping[str, set[str]] = {
    "state": set(State.values),
    "trigger": set(Trigger.values),
    "outcome": {*map(str, Outcome), *map(str, Verdict)},
}


ENDINGS = {"counter": ("_total",), "gauge": ("",), "summary": ("_count", "_sum")}
SAMPLES = {f"{family.name}{ending}": family for family in FAMILIES for ending in ENDINGS[family.kind]}


PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
RULES = [rule for group in RULES_FILE["groups"] for rule in group["rules"]]
# The expressions of the dashboard and of the alert rules, by where they are.
EXPRESSIONS = [
    *((panel["title"], each["expr"]) for panel in PANELS for each in panel["targets"]),
    *((rule["alert"], rule["expr"]) for rule in RULES),
    *((each["name"], each["definition"]) for each in DASHBOARD["templating"]["list"] if each["type"] == "query"),
]


@pytest.mark.parametrize("text", [text for _, text in EXPRESSIONS], ids=[where for where, _ in EXPRESSIONS])
def test_expression__names_what_exists_and_takes_one_process(text: str) -> None:
    names = set(re.findall(r"\bwarmer_\w+", re.sub(r'"[^"]*"', '""', text)))
    assert names, text
    assert names <= set(SAMPLES), text
    for name, selection in re.findall(r"\b(warmer_\w+)\{([^}]*)\}", text):
        for label, values in re.findall(r'(\w+)=~?"([^"]*)"', selection):
            assert label in SAMPLES[name].labels, f"{name} has no label {label}"
            if label in VALUES:
                assert set(values.split("|")) <= VALUES[label], f"no {label} is called so: {values}"
    grouped_by = ",".join(re.findall(r"\b(?:by|on|without|ignoring) \(([^)]*)\)", text))
    known = {label for name in names for label in SAMPLES[name].labels}
    assert set(re.findall(r"\w+", grouped_by)) <= known, text
    if "label_values" in text or text.startswith("absent("):
        return
    # All processes give the same, so it takes one of them.
    outermost = re.sub(r"rate\((warmer_\w+(?:\{[^}]*\})?)\[\w+\]\)", r"\1", text)
    bare = re.sub(r"(?:max|min)(?: by \([^)]*\))? ?\(warmer_\w+(?:\{[^}]*\})?\)", "", outermost)
    assert "warmer_" not in bare, f"not within max or min: {bare}"


def test_scrape__has_what_the_families_say(settings: Any) -> None:
    settings.WARMER_METRICS = True
    found = text_string_to_metric_families(Client().get("/metrics").content.decode())
    scraped = {family.name: (family.type, family.documentation) for family in found}
    assert scraped == {family.name: (family.kind, family.help) for family in FAMILIES}


def test_documentation__lists_every_metric_and_no_other() -> None:
    rows = re.findall(r"^\| `(warmer_\w+)` \| (\w+) \| ([^|]*) \| ([^|]*) \|$", PAGE.read_text(), flags=re.M)
    exist = {
        (f"{each.name}_total" if each.kind == "counter" else each.name, each.kind, ", ".join(each.labels), each.help)
        for each in FAMILIES
    }
    listed = {(name, kind, labels.replace("`", ""), help) for name, kind, labels, help in rows}
    assert (listed, len(rows)) == (exist, len(FAMILIES))


def test_documentation__describes_every_alert() -> None:
    listed = re.findall(r"^\| `(Warmer\w+)` \|", PAGE.read_text(), flags=re.M)
    assert listed == [rule["alert"] for rule in RULES]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_alert__says_what_is_wrong_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert set(rule["annotations"]) == {"runbook_url", "summary", "description"}
    assert all(rule["annotations"][name].endswith((".", "?")) for name in ("summary", "description"))
    for name in re.findall(r"manage\.py (\w+)", rule["annotations"]["description"]):
        assert [*ROOT.glob(f"warmer/management/commands/{name}.py")], name
    # It is the condition that the overview shows.
    alert = ALERTS[RULES.index(rule)]
    assert (rule["alert"], rule["labels"]["severity"]) == (alert.name, alert.severity)
    site, _, section = rule["annotations"]["runbook_url"].partition(f"{reverse('admin:warmer_runbook')}#")
    assert (site, section) == ("{{ $externalLabels.site }}", alert.section)
    compared = re.findall(r"(?:[<>]|==) (?:on \(job\) )?([\d.]+)", rule["expr"])
    assert alert.threshold is None or alert.threshold == float(compared[0])
    assert (alert.threshold is None) == (alert.fires is None) == (not compared)


def test_prometheus__keeps_the_label_job() -> None:
    assert set(PROMETHEUS["global"]["external_labels"]) == {"site"}
    # Its own label of that name would take the place of ours.
    (scrape,) = PROMETHEUS["scrape_configs"]
    assert scrape["honor_labels"] is True
    assert scrape["metrics_path"] == "/metrics"
    assert [(ROOT / "deploy" / name).name for name in PROMETHEUS["rule_files"]] == ["alerts.yml"]


def test_dashboard__panels_are_told_apart_and_do_not_overlap() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: dict[tuple[int, int], str] = {}
    for panel in panels:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        for cell in ((x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])):
            assert cell not in taken, f"{panel['title']} lies over {taken.get(cell)}"
            taken[cell] = panel["title"]
    for panel in PANELS:
        assert panel["description"]
        assert len({each["refId"] for each in panel["targets"]}) == len(panel["targets"])
        assert {each["datasource"]["uid"] for each in panel["targets"]} == {"${datasource}"}
