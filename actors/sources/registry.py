"""Opens places where files lie, each by the module of its kind.

A source is a module, imported when it is used, with a function

    file_system(connection: <its settings>) -> fsspec.AbstractFileSystem

whose file systems are only read from: what is written goes by `actors/sources/target.py`. These methods are called,
from any thread and from several at a time:

- `info(path)`: `name`, `type` (`file`, `directory`, or `other`), `size` in bytes or None, and what tells one
  version of a file from the next: `ETag`, or the time of its last change (`LastModified`, `mtime`). If they are
  known, also `mimetype`, and `compression` if the server adds it to the file.
- `ls(path, detail=True)`: the same of each thing in a directory, as far as the listing tells it; `name` is the
  full path, without a slash at its end. Nothing but what lies in the directory, whatever the server says.
- `open(path, "rb", block_size=..., cache_type="none")`: a file with `seek`, `read` and `close`, used by one
  thread at a time. `read` may give fewer bytes than asked, and none at the end only. Reads one after the other
  should be fast, those elsewhere should fetch what they ask for. `seekable()` is false if reading elsewhere is
  reading from the start. A read that notices that the file is not the one that was opened raises ChangedError.
  `details`, if the file has it, is what `info` would have said when it was opened.
- `beginning(path, size)`, which few have: what `info` would say, and the first `size` bytes of that version or all
  if there are fewer, by one request; no bytes if that cannot be. Where it is, `open` takes `details`, which is what
  was said then, and asks for nothing. If they have an `ETag`, each read gives bytes of that version or raises
  ChangedError.

What is not there is FileNotFoundError, what may not be read PermissionError. Other errors may be of any class:
they are taken for momentary, and the file is opened again, unless they are a SourceError, which is final, or a
MomentaryError, after which the open file can be read on. No text of Rota's own errors has secrets in it; those
of others are not shown. Every wait has a time-out. A file system may be kept, and given again for the same
settings, if it connects again by itself.
"""

import importlib
import re

from fsspec import AbstractFileSystem

from actors.sources.errors import SourceError
from events.sources import Connection, HttpConnection, sources, steps_up


def file_system(connection: Connection | None) -> AbstractFileSystem:
    """Return the file system of a connection, or of plain URLs."""
    connection = connection or HttpConnection()
    file_system: AbstractFileSystem = importlib.import_module(sources()[connection.kind].module).file_system(
        connection
    )
    return file_system


def full_path(connection: Connection | None, path: str) -> str:
    """Return a file's path as its file system knows it; SourceError if it would leave the connection's root."""
    if connection is None or (connection.kind == "http" and not connection.root):
        return path
    if steps_up(path):
        raise SourceError(
            f"{shown_path(connection, path)} has . or .. in it, which could lead out of its connection"
        )
    return f"{connection.root.rstrip('/')}/{path.lstrip('/')}" if connection.root else path


def shown_path(connection: Connection | None, path: str) -> str:
    """Return a file's path as errors and events may show it: a URL without user, password and query."""
    if connection is None or connection.kind == "http":
        path = re.split(r"[?#]", path, maxsplit=1)[0]
    return re.sub(r"^([A-Za-z][A-Za-z0-9+.-]*://)[^/]*@", r"\1", path)
