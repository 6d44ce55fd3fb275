"""Log files in, a private store of their traces out: read by the daemon itself, in a process beside us."""

from __future__ import annotations

import ctypes
import glob
import multiprocessing
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

from msgspec import structs

from kong_ai_tracing import localstore
from kong_ai_tracing.archivefiles import COMPRESSED_SUFFIXES
from kong_ai_tracing.config import Config
from kong_ai_tracing.errors import OperatorError

_STOP_SECONDS = 5.0
_MAX_AGE_DAYS = 3650.0
_MAX_BYTES = 64 << 30
_FOLDER = "kong-ai-tracing-view-"
_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG


class Source:
    """A store to show. `trouble` says what is wrong with filling it."""

    def __init__(self, store: Path, what: str, reading: BaseProcess | None = None) -> None:
        self.store = store
        self.what = what
        self._reading = reading

    @property
    def trouble(self) -> str:
        if self._reading is None or self._reading.exitcode is None or self._reading.exitcode == 0:
            return ""
        return "The files are no longer read; the terminal says why."


def local_store(config: Config) -> Source:
    path = config.state_dir / localstore.FILE_NAME
    return Source(path, str(path))


@contextmanager
def log_files(config: Config, paths: Sequence[Path]) -> Iterator[Source]:
    """Read these files into a store that is gone afterwards, and follow those that may still grow.

    Must be called before there are threads. Nothing is sent, whatever the configuration says of Langfuse.
    """
    _remove_leftovers()
    with TemporaryDirectory(prefix=f"{_FOLDER}{os.getpid()}-") as folder:
        process = multiprocessing.get_context("fork").Process(
            target=_read, args=(_private(config, Path(folder)), paths, os.getpid()), daemon=True
        )
        process.start()
        try:
            what = ", ".join(str(path) for path in paths)
            yield Source(Path(folder) / localstore.FILE_NAME, what, process)
        finally:
            process.terminate()
            process.join(_STOP_SECONDS)
            if process.exitcode is None:
                process.kill()
                process.join()


def _remove_leftovers() -> None:
    """The folders of viewers that were killed: there are prompts in them."""
    for folder in Path(gettempdir()).glob(f"{_FOLDER}*"):
        viewer = folder.name.removeprefix(_FOLDER).partition("-")[0]
        if not Path("/proc", viewer).exists() and folder.lstat().st_uid == os.geteuid():
            shutil.rmtree(folder, ignore_errors=True)


def _private(config: Config, folder: Path) -> Config:
    local = structs.replace(config.local, max_age_days=_MAX_AGE_DAYS, max_bytes=_MAX_BYTES)
    return structs.replace(
        config, langfuse_enabled=False, destination=(), state_dir=folder, local=local, log_level="warn"
    )


def _read(config: Config, paths: Sequence[Path], viewer: int) -> None:
    """Archives first, then plain files for as long as we are watched."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _end_with(viewer)
    for number in (signal.SIGINT, signal.SIGHUP):  # they are for the viewer, which then ends us
        signal.signal(number, signal.SIG_IGN)
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    from kong_ai_tracing import backfill, daemon, logs

    logs.set_up_logging(config.log_level, config.secrets, os.environ)
    archives = [path for path in paths if path.suffix in COMPRESSED_SUFFIXES]
    growing = tuple(glob.escape(str(path.absolute())) for path in paths if path not in archives)
    following = structs.replace(config, log_paths=growing)
    code = _said(lambda: backfill.run(config, archives)) if archives else 0
    if growing:
        code = max(code, _said(lambda: daemon.run(following, reload=lambda: following)))
    sys.exit(code)


def _said(act: Callable[[], int]) -> int:
    """The exit code of `act`; what an operator can repair is a sentence."""
    try:
        return act()
    except OperatorError as error:
        sys.stderr.write(f"kong-ai-tracing: {error}\n")
        return 1


def _end_with(viewer: int) -> None:
    """Not to go on reading when the viewer was killed."""
    ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGTERM)
    if os.getppid() != viewer:
        sys.exit(0)
