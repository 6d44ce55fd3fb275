"""The command line: arguments in, one call, an exit code out. Each command imports only what it needs."""

from __future__ import annotations

import errno
import os
import stat
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from kong_ai_tracing import __version__
from kong_ai_tracing.commandline import (
    ConfigOption,
    JsonOption,
    finish,
    load_for_offline_use,
    load_settings,
    read_settings,
    set_up_logging,
)
from kong_ai_tracing.configcommands import config_app
from kong_ai_tracing.deliveryoptions import (
    AgainOption,
    DaskOption,
    DryRunOption,
    JobsOption,
    ModelOption,
    RateOption,
    RouteOption,
    ServiceOption,
    SinceOption,
    UntilOption,
)
from kong_ai_tracing.kongcommand import kong_config
from kong_ai_tracing.statecommands import checkpoint_app, refused_app

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
app.add_typer(refused_app, name="refused")
app.add_typer(checkpoint_app, name="checkpoint")
app.add_typer(config_app, name="config")


class PreviewFormat(StrEnum):
    """How traces are printed."""

    tree = "tree"
    json = "json"
    otlp = "otlp"


def _look_at(path: Path) -> Path:
    """Not by typer's own `exists`: it takes a file that may not be read for one that is not there."""
    if str(path) != "-":
        # Not opened: what is a pipe has one reader.
        try:
            trouble = os.strerror(errno.EISDIR) if stat.S_ISDIR(path.stat().st_mode) else ""
        except OSError as error:
            trouble = error.strerror or str(error)
        if not trouble and not os.access(path, os.R_OK, effective_ids=True):
            trouble = os.strerror(errno.EACCES)
        if trouble:
            raise typer.BadParameter(f"{path} cannot be read: {trouble}")
    return path


def _look_at_each(paths: list[Path] | None) -> list[Path] | None:
    return paths and [_look_at(path) for path in paths]


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
    settings = load_settings(config, needs_keys=not dry_run)
    from kong_ai_tracing import daemon

    set_up_logging(settings)
    finish(lambda: daemon.run(settings, reload=lambda: read_settings(config), once=once, dry_run=dry_run))


@app.command()
def backfill(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH...",
            help="Log files, plain or compressed, in any order; patterns, directories, URLs; - for stdin.",
        ),
    ],
    since: SinceOption = None,
    until: UntilOption = None,
    service: ServiceOption = None,
    route: RouteOption = None,
    model: ModelOption = None,
    rate: RateOption = None,
    jobs: JobsOption = 1,
    again: AgainOption = False,
    dask: DaskOption = None,
    config: ConfigOption = None,
    dry_run: DryRunOption = False,
) -> None:
    """Deliver log files that already exist. Started again, it resumes where it stopped."""
    settings = load_settings(config, needs_logs=False, needs_keys=not dry_run)
    from kong_ai_tracing import backfill
    from kong_ai_tracing.selection import selection_of

    def deliver() -> int:
        selection = selection_of(
            since=since, until=until, services=service or (), routes=route or (), models=model or ()
        )
        options = backfill.Options(
            selection=selection, calls_per_second=rate, jobs=jobs, dry_run=dry_run, again=again, dask=dask
        )
        return backfill.run(settings, paths, options)

    set_up_logging(settings)
    finish(deliver)


@app.command()
def verify(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH...",
            help="Log files, plain or compressed, in any order; patterns, directories; - for stdin.",
        ),
    ],
    since: SinceOption = None,
    until: UntilOption = None,
    service: ServiceOption = None,
    route: RouteOption = None,
    model: ModelOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Say by the hour which calls in log files were accepted. Exits with 3 when some are missing."""
    settings = load_settings(config, needs_logs=False, needs_keys=False)
    from kong_ai_tracing import verify
    from kong_ai_tracing.selection import selection_of

    def look() -> int:
        selection = selection_of(
            since=since, until=until, services=service or (), routes=route or (), models=model or ()
        )
        return verify.run(settings, paths, selection, as_json=as_json)

    finish(look)


@app.command()
def preview(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="PATH",
            allow_dash=True,
            callback=_look_at,
            help="A log file, plain or .gz; - for stdin.",
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
    settings = load_for_offline_use(config)
    from kong_ai_tracing import preview

    finish(
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
def view(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="PATH...",
            callback=_look_at_each,
            help="Log files, plain or compressed. Without them: the local store.",
            show_default=False,
        ),
    ] = None,
    listen: Annotated[
        str, typer.Option("--listen", metavar="ADDRESS:PORT", help="Where to serve; port 0 is any free one.")
    ] = "127.0.0.1:0",
    open_browser: Annotated[bool, typer.Option("--open", help="Open the link in this browser.")] = False,
    config: ConfigOption = None,
) -> None:
    """Show traces in a browser: of the local store, or of log files. Works offline."""
    settings = load_for_offline_use(config)
    from kong_ai_tracing import view

    finish(lambda: view.run(settings, paths or [], listen=listen, open_browser=open_browser))


@app.command()
def check(
    config: ConfigOption = None,
    offline: Annotated[bool, typer.Option("--offline", help="Do not talk to Langfuse.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Find what keeps traces from arriving. Each finding comes with its fix."""
    from kong_ai_tracing import check

    finish(lambda: check.run(config, os.environ, offline=offline, as_json=as_json))


@app.command()
def status(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show how far reading and delivery are. Works while the daemon is stopped, too."""
    settings = load_settings(config, needs_logs=False, needs_keys=False)
    from kong_ai_tracing import status, statusreport

    def show() -> int:
        report = status.look(settings)
        if as_json:
            typer.echo(statusreport.as_json(report))
        else:
            from kong_ai_tracing.statustext import print_report

            print_report(report)
        return statusreport.EXIT_CODES[report.state]

    finish(show)


@app.command()
def top(
    config: ConfigOption = None,
    interval: Annotated[
        float, typer.Option("--interval", min=0.2, metavar="SECONDS", help="How often to look.")
    ] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Print one screen and exit.")] = False,
) -> None:
    """Watch lag, rates, destinations and the newest traces live. q or Ctrl-C ends it."""
    settings = load_settings(config, needs_logs=False, needs_keys=False)
    from kong_ai_tracing import top

    finish(lambda: top.run(settings, interval_seconds=interval, once=once))


@app.command()
def demo(
    in_browser: Annotated[
        bool, typer.Option("--view", help="Then show them in a browser, until Ctrl-C.")
    ] = False,
) -> None:
    """Tail a made-up log and show its traces. Needs no account and no network, and ends by itself."""
    from kong_ai_tracing import demo

    finish(lambda: demo.run(view=in_browser))


app.command()(kong_config)


def main() -> None:
    """The entry point of the program."""
    if "_KONG_AI_TRACING_COMPLETE" in os.environ:  # a shell asks what could be typed next
        from typer._completion_classes import completion_init

        completion_init()
    try:
        app(prog_name="kong-ai-tracing")
    finally:
        # What a closed pipe (`| head`) did not take must not become a traceback at exit.
        try:
            sys.stdout.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
