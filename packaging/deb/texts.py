"""Write down what the program says of itself: manual pages, shell completions, the configuration file.

PYTHONPATH=MODULES texts.py FOLDER
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typer.completion import get_completion_script
from typer.main import get_command

from kong_ai_tracing import __version__
from kong_ai_tracing.cli import app
from kong_ai_tracing.config.template import template

NAME = "kong-ai-tracing"
SUMMARY = "follow Kong's AI traffic in its own log and deliver it to Langfuse"
HELP_PROGRAM = f"""#!/usr/bin/python3 -sS
from kong_ai_tracing.cli import app
app.info.context_settings["max_content_width"] = 10_000  # man breaks the lines
app(prog_name="{NAME}")
"""
SEE_PROGRAM = f"[SEE ALSO]\n.BR {NAME} (8)\n"
NOTES = """[FILES]
.TP
.I /etc/kong-ai-tracing/config.toml
The configuration. Every key in it is explained there.
.TP
.I /etc/kong-ai-tracing/secrets/
Keys, one in each file, for root alone. The service gets them as credentials when it starts:
.I langfuse_secret_key
and
.IR langfuse_public_key .
.TP
.I /var/lib/kong-ai-tracing/
Positions, the outbox and the local store.

[ENVIRONMENT]
.TP
.B KONG_AI_TRACING_CONFIG
Another configuration file.
.TP
.BR KONG_AI_TRACING_ ...
Every key of the configuration, in capitals.
.TP
.BR LANGFUSE_PUBLIC_KEY ", " LANGFUSE_SECRET_KEY ", " LANGFUSE_HOST ", " LANGFUSE_BASE_URL
As Langfuse's own libraries understand them.

[SEE ALSO]
"""


def main(folder: Path) -> None:
    """Fill the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.toml").write_text(template())
    variable = f"_{NAME.upper().replace('-', '_')}_COMPLETE"
    for shell in ("bash", "zsh", "fish"):
        script = get_completion_script(prog_name=NAME, complete_var=variable, shell=shell)
        (folder / f"completion.{shell}").write_text(f"{script}\n")
    write_manuals(folder)


def write_manuals(folder: Path) -> None:
    """A page for the program and one for each of its commands."""
    program = folder / NAME
    program.write_text(HELP_PROGRAM)
    program.chmod(0o755)
    pages = []
    for path, summary in commands(get_command(app)):
        page = "-".join([NAME, *path])
        pages.append(f".BR {page} (8)")
        text = manual(program, path, summary, SEE_PROGRAM)
        (folder / f"{page}.8").write_text(titled(text, " ".join([NAME, *path]), page))
    notes = NOTES + ",\n".join(pages) + "\n"
    (folder / f"{NAME}.8").write_text(manual(program, (), SUMMARY, notes))


def titled(text: str, command: str, page: str) -> str:
    """The page under a name without spaces, by which man and whatis find it."""
    head, start, rest = text.partition(".SH SYNOPSIS")
    head = re.sub(r'^\.TH .*? "8"', f'.TH {page.upper()} "8"', head, flags=re.MULTILINE)
    return head.replace(f"{command} \\-", f"{page} \\-") + start + rest


def commands(group: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Each command with its summary; those below others, too."""
    for name, command in group.commands.items():
        path = (*above, name)
        yield path, " ".join(command.get_short_help_str(200).split()).rstrip(".")
        if hasattr(command, "commands"):
            yield from commands(command, path)


def manual(program: Path, command: tuple[str, ...], summary: str, notes: str) -> str:
    """One page, by help2man, from what the command answers to --help."""
    include = program.with_name("notes.h2m")
    include.write_text(notes)
    page = subprocess.run(  # noqa: S603 - what the build itself put together
        [  # noqa: S607 - a build tool, found as all of them are
            "help2man",
            "--no-info",
            "--section=8",
            "--manual=System administration",
            f"--version-string={__version__}",
            f"--name={summary}",
            f"--include={include}",
            " ".join([str(program), *command]),
        ],
        env={**os.environ, "COLUMNS": "10000", "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    return page.stdout


main(Path(sys.argv[1]).resolve())
