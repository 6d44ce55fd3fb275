"""What systemd is told of this process, and what it asks of it: the protocol of sd_notify(3).

A message is one datagram to the socket that `NOTIFY_SOCKET` names, a path or an abstract name. Without that
variable nothing is sent. Nothing here waits and nothing fails: a service manager that does not listen is no
reason to read no log.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Mapping

log = logging.getLogger(__name__)

_LONGEST_STATUS = 500


class Notifier:
    """Tells the service manager. False in a condition when there is none to tell."""

    def __init__(self, environ: Mapping[str, str], *, pid: int | None = None) -> None:
        name = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + name[1:] if name.startswith("@") else name
        self._socket: socket.socket | None = None
        if name.startswith(("@", "/")):
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._unsent: list[str] = []
        """States for which the service manager had no room: said once, they are sent before all else."""
        self.watchdog_seconds = _watchdog_seconds(environ, os.getpid() if pid is None else pid)
        """Within this time it wants to hear that we are alive; None when it does not watch us."""

    def __bool__(self) -> bool:
        return self._socket is not None

    def ready(self) -> None:
        """The service does what it is for, since the start or since a reload."""
        self._send_state("READY=1")

    def reloading(self) -> None:
        """A new configuration is being read; `ready` ends that."""
        # Without the time systemd cannot know which of its own requests this answers.
        self._send_state(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        self._send_state("STOPPING=1")

    def alive(self) -> None:
        """Feed the watchdog."""
        self._send("WATCHDOG=1")

    def more_time(self, seconds: float) -> None:
        """Starting or stopping goes on, and takes up to so much longer."""
        self._send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1_000_000)}")

    def status(self, text: str) -> None:
        """The line that `systemctl status` shows."""
        # Texts of a server or names of files may be in it: they must not become assignments of their own.
        harmless = "".join(c if c.isprintable() else " " for c in text)
        self._send(f"STATUS={harmless[:_LONGEST_STATUS]}")

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send_state(self, message: str) -> None:
        """What is not said again must not be lost: without READY a start would hang."""
        self._unsent.append(message)
        self._send_unsent()

    def _send(self, message: str) -> None:
        """What is said again and again may be lost."""
        if self._send_unsent():
            self._send_now(message)

    def _send_unsent(self) -> bool:
        """In the order in which they were; False while there is no room for them."""
        while self._unsent:
            if not self._send_now(self._unsent[0]):
                return False
            del self._unsent[0]
        return True

    def _send_now(self, message: str) -> bool:
        """False when the service manager has no room for more messages just now."""
        if self._socket is None:
            return True
        try:
            self._socket.sendto(message.encode("utf-8", "replace"), self._address)
        except BlockingIOError:
            return False
        except OSError as error:
            log.debug("notify.failed reason=%r", str(error))
        return True


def _watchdog_seconds(environ: Mapping[str, str], pid: int) -> float | None:
    if environ.get("WATCHDOG_PID", str(pid)) != str(pid):
        return None  # meant for the process that started us
    try:
        microseconds = int(environ.get("WATCHDOG_USEC", "0"))
    except ValueError:
        return None
    return microseconds / 1_000_000 if microseconds > 0 else None
