"""Commands that an operator is told to run."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kong_ai_tracing import commands
from kong_ai_tracing.cli import app
from kong_host import Host


def test_a_command_names_the_configuration_file_that_this_program_was_given() -> None:
    """Else it would ask about another state."""
    assert commands.command("status") == "kong-ai-tracing status"
    commands.use_config(Path("my config.toml"))
    assert commands.command("refused list") == "kong-ai-tracing refused list --config 'my config.toml'"


@pytest.mark.parametrize(
    ("uid", "config", "environ", "prefix"),
    [
        (1000, None, {}, "sudo "),
        (0, None, {}, ""),
        (1000, Path("/a.toml"), {}, ""),
        (1000, None, {"KONG_AI_TRACING_CONFIG": "/a.toml"}, ""),
    ],
)
def test_the_state_of_the_service_is_for_root(
    monkeypatch: pytest.MonkeyPatch, uid: int, config: Path | None, environ: dict[str, str], prefix: str
) -> None:
    """Where the package has made its user, and the configuration is the system's."""
    monkeypatch.delenv("KONG_AI_TRACING_CONFIG", raising=False)
    for name, text in environ.items():
        monkeypatch.setenv(name, text)
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    monkeypatch.setattr(commands, "SERVICE_USER", "root")
    monkeypatch.setattr(commands, "_SUDO", Path("/"))
    commands.use_config(config)
    assert commands.command("check").startswith(f"{prefix}kong-ai-tracing check")
    assert commands.service_command("start") == f"{prefix}systemctl start kong-ai-tracing"
    monkeypatch.setattr(commands, "SERVICE_USER", "nobody of that name")
    assert commands.command("check").startswith("kong-ai-tracing check")


def test_a_program_that_no_shell_would_find_is_named_by_its_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`make setup` puts it into .venv, which is on nobody's path."""
    called = tmp_path / ".venv" / "bin" / "kong-ai-tracing"
    called.parent.mkdir(parents=True)
    called.write_text("#!/bin/sh\n")
    called.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [".venv/bin/kong-ai-tracing", "status"])
    monkeypatch.setenv("PATH", "/nowhere")
    assert commands.command("status") == ".venv/bin/kong-ai-tracing status"
    commands.use_config(Path("config.toml"), read_elsewhere=True)
    assert commands.command("status") == f"{called} status --config {tmp_path}/config.toml"
    monkeypatch.setenv("PATH", str(called.parent))
    monkeypatch.setattr(sys, "argv", [str(called), "status"])
    assert commands.program() == "kong-ai-tracing"


def test_what_status_tells_to_run_works_as_printed(host: Host) -> None:
    """Before the first run it is the run itself."""
    before = host.run("status", "--json")
    assert before.returncode == 3
    _, _, told = host.status()["problems"][0].partition(": ")
    program, *words = shlex.split(told)
    assert (program, words) == ("kong-ai-tracing", ["run", "--config", str(host.config)])


def test_what_the_daemon_tells_names_its_file_by_its_whole_path(monkeypatch, tmp_path: Path) -> None:
    """Its words are read in another folder than it was started in."""
    monkeypatch.chdir(tmp_path)
    Path("config.toml").write_text("log_paths = 3\n")
    for word, expected in (("run", str(tmp_path / "config.toml")), ("status", "config.toml")):
        CliRunner().invoke(app, [word, "--config", "config.toml"])
        assert commands.command("check") == f"kong-ai-tracing check --config {expected}"
