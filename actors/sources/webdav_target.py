"""Writes files over WebDAV: beside their place, and moved when they are whole."""

from collections.abc import Iterator
from contextlib import suppress
from http import HTTPStatus
from typing import BinaryIO

from actors.sources.errors import SourceError
from actors.sources.webdav import PIECE_BYTES, Collection, file_system
from events.sources import WebdavConnection

THERE = (HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.CREATED)
"""What MKCOL answers where a directory is, or where it has made one."""


def store(connection: WebdavConnection, path: str, part: str, file: BinaryIO, size: int) -> None:
    """Write a file; one that is there already is a FileExistsError."""
    files: Collection = file_system(connection)
    if _is_there(files, path):
        raise FileExistsError
    _make_folders(files, connection.root.rstrip("/"), path.rpartition("/")[0])
    try:
        headers = {"Content-Length": str(size), "Content-Type": "application/octet-stream"}
        files.send("PUT", part, headers, _pieces(file) if size else b"")
        _move(files, part, path, size)
    except BaseException:
        with suppress(Exception):
            files.send("DELETE", part)
        raise


def remove(connection: WebdavConnection, path: str) -> None:
    """Remove a file."""
    with suppress(FileNotFoundError):
        file_system(connection).send("DELETE", path)


def _move(files: Collection, part: str, path: str, size: int) -> None:
    if files.info(part)["size"] not in (None, size):
        raise SourceError(f"The WebDAV server has not kept all of the {size} bytes")
    # Some servers replace what is there all the same; a look right before it leaves them little time.
    if _is_there(files, path):
        raise FileExistsError
    headers = {"Destination": files.address(path), "Overwrite": "F"}
    status = files.send("MOVE", part, headers, accepted=(HTTPStatus.PRECONDITION_FAILED,))
    if status == HTTPStatus.PRECONDITION_FAILED:
        raise FileExistsError
    if status == HTTPStatus.MULTI_STATUS:
        raise SourceError("The WebDAV server does not move a file to its name")


def _make_folders(files: Collection, root: str, folder: str) -> None:
    """Make the directories that are missing below the root."""
    missing: list[str] = []
    while folder != root and not _is_there(files, folder):
        missing.append(folder)
        folder = folder.rpartition("/")[0]
    for one in reversed(missing):
        status = files.send("MKCOL", f"{one}/", accepted=THERE)
        if status not in THERE and status >= HTTPStatus.BAD_REQUEST:
            raise SourceError(f"The WebDAV server makes no directory: it answers with status {status}")


def _is_there(files: Collection, path: str) -> bool:
    try:
        files.info(path)
    except FileNotFoundError:
        return False
    return True


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    file.seek(0)
    while piece := file.read(PIECE_BYTES):
        yield piece
