"""What a run of the benchmark found: kept as JSON, shown as a table, written into the README."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

from contestants import LOOP, SCRIPT

RESULTS = Path(__file__).parent / "results.json"
README = Path(__file__).parent.parent / "README.md"
_BEGIN, _END = "<!-- bench:begin -->\n", "<!-- bench:end -->"


@dataclass(frozen=True)
class Run:
    """What one process used, by the kernel's own account (`wait4`)."""

    wall_seconds: float
    cpu_seconds: float
    peak_rss_bytes: int


@dataclass
class Results:
    """All runs, by contestant in the order of the turns."""

    bytes: int
    lines: int
    cores: int = field(default_factory=lambda: os.cpu_count() or 1)
    runs: dict[str, list[Run]] = field(default_factory=dict)
    idle: str = ""

    @property
    def turns(self) -> int:
        return max((len(runs) for runs in self.runs.values()), default=0)

    def ratio(self, name: str, other: str) -> float | None:
        """CPU against another's: the median over the turns, each against the other's run of the same turn."""
        if other not in self.runs:
            return None
        pairs = zip(self.runs[name], self.runs[other], strict=True)
        return median(one.cpu_seconds / two.cpu_seconds for one, two in pairs)

    def save(self, path: Path = RESULTS) -> None:
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, path: Path = RESULTS) -> Results:
        found = json.loads(path.read_text())
        runs = {name: [Run(**run) for run in runs] for name, runs in found.pop("runs").items()}
        return cls(**found, runs=runs)


def rows(results: Results) -> Iterator[list[str]]:
    """One for each contestant, after the head."""
    yield ["", "MB/s", "CPU-s/GB", "peak RSS", "CPU of the script", "of reading"]
    for name, runs in results.runs.items():
        speed = results.bytes / 1e6 / median(run.wall_seconds for run in runs)
        cost = median(run.cpu_seconds for run in runs) / results.bytes * 1e9
        rss = median(run.peak_rss_bytes for run in runs) / 1e6
        ratios = [results.ratio(name, other) for other in (SCRIPT, LOOP)]
        shares = ["" if ratio is None else f"{ratio:.2f}" for ratio in ratios]
        yield [name, f"{speed:.0f}", f"{cost:.1f}", f"{rss:.0f} MB", *shares]


def as_text(results: Results) -> Iterator[str]:
    """For a terminal."""
    for name, *cells in rows(results):
        yield f"{name:<48}" + "".join(f"{cell:>18}" if len(cell) > 9 else f"{cell:>11}" for cell in cells)


def as_markdown(results: Results) -> str:
    """What stands between the markers of the README."""
    head, *body = rows(results)
    table = [head, ["---"] * len(head), *body]
    size = f"{results.bytes / 1e6:.0f}M"
    lines = [
        f'`make bench BENCH_ARGS="--size {size} --repeats {results.turns}"` on {results.cores} cores, every',
        "batch acknowledged and committed, secrets taken out unless it says otherwise:",
        "",
        *(f"| {' | '.join(cells)} |" for cells in table),
        "",
        "Neither the script nor the SDK takes secrets out, recognises users, sessions and dialects, or",
        "survives a crash. Ratios are medians of pairs that ran one after the other.",
    ]
    if results.idle:
        lines += ["", f"{results.idle[0].upper()}{results.idle[1:]}."]
    return "\n".join(lines) + "\n"


def readme_with(results: Results, readme: str) -> str:
    """The README with the figures of these results."""
    before, rest = readme.split(_BEGIN, 1)
    _, after = rest.split(_END, 1)
    return before + _BEGIN + as_markdown(results) + _END + after
