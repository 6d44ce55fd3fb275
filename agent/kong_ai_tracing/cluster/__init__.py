"""`backfill --dask`: a Dask cluster reads history, this host delivers it."""

from __future__ import annotations

import contextlib
import logging
import uuid
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from kong_ai_tracing import __version__
from kong_ai_tracing.archives import Archives
from kong_ai_tracing.cluster import work
from kong_ai_tracing.cluster.jobs import Job, without_keys
from kong_ai_tracing.cluster.reading import ClusterError, ClusterReading
from kong_ai_tracing.delivery import Delivery
from kong_ai_tracing.lineworker import Blueprint
from kong_ai_tracing.projects import Project
from kong_ai_tracing.selection import Selection

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["Cluster", "ClusterError", "ClusterReading", "joined"]

log = logging.getLogger(__name__)

_JOIN_SECONDS = 10
_STRETCHES_PER_THREAD = 2


class Cluster:
    """A cluster that knows what to read and how."""

    def __init__(self, client: Client, job: Job, threads: int) -> None:
        self._client = client
        self._job = job
        self._threads = threads

    def reading(self, archives: Archives, delivery: Delivery) -> ClusterReading:
        """What takes the place of this host's pipeline."""
        at_once = _STRETCHES_PER_THREAD * self._threads
        return ClusterReading(self._client, self._job, archives, delivery, at_once=at_once)


@contextlib.asynccontextmanager
async def joined(
    address: str, project: Project, selection: Selection, *, max_spans: int | None
) -> AsyncIterator[Cluster]:
    """A cluster whose workers know the job. Raises ClusterError."""
    if project.config.privacy.media == "upload":
        raise ClusterError(
            'media = "upload" is not possible with --dask: leave --dask out, or media = "replace"'
        )
    try:
        from distributed import Client
    except ModuleNotFoundError:
        raise ClusterError("--dask needs distributed: pip install 'kong-ai-tracing[dask]'") from None
    try:
        client = await Client(address, asynchronous=True, set_as_default=False, timeout=_JOIN_SECONDS)
    except (OSError, ValueError, TimeoutError) as error:
        raise ClusterError(f"no scheduler answers at {address}: {type(error).__name__}") from None
    async with client:
        threads = await _ready(client)
        job = Job(
            uuid.uuid4().hex[:12],
            Blueprint(without_keys(project.config), project.match, selection),
            partitions=max(2, threads),
            max_spans=max_spans,
        )
        posting = work.Posting(job)
        await client.register_plugin(posting)
        log.info("cluster.joined address=%s threads=%d", address, threads)
        try:
            yield Cluster(client, job, threads)
        finally:
            with contextlib.suppress(OSError, ValueError, TimeoutError):
                await client.unregister_worker_plugin(posting.name)


async def _ready(client: Client) -> int:
    """How many threads the workers have, which must be able to read as this host does."""
    try:
        await client.wait_for_workers(1, timeout=_JOIN_SECONDS)
        versions = set((await client.run(work.version)).values())
    except TimeoutError:
        raise ClusterError("the scheduler has no worker: start dask worker ADDRESS on some hosts") from None
    except ModuleNotFoundError:
        raise ClusterError(
            f"a worker lacks kong-ai-tracing: install {__version__} with its extras there"
        ) from None
    if versions != {__version__}:
        raise ClusterError(
            f"workers have kong-ai-tracing {', '.join(sorted(versions))}, this host {__version__}:"
            " install the same"
        )
    return sum((await client.nthreads()).values())
