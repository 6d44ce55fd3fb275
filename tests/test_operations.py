"""What docs/operations.md tells operators to type does what it says."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from checkups import needs_root
from kong_ai_tracing.checks.rotation import snippet
from kong_ai_tracing.config import load_config
from kong_ai_tracing.config.template import template
from test_docs import fenced

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "operations.md").read_text()
LOGROTATE = shutil.which("logrotate", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
PROGRAM = [sys.executable, "-m", "kong_ai_tracing"]


def shell(script: str, directory: Path, **environ: str) -> str:
    """Run it with our program as `kong-ai-tracing`."""
    program = directory / "bin" / "kong-ai-tracing"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m kong_ai_tracing "$@"\n')
    program.chmod(0o755)
    path = f"{program.parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-ec", script],
        check=True,
        capture_output=True,
        text=True,
        timeout=90,
        env={**os.environ, **environ, "PATH": path},
    )
    return done.stdout


def test_the_logrotate_snippet_is_the_one_that_check_gives():
    """One advice, in both places."""
    [block] = fenced(TEXT, "logrotate")
    assert block.splitlines() == snippet("/var/log/kong-ai/*.log")


@pytest.mark.skipif(LOGROTATE is None, reason="needs logrotate")
@needs_root
def test_the_logrotate_snippet_rotates_by_rename_and_compresses_one_rotation_later(open_folder):
    """With the real logrotate, as the user that it names."""
    folder = open_folder / "kong-ai"
    folder.mkdir(mode=0o2750)
    shutil.chown(folder, "nobody", "nogroup")
    log = folder / "ai.log"
    rules = open_folder / "rules"
    [block] = fenced(TEXT, "logrotate")
    rules.write_text(
        block.replace("/var/log/kong-ai", str(folder)).replace("kong kong-ai-tracing", "nobody nogroup")
    )
    state = open_folder / "state"
    for generation in range(3):
        with log.open("a") as file:
            file.write(f"{generation}\n")
        shutil.chown(log, "nobody", "nogroup")
        before = log.stat().st_ino
        done = subprocess.run(
            [str(LOGROTATE), "-f", "-s", str(state), str(rules)], check=False, capture_output=True, text=True
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert (folder / "ai.log.1").stat().st_ino == before
        assert log.stat().st_mode & 0o777 == 0o640
        assert log.owner() == "nobody"
    assert sorted(path.name for path in folder.iterdir()) == [
        "ai.log",
        "ai.log.1",
        "ai.log.2.gz",
        "ai.log.3.gz",
    ]


def test_moving_the_state_leaves_a_configuration_that_is_valid(tmp_path):
    """The line is put in front of the first table."""
    [line] = re.findall(r"^sed -i .*config\.toml$", TEXT, re.MULTILINE)
    config = tmp_path / "config.toml"
    config.write_text(template())
    shell(line.replace("/etc/kong-ai-tracing/config.toml", str(config)), tmp_path)
    assert load_config(config, {}).state_dir == Path("/data/kong-ai-tracing")
    [drop_in] = re.findall(r"^(printf .*) > /etc/systemd", TEXT, re.MULTILINE)
    assert shell(drop_in, tmp_path) == "[Service]\nReadWritePaths=/data/kong-ai-tracing\n"


def test_the_settings_of_the_lua_plugin_are_a_configuration_here(tmp_path):
    """Each keeps its name and its unit."""
    [example] = fenced(TEXT, "toml")
    config = tmp_path / "config.toml"
    config.write_text(example)
    loaded = load_config(config, {"LANGFUSE_PUBLIC_KEY": "pk-lf-1", "LANGFUSE_SECRET_KEY": "sk-lf-1"})
    assert (loaded.langfuse_timeout, loaded.trace_name) == (5000, "path")
    assert loaded.endpoint.base_url == "https://cloud.langfuse.com"


def test_the_figures_of_an_outage_are_what_an_outage_takes_and_the_line_for_monitors_prints_them(tmp_path):
    """The outbox holds about 0.3 bytes for a byte of the log, and its size is told in one line."""
    log = tmp_path / "ai.log"
    generate = ROOT / "benchmarks" / "generate_log.py"
    size = 2_000_000
    subprocess.run(
        [sys.executable, str(generate), "--size", "2M", "--output", str(log)], check=True, capture_output=True
    )
    config = tmp_path / "config.toml"
    config.write_text(
        f'log_paths = ["{log}"]\nstate_dir = "{tmp_path}/state"\nlangfuse_enabled = true\n'
        'langfuse_endpoint = "http://127.0.0.1:9"\nlangfuse_public_key = "pk-lf-1"\n'
        'langfuse_secret_key = "sk-lf-1"\n'
    )
    [line] = re.findall(r"^kong-ai-tracing status --json \| .*", TEXT, re.MULTILINE)
    with subprocess.Popen([*PROGRAM, "run", "--config", str(config)], stderr=subprocess.DEVNULL) as daemon:
        try:
            until = time.monotonic() + 90
            while True:
                state, lag, outbox = shell(line, tmp_path, KONG_AI_TRACING_CONFIG=str(config)).split()
                if lag == "0" and outbox != "0":
                    break
                assert time.monotonic() < until
                time.sleep(0.1)
        finally:
            daemon.terminate()
    assert state in ("healthy", "problems", "destination_down")
    assert 0.2 < int(outbox) / size < 0.4
    report = subprocess.run(
        [*PROGRAM, "status", "--json", "--config", str(config)], check=False, capture_output=True, text=True
    )
    spilled = json.loads(report.stdout)["outbox"]
    assert 3_000 < spilled["bytes"] / spilled["spans"] < 7_000


def test_every_symptom_has_a_command_and_something_to_do():
    """The table is for the night: nothing in it is left open."""
    section = TEXT.split("## Troubleshoot")[1].split("\n## ")[0]
    rows = [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]]
        for row in re.findall(r"^\|.*\|$", section, re.MULTILINE)[2:]
    ]
    assert len(rows) > 15
    assert all(len(row) == 4 and all(row[1:]) for row in rows)
    assert all(row[1].startswith("`") for row in rows)
