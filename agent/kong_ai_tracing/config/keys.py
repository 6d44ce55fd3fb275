"""The settings as a flat list of keys: names, environment variables, types, defaults, descriptions."""

from __future__ import annotations

from types import NoneType, UnionType
from typing import Annotated, Union, get_args, get_origin

from msgspec import Meta, Struct
from msgspec.structs import fields, replace

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
    """`msgspec.NODEFAULT` when it must be given."""
    meta: Meta
    in_list: bool = False
    """True for a key of a table that may stand several times."""

    @property
    def name(self) -> str:
        return f"{self.table}.{self.key}" if self.table else self.key

    def of_table(self, table: str) -> Key:
        """The same key, said to be of a certain table."""
        return replace(self, table=table)

    @property
    def heading(self) -> str:
        """The line above which no key of this table may stand; empty for a top-level key."""
        if self.in_list:
            return f"[[{self.table.partition('[')[0]}]]"
        return f"[{self.table}]" if self.table else ""

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
    def given_type(self) -> object:
        """The type of a value that somebody gave: with its range, and without None, which nobody can give."""
        return Annotated[self.plain_type, self.meta]

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


def _keys_of(struct: type[Struct], table: str, *, in_list: bool = False) -> list[Key]:
    """The keys of one table, without those of the tables in it."""
    return [
        Key(
            table,
            entry.name,
            entry.type,
            entry.default,
            next(extra for extra in entry.type.__metadata__ if isinstance(extra, Meta)),
            in_list,
        )
        for entry in fields(struct)
        if get_origin(entry.type) is Annotated
    ]


def _item_of(kind: object) -> type[Struct] | None:
    """The table behind `tuple[Table, ...]`."""
    item = get_args(kind)[0] if get_origin(kind) is tuple else None
    return item if isinstance(item, type) and issubclass(item, Struct) else None


TABLES: dict[str, type[Struct]] = {
    entry.name: entry.type
    for entry in fields(Config)
    if isinstance(entry.type, type) and issubclass(entry.type, Struct)
}
"""The tables by name."""

LISTS: dict[str, type[Struct]] = {
    entry.name: item for entry in fields(Config) if (item := _item_of(entry.type)) is not None
}
"""The tables that may stand several times (`[[destination]]`), by name."""

KEYS: dict[str, Key] = {
    key.name: key
    for keys in (_keys_of(Config, ""), *(_keys_of(struct, name) for name, struct in TABLES.items()))
    for key in keys
}
"""Every setting by its full name (`delivery.batch_max_bytes`), in the order of the documentation."""

LIST_KEYS: dict[str, dict[str, Key]] = {
    name: {key.key: key for key in _keys_of(struct, name, in_list=True)} for name, struct in LISTS.items()
}
"""The keys of each table that may stand several times."""
