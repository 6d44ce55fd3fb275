"""A socket in systemd's place, which keeps what a service says to it."""

from __future__ import annotations

import socket
from pathlib import Path


class Manager:
    """Listens where systemd would."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)
        self.words: list[str] = []

    def listen(self) -> list[str]:
        while True:
            try:
                self.words += self._socket.recv(10_000).decode().split("\n")
            except BlockingIOError:
                return self.words

    def heard(self, word: str) -> bool:
        return any(said.startswith(word) for said in self.listen())

    def close(self) -> None:
        self._socket.close()
