"""`preview --explain`: which source gave each value, and what else was there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kong_ai_tracing import preview
from kong_ai_tracing.config import load_config
from kong_entries import CHAT_ANSWER, CHAT_REQUEST, capture, record, request

RULES = """
[mapping]
user_id = ["kong", "default"]
[[rule]]
service = "models"
content = "metadata"
environment = "staging"
[[provider]]
service = "models"
provider = "acme"
"""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log of one call, by several users at once."""
    head = request(x_user_id="mallory \x1b[31m", langfuse_environment="My Env")
    line = record(request=head, consumer={"id": "c-1"}, capture=capture(CHAT_REQUEST, CHAT_ANSWER))
    path = tmp_path / "ai.log"
    path.write_text(json.dumps(line) + "\n")
    return path


def shown(log: Path, capfd: Any, *, form: str, redacted: bool = False) -> str:
    """What is printed for that log under those rules."""
    config = log.with_name("config.toml")
    config.write_text(RULES)
    loaded = load_config(config, {}, needs_logs=False, needs_keys=False)
    preview.run(loaded, log, format=form, limit=None, explain=True, follow=False, redacted=redacted)
    return str(capfd.readouterr().out)


def test_winners_losers_rules_and_repairs_are_told(log: Path, capfd: Any) -> None:
    """Each value with its source, and behind it what was passed over."""
    [observation] = json.loads(shown(log, capfd, form="json"))["observations"]
    assert observation["explain"] == {
        "trace_id": "kong request.id",
        "user_id": "kong consumer.id",
        "trace_name": "kong route.name",
        "environment": "header langfuse-environment",
        "kong_ai_tracing.adjusted": "environment",
        "privacy.content": "rule[1]",
        "provider": "provider[1]",
    }
    assert observation["passedOver"] == {
        "user_id": {"header x-user-id": "mallory \x1b[31m"},
        "environment": {"rule[1]": "staging"},
    }
    assert observation["input"] == CHAT_REQUEST["messages"]


def test_a_tree_says_the_same_without_control_characters(log: Path, capfd: Any) -> None:
    """A caller cannot colour the operator's screen."""
    text = shown(log, capfd, form="tree")
    assert "user_id ← kong consumer.id; passed over: header x-user-id mallory  [31m" in text
    assert "environment ← header langfuse-environment; passed over: rule[1] staging" in text
    assert "\x1b" not in text


def test_redacted_tells_where_something_was_and_not_what(log: Path, capfd: Any) -> None:
    """What was passed over went through no redaction."""
    text = shown(log, capfd, form="json", redacted=True)
    [observation] = json.loads(text)["observations"]
    assert observation["passedOver"]["user_id"] == {"header x-user-id": ""}
    assert "mallory" not in text
    assert "input" not in observation


def test_a_log_without_ai_calls_is_explained(tmp_path: Path) -> None:
    """A newcomer's first look may be at web traffic."""
    log = tmp_path / "ai.log"
    log.write_text('{"request":{"uri":"/","method":"GET"},"response":{"status":200},"started_at":1}\n')
    done = subprocess.run(
        [sys.executable, "-m", "kong_ai_tracing", "preview", str(log)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "KONG_AI_TRACING_CONFIG": os.devnull},
    )
    assert done.stderr.startswith("1 line, 0 AI calls, 0 traces\nNo AI call was recognised.")
