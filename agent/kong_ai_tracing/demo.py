"""The demo: a make-believe Kong writes its log, the real daemon tails it, traces are shown as they arrive.

Everything happens in a private folder that is removed at the end. Nothing is asked and nothing is sent.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console

from kong_ai_tracing import localstore
from kong_ai_tracing.commands import program
from kong_ai_tracing.demolines import Gateway
from kong_ai_tracing.demostory import Scene, story
from kong_ai_tracing.errors import OperatorError
from kong_ai_tracing.localstore import LocalTraces
from kong_ai_tracing.storestatus import read_status
from kong_ai_tracing.tree import console_for, print_trace

_SCENE_SECONDS = 0.55
_PATIENCE_SECONDS = 12.0
"""How long after the last line the traces may take before the demo gives up."""
_POLL_SECONDS = 0.1
_STOP_SECONDS = 5.0
_OUR_SETTINGS = ("KONG_AI_TRACING_", "LANGFUSE_", "CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET", "WATCHDOG_")


def run(
    scene_seconds: float = _SCENE_SECONDS, patience_seconds: float = _PATIENCE_SECONDS, *, view: bool = False
) -> int:
    """Play the demo; 0 when all traces arrived, else 1. With `view` they are then served to a browser."""
    console = console_for(sys.stdout)
    with TemporaryDirectory(prefix="kong-ai-tracing-demo-") as folder:
        demo = _Demo(Path(folder), console)
        code = demo.play(scene_seconds, patience_seconds)
        if view and code == 0:
            console.print("\nThe same traces in a browser:")
            sys.stdout.flush()
            demo.serve()
        elif code == 0:
            demo.say_what_is_next()
        return code


class _Demo:
    def __init__(self, folder: Path, console: Console) -> None:
        self._console = console
        self._log = folder / "ai.log"
        self._config = folder / "config.toml"
        self._state = folder / "state"
        self._daemon_log = folder / "daemon.log"
        self._news = _News(self._state / localstore.FILE_NAME)
        self._scenes: list[Scene] = []
        self._told = False
        """The whole story is in the log."""
        self._traces: dict[str, dict[str, Any]] = {}

    def play(self, scene_seconds: float, patience_seconds: float) -> int:
        self._config.write_text(
            f'log_paths = ["{self._log}"]\nstate_dir = "{self._state}"\nenvironment = "demo"\n'
        )
        self._console.print(
            "A make-believe Kong now writes its log; kong-ai-tracing tails it with this configuration:\n\n"
            f"{self._indented(self._config.read_text())}",
            end="",
        )
        writing = self._write()
        self._scenes.append(next(writing))
        with self._daemon() as daemon:
            self._wait_for_first_look(daemon, patience_seconds)
            for scene in writing:
                self._scenes.append(scene)
                self._show_news_for(scene_seconds)
                if daemon.poll() is not None:
                    break
            else:
                self._told = True
            deadline = time.monotonic() + patience_seconds
            while not self._complete() and time.monotonic() < deadline and daemon.poll() is None:
                self._show_news_for(_POLL_SECONDS)
        self._news.close()
        if not self._complete():
            return self._apologise()
        self._sum_up()
        return 0

    def serve(self) -> None:
        """The embedded viewer over what was traced, until Ctrl-C."""
        from kong_ai_tracing import view
        from kong_ai_tracing.config import load_config

        config = load_config(self._config, {})
        view.run(config, [], listen="127.0.0.1:0", open_browser=False)

    @contextmanager
    def _daemon(self) -> Iterator[subprocess.Popen[bytes]]:
        """The real thing, as a service would run it, untouched by settings of this shell."""
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(_OUR_SETTINGS)
        }
        command = [sys.executable, "-m", "kong_ai_tracing", "run", "--config", str(self._config)]
        with (
            self._daemon_log.open("wb") as log,
            subprocess.Popen(  # noqa: S603  our own program
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
            ) as daemon,
        ):
            try:
                yield daemon
            finally:
                _stop(daemon)

    def _wait_for_first_look(self, daemon: subprocess.Popen[bytes], patience_seconds: float) -> None:
        """What is renamed before the daemon has seen it is history to it, and left to `backfill`."""
        deadline = time.monotonic() + patience_seconds
        while time.monotonic() < deadline and daemon.poll() is None:
            with suppress(OperatorError):
                status = read_status(self._state)
                if status is not None and status.files:
                    return
            time.sleep(_POLL_SECONDS)

    def _write(self) -> Iterator[Scene]:
        """Append line by line, as Kong does: one write each, and for a while into a file already renamed."""
        log = self._open_log()
        rotated = False
        for scene in story(Gateway()):
            os.write(log, scene.line)
            yield scene
            if rotated:
                os.close(log)
                log, rotated = self._open_log(), False
            if scene.rotate_after:
                self._log.rename(f"{self._log}.1")
                rotated = True
                self._console.print(
                    "\n-- the log is rotated: ai.log is now ai.log.1, and still written to --", style="dim"
                )
        os.close(log)

    def _open_log(self) -> int:
        return os.open(self._log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def _show_news_for(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while True:
            for trace in self._news.read():
                self._traces[trace["id"]] = trace
                self._console.print()
                print_trace(trace, self._console)
            if (left := until - time.monotonic()) <= 0:
                return
            time.sleep(min(_POLL_SECONDS, left))

    def _complete(self) -> bool:
        arrived = len(self._traces) >= len(self._expected()) and self._calls() >= self._ai_lines()
        return self._told and arrived

    def _expected(self) -> set[str]:
        return {scene.trace for scene in self._scenes if scene.trace}

    def _ai_lines(self) -> int:
        return sum(scene.trace is not None for scene in self._scenes)

    def _calls(self) -> int:
        return sum("origin" in each for trace in self._traces.values() for each in trace["observations"])

    def _sum_up(self) -> None:
        observations = [each for trace in self._traces.values() for each in trace["observations"]]
        errors = sum(each.get("level") == "ERROR" for each in observations)
        web = len(self._scenes) - self._ai_lines()
        self._console.print(
            f"\n{len(self._scenes)} lines written, one rotation. {self._calls()} AI calls became "
            f"{len(self._traces)} traces, {errors} of them with an error; {web} lines of other traffic were "
            "left alone.",
            soft_wrap=True,
        )

    def say_what_is_next(self) -> None:
        self._console.print("\nWhat to do next:")
        for arguments, purpose in (
            ("demo --view", "the same once more, and then in a browser"),
            ("preview /path/to/kong/file.log", "the same for a log of yours: nothing is sent or stored"),
            ("config init -c config.toml", "a commented configuration: log paths, keys of Langfuse"),
            ("check -c config.toml", "finds what would keep traces from arriving, with the fix"),
            ("run -c config.toml", "tail and deliver until you stop it"),
        ):
            self._console.print(f"  {program()} {arguments}", style="bold", soft_wrap=True)
            self._console.print(f"      {purpose}", soft_wrap=True)

    def _apologise(self) -> int:
        said = self._daemon_log.read_text(errors="replace").splitlines()[-20:]
        sys.stderr.write(
            f"kong-ai-tracing: the demo failed: {self._calls()} of {self._ai_lines()} calls arrived. "
            f"The daemon's last words:\n{self._indented(chr(10).join(said) or '(none)')}"
        )
        return 1

    @staticmethod
    def _indented(text: str) -> str:
        return "".join(f"    {line}\n" for line in text.splitlines())


class _News:
    """Traces as they appear in a store that another process is about to make."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._traces: LocalTraces | None = None
        self._seen = 0

    def read(self) -> list[dict[str, Any]]:
        if not self._path.exists():
            return []
        news = []
        with suppress(sqlite3.OperationalError):  # between the file's birth and its first table
            self._traces = self._traces or LocalTraces(self._path)
            for sequence, trace in self._traces.changed_since(self._seen):
                self._seen = sequence
                news.append(trace)
        return news

    def close(self) -> None:
        if self._traces:
            self._traces.close()


def _stop(daemon: subprocess.Popen[bytes]) -> None:
    if daemon.poll() is None:
        daemon.send_signal(signal.SIGTERM)
    try:
        daemon.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        daemon.kill()
