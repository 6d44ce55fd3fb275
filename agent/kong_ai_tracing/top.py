"""`kong-ai-tracing top`: a live screen over the state directory, from another process than the daemon's.

A thread looks at the state, so that a disk that hangs hangs neither the screen nor the key that ends it.
"""

from __future__ import annotations

import contextlib
import os
import queue
import select
import signal
import sys
import termios
import threading
import time
import tty
from collections.abc import Callable, Iterator
from types import FrameType

from msgspec import Struct
from rich.console import Console
from rich.live import Live

from kong_ai_tracing.config import Config
from kong_ai_tracing.topsamples import History, Sample, try_sample
from kong_ai_tracing.topscreen import screen_of
from kong_ai_tracing.tree import console_for, is_ascii_only

_QUIT = ("q", "Q", "\x1b", "\x03", "\x04")
_LOOK_SECONDS = 0.25
"""How often keys and the size of the terminal are looked at."""
_LATE_SECONDS = 3.0


def run(config: Config, *, interval_seconds: float, once: bool) -> int:
    """Show the screen until somebody quits; gives the exit code. Without a terminal it is printed once."""
    console = console_for(sys.stdout)
    if once or not console.is_terminal:
        return _print_once(config, console)
    screen = _Screen(console, History(), time.monotonic() + interval_seconds + _LATE_SECONDS)
    samples = _looking(config, interval_seconds)
    with (
        contextlib.suppress(KeyboardInterrupt),
        _ended_by(signal.SIGTERM, signal.SIGHUP),
        _keys() as pressed,
        Live(console=console, screen=True, auto_refresh=False, vertical_overflow="crop") as live,
    ):
        while pressed() not in _QUIT:
            while not samples.empty():
                screen.late_at = time.monotonic() + interval_seconds + _LATE_SECONDS
                _take(screen.history, samples.get())
            screen.show(live)
    return 0


class _Screen(Struct):
    """Draws when something is new: a sample, the size of the terminal, or the second."""

    console: Console
    history: History
    late_at: float
    drawn: object = None

    def show(self, live: Live) -> None:
        if time.monotonic() > self.late_at:
            self.history.error = "the disk does not answer"
        size, sample = self.console.size, self.history.newest
        state = (size, int(time.time()), sample.at if sample else None)
        if state != self.drawn:
            self.drawn = state
            ascii_only = is_ascii_only(self.console)
            screen = screen_of(self.history, width=size.width, height=size.height, ascii_only=ascii_only)
            live.update(screen, refresh=True)


def _print_once(config: Config, console: Console) -> int:
    history = History()
    _take(history, try_sample(config))
    if history.newest is None:
        sys.stderr.write(f"kong-ai-tracing: {history.error}\n")
        return 1
    ascii_only = is_ascii_only(console)
    screen = screen_of(history, width=console.width, height=1000, ascii_only=ascii_only, live=False)
    console.print(screen)
    return 0


def _take(history: History, sample: Sample | str) -> None:
    if isinstance(sample, str):
        history.error = sample
    else:
        history.add(sample)


def _looking(config: Config, interval_seconds: float) -> queue.SimpleQueue[Sample | str]:
    samples: queue.SimpleQueue[Sample | str] = queue.SimpleQueue()

    def look_again_and_again() -> None:
        while True:
            samples.put(try_sample(config))
            time.sleep(interval_seconds)

    threading.Thread(target=look_again_and_again, daemon=True).start()
    return samples


@contextlib.contextmanager
def _keys() -> Iterator[Callable[[], str]]:
    """Gives the key that was pressed, or nothing after a moment; the terminal is as before afterwards."""
    stdin = sys.stdin.fileno()
    if not os.isatty(stdin):
        yield _no_key
        return
    before = termios.tcgetattr(stdin)
    tty.setcbreak(stdin)
    try:
        yield lambda: _key(stdin)
    finally:
        termios.tcsetattr(stdin, termios.TCSADRAIN, before)


def _no_key() -> str:
    time.sleep(_LOOK_SECONDS)
    return ""


def _key(stdin: int) -> str:
    ready, _, _ = select.select([stdin], [], [], _LOOK_SECONDS)
    if not ready:
        return ""
    text = os.read(stdin, 64).decode(errors="replace")
    # An arrow key begins with Escape, too, and ends nothing. A terminal that is gone gives no text at all.
    return text[-1] if text and not text.startswith("\x1b[") else "" if text else "q"


@contextlib.contextmanager
def _ended_by(*signals: signal.Signals) -> Iterator[None]:
    """These end the screen as Ctrl-C does, so that the terminal is left in order."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {each: signal.signal(each, interrupt) for each in signals}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
