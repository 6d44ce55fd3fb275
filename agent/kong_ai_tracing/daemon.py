"""`run`: the log files of this host, followed live or read once."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys

from kong_ai_tracing import __version__, assembly
from kong_ai_tracing.config import Config
from kong_ai_tracing.delivery import Destination
from kong_ai_tracing.files import LogFiles
from kong_ai_tracing.service import Service
from kong_ai_tracing.statedir import StateLock, prepare_state_dir
from kong_ai_tracing.store import Store

log = logging.getLogger(__name__)

_PATIENCE_SECONDS = 30.0
"""How long `--once` goes on trying a destination that takes nothing."""


def run(config: Config, *, once: bool = False, dry_run: bool = False) -> int:
    """Run until a signal comes, or with `once` until what is there was delivered; gives the exit code.

    With `dry_run` everything is read once, from a copy of the state, and goes nowhere.
    Raises StoreError when the state directory cannot be used.
    """
    destination = assembly.destination_of(config)
    if dry_run:
        with contextlib.closing(Store.copy_in_memory(config.state_dir)) as store:
            store.begin_new_account()  # a copy: what the daemon counted so far is not of this run
            code = asyncio.run(_run(config, store, assembly.Nowhere(destination), once=True))
            sys.stdout.write(_dry_account(store))
            return code
    prepare_state_dir(config.state_dir)
    with (
        contextlib.closing(StateLock(config.state_dir)),
        contextlib.closing(Store(config.state_dir)) as store,
    ):
        return asyncio.run(_run(config, store, destination, once=once))


async def _run(config: Config, store: Store, destination: Destination, *, once: bool) -> int:
    restored = store.restore()
    files = LogFiles(
        config.log_paths,
        restored.files,
        start_at=config.tailing.start_at,
        max_line_bytes=config.tailing.max_line_bytes,
        exclude=[config.state_dir],
    )
    service = Service(config, store, restored, files, destination)
    log.info("daemon.started version=%s state_dir=%s", __version__, config.state_dir)
    if once:
        code = await service.run_to_end(patience_seconds=_PATIENCE_SECONDS)
    else:
        code = await service.run_live(files.directories())
    log.info("daemon.stopped undelivered_batches=%d", service.delivery.undelivered_batches)
    return code


def _dry_account(store: Store) -> str:
    counters = store.status().counters
    lines, calls, other, malformed = (
        counters.get(name, 0) for name in ("lines", "calls", "lines_other", "lines_malformed")
    )
    spans = counters.get("spans_delivered", 0)
    return (
        f"{lines:,} unread lines: {calls:,} AI calls, {other:,} other lines, {malformed:,} malformed; "
        f"{spans:,} spans would be sent. Nothing was sent, nothing was moved.\n"
    )
