"""Writes files into a source's store: each once, whole or not at all.

A target is a module, imported when it is used, with two functions that block:

    store(connection, path, part, file: BinaryIO, size: int) -> None
    remove(connection, path) -> None

- `store` makes a file of the `size` bytes that `file` has from its start on. Who looks sees it whole or not at all,
  and when `store` returns it is stored for good. What is at `path` already is left as it is: FileExistsError.
- `part`, beside it, may hold what has come so far. It may be there of an earlier try, and is replaced then; it is
  gone when `store` returns or raises, unless the process was killed.
- Directories that are missing below the root are made, where there are directories. No link leads out of the root.
- `remove` removes a file; one that is not there does no harm.
- Errors are as of sources that are read: see `actors/sources/registry.py`.

Paths are full paths. A target is of a kind of connection, and uses the file system of the source of that kind.
"""

import importlib
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from types import ModuleType
from typing import BinaryIO

from actors.sources.errors import MomentaryError, SourceError, reason
from actors.sources.file import RETRY_AFTER_SECONDS, TRIES, TRY_AGAIN_SECONDS
from actors.sources.registry import full_path, shown_path
from events.sources import Connection
from rota.errors import RotaError

TARGETS = {
    "s3": "actors.sources.s3_target",
    "sftp": "actors.sources.sftp_target",
    "webdav": "actors.sources.webdav_target",
}

log = logging.getLogger("rota.source")


class TakenError(SourceError):
    """Something is at the path already, and stays as it is."""


def write_once(
    connection: Connection, path: str, file: BinaryIO, size: int, part: str, *, for_path: str | None = None
) -> None:
    """Make a file of the bytes of `file`; `part` is the path of what has come so far, in the same directory.

    Both are paths below the connection. TakenError if there is one already, else a SourceError that says why it
    cannot be written; what may pass is tried again. Errors name the path, or that of the file for which it is.
    """
    target = _target(connection)
    shown = shown_path(connection, for_path or path)
    full, full_part = full_path(connection, path), full_path(connection, part)
    _trying(shown, lambda: target.store(connection, full, full_part, file, size))


def remove(connection: Connection, path: str) -> None:
    """Remove a file of Rota's own, if that is allowed; what is left does no harm."""
    target = _target(connection)
    with suppress(RotaError):
        _trying(shown_path(connection, path), lambda: target.remove(connection, full_path(connection, path)))


def _target(connection: Connection) -> ModuleType:
    if connection.kind not in TARGETS:
        raise SourceError(f"Nothing can be written to a connection of the kind {connection.kind}")
    return importlib.import_module(TARGETS[connection.kind])


def _trying(path: str, attempt: Callable[[], None]) -> None:
    """Do something that may fail for a moment, a few times; what it raises in the end is an error of Rota's own."""
    pause = TRY_AGAIN_SECONDS
    for tries_left in reversed(range(TRIES)):
        try:
            attempt()
        except Exception as error:  # noqa: BLE001 - each file system has its own
            known = _translated(path, error)
            if not isinstance(known, MomentaryError) or not tries_left:
                # Foreign texts may have secrets, which a chain of errors would show.
                raise known from None
        else:
            return
        log.warning("%s; trying again", known)
        time.sleep(max(pause, min(known.retry_after_seconds or 0, RETRY_AFTER_SECONDS)))
        pause *= 2


def _translated(path: str, error: Exception) -> RotaError:
    """Turn what a file system raises into an error of Rota's own."""
    match error:
        case RotaError():
            return error
        case FileExistsError():
            return TakenError(f"{path} is there already; name another path")
        case PermissionError():
            return SourceError(f"{path} may not be written with this connection")
        case FileNotFoundError() | NotADirectoryError():
            return SourceError(f"{path} cannot be written: its bucket or directory is not there")
        case IsADirectoryError():
            return TakenError(f"{path} is a directory; name another path")
        case _:
            return MomentaryError(f"{path} cannot be written: {reason(error)}")
