"""The tables that may stand several times: from what was given to typed values, or the problems."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import NODEFAULT, Struct

from kong_ai_tracing.config import values as typed
from kong_ai_tracing.config.credentials import KEY_NAMES, key_from_elsewhere
from kong_ai_tracing.config.keys import LIST_KEYS, LISTS
from kong_ai_tracing.config.problems import Problem, shown, unknown_key
from kong_ai_tracing.config.values import Given


def named_items(name: str, given: Mapping[str, Given]) -> Iterator[tuple[str, dict[str, object]]]:
    """The tables `[[name]]` as they were given, each with its place."""
    one = given.get(name)
    if one is None:
        return
    items = _from_text(one.value) if one.is_text else one.value
    for number, item in enumerate(items if isinstance(items, list) else (), 1):
        if isinstance(item, dict):
            yield f"{name}[{number}]", item


def read_list(
    name: str, given: Given, environ: Mapping[str, str], problems: list[Problem], *, needs_keys: bool
) -> tuple[Struct, ...]:
    """The tables `[[name]]`, without those in which something is wrong."""
    items = _from_text(given.value) if given.is_text else given.value
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        fix = f"write [[{name}]] above the keys of each, or give a JSON list of objects in the environment"
        problems.append(Problem(name, shown(given.value), "it is a list of tables", fix, given.source))
        return ()
    read = (
        _read_item(name, number, item, given.source, environ, problems, needs_keys=needs_keys)
        for number, item in enumerate(items, 1)
    )
    return tuple(item for item in read if item is not None)


def _read_item(
    name: str,
    number: int,
    item: dict[str, object],
    source: str,
    environ: Mapping[str, str],
    problems: list[Problem],
    *,
    needs_keys: bool,
) -> Struct | None:
    place = f"{name}[{number}]"
    before = len(problems)
    keys = LIST_KEYS[name]
    given = {key: Given(value, source) for key, value in item.items() if key in keys}
    problems += [unknown_key(f"{place}.{key}", value) for key, value in item.items() if key not in keys]
    if needs_keys and "langfuse_public_key" in keys:
        _add_keys(place, item, given, environ, problems)
    values: dict[str, Any] = {}
    for key_name, one in given.items():
        values[key_name] = typed.convert(keys[key_name].of_table(place), one, problems)
    for key in keys.values():
        if key.default is NODEFAULT and key.key not in given:
            fix = f"for example {typed.as_written(key)}"
            problems.append(Problem(f"{place}.{key.key}", "", "it must be given", fix))
    return LISTS[name](**values) if len(problems) == before else None


def _add_keys(
    place: str,
    item: Mapping[str, object],
    given: dict[str, Given],
    environ: Mapping[str, str],
    problems: list[Problem],
) -> None:
    """A project's keys from its own files. The variables of Langfuse's SDKs are of the top-level project."""
    for key in KEY_NAMES:
        match key_from_elsewhere(key, given, environ, suffix=f".{item.get('name')}"):
            case Given() as found:
                given[key] = found
            case Problem() as problem:
                problems.append(problem.at(f"{place}.{problem.key}"))


def _from_text(text: object) -> object:
    try:
        return json.loads(str(text))
    except ValueError:
        return text
