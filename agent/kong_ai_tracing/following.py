"""One project that is followed: how its parts are opened, and what they say of themselves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

from msgspec import Struct

from kong_ai_tracing import assembly
from kong_ai_tracing.config import Config
from kong_ai_tracing.delivery import Destination
from kong_ai_tracing.files import LogFiles
from kong_ai_tracing.projects import Project, choice_of
from kong_ai_tracing.service import Service
from kong_ai_tracing.statedir import as_store_error, prepare_state_dir
from kong_ai_tracing.statussentence import View, sentence_of
from kong_ai_tracing.store import Commit, Restored, Store
from kong_ai_tracing.storerepair import open_store
from kong_ai_tracing.streams import Stream
from kong_ai_tracing.vitals import Vitals, vitals_of

REFUSED_SHARE = 8
"""Refused bodies may take this part of the outbox's limit."""


class Following(Struct):
    """A project that is being followed."""

    project: Project
    service: Service
    files: LogFiles
    task: asyncio.Task[int]

    @property
    def name(self) -> str:
        return self.project.name

    @property
    def following(self) -> bool:
        return self.service.following

    def stuck(self, limit_seconds: float) -> str | None:
        return self.service.stuck(limit_seconds)

    def vitals(self) -> Vitals:
        return vitals_of(self.name, self.service, self.files)

    def sentence(self) -> str:
        delivery, files = self.service.delivery, self.files.files()
        accepted_ms = delivery.health.last_accepted_ms
        return sentence_of(
            View(
                files=len(files),
                behind_bytes=sum(file.unread_bytes for file in files),
                unreadable=self.files.unreadable,
                following=self.service.pipeline.following,
                local=not self.project.config.langfuse_enabled,
                reason=delivery.gate.reason,
                holding=delivery.gate.holding,
                paused=delivery.pause_reason,
                spans_on_disk=delivery.spans_on_disk,
                accepted_seconds_ago=None if accepted_ms is None else time.time() - accepted_ms / 1000,
            )
        )


async def open_project(
    project: Project, whole: Config, unwritten: Commit | None = None, open_before: Iterable[Stream] = ()
) -> tuple[Service, LogFiles]:
    """Everything that follows one project, from its state to its destination.

    `open_before`: the files that an earlier run of it left open.
    """
    # In a thread: to repair a large state takes its time, and the others go on meanwhile.
    store, restored = await asyncio.to_thread(_open, project, unwritten)
    try:
        destination = assembly.destination_of(project.config)
        return parts_of(project, whole, store, restored, destination, open_before)
    except BaseException:
        store.close()
        raise


def _open(project: Project, unwritten: Commit | None) -> tuple[Store, Restored]:
    """The state of a project.

    `unwritten` is what an earlier run settled and could not write, because its state was damaged.
    """
    state_dir = project.config.state_dir
    prepare_state_dir(state_dir)
    refused_max_bytes = project.config.delivery.outbox_max_bytes // REFUSED_SHARE
    store, restored = open_store(state_dir, refused_max_bytes=refused_max_bytes)
    try:
        store.choose_by(choice_of(project))
        if unwritten is not None:
            # Without the records: the first look for files must still know that some may be missing.
            unwritten.progress.records.clear()
            with as_store_error(store.path):
                store.commit(unwritten)
            restored = store.restore()
    except BaseException:
        store.close()
        raise
    return store, restored


def parts_of(
    project: Project,
    whole: Config,
    store: Store,
    restored: Restored,
    destination: Destination,
    open_before: Iterable[Stream] = (),
) -> tuple[Service, LogFiles]:
    """What reads and delivers, with this state and this destination."""
    config = project.config
    files = LogFiles(
        config.log_paths,
        restored.files,
        looks=restored.looks,
        rotations=restored.rotations,
        records_lost=restored.positions_lost,
        start_at=config.tailing.start_at,
        max_line_bytes=config.tailing.max_line_bytes,
        exclude=[whole.state_dir],
        open_before=open_before,
    )
    return Service(config, store, restored, files, destination, match=project.match), files
