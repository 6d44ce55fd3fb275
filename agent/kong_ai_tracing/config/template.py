"""A configuration as a file: the commented one that `config init` writes, the real one of `config show`."""

from __future__ import annotations

import grp
import os
import textwrap
from collections.abc import Iterator
from pathlib import Path

from kong_ai_tracing.config.credentials import Elsewhere
from kong_ai_tracing.config.keys import KEYS, LIST_KEYS, LISTS, TABLES, Key
from kong_ai_tracing.config.loading import Loaded
from kong_ai_tracing.config.tomltext import toml
from kong_ai_tracing.secret import MASK, Secret

SERVICE_NAME = "kong-ai-tracing"
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
    for name, table_keys in LIST_KEYS.items():
        lines += [*_comment(LISTS[name].__doc__ or ""), "", f"#[[{name}]]"]
        for key in table_keys.values():
            lines += [*_comment(key.meta.description or ""), f"#{key.key} = {toml(key.example)}"]
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def effective(loaded: Loaded) -> str:
    """What is in force, key by key, with the place it came from; keys are masked."""
    config, sources = loaded.config, loaded.sources
    lines: list[str] = []
    for table, keys in _by_table():
        if table:
            lines += ["", f"[{table}]"]
        holder = getattr(config, table) if table else config
        for key in keys:
            value = getattr(holder, key.key)
            if value is not None:
                lines.append(f"{_line(key, value)}  # {sources.get(key.name, 'default')}")
            else:
                lines.append(_unread(key, loaded.unread.get(key.name)) or f"# {key.key} is not set")
    for name, list_keys in LIST_KEYS.items():
        for number, item in enumerate(getattr(config, name), 1):
            lines += ["", f"[[{name}]]  # {sources[name]}"]
            for key in list_keys.values():
                if (value := getattr(item, key.key)) != key.default:
                    lines.append(_line(key, value))
                elif unread := _unread(key, loaded.unread.get(f"{name}[{number}].{key.key}")):
                    lines.append(unread)
    return "\n".join(lines) + "\n"


def write_template(path: Path, *, replace: bool) -> None:
    """Write the commented file, readable for its owner and, when there is one, the service's group."""
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if replace else os.O_EXCL)
    with open(os.open(path, flags, 0o600), "w", encoding="utf-8") as file:
        file.write(template())
        if os.geteuid() == 0:
            _let_the_service_read(file.fileno())


def _let_the_service_read(descriptor: int) -> None:
    # root writes the file, the unit's own user reads it, nobody else: it may hold a key one day.
    try:
        group = grp.getgrnam(SERVICE_NAME).gr_gid
    except KeyError:
        return
    os.fchown(descriptor, -1, group)
    os.fchmod(descriptor, 0o640)


def _line(key: Key, value: object) -> str:
    return f"{key.key} = {toml(str(value) if isinstance(value, Secret) else value)}"


def _unread(key: Key, elsewhere: Elsewhere | None) -> str:
    """The line of a key whose place is known, but not what it is."""
    if elsewhere is None:
        return ""
    if elsewhere.trouble:
        return f"# {key.key} may be in {elsewhere.source}: {elsewhere.trouble}"
    return f"{key.key} = {toml(MASK)}  # {elsewhere.source}"


def _by_table() -> Iterator[tuple[str, list[Key]]]:
    for table in ("", *TABLES):
        yield table, [key for key in KEYS.values() if key.table == table]


def _comment(text: str) -> list[str]:
    one_line = " ".join(text.split())
    return [f"# {line}" for line in textwrap.wrap(one_line, _WIDTH - 2, break_on_hyphens=False)]


def _default_or_example(key: Key) -> object:
    return key.example if key.default is None or key.meta.examples else key.default
