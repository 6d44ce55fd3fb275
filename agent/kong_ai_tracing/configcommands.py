"""`config`: look at the configuration, or write a new one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from kong_ai_tracing.commandline import EXIT_FAILED, ConfigOption, or_exit, say
from kong_ai_tracing.commands import command, program, use_config

DEFAULT_CONFIG = Path("/etc/kong-ai-tracing/config.toml")

config_app = typer.Typer(help="Look at the configuration, or write a new one.", no_args_is_help=True)


@config_app.command("show")
def config_show(config: ConfigOption = None) -> None:
    """Print the configuration in force. Each value comes with its source; keys are masked."""
    from kong_ai_tracing.checks.units import as_the_service_has_it
    from kong_ai_tracing.config import load
    from kong_ai_tracing.config.template import effective

    environ = as_the_service_has_it(config, os.environ)
    loaded = or_exit(lambda: load(config, environ, needs_logs=False, needs_keys=False))
    typer.echo(f"# {loaded.path}" if loaded.path else "# no configuration file")
    typer.echo(effective(loaded), nl=False)


@config_app.command("init")
def config_init(
    config: Annotated[
        Path,
        typer.Option(
            "--config", "-c", metavar="PATH", allow_dash=True, help="The file to write; - prints it."
        ),
    ] = DEFAULT_CONFIG,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write a commented configuration file. It holds every setting with its default."""
    from kong_ai_tracing.config.template import template, write_template

    if str(config) == "-":
        typer.echo(template(), nl=False)
        return
    try:
        write_template(config, replace=force)
    except FileExistsError:
        say(f"{config} is already there; nothing was changed. --force replaces it")
        raise typer.Exit(EXIT_FAILED) from None
    except OSError as error:
        say(
            f"{config} cannot be written: {error.strerror}; do it as root, or name another file:"
            f" {program()} config init --config config.toml"
        )
        raise typer.Exit(EXIT_FAILED) from None
    use_config(None if config == DEFAULT_CONFIG else config)
    say(f"wrote {config}; put the path of Kong's log into it, then run {command('check')}")
