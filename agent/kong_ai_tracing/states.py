"""Where the states of a configuration are: one for each destination, and those of backfills."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from kong_ai_tracing.config import Config
from kong_ai_tracing.errors import OperatorError
from kong_ai_tracing.projects import projects_of
from kong_ai_tracing.storestatus import FILE_NAME

_BACKFILL = "backfill"


class State(Struct, frozen=True):
    """One state database."""

    name: str
    directory: Path
    lock_directory: Path
    """Whoever uses the state holds the lock here."""


class UnknownNameError(OperatorError):
    """There is nothing of that name; the text says what there is."""


def states_of(config: Config, name: str | None = None) -> list[State]:
    """The state databases that there are, or the one of this destination.

    Raises UnknownNameError for a destination that the configuration does not have.
    """
    places = []
    for project in projects_of(config):
        directory = project.config.state_dir
        places.append(State(project.name, directory, config.state_dir))
        ledger = directory / _BACKFILL
        places.append(State(f"{project.name}-{_BACKFILL}", ledger, ledger))
    if name is not None:
        known = [place.name for place in places]
        if name not in known:
            raise UnknownNameError(f"there is no destination {name}; there are {', '.join(known)}")
        places = [place for place in places if place.name == name]
    return [place for place in places if (place.directory / FILE_NAME).exists()]
