"""One given value in, a typed value out, or the problem with it in plain words."""

from __future__ import annotations

import contextlib
import json
from enum import Enum
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin

import msgspec
from msgspec import Struct

from kong_ai_tracing.config.keys import Key
from kong_ai_tracing.config.problems import Problem, shown
from kong_ai_tracing.config.tomltext import toml
from kong_ai_tracing.secret import MASK, Secret


class _Invalid(Enum):
    INVALID = "invalid"


INVALID: Final = _Invalid.INVALID
"""Stands for a value that could not be used; its problem has been noted."""


_WORDS_FOR = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False}


class Given(Struct, frozen=True):
    """A value as somebody gave it, and where."""

    value: object
    source: str
    is_text: bool = False
    """True for environment variables, where a number is a text too."""


def convert(key: Key, given: Given, problems: list[Problem]) -> object:
    """The typed value, or INVALID after adding the problem to `problems`."""
    value = given.value
    if given.is_text and key.is_list:
        value = _list_from_text(str(value))
    if key.in_list and key.is_list and isinstance(value, str):
        value = [value]
    try:
        return msgspec.convert(
            value,
            key.given_type,
            strict=not given.is_text,
            dec_hook=_own_types,
        )
    except msgspec.ValidationError:
        problems.append(
            Problem(
                key.name,
                MASK if key.is_secret else shown(given.value),
                f"it must be {wanted(key)}",
                f"for example {as_written(key, given)}",
                given.source,
            )
        )
        return INVALID


def wanted(key: Key) -> str:
    """What a key takes, in words."""
    plain, meta = key.plain_type, key.meta
    if get_origin(plain) is Literal:
        return "one of " + ", ".join(f'"{choice}"' for choice in get_args(plain))
    if key.meta.pattern:
        return f"a text of this form: {key.meta.pattern}"
    words = {int: "a whole number", float: "a number", bool: "true or false", Path: "a path"}.get(
        plain,  # type: ignore[call-overload]
        _texts_wanted(key),
    )
    bounds = [
        f"{word} {bound:,}".replace(",", "_")
        for word, bound in (("at least", meta.ge), ("more than", meta.gt), ("at most", meta.le))
        if bound is not None
    ]
    return " ".join([words, " and ".join(bounds)]).rstrip()


def as_written(key: Key, given: Given | None = None) -> str:
    """A line that sets the key to its example, in the place it was given."""
    if given is not None and given.is_text:
        example = key.example
        text = ",".join(example) if isinstance(example, (list, tuple)) else toml(example).strip('"')
        return f"{given.source}={text}"
    line = f"{key.key} = {toml(key.example if given is None else _meant(key, given.value))}"
    return f"{line} below {key.heading}" if key.table else line


def _meant(key: Key, value: object) -> object:
    """The value that was wanted, where it shows through; else an example."""
    guess: object = key.example
    if isinstance(value, str) and key.is_list:
        guess = [value]
    elif isinstance(value, str) and key.plain_type is bool:
        guess = _WORDS_FOR.get(value.strip().lower(), guess)
    elif isinstance(value, str) and key.plain_type in (int, float):
        with contextlib.suppress(ValueError):
            guess = float(value) if key.plain_type is float else int(value)
    try:
        msgspec.convert(guess, key.given_type)
    except msgspec.ValidationError:
        return key.example
    return guess


def _texts_wanted(key: Key) -> str:
    if not key.is_list:
        return "a text"
    return "a text or a list of texts" if key.in_list else "a list of texts"


def _list_from_text(text: str) -> object:
    if text.lstrip().startswith("["):
        try:
            return json.loads(text)
        except ValueError:
            return text
    return [part.strip() for part in text.split(",") if part.strip()]


def _own_types(kind: type, value: Any) -> Any:
    if isinstance(value, str) and value and kind in (Secret, Path):
        return kind(value)
    raise TypeError(f"a text is wanted for {kind.__name__}")
