"""How far a command is through its files, as a bar on stderr for whoever waits before a terminal."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from kong_ai_tracing.excerpts import visible

_LONGEST_NAME = 40
_REDRAW_SECONDS = 0.1


@contextlib.contextmanager
def reading_bar(total_bytes: int) -> Iterator[Callable[[int, str], None]]:
    """Gives what is told the bytes read so far and the file that is being read. It never says too much."""
    # Loaded here: only who reads files waits for rich.
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    # Without markup: a file may be called [red].log.
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), auto_refresh=False) as progress:
        task = progress.add_task("reading", total=total_bytes)
        drawn_at = float("-inf")

        def tell(read_bytes: int, path: str) -> None:
            nonlocal drawn_at
            is_due = time.monotonic() - drawn_at >= _REDRAW_SECONDS
            if is_due:
                drawn_at = time.monotonic()
            name = visible(Path(path).name, _LONGEST_NAME)
            progress.update(task, completed=min(read_bytes, total_bytes), description=name, refresh=is_due)

        yield tell


def is_watched() -> bool:
    """Whether somebody sees a bar, and nothing else that moves: what is printed goes elsewhere."""
    return sys.stderr.isatty() and not sys.stdout.isatty()
