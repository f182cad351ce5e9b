"""A file on a web server, of one version, to be read in order or here and there."""

import asyncio
import io
import zlib
from contextlib import suppress
from http import HTTPStatus
from typing import Any

from aiohttp import ClientError, ClientResponse
from fsspec.asyn import sync
from yarl import URL

from actors.sources.errors import ChangedError, SourceError
from actors.sources.http_client import HttpClient, failed
from actors.sources.http_version import HttpVersion, content_range

HEADERS = {"Accept-Encoding": "identity"}
SKIP_BYTES = 1024 * 1024


class HttpFile(io.RawIOBase):
    """Its reads block, and go on where an answer broke off; MomentaryError says that not one byte came.

    The first read at a place asks for its bytes alone, one that follows it for all bytes to the end, which then
    come as they are read. No byte of another version is ever given, nor of another place, as far as validators,
    lengths and ranges tell; where a server gives whole files only, a checksum is kept of what was read before.
    """

    def __init__(
        self,
        client: HttpClient,
        loop: asyncio.AbstractEventLoop,
        url: URL,
        version: HttpVersion,
        details: dict[str, Any],
        *,
        shown: str,
    ) -> None:
        super().__init__()
        self.details = details
        self._client = client
        self._loop = loop
        self._url = url
        self._version = version
        self._shown = shown
        self._position = 0
        self._read_to = 0
        """Where the read before ended."""
        self._answer: ClientResponse | None = None
        self._at = 0
        """Where the next byte of the answer belongs."""
        self._until: int | None = None
        """Where the answer ends, if that is known."""
        self._end: int | None = version.size
        self._checksum = (0, 0)
        """Of so many bytes from the file's start."""
        self._whole = False
        """Whether the answer began at the file's start, though it was not asked to."""

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def seekable(self) -> bool:
        """Say whether the server gives parts of its files."""
        return self._version.ranges or self._version.size == 0

    def tell(self) -> int:
        """Return where the next read begins."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Set where the next read begins; a server that gives whole files only is then asked for all of it."""
        if whence == io.SEEK_CUR:
            offset += self._position
        elif whence == io.SEEK_END:
            if self._end is None:
                raise io.UnsupportedOperation("The server does not tell the file's size")
            offset += self._end
        self._position = max(0, offset)
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        """Return up to `size` bytes, at least one; none at the file's end."""
        if size is None or size < 0:
            return self.readall()
        data: bytes = sync(self._loop, self._read, size)
        return data

    def readall(self) -> bytes:
        """Return all bytes that follow."""
        return b"".join(iter(lambda: self.read(SKIP_BYTES), b""))

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer; return how many bytes."""
        view = memoryview(buffer).cast("B")
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Let go of the connection."""
        if not self.closed and self._answer and self._loop.is_running():
            self._loop.call_soon_threadsafe(self._answer.close)
            self._answer = None
        super().close()

    async def _read(self, size: int) -> bytes:
        if self._end is not None:
            size = min(size, self._end - self._position)
        if size <= 0:
            return b""
        if self._answer is None or self._at != self._position:
            await self._begin(size)
        pieces: list[bytes] = []
        try:
            while size and (piece := await self._piece(size)):
                pieces.append(piece)
                size -= len(piece)
                self._position += len(piece)
        except (ClientError, TimeoutError, ConnectionError) as error:
            self._drop()
            if not pieces:
                raise failed(self._shown, error) from None
        except BaseException:
            self._drop()
            raise
        self._read_to = self._position
        return b"".join(pieces)

    async def _begin(self, size: int) -> None:
        """Ask for the bytes at the position."""
        self._drop()
        headers, end = dict(HEADERS), self._version.size
        if self._version.ranges:
            if not self._position or self._position != self._read_to:
                end = self._position + size
            headers["Range"] = f"bytes={self._position}-{'' if end == self._version.size else (end or 0) - 1}"
            if self._version.if_range:
                headers["If-Range"] = self._version.if_range
        answer = await self._client.get(self._url, headers, self._shown)
        try:
            self._accept(answer, end)
            self._answer = answer
            while self._at < self._position:
                if not await self._piece(min(SKIP_BYTES, self._position - self._at), skipping=True):
                    raise ChangedError(f"{self._shown} was changed while it was read")  # noqa: TRY301
        except (ClientError, TimeoutError, ConnectionError) as error:
            answer.close()
            self._drop()
            raise failed(self._shown, error) from None
        except BaseException:
            answer.close()
            self._drop()
            raise

    def _accept(self, answer: ClientResponse, end: int | None) -> None:
        """Check that an answer is what was asked for, and note where it begins and ends."""
        if answer.status in (HTTPStatus.PRECONDITION_FAILED, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE):
            raise ChangedError(f"{self._shown} was changed while it was read")
        if answer.status not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
            raise SourceError(f"{self._shown} cannot be read: the server answers with status {answer.status}")
        self._version.check(HttpVersion.of(answer, self._shown), self._shown)
        self._whole = answer.status == HTTPStatus.OK
        if self._whole:
            check_end(answer, self._shown)
            self._at, self._until = 0, self._version.size
            return
        first, until, _ = content_range(answer, self._shown)
        if not self._version.ranges or first != self._position or until > (end or 0):
            raise SourceError(f"{self._shown} cannot be read: the server sends another range than it was asked for")
        self._at, self._until = first, until

    async def _piece(self, size: int, *, skipping: bool = False) -> bytes:
        """Return the next bytes of the answer; none at its end, which is checked."""
        answer = self._answer
        if answer is None:
            return b""
        if self._until is not None:
            size = min(size, self._until - self._at)
        piece = await answer.content.read(size) if size else b""
        if not piece:
            await self._ended(answer)
            return b""
        if self._whole:
            self._sum(piece, skipping=skipping)
        self._at += len(piece)
        if self._at == self._until:
            with suppress(ClientError, TimeoutError):  # all bytes are there
                await self._ended(answer)
        return piece

    async def _ended(self, answer: ClientResponse) -> None:
        """Check that an answer has ended where it should; ClientError if it broke off."""
        if self._until is None:
            self._end = self._at
        elif self._at < self._until:
            raise ClientError
        elif not answer.content.at_eof() and await answer.content.read(1):
            raise SourceError(f"{self._shown} cannot be read: the server sends more bytes than it said")
        answer.release()
        self._answer = None

    def _sum(self, piece: bytes, *, skipping: bool) -> None:
        """Keep a checksum of all that was read from the start; what comes a second time must have the same."""
        known, known_to = self._checksum
        if self._at == 0:
            self._again = 0
        end = self._at + len(piece)
        if skipping and self._at < known_to:
            self._again = zlib.crc32(piece, self._again)
            if end == known_to and self._again != known:
                raise ChangedError(f"{self._shown} was changed while it was read")
        elif self._at == known_to:
            self._checksum = zlib.crc32(piece, known), end

    def _drop(self) -> None:
        if self._answer:
            self._answer.close()
            self._answer = None


def check_end(answer: ClientResponse, shown: str) -> None:
    """Raise SourceError if the end of an answer could not be told from a broken connection."""
    if answer.content_length is None and "chunked" not in answer.headers.get("Transfer-Encoding", "").lower():
        raise SourceError(
            f"{shown} cannot be read: the server tells neither its length nor where it ends, so that a part could "
            "not be told from the whole"
        )
