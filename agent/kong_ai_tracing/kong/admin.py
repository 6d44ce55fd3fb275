"""Plugins → a shell script of calls to Kong's Admin API, for gateways that are configured without files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from urllib.parse import quote

from kong_ai_tracing.kong.plugins import AI_PROXY_LOGGING, TAG, Plugin
from kong_ai_tracing.kong.wishes import Scope, Wishes

_HEAD = """\
#!/bin/sh
# KONG_ADMIN_URL and KONG_ADMIN_TOKEN say where and as whom.
# Each plugin has an id of its own: run this again and it is changed, not added a second time.
set -eu
admin=${KONG_ADMIN_URL:-http://localhost:8001}
call() {
    curl --silent --show-error --fail-with-body -X "$1" -H "content-type: application/json" \\
        ${KONG_ADMIN_TOKEN:+-H "kong-admin-token: $KONG_ADMIN_TOKEN"} --data-binary @- "$admin$2"
    echo
}
"""
_AI_PROXY = """
# ai-proxy of {scope}: both switches. Needs jq.
# ai-proxy-advanced has `logging` below each of its targets: change that by hand.
ids=$(call GET '{place}' </dev/null | jq -r '.data[] | select(.name == "ai-proxy") | .id')
[ -n "$ids" ] || echo "no ai-proxy on {scope}: switch its logging on where it is" >&2
for id in $ids; do
    call PATCH "/plugins/$id" <<'JSON'
{patch}
JSON
done
"""


def admin_script(wishes: Wishes, plugins: list[Plugin]) -> str:
    """The whole script."""
    return "".join(_parts(wishes, plugins))


def _parts(wishes: Wishes, plugins: list[Plugin]) -> Iterator[str]:
    yield _HEAD
    for plugin in plugins:
        body = {"name": plugin.name, "tags": [TAG], "config": plugin.config}
        text = json.dumps(body, indent=2, ensure_ascii=False)
        yield f"\n# {plugin.name} for {plugin.scope}\n"
        yield f"call PUT '{_place(plugin.scope)}/{plugin.id}' <<'JSON'\n{text}\nJSON\n"
    if wishes.uses_ai_proxy:
        patch = json.dumps({"config": {"logging": AI_PROXY_LOGGING}})
        for scope in wishes.scopes:
            found = _AI_PROXY.replace("{patch}", patch).replace("{place}", _place(scope))
            yield found.replace("{scope}", str(scope))


def _place(scope: Scope) -> str:
    return f"/{scope.kind}s/{quote(scope.name, safe='')}/plugins" if scope.kind and scope.name else "/plugins"
