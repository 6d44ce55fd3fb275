"""Tells the service manager how the service is: ready, alive, stopping, and in one sentence what it does.

The watchdog is fed by progress. A project is alive while its reader takes steps, and while nothing that
waits for this host alone, a read, a commit, a request, has been waiting for longer than half of the
watchdog's time. To wait for room in the outbox, for Langfuse or for an operator is no sickness.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, Protocol

from kong_ai_tracing.sdnotify import Notifier
from kong_ai_tracing.threads import within

log = logging.getLogger(__name__)

_INTERVAL_SECONDS = 5.0
_STARTING_INTERVAL_SECONDS = 0.1
_MORE_SECONDS = 20.0
_STUCK_SECONDS = 30.0
"""What counts as stuck where no watchdog says how long it waits."""

Phase = Literal["starting", "running", "reloading", "stopping"]


class Followed(Protocol):
    """A project, from reading to delivery."""

    @property
    def name(self) -> str: ...

    @property
    def following(self) -> bool:
        """True from the moment in which nothing that is written to the log can be missed."""
        ...

    def stuck(self, limit_seconds: float) -> str | None:
        """Which part has not moved for longer than that, although it could; None when all is well."""
        ...

    def sentence(self) -> str:
        """What it does now, in words."""
        ...


class Heartbeat:
    """Speaks for all projects of the process."""

    def __init__(self, notifier: Notifier, projects: Callable[[], Iterable[Followed]]) -> None:
        self._notifier = notifier
        self._projects = projects
        watchdog = notifier.watchdog_seconds
        self._stuck_seconds = watchdog / 2 if watchdog else _STUCK_SECONDS
        self._interval = min(_INTERVAL_SECONDS, watchdog / 4) if watchdog else _INTERVAL_SECONDS
        self._phase: Phase = "starting"
        self._said_stuck = False
        self._soon = asyncio.Event()
        self.remark = ""
        """What an operator should know beside the state of the projects."""

    async def run(self) -> None:
        """Tell until cancelled."""
        while self._notifier:
            self.beat()
            self._soon.clear()
            wait = _STARTING_INTERVAL_SECONDS if self._phase == "starting" else self._interval
            await within(min(wait, self._interval), self._soon.wait())

    @contextlib.contextmanager
    def reloading(self) -> Iterator[None]:
        """A new configuration is taken up in here. Over when all projects are followed again."""
        if self._phase != "running":
            yield
            return
        self._phase = "reloading"
        self._notifier.reloading()
        try:
            yield
        finally:
            if self._phase == "reloading":
                self._phase = "starting"
                self._soon.set()

    def stopping(self) -> None:
        """The end has begun, and takes as long as something moves."""
        if self._phase != "stopping":
            self._phase = "stopping"
            self._notifier.stopping()
            self.beat()

    def beat(self) -> None:
        """Tell once."""
        projects = list(self._projects())
        alive = not any(self._is_stuck(project) for project in projects)
        self._notifier.status(self._sentence(projects))
        if self._phase == "starting" and projects and all(p.following for p in projects):
            self._phase = "running"
            self._notifier.ready()
        if alive:
            self._notifier.alive()
            if self._phase != "running":
                self._notifier.more_time(_MORE_SECONDS)
            self._said_stuck = False

    def _is_stuck(self, project: Followed) -> bool:
        part = project.stuck(self._stuck_seconds)
        if part is None:
            return False
        if not self._said_stuck:
            self._said_stuck = True
            log.error(
                "watchdog.starving part=%s destination=%s seconds=%.0f reason=%r",
                part,
                project.name,
                self._stuck_seconds,
                "it has not moved, although nothing keeps it from moving; the service manager restarts us",
            )
        return True

    def _sentence(self, projects: list[Followed]) -> str:
        if len(projects) == 1:
            said = projects[0].sentence()
        else:
            said = "; ".join(f"{project.name}: {project.sentence()}" for project in projects)
        words = ["stopping" if self._phase == "stopping" else "", said or self._phase, self.remark]
        return "; ".join(dict.fromkeys(word for word in words if word))
