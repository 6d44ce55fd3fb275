"""What all tests share: CI tries the same examples each time, so that only a change makes it fail.

Outside of CI every run tries new ones.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from kong_ai_tracing import commands
from kong_host import Host
from langfuse_server import FakeLangfuse

# Time is no verdict here: a busy machine makes examples slow, not wrong.
settings.register_profile("ci", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("local", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ci" if os.environ.get("CI") else "local")


@pytest.fixture(autouse=True)
def time_for_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    """`check` looks at other processes for a second at most, which a busy machine may take away."""
    monkeypatch.setattr("kong_ai_tracing.checks.processes._PATIENCE_SECONDS", 60.0)


@pytest.fixture
def langfuse() -> Iterator[FakeLangfuse]:
    """A Langfuse that takes everything; a test that wants more of it makes its own."""
    with FakeLangfuse() as server:
        yield server


@pytest.fixture
def host(tmp_path: Path, langfuse: FakeLangfuse) -> Iterator[Host]:
    """A host with a log, whose daemon is not started yet."""
    host = Host(tmp_path, langfuse)
    yield host
    host.clean_up()


@pytest.fixture(autouse=True)
def _no_configuration_given() -> Iterator[None]:
    """What one test tells the program to use is not what the next one's hints name."""
    yield
    commands.use_config(None)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users may enter; pytest's own are closed."""
    path = Path(tempfile.mkdtemp())
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)
