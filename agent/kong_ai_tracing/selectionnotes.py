"""What a backfill wanted of the files in its ledger, so that `verify` can tell what it left out."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
from msgspec import Struct

from kong_ai_tracing.errors import OperatorError
from kong_ai_tracing.selection import Selection

_NAME = "selection.json"


class Note(Struct, frozen=True):
    """A beginning like `2h` moves on with each run: what the first wanted, the last may leave out."""

    first: Selection
    last: Selection


def note_selection(ledger: Path, selection: Selection) -> None:
    """Write down what is wanted. Raises OperatorError when the disk does not take it."""
    before = read_note(ledger)
    note = Note(before.first if before else selection, selection)
    path = ledger / _NAME
    new = path.with_suffix(".new")
    try:
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(msgspec.json.encode(note))
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except OSError as error:
        raise OperatorError(f"{path} cannot be written: {error.strerror}") from error


def read_note(ledger: Path) -> Note | None:
    """None for the ledger of an older version."""
    try:
        return msgspec.json.decode((ledger / _NAME).read_bytes(), type=Note)
    except (OSError, msgspec.MsgspecError):
        return None
