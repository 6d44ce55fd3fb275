"""`backfill`: history from archives, through the same pipeline, with a ledger and an account of its own."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from msgspec import Struct

from kong_ai_tracing import assembly
from kong_ai_tracing.archivepaths import named
from kong_ai_tracing.archives import Archives, Place
from kong_ai_tracing.backfillaccount import account_of
from kong_ai_tracing.config import Config
from kong_ai_tracing.delivery import Destination
from kong_ai_tracing.identity import FileRecord
from kong_ai_tracing.memory import give_back_large_blocks
from kong_ai_tracing.progressbar import reading_bar
from kong_ai_tracing.projects import Project, choice_of, projects_of
from kong_ai_tracing.selection import Selection, moment_text
from kong_ai_tracing.selectionnotes import note_selection
from kong_ai_tracing.service import EXIT_DELIVERED, Elsewhere, Service
from kong_ai_tracing.signals import STOP, on_signals
from kong_ai_tracing.statedir import StateLock, StoreError, prepare_state_dir
from kong_ai_tracing.status import is_running
from kong_ai_tracing.store import Store
from kong_ai_tracing.storerepair import open_store
from kong_ai_tracing.storestatus import read_parts, read_status
from kong_ai_tracing.throttle import Throttle

log = logging.getLogger(__name__)

LEDGER_DIRECTORY = "backfill"
_SPOOL_DIRECTORY = "stdin"
_SELECTIONS_DIRECTORY = "selections"
_AGAIN_DIRECTORY = "again"
_PATIENCE_SECONDS = 300.0
_REPORT_INTERVAL_SECONDS = 10.0
_REDRAW_INTERVAL_SECONDS = 0.25
_NICENESS = 10
"""Beside a daemon on the same host, which reads what is written now."""


class Options(Struct, frozen=True, kw_only=True):
    """What an operator asks for beside the files."""

    selection: Selection = Selection()
    calls_per_second: float | None = None
    jobs: int = 1
    """So many processes read lines, this one included."""
    dask: str | None = None
    """The scheduler of a cluster that reads instead of this host."""
    dry_run: bool = False
    again: bool = False
    """Also what was delivered before."""


def run(config: Config, words: Sequence[str | Path], options: Options | None = None) -> int:
    """Deliver what files, patterns, directories and pipes hold, to one project after the other.

    Gives the exit code. The account goes to stdout, progress to stderr. A run that was cut off is taken up by
    the next one with the same content. Raises StoreError when a ledger cannot be used and ArchiveError for a
    file that cannot be read.
    """
    options = options or Options()
    give_back_large_blocks()
    spool_directory = config.state_dir / LEDGER_DIRECTORY / _SPOOL_DIRECTORY
    floor_bytes = config.delivery.free_space_floor_bytes
    with named(spool_directory, free_space_floor_bytes=floor_bytes, keeps_nothing=options.dry_run) as files:
        code = _run(config, files.paths(words), options)
        if code == EXIT_DELIVERED:
            files.done()
        elif not options.dry_run:
            _tell_of_spooled(files.spooled)
    return code


def _tell_of_spooled(paths: Sequence[Path]) -> None:
    for path in paths:
        sys.stderr.write(
            f"What came through the pipe is kept in {path}: name that file, or send the same content through "
            "a pipe again, to go on; else remove it.\n"
        )


def _run(config: Config, paths: Sequence[Place], options: Options) -> int:
    _tell_range(options.selection)
    projects = projects_of(config)
    is_live = is_running(config.state_dir) is True
    if is_live and not options.dry_run:
        os.nice(_NICENESS)
    code = EXIT_DELIVERED
    for project in projects:
        if len(projects) > 1:
            sys.stdout.write(f"{project.name}\n")
        ended = _run_for(project, paths, options, is_live=is_live)
        code = max(code, ended.code)
        if ended.stopped:
            break
    return code


class _Ended(Struct, frozen=True):
    """How the run for one project ended."""

    code: int
    stopped: bool
    """True when a signal asked for it."""


def _tell_range(selection: Selection) -> None:
    """In words that can be given again: an end that was said as "2h" has moved on when a run is taken up."""
    since, until = selection.since_ms, selection.until_ms
    if since is not None or until is not None:
        log.info(
            "backfill.range since=%s until=%s",
            "-" if since is None else moment_text(since),
            "-" if until is None else moment_text(until),
        )


def ledger_directory(state_dir: Path, selection: Selection, *, again: bool = False) -> Path:
    """Each selection has a ledger of its own: what one left out is not read for another."""
    ledger = state_dir / LEDGER_DIRECTORY
    if again:
        ledger /= _AGAIN_DIRECTORY
    return ledger / _SELECTIONS_DIRECTORY / selection.name if selection.name else ledger


def _run_for(project: Project, paths: Sequence[Place], options: Options, *, is_live: bool) -> _Ended:
    state_dir = project.config.state_dir
    ledger = ledger_directory(state_dir, options.selection, again=options.again)
    if options.dry_run:
        nowhere = assembly.Nowhere(assembly.wire_form_of(project.config))
        with contextlib.closing(Store.copy_in_memory(ledger)) as store:
            return asyncio.run(_deliver(project, paths, ledger, store, nowhere, options, is_live=False))
    destination = assembly.destination_of(project.config)
    prepare_state_dir(state_dir)
    for directory in reversed([ledger, *ledger.relative_to(state_dir).parents][:-1]):
        prepare_state_dir(state_dir / directory)
    with contextlib.closing(StateLock(ledger)), contextlib.closing(open_store(ledger)[0]) as store:
        if options.selection.name:
            note_selection(ledger, options.selection)
        return asyncio.run(_deliver(project, paths, ledger, store, destination, options, is_live=is_live))


async def _deliver(
    project: Project,
    paths: Sequence[Place],
    ledger: Path,
    store: Store,
    destination: Destination,
    options: Options,
    *,
    is_live: bool,
) -> _Ended:
    choice = choice_of(project)
    store.choose_by(choice, reads_once=True)
    restored = store.restore()
    archives = Archives(
        paths,
        restored.files,
        delivered=_delivered_before(project.config.state_dir, ledger, options, choice),
        max_line_bytes=project.config.tailing.max_line_bytes,
    )
    store.enter_account(archives.file_ids)
    throttle = None if options.dry_run else _throttle(project, options, is_live=is_live)
    async with _reading_elsewhere(project, options, archives, throttle) as elsewhere:
        service = Service(
            project.config,
            store,
            restored,
            archives,
            destination,
            match=project.match,
            selection=options.selection,
            other_readers=options.jobs - 1,
            throttle=throttle,
            elsewhere=elsewhere,
        )
        return await _see_through(service, store, archives, options)


@contextlib.asynccontextmanager
async def _reading_elsewhere(
    project: Project, options: Options, archives: Archives, throttle: Throttle | None
) -> AsyncIterator[Elsewhere | None]:
    """The cluster that reads, if one is asked for."""
    if options.dask is None:
        yield None
        return
    from kong_ai_tracing.cluster import ClusterError, joined

    if options.jobs > 1:
        raise ClusterError("--jobs is for this host: leave it out with --dask, the workers read")
    max_spans = throttle.max_spans if throttle is not None else None
    async with joined(options.dask, project, options.selection, max_spans=max_spans) as cluster:
        yield lambda delivery: cluster.reading(archives, delivery)


async def _see_through(service: Service, store: Store, archives: Archives, options: Options) -> _Ended:
    started = time.monotonic()
    stopped = asyncio.Event()

    def stop() -> None:
        stopped.set()
        service.stop()

    showing = asyncio.create_task(_show_progress(archives))
    try:
        with on_signals(STOP, stop):
            code = await service.run_to_end(patience_seconds=_PATIENCE_SECONDS)
    finally:
        showing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await showing
    code = _settle_account(store, archives, code, time.monotonic() - started)
    if options.dry_run:
        sys.stdout.write("A dry run: delivered is what would be. Nothing was sent, nothing was moved.\n")
    if code == EXIT_DELIVERED and options.again:
        store.take_leave()
    return _Ended(code, stopped.is_set())


def _delivered_before(state_dir: Path, own: Path, options: Options, choice: bytes) -> list[FileRecord]:
    """What the daemon or another backfill of everything has read: it is delivered, or they will see to it.

    Not what they read when calls were chosen by other settings, or went elsewhere.
    """
    if options.again:
        return []
    main = ledger_directory(state_dir, Selection())
    found = []
    for directory in state_dir, main, ledger_directory(state_dir, Selection(), again=True):
        try:
            found += read_parts(directory, choice) if directory != own else []
        except StoreError as error:
            log.warning("backfill.sends_again reason=%r", str(error))
    return found


def _throttle(project: Project, options: Options, *, is_live: bool) -> Throttle:
    state_dir = project.config.state_dir

    def is_live_waiting() -> bool:
        try:
            status = read_status(state_dir)
        except StoreError:
            return False
        return status is not None and status.outbox_batches > 0

    async def look() -> bool:
        return await asyncio.to_thread(is_live_waiting)

    return Throttle(spans_per_second=options.calls_per_second, is_live_waiting=look if is_live else None)


def _settle_account(store: Store, archives: Archives, code: int, seconds: float) -> int:
    """Print the account; gives the exit code, which is 1 when the account does not add up."""
    account = account_of(store)
    sys.stdout.write(f"{account.text()}\n{archives.read_bytes / 1e6:,.1f} MB in {seconds:,.1f} s\n")
    if code == EXIT_DELIVERED and not account.lines and archives.total_bytes:
        sys.stdout.write(
            "Nothing new: what is in these files was delivered before. --again sends it again.\n"
        )
    if code == EXIT_DELIVERED:
        store.begin_new_account()
    else:
        sys.stderr.write("Not finished: the same command goes on where this one stopped.\n")
    if not account.adds_up:
        log.error("backfill.account_does_not_add_up account=%s", account)
        return 1
    return code


def progress_percent(read_bytes: int, total_bytes: int) -> int:
    """Of the files as they are on disk: what compressed files hold is not known before. Never above 100,
    also when a file grows."""
    return min(100, 100 * read_bytes // total_bytes) if total_bytes else 100


def seconds_left(read_bytes: int, total_bytes: int, seconds: float) -> int | None:
    """At the pace so far; None when nothing can be said."""
    return round(seconds * max(0, total_bytes - read_bytes) / read_bytes) if read_bytes else None


async def _show_progress(archives: Archives) -> None:
    """A bar on a terminal, a line every ten seconds elsewhere."""
    if not sys.stderr.isatty():
        began = time.monotonic()
        while True:
            await asyncio.sleep(_REPORT_INTERVAL_SECONDS)
            read, total = min(archives.read_bytes, archives.total_bytes), archives.total_bytes
            log.info(
                "backfill.progress percent=%d read_bytes=%d total_bytes=%d seconds_left=%s file=%s",
                progress_percent(read, total),
                read,
                total,
                seconds_left(read, total, time.monotonic() - began),
                archives.current_path,
            )
    with reading_bar(archives.total_bytes) as update:
        try:
            while True:
                update(archives.read_bytes, archives.current_path)
                await asyncio.sleep(_REDRAW_INTERVAL_SECONDS)
        finally:
            update(archives.read_bytes, archives.current_path)
