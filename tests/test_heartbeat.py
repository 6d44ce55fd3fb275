"""Ready, alive, stopping: what is told, and what keeps it from being told."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kong_ai_tracing.heartbeat import Followed, Heartbeat
from kong_ai_tracing.sdnotify import Notifier
from kong_host import Host, wait_until
from kong_writer import kong_line, observation_id
from langfuse_server import FakeLangfuse
from service_manager import Manager
from virtual_time import VirtualTimeLoop


class Said(Notifier):
    """Keeps what would be said."""

    def __init__(self, watchdog_seconds: float | None = 40.0) -> None:
        super().__init__({})
        self.watchdog_seconds = watchdog_seconds
        self.words: list[str] = []

    def __bool__(self) -> bool:
        return True

    def _send_now(self, message: str) -> bool:
        self.words.append(message.partition("\n")[0])
        return True

    def take(self) -> list[str]:
        taken, self.words = [word for word in self.words if not word.startswith("STATUS")], []
        return taken


class Project:
    """One that says what it is told to say."""

    def __init__(self, name: str = "langfuse", *, following: bool = True) -> None:
        self.name = name
        self.following = following
        self.still_for_seconds = 0.0

    def stuck(self, limit_seconds: float) -> str | None:
        return "reading" if self.still_for_seconds > limit_seconds else None

    def sentence(self) -> str:
        return "reading 1 file"


def heartbeat(said: Said, *projects: Followed) -> Heartbeat:
    return Heartbeat(said, lambda: projects)


MORE = "EXTEND_TIMEOUT_USEC=20000000"


def test_ready_is_said_when_every_project_is_followed() -> None:
    """Until then the start may take its time, as long as something moves."""
    said, one, other = Said(), Project(), Project("b", following=False)
    beating = heartbeat(said, one, other)
    beating.beat()
    assert said.take() == ["WATCHDOG=1", MORE]
    other.following = True
    beating.beat()
    assert said.take() == ["READY=1", "WATCHDOG=1"]
    beating.beat()
    assert said.take() == ["WATCHDOG=1"]


def test_nothing_is_ready_before_there_is_a_project() -> None:
    """All of no projects are followed, which says nothing."""
    said = Said()
    heartbeat(said).beat()
    assert "READY=1" not in said.take()


def test_a_stuck_part_starves_the_watchdog_and_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """Half of the watchdog's time is the limit; when it moves again, it is fed again."""
    said, project = Said(watchdog_seconds=40.0), Project()
    beating = heartbeat(said, Project("b"), project)
    beating.beat()
    project.still_for_seconds = 19.0
    beating.beat()
    assert said.take().count("WATCHDOG=1") == 2
    project.still_for_seconds = 21.0
    beating.beat()
    beating.beat()
    assert said.take() == []
    assert caplog.text.count("watchdog.starving part=reading destination=langfuse") == 1
    project.still_for_seconds = 0.0
    beating.beat()
    assert said.take() == ["WATCHDOG=1"]


def test_a_reload_ends_when_the_new_projects_are_followed() -> None:
    """READY=1 comes once for each reload, not before, whether it changed something or not."""
    said, old, new = Said(), Project(), Project("b", following=False)
    projects = [old]
    beating = Heartbeat(said, lambda: projects)
    beating.beat()
    said.take()
    with beating.reloading():
        beating.beat()
        projects.append(new)
    beating.beat()
    assert said.take() == ["RELOADING=1", "WATCHDOG=1", MORE, "WATCHDOG=1", MORE]
    new.following = True
    beating.beat()
    assert said.take() == ["READY=1", "WATCHDOG=1"]


def test_a_stop_may_take_longer_while_something_moves() -> None:
    """A commit that hangs gets no more time."""
    said, project = Said(), Project()
    beating = heartbeat(said, project)
    beating.beat()
    said.take()
    beating.stopping()
    beating.stopping()
    assert said.take() == ["STOPPING=1", "WATCHDOG=1", MORE]
    project.still_for_seconds = 1000.0
    beating.beat()
    assert said.take() == []


def test_the_status_names_the_projects_when_there_are_several() -> None:
    """And says what else an operator should know."""
    said = Said()
    beating = heartbeat(said, Project("a"), Project("b"))
    beating.remark = "the last reload was refused"
    beating.beat()
    assert said.words[0] == "STATUS=a: reading 1 file; b: reading 1 file; the last reload was refused"


def test_a_short_watchdog_is_fed_in_time() -> None:
    """Four times in its period."""
    said = Said(watchdog_seconds=0.4)

    async def live() -> None:
        beating = asyncio.create_task(heartbeat(said, Project()).run())
        await asyncio.sleep(0.39)
        beating.cancel()

    with contextlib.closing(VirtualTimeLoop()) as loop:
        loop.run_until_complete(live())
    assert said.take().count("WATCHDOG=1") >= 4


# -- the real program, and a socket in systemd's place


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(tmp_path / "notify")
    yield manager
    manager.close()


@pytest.fixture
def host(tmp_path: Path, manager: Manager) -> Iterator[Host]:
    host = Host(tmp_path, None)
    host.environ |= {"NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": "2000000"}
    yield host
    host.clean_up()


def configure(host: Host, manager: Manager, langfuse: FakeLangfuse | None, *more: str) -> None:
    host.configure(langfuse, *more)
    host.environ |= {"NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": "2000000"}


def run(host: Host, program: list[str]) -> None:
    with host.messages.open("ab") as messages:
        host.daemon = subprocess.Popen(
            [*program, "run", "--config", str(host.config)], env=host.environ, stderr=messages
        )


def test_a_life_as_the_service_manager_hears_it(host: Host, manager: Manager) -> None:
    """Ready, a bad reload, a good one, the end; the status tells how far it is."""
    with FakeLangfuse() as langfuse:
        configure(host, manager, langfuse)
        host.write(kong_line(1, 1))
        host.start()
        assert host.daemon is not None
        wait_until(lambda: manager.heard("READY=1"), "readiness")
        wait_until(
            lambda: manager.heard("STATUS=reading 1 file, 0 bytes behind, last accepted"), "the status"
        )
        manager.forget()
        good = host.config.read_text()
        host.config.write_text("nonsense = 1\n")
        host.daemon.send_signal(signal.SIGHUP)
        wait_until(lambda: manager.heard("READY=1"), "the end of the reload")
        assert manager.heard("RELOADING=1")
        assert manager.heard("MONOTONIC_USEC=")
        wait_until(
            lambda: any("last reload was refused" in word for word in manager.listen()), "a word about it"
        )
        manager.forget()
        host.config.write_text(good + 'environment = "other"\n')
        host.daemon.send_signal(signal.SIGHUP)
        wait_until(lambda: manager.heard("READY=1"), "the end of the second reload")
        host.write(kong_line(1, 2))
        wait_until(lambda: observation_id(1, 2) in langfuse.span_ids(), "a line after the reload")
        manager.forget()
        host.stop()
        assert manager.heard("STOPPING=1")


def test_langfuse_and_a_full_outbox_are_no_reason_to_starve(host: Host, manager: Manager) -> None:
    """A service that waits for others is not sick: it is fed, and says why it waits."""
    with FakeLangfuse() as langfuse:
        langfuse.script("401*")
        configure(host, manager, langfuse, "[delivery]", "outbox_max_bytes = 3000000")
        host.start()
        host.write(
            *(kong_line(1, seq).replace(b"Hello", os.urandom(3000).hex().encode()) for seq in range(4000))
        )
        wait_until(lambda: manager.heard("STATUS=reading waits, the outbox is full"), "a full outbox")
        wait_until(lambda: manager.heard("STATUS=reading waits, the outbox is full"), "again")
        manager.forget()
        wait_until(lambda: manager.listen().count("WATCHDOG=1") >= 4, "food for the watchdog")
        wait_until(
            lambda: any("Langfuse refuses until somebody acts: 401" in word for word in manager.listen()),
            "the reason",
        )
        host.stop()


STUCK = """
import os, sys, threading
from pathlib import Path
import kong_ai_tracing.{module} as module
def hang(*_, **__):
    threading.Event().wait()
real = module.{place}
def act(*arguments, **more):
    return (hang if Path({mark!r}).exists() else real)(*arguments, **more)
module.{place} = act
from kong_ai_tracing.cli import main
main()
"""


@pytest.mark.parametrize(
    ("part", "module", "place"),
    [
        ("reading", "catalog", "Catalog.scan"),
        ("committing", "store", "Store.commit"),
        ("sending", "local", "Local._write"),
    ],
)
def test_a_thread_that_hangs_starves_the_watchdog(
    host: Host, manager: Manager, part: str, module: str, place: str
) -> None:
    """The process looks alive, its loop runs, and yet nothing moves."""  # covers PRC-06
    mark = host.directory / "stuck"
    run(host, [sys.executable, "-c", STUCK.format(module=module, place=place, mark=str(mark))])
    wait_until(lambda: manager.heard("READY=1"), "readiness")
    host.write(kong_line(1, 1))
    wait_until(lambda: manager.heard("STATUS=reading 1 file, 0 bytes behind, last"), "the first line")
    mark.touch()
    host.write(kong_line(1, 2))
    wait_until(lambda: f"watchdog.starving part={part}" in host.messages.read_text(), "a word about it")
    manager.forget()
    time.sleep(2)
    assert manager.listen().count("WATCHDOG=1") == 0
    host.kill()
    mark.unlink()
    manager.forget()
    host.start()
    wait_until(lambda: manager.heard("STATUS=reading 1 file, 0 bytes behind, last"), "the second line")
    host.stop()
