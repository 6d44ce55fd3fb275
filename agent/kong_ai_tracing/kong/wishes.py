"""What the operator asked for, and whether Kong can do it."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import PurePosixPath
from uuid import NAMESPACE_URL, uuid5

from msgspec import Struct

DEFAULT_PATH = "/var/log/kong-ai/ai.log"
DEFAULT_BODY_BYTES = 256 << 10
MAX_BODY_BYTES = 4 << 20
"""Two of them as base64 still fit into the longest line that is read by default."""
MIN_BODY_BYTES = 1 << 10
OLDEST_KONG = (2, 8)
AI_PROXY_SINCE = (3, 6)
SPILLED_BODIES_SINCE = (3, 8)
DEFAULT_KONG = "3.9"

_NAME = re.compile(r"[^\x00-\x20\x7f:/?#\[\]@!$&'()*+,;=%\\\"<>{}|^`]+")
_HEADER = re.compile(r"[A-Za-z0-9!#$&'*+^_`|~-]+")
_VERSION = re.compile(r"(\d+)\.(\d+)(?:\.\d+)*")
_NO_PATH = re.compile(r"[*&%\\`\x00-\x1f\x7f]")


class Bodies(StrEnum):
    """Where prompts and answers come from."""

    capture = "capture"
    ai_proxy = "ai-proxy"
    both = "both"


class Scope(Struct, frozen=True):
    """What a plugin is for: one service, one route, or everything."""

    kind: str | None = None
    name: str | None = None

    def __str__(self) -> str:
        return f"{self.kind} {self.name}" if self.kind else "all services"

    def plugin_id(self, plugin: str) -> str:
        """The same for the same wish, so that asking twice changes a plugin and never adds one."""
        return str(uuid5(NAMESPACE_URL, f"kong-ai-tracing/{self.kind}/{self.name}/{plugin}"))


class Wishes(Struct, frozen=True):
    """The options of the command, checked."""

    scopes: tuple[Scope, ...]
    path: str = DEFAULT_PATH
    bodies: Bodies = Bodies.capture
    after_auth: bool = False
    kong_version: tuple[int, int] = (3, 9)
    max_body_bytes: int = DEFAULT_BODY_BYTES
    dropped_headers: tuple[str, ...] = ()

    @property
    def captures(self) -> bool:
        """Whether our Lua runs in Kong."""
        return self.bodies is not Bodies.ai_proxy

    @property
    def uses_ai_proxy(self) -> bool:
        """Whether ai-proxy has to log, too."""
        return self.bodies is not Bodies.capture

    @property
    def folder(self) -> str:
        """Where the log is."""
        return str(PurePosixPath(self.path).parent)


def scopes_of(services: list[str], routes: list[str], *, everywhere: bool) -> tuple[Scope, ...]:
    """What to configure. Raises ValueError."""
    if everywhere and (services or routes):
        raise ValueError("--global is for everything: leave out --service and --route, or --global")
    if not (everywhere or services or routes):
        raise ValueError("name what to log: --service NAME, --route NAME, or --global")
    if everywhere:
        return (Scope(),)
    named = [("service", name) for name in services] + [("route", name) for name in routes]
    for kind, name in named:
        if not _NAME.fullmatch(name):
            raise ValueError(f"--{kind}: {name!r} is no name or id that Kong gives a {kind}")
    return tuple(Scope(kind, name) for kind, name in dict.fromkeys(named))


def version_of(text: str) -> tuple[int, int]:
    """Kong's version. Raises ValueError."""
    if not (found := _VERSION.fullmatch(text)):
        raise ValueError(f"--kong-version: {text!r} is no version; write it like 3.9 or 3.9.1")
    version = int(found[1]), int(found[2])
    if version < OLDEST_KONG:
        raise ValueError("--kong-version: Kong 2.8 is the oldest that this is made for")
    return version


def path_for_kong(text: str) -> str:
    """A path that Kong's schema takes. Raises ValueError."""
    if not text.startswith("/") or text.endswith("/"):
        raise ValueError(f"--path: {text!r} must be the absolute path of a file")
    if text != text.strip() or _NO_PATH.search(text):
        raise ValueError(
            f"--path: {text!r} has a character that Kong refuses (one of * & % \\ ` or a blank end)"
        )
    if text.startswith("/dev/"):
        raise ValueError("--path: a device cannot be read again; name a file")
    return text


def header_names(names: list[str]) -> tuple[str, ...]:
    """Names of headers as Kong logs them. Raises ValueError."""
    for name in names:
        if not _HEADER.fullmatch(name):
            raise ValueError(f"--drop-header: {name!r} is no name of a header")
    return tuple(dict.fromkeys(name.lower() for name in names))


def check_together(wishes: Wishes) -> None:
    """What does not go together. Raises ValueError."""
    if wishes.uses_ai_proxy and wishes.kong_version < AI_PROXY_SINCE:
        major, minor = wishes.kong_version
        raise ValueError(f"--bodies: Kong {major}.{minor} has no ai-proxy, it came with 3.6; use capture")
    if wishes.after_auth and not wishes.captures:
        raise ValueError("--after-auth is about the capture, which --bodies ai-proxy does not use")
    if not MIN_BODY_BYTES <= wishes.max_body_bytes <= MAX_BODY_BYTES:
        raise ValueError(
            f"--max-body-bytes: {MIN_BODY_BYTES} to {MAX_BODY_BYTES}, not {wishes.max_body_bytes}"
        )
