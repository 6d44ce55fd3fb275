"""`refused` and `checkpoint`: what an operator may see and move of the state."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from kong_ai_tracing.commandline import ConfigOption, JsonOption, finish, load_settings

refused_app = typer.Typer(
    help="Look at what Langfuse refused, send it again, or take it elsewhere.", no_args_is_help=True
)
checkpoint_app = typer.Typer(
    help="Look at how far each file has been read, or read it again.", no_args_is_help=True
)

DestinationOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--destination", "-d", metavar="NAME", help="Only this destination's state.", show_default=False
    ),
]
FileArgument: TypeAlias = Annotated[Path, typer.Argument(metavar="FILE", help="As checkpoint show names it.")]
IdsArgument: TypeAlias = Annotated[
    list[str] | None, typer.Argument(metavar="ID...", help="As refused list names them.", show_default=False)
]


@refused_app.command("list")
def refused_list(
    config: ConfigOption = None, destination: DestinationOption = None, as_json: JsonOption = False
) -> None:
    """List what was refused, oldest first, with the reason."""
    settings = load_settings(config, needs_logs=False, needs_keys=False)
    from kong_ai_tracing import refused

    finish(lambda: refused.list_bodies(settings, destination, as_json=as_json))


@refused_app.command("show")
def refused_show(
    refused_id: Annotated[str, typer.Argument(metavar="ID", help="As refused list names it.")],
    config: ConfigOption = None,
    content: Annotated[bool, typer.Option("--content", help="Prompts and answers, too.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what one of them is. Without --content nothing that was said is printed."""
    settings = load_settings(config, needs_logs=False, needs_keys=False)
    from kong_ai_tracing import refused

    finish(lambda: refused.show(settings, refused_id, content=content, as_json=as_json))


@refused_app.command("retry")
def refused_retry(
    ids: IdsArgument = None,
    config: ConfigOption = None,
    all_of_them: Annotated[bool, typer.Option("--all", help="Everything that was refused.")] = False,
) -> None:
    """Send it again: within seconds when the daemon runs, else when it starts."""
    if bool(ids) == all_of_them:
        raise typer.BadParameter("name IDs, or --all")
    settings = load_settings(config, needs_logs=False, needs_keys=False)
    from kong_ai_tracing import refused

    finish(lambda: refused.retry(settings, ids))


@refused_app.command("export")
def refused_export(
    ids: IdsArgument = None,
    config: ConfigOption = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="PATH",
            help="A new file, for you alone; else stdout.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Write it out as OTLP/JSON, one export request a line. With prompts and answers."""
    settings = load_settings(config, needs_logs=False, needs_keys=False)
    from kong_ai_tracing import refused

    finish(lambda: refused.export(settings, ids, output))


@checkpoint_app.command("show")
def checkpoint_show(
    config: ConfigOption = None, destination: DestinationOption = None, as_json: JsonOption = False
) -> None:
    """Show the position in each file."""
    settings = load_settings(config, needs_logs=False, needs_keys=False)
    from kong_ai_tracing import checkpoint

    finish(lambda: checkpoint.show(settings, destination, as_json=as_json))


@checkpoint_app.command("rewind")
def checkpoint_rewind(
    file: FileArgument,
    config: ConfigOption = None,
    to: Annotated[
        str,
        typer.Option(
            "--to", metavar="PLACE", help="beginning, a byte offset, or a time like 2026-11-23T08:00Z."
        ),
    ] = "beginning",
    destination: DestinationOption = None,
) -> None:
    """Read a file again from an earlier place. The daemon must be stopped."""
    settings = load_settings(config, needs_logs=False, needs_keys=False)
    from kong_ai_tracing import checkpoint

    finish(lambda: checkpoint.rewind(settings, destination, file, to))


@checkpoint_app.command("forget")
def checkpoint_forget(
    file: FileArgument, config: ConfigOption = None, destination: DestinationOption = None
) -> None:
    """Forget a file: if it is there, it is read as one that was never seen. The daemon must be stopped."""
    settings = load_settings(config, needs_logs=False, needs_keys=False)
    from kong_ai_tracing import checkpoint

    finish(lambda: checkpoint.forget(settings, destination, file))
