"""What the process does on a signal of its operator."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator

STOP = (signal.SIGTERM, signal.SIGINT)
RELOAD = (signal.SIGHUP,)


@contextlib.contextmanager
def on_signals(numbers: tuple[signal.Signals, ...], act: Callable[[], None]) -> Iterator[None]:
    """Call `act` in the running event loop whenever one of the signals comes."""
    loop = asyncio.get_running_loop()
    for number in numbers:
        loop.add_signal_handler(number, act)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
