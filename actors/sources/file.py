"""A file of a source: what is known of it, and its bytes from any offset on."""

import logging
import queue
import threading
import time
from collections.abc import Callable, Generator, Iterator
from http import HTTPStatus
from typing import Any

from aiohttp import ClientError

from actors.sources.registry import file_system, full_path
from events.config import Connection
from rota.errors import NotFoundError, RotaError

CHUNK_BYTES = 4 * 1024 * 1024
CHUNKS_AHEAD = 2
TRIES = 4
TRY_AGAIN_SECONDS = 0.5

log = logging.getLogger("rota.source")


class SourceError(RotaError):
    """A file cannot be read; the text says why, without secrets."""


class SourceFile:
    """A file somewhere. Its methods block: call them from a thread."""

    def __init__(self, connection: Connection | None, path: str) -> None:
        self.path = path
        self._full_path = full_path(connection, path)
        self._file_system = file_system(connection)
        info = _trying(path, lambda: self._file_system.info(self._full_path))
        self.size: int | None = info.get("size")
        self.version = _version(info)
        self._ranges = self.size is not None and self._serves_ranges()

    def check_unchanged(self) -> None:
        """Raise SourceError if the file is another one by now."""
        info = _trying(self.path, lambda: self._file_system.info(self._full_path))
        if _version(info) != self.version:
            raise SourceError(f"{self.path} was changed while it was read")

    def chunks(self, offset: int = 0) -> Generator[bytes, None, None]:
        """Yield the file's bytes from an offset on; a thread reads ahead."""
        ahead: queue.Queue[bytes | BaseException | None] = queue.Queue(CHUNKS_AHEAD)
        closed = threading.Event()

        def put(item: bytes | BaseException | None) -> bool:
            while not closed.is_set():
                try:
                    ahead.put(item, timeout=0.2)
                except queue.Full:
                    continue
                return True
            return False

        def read() -> None:
            try:
                for chunk in self._ranged(offset) if self._ranges else self._streamed(offset):
                    if not put(chunk):
                        return
            except BaseException as error:  # noqa: BLE001 - it is raised again in the reading thread
                put(error)
            else:
                put(None)

        threading.Thread(target=read, name=f"read ahead {self.path}", daemon=True).start()
        try:
            while (item := ahead.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            closed.set()

    def _serves_ranges(self) -> bool:
        """Say whether reading can begin anywhere; some HTTP servers only send whole files."""
        if not self.size or self.size < CHUNK_BYTES:
            return False
        try:
            with self._file_system.open(self._full_path, block_size=CHUNK_BYTES, cache_type="none") as stream:
                stream.seek(1)
                return len(stream.read(1)) == 1
        except ValueError:
            return False
        except Exception as error:
            raise _translated(self.path, error) from error

    def _ranged(self, offset: int) -> Iterator[bytes]:
        size = self.size or 0
        with _trying(
            self.path, lambda: self._file_system.open(self._full_path, block_size=CHUNK_BYTES, cache_type="none")
        ) as stream:
            while offset < size:

                def fetch(start: int = offset) -> bytes:
                    stream.seek(start)
                    chunk: bytes = stream.read(min(CHUNK_BYTES, size - start))
                    return chunk

                chunk = _trying(self.path, fetch)
                if not chunk:
                    raise SourceError(f"{self.path} ended at byte {offset}; it should have {size}")
                yield chunk
                offset += len(chunk)

    def _streamed(self, offset: int) -> Iterator[bytes]:
        with _trying(self.path, lambda: self._file_system.open(self._full_path, block_size=0)) as stream:
            skip, position = offset, 0
            while chunk := _once(self.path, lambda: stream.read(CHUNK_BYTES)):
                position += len(chunk)
                if skip < len(chunk):
                    yield chunk[skip:]
                skip = max(0, skip - len(chunk))
            if self.size is not None and position != self.size:
                raise SourceError(f"{self.path} ended at byte {position}; it should have {self.size}")


def _version(info: dict[str, Any]) -> str | None:
    for name in ("ETag", "etag", "LastModified", "last_modified", "mtime"):
        if info.get(name):
            return str(info[name]).strip('"')
    return str(info["size"]) if info.get("size") is not None else None


def _trying(path: str, attempt: Callable[[], Any]) -> Any:
    """Do something that may fail for a moment, a few times."""
    for tries_left in range(TRIES - 1, 0, -1):
        try:
            return _once(path, attempt)
        except SourceError as error:
            log.warning("%s; trying again", error)
            time.sleep(TRY_AGAIN_SECONDS * (TRIES - tries_left))
    return _once(path, attempt)


def _once(path: str, attempt: Callable[[], Any]) -> Any:
    try:
        return attempt()
    except Exception as error:
        raise _translated(path, error) from error


def _translated(path: str, error: Exception) -> RotaError:
    """Turn what a file system raises into NotFoundError or SourceError, whose texts have no secrets."""
    if isinstance(error, RotaError):
        return error
    # fsspec says "not found" of whatever befalls an HTTP request; its cause knows better.
    cause = error.__cause__ if isinstance(error, FileNotFoundError) else None
    status = getattr(cause or error, "status", None)
    if isinstance(error, PermissionError) or status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return NotFoundError(f"{path} may not be read with this connection")
    if isinstance(cause, ClientError | TimeoutError) and status not in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
        error = cause
    if isinstance(error, FileNotFoundError):
        return NotFoundError(f"{path} is not there")
    # Every file system has its own tree of errors, and the texts of some have URLs with secrets.
    return SourceError(f"{path} cannot be read: {type(error).__name__}" + (f" (status {status})" if status else ""))
