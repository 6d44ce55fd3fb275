"""Plugins → a commented declarative file, as decK and a Kong without database read it.

The form is small: maps, lists of Lua, scalars. Writing it takes less than telling a YAML library where the
comments go, and needs none on a gateway; in the tests PyYAML judges the outcome.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping

from kong_ai_tracing.kong.plugins import AI_PROXY_LOGGING, TAG, Config, Plugin
from kong_ai_tracing.kong.wishes import Wishes

_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./ -]*[A-Za-z0-9]")
_WORDS = frozenset(("true", "false", "yes", "no", "on", "off", "null"))
"""They are no texts to a YAML reader."""
_COMMENTS = {
    "reopen": "After a rotation by rename the next line goes to the new file.",
}
_AI_PROXY = """\
# Merge this into the ai-proxy plugin that you have; a second ai-proxy in this file would take its place.
# ai-proxy-advanced has `logging` below each of its targets.
#   - name: ai-proxy
#     config:
#       logging:
#         log_statistics: true  # without it Kong writes nothing about the call
#         log_payloads: true    # without it there is no prompt and no answer
# decK does it with: deck file patch -s kong.yml --selector '$..plugins[?(@.name=="ai-proxy")].config' \\
#   --value 'logging:{patch}'
"""


def declarative(wishes: Wishes, plugins: list[Plugin]) -> str:
    """The whole file."""
    return "".join(f"{line}\n" if line else "\n" for line in _lines(wishes, plugins))


def _lines(wishes: Wishes, plugins: list[Plugin]) -> Iterator[str]:
    yield f'_format_version: "{"3.0" if wishes.kong_version >= (3, 0) else "1.1"}"'
    yield "# A part of a configuration, to be merged into yours."
    yield "# `deck gateway sync` of this file alone would delete everything else."
    if wishes.uses_ai_proxy:
        patch = json.dumps(AI_PROXY_LOGGING, separators=(",", ":"))
        yield from _AI_PROXY.replace("{patch}", patch).splitlines()
    yield "plugins:"
    for plugin in plugins:
        yield f"- name: {plugin.name}"
        if plugin.scope.kind and plugin.scope.name:
            yield f"  {plugin.scope.kind}: {_scalar(plugin.scope.name)}"
        yield f"  tags: [{TAG}]"
        yield "  config:"
        yield from _members(plugin.config, "    ")


def _members(config: Config | Mapping[str, str], indent: str) -> Iterator[str]:
    for name, value in config.items():
        if name in _COMMENTS:
            yield f"{indent}# {_COMMENTS[name]}"
        if isinstance(value, Mapping):
            yield f"{indent}{name}:"
            yield from _members(value, indent + "  ")
        elif isinstance(value, list):
            yield f"{indent}{name}:"
            for text in value:
                yield f"{indent}- |"
                yield from _block(text, indent)
        elif isinstance(value, str) and "\n" in value:
            yield f"{indent}{name}: |"
            yield from _block(value, indent)
        else:
            yield f"{indent}{name}: {_scalar(value)}"


def _block(text: str, indent: str) -> Iterator[str]:
    return (f"{indent}  {line}" if line else "" for line in text.splitlines())


def _scalar(value: str | bool) -> str:
    if isinstance(value, bool):
        return json.dumps(value)
    if _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    return "'" + value.replace("'", "''") + "'"
