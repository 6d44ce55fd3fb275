"""Is Langfuse there, new enough, does it take our keys, and do our clocks agree?"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from msgspec.structs import replace

from kong_ai_tracing.checks.connections import unreachable
from kong_ai_tracing.checks.findings import Finding, Surroundings
from kong_ai_tracing.errors import OperatorError
from kong_ai_tracing.projects import MAIN, Project, projects_of
from kong_ai_tracing.transports import (
    OLDEST_WITH_OTLP,
    OLDEST_WITH_OTLP_ONLY,
    Version,
    choose_transport,
    version_of,
    version_text,
)

if TYPE_CHECKING:
    import httpx

_MAX_SKEW_SECONDS = 60.0
_PATIENCE_SECONDS = 2.2
"""For all destinations together."""


def check_server(here: Surroundings) -> Iterator[Finding]:
    """Every destination that the configuration names, all at once: an absent one costs its time-out once."""
    remote = [project for project in projects_of(here.config) if project.config.langfuse_enabled]
    if not here.config.langfuse_enabled:
        yield Finding(
            "langfuse.disabled",
            "ok",
            "langfuse_enabled is false: traces stay in the local store on this machine"
            if not remote
            else "langfuse_enabled is false: calls that fit no destination are not sent",
            fix="set langfuse_enabled = true to send them to Langfuse",
        )
    if here.offline:
        for project in remote:
            base_url = project.config.endpoint.base_url
            yield _named(project, Finding("langfuse.skipped", "ok", f"{base_url} was not asked (--offline)"))
        return
    until = time.monotonic() + _PATIENCE_SECONDS
    asked = [(project, _asking(replace(here, config=project.config))) for project in remote]
    for project, answer in asked:
        yield from (_named(project, finding) for finding in _answer(project, answer, until))


def _asking(here: Surroundings) -> Future[list[Finding]]:
    """In a thread that nobody waits for: looking up a name has no time-out."""
    answer: Future[list[Finding]] = Future()

    def ask() -> None:
        try:
            answer.set_result(list(_ask(here)))
        except Exception as error:  # raised where the answer is taken
            answer.set_exception(error)

    threading.Thread(target=ask, daemon=True).start()
    return answer


def _answer(project: Project, answer: Future[list[Finding]], until: float) -> list[Finding]:
    import httpx

    try:
        return answer.result(max(0.0, until - time.monotonic()))
    except TimeoutError:
        return [unreachable(project.config.endpoint, httpx.ConnectTimeout(""))]


def _named(project: Project, finding: Finding) -> Finding:
    return finding if project.name == MAIN else replace(finding, what=f"{project.name}: {finding.what}")


def _ask(here: Surroundings) -> Iterator[Finding]:
    """Health, version and clock without keys, then the keys."""
    import httpx

    try:
        client = here.client(here.config)
    except OperatorError as error:
        yield Finding(
            "langfuse.certificates",
            "error",
            str(error),
            "the daemon does not start with it",
            "name a PEM file that the daemon's user may read",
        )
        return
    with client:
        try:
            health = client.get(here.config.endpoint.health_url)
            yield from _read_health(here, health)
            if not health.is_redirect:
                yield _check_keys(here, client)
        except (httpx.HTTPError, OSError) as error:
            yield unreachable(here.config.endpoint, error)


def _read_health(here: Surroundings, answer: httpx.Response) -> Iterator[Finding]:
    base_url = here.config.endpoint.base_url
    version = version_of(answer)
    if answer.is_redirect:
        target = urljoin(str(answer.request.url), answer.headers.get("location", ""))
        yield Finding(
            "langfuse.redirect",
            "error",
            f"{base_url} answers with a redirect to {target}",
            "requests with traces do not follow redirects",
            f'set langfuse_endpoint = "{target.removesuffix("/api/public/health")}"',
        )
    elif version is None:
        yield Finding(
            "langfuse.no_health",
            "warning" if answer.status_code < 500 else "error",
            f"{base_url}/api/public/health answered {answer.status_code}, not as Langfuse does",
            "the address may belong to something else, or a proxy hides the page",
            "compare langfuse_endpoint with the address of Langfuse in your browser",
            f"curl -s {base_url}/api/public/health",
        )
    elif answer.status_code != 200:
        yield Finding(
            "langfuse.unhealthy",
            "error",
            f"{base_url} says that it is not healthy ({answer.status_code})",
            "traces wait in the outbox",
            "look at the logs of Langfuse's web container",
            f"curl -s {base_url}/api/public/health",
        )
    else:
        yield Finding("langfuse.reachable", "ok", f"{base_url} is Langfuse {version_text(version)}")
    if version is not None:
        yield _check_transport(here, version)
    yield from _check_clock(here, answer)


def _check_transport(here: Surroundings, version: Version) -> Finding:
    config = here.config
    choice = choose_transport(config.delivery.transport, config.endpoint, version)
    if choice.transport == "otlp" and version < OLDEST_WITH_OTLP:
        return Finding(
            "langfuse.too_old",
            "error",
            f"traces are to go over OTLP ({choice.reason}), which Langfuse {version_text(version)} has not",
            "nothing is delivered; the outbox keeps everything",
            'set transport = "auto" below [delivery], or upgrade Langfuse to 3.22 or newer',
        )
    if choice.transport == "ingestion" and version >= OLDEST_WITH_OTLP_ONLY:
        return Finding(
            "langfuse.otlp_only",
            "warning",
            f"traces are to go to the batch endpoint ({choice.reason}), which Langfuse"
            f" {version_text(version)} refuses unless it was told to take both",
            "nothing may be delivered; the outbox keeps everything",
            'set transport = "auto" below [delivery]',
        )
    way = {"otlp": "over OTLP", "ingestion": "to the batch endpoint"}[choice.transport]
    return Finding("langfuse.transport", "ok", f"traces go {way}: {choice.reason}")


def _check_clock(here: Surroundings, answer: httpx.Response) -> Iterator[Finding]:
    try:
        theirs = parsedate_to_datetime(answer.headers["date"]).timestamp()
    except (KeyError, ValueError):
        return
    skew = here.now() - theirs
    if abs(skew) > _MAX_SKEW_SECONDS:
        direction = "ahead of" if skew > 0 else "behind"
        yield Finding(
            "langfuse.clock",
            "warning",
            f"the clock of this machine is {abs(skew):.0f} s {direction} Langfuse's",
            "traces appear at the wrong time and spans of several hosts do not line up",
            "let the clock be set from the network",
            "timedatectl set-ntp true",
        )


def _check_keys(here: Surroundings, client: httpx.Client) -> Finding:
    config = here.config
    assert config.langfuse_public_key is not None, "checked when the configuration was loaded"
    assert config.langfuse_secret_key is not None, "checked when the configuration was loaded"
    keys = (config.langfuse_public_key.reveal(), config.langfuse_secret_key.reveal())
    answer = client.get(f"{config.endpoint.base_url}/api/public/projects", auth=keys)
    if answer.status_code == 200:
        return Finding("langfuse.keys", "ok", f"the keys belong to {_projects(answer)}")
    if answer.status_code == 401:
        return Finding(
            "langfuse.keys_wrong",
            "error",
            f"{config.endpoint.base_url} does not know these keys (401)",
            "nothing is delivered; the outbox keeps everything",
            "create keys in the settings of a project on this very server or region, set them, and try"
            " again in six minutes: Langfuse remembers unknown keys for five",
        )
    if answer.status_code == 403:
        return Finding(
            "langfuse.keys_not_allowed",
            "error",
            "these keys are not those of a project, or the project may not take data now (403)",
            "nothing is delivered; the outbox keeps everything",
            "use the keys of a project, not of an organisation, and look at the plan's limits in Langfuse",
        )
    return Finding(
        "langfuse.keys_unknown",
        "error",
        f"{config.endpoint.base_url}/api/public/projects answered {answer.status_code}",
        "it cannot be said whether the keys are right",
        "compare langfuse_endpoint with the address of Langfuse in your browser",
    )


def _projects(answer: httpx.Response) -> str:
    try:
        names = [str(project["name"]) for project in answer.json()["data"]]
    except (ValueError, KeyError, TypeError):
        return "a project"
    return "project " + ", ".join(repr(name) for name in names) if names else "a project"
