"""Where calls go: one project, or several at once, each with a configuration and a state of its own.

A project is followed by itself, from reading to delivery. So one whose key was revoked or whose server hangs
stops only itself: it has its own positions, outbox, back-off and health, and the log is its own buffer.
"""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from kong_ai_tracing.config import Config
from kong_ai_tracing.config.destinations import DestinationTable
from kong_ai_tracing.matching import FIELDS, Match
from kong_ai_tracing.secret import Secret

DIRECTORY = "destinations"
MAIN = "langfuse"
LOCAL = "local"

Content = Literal["full", "metadata", "hashed"]
_FROM_MOST_TO_LEAST: tuple[Content, ...] = ("full", "hashed", "metadata")


class Project(Struct, frozen=True):
    """One destination of calls: which ones, and the configuration as it is for them."""

    name: str
    config: Config
    match: Match | None = None
    """The calls that go there; None for all."""


def projects_of(config: Config) -> list[Project]:
    """All projects that the configuration names. The local store, when it names none."""
    projects = [_project(config, table) for table in config.destination]
    if config.langfuse_enabled or not projects:
        name = MAIN if config.langfuse_enabled else LOCAL
        projects.insert(0, Project(name, replace(config, destination=())))
    return projects


def choice_of(project: Project) -> bytes:
    """A digest of what decides which calls go where: settings that shape a call are no part of it."""
    config, match = project.config, project.match
    key = config.langfuse_public_key
    facts = (
        config.langfuse_enabled,
        config.langfuse_endpoint,
        key.reveal() if isinstance(key, Secret) else key,
        match and [getattr(match, name) for name in FIELDS],
        [repr(rule) for rule in config.rule],
        [repr(provider) for provider in config.provider],
        config.privacy.sample_rate,
        config.privacy.keep_errors,
    )
    return blake2b(repr(facts).encode(), digest_size=16).digest()


def state_dir_of(state_dir: Path, name: str) -> Path:
    """Where the state of a named destination rests."""
    return state_dir / DIRECTORY / name


def _least(ruled: Content | None, own: Content) -> Content | None:
    return None if ruled is None else max(ruled, own, key=_FROM_MOST_TO_LEAST.index)


def _project(config: Config, table: DestinationTable) -> Project:
    privacy, delivery = config.privacy, config.delivery
    rules = config.rule
    if table.content is not None:
        privacy = replace(privacy, content=table.content)
        # A rule may reduce further what this project gets, and never widen it.
        rules = tuple(replace(rule, content=_least(rule.content, table.content)) for rule in rules)
    if table.outbox_max_bytes is not None:
        delivery = replace(delivery, outbox_max_bytes=table.outbox_max_bytes)
    own = replace(
        config,
        langfuse_enabled=True,
        langfuse_endpoint=table.langfuse_endpoint or config.langfuse_endpoint,
        langfuse_public_key=table.langfuse_public_key,
        langfuse_secret_key=table.langfuse_secret_key,
        state_dir=state_dir_of(config.state_dir, table.name),
        privacy=privacy,
        rule=rules,
        delivery=delivery,
        destination=(),
    )
    return Project(table.name, own, table)
