"""MessagePack by its own streaming unpacker: objects one after the other, or the elements of one array."""

from collections.abc import Iterator
from contextlib import closing
from functools import partial
from operator import sub
from typing import Any

import msgpack
import pyarrow as pa
from msgspec import Struct

from actors.formats.block import BadRowError, Block
from actors.formats.columns import Columns, Place
from actors.formats.input import GRID_BYTES, Input
from actors.formats.messagepack_columns import Columns as FoundColumns
from actors.formats.messagepack_columns import Data, Template
from events.batch import FileFault, Position
from rota.errors import TooLargeError
from rota.options import MessagePackOptions

FIRST_ROWS = 10_000
"""Rows of the first block, whose values decide the types."""

BLOCK_ROWS = 16_384
"""Rows of the blocks after it."""

ERRORS = (ValueError, TypeError, OverflowError, msgpack.UnpackException)
"""What the unpacker raises for bytes that are no MessagePack, and for lying lengths."""


class Extension(Struct):
    """A value of a type that an application has made up: no column holds it."""

    code: int
    data: bytes


class BadMap(Struct):
    """A map with a key that comes twice, or is a map itself: no column holds it."""

    pairs: list[tuple[Any, Any]]


def read(file: Input, options: MessagePackOptions, start: Position, schema: pa.Schema | None) -> Iterator[Block]:
    """Yield the rows from a position on.

    Its `part` is 0 for objects one after the other, else one more than the elements that the array still has.
    """
    columns = Columns.of(file, options, schema)
    with closing(file.chunks(start.offset)) as chunks:
        objects = _Objects(file, chunks, start)
        position = objects.start
        while True:
            count = BLOCK_ROWS if position.row or position.bad else FIRST_ROWS
            count = min(position.part - 1, count) if position.part else count
            if found := objects.columns(count, columns):
                arrays, ends = found
                place = partial(_place, [position.offset, *ends])
                table, bad = columns.table_of_columns(list(arrays), list(arrays.values()), place, position.row)
            else:
                values, ends = objects.take(count)
                if not values:
                    break
                rows = [value if type(value) is dict else {"value": value} for value in values]
                table, bad = columns.table(rows, partial(_place, [position.offset, *ends]), position.row)
            yield Block(position, table, bad)
            position = Position(
                offset=ends[-1],
                row=position.row + table.num_rows,
                part=position.part and position.part - len(ends),
                bad=position.bad + len(bad),
            )
        if fault := objects.fault or objects.fault_at_end(position.part):
            raise BadRowError(FileFault(f"{file.path}, byte {position.offset}: {fault}", row=position.row))


class _Objects:
    """The objects of a file in order, some thousand at a time; `fault` says why there are no more."""

    def __init__(self, file: Input, chunks: Iterator[bytes], start: Position) -> None:
        self.start = start
        self.fault: str | None = None
        self._path = file.path
        self._row_bytes = file.limits.row_bytes
        self._chunks = chunks
        self._body = b""
        self._body_start = self._end = start.offset
        self._unpacker: msgpack.Unpacker | None = None
        self._unpacked_from = 0
        self._data: Data | None = None
        self._template: Template | None = None
        if start.offset == 0:
            self._body = next(chunks, b"")
            size, count = _array_header(self._body)
            self.start = Position(size, part=count + 1 if size else 0)
            self._end = size

    def columns(self, count: int, known: Columns) -> tuple[dict[str, pa.Array], list[int]] | None:
        """Return what `take` would, in columns; None if the objects are not all like the last one that it took."""
        if not self._template:
            return None
        found = self._found(self._template, count)
        arrays = found.arrays(known.schema, known.named) if found else None
        if not found or arrays is None:
            return None
        ends: list[int] = (found.ends + self._body_start).tolist()
        self._advance(ends)
        self._unpacker = None
        return arrays, ends

    def take(self, count: int) -> tuple[list[Any], list[int]]:
        """Return up to so many objects, and the byte after each; none at the end, or where reading cannot go on."""
        objects: list[Any] = []
        ends: list[int] = []
        try:
            while count and not objects and not self.fault:
                self._unpack(objects, ends, count)
                if not objects and not self._feed():
                    break
        except MemoryError as error:
            raise TooLargeError(f"{self._path}, byte {self._end}: the object needs too much memory") from error
        except ERRORS as error:
            self.fault = f"this is no MessagePack: {str(error) or type(error).__name__}"
        if ends:
            self._advance(ends)
            self._template = Template.of(objects[-1]) if type(objects[-1]) is dict else None
        return objects, ends

    def fault_at_end(self, part: int) -> str | None:
        """Return what is wrong with how the file ends."""
        if part == 1:
            return "more follows after the end of the array" if self._waiting or self._feed() else None
        if self._waiting:
            return "the file ends within an object"
        return f"the file ends, and the array has {part - 1} more elements" if part else None

    @property
    def _waiting(self) -> int:
        """How many bytes there are after the last object."""
        return self._body_start + len(self._body) - self._end

    def _found(self, template: Template, count: int) -> FoundColumns | None:
        while True:
            if self._waiting:
                self._data = self._data or Data(self._body)
                start = self._end - self._body_start
                found = template.columns(self._data, start, count)
                if found or not self._data.is_cut(start):
                    return found
            if not self._feed():
                return None

    def _unpack(self, objects: list[Any], ends: list[int], count: int) -> None:
        """Add objects as far as the bytes that are there hold them."""
        if self._unpacker is None:
            self._unpacker = _unpacker(self._row_bytes)
            self._unpacker.feed(memoryview(self._body)[self._end - self._body_start :])
            self._unpacked_from = self._end
        base, tell = self._unpacked_from, self._unpacker.tell
        for value in self._unpacker:
            objects.append(value)
            ends.append(base + tell())
            if len(ends) == count:
                break

    def _feed(self) -> bool:
        if self._waiting > self._row_bytes:
            raise self._too_long()
        chunk = next(self._chunks, b"")
        if self._unpacker:
            self._unpacker.feed(chunk)
        self._body = self._body[self._end - self._body_start :] + chunk
        self._body_start, self._data = self._end, None
        return bool(chunk)

    def _advance(self, ends: list[int]) -> None:
        if max(map(sub, ends, [self._end, *ends])) > self._row_bytes:
            self._end = ends[-1]
            raise self._too_long()
        self._end = ends[-1]

    def _too_long(self) -> TooLargeError:
        return TooLargeError(f"{self._path}, byte {self._end}: an object is longer than {self._row_bytes} bytes")


def _unpacker(row_bytes: int) -> msgpack.Unpacker:
    return msgpack.Unpacker(
        ext_hook=Extension,
        object_pairs_hook=_map,
        max_buffer_size=row_bytes + 2 * GRID_BYTES,
        max_array_len=row_bytes,
        max_bin_len=row_bytes,
        max_ext_len=row_bytes,
        max_map_len=row_bytes,
        max_str_len=row_bytes,
        strict_map_key=False,
        unicode_errors="surrogateescape",  # a text that is no UTF-8 is then a value that is no text
        use_list=False,  # so that a list may be a key
    )


def _map(pairs: list[tuple[Any, Any]]) -> dict[Any, Any] | BadMap:
    """Return the pairs as a dict, which alone would drop all but the last value of a key."""
    try:
        found = dict(pairs)
    except TypeError:
        return BadMap(pairs)
    return found if len(found) == len(pairs) else BadMap(pairs)


def _array_header(first: bytes) -> tuple[int, int]:
    """Return the length of the header of an array, and how many elements it has; 0 if this begins otherwise."""
    if not first:
        return 0, 0
    if first[0] & 0xF0 == 0x90:  # noqa: PLR2004 - MessagePack's fixarray
        return 1, first[0] & 0x0F
    size = {0xDC: 3, 0xDD: 5}.get(first[0], 0)
    return (size, int.from_bytes(first[1:size])) if 0 < size <= len(first) else (0, 0)


def _place(offsets: list[int], index: int) -> Place:
    return Place(f"byte {offsets[index]}")
