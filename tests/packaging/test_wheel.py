"""The wheel, installed as `pipx` does it: into an environment of its own, with what it says that it needs."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from package_files import calls

from kong_ai_tracing import __version__

pytestmark = pytest.mark.release


@pytest.fixture(scope="module")
def program(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command in a fresh environment."""
    folder = tmp_path_factory.mktemp("wheel") / "venv"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    subprocess.run([folder / "bin/python", "-m", "pip", "install", "--quiet", wheel], check=True)
    return folder / "bin/kong-ai-tracing"


def run(program: Path, *arguments: str | Path) -> str:
    """What it says on stdout, outside of the checkout and without this machine's settings."""
    environ = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "KONG_AI_TRACING_CONFIG": os.devnull}
    told = subprocess.run(
        [program, *arguments], env=environ, cwd="/", capture_output=True, text=True, check=False, timeout=120
    )
    assert told.returncode == 0, told.stderr
    return told.stdout


def test_the_command_is_there_and_has_its_version(program: Path) -> None:
    """The entry point works."""
    assert run(program, "--version") == f"kong-ai-tracing {__version__}\n"


def test_the_first_five_minutes_work(program: Path, tmp_path: Path) -> None:
    """A preview, a new configuration, and the demo with its daemon."""
    log = tmp_path / "ai.log"
    log.write_text(calls(2))
    assert run(program, "preview", log, "--format", "json").count("\n") == 2
    run(program, "config", "init", "--config", tmp_path / "config.toml")
    assert run(program, "demo")


def test_it_holds_the_program_and_nothing_else(wheel: Path) -> None:
    """Every module of the checkout; no tests."""
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    package = Path(__file__).parent.parent.parent / "agent"
    tracked = subprocess.run(
        ["git", "ls-files", "kong_ai_tracing"], cwd=package, check=True, capture_output=True, text=True
    )
    assert names == {*tracked.stdout.split()}
