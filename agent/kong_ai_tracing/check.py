"""`kong-ai-tracing check`: every known way in which traces fail to arrive, looked at one by one.

A new check is one function in `checks/` and one line in CHECKS. Checks look, they change nothing.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
import typer

from kong_ai_tracing.checks.findings import Check, Finding, Surroundings, counted
from kong_ai_tracing.checks.logaccess import check_log_access
from kong_ai_tracing.checks.logshape import check_log_shape
from kong_ai_tracing.checks.server import check_server
from kong_ai_tracing.checks.statedir import check_state_dir
from kong_ai_tracing.config import ConfigError, Problem, load

EXIT_FINE = 0
EXIT_PROBLEMS = 3
EXIT_LANGFUSE = 4
EXIT_BAD_CONFIGURATION = 78

_MARKS = {"ok": "ok     ", "warning": "WARNING", "error": "ERROR  "}


def check_configuration(here: Surroundings) -> Iterator[Finding]:
    """It was valid when it was loaded; is it also private when it holds a key?"""
    where = str(here.config_path) if here.config_path else "the environment and the defaults"
    yield Finding("config.valid", "ok", f"the configuration is valid ({where})")
    path = here.config_path
    if path is None or here.config.langfuse_secret_key is None:
        return
    if path.stat().st_mode & stat.S_IROTH and here.config.langfuse_secret_key.reveal() in path.read_text():
        yield Finding(
            "config.secret_readable",
            "warning",
            f"{path} holds the secret key and can be read by every user of this machine",
            "whoever has the key can write into the Langfuse project and read it",
            f"chmod o-r {path}",
        )


CHECKS: tuple[Check, ...] = (
    check_configuration,
    check_log_access,
    check_log_shape,
    check_state_dir,
    check_server,
)
"""In the order of the data: what is configured, what comes in, where it rests, where it goes."""


def run(path: Path | None, environ: Mapping[str, str], *, offline: bool, as_json: bool) -> int:
    """Look at everything, print the findings, give the exit code."""
    try:
        loaded = load(path, environ)
    except ConfigError as error:
        _print([_of_problem(problem) for problem in error.problems], as_json)
        return EXIT_BAD_CONFIGURATION
    findings = find(Surroundings(loaded.config, environ, loaded.path, offline))
    _print(findings, as_json)
    return exit_code(findings)


def find(here: Surroundings) -> list[Finding]:
    """All findings, in the order of CHECKS."""
    return [finding for check in CHECKS for finding in check(here)]


def exit_code(findings: Sequence[Finding]) -> int:
    """4 when only Langfuse is in the way, 3 for other errors; warnings alone are no failure."""
    errors = [finding for finding in findings if finding.severity == "error"]
    if not errors:
        return EXIT_FINE
    only_langfuse = all(finding.id.startswith("langfuse.") for finding in errors)
    return EXIT_LANGFUSE if only_langfuse else EXIT_PROBLEMS


def as_text(findings: Sequence[Finding]) -> str:
    """One line for each finding, with reason and fix below it, and a closing count."""
    lines: list[str] = []
    for finding in findings:
        lines.append(f"{_MARKS[finding.severity]}  {finding.what}")
        lines += [
            f"         {word}: {text}" for word, text in (("why", finding.why), ("fix", finding.fix)) if text
        ]
    errors = sum(finding.severity == "error" for finding in findings)
    warnings = sum(finding.severity == "warning" for finding in findings)
    lines.append(f"{counted(errors, 'error')}, {counted(warnings, 'warning')}")
    return "\n".join(lines)


def _print(findings: Sequence[Finding], as_json: bool) -> None:
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode({"findings": findings})))
    else:
        typer.echo(as_text(findings))


def _of_problem(problem: Problem) -> Finding:
    what = f"{problem.key} = {problem.value}" if problem.value else f"{problem.key} is not set"
    return Finding("config.invalid", "error", what, problem.reason, problem.fix)
