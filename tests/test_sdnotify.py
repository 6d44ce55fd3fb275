"""What is said to the service manager, as it arrives at a real socket."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from kong_ai_tracing.sdnotify import Notifier


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(60)
        yield listening


@pytest.fixture
def says(manager: socket.socket) -> Iterator[Notifier]:
    notifier = Notifier({"NOTIFY_SOCKET": manager.getsockname()})
    yield notifier
    notifier.close()


def test_each_word_of_the_protocol_arrives(manager: socket.socket, says: Notifier) -> None:
    """One datagram for each, in systemd's own spelling."""
    assert says
    says.ready()
    says.stopping()
    says.alive()
    says.more_time(1.5)
    says.status("reading 3 files")
    assert [manager.recv(1000) for _ in range(5)] == [
        b"READY=1",
        b"STOPPING=1",
        b"WATCHDOG=1",
        b"EXTEND_TIMEOUT_USEC=1500000",
        b"STATUS=reading 3 files",
    ]


def test_a_reload_is_told_with_its_time(manager: socket.socket, says: Notifier) -> None:
    """By the clock that systemd compares it with."""
    before = time.monotonic_ns() // 1000
    says.reloading()
    word, _, stamp = manager.recv(1000).decode().partition("\n")
    name, _, microseconds = stamp.partition("=")
    assert (word, name) == ("RELOADING=1", "MONOTONIC_USEC")
    assert before <= int(microseconds) <= time.monotonic_ns() // 1000


def test_an_abstract_socket_is_found() -> None:
    """systemd of newer releases and containers use names without a file."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("\0kong-ai-tracing-test")
        listening.settimeout(60)
        with closing(Notifier({"NOTIFY_SOCKET": "@kong-ai-tracing-test"})) as says:
            says.ready()
        assert listening.recv(1000) == b"READY=1"


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1"}])
def test_without_a_socket_nothing_is_said(environ: dict[str, str]) -> None:
    """In a terminal or a container nobody listens."""
    says = Notifier(environ)
    assert not says
    says.ready()
    says.close()


def test_a_manager_that_does_not_listen_is_no_error(tmp_path: Path) -> None:
    """Neither one that is gone nor one that has stopped reading may stop us or keep us waiting."""
    with closing(Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")})) as says:
        says.ready()
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as deaf,
        closing(Notifier({"NOTIFY_SOCKET": str(tmp_path / "deaf")})) as says,
    ):
        deaf.bind(str(tmp_path / "deaf"))
        began = time.monotonic()
        for _ in range(1000):
            says.status("x" * 1000)
        assert time.monotonic() - began < 30


def test_a_status_is_one_line_and_bounded(manager: socket.socket, says: Notifier) -> None:
    """A server's answer or a file's name cannot say anything else than a status."""
    says.status("up\nMAINPID=1\x1b[2J" + "x" * 10_000)
    said = manager.recv(100_000)
    assert said.startswith(b"STATUS=up MAINPID=1 [2Jxx")
    assert b"\n" not in said
    assert len(said) < 1000


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
    ],
)
def test_the_watchdog_is_fed_when_it_watches_this_process(
    environ: dict[str, str], seconds: float | None
) -> None:
    """The variables may have been meant for a process that started this one."""
    assert Notifier(environ, pid=7).watchdog_seconds == seconds


def test_what_is_said_once_is_said_when_there_is_room_again(manager: socket.socket, says: Notifier) -> None:
    """A busy service manager takes few messages: a start whose READY got lost would hang."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as others:
        waiting = 0
        while True:
            try:
                others.sendto(b"of others", manager.getsockname())
            except BlockingIOError:
                break
            waiting += 1
    says.ready()
    says.alive()
    says.stopping()
    assert [manager.recv(1000) for _ in range(waiting)] == [b"of others"] * waiting
    says.alive()
    assert [manager.recv(1000) for _ in range(3)] == [b"READY=1", b"STOPPING=1", b"WATCHDOG=1"]
