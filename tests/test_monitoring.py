"""docs/monitoring.md, the alert rules and the dashboard speak of metrics that exist.

The tables are made from the code and the rules; they are written anew with UPDATE_DOCS=1.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families

from kong_ai_tracing.statuspage.metrics import exposition
from situations import bad_situation

DOCS = Path(__file__).parent.parent / "docs"
MONITORING = DOCS / "monitoring.md"
RULES = yaml.safe_load((DOCS / "alerts.yml").read_text())["groups"][0]["rules"]
DASHBOARD = json.loads((DOCS / "grafana.json").read_text())
BEGIN_ANEW = ("reading_pause_seconds_total", "requests_failed_total")
OF_THE_TARGET = {"job", "instance"}
"""Labels that Prometheus adds."""

_QUERIED = re.compile(r"\b((?:kong_ai_tracing|process)_[a-z_]+)(?:\{([^}]*)\})?")
_MATCHED = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")
_GROUPED = re.compile(r"\b(?:by|on)\s*\(([^)]*)\)")


def families() -> dict[str, tuple[str, set[str]]]:
    """Each metric with its help text and its labels."""
    text, _ = exposition(replace(bad_situation()), "")
    return {
        family.name + ("_total" if family.type == "counter" else ""): (
            family.documentation,
            {label for sample in family.samples for label in sample.labels},
        )
        for family in text_string_to_metric_families(text.decode())
    }


def queries() -> list[str]:
    """Every expression of the rules and the dashboard."""
    panels = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]
    variables = [each["query"] for each in DASHBOARD["templating"]["list"] if each["type"] == "query"]
    return [*(rule["expr"] for rule in RULES), *panels, *variables]


def check_table(title: str, rows: list[str]) -> None:
    """The table below that title has these rows; with UPDATE_DOCS=1 it gets them."""
    before, heading, rest = MONITORING.read_text().partition(f"## {title}\n")
    head, rule, body = re.split(r"(\|(?:---\|)+\n)", rest, maxsplit=1)
    after = body[len(re.match(r"(?:\|.*\n)*", body)[0]) :]
    text = before + heading + head + rule + "".join(f"{row}\n" for row in rows) + after
    if os.environ.get("UPDATE_DOCS"):
        MONITORING.write_text(text)
    assert MONITORING.read_text() == text, "UPDATE_DOCS=1 python -m pytest test_monitoring.py writes it anew"


def test_every_metric_is_in_the_documentation():
    """With its labels and what it says, as Prometheus shows it."""
    rows = []
    for name, (says, labels) in families().items():
        if name.startswith("process_"):
            continue
        more = ", ".join(f"`{label}`" for label in sorted(labels - {"destination"}))
        if "destination" not in labels:
            more = f"{more} (no `destination`)".strip()
        star = " *" if name.removeprefix("kong_ai_tracing_") in BEGIN_ANEW else ""
        rows.append(f"| `{name}` | {more} | {says}{star} |")
    check_table("Metrics", rows)


def test_every_alert_is_in_the_documentation():
    """With what it waits for and what to do."""
    rows = []
    for rule in RULES:
        expression = " ".join(rule["expr"].split()).replace("|", "\\|")
        lasts = f", for {rule['for']}" if "for" in rule else ""
        todo = " ".join(rule["annotations"]["description"].split())
        rows.append(f"| `{rule['alert']}` ({rule['labels']['severity']}) | `{expression}`{lasts} | {todo} |")
    check_table("Alerts", rows)


@pytest.mark.parametrize("query", queries())
def test_every_query_asks_for_a_metric_and_labels_that_exist(query):
    """A misspelt metric would be an alert that never fires, and an empty panel."""
    known = families()
    asked = _QUERIED.findall(query)
    if not asked:
        assert query.startswith("up{")
        return
    of_all: set[str] = set(OF_THE_TARGET)
    for name, matchers in asked:
        assert name in known, query
        of_all |= known[name][1]
        assert set(_MATCHED.findall(matchers)) <= known[name][1] | OF_THE_TARGET, query
    for grouped in _GROUPED.findall(query):
        assert {label.strip() for label in grouped.split(",")} <= of_all, query


def test_the_dashboard_is_whole():
    """Every panel has its place, its own number, and stays inside the 24 columns."""
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(at["x"] + dx, at["y"] + dy) for dx in range(at["w"]) for dy in range(at["h"])}
        assert max(x for x, _ in cells) < 24
        assert not cells & taken, panel["title"]
        taken |= cells
    shown = {name for query in queries() for name, _ in _QUERIED.findall(query)}
    left_out = families().keys() - shown
    assert not {name for name in left_out if "lost" in name or "dropped" in name} - {
        "kong_ai_tracing_spans_refused_dropped_total"
    }


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (Debian: prometheus)")
@pytest.mark.parametrize("words", [("check", "rules", "alerts.yml"), ("test", "rules", "alerts_test.yml")])
def test_promtool_is_content_with_the_rules(words):
    """On a good day no alert fires, on a bad one each does, with these words."""
    said = subprocess.run(
        ["promtool", *words], cwd=DOCS, capture_output=True, text=True, timeout=180, check=False
    )
    assert said.returncode == 0, said.stdout + said.stderr


def test_every_alert_is_tried_on_a_good_and_on_a_bad_day():
    """A rule without a test is a guess."""
    days = yaml.safe_load((DOCS / "alerts_test.yml").read_text())["tests"]
    alerts = {rule["alert"] for rule in RULES}
    for day, fires in zip(days, (False, True), strict=True):
        assert {each["alertname"] for each in day["alert_rule_test"]} == alerts
        assert all(bool(each["exp_alerts"]) is fires for each in day["alert_rule_test"])


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (Debian: prometheus)")
def test_promtool_is_content_with_the_metrics():
    """Prometheus' own linter on names, types and help texts."""
    text, _ = exposition(bad_situation(), "")
    said = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, timeout=180, check=False
    )
    assert said.returncode == 0, said.stdout + said.stderr
