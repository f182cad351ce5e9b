"""Finds the files that a request selects: those that it names, those of directories, and those that globs match."""

import os.path
import re
from collections.abc import Iterator, Sequence
from typing import Any

from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem
from msgspec import Struct

from actors.sources.errors import SourceError
from actors.sources.file import trying
from actors.sources.pattern import ANY_DEPTH, Filter, Pattern, States
from rota.errors import NotFoundError, TooLargeError
from rota.options import Selection

MAX_FILES = 10_000
MAX_DIRECTORIES = 100_000
MAX_DEPTH = 64
HOST = re.compile(r"https?://[^/]*", re.IGNORECASE)


def walk(
    file_system: AbstractFileSystem, root: str, files: Sequence[str], selection: Selection, limit: int = MAX_FILES
) -> Iterator[str]:
    """Yield the paths of the selected files below a root: entry by entry, each sorted, every path once.

    An entry that ends with a slash is a directory; one with `*`, `?` or `[` is a glob, unless there is a file of
    that name; any other is a file, and is not looked for. In a URL, `?` begins the query. NotFoundError if a
    directory is not there, TooLargeError if there are more than `limit` files. Nothing at all is no error here.
    """
    seen: set[str] = set()
    for entry in files:
        for path in _Entry(file_system, root, entry, selection).paths():
            if path in seen:
                continue
            if len(seen) == limit:
                raise TooLargeError(
                    f"More than {limit} files are selected, the last one by {entry}: make several batches"
                )
            seen.add(path)
            yield path


class _Directory(Struct, frozen=True):
    """A directory on the way: its path as users write it, its names below the base, and where it really is."""

    path: str
    names: tuple[str, ...]
    states: States
    real: str | None = None
    """Its path without symbolic links; None as long as it is not known to differ."""


class _Entry:
    """What one entry of a request stands for."""

    def __init__(self, file_system: AbstractFileSystem, root: str, entry: str, selection: Selection) -> None:
        self._files = file_system
        self._root = root.rstrip("/") if root != "/" else root
        self._entry = entry
        self._selection = selection
        self._filter = Filter(selection.include, selection.exclude)
        self._entered: set[tuple[str, States]] = set()
        self._directories = 0
        self._real_root: str | None = None

    def paths(self) -> Iterator[str]:
        """Yield the paths of its files."""
        is_glob = self._is_glob()
        if not self._entry.endswith("/"):
            if not is_glob or self._kind(self._entry) == "file":
                yield self._entry
                return
        elif not is_glob or self._kind(self._entry.rstrip("/")) == "directory":
            yield from self._below(self._entry, self._tail(), must_be=True)
            return
        base, glob = self._split()
        yield from self._below(base, glob + self._tail() if glob.endswith("/") else glob, must_be=False)

    def _is_glob(self) -> bool:
        host = HOST.match(self._entry)
        path = self._entry[host.end() :].partition("?")[0] if host else self._entry
        return bool(re.search(r"[*\[]" if self._is_url else r"[*?\[]", path))

    @property
    def _is_url(self) -> bool:
        return bool(HOST.match(self._full(self._entry)))

    def _tail(self) -> str:
        return f"{ANY_DEPTH}/*" if self._selection.recursive else "*"

    def _split(self) -> tuple[str, str]:
        """Part the entry into the directory before its first wildcard, and the rest."""
        host = HOST.match(self._entry)
        begin = host.end() if host else 0
        wildcard = re.compile(r"[*\[]" if self._is_url else r"[*?\[]").search(self._entry, begin)
        cut = self._entry.rfind("/", 0, wildcard.start() if wildcard else None) + 1
        return self._entry[:cut], self._entry[cut:]

    def _below(self, base: str, glob: str, *, must_be: bool) -> Iterator[str]:
        pattern = Pattern(glob, hidden=self._selection.hidden)
        try:
            yield from self._in(_Directory(base, (), pattern.start), pattern)
        except NotFoundError:
            if must_be or self._directories > 1:
                raise

    def _in(self, directory: _Directory, pattern: Pattern) -> Iterator[str]:
        """Yield the files of a directory and of those in it, in the order of their paths."""
        self._count(directory)
        for name, info in self._listed(directory.path):
            states = pattern.step(directory.states, name)
            if not states:
                continue
            path = f"{directory.path}{name}"
            names = (*directory.names, name)
            kind, real = info["type"], f"{directory.real}/{name}" if directory.real else None
            if info.get("islink") or kind == "link":
                kind, real = self._followed(path, directory)
            if kind == "directory" and pattern.goes_on(states) and self._filter.enters(names):
                if real is not None:
                    if (real, states) in self._entered:
                        continue
                    self._entered.add((real, states))
                yield from self._in(_Directory(f"{path}/", names, states, real), pattern)
            elif kind == "file" and pattern.ends(states) and self._filter.takes(names):
                yield _writable(path)

    def _count(self, directory: _Directory) -> None:
        self._directories += 1
        if self._directories > MAX_DIRECTORIES:
            raise TooLargeError(f"{self._entry} has more than {MAX_DIRECTORIES} directories: select fewer")
        if len(directory.names) > MAX_DEPTH:
            raise TooLargeError(f"{directory.path} is more than {MAX_DEPTH} directories deep in {self._entry}")

    def _listed(self, path: str) -> list[tuple[str, dict[str, Any]]]:
        """Return what lies in a directory, sorted as paths are: the name of a directory ends with a slash."""
        full = self._full(path).rstrip("/") or self._full(path)[:1]
        infos = trying(path or "/", lambda: self._files.ls(full, detail=True))
        if len(infos) == 1 and infos[0]["name"].strip("/") == full.strip("/") and infos[0]["type"] == "file":
            raise SourceError(f"{path} is a file: leave out the slash at its end")
        found = []
        for info in infos:
            name = info["name"].rstrip("/").rpartition("/")[2]
            # Placeholders of S3 for directories are named as these are; no server may lead out of its directory.
            if name in ("", ".", "..") or info["name"].rstrip("/") == full or "\0" in name or "\\" in name:
                continue
            found.append((name, info))
        return sorted(found, key=lambda item: item[0] + "/" * (item[1]["type"] == "directory"))

    def _followed(self, path: str, directory: _Directory) -> tuple[str | None, str | None]:
        """Return what a symbolic link leads to, and where that is.

        Nothing if it leads out of the root, to a directory that it lies in itself, or nowhere.
        """
        return trying(path, lambda: self._target(path, directory))

    def _target(self, path: str, directory: _Directory) -> tuple[str | None, str | None]:
        try:
            if self._real_root is None:
                self._real_root = self._real(self._full(""))
            real = self._real(self._full(path))
            here = directory.real or self._real(self._full(directory.path))
            if not _is_in(real, self._real_root) or _is_in(here, real):
                return None, None
            return self._files.info(real)["type"], real
        except FileNotFoundError:
            return None, None

    def _real(self, full: str) -> str:
        if isinstance(self._files, LocalFileSystem):
            return os.path.realpath(full)
        return str(self._files.realpath(full))

    def _kind(self, path: str) -> str | None:
        def kind() -> str | None:
            try:
                return str(self._files.info(self._full(path))["type"])
            except (FileNotFoundError, NotADirectoryError):
                return None

        return trying(path, kind)

    def _full(self, path: str) -> str:
        if not self._root or HOST.match(path):
            return path
        return f"{self._root.rstrip('/')}/{path.lstrip('/')}"


def _writable(path: str) -> str:
    """Return a path; SourceError if it is no Unicode, in which events are written."""
    try:
        path.encode()
    except UnicodeEncodeError:
        shown = path.encode(errors="surrogateescape").decode(errors="backslashreplace")
        raise SourceError(f"{shown} is a name that is no UTF-8: rename it, or leave it out with exclude") from None
    return path


def _is_in(path: str, directory: str) -> bool:
    return path == directory or path.startswith(f"{directory.rstrip('/')}/")
