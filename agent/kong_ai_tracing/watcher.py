"""Ends a wait early when a file appears, is renamed or goes away. Polling is the truth; this is its alarm.

A directory is watched for names that come and go, never for writes: a busy writer costs nothing. (Of quiet
files `writealarm` tells when they are written to.) Events carry no meaning, one or a thousand of them end one
wait. Without the watch everything is found as well,
only later, so every failure here ends in one word to the operator and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

from kong_ai_tracing.threads import within
from kong_ai_tracing.writealarm import Listened, WriteAlarm

log = logging.getLogger(__name__)

_CHECK_SECONDS = 10.0
"""How often the watch itself is looked after: a directory may have been replaced, a thread may have died."""


class Watch(Protocol):
    """A running watch on some directories."""

    def is_alive(self) -> bool: ...

    def stop(self) -> None: ...


StartWatch = Callable[[Iterable[str], Callable[[], None]], Watch]


class Waker:
    """Waits for a time, or until something happens in a watched directory."""

    def __init__(
        self, start_watch: StartWatch | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._start_watch = start_watch or start_observer
        self._clock = clock
        self._event = asyncio.Event()
        self._rung = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._watch: Watch | None = None
        self._directories: frozenset[str] = frozenset()
        self._watched: dict[str, tuple[int, int]] = {}
        self._check_at = 0.0
        self._told = False
        self._write_alarm: WriteAlarm | None = None

    @property
    def tells_of_writes(self) -> bool:
        """Whether nothing that is read now can grow without ending a wait."""
        return self._write_alarm is not None and self._write_alarm.is_set()

    def note_lines(self, file_id: int) -> None:
        """Lines of a file were read."""
        if self._write_alarm is not None:
            self._write_alarm.note_lines(file_id)

    @property
    def watching(self) -> bool:
        """False when only polling finds new files."""
        return self._watch is not None and self._watch.is_alive()

    def start(
        self, directories: Iterable[str], files: Callable[[], Iterable[Listened]] | None = None
    ) -> None:
        """Watch these directories, as far as they exist. Called again, it goes over to the new ones."""
        self._loop = asyncio.get_running_loop()
        if files is not None and self._write_alarm is None:
            self._write_alarm = WriteAlarm(files, self._event.set, self._clock)
        self._directories = frozenset(directories)
        self._look_after()

    async def wait(self, timeout_seconds: float) -> bool:
        """True when names came or went, at once if they did since the last wait.

        False when time is up, or when a quiet file was written to.
        """
        if self._directories and self._clock() >= self._check_at:
            self._look_after()
        if not await within(timeout_seconds, self._event.wait()):
            return False
        names_changed = self._rung.is_set()
        self._rung.clear()  # First, so that a call between these two lines is not lost.
        self._event.clear()
        return names_changed

    def wake(self) -> None:
        """End the wait. Callable from any thread; a storm of calls is one call for the event loop."""
        if self._loop is None or self._rung.is_set():
            return
        self._rung.set()
        with contextlib.suppress(RuntimeError):  # The loop has ended: nobody waits any more.
            self._loop.call_soon_threadsafe(self._event.set)

    def stop(self) -> None:
        """End the watch; waiting goes on to work."""
        self._directories = frozenset()
        self._end_watch()
        if self._write_alarm is not None:
            self._write_alarm.close()

    def _look_after(self) -> None:
        """Begin the watch, or begin it anew when it died or no longer sees the directories we mean."""
        self._check_at = self._clock() + _CHECK_SECONDS
        there = {path: key for path in self._directories if (key := _key_of(path)) is not None}
        if self.watching and there == self._watched:
            return
        if self._watch is not None and not self._watch.is_alive():
            self._tell("the watching thread ended")
        self._end_watch()
        if not there:
            return
        try:
            self._watch = self._start_watch(there, self.wake)
        except (OSError, ImportError, RuntimeError) as error:  # the last: no thread can be started
            self._tell(str(error))
        else:
            self._watched = there

    def _end_watch(self) -> None:
        watch, self._watch, self._watched = self._watch, None, {}
        if watch is not None:
            watch.stop()

    def _tell(self, reason: str) -> None:
        if not self._told:
            self._told = True
            log.warning(
                "watch.unavailable reason=%r fallback=polling fix=%r",
                reason,
                "new files are found a little later; raise fs.inotify.max_user_watches and "
                "max_user_instances to be woken at once",
            )


def start_observer(directories: Iterable[str], wake: Callable[[], None]) -> Watch:
    """A watchdog observer that only tells that names came or went.

    Raises OSError when the kernel has no watch or instance left for us.
    """
    # On use only: a one-shot run needs no watch, and the import costs it a tenth of its start.
    from watchdog.events import (
        FileCreatedEvent,
        FileDeletedEvent,
        FileMovedEvent,
        FileSystemEvent,
        FileSystemEventHandler,
    )
    from watchdog.observers import Observer

    class Bell(FileSystemEventHandler):
        def on_any_event(self, event: FileSystemEvent) -> None:
            wake()

    observer = Observer()
    events: list[type[FileSystemEvent]] = [FileCreatedEvent, FileMovedEvent, FileDeletedEvent]
    try:
        for directory in directories:
            observer.schedule(Bell(), directory, event_filter=events)
        observer.start()
    except BaseException:
        observer.stop()
        raise
    return observer


def _key_of(directory: str) -> tuple[int, int] | None:
    """What tells a directory from another one that took its name."""
    try:
        status = Path(directory).stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
