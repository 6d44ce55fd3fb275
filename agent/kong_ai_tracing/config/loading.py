"""File and environment in, one frozen `Config` out, or every problem at once.

A value comes from the first source that has it: an environment variable `KONG_AI_TRACING_…`, the
configuration file, for keys a file named by `langfuse_secret_key_file` or systemd's credentials
folder, the variables of Langfuse's own SDKs (`LANGFUSE_…`), the default.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from shlex import quote

import msgspec
from msgspec import Struct

from kong_ai_tracing.commands import program
from kong_ai_tracing.config import values as typed
from kong_ai_tracing.config.credentials import KEY_NAMES, Elsewhere, key_from_elsewhere, unread_key
from kong_ai_tracing.config.keys import ENVIRONMENT_PREFIX, KEYS, LISTS, TABLES
from kong_ai_tracing.config.problems import ConfigError, Problem, unknown_key, unknown_variable
from kong_ai_tracing.config.repeated import named_items, read_list
from kong_ai_tracing.config.rules import broken_rules
from kong_ai_tracing.config.settings import Config
from kong_ai_tracing.config.values import Given

SYSTEM_CONFIG = Path("/etc/kong-ai-tracing/config.toml")
SYSTEM_STATE_DIR = Path("/var/lib/kong-ai-tracing")
CONFIG_VARIABLE = ENVIRONMENT_PREFIX + "CONFIG"

# Variables that Kubernetes sets in every container for a service named kong-ai-tracing.
_KUBERNETES_LINKS = (ENVIRONMENT_PREFIX + "SERVICE_", ENVIRONMENT_PREFIX + "PORT")
# A later name wins: LANGFUSE_BASE_URL is the one the current SDKs document.
_LANGFUSE_ADDRESSES = ("LANGFUSE_HOST", "LANGFUSE_BASE_URL")


class Loaded(Struct, frozen=True):
    """A configuration and where it came from."""

    config: Config
    path: Path | None
    """The file that was read, if any."""
    sources: dict[str, str]
    """For each key that was given: the words that say where."""
    unread: dict[str, Elsewhere]
    """Keys of Langfuse projects that were not read, because nothing is sent."""


def load_config(
    path: Path | None, environ: Mapping[str, str], *, needs_logs: bool = True, needs_keys: bool = True
) -> Config:
    """The configuration, or a ConfigError with all problems.

    `needs_logs=False` is for commands that are told their files, `needs_keys=False` for those that send
    nothing.
    """
    return load(path, environ, needs_logs=needs_logs, needs_keys=needs_keys).config


def load(
    path: Path | None, environ: Mapping[str, str], *, needs_logs: bool = True, needs_keys: bool = True
) -> Loaded:
    """Like `load_config`, with the sources of the values."""
    problems: list[Problem] = []
    path = path or find_config_file(environ)
    given = _from_file(path, problems) if path else {}
    if given is None:  # what it would have said cannot be missed
        raise ConfigError(problems, path)
    given.update(_from_environment(environ, problems))
    # A command that sends nothing may run as somebody who cannot read the keys.
    broken = _add_keys_from_elsewhere(given, environ, problems) if needs_keys else set()
    _add_langfuse_address(given, environ)
    values: dict[str, object] = {}
    for name, one in given.items():
        if name in LISTS:
            values[name] = read_list(name, one, environ, problems, needs_keys=needs_keys)
        elif (value := typed.convert(KEYS[name], one, problems)) is not typed.INVALID:
            values[name] = value
    if "state_dir" not in given:
        values["state_dir"] = default_state_dir(environ)
    config = _build(values)
    invalid = (given.keys() - values.keys()) | broken
    problems += broken_rules(config, given, invalid, needs_logs=needs_logs, needs_keys=needs_keys)
    if problems:
        raise ConfigError(problems, path)
    unread = {} if needs_keys else _unread_keys(given, environ)
    return Loaded(config, path, {name: one.source for name, one in given.items()}, unread)


def find_config_file(environ: Mapping[str, str]) -> Path | None:
    """The file that is read when no `--config` names one."""
    if named := environ.get(CONFIG_VARIABLE):
        return Path(named)
    try:
        return SYSTEM_CONFIG if SYSTEM_CONFIG.exists() else None
    except PermissionError:
        # It may be there behind a closed folder: let the reader say so.
        return SYSTEM_CONFIG


def default_state_dir(environ: Mapping[str, str], system_dir: Path = SYSTEM_STATE_DIR) -> Path:
    """The state directory when none is set: systemd's, the system's for its owner, else the user's own."""
    if from_systemd := environ.get("STATE_DIRECTORY"):
        return Path(from_systemd.split(":")[0])
    if os.geteuid() == 0 or os.access(system_dir, os.W_OK | os.X_OK, effective_ids=True):
        return system_dir
    home = environ.get("XDG_STATE_HOME") or Path(environ.get("HOME") or Path.home(), ".local/state")
    return Path(home, "kong-ai-tracing")


def _from_file(path: Path, problems: list[Problem]) -> dict[str, Given] | None:
    """What a file gives; None when it cannot be read."""
    try:
        # utf-8-sig: editors on other systems put a mark in front that TOML does not allow.
        document = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        problems.append(
            Problem(
                "--config",
                str(path),
                f"the file cannot be read: {error.strerror}",
                "name a file that is there, make it readable for this user, or write a new one with"
                f" {program()} config init --config {quote(str(path))}",
            )
        )
        return None
    except UnicodeDecodeError:
        problems.append(Problem("--config", str(path), "it is not UTF-8 text", "save it as UTF-8"))
        return None
    except tomllib.TOMLDecodeError as error:
        fix = 'correct that line; texts need quotes (key = "text"), numbers and true/false do not'
        problems.append(Problem("--config", str(path), f"it is not valid TOML: {error}", fix))
        return None
    return _flatten(document, problems)


def _flatten(document: dict[str, object], problems: list[Problem]) -> dict[str, Given]:
    source = "the configuration file"
    given: dict[str, Given] = {}
    for name, value in document.items():
        if name not in TABLES:
            if name in KEYS or name in LISTS:
                given[name] = Given(value, source)
            else:
                problems.append(unknown_key(name, value))
        elif isinstance(value, dict):
            for key, inner in value.items():
                full_name = f"{name}.{key}"
                if full_name in KEYS:
                    given[full_name] = Given(inner, source)
                else:
                    problems.append(unknown_key(full_name, inner))
        else:
            fix = f"write a line [{name}] and the keys of that table below it"
            problems.append(Problem(name, repr(value), "it is a table, not a value", fix))
    return given


def _from_environment(environ: Mapping[str, str], problems: list[Problem]) -> dict[str, Given]:
    names = {key.variable: name for name, key in KEYS.items()}
    names.update({ENVIRONMENT_PREFIX + name.upper(): name for name in LISTS})
    given: dict[str, Given] = {}
    for variable, text in environ.items():
        # An empty variable counts as not set: compose files and unit templates often pass it that way.
        if not variable.startswith(ENVIRONMENT_PREFIX) or variable == CONFIG_VARIABLE or not text:
            continue
        if variable in names:
            given[names[variable]] = Given(text, variable, is_text=True)
        elif not variable.startswith(_KUBERNETES_LINKS):
            problems.append(unknown_variable(variable, text))
    return given


def _add_keys_from_elsewhere(
    given: dict[str, Given], environ: Mapping[str, str], problems: list[Problem]
) -> set[str]:
    """Complete the two keys; the names of those that were given in a way that does not work."""
    broken: set[str] = set()
    for name in KEY_NAMES:
        match key_from_elsewhere(name, given, environ):
            case Given() as found:
                given[name] = found
            case Problem() as problem:
                problems.append(problem)
                broken.add(name)
    return broken


def _unread_keys(given: Mapping[str, Given], environ: Mapping[str, str]) -> dict[str, Elsewhere]:
    found = {name: unread_key(name, given, environ) for name in KEY_NAMES}
    for place, item in named_items("destination", given):
        keys = {key: Given(value, "") for key, value in item.items()}
        suffix = f".{item.get('name')}"
        found |= {f"{place}.{name}": unread_key(name, keys, environ, suffix=suffix) for name in KEY_NAMES}
    return {name: one for name, one in found.items() if one is not None}


def _add_langfuse_address(given: dict[str, Given], environ: Mapping[str, str]) -> None:
    if "langfuse_endpoint" in given:
        return
    for variable in _LANGFUSE_ADDRESSES:
        if text := environ.get(variable):
            given["langfuse_endpoint"] = Given(text, variable, is_text=True)


def _build(values: dict[str, object]) -> Config:
    """The values were converted one by one, so that nothing is checked (or can fail) here."""
    top = {name: value for name, value in values.items() if "." not in name}
    tables = {
        table: struct(**{k: values[n] for n, k in _members(table) if n in values})
        for table, struct in TABLES.items()
    }
    return msgspec.structs.replace(Config(), **top, **tables)


def _members(table: str) -> list[tuple[str, str]]:
    return [(name, key.key) for name, key in KEYS.items() if key.table == table]
