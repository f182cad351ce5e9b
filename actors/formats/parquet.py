"""Parquet: one row group after the other, each in parts.

A position is a row group: `part` is its number, and `offset` the number of the row in it.
"""

import struct
from collections.abc import Iterator
from contextlib import closing
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from actors.formats.block import BadRowError, Block
from actors.formats.input import Input
from actors.formats.limits import Limits
from actors.formats.native import faults_of
from actors.formats.plain import Plain, chosen, largest, rows_per_block
from events.batch import FileFault, Position
from rota.errors import TooLargeError
from rota.options import ParquetOptions

MAGIC, ENCRYPTED_MAGIC = b"PAR1", b"PARE"
TAIL_BYTES = 8
MOST_DECODED_BYTES = 64 * 1024 * 1024
"""What the rows of one batch may become if each has the largest value of its column's dictionary."""
BUFFER_BYTES = 1024 * 1024
"""Bytes of each column that are read at a time; without it Arrow reads all of a column's part of a row group."""


def read(file: Input, options: ParquetOptions, start: Position, schema: pa.Schema | None) -> Iterator[Block]:  # noqa: ARG001 - the file has its own
    """Yield the rows of one row group after the other, in blocks."""
    with closing(file.open()) as body:
        size = _check_ends(file.path, body, file.limits)
        with faults_of(file.path, start.row):
            groups = _RowGroups(file, options, body, size)
        yield from groups.blocks(start)


class _RowGroups:
    """The row groups of one file."""

    def __init__(self, file: Input, options: ParquetOptions, body: BinaryIO, size: int) -> None:
        self._path = file.path
        self._limits = file.limits
        self._body = body
        self._bytes = size
        self._parquet = parquet = self._opened()
        written = parquet.schema_arrow
        self._columns = chosen(file.path, written, None, file.limits)
        wanted = list(options.columns or self._columns)
        self._tops = list(dict.fromkeys(_top(file.path, name, written, self._columns) for name in wanted))
        # Arrow chooses by name, which does not tell columns with the same name apart.
        self._read = wanted if options.columns and list(self._columns) == written.names else None
        names = set(wanted if self._read else written.names)
        self._texts = [field.name for field in written if field.name in names and _is_text(field.type)]
        self._dictionaries = self._opened(self._texts) if self._texts else None
        """Reads columns of texts as dictionaries, which are small where the texts would not be."""
        self._plains: dict[bool, Plain] = {}
        metadata = parquet.metadata
        claimed = sum(metadata.row_group(index).num_rows for index in range(metadata.num_row_groups))
        if claimed != metadata.num_rows:
            raise BadRowError(
                FileFault(
                    f"{file.path}: its footer claims {metadata.num_rows} rows, its row groups {claimed}", row=0
                )
            )

    def blocks(self, start: Position) -> Iterator[Block]:
        """Yield the rows from a position on."""
        row, skip = start.row, start.offset
        for part in range(start.part, self._parquet.metadata.num_row_groups):
            place = f"{self._path}, row group {part + 1}"
            first = row - skip
            with faults_of(place, row):
                claimed, batches = self._open(part, place)
            reached = 0
            while True:
                with faults_of(place, row):
                    batch = next(batches, None)
                    if batch is None:
                        break
                    if reached + batch.num_rows <= skip:
                        reached += batch.num_rows
                        continue
                    batch.validate(full=True)
                    tables = self._decoded(batch, max(0, skip - reached))
                while True:
                    with faults_of(place, row):
                        begin, table = next(tables, (0, None))
                    if table is None:
                        break
                    row = first + reached + begin
                    yield Block(Position(reached + begin, row, 1, part), table.select(self._tops))
                    row += table.num_rows
                reached += batch.num_rows
            if reached != claimed:
                message = f"{place}: the footer claims {claimed} rows, and there are {reached}"
                raise BadRowError(FileFault(message, row=row))
            skip = 0

    def _open(self, part: int, place: str) -> tuple[int, Iterator[pa.RecordBatch]]:
        """Return how many rows a row group should have, and its rows.

        Few bytes can say that a large text stands in very many rows; these are decoded some at a time.
        """
        # Not group.column(...): on some broken footers it ends the process.
        group = self._parquet.metadata.row_group(part)
        size = group.total_byte_size
        if size > self._limits.expansion_from_bytes and size > self._limits.expansion * self._bytes:
            raise TooLargeError(
                f"{place}: a file of {self._bytes} bytes has {size} in one row group by decompression; "
                f"at most {self._limits.expansion} times as many are read"
            )
        step = rows_per_block(group.total_byte_size, group.num_rows)
        reader = self._parquet
        if self._dictionaries is not None and self._largest(part) * step > MOST_DECODED_BYTES:
            reader = self._dictionaries
        return group.num_rows, reader.iter_batches(
            batch_size=step, row_groups=[part], columns=self._read, use_threads=False
        )

    def _opened(self, dictionaries: list[str] | None = None) -> pq.ParquetFile:
        return pq.ParquetFile(
            self._body,
            read_dictionary=dictionaries,
            buffer_size=BUFFER_BYTES,
            pre_buffer=False,
            page_checksum_verification=True,
            thrift_string_size_limit=self._limits.whole_bytes,
            thrift_container_size_limit=self._limits.columns * 100,
        )

    def _largest(self, part: int) -> int:
        """Return how large the texts of a row can be, by the dictionaries that come with a group's first row."""
        if self._dictionaries is None:
            return 0
        rows = self._dictionaries.iter_batches(
            batch_size=1, row_groups=[part], columns=self._texts, use_threads=False
        )
        return sum(
            largest(column.dictionary)
            for column in next(rows, pa.RecordBatch.from_pylist([])).columns
            if pa.types.is_dictionary(column.type)
        )

    def _decoded(self, batch: pa.RecordBatch, first: int) -> Iterator[tuple[int, pa.Table]]:
        has_dictionaries = any(pa.types.is_dictionary(field.type) for field in batch.schema)
        plain = self._plains.get(has_dictionaries)
        if plain is None:
            names = batch.schema.names if self._read else list(self._columns)
            plain = self._plains[has_dictionaries] = Plain(self._path, batch.schema, names, self._limits)
        return plain.blocks(batch, first)


def _is_text(type_: pa.DataType) -> bool:
    return bool(pa.types.is_string(type_) or pa.types.is_binary(type_))


def _top(path: str, name: str, schema: pa.Schema, columns: dict[str, int]) -> str:
    """Return the column that a name means: its own, or that which a dotted name begins with."""
    if name in columns:
        return name
    top, *inner = name.split(".")
    type_ = schema.field(columns[top]).type if top in columns else None
    for part in inner:
        index = type_.get_field_index(part) if type_ is not None and pa.types.is_struct(type_) else -1
        type_ = type_.field(index).type if type_ is not None and index >= 0 else None
    if type_ is None:
        raise BadRowError(FileFault(f"{path}: the option columns names {name}; it has {', '.join(columns)}", row=0))
    return top


def _check_ends(path: str, body: BinaryIO, limits: Limits) -> int:
    """Check both ends of the file and the length of its footer; return the length of the file."""
    end = body.seek(0, 2)
    body.seek(0)
    head = body.read(len(MAGIC))
    body.seek(max(0, end - TAIL_BYTES))
    tail = body.read(TAIL_BYTES)
    if ENCRYPTED_MAGIC in (head, tail[4:]):
        raise BadRowError(FileFault(f"{path} is an encrypted Parquet file; these are not read", row=0))
    if not end:
        raise BadRowError(FileFault(f"{path} is empty; a Parquet file without rows has columns", row=0))
    if head != MAGIC:
        raise BadRowError(FileFault(f"{path} is no Parquet file: it does not begin with PAR1", row=0))
    if tail[4:] != MAGIC or end < len(MAGIC) + TAIL_BYTES:
        raise BadRowError(FileFault(f"{path} does not end with PAR1, so it was cut", row=0))
    (size,) = struct.unpack("<I", tail[:4])
    if size > end - len(MAGIC) - TAIL_BYTES:
        raise BadRowError(FileFault(f"{path}: its footer claims {size} bytes", row=0))
    if size > limits.whole_bytes:
        raise TooLargeError(f"{path}: its footer claims {size} bytes; at most {limits.whole_bytes} are read")
    return end
