"""The command `kong-config`: options in, configuration for Kong on stdout, what else is to do on stderr."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from kong_ai_tracing.kong.wishes import (
    DEFAULT_BODY_BYTES,
    DEFAULT_KONG,
    DEFAULT_PATH,
    Bodies,
    Wishes,
    check_together,
    header_names,
    path_for_kong,
    scopes_of,
    version_of,
)


class Form(StrEnum):
    """How Kong is told."""

    yaml = "yaml"
    admin = "admin"


def kong_config(
    service: Annotated[
        list[str] | None,
        typer.Option(
            "--service", metavar="NAME", help="Log this service; again for more.", show_default=False
        ),
    ] = None,
    route: Annotated[
        list[str] | None,
        typer.Option("--route", metavar="NAME", help="Log this route; again for more.", show_default=False),
    ] = None,
    everywhere: Annotated[bool, typer.Option("--global", help="Log all services.")] = False,
    bodies: Annotated[
        Bodies,
        typer.Option(
            "--bodies",
            help="Where prompts and answers come from: capture, for plain services; ai-proxy's own logging;"
            " both, for ai-proxy with real token counts and tool calls of streams.",
        ),
    ] = Bodies.capture,
    path: Annotated[
        str, typer.Option("--path", metavar="PATH", help="The log that Kong writes.")
    ] = DEFAULT_PATH,
    max_body_bytes: Annotated[
        int,
        typer.Option("--max-body-bytes", metavar="N", help="How much of each body is captured."),
    ] = DEFAULT_BODY_BYTES,
    after_auth: Annotated[
        bool,
        typer.Option("--after-auth", help="Capture only what other plugins, such as key-auth, let through."),
    ] = False,
    drop_header: Annotated[
        list[str] | None,
        typer.Option(
            "--drop-header",
            metavar="NAME",
            help="Keep this header off the line, too; again for more. The usual keys and cookies are.",
            show_default=False,
        ),
    ] = None,
    kong_version: Annotated[
        str, typer.Option("--kong-version", metavar="X.Y", help="The version of your Kong, 2.8 or newer.")
    ] = DEFAULT_KONG,
    form: Annotated[
        Form,
        typer.Option("--format", "-f", help="yaml for decK and DB-less Kong; admin for a script with curl."),
    ] = Form.yaml,
) -> None:
    """Print configuration that makes Kong write good logs. What else is to do is on stderr."""
    try:
        wishes = Wishes(
            scopes_of(service or [], route or [], everywhere=everywhere),
            path_for_kong(path),
            bodies,
            after_auth,
            version_of(kong_version),
            max_body_bytes,
            header_names(drop_header or []),
        )
        check_together(wishes)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    _print(wishes, form)


def _print(wishes: Wishes, form: Form) -> None:
    from kong_ai_tracing.kong.admin import admin_script
    from kong_ai_tracing.kong.declarative import declarative
    from kong_ai_tracing.kong.hints import hints
    from kong_ai_tracing.kong.plugins import plugins_for

    write = declarative if form is Form.yaml else admin_script
    plugins = plugins_for(wishes)
    typer.echo(write(wishes, plugins), nl=False)
    for hint in hints(wishes, plugins, declarative=form is Form.yaml):
        typer.echo(f"note: {hint}", err=True)
