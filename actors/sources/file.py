"""A file of a source: what is known of it, and its bytes in order or from anywhere."""

import logging
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, suppress
from typing import Any, BinaryIO, TypeVar

from actors.formats.input import GRID_BYTES, HEAD_BYTES
from actors.prefetch import prefetched
from actors.sources.errors import ChangedError, MomentaryError, SourceError, translated
from actors.sources.registry import file_system, full_path, shown_path
from events.sources import Connection
from rota.errors import NotFoundError, TooLargeError
from rota.options import Compression

CHUNK_BYTES = GRID_BYTES
CHUNKS_AHEAD = 2
SMALL_BYTES = 256 * 1024
"""A file of this size is fetched once, however often it is read: its requests cost more than its bytes."""
TRIES = 5
"""In a row without a byte."""
TRY_AGAIN_SECONDS = 0.5
"""Before the second try; twice as long before each that follows."""
RETRY_AFTER_SECONDS = 30
"""The longest that a server may make a reader wait before it tries again."""
SPOOL_BYTES = 16 * 1024 * 1024 * 1024
"""The largest file that is kept on disk because its server only gives it as a whole."""
VERSION_FIELDS = ("ETag", "etag", "LastModified", "Last-Modified", "last_modified", "mtime")

log = logging.getLogger("rota.source")

T = TypeVar("T")


class SourceFile:
    """A file somewhere. Its methods block: call them from threads, and `close` when it is not needed any more.

    All bytes are of one version: reading on after the file was changed is a ChangedError, as far as the server
    gives a sign of it.
    """

    def __init__(self, connection: Connection | None, path: str) -> None:
        self.path = shown_path(connection, path)
        self._full_path = full_path(connection, path)
        self._file_system = file_system(connection)
        self._lock = threading.Lock()
        self._opened: BinaryIO | None = None
        self._spool: BinaryIO | None = None
        self._all: bytes | None = None
        self._closed = False
        if connection and connection.root:
            self._stay_below(connection.root)
        info, self._head = self._begun()
        self._details = info if hasattr(self._file_system, "beginning") else None
        """What is opened: nothing else can be read then."""
        if info["type"] == "directory":
            raise SourceError(f"{self.path} is a directory: end it with a slash to have its files read")
        self.size: int | None = info.get("size")
        self.version = _version(info)
        self.media_type: str | None = info.get("mimetype") or info.get("ContentType")
        self.compression: Compression | None = info.get("compression")
        """What the server has compressed the bytes with, as they are given here; None if it says nothing."""
        if self._details and len(self._head) == self.size:
            self._all = self._head

    def _stay_below(self, root: str) -> None:
        """Raise NotFoundError if symbolic links lead out of the root, where there are links."""
        if not hasattr(self._file_system, "realpath"):
            return
        real_root = self._trying(lambda: str(self._file_system.realpath(root)))
        real = self._trying(lambda: str(self._file_system.realpath(self._full_path)))
        if not real.startswith(real_root.rstrip("/") + "/"):
            raise NotFoundError(f"{self.path} leads out of the root of its connection")

    def check_unchanged(self) -> None:
        """Raise ChangedError if the file is another one by now, unless its bytes are known to be of one version."""
        if self._all is None or not (self._details and self._details.get("ETag")):
            self._check(self._info())

    def chunks(self, offset: int = 0) -> Generator[bytes, None, None]:
        """Yield the file's bytes from an offset on, cut at the multiples of CHUNK_BYTES; a thread reads ahead."""
        if is_small(self.size):
            yield from self._chunks(offset)
        else:
            yield from prefetched(lambda: self._chunks(offset), CHUNKS_AHEAD, f"read ahead {self.path}")

    def read_at(self, offset: int, size: int) -> bytes:
        """Return bytes from anywhere; fewer only at the end of the file.

        A server that gives its files only as a whole is asked once, except for what stands at the start: the file
        is kept on disk until `close`.
        """
        with self._lock:
            if self._spool is None and (is_small(self.size) or self._trying(self._open).seekable()):
                return self._read(offset, size)
            if self._spool is None and offset + size <= SMALL_BYTES:
                return self._fetched(0, offset + size)[offset:]
            if self._spool is None:
                self._spool = self._spooled()
            self._spool.seek(offset)
            return self._spool.read(size)

    def close(self) -> None:
        """Let go of connections and disk space."""
        with self._lock:
            self._closed = True
            self._forget()
            if self._spool:
                self._spool.close()
                self._spool = None

    def _begun(self) -> tuple[dict[str, Any], bytes]:
        """Return what is known of the file, and its first bytes if they come with that."""
        if not hasattr(self._file_system, "beginning"):
            return self._info(), b""
        begun: tuple[dict[str, Any], bytes] = self._trying(
            lambda: self._file_system.beginning(self._full_path, HEAD_BYTES)
        )
        return begun

    def _info(self) -> dict[str, Any]:
        return self._trying(lambda: self._file_system.info(self._full_path))

    def _check(self, info: dict[str, Any]) -> None:
        if _version(info) != self.version or (self.size is not None and info.get("size") not in (None, self.size)):
            raise ChangedError(f"{self.path} was changed while it was read")

    def _chunks(self, offset: int) -> Iterator[bytes]:
        while self.size is None or offset < self.size:
            wanted = CHUNK_BYTES - offset % CHUNK_BYTES
            with self._lock:
                chunk = self._read(offset, wanted)
            if chunk:
                yield chunk
            offset += len(chunk)
            if len(chunk) < wanted:
                return

    def _spooled(self) -> BinaryIO:
        with ExitStack() as stack:
            spool: BinaryIO = stack.enter_context(tempfile.TemporaryFile())
            offset = 0
            while chunk := self._read(offset, CHUNK_BYTES):
                offset += len(chunk)
                if offset > SPOOL_BYTES:
                    raise TooLargeError(
                        f"{self.path} is larger than {SPOOL_BYTES} bytes, and its server gives it only as a whole; "
                        "its format has to be read here and there"
                    )
                spool.write(chunk)
            stack.pop_all()  # close() closes it
        return spool

    def _read(self, offset: int, size: int) -> bytes:
        """Return the bytes at an offset; fewer only at the end."""
        if is_small(self.size):
            if self._all is None:
                self._all = self._fetched(0, SMALL_BYTES)
            return self._all[offset : offset + size]
        if offset + size <= len(self._head):
            return self._head[offset : offset + size]
        return self._fetched(offset, size)

    def _fetched(self, offset: int, size: int) -> bytes:
        if self.size is not None:
            size = max(0, min(size, self.size - offset))
        pieces: list[bytes] = []
        end = offset + size
        while offset < end:
            piece = self._trying(lambda offset=offset: self._piece(offset, end - offset))  # type: ignore[misc] # mypy cannot infer a lambda with a default
            if not piece and self.size is not None:
                raise SourceError(f"{self.path} ended at byte {offset}; it should have {self.size}")
            if len(piece) > end - offset:
                raise SourceError(f"{self.path} cannot be read: the server sends other bytes than it was asked for")
            if not piece:
                break
            pieces.append(piece)
            offset += len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _piece(self, offset: int, size: int) -> bytes:
        opened = self._open()
        try:
            opened.seek(offset)
            return opened.read(size)
        except MomentaryError:
            raise  # the file knows how to go on
        except Exception:
            self._forget()
            raise

    def _open(self) -> BinaryIO:
        if self._opened is None:
            if self._closed:
                raise SourceError(f"{self.path} is not read any more")
            options: dict[str, Any] = {"block_size": CHUNK_BYTES, "cache_type": "none"}
            if self._details:
                options["details"] = self._details
            self._opened = self._file_system.open(self._full_path, "rb", **options)
            if not self._details:
                # What was opened may be newer than what was found.
                self._check(getattr(self._opened, "details", None) or self._file_system.info(self._full_path))
        return self._opened

    def _forget(self) -> None:
        opened, self._opened = self._opened, None
        if opened:
            with suppress(Exception):
                opened.close()

    def _trying(self, attempt: Callable[[], T]) -> T:
        return trying(self.path, attempt)


def is_small(size: int | None) -> bool:
    """Say whether a file of this size is fetched once, at its first read."""
    return size is not None and size <= SMALL_BYTES


def trying(path: str, attempt: Callable[[], T]) -> T:
    """Do something that may fail for a moment, a few times; what it raises in the end is an error of Rota's own."""
    pause = TRY_AGAIN_SECONDS
    for tries_left in reversed(range(TRIES)):
        try:
            return attempt()
        except Exception as error:  # noqa: BLE001 - each file system has its own
            known = translated(path, error)
            if not isinstance(known, MomentaryError) or not tries_left:
                # Foreign texts may have secrets, which a chain of errors would show.
                raise known from None
        log.warning("%s; trying again", known)
        time.sleep(max(pause, min(known.retry_after_seconds or 0, RETRY_AFTER_SECONDS)))
        pause *= 2
    raise AssertionError


def _version(info: dict[str, Any]) -> str | None:
    for name in VERSION_FIELDS:
        if info.get(name):
            return str(info[name]).removeprefix("W/").strip('"')
    return str(info["size"]) if info.get("size") is not None else None
