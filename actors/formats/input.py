"""A file as the formats read it: its bytes in order, all of them at once, or at random; decompressed."""

import io
import tempfile
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing
from typing import BinaryIO, Protocol, cast

from msgspec.structs import replace

from actors.formats.block import BadRowError
from actors.formats.compression import decompressed
from actors.formats.limits import Limits
from actors.formats.random_file import RandomFile
from events.batch import FileFault
from rota.errors import TooLargeError
from rota.options import Compression

GRID_BYTES = 4 * 1024 * 1024
HEAD_BYTES = 64 * 1024
FADING_BYTES = 48 * 1024 * 1024
"""The largest piece that rows of a stream may be in: no more than ROTA_STREAM_BYTES are kept of it by default."""
BEGINNING_BYTES = 8
"""What a format sees at once of the beginning, unless there is no more: by less none knows its own."""
AT_ONCE_BYTES = 1024 * 1024
"""A file of this size is fetched with one request, even if it is read at random."""


class Origin(Protocol):
    """Where the bytes of a file come from. Its methods block."""

    path: str
    size: int | None
    """Bytes, as far as the server tells."""
    media_type: str | None

    def chunks(self, offset: int = 0) -> Generator[bytes, None, None]:
        """Yield the bytes from an offset on, in pieces of any length."""

    def read_at(self, offset: int, size: int) -> bytes:
        """Return bytes from anywhere; fewer only at the end of the file."""


class Input:
    """A file to be read by a format."""

    def __init__(
        self,
        file: Origin,
        compression: Compression = "none",
        limits: Limits | None = None,
        *,
        pieces_as_they_come: bool = False,
    ) -> None:
        self._file = file
        self.prompt = pieces_as_they_come
        """Whether the rows of each piece make a block as soon as it has come: the next may be long in coming.

        The origin's pieces are the same each time then, whatever their length.
        """
        self.fades = pieces_as_they_come and compression == "none"
        """Whether bytes that were read may be gone when reading begins again, but for those of the head."""
        self._compression = compression
        self._head = b""
        self._head_is_all = False
        self.path = file.path
        self.media_type = file.media_type
        self.size = file.size
        """Bytes as they are stored, as far as the origin tells."""
        self.version: str | None = getattr(file, "version", None)
        """What tells this version of the file from others, as far as the origin does."""
        self.limits = limits or Limits()
        if self.fades:
            # The sender would be held back for ever: nothing goes before such a piece has come whole.
            whole, batch = (
                min(bound, FADING_BYTES) for bound in (self.limits.whole_bytes, self.limits.batch_bytes)
            )
            self.limits = replace(self.limits, whole_bytes=whole, batch_bytes=batch)

    def chunks(self, offset: int = 0) -> Generator[bytes, None, None]:
        """Yield the bytes from an offset on.

        They are cut at the multiples of GRID_BYTES, wherever reading begins, so that who cuts rows by these pieces
        makes the same blocks again after a crash; if they are passed on as they come, they are the same each time.
        A compressed file is decompressed from its start, and what stands before the offset is passed over.
        """
        if self._compression == "none":
            with closing(self._file.chunks(offset)) as chunks:
                yield from self._pieces(chunks, offset)
            return
        with closing(decompressed(self._file.chunks(), self._compression, self.path, self.limits)) as pieces:
            yield from self._pieces(_from(pieces, offset, self.path), offset)

    def head(self, size: int = HEAD_BYTES) -> bytes:
        """Return the first bytes; fewer only if the file has no more, or cannot be decompressed further.

        If the pieces are passed on as they come, these are the first ones that have come.
        """
        least = min(size, BEGINNING_BYTES) if self.prompt else size
        if len(self._head) < least and not self._head_is_all:
            pieces, had = [], 0
            with closing(decompressed(self._small_chunks(), self._compression, self.path, self.limits)) as chunks:
                try:
                    for chunk in chunks:
                        pieces.append(chunk)
                        had += len(chunk)
                        if had >= least:
                            break
                except (BadRowError, TooLargeError):
                    if not pieces:
                        raise
            self._head = b"".join(pieces)[:size]
            self._head_is_all = had < least
        return self._head[:size]

    def whole(self, limit: int | None = None) -> bytes:
        """Return all bytes; TooLargeError if they are more than `limits.whole_bytes`, or than a lower limit."""
        advice = "its format cannot be read in pieces. Save it as CSV, NDJSON or Parquet, or split it"
        return b"".join(self._at_most(min(self.limits.whole_bytes, limit or self.limits.whole_bytes), advice))

    def open(self) -> BinaryIO:
        """Return the bytes as a file that can be read at random; who calls this closes it.

        One that is compressed, or of unknown size, is written to the disk first, where it has no name: it is gone
        as soon as it is closed, or its process is. That is at most `limits.spool_bytes`, else TooLargeError.
        Large reads are not copied; for very many small ones wrap it in an io.BufferedReader.
        """
        if self._compression != "none" or self._file.size is None:
            return self._spooled()
        if self._file.size > AT_ONCE_BYTES:
            return cast("BinaryIO", RandomFile(self._file, self._file.size))
        body = b"".join(self.chunks())
        if len(body) != self._file.size:
            raise BadRowError(FileFault(f"{self.path} ended at byte {len(body)}; it should have {self._file.size}"))
        return io.BytesIO(body)

    def _pieces(self, chunks: Iterator[bytes], offset: int) -> Iterator[bytes]:
        return _begun(chunks, offset) if self.prompt else on_grid(chunks, offset)

    def _spooled(self) -> BinaryIO:
        advice = "its format is read at random, from the disk. Store it without compression, or split it"
        with ExitStack() as on_failure:
            spool = on_failure.enter_context(cast("BinaryIO", tempfile.TemporaryFile(prefix="rota-")))  # noqa: SIM115 - handed on
            for chunk in self._at_most(self.limits.spool_bytes, advice):
                spool.write(chunk)
            spool.seek(0)
            on_failure.pop_all()
        return spool

    def _at_most(self, limit: int, advice: str) -> Iterator[bytes]:
        size = 0
        with closing(self.chunks()) as chunks:
            for chunk in chunks:
                size += len(chunk)
                if size > limit:
                    raise TooLargeError(f"{self.path} is larger than {limit} bytes, and {advice}")
                yield chunk

    def _small_chunks(self) -> Generator[bytes, None, None]:
        """Yield the stored bytes from the start on, as the head needs them: little of a large file."""
        if self._file.size is None:
            yield from self._file.chunks()
            return
        for start in range(0, self._file.size, HEAD_BYTES):
            yield self._file.read_at(start, HEAD_BYTES)


def _from(pieces: Iterator[bytes], offset: int, path: str) -> Iterator[bytes]:
    """Pass over what stands before an offset."""
    for piece in pieces:
        if offset < len(piece):
            yield piece[offset:] if offset else piece
        offset = max(0, offset - len(piece))
    if offset:
        raise BadRowError(FileFault(f"{path} ended {offset} bytes before the place where reading is to go on"))


def _begun(chunks: Iterator[bytes], offset: int) -> Iterator[bytes]:
    """Pass pieces on, those that end before BEGINNING_BYTES together."""
    waiting = b""
    for chunk in chunks:
        offset += len(chunk)
        waiting = waiting + chunk if waiting else chunk
        if offset >= BEGINNING_BYTES:
            yield waiting
            waiting = b""
    if waiting:
        yield waiting


def on_grid(chunks: Iterator[bytes], offset: int, grid: int = GRID_BYTES) -> Generator[bytes, None, None]:
    """Cut bytes that begin at an offset at the multiples of `grid`."""
    rest: list[bytes] = []
    room = grid - offset % grid
    for chunk in chunks:
        begin = 0
        while len(chunk) - begin >= room:
            piece = chunk[begin : begin + room]  # no copy if it is all of it
            yield b"".join([*rest, piece]) if rest else piece
            begin, rest, room = begin + room, [], grid
        if begin < len(chunk):
            rest.append(chunk[begin:])
            room -= len(chunk) - begin
    if rest:
        yield b"".join(rest)
