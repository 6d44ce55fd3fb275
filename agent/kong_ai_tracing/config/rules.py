"""What the values of a configuration must be to each other and to the world."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path

from kong_ai_tracing.config.destinations import DestinationTable
from kong_ai_tracing.config.problems import Problem, shown
from kong_ai_tracing.config.settings import Config
from kong_ai_tracing.config.tables import Redaction
from kong_ai_tracing.config.values import Given
from kong_ai_tracing.endpoint import EndpointError, parse_endpoint
from kong_ai_tracing.listenaddress import ListenAddressError, parse_listen_address
from kong_ai_tracing.mapping import FieldMapping, problem_of
from kong_ai_tracing.secret import Secret

_MAX_LABEL = 200
# "langfuse" at the beginning is reserved for Langfuse's own data.
_ENVIRONMENT = re.compile(r"(?!langfuse)[a-z0-9_-]{1,40}")

_PUBLIC_KEY, _SECRET_KEY = "langfuse_public_key", "langfuse_secret_key"
_HOW_TO_GIVE = {
    _PUBLIC_KEY: "create keys in Langfuse (project settings, API keys), then set {}langfuse_public_key {}",
    _SECRET_KEY: "set {}langfuse_secret_key_file (a file with the key and nothing else) {}",
}


def broken_rules(
    config: Config,
    given: Mapping[str, Given],
    invalid: AbstractSet[str],
    *,
    needs_logs: bool,
    needs_keys: bool,
) -> Iterator[Problem]:
    """The problems of values that are fine each by itself. Says nothing about keys that are `invalid`."""
    if "log_paths" not in invalid:
        yield from _log_paths(config, given, needed=needs_logs)
    yield from _paths(config, given)
    yield from _client_key(config, given)
    if "langfuse_endpoint" not in invalid:
        yield from _endpoint("langfuse_endpoint", config.langfuse_endpoint, config, given)
    yield from _pair("", config, given, invalid, needed=needs_keys and config.langfuse_enabled)
    yield from _labels(config, given)
    yield from _sizes(config, given)
    yield from _redaction(config, given)
    yield from _projects(config, given, needed=needs_keys)
    yield from _operator_rules(config, given)
    yield from _mapping(config, given)
    yield from _status_page(config, given)


def _projects(config: Config, given: Mapping[str, Given], *, needed: bool) -> Iterator[Problem]:
    names: set[str] = {"langfuse", "local"} if config.destination else set()
    for number, project in enumerate(config.destination, 1):
        place = f"destination[{number}]"
        if project.name in names:
            reason = "another destination has that name"
            yield _problem(f"{place}.name", project.name, given, reason, "give it a name of its own")
        names.add(project.name)
        if project.langfuse_endpoint is not None:
            name = f"{place}.langfuse_endpoint"
            yield from _endpoint(name, project.langfuse_endpoint, config, given)
        yield from _pair(place + ".", project, given, set(), needed=needed)


def _status_page(config: Config, given: Mapping[str, Given]) -> Iterator[Problem]:
    listen = config.status.listen
    if listen is None:
        return
    try:
        address = parse_listen_address(listen)
    except ListenAddressError as error:
        yield _problem("status.listen", listen, given, str(error), error.fix)
        return
    if not address.is_loopback and not config.status.allow_remote:
        reason = "other hosts could read it, without a password"
        fix = f"write {shown(f'127.0.0.1:{address.port}')}, or set allow_remote = true below [status]"
        yield _problem("status.listen", listen, given, reason, fix)


def _mapping(config: Config, given: Mapping[str, Given]) -> Iterator[Problem]:
    for field in FieldMapping.__struct_fields__:
        for word in getattr(config.mapping, field):
            if (problem := problem_of(field, word)) is not None:
                yield _problem(f"mapping.{field}", word, given, *problem)


def _operator_rules(config: Config, given: Mapping[str, Given]) -> Iterator[Problem]:
    for number, rule in enumerate(config.rule, 1):
        if rule.environment is not None:
            yield from _environment(f"rule[{number}].environment", rule.environment, given)
    for number, provider in enumerate(config.provider, 1):
        if provider.dialect is not None:
            from kong_ai_tracing.payloads import DIALECTS  # some weight, for those who need it

            names = sorted({dialect.name for dialect in DIALECTS})
            if provider.dialect not in names:
                fix = "name one of " + ", ".join(names)
                name = f"provider[{number}].dialect"
                yield _problem(name, provider.dialect, given, "there is no such dialect", fix)


def _redaction(config: Config, given: Mapping[str, Given]) -> Iterator[Problem]:
    if config.redaction == Redaction():
        return  # The default is right, and the engine need not be loaded to say so.
    from kong_ai_tracing.redact import OwnPattern, RedactionSettings, problems_of

    kinds, patterns = "redaction.kinds", "redaction.patterns"
    for kind in config.redaction.kinds:
        if problems_of(RedactionSettings(kinds=(kind,))):
            yield _problem(kinds, kind, given, "there is no such kind", _nearest_kind(kind))
    for text in config.redaction.patterns:
        name, equals, expression = text.partition("=")
        if not equals:
            yield _problem(patterns, text, given, "it has no name", 'write it as "name=expression"')
            continue
        for problem in problems_of(RedactionSettings(kinds=(), patterns=(OwnPattern(name, expression),))):
            yield _problem(patterns, text, given, problem, "see RE2's syntax for what is possible")


def _nearest_kind(word: str) -> str:
    from difflib import get_close_matches  # only when something is wrong

    from kong_ai_tracing.redact import KINDS

    close = get_close_matches(word, KINDS, n=1)
    return f"did you mean {shown(close[0])}?" if close else "name some of " + ", ".join(KINDS)


def _log_paths(config: Config, given: Mapping[str, Given], *, needed: bool) -> Iterator[Problem]:
    if not config.log_paths and needed:
        fix = 'name the file of Kong\'s file-log plugin: log_paths = ["/var/log/kong-ai/ai.log"]'
        yield Problem("log_paths", "", "without it there is nothing to read", fix)
    for pattern in config.log_paths:
        if not pattern.startswith("/"):
            yield _problem(
                "log_paths",
                pattern,
                given,
                "it is not an absolute path",
                f"write {shown(_absolute(pattern))}",
            )


def _paths(config: Config, given: Mapping[str, Given]) -> Iterator[Problem]:
    paths = {
        "state_dir": config.state_dir,
        "langfuse_secret_key_file": config.langfuse_secret_key_file,
        "langfuse_ca_file": config.langfuse_ca_file,
        "langfuse_client_certificate": config.langfuse_client_certificate,
        "langfuse_client_key": config.langfuse_client_key,
    }
    for name, path in paths.items():
        if path is not None and not path.is_absolute():
            fix = f"write {shown(_absolute(path))}"
            yield _problem(name, path, given, "it is not an absolute path", fix)


def _client_key(config: Config, given: Mapping[str, Given]) -> Iterator[Problem]:
    if config.langfuse_client_key is not None and config.langfuse_client_certificate is None:
        reason = "there is no certificate that this key belongs to"
        fix = "name it as langfuse_client_certificate"
        yield _problem("langfuse_client_key", config.langfuse_client_key, given, reason, fix)


def _absolute(path: str | Path) -> str:
    return str(Path(path).expanduser().absolute())


def _endpoint(name: str, text: str, config: Config, given: Mapping[str, Given]) -> Iterator[Problem]:
    try:
        endpoint = parse_endpoint(text)
    except EndpointError as error:
        # A refused address may hold a password.
        value = "********" if "@" in text else text
        yield _problem(name, value, given, str(error), error.fix)
        return
    if endpoint.is_clear_text and not endpoint.is_private and not config.delivery.allow_insecure_http:
        reason = "prompts and keys would cross the internet in clear text"
        secure = shown(text.replace("http://", "https://", 1))
        fix = f"write {secure}, or set allow_insecure_http = true below [delivery]"
        yield _problem(name, text, given, reason, fix)


def _pair(
    table: str,
    project: Config | DestinationTable,
    given: Mapping[str, Given],
    invalid: AbstractSet[str],
    *,
    needed: bool,
) -> Iterator[Problem]:
    for name, key in ((_PUBLIC_KEY, project.langfuse_public_key), (_SECRET_KEY, project.langfuse_secret_key)):
        if key is not None:
            yield from _key(table + name, key, given)
        elif needed and name not in invalid:
            reason = "this destination has none" if table else "langfuse_enabled is true"
            where = (
                ("", "below that [[destination]]")
                if table
                else (f"{name.upper()} in the environment, or ", "in the configuration")
            )
            yield Problem(
                table + name,
                "",
                f"{reason}, and Langfuse takes nothing without keys",
                _HOW_TO_GIVE[name].format(*where),
            )


def _key(name: str, key: Secret, given: Mapping[str, Given]) -> Iterator[Problem]:
    text = key.reveal()
    wrong_prefix = "sk-lf-" if name.endswith("langfuse_public_key") else "pk-lf-"
    if text.startswith(wrong_prefix):
        yield _problem(name, key, given, "this is the other key of the pair", "exchange the two keys")
    elif not text.isascii() or not text.isprintable() or " " in text or ":" in text:
        reason = "a key has only letters, digits and dashes"
        yield _problem(name, key, given, reason, "copy it again from Langfuse, without quotes around it")


def _labels(config: Config, given: Mapping[str, Given]) -> Iterator[Problem]:
    yield from _environment("environment", config.environment, given)
    for name, value in (("release", config.release), ("version", config.version)):
        if value is not None and not (0 < len(value) <= _MAX_LABEL and value.isprintable()):
            reason = f"it must be 1 to {_MAX_LABEL} printable characters"
            yield _problem(name, value, given, reason, "shorten it, or remove the key")


def _environment(name: str, text: str, given: Mapping[str, Given]) -> Iterator[Problem]:
    if not _ENVIRONMENT.fullmatch(text):
        reason = 'Langfuse knows no such environment and would silently file it under "default"'
        fix = f"write {shown(_nearest_environment(text))}: a-z, 0-9, '-' and '_' only, at most 40"
        yield _problem(name, text, given, reason, fix)


def _nearest_environment(text: str) -> str:
    allowed = re.sub(r"[^a-z0-9_-]+", "-", text.lower()).removeprefix("langfuse").strip("-_")
    return allowed[:40] or "production"


def _sizes(config: Config, given: Mapping[str, Given]) -> Iterator[Problem]:
    delivery, grouping = config.delivery, config.grouping
    outboxes = {"delivery": delivery.outbox_max_bytes} | {
        f"destination[{number}]": project.outbox_max_bytes
        for number, project in enumerate(config.destination, 1)
        if project.outbox_max_bytes is not None
    }
    for place, max_bytes in outboxes.items():
        if max_bytes < delivery.batch_max_bytes:
            reason = "not even one batch (delivery.batch_max_bytes) would fit into the outbox"
            fix = f"give at least {delivery.batch_max_bytes:_}"
            yield _problem(f"{place}.outbox_max_bytes", max_bytes, given, reason, fix)
    if grouping.trace_hold_seconds < grouping.trace_idle_seconds:
        reason = "no call could wait as long as grouping.trace_idle_seconds says"
        fix = f"give at least {grouping.trace_idle_seconds}, or lower trace_idle_seconds"
        yield _problem("grouping.trace_hold_seconds", grouping.trace_hold_seconds, given, reason, fix)


def _problem(name: str, value: object, given: Mapping[str, Given], reason: str, fix: str) -> Problem:
    setting = name.partition("[")[0]
    source = given[setting].source if setting in given else "the default"
    text = (
        str(value) if isinstance(value, Secret) else shown(str(value) if isinstance(value, Path) else value)
    )
    return Problem(name, text, reason, fix, source)
