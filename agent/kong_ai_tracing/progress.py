"""What the end of a batch settles: how far each file is done, which calls wait, what was set aside.

The pipeline fills one `Progress` while it reads; a batch takes it along; when the batch and all before
it have ended, it is merged into what the next commit writes. Nothing here is ever partly true.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from msgspec import Struct, field

from kong_ai_tracing.calls import AICall
from kong_ai_tracing.identity import FileRecord, Position
from kong_ai_tracing.lines import SetAside
from kong_ai_tracing.media import Attachment
from kong_ai_tracing.patterns import Look
from kong_ai_tracing.tracememory import RememberedTrace


class Refusal(Struct, frozen=True):
    """A body the destination will never take, with its reason."""

    spans: int
    reason: str
    packed: bytes
    destination: str = "langfuse"


class Progress(Struct):
    """One step forward, in the order in which it was read."""

    records: dict[int, FileRecord] = field(default_factory=dict)
    """Files that are new or were recognised under another name."""
    looks: list[Look] = field(default_factory=list)
    """Where patterns were looked for the first time."""
    positions: dict[int, Position] = field(default_factory=dict)
    calls: Counter[int] = field(default_factory=Counter)
    """How many calls were found on the way to these positions, by file."""
    rewound: list[Position] = field(default_factory=list)
    """Files that are read again from another place, because an operator wants it."""
    retired: list[int] = field(default_factory=list)
    """Files that are done for good."""
    unlearned: list[int] = field(default_factory=list)
    """Files of which nothing is to be known any more."""
    held: dict[str, AICall] = field(default_factory=dict)
    """Calls that wait for company, by call id: read, but in no batch yet."""
    released: set[str] = field(default_factory=set)
    """Held calls that are in a batch now."""
    remembered: dict[str, RememberedTrace] = field(default_factory=dict)
    forgotten: list[str] = field(default_factory=list)
    set_aside: list[SetAside] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    media: list[Attachment] = field(default_factory=list)
    """What is to be uploaded of the lines that were read."""
    media_bytes: int = 0
    counts: Counter[str] = field(default_factory=Counter)

    def __bool__(self) -> bool:
        return bool(
            self.positions
            or self.records
            or self.looks
            or self.rewound
            or self.retired
            or self.unlearned
            or self.held
            or self.released
            or self.set_aside
            or self.refused
            or self.media
        )

    def add_media(self, media: Sequence[Attachment]) -> None:
        self.media.extend(media)
        self.media_bytes += sum(len(each.medium.data) for each in media)

    def release(self, call_id: str) -> None:
        if self.held.pop(call_id, None) is None:
            self.released.add(call_id)

    def forget(self, trace_id: str) -> None:
        self.remembered.pop(trace_id, None)
        self.forgotten.append(trace_id)  # an earlier step may have written it

    def merge(self, later: Progress) -> None:
        """Add the step that follows this one."""
        self.records.update(later.records)
        self.looks.extend(later.looks)
        self.positions.update(later.positions)
        self.calls.update(later.calls)
        self.rewound.extend(later.rewound)
        self.retired.extend(later.retired)
        self.unlearned.extend(later.unlearned)
        for call_id in later.released:
            self.release(call_id)
        self.held.update(later.held)
        for trace_id in later.forgotten:
            self.forget(trace_id)
        self.remembered.update(later.remembered)
        self.set_aside.extend(later.set_aside)
        self.refused.extend(later.refused)
        self.add_media(later.media)
        self.counts.update(later.counts)
