"""`kong-ai-tracing check`: every known way in which traces fail to arrive, looked at one by one.

A new check is one function in `checks/` and one line in CHECKS. Checks look, they change nothing.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import typer

from kong_ai_tracing.checks.configuration import check_configuration, check_user
from kong_ai_tracing.checks.findings import Check, Finding, Surroundings
from kong_ai_tracing.checks.logaccess import check_kongs_access, check_log_access
from kong_ai_tracing.checks.logshape import check_log_shape
from kong_ai_tracing.checks.nextstep import next_step
from kong_ai_tracing.checks.operation import check_daemon, check_descriptors, check_file_events
from kong_ai_tracing.checks.processes import daemon_of
from kong_ai_tracing.checks.rotation import check_rotation
from kong_ai_tracing.checks.server import check_server
from kong_ai_tracing.checks.statedir import check_state_dir
from kong_ai_tracing.checks.units import as_the_service_has_it
from kong_ai_tracing.checks.viewers import daemons_user
from kong_ai_tracing.checks.writers import check_writers
from kong_ai_tracing.commands import program
from kong_ai_tracing.config import ConfigError, Problem, load
from kong_ai_tracing.excerpts import visible_lines
from kong_ai_tracing.quantities import counted

EXIT_FINE = 0
EXIT_PROBLEMS = 3
EXIT_LANGFUSE = 4
EXIT_BAD_CONFIGURATION = 78

_MARKS = {"ok": "ok     ", "warning": "WARNING", "error": "ERROR  "}

CHECKS: tuple[Check, ...] = (
    check_configuration,
    check_log_access,
    check_kongs_access,
    check_log_shape,
    check_rotation,
    check_writers,
    check_state_dir,
    check_daemon,
    check_descriptors,
    check_file_events,
    check_server,
)
"""In the order of the data: what is configured, what comes in, where it rests, where it goes."""


def run(path: Path | None, environ: Mapping[str, str], *, offline: bool, as_json: bool) -> int:
    """Look at everything, print the findings, give the exit code."""
    environ = as_the_service_has_it(path, environ)
    try:
        loaded = load(path, environ)
    except ConfigError as error:
        closing = "" if error.path else _first_step()
        _print([_of_problem(problem) for problem in error.problems], as_json, closing)
        return EXIT_BAD_CONFIGURATION
    here = Surroundings(loaded.config, environ, loaded.path, offline)
    here = msgspec.structs.replace(
        here, viewer=daemons_user(daemon_of(loaded.config.state_dir, here.proc), here.proc, here.etc)
    )
    findings = find(here)
    _print(findings, as_json, "" if as_json else next_step(here, findings))
    return exit_code(findings)


def _first_step() -> str:
    return (
        f"next: {program()} config init --config config.toml, which writes every setting with its default;"
        " then check with --config config.toml"
    )


def find(here: Surroundings) -> list[Finding]:
    """All findings, in the order of CHECKS; only what makes the others worthless, when there is any."""
    if in_vain := list(check_user(here)):
        return in_vain
    return [finding for check in CHECKS for finding in check(here)]


def exit_code(findings: Sequence[Finding]) -> int:
    """4 when only Langfuse is in the way, 3 for other errors; warnings alone are no failure."""
    errors = [finding for finding in findings if finding.severity == "error"]
    if not errors:
        return EXIT_FINE
    only_langfuse = all(finding.id.startswith("langfuse.") for finding in errors)
    return EXIT_LANGFUSE if only_langfuse else EXIT_PROBLEMS


def as_text(findings: Sequence[Finding], closing: str = "") -> str:
    """One line for each finding, with reason, fix and command below it, and a closing count."""
    lines: list[str] = []
    for finding in findings:
        lines.append(f"{_MARKS[finding.severity]}  {finding.what}")
        lines += [f"         {word}: {text}" for word, text in _more_of(finding) if text]
    errors = sum(finding.severity == "error" for finding in findings)
    warnings = sum(finding.severity == "warning" for finding in findings)
    told = f"{counted(errors, 'error')}, {counted(warnings, 'warning')}"
    if os.geteuid() != 0 and any(finding.command for finding in findings if finding.severity != "ok"):
        told += "; commands that change the system are for root"
    lines.append(told)
    if closing:
        lines.append(closing)
    return "\n".join(lines)


def _more_of(finding: Finding) -> list[tuple[str, str]]:
    if finding.severity == "ok":
        return [("to change it", finding.fix)]
    return [("why", finding.why), ("fix", finding.fix), ("run", finding.command)]


def _print(findings: Sequence[Finding], as_json: bool, closing: str = "") -> None:
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode({"findings": findings})))
    else:
        typer.echo(visible_lines(as_text(findings, closing)))


def _of_problem(problem: Problem) -> Finding:
    what = f"{problem.key} = {problem.value}" if problem.value else f"{problem.key} is not set"
    return Finding("config.invalid", "error", what, problem.reason, problem.fix)
