"""What the operator has to know or do beside the configuration that is printed."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from kong_ai_tracing.kong.plugins import Plugin
from kong_ai_tracing.kong.wishes import SPILLED_BODIES_SINCE, Wishes


def hints(wishes: Wishes, plugins: list[Plugin], *, declarative: bool) -> Iterator[str]:
    """Sentences for stderr."""
    names = " or ".join(dict.fromkeys(plugin.name for plugin in plugins))
    folder = shlex.quote(wishes.folder)
    yield (
        f"prompts will be in {wishes.folder}, which Kong does not create:"
        f" install -d -o kong -g kong-ai-tracing -m 2750 {folder} (kong: the user of Kong's workers)"
    )
    if wishes.path.startswith(("/tmp/", "/var/tmp/")):  # noqa: S108 - it is warned of
        yield "services under systemd often have a /tmp of their own: take a folder below /var/log"
    if declarative:
        yield (
            "merge this into your configuration (deck file merge kong.yml ai-log.yml);"
            " deck gateway sync of this file alone deletes everything else"
        )
    else:
        yield "a Kong without database refuses these calls: leave out --format admin there"
    yield (
        "Kong runs one plugin of a name for a request, the one closest to it (route, service, global):"
        f" where you have {names} already, bring both together in one"
    )
    if wishes.uses_ai_proxy:
        yield (
            "ai-proxy must have logging.log_statistics AND logging.log_payloads: merge them into the plugin"
            " that you have; the output says how"
        )
    if wishes.captures:
        yield from _about_the_capture(wishes)
    if wishes.kong_version < (3, 5):
        yield "before 3.5 Kong writes no request id: ids of traces come from the bytes of the line"


def _about_the_capture(wishes: Wishes) -> Iterator[str]:
    major, minor = wishes.kong_version
    if wishes.kong_version < SPILLED_BODIES_SINCE:
        yield (
            "needed: nginx_http_client_body_buffer_size = 1m in kong.conf;"
            f" Kong {major}.{minor} does not give out request bodies above its buffer, 8 KiB by default"
        )
    else:
        yield (
            "recommended: nginx_http_client_body_buffer_size = 1m in kong.conf;"
            " requests above the buffer, 8 KiB by default, go through a file"
        )
    yield "the Lua needs untrusted_lua = sandbox, Kong's default, or on"
    yield "logging plugins that run after file-log (tcp-log, udp-log, loggly, syslog) get the bodies, too"
