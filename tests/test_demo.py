"""The demo is what a newcomer sees first: it works everywhere, tells the truth, and leaves nothing behind."""

import os
import signal
import subprocess
import sys
import tempfile

import httpx
import pytest

from kong_ai_tracing import demo


@pytest.fixture
def elsewhere(monkeypatch, tmp_path):
    """Temporary folders of the demo are made here."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_the_demo_shows_every_call_as_part_of_a_trace(elsewhere, capfd, monkeypatch):
    """All calls of the story come through the real daemon and the rotation, whatever this shell has set."""
    monkeypatch.setenv("KONG_AI_TRACING_LANGFUSE_ENABLED", "nonsense")
    monkeypatch.setenv("COLUMNS", "120")
    assert demo.run(scene_seconds=0.05, patience_seconds=90) == 0
    printed = capfd.readouterr().out
    assert "16 lines written, one rotation. 12 AI calls became 11 traces, 2 of them with an error" in printed
    for word in (
        "user alice",
        "user bob",
        "session invoice-2041",
        "lookup_order",
        "Lines fall",
        "CUDA",
        "Rate limit",
        "bge-m3",
    ):
        assert word in printed, word
    assert "first token 180 ms" in printed
    assert "What to do next" in printed
    assert "\x1b" not in printed
    assert list(elsewhere.iterdir()) == []


def test_a_demo_without_a_daemon_says_so_and_fails(elsewhere, capfd, monkeypatch):
    """When nothing arrives the exit code and the daemon's own words tell, and nothing is left behind."""
    broken = elsewhere / "python"
    broken.write_text("#!/bin/sh\necho no such luck >&2\nexit 1\n")
    broken.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(broken))
    assert demo.run(scene_seconds=0.2, patience_seconds=1) == 1
    said = capfd.readouterr().err
    assert "the demo failed: 0 of" in said
    assert "no such luck" in said
    assert [each.name for each in elsewhere.iterdir()] == ["python"]


@pytest.fixture
def demo_with_view(tmp_path):
    """`demo --view` as a process, with its temporary folders in a place of its own."""
    command = [sys.executable, "-m", "kong_ai_tracing", "demo", "--view"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def test_its_traces_can_be_looked_at_in_a_browser(demo_with_view, tmp_path):
    """Until Ctrl-C; then nothing is left of them."""
    link = next(line.strip() for line in demo_with_view.stdout if line.startswith("http://127.0.0.1:"))
    with httpx.Client(base_url=link.partition("/?")[0], timeout=60) as client:
        assert client.get(link).status_code == 200
        page = client.get("/")
    for word in ("support-chat", "order-agent", "alice"):
        assert word in page.text, word
    demo_with_view.send_signal(signal.SIGINT)
    assert demo_with_view.wait(90) == 0
    assert list(tmp_path.iterdir()) == []


def test_the_command_exists():
    """`kong-ai-tracing demo` needs no arguments and no terminal."""
    command = [sys.executable, "-m", "kong_ai_tracing", "demo", "--help"]
    environment = {name: value for name, value in os.environ.items() if name != "TERM"}
    assert (
        subprocess.run(command, env=environment, capture_output=True, stdin=subprocess.DEVNULL).returncode
        == 0
    )
