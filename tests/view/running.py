"""The real command, serving real pages, and a real browser before them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PATIENCE_SECONDS = 90


@contextmanager
def viewer(*arguments: str, state_dir: Path | None = None, config: Path | None = None) -> Iterator[Viewer]:
    """`kong-ai-tracing view` with these arguments, until the end of the block."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("KONG_AI", "LANGFUSE"))
    }
    environment["KONG_AI_TRACING_CONFIG"] = str(config or os.devnull)
    if state_dir:
        environment["KONG_AI_TRACING_STATE_DIR"] = str(state_dir)
    command = [sys.executable, "-m", "kong_ai_tracing", "view", *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        try:
            yield Viewer(process, process.stdout.readline().strip())
        finally:
            if process.poll() is None:
                process.terminate()
            process.communicate(timeout=PATIENCE_SECONDS)


class Viewer:
    def __init__(self, process: subprocess.Popen[str], link: str) -> None:
        self.process = process
        self.link = link
        self.base = link.split("/?")[0]

    @contextmanager
    def client(self) -> Iterator[httpx.Client]:
        """A client with the cookie; the link is used up."""
        with httpx.Client(base_url=self.base, timeout=PATIENCE_SECONDS) as client:
            assert client.get(self.link).status_code == 200
            yield client


def eventually(condition, seconds=PATIENCE_SECONDS):
    """Wait until it holds; it must."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.05)
    return result
