"""Decompresses bytes as they arrive, and never takes a part of them for the whole."""

import bz2
import lzma
import re
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from typing import Protocol

import lz4.frame
from backports import zstd
from msgspec import Struct

from actors.formats.block import BadRowError
from actors.formats.limits import MEBIBYTE, Limits
from events.batch import FileFault
from rota.errors import TooLargeError
from rota.options import Compression

PIECE_BYTES = 4 * MEBIBYTE
"""What is yielded at once, at most."""
FEED_BYTES = 64 * 1024
"""What a decoder gets at once: what it leaves over is copied each time a stream ends."""
XZ_MEMORY_BYTES = 256 * MEBIBYTE
ZSTD_WINDOW_LOG = 27
XZ_PADDING = 4


class Decoder(Protocol):
    """The decoder of one stream (gzip says member, zstd and lz4 say frame)."""

    @property
    def eof(self) -> bool:
        """Whether the stream's end was read, and its checksum is right."""

    @property
    def needs_input(self) -> bool:
        """Whether it has nothing to give without more bytes."""

    @property
    def unused_data(self) -> bytes | None:
        """What came after the stream's end."""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """Take bytes in, and give at most so many out."""


class GzipDecoder:
    """One member of a gzip file; zlib checks its length and checksum."""

    needs_input = True

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)

    @property
    def eof(self) -> bool:
        """Whether the member's end was read."""
        return self._stream.eof

    @property
    def unused_data(self) -> bytes:
        """What came after the member's end."""
        return self._stream.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """Take bytes in, and give at most so many out."""
        left = self._stream.unconsumed_tail
        output = self._stream.decompress(left + data if left else data, max_length)
        self.needs_input = not self._stream.unconsumed_tail
        return output


class Scheme(Struct, frozen=True):
    """A kind of compression: how its files begin, who decodes one stream of it, what may lie between."""

    magic: tuple[bytes, ...]
    sure: re.Pattern[bytes]
    """What the beginning must match if nothing else says that the file is compressed."""
    decoder: Callable[[], Decoder]
    padding: bool = False
    """Whether zeros may follow a stream."""


SKIPPABLE = tuple(bytes((0x50 + n, 0x2A, 0x4D, 0x18)) for n in range(16))
"""How a frame of other data begins, in zstd and in lz4."""

SCHEMES: dict[Compression, Scheme] = {
    "bzip2": Scheme((b"BZh",), re.compile(rb"BZh[1-9](1AY&SY|\x17rE8P\x90)"), bz2.BZ2Decompressor),
    "gzip": Scheme((b"\x1f\x8b",), re.compile(rb"\x1f\x8b\x08[\x00-\x1f]"), GzipDecoder, padding=True),
    "lz4": Scheme(
        (b"\x04\x22\x4d\x18",), re.compile(rb"\x04\x22\x4d\x18[\x40-\x7f]"), lz4.frame.LZ4FrameDecompressor
    ),
    "xz": Scheme(
        (b"\xfd7zXZ\x00",),
        re.compile(rb"\xfd7zXZ\x00"),
        lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY_BYTES),
        padding=True,
    ),
    "zstd": Scheme(
        (b"\x28\xb5\x2f\xfd",),
        re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18.{4}.*\x28\xb5\x2f\xfd", re.DOTALL),
        lambda: zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: ZSTD_WINDOW_LOG}),
    ),
}

ERRORS = (zlib.error, lzma.LZMAError, zstd.ZstdError, EOFError, OSError, RuntimeError, ValueError, MemoryError)
"""What decoders raise."""


def decompressed(
    chunks: Generator[bytes, None, None], compression: Compression, path: str, limits: Limits
) -> Generator[bytes, None, None]:
    """Yield what compressed bytes stand for, in pieces of at most PIECE_BYTES.

    All streams of the file are read, one after the other. Bytes that are none, or that end before their stream
    does, are a BadRowError after what could be read before; output out of all proportion is a TooLargeError.
    """
    if compression == "none":
        yield from chunks
        return
    reading = _Reading(compression, path, limits)
    with closing(chunks):
        for feed in _feeds(chunks):
            yield from reading.take(feed)
    yield from reading.end()


def magic_of(head: bytes) -> Compression | None:
    """Return the compression that the first bytes of a file plainly show."""
    for name, scheme in SCHEMES.items():
        if scheme.sure.match(head):
            return name
    return None


def may_begin(compression: Compression, head: bytes) -> bool:
    """Say whether a file in this compression can begin so, or was cut there."""
    magics = SCHEMES[compression].magic + (SKIPPABLE if compression in ("lz4", "zstd") else ())
    return any(head.startswith(magic) or magic.startswith(head) for magic in magics)


class _Reading:
    """How far one file has been read."""

    def __init__(self, compression: Compression, path: str, limits: Limits) -> None:
        self._compression = compression
        self._scheme = SCHEMES[compression]
        self._path = path
        self._limits = limits
        self._decoder: Decoder | None = None
        self._bytes_in = 0
        self._bytes_out = 0
        self._streams = 0
        self._padding = 0

    def take(self, feed: bytes) -> Iterator[bytes]:
        """Yield what some more bytes give."""
        self._bytes_in += len(feed)
        while feed or (self._decoder and not self._decoder.needs_input):
            if self._decoder is None:
                feed = self._without_padding(feed)
                if not feed:
                    return
                self._decoder = self._scheme.decoder()
                self._streams += 1
            output = self._step(self._decoder, feed)
            feed = b""
            if self._decoder.eof:
                feed = self._decoder.unused_data or b""
                self._decoder = None
            if output:
                yield output

    def end(self) -> Iterator[bytes]:
        """Yield what the decoder has left; the bytes end here, so that the stream must, too."""
        while self._decoder:
            output = self._step(self._decoder, b"")
            if self._decoder.eof:
                self._decoder = None
            elif not output:
                raise self._bad(f"ends inside a {self._compression} stream: it was cut, or not written to its end")
            yield output
        if not self._streams:
            raise self._bad(f"has no {self._compression} stream, not even an empty one")
        self._check_padding()

    def _step(self, decoder: Decoder, data: bytes) -> bytes:
        try:
            output = decoder.decompress(data, PIECE_BYTES)
        except ERRORS as error:
            reason = str(error).removeprefix("Unable to decompress Zstandard data: ")
            if "too much memory" in reason or "Memory usage limit" in reason or isinstance(error, MemoryError):
                raise TooLargeError(
                    f"{self._path} takes too much memory to decompress: its {self._compression} window is beyond "
                    f"{XZ_MEMORY_BYTES if self._compression == 'xz' else 1 << ZSTD_WINDOW_LOG} bytes"
                ) from error
            raise self._bad(f"is not readable as {self._compression}, stream {self._streams}: {reason}") from error
        self._bytes_out += len(output)
        if self._bytes_out > max(self._limits.expansion_from_bytes, self._limits.expansion * self._bytes_in):
            raise TooLargeError(
                f"{self._path} becomes more than {self._limits.expansion} times larger by decompression: after "
                f"{self._bytes_in} bytes it has {self._bytes_out}. Store it without compression"
            )
        return output

    def _without_padding(self, feed: bytes) -> bytes:
        if not (self._scheme.padding and self._streams):
            return feed
        rest = feed.lstrip(b"\0")
        self._padding += len(feed) - len(rest)
        if rest:
            self._check_padding()
            self._padding = 0
        return rest

    def _check_padding(self) -> None:
        if self._compression == "xz" and self._padding % XZ_PADDING:
            raise self._bad(f"has {self._padding} zeros after an xz stream, and not a multiple of {XZ_PADDING}")

    def _bad(self, what: str) -> BadRowError:
        return BadRowError(FileFault(f"{self._path}, by byte {self._bytes_in} of the compressed file, {what}"))


def _feeds(chunks: Iterator[bytes]) -> Iterator[bytes]:
    for chunk in chunks:
        if len(chunk) <= FEED_BYTES:
            yield chunk
        else:
            for start in range(0, len(chunk), FEED_BYTES):
                yield chunk[start : start + FEED_BYTES]
