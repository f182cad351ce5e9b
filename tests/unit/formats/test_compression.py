"""Decompression: all streams of a file, in small pieces, and never a part of it for the whole."""

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable, Generator

import lz4.frame
import pytest
import zstandard
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.formats.block import BadRowError
from actors.formats.compression import PIECE_BYTES, decompressed
from actors.formats.limits import Limits
from rota.errors import TooLargeError
from rota.options import Compression

SMALL = b"id,name\n" + b"".join(b"%d,name %d\n" % (n, n * n) for n in range(60))
COMPRESS: dict[Compression, Callable[[bytes], bytes]] = {
    "bzip2": bz2.compress,
    "gzip": gzip.compress,
    "lz4": lambda body: bytes(lz4.frame.compress(body, content_checksum=True)),
    "xz": lzma.compress,
    "zstd": zstandard.ZstdCompressor(write_checksum=True).compress,
}
SKIPPABLE = b"\x53\x2a\x4d\x18\x05\x00\x00\x00hello"

every_kind = pytest.mark.parametrize("kind", COMPRESS)


def plain(stored: bytes, kind: Compression, piece: int = 1 << 20, limits: Limits | None = None) -> bytes:
    return b"".join(decompressed(pieces(stored, piece), kind, "x", limits or Limits()))


def pieces(body: bytes, size: int) -> Generator[bytes, None, None]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


def until_error(stored: bytes, kind: Compression) -> tuple[bytes, str]:
    got = b""
    try:
        for piece in decompressed(pieces(stored, 7), kind, "orders.csv", Limits()):
            got += piece
    except (BadRowError, TooLargeError) as error:
        return got, str(error)
    return got, ""


@every_kind
@settings(max_examples=20)
@given(bodies=st.lists(st.binary(max_size=300), min_size=1, max_size=4), piece=st.integers(1, 100))
def test_all_streams_of_a_file_are_read(kind: Compression, bodies: list[bytes], piece: int) -> None:
    stored = b"".join(COMPRESS[kind](body) for body in bodies)

    assert plain(stored, kind, piece) == b"".join(bodies)


@every_kind
def test_a_file_that_is_cut_anywhere_is_an_error_after_its_rows(kind: Compression) -> None:
    stored = COMPRESS[kind](SMALL)
    for cut in range(len(stored)):
        got, error = until_error(stored[:cut], kind)
        assert SMALL.startswith(got)
        assert error.startswith(f"orders.csv, by byte {cut} of the compressed file, "), cut


@every_kind
def test_a_changed_byte_is_an_error_or_says_nothing_of_the_content(kind: Compression) -> None:
    stored = COMPRESS[kind](SMALL)
    for place in range(len(stored)):
        for change in (0x01, 0x80, 0xFF):
            changed = bytearray(stored)
            changed[place] ^= change
            got, error = until_error(bytes(changed), kind)
            assert error or got == SMALL, place


@every_kind
def test_what_follows_the_last_stream_is_an_error(kind: Compression) -> None:
    got, error = until_error(COMPRESS[kind](SMALL) + b"garbage, and more of it", kind)

    assert got == SMALL
    assert "by byte" in error


@pytest.mark.parametrize("kind", ["gzip", "xz"])
def test_zeros_may_pad_streams(kind: Compression) -> None:
    stored = COMPRESS[kind](SMALL) + bytes(8)

    assert plain(stored + stored, kind, 3) == SMALL * 2


def test_xz_is_padded_to_multiples_of_four() -> None:
    assert "has 5 zeros after an xz stream" in until_error(COMPRESS["xz"](SMALL) + bytes(5), "xz")[1]


@pytest.mark.parametrize("kind", ["lz4", "zstd"])
def test_frames_of_other_data_are_skipped(kind: Compression) -> None:
    stored = COMPRESS[kind](SMALL)

    assert plain(SKIPPABLE + stored + SKIPPABLE + stored, kind, 5) == SMALL * 2


@every_kind
def test_a_bomb_is_an_error_that_says_so(kind: Compression) -> None:
    limits = Limits(expansion=100, expansion_from_bytes=PIECE_BYTES)
    largest = 0
    with pytest.raises(TooLargeError, match="more than 100 times larger"):  # noqa: PT012 - pieces are looked at
        for piece in decompressed(pieces(COMPRESS[kind](bytes(40 << 20)), 1 << 20), kind, "x", limits):
            largest = max(largest, len(piece))

    assert largest <= PIECE_BYTES


def test_what_takes_too_much_memory_is_refused() -> None:
    encoder = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: 30})
    wide = encoder.compress(b"x") + encoder.flush()
    with pytest.raises(TooLargeError, match="its zstd window is beyond 134217728 bytes"):
        plain(wide, "zstd")
    header = bytearray(lzma.compress(b"x", filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 16}]))
    # The size of the dictionary is one byte of the block's header, which ends with a checksum.
    header[16] = 36
    header[20:24] = zlib.crc32(bytes(header[12:20])).to_bytes(4, "little")
    with pytest.raises(TooLargeError, match="its xz window is beyond"):
        plain(bytes(header), "xz")
