"""What `run --once` and `run --dry-run` did, for who started them."""

from __future__ import annotations

import contextlib
import logging
import os
from collections import Counter
from pathlib import Path

from kong_ai_tracing.config import Config
from kong_ai_tracing.projects import projects_of
from kong_ai_tracing.statedir import StoreError
from kong_ai_tracing.store import Store
from kong_ai_tracing.storestatus import read_status

log = logging.getLogger(__name__)


def counts_of(config: Config) -> dict[str, Counter[str]]:
    """What each project has counted since its state was made."""
    counts: dict[str, Counter[str]] = {}
    for project in projects_of(config):
        with contextlib.suppress(StoreError):  # what cannot be read yet is mended or told when it is opened
            status = read_status(project.config.state_dir)
            counts[project.name] = Counter(status.counters if status else {})
    return counts


def tell_what_was_done(before: dict[str, Counter[str]], after: dict[str, Counter[str]]) -> None:
    """One line of the log for each project."""
    for name, counts in after.items():
        done = counts - before.get(name, Counter())
        log.info(
            "run.done destination=%s lines=%d calls=%d spans_delivered=%d lines_other=%d lines_malformed=%d",
            name,
            *(done[each] for each in ("lines", "calls", "spans_delivered", "lines_other", "lines_malformed")),
        )


def dry_account(store: Store) -> str:
    """What a dry run says, of the copy of the state that it worked with."""
    counters = store.status().counters
    lines, calls, other, malformed = (
        counters.get(name, 0) for name in ("lines", "calls", "lines_other", "lines_malformed")
    )
    spans = counters.get("spans_delivered", 0)
    return (
        f"{lines:,} unread lines: {calls:,} AI calls, {other:,} other lines, {malformed:,} malformed; "
        f"{spans:,} spans would be sent. Nothing was sent, nothing was moved.\n"
    )


def is_forbidden(path: str) -> bool:
    """A log that is not there yet is no failure; one that this user may not read is."""
    try:
        return not os.access(path, os.R_OK, effective_ids=True) and bool(Path(path).stat())
    except PermissionError:
        return True
    except OSError:
        return False
