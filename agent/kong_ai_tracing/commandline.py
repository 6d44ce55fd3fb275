"""What the commands have in common: options, the way to the configuration, the way out."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias, TypeVar

import typer

from kong_ai_tracing import commands

if TYPE_CHECKING:
    from kong_ai_tracing.config import Config

_T = TypeVar("_T")

EXIT_FAILED = 1
EXIT_BAD_CONFIGURATION = 78


def _remember(context: typer.Context, path: Path | None) -> Path | None:
    commands.use_config(path, read_elsewhere=context.info_name == "run")
    return path


ConfigOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        metavar="PATH",
        callback=_remember,
        help="Configuration file. Without it: $KONG_AI_TRACING_CONFIG, else"
        " /etc/kong-ai-tracing/config.toml if there is one.",
        show_default=False,
    ),
]
JsonOption: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def load_settings(path: Path | None, *, needs_logs: bool = True, needs_keys: bool = True) -> Config:
    """The configuration, or the end of the program with every problem in it."""
    return or_exit(lambda: read_settings(path, needs_logs=needs_logs, needs_keys=needs_keys))


def read_settings(path: Path | None, *, needs_logs: bool = True, needs_keys: bool = True) -> Config:
    """The configuration. Raises ConfigError."""
    from kong_ai_tracing.checks.units import as_the_service_has_it
    from kong_ai_tracing.config import load_config

    environ = as_the_service_has_it(path, os.environ)
    return load_config(path, environ, needs_logs=needs_logs, needs_keys=needs_keys)


def load_for_offline_use(path: Path | None) -> Config:
    """For commands that work without a configuration: the system's is used when this user may read it."""
    from kong_ai_tracing.config import find_config_file, load_config

    found = path or find_config_file(os.environ)
    if path is None and found is not None and not os.access(found, os.R_OK):
        say(f"note: {found} cannot be read by this user; the defaults are used")
        environ = {**os.environ, "KONG_AI_TRACING_CONFIG": os.devnull}
        return or_exit(lambda: load_config(None, environ, needs_logs=False, needs_keys=False))
    return load_settings(path, needs_logs=False, needs_keys=False)


def or_exit(act: Callable[[], _T]) -> _T:
    """What `act` gives; a bad configuration ends the program."""
    from kong_ai_tracing.config import ConfigError

    try:
        return act()
    except ConfigError as error:
        say(str(error))
        raise typer.Exit(EXIT_BAD_CONFIGURATION) from None


def finish(act: Callable[[], int]) -> None:
    """End with the exit code of `act`; what an operator can repair is a sentence, not a traceback."""
    from kong_ai_tracing.errors import OperatorError

    try:
        code = act()
    except OperatorError as error:
        say(str(error))
        code = error.exit_code
    raise typer.Exit(code)


def set_up_logging(settings: Config) -> None:
    """Send the operator's log to stderr."""
    from kong_ai_tracing import logs

    logs.set_up_logging(settings.log_level, settings.secrets, os.environ)


def say(text: str) -> None:
    """A word to people, on stderr. It may name a file, or say what a server said."""
    from kong_ai_tracing.excerpts import visible_lines

    typer.echo(f"kong-ai-tracing: {visible_lines(text)}", err=True)
