"""What `fleet.py` simulates, and what an observer sees of it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median

BATCH_SPREAD = 0.2
"""A batch is closed up to so much earlier, as `batches` does it."""
BUCKET_SECONDS = 10.0


@dataclass(frozen=True)
class Scene:
    """What is simulated. A batch is one request."""

    server: str = "refuses"
    hosts: int = 1000
    outage_seconds: float = 3600.0
    batch_seconds: float = 5.0
    """Each host makes one batch in so much time."""
    capacity: float = 2.0
    """Requests that the server can take, for each one that the fleet makes."""
    seed: int = 1

    @property
    def made_per_second(self) -> float:
        return self.hosts / (self.batch_seconds * (1 - BATCH_SPREAD / 2))

    @property
    def served_per_second(self) -> float:
        return self.capacity * self.made_per_second

    @property
    def shortest_seconds(self) -> float:
        """How long the backlog takes when nothing of the capacity is left unused."""
        return self.outage_seconds / (self.capacity - 1)


@dataclass
class Result:
    """What an observer saw. Times are seconds since the server came back."""

    scene: Scene
    offered: Counter[int] = field(default_factory=Counter)
    """Requests in each ten seconds."""
    accepted: Counter[int] = field(default_factory=Counter)
    refused: int = 0
    wasted: int = 0
    """Served for somebody who had given up."""
    drained_at: list[float] = field(default_factory=list)
    """When each host had nothing left of the outage."""
    halfway: list[int] = field(default_factory=list)
    """How much of its backlog each host had got rid of when half of all was gone."""
    lateness: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    """From a batch made after the outage to its acceptance, by the minute in which it was made."""

    @property
    def drained_seconds(self) -> float:
        return max(self.drained_at)

    @property
    def _drain_buckets(self) -> range:
        return range(max(1, int(self.drained_seconds / BUCKET_SECONDS)))

    @property
    def worst_offered(self) -> float:
        """Requests over capacity, in the worst ten seconds."""
        return max(self.offered.values()) / (self.scene.served_per_second * BUCKET_SECONDS)

    @property
    def mean_offered(self) -> float:
        """Requests over capacity until the last host was through."""
        return self._share(self.offered)

    @property
    def used(self) -> float:
        """Accepted requests over capacity, until nine of ten hosts were through."""
        until = sorted(self.drained_at)[len(self.drained_at) * 9 // 10]
        buckets = range(max(1, int(until / BUCKET_SECONDS)))
        return self._share(self.accepted, buckets)

    @property
    def refused_share(self) -> float:
        return self.refused / max(1, self.offered.total())

    @property
    def wasted_share(self) -> float:
        return self.wasted / max(1, self.offered.total())

    @property
    def fairness(self) -> float:
        """Jain's index of what the hosts had sent at half-time: 1 when all had sent the same."""
        return sum(self.halfway) ** 2 / (len(self.halfway) * sum(each**2 for each in self.halfway))

    @property
    def least_share(self) -> float:
        """What the slowest host had sent at half-time, over the mean."""
        return min(self.halfway) * len(self.halfway) / sum(self.halfway)

    def late(self, first_minute: int, last_minute: int, quantile: float) -> float:
        """Of the batches made in these minutes: the wait below which this share of them was."""
        waits = sorted(
            each
            for minute, waits in self.lateness.items()
            if first_minute <= minute < last_minute
            for each in waits
        )
        return waits[min(len(waits) - 1, int(len(waits) * quantile))] if waits else float("nan")

    def late_text(self, first_minute: int, last_minute: int) -> str:
        return " / ".join(f"{self.late(first_minute, last_minute, each):.1f} s" for each in (0.5, 0.99))

    def _share(self, counts: Counter[int], buckets: Iterable[int] | None = None) -> float:
        buckets = self._drain_buckets if buckets is None else buckets
        seen = [counts[bucket] for bucket in buckets]
        return sum(seen) / (len(seen) * self.scene.served_per_second * BUCKET_SECONDS)


def table(results: Sequence[Result]) -> Iterator[str]:
    """What is to be seen of each server, side by side."""
    rows: list[tuple[str, Callable[[Result], str]]] = [
        ("requests over capacity, mean of the drain", lambda r: f"{r.mean_offered:.2f}"),
        ("requests over capacity, worst ten seconds", lambda r: f"{r.worst_offered:.2f}"),
        ("requests refused", lambda r: f"{r.refused_share:.1%}"),
        ("served after the client gave up", lambda r: f"{r.wasted_share:.1%}"),
        ("capacity used", lambda r: f"{r.used:.0%}"),
        ("drained, first host", lambda r: f"{min(r.drained_at) / 60:.0f} min"),
        ("drained, median host", lambda r: f"{median(r.drained_at) / 60:.0f} min"),
        ("drained, last host", lambda r: f"{max(r.drained_at) / 60:.0f} min"),
        ("shortest possible", lambda r: f"{r.scene.shortest_seconds / 60:.0f} min"),
        ("fairness at half-time (Jain)", lambda r: f"{r.fairness:.3f}"),
        ("slowest host at half-time, of the mean", lambda r: f"{r.least_share:.0%}"),
        ("new batches, first 5 minutes, median / p99", lambda r: r.late_text(0, 5)),
        (
            "new batches, half-way",
            lambda r: r.late_text(int(r.drained_seconds / 120), int(r.drained_seconds / 120) + 5),
        ),
        ("new batches, afterwards", lambda r: r.late_text(int(r.drained_seconds / 60) + 2, 10**6)),
    ]
    yield f"{'':<46}" + "".join(f"{result.scene.server:>18}" for result in results)
    for name, cell in rows:
        yield f"{name:<46}" + "".join(f"{cell(result):>18}" for result in results)
