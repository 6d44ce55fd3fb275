"""What `run`, `backfill` and `verify` can be told: which calls, how fast, by whom."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer

DryRunOption: TypeAlias = Annotated[
    bool, typer.Option("--dry-run", help="Read everything, send nothing, move nothing.")
]

SinceOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--since",
        metavar="TIME",
        help="Calls that began at 2026-11-23T08:00:00Z, 2026-11-23, 2h or 3d ago, or later.",
        show_default=False,
    ),
]
UntilOption: TypeAlias = Annotated[
    str | None,
    typer.Option("--until", metavar="TIME", help="Calls that began before that.", show_default=False),
]
ServiceOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--service",
        metavar="PATTERN",
        help="Calls through this Kong service (hr-*); can be repeated.",
        show_default=False,
    ),
]
RouteOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--route", metavar="PATTERN", help="Calls through this Kong route.", show_default=False),
]
ModelOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--model", metavar="PATTERN", help="Calls that this model answered.", show_default=False),
]
RateOption: TypeAlias = Annotated[
    float | None,
    typer.Option(
        "--rate",
        min=0.1,
        metavar="CALLS_PER_SECOND",
        help="Send no faster than that, for whoever else uses Langfuse.",
        show_default=False,
    ),
]


JobsOption: TypeAlias = Annotated[
    int,
    typer.Option("--jobs", "-j", min=1, max=64, metavar="N", help="Read lines in so many processes."),
]
AgainOption: TypeAlias = Annotated[
    bool, typer.Option("--again", help="Also what was delivered before, under the same ids.")
]
DaskOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--dask",
        metavar="ADDRESS",
        help="Let the Dask cluster with this scheduler read; this host delivers.",
        show_default=False,
    ),
]
