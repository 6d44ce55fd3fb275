"""`run`: the log files of this host, followed live or read once, for one project or several."""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import logging
import os
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING

from kong_ai_tracing import __version__, assembly, logs
from kong_ai_tracing.config import Config, ConfigError
from kong_ai_tracing.errors import OperatorError
from kong_ai_tracing.files import LogFiles
from kong_ai_tracing.following import Following, open_project, parts_of
from kong_ai_tracing.heartbeat import Heartbeat
from kong_ai_tracing.memory import give_back_large_blocks
from kong_ai_tracing.projects import Project, projects_of
from kong_ai_tracing.runaccount import counts_of, dry_account, is_forbidden, tell_what_was_done
from kong_ai_tracing.sdnotify import Notifier
from kong_ai_tracing.service import EXIT_DELIVERED, Service
from kong_ai_tracing.signals import RELOAD, STOP, on_signals
from kong_ai_tracing.statedir import (
    DamagedStoreError,
    StateLock,
    StoreError,
    prepare_state_dir,
)
from kong_ai_tracing.store import Commit, Store
from kong_ai_tracing.streams import Stream

if TYPE_CHECKING:
    from kong_ai_tracing.statuspage import Now, StatusPage

log = logging.getLogger(__name__)

_PATIENCE_SECONDS = 30.0
"""How long `--once` goes on trying a destination that takes nothing."""

EXIT_UNREADABLE = 1
"""Of `--once`, when this user may not read some of the logs."""

_MOST_REPAIRS = 2
"""A state that is damaged more often in one run lies on a disk that is broken."""


def run(config: Config, *, reload: Callable[[], Config], once: bool = False, dry_run: bool = False) -> int:
    """Run until a signal comes, or with `once` until what is there was delivered; gives the exit code.

    `reload` reads the configuration anew; it is called on SIGHUP. With `dry_run` everything is read once,
    from a copy of the state, and goes nowhere. Raises StoreError when the state directory cannot be used.
    """
    if dry_run:
        return max(_dry_run(project, config) for project in projects_of(config))
    prepare_state_dir(config.state_dir)
    give_back_large_blocks()
    with contextlib.closing(StateLock(config.state_dir)):
        try:
            before = counts_of(config) if once else {}
            code = asyncio.run(Daemon(config, reload).run(once=once))
            if once:
                tell_what_was_done(before, counts_of(config))
            return code
        except RuntimeError as error:
            if "start new thread" not in str(error):
                raise
            raise OperatorError(
                "no thread can be started; raise TasksMax= of the unit, or the user's limit of processes"
            ) from None


class Daemon:
    """Follows every project of the configuration, and a new configuration when it is told to read one."""

    def __init__(self, config: Config, reload: Callable[[], Config]) -> None:
        self._config = config
        self._read_config = reload
        self._running: dict[str, Following] = {}
        self._ending: list[Following] = []
        self._notifier = Notifier(os.environ)
        if self._notifier.watchdog_seconds:
            faulthandler.enable()  # It ends us by SIGABRT: the journal then has where each thread was.
        self._heartbeat = Heartbeat(self._notifier, lambda: [*self._running.values(), *self._ending])
        self._stopping = False
        self._asked = asyncio.Event()
        """A signal came, or a project ended."""
        self._reload_wanted = False
        self._mended: Counter[str] = Counter()
        self._page: StatusPage | None = None

    async def run(self, *, once: bool) -> int:
        """Until a signal comes; with `once` until every project has what there is. Gives the exit code."""
        with on_signals(STOP, self._stop), on_signals(RELOAD, self._reload_soon):
            log.info("daemon.started version=%s state_dir=%s", __version__, self._config.state_dir)
            telling = asyncio.create_task(self._heartbeat.run())
            try:
                if not once:
                    await self._serve_status()
                for project in projects_of(self._config):
                    await self._follow(project, once=once)
                return await self._watch(once=once)
            finally:
                self._heartbeat.stopping()
                if self._page is not None:
                    await self._page.listen_at(None)
                await self._end([*self._running])
                telling.cancel()
                self._notifier.close()
                log.info("daemon.stopped")

    async def _watch(self, *, once: bool) -> int:
        code = EXIT_DELIVERED
        while self._running:
            await self._asked.wait()
            self._asked.clear()
            for name, running in list(self._running.items()):
                if running.task.done():
                    del self._running[name]
                    if self._may_be_mended(running):
                        await self._follow(running.project, once=once, unwritten=running.service.unwritten)
                    else:
                        code = max(code, running.task.result())
            if self._reload_wanted:
                self._reload_wanted = False
                with self._heartbeat.reloading():
                    await self._reload(once=once)
        return code

    def _may_be_mended(self, running: Following) -> bool:
        """Was it ended by a damaged state? Once or twice that is set aside, and a new one goes on."""
        name = running.project.name
        if not isinstance(running.task.exception(), DamagedStoreError):
            return False
        self._mended[name] += 1
        return self._mended[name] <= _MOST_REPAIRS

    # -- for whoever watches

    async def _serve_status(self) -> None:
        """Serve the status page where the configuration says. What it needs is loaded only then."""
        if self._page is None:
            if self._config.status.listen is None:
                return
            from kong_ai_tracing.statuspage import StatusPage

            self._page = StatusPage(self._now)
        await self._page.listen_at(self._config.status.listen)

    def _now(self) -> Now:
        from kong_ai_tracing.statuspage import Now

        vitals = [running.vitals() for running in self._running.values()]
        return Now(self._config, vitals, reload_refused=bool(self._heartbeat.remark))

    # -- signals

    def _stop(self) -> None:
        self._stopping = True
        self._heartbeat.stopping()
        for running in self._running.values():
            running.service.stop()

    def _reload_soon(self) -> None:
        self._reload_wanted = True
        self._asked.set()

    # -- projects

    async def _follow(
        self,
        project: Project,
        *,
        once: bool,
        unwritten: Commit | None = None,
        open_before: Sequence[Stream] = (),
    ) -> None:
        """Raises StoreError when its state cannot be used."""
        try:
            service, files = await open_project(project, self._config, unwritten, open_before)
        except BaseException:
            _close(open_before)
            raise
        several = len(projects_of(self._config)) > 1
        with logs.about(project.name if several else None):
            task = asyncio.create_task(_serve(service, files, once=once))
        task.add_done_callback(lambda _: self._asked.set())
        self._running[project.name] = Following(project, service, files, task)
        if self._stopping:
            self._stop()

    async def _end(self, names: list[str], *, again: Collection[str] = ()) -> dict[str, list[Stream]]:
        """Stop projects in good order: what was read of them is delivered or on disk afterwards.

        Gives the files of those that begin again at once: some may have no name any more.
        """
        self._ending = [self._running.pop(name) for name in names]
        for running in self._ending:
            if running.name in again:
                running.files.leave_open()
            running.service.stop()
        for outcome in await asyncio.gather(*(each.task for each in self._ending), return_exceptions=True):
            if isinstance(outcome, BaseException):
                log.error("project.failed reason=%r", str(outcome))
        ended, self._ending = self._ending, []
        return {running.name: running.files.take_open() for running in ended}

    async def _reload(self, *, once: bool) -> None:
        """Take up a new configuration; a bad one changes nothing."""
        self._heartbeat.remark = "the last reload was refused, the old configuration is in force"
        try:
            config = await asyncio.to_thread(self._read_config)
        except ConfigError as error:
            for problem in error.problems:
                log.error("config.rejected key=%s reason=%r fix=%r", problem.key, problem.reason, problem.fix)
            log.error("config.kept reason='the new one has problems; the old one stays in force'")
            return
        if config.state_dir != self._config.state_dir:
            log.error("config.kept key=state_dir reason='it cannot move in a running daemon' fix='restart'")
            return
        logs.set_up_logging(config.log_level, config.secrets, os.environ)
        self._heartbeat.remark = ""
        self._config = config
        if not once:
            await self._serve_status()
        wanted = {project.name: project for project in projects_of(config)}
        old = {name: running.project for name, running in self._running.items()}
        changed = [name for name, project in old.items() if wanted.get(name) != project]
        new = [project for name, project in wanted.items() if old.get(name) != project]
        left_open = await self._end(changed, again=wanted)
        for project in new:
            try:
                await self._follow(project, once=once, open_before=left_open.get(project.name, []))
            except StoreError as error:  # The others are followed all the same.
                log.error("project.failed project=%s reason=%r", project.name, str(error))
        log.info(
            "config.reloaded changed=%s", ",".join(sorted({*changed, *(p.name for p in new)})) or "nothing"
        )


def _close(streams: Iterable[Stream]) -> None:
    for stream in streams:
        stream.close()


async def _serve(service: Service, files: LogFiles, *, once: bool) -> int:
    with contextlib.closing(service):
        if once:
            code = await service.run_to_end(patience_seconds=_PATIENCE_SECONDS)
            return max(code, EXIT_UNREADABLE if any(map(is_forbidden, files.unreadable)) else EXIT_DELIVERED)
        return await service.run_live(files.directories(), files.listened, files.last_look)


def _dry_run(project: Project, whole: Config) -> int:
    with contextlib.closing(Store.copy_in_memory(project.config.state_dir)) as store:
        store.begin_new_account()  # a copy: what the daemon counted so far is not of this run
        nowhere = assembly.Nowhere(assembly.wire_form_of(project.config))

        async def read_all() -> int:
            service, _ = parts_of(project, whole, store, store.restore(), nowhere)
            with on_signals(STOP, service.stop):
                return await service.run_to_end(patience_seconds=_PATIENCE_SECONDS)

        code = asyncio.run(read_all())
        name = f"{project.name}: " if whole.destination else ""
        sys.stdout.write(name + dry_account(store))
        return code
