"""Avro object container files by fastavro, some blocks at a time.

A position is a block of the file: `offset` its byte, and `line` the row in it, from 1.
"""

from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from typing import Any

import fastavro
import pyarrow as pa
from msgspec.structs import replace

from actors.formats.avro_blocks import AvroBlock, Header, blocks, read_header, uncompressed
from actors.formats.avro_types import Types, lean
from actors.formats.block import BadRowError, Block
from actors.formats.input import Input
from actors.formats.native import faults_of
from events.batch import FileFault, Position
from rota.errors import TooLargeError
from rota.options import AvroOptions

GROUP_BYTES = 4 * 1024 * 1024
GROUP_ROWS = 16_384
ROWS_FOR_NOTHING = 10_000
"""Rows without any byte that a block may have."""
MANY = 64
"""A block with arrays of records may be so many times smaller, since these become many objects."""
SHOWN_CHARACTERS = 200
VALUE = "value"
"""The column of a file whose rows are no records."""


def read(file: Input, options: AvroOptions, start: Position, schema: pa.Schema | None) -> Iterator[Block]:  # noqa: ARG001 - the file has its own
    """Yield the rows, those of some Avro blocks at a time."""
    with closing(file.chunks()) as chunks:
        header = read_header(chunks, file.path, file.limits)
    records = _Records(file, options, header, start)
    offset = start.offset or header.size
    with closing(file.chunks(offset)) as chunks:
        found = blocks(chunks, offset, header, file.path, records.limits, prompt=file.prompt)
        skip = start.line - 1
        for group in records.groups(found):
            yield from records.rows(group, skip)
            skip = 0


class _Records:
    """The records of one file, decoded."""

    def __init__(self, file: Input, options: AvroOptions, header: Header, start: Position) -> None:
        self._path = file.path
        with faults_of(f"{file.path}: its schema is broken", 0):
            parsed = fastavro.parse_schema(lean(header.schema, logical=True))
            top = Types(file.path, file.limits).column(parsed)
            bare = lean(header.schema, logical=False)
        self._top = top
        self._fields = top.fields or {VALUE: top}
        if missing := [name for name in options.columns or () if name not in self._fields]:
            known = ", ".join(self._fields)
            message = f"{file.path}: the option columns names {', '.join(missing)}; it has {known}"
            raise BadRowError(FileFault(message, row=0))
        self._names = list(options.columns or self._fields)
        self._raw = pa.struct([(name, self._fields[name].raw) for name in self._names])
        self._schema = pa.schema([(name, self._fields[name].type) for name in self._names])
        self._converts = {name: change for name in self._names if (change := self._fields[name].convert)}
        self._bare = bare
        self._row_bytes = file.limits.row_bytes
        self._row, self._bad = start.row, start.bad
        self.limits = replace(file.limits, whole_bytes=file.limits.whole_bytes // (MANY if top.many else 1))

    def groups(self, found: Iterator[AvroBlock | None]) -> Iterator[list[AvroBlock]]:
        """Put blocks together that are small, up to where there is None."""
        group: list[AvroBlock] = []
        rows = size = 0
        for block in found:
            if block is None:
                if group:
                    yield group
                    group, rows, size = [], 0, 0
                continue
            most = ROWS_FOR_NOTHING if self._top.empty else len(block.payload)
            if block.count > most or (block.payload and not block.count):
                message = f"a block claims {block.count} rows in {len(block.payload)} bytes"
                if group:
                    yield group
                raise BadRowError(FileFault(f"{self._path}, byte {block.offset}: {message}"))
            if len(block.payload) > self._row_bytes * block.count:
                if group:
                    yield group
                raise TooLargeError(
                    f"{self._path}, byte {block.offset}: a row is longer than {self._row_bytes} bytes"
                )
            if group and (rows + block.count > GROUP_ROWS or size >= GROUP_BYTES):
                yield group
                group, rows, size = [], 0, 0
            group.append(block)
            rows, size = rows + block.count, size + len(block.payload)
        if group:
            yield group

    def rows(self, group: list[AvroBlock], skip: int) -> Iterator[Block]:
        """Yield the rows of a group from one on."""
        for offset, index, rows in self._decoded(group, skip):
            start = Position(offset, self._row, 1 + index, 0, self._bad)
            table, bad = self._table(rows, offset, index)
            self._row, self._bad = self._row + table.num_rows, self._bad + len(bad)
            yield Block(start, table, bad)

    def _decoded(self, group: list[AvroBlock], skip: int) -> Iterator[tuple[int, int, list[Any]]]:
        """Yield the offset of a block, the number of a row in it, and rows from there on."""
        if len(group) > 1:
            together = AvroBlock(
                group[0].offset, sum(block.count for block in group), b"".join(block.payload for block in group)
            )
            try:
                pieces = list(self._pieces(together, 0))
            except BadRowError:
                pass  # each alone then, to find the block that is broken
            else:
                yield from ((together.offset, index, rows) for index, rows in pieces)
                return
        for block in group:
            yield from ((block.offset, index, rows) for index, rows in self._pieces(block, skip))

    def _pieces(self, block: AvroBlock, skip: int) -> Iterator[tuple[int, list[Any]]]:
        place = f"{self._path}, byte {block.offset}"
        with faults_of(place, self._row):
            stream = uncompressed(self._bare, block.count, block.payload)
            written = next(
                fastavro.block_reader(
                    stream,
                    return_named_type=True,
                    return_named_type_override=True,
                    handle_unicode_errors="surrogateescape",  # one such text is one bad row
                )
            )
            records = iter(written)
        index = 0
        while index < block.count:
            rows: list[Any] = []
            size = min(GROUP_ROWS, block.count - index)
            try:
                with faults_of(f"{place}: a row of the block cannot be decoded", self._row):
                    rows.extend(islice(records, size))
            except BadRowError as error:
                if rows and index >= skip:
                    yield index, rows
                number = index + len(rows) + 1
                message = f"{place}, row {number} of the block: it cannot be decoded; {error.fault.message}"
                raise BadRowError(FileFault(message, row=self._row)) from error
            if index >= skip:
                yield index, rows
            index += size
        if written.bytes_.tell() != len(block.payload):  # type: ignore[attr-defined] # missing in the stubs
            raise BadRowError(
                FileFault(f"{place}: the block has more than the {block.count} rows that it claims", row=self._row)
            )

    def _table(self, rows: list[Any], offset: int, index: int) -> tuple[pa.Table, list[FileFault]]:
        if not self._top.fields:
            rows = [{VALUE: row} for row in rows]
        try:
            return self._arrow(rows), []
        except Exception:  # noqa: BLE001 - Arrow raises any error for a value; the rows with these are found below
            good: list[Any] = []
            bad: list[FileFault] = []
            for number, row in enumerate(rows, index + 1):
                if fault := self._fault(row, f"{self._path}, byte {offset}, row {number} of the block"):
                    bad.append(replace(fault, row=self._row + len(good)))
                else:
                    good.append(row)
            return self._arrow(good), bad

    def _arrow(self, rows: list[Any]) -> pa.Table:
        converted = [self._converted(row) for row in rows] if self._converts else rows
        columns = pa.array(converted, self._raw).flatten()
        arrays = [
            column if column.type == field.type else column.cast(field.type)
            for column, field in zip(columns, self._schema, strict=True)
        ]
        table = pa.Table.from_arrays(arrays, schema=self._schema)
        table.validate(full=True)  # times of more than a day
        return table

    def _converted(self, row: dict[str, Any]) -> dict[str, Any]:
        changed = {name: change(row[name]) for name, change in self._converts.items() if row[name] is not None}
        return {**row, **changed}

    def _fault(self, row: dict[str, Any], place: str) -> FileFault | None:
        for name in self._names:
            field, value = self._fields[name], row[name]
            try:
                taken = field.convert(value) if field.convert and value is not None else value
                pa.array([taken], field.raw).cast(field.type).validate(full=True)
            except Exception as error:  # noqa: BLE001 - as above
                shown = repr(value)[:SHOWN_CHARACTERS]
                reason = str(error).split("\n", 1)[0][:SHOWN_CHARACTERS]
                message = f"{place}, column {name}: {shown} is no {field.type} ({reason})"
                return FileFault(f"{message}; the option columns can leave it out", column=name, text=shown)
        return None
