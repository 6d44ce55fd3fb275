"""What the operator wants → the plugins that Kong needs for it, the same for every way of telling Kong."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import TypeAlias

from msgspec import Struct

from kong_ai_tracing.kong.wishes import Scope, Wishes

Config: TypeAlias = "dict[str, str | bool | list[str] | dict[str, str]]"

TAG = "kong-ai-tracing"
AI_PROXY_LOGGING = {"log_statistics": True, "log_payloads": True}


class Plugin(Struct, frozen=True):
    """One plugin of Kong in one place."""

    name: str
    scope: Scope
    config: Config

    @property
    def id(self) -> str:
        return self.scope.plugin_id(self.name)


def plugins_for(wishes: Wishes) -> list[Plugin]:
    """All plugins, place by place."""
    return [
        Plugin(name, scope, config) for scope in wishes.scopes for name, config in _configs(wishes).items()
    ]


def _configs(wishes: Wishes) -> dict[str, Config]:
    found: dict[str, Config] = {"file-log": _file_log(wishes)}
    if not wishes.captures:
        return found
    watching: Config = {phase: [lua(phase, wishes)] for phase in ("access", "body_filter")}
    # Kong runs pre-function before file-log and post-function after it, which is too late for the line.
    logging: Config = {"log": [lua("log", wishes)]}
    if wishes.after_auth:
        return found | {"pre-function": logging, "post-function": watching}
    return found | {"pre-function": watching | logging}


def _file_log(wishes: Wishes) -> Config:
    # One field: Kong compiles the Lua of each field anew for each line.
    return {"path": wishes.path, "reopen": True, "custom_fields_by_lua": {"capture": lua("line", wishes)}}


def lua(name: str, wishes: Wishes) -> str:
    """One of our chunks, with what the operator chose in it."""
    source = (files("kong_ai_tracing.kong") / "lua" / f"{name}.lua").read_text("utf-8")
    for limit in ("REQUEST_BYTES", "RESPONSE_BYTES"):
        source = re.sub(
            rf"^(local {limit}) = \d+", rf"\1 = {wishes.max_body_bytes}", source, flags=re.MULTILINE
        )
    more = "".join(f'  "{header}",\n' for header in wishes.dropped_headers)
    return re.sub(r"^(local SECRET_HEADERS = {\n[^}]*)}", rf"\1{more}}}", source, flags=re.MULTILINE)
