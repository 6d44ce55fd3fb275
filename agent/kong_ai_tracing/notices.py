"""What the operator should know about the files, said once for as long as it lasts."""

from __future__ import annotations

from msgspec import Struct


class Notice(Struct, frozen=True):
    """For the operator's log. `kind` is a stable word, `message` says what happened and what to do."""

    kind: str
    path: str
    message: str
    lost_bytes: int = 0


class Notices:
    """Collects notices; a state that lasts is told when it begins, and again only after it ended."""

    def __init__(self) -> None:
        self._new: list[Notice] = []
        self._told: set[tuple[str, str]] = set()

    def tell(self, kind: str, path: str, message: str, lost_bytes: int = 0) -> None:
        self._new.append(Notice(kind, path, message, lost_bytes))

    def tell_once(self, kind: str, path: str, message: str) -> None:
        if (kind, path) not in self._told:
            self._told.add((kind, path))
            self.tell(kind, path, message)

    def know(self, kind: str, path: str) -> None:
        """Let it be no news."""
        self._told.add((kind, path))

    def over(self, kind: str, path: str) -> None:
        self._told.discard((kind, path))

    def lasting(self, *kinds: str) -> list[str]:
        """The paths of which one of these was told, and is not over."""
        return sorted(path for kind, path in self._told if kind in kinds)

    def take(self) -> list[Notice]:
        """The notices since the last call."""
        new, self._new = self._new, []
        return new
