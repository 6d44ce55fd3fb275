"""A configuration as a file: the commented one that `config init` writes, the real one of `config show`."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping

from kong_ai_tracing.config.keys import KEYS, TABLES, Key
from kong_ai_tracing.config.settings import Config
from kong_ai_tracing.config.tomltext import toml
from kong_ai_tracing.secret import Secret

_WIDTH = 100

_HEAD = """\
# kong-ai-tracing: every setting with its default. Three lines are enough; take the '#' away where you
# want something else. `kong-ai-tracing check` says whether it works.
#
# Each key may also come from the environment: KONG_AI_TRACING_LOG_PATHS, and for a key of a table
# KONG_AI_TRACING_DELIVERY_BATCH_MAX_BYTES. The environment wins over this file.
"""
# What a reader should fill in: written without '#'.
_STARTER = {"log_paths": ("/var/log/kong-ai/ai.log",), "langfuse_enabled": False}


def template() -> str:
    """The commented file, valid as it is."""
    lines = [_HEAD]
    for table, keys in _by_table():
        if table:
            lines += [f"[{table}]", *_comment(TABLES[table].__doc__ or ""), ""]
        for key in keys:
            lines += _comment(key.meta.description or "")
            if key.name in _STARTER:
                lines += [f"{key.key} = {toml(_STARTER[key.name])}", ""]
            else:
                lines += [f"#{key.key} = {toml(_default_or_example(key))}", ""]
    return "\n".join(lines).rstrip() + "\n"


def effective(config: Config, sources: Mapping[str, str]) -> str:
    """What is in force, key by key, with the place it came from; keys are masked."""
    lines: list[str] = []
    for table, keys in _by_table():
        if table:
            lines += ["", f"[{table}]"]
        holder = getattr(config, table) if table else config
        for key in keys:
            value = getattr(holder, key.key)
            source = sources.get(key.name, "default")
            if value is None:
                lines.append(f"# {key.key} is not set")
            else:
                lines.append(
                    f"{key.key} = {toml(str(value) if isinstance(value, Secret) else value)}  # {source}"
                )
    return "\n".join(lines) + "\n"


def _by_table() -> Iterator[tuple[str, list[Key]]]:
    for table in ("", *TABLES):
        yield table, [key for key in KEYS.values() if key.table == table]


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(text, _WIDTH - 2, break_on_hyphens=False)]


def _default_or_example(key: Key) -> object:
    return key.example if key.default is None or key.meta.examples else key.default
