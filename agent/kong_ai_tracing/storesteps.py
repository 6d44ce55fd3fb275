"""What goes into the state database in one transaction, and what comes out of it at a start."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field

from kong_ai_tracing.batches import Body
from kong_ai_tracing.calls import AICall
from kong_ai_tracing.identity import FileRecord
from kong_ai_tracing.patterns import Look
from kong_ai_tracing.progress import Progress
from kong_ai_tracing.rotationrisk import Rotations
from kong_ai_tracing.storerows import HeldCall
from kong_ai_tracing.tracememory import RememberedTrace


class Restored(Struct, frozen=True):
    """What an earlier run left behind."""

    files: list[FileRecord]
    held: list[HeldCall]
    remembered: list[RememberedTrace]
    roots: dict[str, int]
    """Start by trace id of roots that may have been sent, but of which nothing is remembered yet."""
    outbox: list[int]
    """Numbers of the undelivered batches, oldest first."""
    follows: dict[int, int]
    """Which of them must arrive after all up to another number."""
    looks: list[Look] = field(default_factory=list)
    """Where patterns have been looked for."""
    rotations: list[Rotations] = field(default_factory=list)
    """The rhythm in which logs rotate."""
    health: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What was last known of each destination."""
    positions_lost: bool = False
    """An earlier database was damaged: files that are not among these may have been read in part."""


class Commit(Struct):
    """One transaction: a step of progress, the bodies that rest from now on, those that were delivered."""

    progress: Progress = field(default_factory=Progress)
    spilled: dict[int, Body] = field(default_factory=dict)
    """Packed bodies by batch number."""
    delivered: list[int] = field(default_factory=list)
    held_by_value: dict[str, AICall] = field(default_factory=dict)
    """Waiting calls whose line may soon be gone: written whole."""
    health: dict[str, dict[str, Any]] = field(default_factory=dict)
    new_roots: dict[int, dict[str, int]] = field(default_factory=dict)
    """By batch number: the roots that it will send for the first time."""
    rotations: dict[str, Rotations] = field(default_factory=dict)
    """By log."""
    uploaded: list[int] = field(default_factory=list)
    """Media that need not be kept, by their numbers."""

    def __bool__(self) -> bool:
        return bool(
            self.progress
            or self.progress.counts
            or self.spilled
            or self.delivered
            or self.held_by_value
            or self.health
            or self.new_roots
            or self.rotations
            or self.uploaded
        )

    def merge(self, later: Commit) -> None:
        """Add the step that follows this one, when this one could not be written yet."""
        for call_id in later.progress.released:
            self.held_by_value.pop(call_id, None)
        self.progress.merge(later.progress)
        self.spilled.update(later.spilled)
        self.delivered.extend(later.delivered)
        self.held_by_value.update(later.held_by_value)
        self.health.update(later.health)
        self.new_roots.update(later.new_roots)
        self.rotations.update(later.rotations)
        self.uploaded.extend(later.uploaded)
