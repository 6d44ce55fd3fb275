"""What travels between the host that delivers and the workers that read.

Dask writes arguments and results of a task that failed into its logs: everything here shows its name alone.
What must not travel as an argument at all, the configuration, goes to the workers as a `Job`.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct, field, msgpack
from msgspec.structs import replace

from kong_ai_tracing.archives import Archive
from kong_ai_tracing.batches import Batch
from kong_ai_tracing.calls import AICall
from kong_ai_tracing.config import Config
from kong_ai_tracing.lineworker import Blueprint
from kong_ai_tracing.progress import Progress
from kong_ai_tracing.secret import Secret
from kong_ai_tracing.tracememory import RememberedTrace

STRETCH_BYTES = 64 << 20
"""So much content is one task: what it gives must fit into the memory of a worker a few times."""


class Job(Struct, frozen=True, repr_omit_defaults=True):
    """What workers must know to read as this host would."""

    id: str
    blueprint: Blueprint
    partitions: int
    max_spans: int | None
    """In one batch."""
    stretch_bytes: int = STRETCH_BYTES

    def __repr__(self) -> str:
        return "Job()"


def without_keys(config: Config) -> Config:
    """What workers read needs no key: they talk to no Langfuse. Only what pseudonyms are made with stays."""
    nobody = Secret("")
    return replace(
        config,
        langfuse_public_key=nobody if config.langfuse_public_key else None,
        langfuse_secret_key=nobody if config.langfuse_secret_key else None,
        destination=(),
    )


class Stretch(Struct, frozen=True):
    """What one task is to read: of the same content in one or more files, from where their records say."""

    archives: tuple[Archive, ...]

    def __repr__(self) -> str:
        return "Stretch()"


class Company(Struct, array_like=True):
    """Calls of one line that wait for company, and the time of the log at it."""

    now_ms: int
    calls: list[AICall]


class Part(Struct, frozen=True):
    """What one partition gets of a stretch, in the order of its lines."""

    packed: bytes
    calls: int

    @classmethod
    def of(cls, companies: Sequence[Company]) -> Part:
        return cls(msgpack.encode(companies), sum(len(each.calls) for each in companies))

    def companies(self) -> list[Company]:
        return msgpack.decode(self.packed, type=list[Company])

    def __repr__(self) -> str:
        return "Part()"


class Outline(Struct):
    """What became of a stretch, without the calls that wait for company."""

    batches: list[Batch]
    """What could leave at once. Their progress lacks what only holds when the waiting calls left, too."""
    settles: Progress
    """That: how far the files are done then."""
    waiting: list[int]
    """How many calls wait, by partition."""
    now_ms: int
    """The time of the log at its end."""
    read_bytes: int
    """Of the files themselves."""
    rest: Stretch | None
    """What is to be read after it."""

    def __repr__(self) -> str:
        return "Outline()"


class Reading(Struct):
    """All that a task gives. It stays on its worker: outlines go to the host, parts to who groups."""

    outline: Outline
    parts: list[Part]

    def __repr__(self) -> str:
        return "Reading()"


class Groups(Struct):
    """The open groups and remembered traces of one partition, between two tasks."""

    packed: bytes = b""
    """None yet when empty; then the rest is what an earlier run left."""
    remembered: list[RememberedTrace] = field(default_factory=list)
    roots: dict[str, int] = field(default_factory=dict)
    held: list[Company] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.packed or self.held)

    def __repr__(self) -> str:
        return "Groups()"


class Grouped(Struct):
    """What became of the parts of one partition."""

    batches: list[Batch]
    settles: Progress
    """What only holds when all of them have ended."""
    groups: Groups

    def __repr__(self) -> str:
        return "Grouped()"


def partition_of(trace_id: str, partitions: int) -> int:
    """All calls of a trace are grouped in the same place."""
    return int(trace_id[-8:], 16) % partitions
