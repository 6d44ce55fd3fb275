"""Rings when a quiet file is written to, so that quiet files need not be looked at all the time.

Linux only (inotify). Each file rings once and is then left alone until all is quiet again: a busy writer
costs nothing. Polling goes on, only slower, and it judges the alarm: where files grow and nothing rings, as
on network file systems, the alarm is not relied on any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import struct
from collections.abc import Callable, Iterable

from msgspec import Struct

log = logging.getLogger(__name__)

_IN_MODIFY, _IN_Q_OVERFLOW, _IN_ONESHOT = 0x2, 0x4000, 0x80000000  # <sys/inotify.h>
_EVENT = struct.Struct("iIII")
_READ_BYTES = 4096
_QUIET_SECONDS = 2.0
"""While something was read or has rung within that time, files are polled."""
_MOST_MISSES = 3
"""So often in a row a file may grow without a ring."""


class Listened(Struct, frozen=True):
    """A file that may grow: which it is, and a path that leads to it."""

    file_id: int
    """0 for a file that is not read yet."""
    device: int
    inode: int
    path: str


class WriteAlarm:
    """For one event loop. `ring` is called in it."""

    def __init__(
        self,
        files: Callable[[], Iterable[Listened]],
        ring: Callable[[], None],
        clock: Callable[[], float],
    ) -> None:
        self._files = files
        self._ring = ring
        self._clock = clock
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._inotify = -1
        self._armed: dict[Listened, int] = {}
        self._relied_on: frozenset[int] = frozenset()
        """The files that were to ring at the last look."""
        self._has_rung = False
        self._misses = 0
        self._stirred_at = clock()
        try:
            self._inotify = self._check(self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        except (OSError, AttributeError) as error:
            self._give_up(str(error))
        else:
            asyncio.get_running_loop().add_reader(self._inotify, self._take_events)

    def is_set(self) -> bool:
        """Whether every file would ring, and has not been written to since the last look at it."""
        self._relied_on = frozenset()
        if self._inotify < 0 or self._clock() - self._stirred_at < _QUIET_SECONDS:
            return False
        files = set(self._files())
        for gone in self._armed.keys() - files:
            self._libc.inotify_rm_watch(self._inotify, self._armed.pop(gone))
        missing = files - self._armed.keys()
        try:
            for file in missing:
                self._arm(file)
        except OSError as error:
            self._give_up(str(error))
        if missing:
            return False  # It may have been written to before: one more look first.
        self._relied_on = frozenset(file.file_id for file in files)
        self._has_rung = False
        return True

    def note_lines(self, file_id: int) -> None:
        """Lines of a file were read: it should have rung."""
        self._stirred_at = self._clock()
        relied_on, self._relied_on = self._relied_on, frozenset()
        if file_id not in relied_on:
            return
        self._take_events()
        self._misses = 0 if self._has_rung else self._misses + 1
        if self._misses >= _MOST_MISSES:
            self._give_up("files grow and no event comes, as on network file systems")

    def close(self) -> None:
        if self._inotify >= 0:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                asyncio.get_running_loop().remove_reader(self._inotify)
            os.close(self._inotify)
            self._inotify = -1
        self._armed.clear()

    def _arm(self, file: Listened) -> None:
        path = os.fsencode(file.path)
        watch = self._libc.inotify_add_watch(self._inotify, path, ctypes.c_uint32(_IN_MODIFY | _IN_ONESHOT))
        with contextlib.suppress(FileNotFoundError):  # gone in this moment
            self._armed[file] = self._check(watch)

    def _take_events(self) -> None:
        try:
            events = os.read(self._inotify, _READ_BYTES) if self._inotify >= 0 else b""
        except BlockingIOError:
            return
        place = 0
        rung: set[int] = set()
        while place < len(events):
            watch, mask, _, length = _EVENT.unpack_from(events, place)
            place += _EVENT.size + length
            if mask & _IN_Q_OVERFLOW:
                rung.update(self._armed.values())
            elif mask & _IN_MODIFY:
                rung.add(watch)
        if rung:
            self._armed = {file: watch for file, watch in self._armed.items() if watch not in rung}
            self._has_rung = True
            self._stirred_at = self._clock()
            self._ring()

    def _check(self, answer: int) -> int:
        if answer >= 0:
            return answer
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))

    def _give_up(self, reason: str) -> None:
        log.info(
            "watch.polling reason=%r note='files are looked at more often while nothing happens'", reason
        )
        self.close()
