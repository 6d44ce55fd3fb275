"""The command line: arguments in, one call, an exit code out. Each command imports only what it needs."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias, TypeVar

import typer

from kong_ai_tracing import __version__

if TYPE_CHECKING:
    from kong_ai_tracing.config import Config

_T = TypeVar("_T")

EXIT_FAILED = 1
EXIT_BAD_CONFIGURATION = 78

app = typer.Typer(
    help="Every AI call that goes through Kong Gateway, in Langfuse: read from Kong's own log.",
    epilog="Exit codes: 0 fine, 1 failed, 2 usage, 3 problems found, 4 Langfuse unreachable or denied,"
    " 78 bad configuration.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
config_app = typer.Typer(help="Look at the configuration, or write a new one.", no_args_is_help=True)
app.add_typer(config_app, name="config")

ConfigOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        metavar="PATH",
        help="Configuration file. Without it: $KONG_AI_TRACING_CONFIG, else"
        " /etc/kong-ai-tracing/config.toml if there is one.",
        show_default=False,
    ),
]
JsonOption: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
DryRunOption: TypeAlias = Annotated[
    bool, typer.Option("--dry-run", help="Read everything, send nothing, move nothing.")
]


class PreviewFormat(StrEnum):
    """How traces are printed."""

    tree = "tree"
    json = "json"
    otlp = "otlp"


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"kong-ai-tracing {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


@app.command()
def run(
    config: ConfigOption = None,
    once: Annotated[
        bool, typer.Option("--once", help="Read to the end of all files, deliver everything, exit.")
    ] = False,
    dry_run: DryRunOption = False,
) -> None:
    """Tail Kong's log and deliver its traces. Stays in the foreground until SIGTERM or Ctrl-C."""
    settings = _load(config)
    from kong_ai_tracing import daemon

    _set_up_logging(settings)
    _finish(lambda: daemon.run(settings, reload=lambda: _read(config), once=once, dry_run=dry_run))


@app.command()
def backfill(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="PATH...", exists=True, dir_okay=False, help="Log files, plain or .gz, in any order."
        ),
    ],
    config: ConfigOption = None,
    dry_run: DryRunOption = False,
) -> None:
    """Deliver log files that already exist. Started again, it resumes where it stopped."""
    settings = _load(config, needs_logs=False)
    from kong_ai_tracing import backfill

    _set_up_logging(settings)
    _finish(lambda: backfill.run(settings, paths, dry_run=dry_run))


@app.command()
def preview(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="PATH", exists=True, allow_dash=True, help="A log file, plain or .gz; - for stdin."
        ),
    ],
    format: Annotated[  # noqa: A002 - the option's name
        PreviewFormat,
        typer.Option("--format", "-f", help="tree for people; json and otlp, one trace per line."),
    ] = PreviewFormat.tree,
    follow: Annotated[bool, typer.Option("--follow", help="Go on while the file grows.")] = False,
    limit: Annotated[
        int | None,
        typer.Option("--limit", "-n", min=1, metavar="N", help="Stop after N traces.", show_default=False),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Say which field of the log gave each value.")
    ] = False,
    redacted: Annotated[
        bool, typer.Option("--redacted", help="Show what would leave, and sum up what was taken out.")
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Show the traces of a log file, offline. Nothing is sent, nothing is stored."""
    settings = _load_for_offline_use(config)
    from kong_ai_tracing import preview

    _finish(
        lambda: preview.run(
            settings,
            path,
            format=format.value,
            limit=limit,
            explain=explain,
            follow=follow,
            redacted=redacted,
        )
    )


@app.command()
def check(
    config: ConfigOption = None,
    offline: Annotated[bool, typer.Option("--offline", help="Do not talk to Langfuse.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Find what keeps traces from arriving. Each finding comes with its fix."""
    from kong_ai_tracing import check

    _finish(lambda: check.run(config, os.environ, offline=offline, as_json=as_json))


@app.command()
def status(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show how far reading and delivery are. Works while the daemon is stopped, too."""
    settings = _load(config, needs_logs=False, needs_keys=False)
    from kong_ai_tracing import status

    def show() -> int:
        report = status.look(settings)
        if as_json:
            typer.echo(status.as_json(report))
        else:
            from kong_ai_tracing.statustext import print_report

            print_report(report)
        return status.EXIT_CODES[report.state]

    _finish(show)


@app.command()
def demo() -> None:
    """Tail a made-up log and show its traces. Needs no account and no network, and ends by itself."""
    from kong_ai_tracing import demo

    _finish(demo.run)


@config_app.command("show")
def config_show(config: ConfigOption = None) -> None:
    """Print the configuration in force. Each value comes with its source; keys are masked."""
    from kong_ai_tracing.config import load
    from kong_ai_tracing.config.template import effective

    loaded = _or_exit(lambda: load(config, os.environ, needs_logs=False, needs_keys=False))
    typer.echo(f"# {loaded.path}" if loaded.path else "# no configuration file")
    typer.echo(effective(loaded.config, loaded.sources), nl=False)


@config_app.command("init")
def config_init(
    config: Annotated[
        Path,
        typer.Option(
            "--config", "-c", metavar="PATH", allow_dash=True, help="The file to write; - prints it."
        ),
    ] = Path("/etc/kong-ai-tracing/config.toml"),
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
        _say(f"{config} is already there; nothing was changed. --force replaces it")
        raise typer.Exit(EXIT_FAILED) from None
    except OSError as error:
        _say(f"{config} cannot be written: {error.strerror}")
        raise typer.Exit(EXIT_FAILED) from None
    _say(f"wrote {config}; put the path of Kong's log into it, then run kong-ai-tracing check -c {config}")


def main() -> None:
    """The entry point of the program."""
    try:
        app(prog_name="kong-ai-tracing")
    finally:
        # What a closed pipe (`| head`) did not take must not become a traceback at exit.
        try:
            sys.stdout.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _load(path: Path | None, *, needs_logs: bool = True, needs_keys: bool = True) -> Config:
    return _or_exit(lambda: _read(path, needs_logs=needs_logs, needs_keys=needs_keys))


def _read(path: Path | None, *, needs_logs: bool = True, needs_keys: bool = True) -> Config:
    from kong_ai_tracing.config import load_config

    return load_config(path, os.environ, needs_logs=needs_logs, needs_keys=needs_keys)


def _load_for_offline_use(path: Path | None) -> Config:
    """For commands that work without a configuration: the system's is used when this user may read it."""
    from kong_ai_tracing.config import find_config_file, load_config

    found = path or find_config_file(os.environ)
    if path is None and found is not None and not os.access(found, os.R_OK):
        _say(f"note: {found} cannot be read by this user; the defaults are used")
        environ = {**os.environ, "KONG_AI_TRACING_CONFIG": os.devnull}
        return _or_exit(lambda: load_config(None, environ, needs_logs=False, needs_keys=False))
    return _load(path, needs_logs=False, needs_keys=False)


def _or_exit(act: Callable[[], _T]) -> _T:
    from kong_ai_tracing.config import ConfigError

    try:
        return act()
    except ConfigError as error:
        _say(str(error))
        raise typer.Exit(EXIT_BAD_CONFIGURATION) from None


def _finish(act: Callable[[], int]) -> None:
    """End with the exit code of `act`; what an operator can repair is a sentence, not a traceback."""
    from kong_ai_tracing.errors import OperatorError

    try:
        code = act()
    except OperatorError as error:
        _say(str(error))
        code = EXIT_FAILED
    raise typer.Exit(code)


def _set_up_logging(settings: Config) -> None:
    from kong_ai_tracing.logs import set_up_logging

    set_up_logging(settings.log_level, settings.secrets, os.environ)


def _say(text: str) -> None:
    typer.echo(f"kong-ai-tracing: {text}", err=True)
