"""The settings as a flat list of keys: names, environment variables, types, defaults, descriptions."""

from __future__ import annotations

from types import NoneType, UnionType
from typing import Annotated, Union, get_args, get_origin

from msgspec import Meta, Struct
from msgspec.structs import fields

from kong_ai_tracing.config.settings import Config
from kong_ai_tracing.secret import Secret

ENVIRONMENT_PREFIX = "KONG_AI_TRACING_"


class Key(Struct, frozen=True):
    """One setting, as the reader of a configuration sees it."""

    table: str
    """The name of the TOML table, or an empty text for a top-level key."""
    key: str
    type: object
    """The annotated type, with its range."""
    default: object
    meta: Meta

    @property
    def name(self) -> str:
        return f"{self.table}.{self.key}" if self.table else self.key

    @property
    def variable(self) -> str:
        """The environment variable of the same meaning."""
        return ENVIRONMENT_PREFIX + self.name.replace(".", "_").upper()

    @property
    def plain_type(self) -> object:
        """The type without its range and without None."""
        plain = get_args(self.type)[0] if get_origin(self.type) is Annotated else self.type
        if get_origin(plain) in (Union, UnionType):
            return next(kind for kind in get_args(plain) if kind is not NoneType)
        return plain

    @property
    def is_secret(self) -> bool:
        return self.plain_type is Secret

    @property
    def is_list(self) -> bool:
        return get_origin(self.plain_type) is tuple

    @property
    def example(self) -> object:
        """A value to show: the first example, else the default."""
        examples = self.meta.examples
        return examples[0] if examples else self.default


def _keys_of(struct: type[Struct], table: str) -> list[Key]:
    found: list[Key] = []
    for entry in fields(struct):
        if isinstance(entry.type, type) and issubclass(entry.type, Struct):
            found += _keys_of(entry.type, entry.name)
            continue
        meta = next(extra for extra in entry.type.__metadata__ if isinstance(extra, Meta))
        found.append(Key(table, entry.name, entry.type, entry.default, meta))
    return found


KEYS: dict[str, Key] = {key.name: key for key in _keys_of(Config, "")}
"""Every setting by its full name (`delivery.batch_max_bytes`), in the order of the documentation."""

TABLES: dict[str, type[Struct]] = {
    entry.name: entry.type
    for entry in fields(Config)
    if isinstance(entry.type, type) and issubclass(entry.type, Struct)
}
"""The tables by name."""
