"""Makes tables of JSON texts: by pyarrow where all have the columns that are known, else value by value."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
from msgspec import Struct
from pyarrow import json as arrow_json

from actors.formats.block import BadRowError, Block
from actors.formats.columns import Columns, Place
from actors.formats.input import Input
from actors.formats.json_elements import Positions
from actors.formats.json_value import JsonValueError, json_value, without_decimals
from actors.formats.types import SHOWN_CHARACTERS
from events.batch import FileFault, Position
from rota.errors import TooLargeError
from rota.options import JsonOptions, NdjsonOptions

BLOCK_ROWS = 32_768
BLANKS = b" \t\r\n"
SAMPLE = 200
"""Rows that show the types of a first block; if others do not fit them, all its rows are looked at."""
PARSED_BYTES = 512 * 1024
"""What a thread of pyarrow takes at once."""
EXACT_INTEGERS = 2.0**53
INEXACT = re.compile(rb"NaN|Inf|[:,\[\s]-?\d{16,}[\s,}\]]")
"""What pyarrow takes for a float64 though it is no JSON, or is an integer that may be rounded."""


class Texts(Struct):
    """JSON texts that stand one after the other in `raw`, with one byte between two."""

    raw: bytes
    starts: Positions
    ends: Positions
    place: Callable[[int], Place]
    """Where the text with an index stands."""
    stops: Callable[[int, JsonValueError | None], str | None]
    """Why reading cannot go on after a text with an index that is blank (None) or no JSON; None if it can."""
    lines: bytes | None
    """The texts with a line feed after each, if each of them surely is one record or none; else None."""


class Read(Struct):
    """The rows of texts, and why reading cannot go on after them, if it cannot."""

    block: Block
    stop: FileFault | None = None


class JsonRows:
    """The rows of one file, whose columns become known as they are read."""

    def __init__(self, file: Input, options: JsonOptions | NdjsonOptions, schema: pa.Schema | None) -> None:
        self._file = file
        self._options = options
        self._columns = Columns.of(self._file, self._options, schema)
        self._known = schema is not None
        types = options.column_types.items()
        self._json = {name for name, type_ in types if type_ == "json"}
        self._exact = {name for name, type_ in types if type_.startswith(("decimal", "json", "string"))}

    def read(self, texts: Texts, start: Position) -> Read:
        """Return the rows of some texts, the first of which is at `start`."""
        table = self._uniform(texts, start)
        found = self._mixed(texts, start) if table is None else Read(Block(start, table))
        self._known = self._known or found.block.table.num_rows > 0
        return found

    def _uniform(self, texts: Texts, start: Position) -> pa.Table | None:
        """Return the rows if all have the columns that are known; what it returns `_mixed` would return, too."""
        if texts.lines is None or not len(texts.starts):
            return None
        columns = self._columns if self._known else self._sampled(texts, start)
        if columns is None:
            return None
        schema = columns.schema
        if not schema or not all(self._is_native(field) for field in schema):
            return None
        if not _is_utf8(texts.lines):
            return None
        try:
            table = arrow_json.read_json(
                pa.BufferReader(texts.lines),
                read_options=arrow_json.ReadOptions(block_size=PARSED_BYTES),
                parse_options=arrow_json.ParseOptions(
                    explicit_schema=schema,
                    unexpected_field_behavior="ignore" if self._options.columns else "error",
                ),
            )
        except (pa.ArrowException, UnicodeDecodeError):
            return None
        if table.num_rows != len(texts.starts) or not _exact(table, texts.lines):
            return None
        self._columns = columns
        return table.combine_chunks()  # the same bytes in a job whichever way they were read

    def _sampled(self, texts: Texts, start: Position) -> Columns | None:
        """Return the columns of the first rows; None if these cannot stand for all."""
        if len(texts.starts) <= SAMPLE:
            return None
        columns = Columns.of(self._file, self._options, None)
        rows, places, _, _ = self._values(texts, SAMPLE)
        try:
            columns.table(rows, lambda index: texts.place(places[index]), start.row)
        except (BadRowError, TooLargeError):
            return None  # a column may come later
        return columns

    def _is_native(self, field: pa.Field) -> bool:
        """Say whether pyarrow takes the column just as the reading of single values does."""
        if field.name in self._json:
            return False
        nested = not self._options.columns  # else pyarrow would leave out fields of a record without a word
        return _is_native(field.type, nested=nested)

    def _mixed(self, texts: Texts, start: Position) -> Read:
        rows, places, faults, stop = self._values(texts)
        table, bad = self._columns.table(rows, lambda index: texts.place(places[index]), start.row)
        misfits = [(fault.row or 0) - start.row + number for number, fault in enumerate(bad)]
        numbered: list[tuple[float, FileFault]] = [
            (index, fault) for index, fault in zip(misfits, bad, strict=True)
        ]
        for before, fault in faults:
            row = start.row + before - int(np.searchsorted(misfits, before))
            numbered.append((before - 0.5, _at_row(fault, row)))
        numbered.sort(key=lambda pair: pair[0])
        if stop is not None:
            stop = _at_row(stop, start.row + table.num_rows)
        return Read(Block(start, table, [fault for _, fault in numbered]), stop)

    def _values(
        self, texts: Texts, count: int | None = None
    ) -> tuple[list[dict[str, Any]], list[int], list[tuple[int, FileFault]], FileFault | None]:
        """Return rows, the text of each, the faults with the number of rows before, and why it stopped."""
        rows: list[dict[str, Any]] = []
        places: list[int] = []
        faults: list[tuple[int, FileFault]] = []
        starts, ends = texts.starts[:count].tolist(), texts.ends[:count].tolist()
        depth, exact = self._file.limits.depth, bool(self._exact)
        for index, (begin, end) in enumerate(zip(starts, ends, strict=True)):
            text = texts.raw[begin:end]
            try:
                value = json_value(text, depth, decimals=exact)
            except JsonValueError as error:
                blank = not text.strip(BLANKS)
                why = texts.stops(index, None if blank else error)
                if why is not None:
                    return rows, places, faults, self._fault(texts, index, why)
                if not blank:
                    faults.append((len(rows), self._fault(texts, index, str(error))))
                continue
            row = value if type(value) is dict else {"value": value}
            if exact:
                row = {name: item if name in self._exact else without_decimals(item) for name, item in row.items()}
            rows.append(row)
            places.append(index)
        return rows, places, faults, None

    def _fault(self, texts: Texts, index: int, reason: str) -> FileFault:
        text = texts.raw[int(texts.starts[index]) : int(texts.ends[index])].strip(BLANKS)
        shown = text[: 4 * SHOWN_CHARACTERS].decode(errors="replace")[:SHOWN_CHARACTERS]
        place = texts.place(index)
        return FileFault(f"{self._file.path}, {place.words}: {reason}: {shown!r}", line=place.line, text=shown)


def _at_row(fault: FileFault, row: int) -> FileFault:
    return FileFault(fault.message, line=fault.line, column=fault.column, text=fault.text, row=row)


def _is_utf8(lines: bytes) -> bool:
    """Say whether the bytes are UTF-8, which pyarrow's reader of JSON does not ask."""
    if lines.isascii():
        return True
    ends = np.array([0, len(lines)], np.int32)
    try:
        pa.StringArray.from_buffers(1, pa.py_buffer(ends), pa.py_buffer(lines)).validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _is_native(type_: pa.DataType, *, nested: bool) -> bool:
    if pa.types.is_struct(type_):
        return nested and all(_is_native(field.type, nested=True) for field in type_)
    if pa.types.is_list(type_):
        return nested and _is_native(type_.value_type, nested=True)
    return type_ in (pa.null(), pa.bool_(), pa.float64(), pa.string()) or pa.types.is_integer(type_)


def _exact(table: pa.Table, lines: bytes) -> bool:
    """Say whether no float64 may be a rounded integer, or what is no number in JSON."""
    if all(_is_moderate(chunk) for column in table.columns for chunk in column.chunks):
        return True
    return not INEXACT.search(lines)


def _is_moderate(array: pa.Array) -> bool:
    if pa.types.is_struct(array.type):
        return all(map(_is_moderate, array.flatten()))
    if pa.types.is_list(array.type):
        return _is_moderate(array.flatten())
    if array.type != pa.float64() or not len(array):
        return True
    numbers = array.fill_null(0).to_numpy()
    return bool((np.abs(numbers) < EXACT_INTEGERS).all())  # NaN is not
