"""logrotate's configuration, as far as it matters for a log that is followed.

What comes in is a file with its `include`s, what goes out is a list of blocks, each with the directives that
hold for it. Files that logrotate passes over are told apart, since it only says so in the mail of a cron job.
"""

from __future__ import annotations

import shlex
import stat
from collections.abc import Iterator
from pathlib import Path, PurePath

from msgspec import Struct, field

_SCRIPTS = ("postrotate", "prerotate", "firstaction", "lastaction", "preremove")
_PASSED_OVER = (
    *(",v", ".bak", ".cfsaved", ".disabled", ".dpkg-bak", ".dpkg-del", ".dpkg-dist", ".dpkg-new"),
    *(".dpkg-old", ".dpkg-tmp", ".rhn-cfg-tmp-", ".rpmnew", ".rpmorig", ".rpmsave", ".swp", ".ucf-dist"),
    *(".ucf-new", ".ucf-old", "~"),
)
_MUST_NOT_BE_WRITABLE = stat.S_IWGRP | stat.S_IWOTH
_MAX_BYTES = 256 * 1024
_DEEPEST = 4


class Block(Struct):
    """One `PATTERNS { … }`."""

    file: Path
    patterns: list[str]
    options: dict[str, str] = field(default_factory=dict)
    """The last word on each directive; one that was taken back (`nocreate`) is not there."""
    own: set[str] = field(default_factory=set)
    """The directives that stand in the block itself."""
    scripts: str = ""

    def covers(self, path: Path) -> bool:
        return any(PurePath(path).match(pattern) for pattern in self.patterns)


def read_blocks(path: Path, options: dict[str, str] | None = None, depth: int = 0) -> Iterator[Block]:
    """The blocks of a file and of what it includes. What cannot be read has none."""
    options = {} if options is None else options
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            lines = iter(file.read(_MAX_BYTES).splitlines())
    except OSError:
        return
    patterns: list[str] = []
    for line in lines:
        words = _words(line)
        if not words:
            continue
        if words[0] == "include" and len(words) > 1 and depth < _DEEPEST:
            for included in _included(Path(words[1])):
                yield from read_blocks(included, options, depth + 1)
        elif "{" in line:
            block = Block(path, patterns + _words(line.partition("{")[0]), dict(options))
            _read_block(block, lines, line.partition("{")[2])
            patterns = []
            yield block
        elif words[0].startswith(("/", "~")):
            patterns += words
        elif words[0] in _SCRIPTS:
            _script(lines)
        else:
            _note(options, words)


def why_ignored(path: Path) -> str | None:
    """Why logrotate passes over a file; None when it takes it."""
    try:
        status = path.stat()
    except OSError:
        return None
    if status.st_uid != 0:
        return "it is not root's"
    if status.st_mode & _MUST_NOT_BE_WRITABLE:
        return "others than its owner may write it"
    return None


def _read_block(block: Block, lines: Iterator[str], rest: str) -> None:
    for line in (rest, *lines) if rest.strip() else lines:
        before, closed, _ = line.partition("}")
        words = _words(before)
        if words and words[0] in _SCRIPTS:
            block.scripts += _script(lines)
            continue
        if words:
            _note(block.options, words)
            block.own.add(words[0])
        if closed:
            return


def _script(lines: Iterator[str]) -> str:
    text = ""
    for line in lines:
        if line.strip() == "endscript":
            break
        text += line + "\n"
    return text


def _note(options: dict[str, str], words: list[str]) -> None:
    name = words[0].partition("=")[0]
    value = " ".join(words[1:]).removeprefix("=").strip() or words[0].partition("=")[2]
    taken_back = name.removeprefix("no")
    if taken_back != name and taken_back != "tifempty":
        options.pop(taken_back, None)
    else:
        options[name] = value


def _included(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    try:
        return sorted(
            each for each in path.iterdir() if each.is_file() and not each.name.endswith(_PASSED_OVER)
        )
    except OSError:
        return []


def _words(line: str) -> list[str]:
    if line.lstrip().startswith("#"):
        return []
    try:
        return shlex.split(line, comments=True)
    except ValueError:
        return line.split()
