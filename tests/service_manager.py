"""A socket in systemd's place, which keeps what a service says to it."""

from __future__ import annotations

import select
import socket
import threading
from pathlib import Path


class Manager:
    """Listens where systemd would, and always: the kernel keeps ten words, and what comes then is lost."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)
        self._end, self._ended = socket.socketpair()
        self._one_at_a_time = threading.Lock()
        self.words: list[str] = []
        self._thread = threading.Thread(target=self._keep_listening, name="manager")
        self._thread.start()

    def listen(self) -> list[str]:
        """Everything that was said until now."""
        with self._one_at_a_time:
            while True:
                try:
                    self.words += self._socket.recv(10_000).decode().split("\n")
                except BlockingIOError:
                    return self.words

    def forget(self) -> None:
        """What was said until now is not to be heard again."""
        self.listen().clear()

    def heard(self, word: str) -> bool:
        return any(said.startswith(word) for said in self.listen())

    def close(self) -> None:
        self._end.close()
        self._thread.join()
        self._ended.close()
        self._socket.close()

    def _keep_listening(self) -> None:
        while self._ended not in select.select([self._socket, self._ended], [], [])[0]:
            self.listen()
