"""The real program, killed with SIGKILL at a named point of its way.

    python tests/crash_points.py commit.inside 3 run --config config.toml

runs `kong-ai-tracing run --config config.toml` and kills it when it comes to that point for the third time.
The points stand around every act that lasts: what is written to disk, what is sent, what is given up. The
program knows nothing of them; its functions are wrapped from outside.
"""

from __future__ import annotations

import importlib
import inspect
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_PACKAGE = "kong_ai_tracing"


@dataclass(frozen=True)
class Point:
    """Before or after a function of the program."""

    function: str
    """`module:Class.method`."""
    after: bool = False


POINTS = {
    # The state on disk comes to be, and is read.
    "state.made": Point("store:Store.__init__", after=True),
    "state.read": Point("store:Store.restore", after=True),
    "files.known": Point("files:LogFiles.scan", after=True),
    # One transaction: before it, in it, after it.
    "commit.before": Point("store:Store.commit"),
    "commit.positions": Point("store:Store._write_files", after=True),
    "commit.waiting": Point("store:Store._write_held", after=True),
    "commit.inside": Point("store:Store._write_set_aside", after=True),
    "commit.after": Point("store:Store.commit", after=True),
    # A batch: handed over, sent, answered, settled, spilled, taken from the outbox.
    "batch.closed": Point("delivery:Delivery.submit"),
    "roots.announced": Point("ledger:Ledger.announce", after=True),
    "send.before": Point("langfuse:Langfuse.send"),
    "send.after": Point("langfuse:Langfuse.send", after=True),
    "settle.before": Point("ledger:Ledger.settle"),
    "settle.after": Point("ledger:Ledger.settle", after=True),
    "spill.before": Point("ledger:Ledger.spill"),
    "spill.after": Point("ledger:Ledger.spill", after=True),
    "outbox.read": Point("store:Store.body", after=True),
    "outbox.delivered": Point("ledger:Ledger.delivered", after=True),
    # Files come and go, and the process ends.
    "files.secured": Point("delivery:Delivery.secure", after=True),
    "stop.before": Point("delivery:Delivery.wind_down"),
    "stop.after": Point("delivery:Delivery.finish", after=True),
}


def arm(name: str, times: int) -> None:
    """Let the process die when it comes to the point for the `times`-th time."""
    point = POINTS[name]
    module, _, path = point.function.partition(":")
    holder: Any = importlib.import_module(f"{_PACKAGE}.{module}")
    *classes, function = path.split(".")
    for each in classes:
        holder = getattr(holder, each)
    left = [times]

    def come_by() -> None:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    setattr(holder, function, _wrapped(getattr(holder, function), point.after, come_by))


def _wrapped(original: Callable[..., Any], after: bool, come_by: Callable[[], None]) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(original):

        async def wrapped_coroutine(*arguments: Any, **options: Any) -> Any:
            if not after:
                come_by()
            result = await original(*arguments, **options)
            if after:
                come_by()
            return result

        return wrapped_coroutine

    def wrapped(*arguments: Any, **options: Any) -> Any:
        if not after:
            come_by()
        result = original(*arguments, **options)
        if after:
            come_by()
        return result

    return wrapped


def main() -> None:
    """Arm the point, then be the program."""
    name, times, *arguments = sys.argv[1:]
    arm(name, int(times))
    sys.argv[1:] = arguments
    from kong_ai_tracing.cli import main as program

    program()


if __name__ == "__main__":
    main()
