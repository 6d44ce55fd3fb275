"""What the fake Langfuse is told to answer. The answers to ingestion requests follow a script, one word each:

    200           accept                       500          any status, nothing accepted
    429:2         refuse, Retry-After: 2       slow:0.5     accept after half a second
    hang          never answer                 accept-hang  accept, never answer
    cut           hang up, nothing accepted    accept-cut   accept, hang up without an answer
    hold          accept as soon as there is another script: the test says when, not the machine

`500*3` stands for three times, `500*` for ever; when the script is at its end everything is accepted.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Answer:
    """What to do with one ingestion request. `seconds` is a Retry-After or a delay."""

    word: str = "200"
    seconds: float | None = None
    released: threading.Event = field(default_factory=threading.Event)
    """Ends what `hold` holds."""

    @property
    def accepts(self) -> bool:
        return self.word in ("200", "hold", "slow", "accept-hang", "accept-cut")

    @property
    def status(self) -> int:
        return int(self.word) if self.word.isdigit() else 200


class Script:
    """The answers to come. `500*` at the end repeats for ever."""

    def __init__(self, text: str = "") -> None:
        self._answers: deque[Answer] = deque()
        self.replaced = threading.Event()
        self._last = Answer()
        for word in filter(None, text.replace(" ", "").split(",")):
            name, star, times = word.partition("*")
            name, _, seconds = name.partition(":")
            answer = Answer(name, float(seconds) if seconds else None, self.replaced)
            if star and not times:
                self._last = answer
            self._answers.extend([answer] * (int(times) if times else not star))

    def next(self) -> Answer:
        return self._answers.popleft() if self._answers else self._last
