"""The blocks of an Avro object container file, cut out of its bytes, checked and decompressed."""

import bz2
import io
import json
import lzma
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import fastavro
import lz4.block
import zstandard
from cramjam import snappy
from msgspec import Struct

from actors.formats.block import BadRowError
from actors.formats.compression import XZ_MEMORY_BYTES
from actors.formats.limits import Limits
from actors.formats.native import faults_of
from events.batch import FileFault
from rota.errors import TooLargeError

MAGIC = b"Obj\x01"
SYNC_BYTES = 16
VARINT_BYTES = 10
HEADER: Any = {
    "type": "record",
    "name": "Header",
    "fields": [
        {"name": "magic", "type": {"type": "fixed", "name": "Magic", "size": len(MAGIC)}},
        {"name": "meta", "type": {"type": "map", "values": "bytes"}},
        {"name": "sync", "type": {"type": "fixed", "name": "Sync", "size": SYNC_BYTES}},
    ],
}
PREFIX_AND_SYNC_BYTES = 2 * VARINT_BYTES + SYNC_BYTES


class Header(Struct):
    """What stands before the first block."""

    schema: Any
    codec: str
    sync: bytes
    size: int


class AvroBlock(Struct):
    """Records that were written together, decompressed."""

    offset: int
    count: int
    payload: bytes


def read_header(pieces: Iterator[bytes], path: str, limits: Limits) -> Header:
    """Return the header; it may be as long as a row."""
    head = b""
    for piece in pieces:
        head += piece
        if not head.startswith(MAGIC[: len(head)]):
            break
        try:
            return _parsed(head, path)
        except EOFError:
            if len(head) > limits.row_bytes:
                raise TooLargeError(f"{path}: its header has more than {limits.row_bytes} bytes") from None
    if not head.startswith(MAGIC):
        raise BadRowError(FileFault(f"{path} is no Avro file: it does not begin with Obj and 1", row=0))
    raise BadRowError(FileFault(f"{path}, byte {len(head)}: the file is cut within its header", row=0))


def _parsed(head: bytes, path: str) -> Header:
    stream = io.BytesIO(head)
    with faults_of(f"{path}: its header is broken", 0):
        try:
            fields: Any = fastavro.schemaless_reader(stream, HEADER, None)
        except (EOFError, IndexError):  # the latter where a length is cut
            fields = None
    if fields is None:
        raise EOFError
    with faults_of(f"{path}: its schema is broken", 0):
        schema = json.loads(fields["meta"]["avro.schema"])
        codec = fields["meta"].get("avro.codec", b"null").decode()
    if codec not in CODECS:
        raise BadRowError(FileFault(f"{path}: there is no codec {codec!r}; {', '.join(CODECS)} are read", row=0))
    return Header(schema, codec, fields["sync"], stream.tell())


def blocks(
    pieces: Iterator[bytes], offset: int, header: Header, path: str, limits: Limits, *, prompt: bool = False
) -> Iterator[AvroBlock | None]:
    """Yield the blocks of the bytes that begin at an offset; `limits.whole_bytes` are for one of them.

    `prompt` yields None before the next piece is asked for.
    """
    rest, at = b"", 0
    more = True
    while True:
        while more and len(rest) - at < PREFIX_AND_SYNC_BYTES and not (prompt and _is_whole(rest, at)):
            if prompt:
                yield None
            rest, at, more = _more(rest, at, pieces)
        if at == len(rest):
            return
        place = f"{path}, byte {offset}"
        count, after = _varint(rest, at, place)
        size, begin = _varint(rest, after, place)
        if count < 0 or size < 0:
            raise BadRowError(FileFault(f"{place}: a block claims {count} rows in {size} bytes"))
        if size > limits.whole_bytes:
            raise TooLargeError(f"{place}: a block claims {size} bytes; at most {limits.whole_bytes} are read")
        end = begin + size + SYNC_BYTES
        parts, have = [rest[at:]], len(rest)
        while more and have < end:
            if prompt:
                yield None
            piece = next(pieces, None)
            more = piece is not None
            parts.append(piece or b"")
            have += len(parts[-1])
        if len(parts) > 1:
            rest = b"".join(parts)
            begin, end, at = begin - at, end - at, 0
        if len(rest) < end:
            raise BadRowError(FileFault(f"{place}: the file is cut within a block"))
        if rest[end - SYNC_BYTES : end] != header.sync:
            raise BadRowError(FileFault(f"{place}: no sync marker stands behind the block, so it is broken"))
        most = min(limits.whole_bytes, max(limits.expansion_from_bytes, limits.expansion * size))
        yield AvroBlock(offset, count, decompressed(rest[begin : end - SYNC_BYTES], header.codec, place, most))
        offset += end - at
        at = end


def decompressed(data: bytes, codec: str, place: str, most: int) -> bytes:
    """Return what a block holds, at most so many bytes."""
    with faults_of(f"{place}: a block cannot be decompressed", 0):
        payload = CODECS[codec](data, most)
    if payload is None or len(payload) > most:
        raise TooLargeError(f"{place}: a block of {len(data)} bytes becomes more than {most} by decompression")
    return payload


def _more(rest: bytes, at: int, pieces: Iterator[bytes]) -> tuple[bytes, int, bool]:
    piece = next(pieces, None)
    return (rest, at, False) if piece is None else (rest[at:] + piece, 0, True)


def _is_whole(rest: bytes, at: int) -> bool:
    """Say whether these few bytes hold a block."""
    try:
        _, after = _varint(rest, at, "")
        size, begin = _varint(rest, after, "")
    except BadRowError:
        return False
    return begin + size + SYNC_BYTES <= len(rest)


def _varint(buffer: bytes, at: int, place: str) -> tuple[int, int]:
    """Return a long and where it ends."""
    value = 0
    for index in range(VARINT_BYTES):
        if at + index >= len(buffer):
            raise BadRowError(FileFault(f"{place}: the file is cut at the beginning of a block"))
        byte = buffer[at + index]
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:  # noqa: PLR2004 - the bit that says that more follows
            return (value >> 1) ^ -(value & 1), at + index + 1
    raise BadRowError(FileFault(f"{place}: the length of a block is broken"))


def _bzip2(data: bytes, most: int) -> bytes | None:
    return _by(bz2.BZ2Decompressor(), data, most)


def _deflate(data: bytes, most: int) -> bytes | None:
    # fastavro leaves three bytes of zlib's checksum behind what Avro asks for.
    return _by(zlib.decompressobj(-zlib.MAX_WBITS), data, most, trailing=4)


def _xz(data: bytes, most: int) -> bytes | None:
    return _by(lzma.LZMADecompressor(memlimit=XZ_MEMORY_BYTES), data, most)


def _by(decompressor: Any, data: bytes, most: int, trailing: int = 0) -> bytes | None:
    """Decompress all that is there and nothing else."""
    payload: bytes = decompressor.decompress(data, most + 1)
    if len(payload) > most:
        return None
    if not decompressor.eof or len(decompressor.unused_data) > trailing:
        raise ValueError("it does not end where it should")
    return payload


def _lz4(data: bytes, most: int) -> bytes | None:
    (size,) = struct.unpack_from("<I", data)
    return None if size > most else lz4.block.decompress(data)


def _null(data: bytes, most: int) -> bytes | None:  # noqa: ARG001 - nothing grows
    return data


def _snappy(data: bytes, most: int) -> bytes | None:
    body = data[:-4]
    if snappy.decompress_raw_len(body) > most:
        return None
    payload = bytes(snappy.decompress_raw(body))
    if zlib.crc32(payload) != int.from_bytes(data[-4:], "big"):
        raise ValueError("its checksum is wrong")
    return payload


def _zstandard(data: bytes, most: int) -> bytes | None:
    decompressor = zstandard.ZstdDecompressor(max_window_size=1 << 27).decompressobj(read_across_frames=False)
    parts, size = [], 0
    view = memoryview(data)
    for at in range(0, len(view), 4096):
        parts.append(decompressor.decompress(view[at : at + 4096]))
        size += len(parts[-1])
        if size > most:
            return None
    if not decompressor.eof or decompressor.unused_data:
        raise ValueError("it does not end where it should")
    return b"".join(parts)


CODECS: dict[str, Callable[[bytes, int], bytes | None]] = {
    "bzip2": _bzip2,
    "deflate": _deflate,
    "lz4": _lz4,
    "null": _null,
    "snappy": _snappy,
    "xz": _xz,
    "zstandard": _zstandard,
}


def uncompressed(schema: Any, count: int, payload: bytes) -> io.BytesIO:
    """Return a file of one block that is not compressed, as fastavro reads it fastest."""
    text = json.dumps(schema).encode()
    head = (_written(2), _written_text(b"avro.schema"), _written_text(text), _written_text(b"avro.codec"))
    sync = bytes(SYNC_BYTES)
    parts = (MAGIC, *head, _written_text(b"null"), _written(0), sync, _written(count), _written_text(payload), sync)
    return io.BytesIO(b"".join(parts))


def _written(value: int) -> bytes:
    """Write a long that is not negative."""
    value <<= 1
    written = bytearray()
    while value >= 0x80:  # noqa: PLR2004 - the bit that says that more follows
        written.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*written, value])


def _written_text(text: bytes) -> bytes:
    return _written(len(text)) + text
