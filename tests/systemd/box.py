"""What a scenario needs on a booted host: the service, its configuration, Kong, a Langfuse that obeys.

Runs inside a throw-away Debian whose PID 1 is systemd, as root, with nothing but Debian's own Python; the
folders of this checkout are below /box.
"""

from __future__ import annotations

import grp
import json
import os
import pwd
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path[:0] = ["/box/tests"]
sys.path += ["/box/site-packages"]
from kong_writer import kong_line, observation_id  # noqa: E402
from langfuse_server import FakeLangfuse  # noqa: E402

UNIT = "kong-ai-tracing.service"
USER = "kong-ai-tracing"
CONFIG = Path("/etc/kong-ai-tracing/config.toml")
SECRETS = Path("/etc/kong-ai-tracing/secrets")
STATE = Path("/var/lib/kong-ai-tracing")
LOG = Path("/var/log/kong-ai/ai.log")
DROP_IN = Path(f"/etc/systemd/system/{UNIT}.d/test.conf")

_LAUNCHER = """#!/usr/bin/python3 -ISu
import sys
sys.path[:0] = ["/box/agent", "/box/site-packages"]
from kong_ai_tracing.cli import main
main()
"""


def install() -> None:
    """What the package would do, with the program of this checkout; nothing when the package is installed."""
    if subprocess.run(["dpkg", "-s", "kong-ai-tracing"], capture_output=True, check=False).returncode == 0:
        return
    launcher = Path("/usr/bin/kong-ai-tracing")
    launcher.write_text(_LAUNCHER)
    launcher.chmod(0o755)
    shutil.copy("/box/unit/sysusers.conf", "/usr/lib/sysusers.d/kong-ai-tracing.conf")
    shutil.copy("/box/unit/kong-ai-tracing.service", "/usr/lib/systemd/system/")
    command("systemd-sysusers")
    SECRETS.mkdir(mode=0o700, parents=True)
    command("systemctl", "daemon-reload")


def command(*words: str, check: bool = True, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(words, capture_output=True, text=True, timeout=timeout, check=False)
    if check and done.returncode:
        raise AssertionError(f"{' '.join(words)} gave {done.returncode}: {done.stdout}{done.stderr}")
    return done


def systemctl(*words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return command("systemctl", *words, check=check)


def show(name: str) -> str:
    return systemctl("show", "-p", name, "--value", UNIT).stdout.strip()


def wait_until(condition: Callable[[], object], what: str, timeout_seconds: float = 180) -> None:
    """Nothing but what is waited for ends the wait: on a busy machine the service stands last."""
    ends = time.monotonic() + timeout_seconds
    while not condition():
        assert time.monotonic() < ends, f"waited {timeout_seconds} s for {what}; {show('StatusText')}"
        time.sleep(0.05)


class Host:
    """A gateway host with the service on it, new for each scenario."""

    def __init__(self) -> None:
        systemctl("stop", UNIT, check=False)
        systemctl("reset-failed", UNIT, check=False)
        for path in (STATE, LOG.parent, DROP_IN.parent, CONFIG):
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
        for secret in SECRETS.iterdir():
            secret.unlink()
        systemctl("daemon-reload")
        user, group = pwd.getpwnam("nobody").pw_uid, grp.getgrnam(USER).gr_gid
        LOG.parent.mkdir()
        os.chown(LOG.parent, user, group)
        LOG.parent.chmod(0o2750)
        self.langfuse = FakeLangfuse().start()
        self.others: list[FakeLangfuse] = []
        self.cursor = command("journalctl", "--lines=0", "--show-cursor").stdout.split("cursor: ")[1].strip()
        self.written = 0

    def close(self) -> None:
        systemctl("kill", "-s", "KILL", UNIT, check=False)
        systemctl("stop", UNIT, check=False)
        for server in (self.langfuse, *self.others):
            server.stop()

    def another_langfuse(self, **options: str) -> FakeLangfuse:
        server = FakeLangfuse(**options).start()  # type: ignore[arg-type]
        self.others.append(server)
        return server

    # -- Kong

    def write(self, count: int = 1, *, padding_bytes: int = 0) -> None:
        """Lines by another user, in a file that the folder's set-gid bit gives to our group."""
        new = not LOG.exists()
        with LOG.open("ab") as log:
            for _ in range(count):
                self.written += 1
                log.write(kong_line(1, self.written, padding_bytes))
        if new:
            os.chown(LOG, pwd.getpwnam("nobody").pw_uid, -1)
            LOG.chmod(0o640)

    def write_bytes(self, data: bytes) -> None:
        with LOG.open("ab") as log:
            log.write(data)

    # -- the service

    def configure(
        self, *more: str, secret_key: str | None = "sk-lf-test", endpoint: str | None = None
    ) -> None:
        CONFIG.write_text(
            "\n".join(
                [
                    f'log_paths = ["{LOG}"]',
                    "langfuse_enabled = true",
                    f'langfuse_endpoint = "{endpoint or self.langfuse.url}"',
                    'langfuse_public_key = "pk-lf-test"',
                    # What is not answered in time is sent again; a busy machine is not to be taken for that.
                    "langfuse_timeout = 60_000",
                    *more,
                ]
            )
            + "\n"
        )
        CONFIG.chmod(0o644)
        if secret_key is not None:
            self.secret("langfuse_secret_key", secret_key)

    def secret(self, name: str, key: str) -> None:
        (SECRETS / name).write_text(key + "\n")
        (SECRETS / name).chmod(0o600)

    def drop_in(self, *lines: str) -> None:
        DROP_IN.parent.mkdir(exist_ok=True)
        DROP_IN.write_text("\n".join(["[Service]", *lines]) + "\n")
        systemctl("daemon-reload")

    def start(self) -> None:
        systemctl("start", UNIT)

    def stop(self) -> float:
        """Gives the seconds it took."""
        began = time.monotonic()
        systemctl("stop", UNIT)
        return time.monotonic() - began

    @property
    def pid(self) -> int:
        return int(show("MainPID"))

    def wait_for_status(self, text: str, timeout_seconds: float = 180) -> None:
        wait_until(lambda: text in show("StatusText"), f"{text!r} in the status", timeout_seconds)

    def wait_for_restart(self, pid: int, timeout_seconds: float = 180) -> None:
        wait_until(
            lambda: show("ActiveState") == "active" and self.pid not in (0, pid),
            "a new process",
            timeout_seconds,
        )

    def wait_for_all(self, timeout_seconds: float = 180) -> None:
        """Every line that was written is in Langfuse."""
        wanted = {observation_id(1, seq) for seq in range(1, self.written + 1)}
        try:
            self.langfuse.wait_for(lambda server: wanted <= server.span_ids(), timeout_seconds)
        except TimeoutError:
            missing = len(wanted - self.langfuse.span_ids())
            raise AssertionError(f"{missing} of {len(wanted)} did not arrive; {show('StatusText')}") from None
        assert self.langfuse.span_ids() == wanted, "something was invented"

    @property
    def repeats(self) -> int:
        return len(self.langfuse.spans) - len(self.langfuse.span_ids())

    def journal(self, field: str = "MESSAGE") -> list[str]:
        """What was said about the unit since the scenario began."""
        return [str(entry.get(field, "")) for entry in self.entries()]

    def entries(self) -> list[dict[str, str]]:
        command("journalctl", "--sync")
        text = command("journalctl", "-u", UNIT, "-o", "json", "--after-cursor", self.cursor).stdout
        return [json.loads(line) for line in text.splitlines()]

    def said(self, text: str) -> bool:
        return any(text in line for line in self.journal())
