"""Patterns in, names of files worth a look out.

A pattern stands for the files it matches and for what rotation makes of them in the same directory
(`ai.log.1`, `ai.log-20260101`). A listing only proposes: which file a name leads to is decided when it is
open. A directory that cannot be listed says nothing about the files in it.
"""

from __future__ import annotations

import fnmatch
import glob
import os
import re
from collections.abc import Container, Iterable, Sequence
from pathlib import Path
from typing import Literal

from msgspec import Struct, field

from kong_ai_tracing.archivefiles import COMPRESSED_SUFFIXES
from kong_ai_tracing.commands import command
from kong_ai_tracing.notices import Notices

_UNREADABLE_SUFFIXES = (".lz4", ".zip", ".lzma", ".Z", ".br")
_ROTATION_INFIX = r"(\.\d{1,4}|[.-]\d{4}[._-]?\d{2}[\d._-]*)"
"""logrotate's `extension`: the number or date stands before it (`ai.1.log`, `ai-20260101.log`)."""
_INFIX_BEFORE_EXTENSION = re.compile(_ROTATION_INFIX + r"(?=\.[A-Za-z]+$)")
_ROTATION_SUFFIX = re.compile(r"([.-]\d[\d._-]*|\.old|\.bak)+$")


Kind = Literal["live", "sibling", "known"]
"""`live`: matches a pattern. `sibling`: rotated from one that does. `known`: at most its number is known."""
_KINDS: tuple[Kind, ...] = ("live", "sibling", "known")


class Candidate(Struct, frozen=True):
    """A name in a directory."""

    path: str
    number: int
    """The inode number in the directory entry: a hint that saves opening a file which is open already."""
    kind: Kind
    first_look: bool
    """Nothing in this directory was known for this pattern before."""
    compressed: bool


def family_of(path: str) -> str:
    """The name shared by the generations of one log; decides only who is read first."""
    return _ROTATION_SUFFIX.sub("", _INFIX_BEFORE_EXTENSION.sub("", _uncompressed(path)))


def _uncompressed(name: str) -> str:
    """What the file was called before it was compressed."""
    return name.rpartition(".")[0] if name.endswith(COMPRESSED_SUFFIXES) else name


class Look(Struct, frozen=True):
    """A pattern has been looked for in a directory: what is found there later is new, and no history."""

    pattern: str
    directory: str


class Listing(Struct):
    candidates: dict[str, Candidate] = field(default_factory=dict)
    """By path, in no particular order."""
    directories: set[str] = field(default_factory=set)
    """Those that could be listed."""
    matched: set[str] = field(default_factory=set)
    """The patterns for which there is at least one file now."""


class _NamePattern:
    """The part of a pattern that names files in one directory."""

    def __init__(self, text: str, name: str) -> None:
        self.text = text
        name = name if glob.has_magic(name) else glob.escape(name)
        self._hidden = name.startswith(".")
        self._live = re.compile(fnmatch.translate(name))
        self._sibling = re.compile(fnmatch.translate(name + "[.-]?*"))
        stem, dot, extension = name.rpartition(".")
        begins, ends = re.sub(r"\\[zZ]$", "", fnmatch.translate(stem)), fnmatch.translate(dot + extension)
        self._infixed = re.compile(begins + _ROTATION_INFIX + ends)

    def kind(self, name: str) -> Kind:
        if name.startswith(".") and not self._hidden:
            return "known"
        plain = _uncompressed(name)
        if self._live.match(plain):
            # Nobody writes to a compressed file any more, whatever the pattern says.
            return "live" if plain == name else "sibling"
        return "sibling" if self._sibling.match(plain) or self._infixed.match(plain) else "known"


class Patterns:
    """Lists the names that a set of glob patterns stands for."""

    def __init__(
        self,
        patterns: Sequence[str],
        notices: Notices,
        *,
        exclude: Iterable[str | os.PathLike[str]] = (),
        known_paths: Iterable[str] = (),
        looks: Iterable[Look] = (),
        knows_all: bool = True,
    ) -> None:
        """`looks`: those of earlier runs. `knows_all`: nothing was forgotten, so that a directory without a
        look and without known paths is seen for the first time."""
        self._knows_all = knows_all
        self._patterns = [_split(pattern) for pattern in dict.fromkeys(patterns)]
        self._notices = notices
        self._excluded = [os.path.realpath(path) for path in exclude]
        self._known_names: dict[str, list[str]] = {}
        for path in known_paths:
            directory, name = os.path.split(path)
            self._known_names.setdefault(directory, []).append(name)
        self._looks = set(looks)
        self._new_looks: list[Look] = []
        self._by_directory = self._expand()

    def directories(self) -> set[str]:
        """The directories that are listed, whether they exist now or not."""
        return set(self._expand())

    def covers(self, path: str) -> bool:
        """Is a file with this path asked for, as a live or as a rotated file?"""
        directory, name = os.path.split(path)
        return any(pattern.kind(name) != "known" for pattern in self._by_directory.get(directory, ()))

    def look(self, numbers: Container[int], *, compressed: bool = False) -> Listing:
        """All names worth a look; `numbers` are inode numbers that are worth one under any name.

        So are all compressed files when `compressed` is set: one of them may hold what is looked for.
        """
        listing = Listing()
        self._by_directory = self._expand()
        links: dict[str, list[_NamePattern]] = {}
        for directory, patterns in self._by_directory.items():
            for target in self._list_directory(directory, patterns, numbers, listing, compressed):
                links.setdefault(str(target.parent), []).append(_NamePattern(str(target), target.name))
        # A link stands for its target and for what rotation makes of the target.
        for directory, patterns in links.items():
            self._list_directory(directory, patterns, numbers, listing, compressed)
        self._tell_unmatched(listing)
        return listing

    def take_looks(self) -> list[Look]:
        """The first looks since the last call, to be stored with what they found."""
        looks, self._new_looks = self._new_looks, []
        return looks

    def _expand(self) -> dict[str, list[_NamePattern]]:
        """The patterns of names by the directory they apply to."""
        by_directory: dict[str, list[_NamePattern]] = {}
        for parent, pattern in self._patterns:
            for directory in _expand(parent):
                by_directory.setdefault(directory, []).append(pattern)
        return by_directory

    def _list_directory(
        self,
        directory: str,
        patterns: list[_NamePattern],
        numbers: Container[int],
        listing: Listing,
        all_compressed: bool,
    ) -> list[Path]:
        """Add one directory to the listing; gives the targets of the symbolic links in it."""
        try:
            with os.scandir(directory) as scan:
                entries = list(scan)
        except OSError as error:
            self._notices.tell_once("directory", directory, _directory_problem(error))
            if isinstance(error, FileNotFoundError):
                for pattern in patterns:
                    self._is_first_look(pattern, directory)  # There is nothing: what comes is new.
            return []
        self._notices.over("directory", directory)
        listing.directories.add(directory)
        first_look = {pattern.text: self._is_first_look(pattern, directory) for pattern in patterns}
        excluded = self._exclusions(directory)
        targets: list[Path] = []
        for entry in entries:
            kind, matching = _best_match(entry.name, patterns)
            compressed = entry.name.endswith(COMPRESSED_SUFFIXES)
            if kind == "known" and not (compressed and all_compressed) and entry.inode() not in numbers:
                continue
            if excluded and excluded.match(entry.name):
                continue
            if not _is_text(entry.path):
                self._notices.tell_once(
                    "name", ascii(entry.path), "the name is not UTF-8; the file is ignored. Rename it"
                )
                continue
            if entry.name.endswith(_UNREADABLE_SUFFIXES):
                self._tell_unreadable_form(entry.path, all(first_look[one.text] for one in matching))
                continue
            if kind == "live":
                listing.matched.update(pattern.text for pattern in matching)
            if not entry.is_file(follow_symlinks=False):
                targets += self._target(entry) if kind == "live" else []
            else:
                known = listing.candidates.get(entry.path)
                if known is None or known.kind != "live":
                    first = all(first_look[pattern.text] for pattern in matching)
                    listing.candidates[entry.path] = Candidate(
                        entry.path, entry.inode(), kind, first, compressed
                    )
        return targets

    def _is_first_look(self, pattern: _NamePattern, directory: str) -> bool:
        look = Look(pattern.text, directory)
        if look in self._looks:
            return False
        self._looks.add(look)
        if _is_text(directory):
            self._new_looks.append(look)
        names = self._known_names.get(directory, ())
        return self._knows_all and all(pattern.kind(name) == "known" for name in names)

    def _exclusions(self, directory: str) -> re.Pattern[str] | None:
        """What matches the names in `directory` that are ours: excluded files, and their rotated siblings."""
        real = os.path.realpath(directory)
        expressions = []
        for path in self._excluded:
            if real == path or real.startswith(path + os.sep):
                return re.compile("")
            parent, name = os.path.split(path)
            if parent == real:
                expressions.append(re.escape(name) + r"([.-].*)?\Z")
        return re.compile("|".join(expressions)) if expressions else None

    def _target(self, entry: os.DirEntry[str]) -> list[Path]:
        """Where a matching link leads; the operator hears of what matches but is no file."""
        try:
            target = Path(os.path.realpath(entry.path)) if entry.is_symlink() else None
            if target is not None and target.is_file():
                self._notices.over("not_a_file", entry.path)
                return [target]
        except OSError:
            pass
        self._notices.tell_once(
            "not_a_file",
            entry.path,
            "matches log_paths but is not, or does not lead to, a regular file; it is ignored. "
            "Narrow the pattern or mend the link",
        )
        return []

    def _tell_unreadable_form(self, path: str, is_history: bool) -> None:
        if is_history:
            self._notices.know("form", path)
            return
        self._notices.tell_once(
            "form",
            path,
            "is compressed in a form that is not read; lines that were unread when it was made are lost to "
            "this program. Compress with gzip, zstd, xz or bzip2, or later (delaycompress)",
        )

    def _tell_unmatched(self, listing: Listing) -> None:
        for parent, pattern in self._patterns:
            if pattern.text in listing.matched:
                self._notices.over("no_log", pattern.text)
            elif listing.directories.issuperset(_expand(parent)):
                self._notices.tell_once(
                    "no_log",
                    pattern.text,
                    "no file matches yet; it is read as soon as there is one. If Kong has had AI traffic "
                    "already, compare log_paths with the path in Kong's file-log plugin",
                )


def _is_text(name: str) -> bool:
    """Can the name be written down?"""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _split(pattern: str) -> tuple[str, _NamePattern]:
    directory, name = os.path.split(Path(pattern).absolute())
    return directory, _NamePattern(pattern, name)


def _expand(directory: str) -> list[str]:
    if not glob.has_magic(directory):
        return [directory]
    return sorted(str(path) for path in Path("/").glob(directory[1:]) if not path.is_file())


def _best_match(name: str, patterns: list[_NamePattern]) -> tuple[Kind, list[_NamePattern]]:
    """The best of what a name is to these patterns, and to which of them it is that."""
    kinds = [pattern.kind(name) for pattern in patterns]
    best = min(kinds, key=_KINDS.index)
    return best, [pattern for pattern, kind in zip(patterns, kinds, strict=True) if kind == best]


def _directory_problem(error: OSError) -> str:
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return "the directory does not exist (yet); it is looked for again. Check log_paths"
    return (
        f"the directory cannot be listed ({error.strerror}); what is open is read on, new files are not seen."
        f" Give the daemon's user read and execute permission on it: {command('check')} says how"
    )
