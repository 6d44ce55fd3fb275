"""What is wrong with a configuration: for each problem the key, its value, the reason and the fix."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from kong_ai_tracing.commands import program
from kong_ai_tracing.config.keys import ENVIRONMENT_PREFIX, KEYS, LIST_KEYS, TABLES
from kong_ai_tracing.config.tomltext import toml
from kong_ai_tracing.secret import MASK

_SHOWN_CHARACTERS = 120
_TELLTALE_WORDS = ("key", "secret", "password", "token", "auth")


class Problem(Struct, frozen=True):
    """One thing to repair. `value` is already masked where it may be a secret; empty when nothing was set."""

    key: str
    value: str
    reason: str
    fix: str
    source: str = ""

    def at(self, key: str) -> Problem:
        """The same problem, said of another key."""
        return replace(self, key=key)

    def __str__(self) -> str:
        head = f"{self.key} = {self.value}" if self.value else f"{self.key} (not set)"
        origin = f"  (from {self.source})" if self.source else ""
        return f"{head}{origin}\n  reason: {self.reason}\n  fix: {self.fix}"


class ConfigError(Exception):
    """A configuration that cannot be used; holds every problem, not only the first."""

    def __init__(self, problems: Sequence[Problem], path: Path | None = None) -> None:
        self.problems = tuple(problems)
        self.path = path
        super().__init__(problems)

    def __str__(self) -> str:
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        where = f" of {self.path}" if self.path else ""
        parts = [f"{count} in the configuration{where}", *map(str, self.problems)]
        if self.path is None:
            parts.append(
                f"There is no configuration file. {program()} config init --config config.toml writes one"
                " with every setting; --config config.toml then names it."
            )
        return "\n\n".join(parts)


def shown(value: object) -> str:
    """A value as an operator wrote it, cut to a line and without control characters."""
    text = toml(value)
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"


def unknown_key(name: str, value: object) -> Problem:
    """A key of the file that nobody reads."""
    table, _, key = name.rpartition(".")
    if (keys := LIST_KEYS.get(table.partition("[")[0])) is not None and "[" in table:
        fix = _did_you_mean(key, list(keys))
    elif table and key in KEYS:
        fix = f"{key} belongs to no table: move it above the first line in [brackets]"
    elif not table and (homes := [home for home in TABLES if f"{home}.{name}" in KEYS]):
        fix = f"it belongs to a table: move it below a line [{homes[0]}]"
    else:
        fix = _did_you_mean(name, [*KEYS, *TABLES, *LIST_KEYS])
    return Problem(name, _shown_unless_secret(name, value), "there is no such key", fix)


def unknown_variable(variable: str, text: str) -> Problem:
    """An environment variable with our prefix that nobody reads."""
    fix = _did_you_mean(variable, [key.variable for key in KEYS.values()] + [ENVIRONMENT_PREFIX + "CONFIG"])
    return Problem(
        variable, _shown_unless_secret(variable, text), "there is no such setting", fix, "the environment"
    )


def _did_you_mean(name: str, known: list[str]) -> str:
    from difflib import get_close_matches  # only when something is wrong

    if close := get_close_matches(name, known, n=1, cutoff=0.6):
        return f"did you mean {close[0]}?"
    # A key in the wrong table has another beginning but the right end.
    by_end = {candidate.rpartition(".")[2]: candidate for candidate in known}
    if close := get_close_matches(name.rpartition(".")[2], by_end, n=1, cutoff=0.75):
        return f"did you mean {by_end[close[0]]}?"
    return f"remove it; `{program()} config init --config -` prints every key"


def _shown_unless_secret(name: str, value: object) -> str:
    # A misspelt langfuse_secret_key still holds the key.
    if isinstance(value, (bool, int, float)):
        return shown(value)
    if any(word in name.lower() for word in _TELLTALE_WORDS) or "-lf-" in str(value) or "@" in str(value):
        return MASK
    return shown(value)
