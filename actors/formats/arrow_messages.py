"""The messages that an Arrow file or stream is made of, cut out of its bytes and weighed before they are decoded.

Messages and footers are flatbuffers; the few fields that are read here are verified by Arrow once more.
"""

import struct
from collections.abc import Iterator
from typing import BinaryIO

from msgspec import Struct

from actors.formats.block import BadRowError
from actors.formats.limits import Limits
from events.batch import FileFault
from rota.errors import TooLargeError

FILE_MAGIC = b"ARROW1"
FIRST_AT = 8
CONTINUATION = b"\xff\xff\xff\xff"
LENGTH_BYTES = 4
NO_BYTES = bytes(4)
"""The length that ends a stream: behind a continuation mark, or alone as before version 0.15."""
BLOCK_BYTES = 24
MOST_PADDING = 64
ROWS_FOR_NOTHING = 1_000_000
"""Rows that a record batch may have without a bit for each, as where all values are null."""

SCHEMA, DICTIONARY, BATCH = 1, 2, 3


class Message(Struct):
    """A message, in the parts that Arrow reads it in: prefix, metadata and body."""

    kind: int
    offset: int
    parts: list[memoryview]
    rows: int = 0

    @property
    def size(self) -> int:
        """All its bytes."""
        return sum(map(len, self.parts))


class Extent(Struct, frozen=True):
    """Where a message stands in a file, as the footer says."""

    offset: int
    size: int


class Footer(Struct):
    """What stands at the end of an Arrow file."""

    schema: Message
    dictionaries: list[Extent]
    batches: list[Extent]


class Bytes:
    """Bytes that arrive in pieces and are taken in lengths; knows where it is in the file."""

    def __init__(self, pieces: Iterator[bytes], offset: int = 0) -> None:
        self._pieces = pieces
        self._rest = memoryview(b"")
        self.offset = offset

    def take(self, size: int) -> memoryview:
        """Return the next bytes, without a copy if they came in one piece; fewer only at the end."""
        have = len(self._rest)
        if have < size:
            parts = [self._rest]
            while have < size and (piece := next(self._pieces, None)) is not None:
                parts.append(memoryview(piece))
                have += len(piece)
            self._rest = parts[-1] if have == len(parts[-1]) else memoryview(b"".join(parts))
        taken, self._rest = self._rest[:size], self._rest[size:]
        self.offset += len(taken)
        return taken


def next_message(source: Bytes, path: str, limits: Limits) -> Message | None:
    """Return the next message of a stream, None at the marker of its end; BadRowError if it ends without one."""
    offset = source.offset
    prefix = [source.take(4)]
    if prefix[0] == CONTINUATION:
        prefix.append(source.take(4))
    if len(prefix[0]) == LENGTH_BYTES and prefix[-1] == NO_BYTES:
        return None
    if not prefix[0]:
        raise _broken(path, offset, "the stream ends without the marker of its end, so it may have been cut")
    if len(prefix[-1]) < LENGTH_BYTES:
        raise _broken(path, offset, "the file is cut")
    (length,) = struct.unpack("<i", prefix[-1])
    if length < 0 or length > limits.whole_bytes:
        raise TooLargeError(
            f"{path}, byte {offset}: its metadata claims {length} bytes; at most {limits.whole_bytes} are read"
        )
    metadata = source.take(length)
    if len(metadata) < length:
        raise _broken(path, offset, "the file is cut")
    try:
        kind, body_bytes = _header(metadata)
    except (struct.error, IndexError) as error:
        raise _broken(path, offset, "the metadata of a message is broken") from error
    if body_bytes < 0 or body_bytes > limits.batch_bytes:
        raise _too_large(path, offset, body_bytes, limits)
    body = source.take(body_bytes)
    if len(body) < body_bytes:
        raise _broken(path, offset, "the file is cut")
    return _weighed(Message(kind, offset, [*prefix, metadata, body]), path, limits)


def message_at(file: BinaryIO, extent: Extent, path: str, limits: Limits) -> Message:
    """Return the message that a footer points to."""
    if extent.size > limits.batch_bytes + limits.whole_bytes:
        raise _too_large(path, extent.offset, extent.size, limits)
    file.seek(extent.offset)
    source = Bytes(iter([file.read(extent.size)]), extent.offset)
    message = next_message(source, path, limits)
    if message is None or message.size + MOST_PADDING <= extent.size:
        raise _broken(path, extent.offset, "the footer and the record batches disagree")
    return message


def read_footer(file: BinaryIO, path: str, limits: Limits) -> Footer:
    """Return the footer of a file, whose messages must stand one behind the other without a gap."""
    end = file.seek(0, 2)
    tail_bytes = LENGTH_BYTES + len(FILE_MAGIC)
    file.seek(max(0, end - tail_bytes))
    tail = file.read(tail_bytes)
    if tail[LENGTH_BYTES:] != FILE_MAGIC:
        raise _broken(path, end, f"the file does not end with {FILE_MAGIC.decode()}, so it was cut")
    (size,) = struct.unpack("<i", tail[:LENGTH_BYTES])
    start = end - tail_bytes - size
    if size <= 0 or start < FIRST_AT:
        raise _broken(path, end, f"the footer claims {size} bytes")
    if size > limits.whole_bytes:
        raise TooLargeError(f"{path}: the footer claims {size} bytes; at most {limits.whole_bytes} are read")
    file.seek(start)
    body = file.read(size)
    try:
        view = memoryview(body)
        root = _table(view, 0)
        footer = Footer(_schema_message(body, root), _extents(view, root, 2), _extents(view, root, 3))
    except (struct.error, IndexError) as error:
        raise _broken(path, start, "the footer is broken") from error
    reached = _first_message_at(file)
    for extent in sorted([*footer.dictionaries, *footer.batches], key=lambda extent: extent.offset):
        if (
            extent.size <= 0
            or extent.offset < FIRST_AT
            or (reached and not 0 <= extent.offset - reached < MOST_PADDING)
        ):
            raise _broken(path, extent.offset, "the footer does not list the record batches that the file has")
        reached = extent.offset + extent.size
    # Between the last message and the footer stands the marker of the stream's end.
    if reached and not 0 <= start - reached < MOST_PADDING + 2 * LENGTH_BYTES:
        raise _broken(path, reached, "the footer does not list all record batches of the file")
    return footer


def _first_message_at(file: BinaryIO) -> int:
    """Return where the message that repeats the schema ends; 0 without one, as in the files of Polars."""
    file.seek(FIRST_AT)
    prefix = file.read(2 * LENGTH_BYTES)
    if prefix[:LENGTH_BYTES] != CONTINUATION:
        return 0
    return FIRST_AT + 2 * LENGTH_BYTES + int.from_bytes(prefix[LENGTH_BYTES:], "little")


def _schema_message(footer: bytes, root: int) -> Message:
    """Return a message with the footer's schema, as a stream begins with: a table before it that points to it."""
    view = memoryview(footer)
    schema = _table(view, _field(view, root, 1))
    at = _field(view, root, 0)
    (version,) = struct.unpack_from("<h", footer, at) if at else (0,)
    before, table, header = 40, 16, 20
    layout = struct.pack("<I6H", table, 12, 20, 16, 18, 4, 8)
    fields = struct.pack("<iIqhB5x", table - 4, before + schema - header, 0, version, SCHEMA)
    metadata = layout + fields + footer + bytes(-len(footer) % 8)
    prefix = CONTINUATION + struct.pack("<i", len(metadata))
    return Message(SCHEMA, 0, [memoryview(prefix[:4]), memoryview(prefix[4:]), memoryview(metadata)])


def _weighed(message: Message, path: str, limits: Limits) -> Message:
    """Check what a record batch will be once it is decompressed."""
    metadata, body = message.parts[-2:]
    if message.kind not in (DICTIONARY, BATCH):
        return message
    try:
        table = _table(metadata, _field(metadata, _table(metadata, 0), 2))
        if message.kind == DICTIONARY:
            table = _table(metadata, _field(metadata, table, 1))
        at = _field(metadata, table, 0)
        message.rows = struct.unpack_from("<q", metadata, at)[0] if at else 0
        weight = len(body)
        if _field(metadata, table, 3):
            vector = _vector(metadata, _field(metadata, table, 2))
            weight = sum(_decompressed_bytes(body, *buffer) for buffer in vector)
    except (struct.error, IndexError) as error:
        raise _broken(path, message.offset, "the metadata of a record batch is broken") from error
    bombs = weight > limits.expansion_from_bytes and weight > limits.expansion * len(body)
    if weight > limits.batch_bytes or bombs:
        raise _too_large(path, message.offset, weight, limits)
    if message.rows > max(ROWS_FOR_NOTHING, 8 * weight):
        raise TooLargeError(
            f"{path}, byte {message.offset}: a record batch claims {message.rows} rows in {weight} bytes"
        )
    return message


def _decompressed_bytes(body: memoryview, offset: int, length: int) -> int:
    if length < 8:  # noqa: PLR2004 - bytes of the length that stands before what is compressed
        return 0
    (size,) = struct.unpack_from("<q", body, offset)
    return length if size == -1 else int(size) if size >= 0 else 1 << 62


def _header(metadata: memoryview) -> tuple[int, int]:
    """Return the kind of a message and the length of its body."""
    root = _table(metadata, 0)
    kind, length = _field(metadata, root, 1), _field(metadata, root, 3)
    return (
        metadata[kind] if kind else 0,
        struct.unpack_from("<q", metadata, length)[0] if length else 0,
    )


def _table(buffer: memoryview, at: int) -> int:
    return at + int(struct.unpack_from("<I", buffer, at)[0])


def _field(buffer: memoryview, table: int, number: int) -> int:
    """Return where a field of a table stands, 0 if it is left out."""
    vtable = table - int(struct.unpack_from("<i", buffer, table)[0])
    if vtable < 0:
        raise IndexError(vtable)
    (size,) = struct.unpack_from("<H", buffer, vtable)
    slot = 4 + 2 * number
    offset = int(struct.unpack_from("<H", buffer, vtable + slot)[0]) if slot < size else 0
    return table + offset if offset else 0


def _vector(buffer: memoryview, at: int) -> list[tuple[int, int]]:
    """Return a vector of structs of two longs."""
    if not at:
        return []
    start = _table(buffer, at)
    (count,) = struct.unpack_from("<I", buffer, start)
    return [struct.unpack_from("<qq", buffer, start + 4 + 16 * n) for n in range(count)]


def _extents(buffer: memoryview, root: int, number: int) -> list[Extent]:
    at = _field(buffer, root, number)
    if not at:
        return []
    start = _table(buffer, at)
    (count,) = struct.unpack_from("<I", buffer, start)
    blocks = (struct.unpack_from("<qi4xq", buffer, start + 4 + BLOCK_BYTES * n) for n in range(count))
    return [Extent(offset, metadata + body) for offset, metadata, body in blocks]


def _broken(path: str, offset: int, reason: str) -> BadRowError:
    return BadRowError(FileFault(f"{path}, byte {offset}: {reason}"))


def _too_large(path: str, offset: int, size: int, limits: Limits) -> TooLargeError:
    return TooLargeError(
        f"{path}, byte {offset}: a record batch claims {size} bytes; at most {limits.batch_bytes} are read, and "
        f"{limits.expansion} times of what it has compressed. Write smaller record batches"
    )
