"""The columns of a CSV: their types, and tables of the rows that have them."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv

from actors.formats.block import BadRowError
from actors.formats.csv_cells import all_match, inexact, no_json, not_of_type
from actors.formats.csv_head import parse_options
from actors.formats.types import arrow_type
from events.batch import FileFault
from rota.options import CsvOptions

NULL_VALUES = [
    "",
    "#N/A",
    "#N/A N/A",
    "#NA",
    "-1.#IND",
    "-1.#QNAN",
    "1.#IND",
    "1.#QNAN",
    "N/A",
    "NA",
    "NULL",
    "n/a",
    "null",
]
"""Texts that stand for no value, but in columns of strings, where only an empty cell does."""
NEVER_VALUES = {*NULL_VALUES, "-", "None", "\\N"}
"""Texts that are no value of a column that is not of strings, unless the options say so."""
LARGEST_EXACT = 2.0**53
"""Beyond it, float64 has no longer all whole numbers."""
LARGEST_UINT64 = 2**64 - 1

Flags = npt.NDArray[np.bool_]


class Columns:
    """The columns that are read; their types come from the options, from a schema, or from the first rows."""

    def __init__(self, path: str, names: list[str], options: CsvOptions) -> None:
        self._path = path
        self.names = names
        self.chosen = options.columns or names
        self._options = options
        for option, asked in (("column_types", options.column_types), ("columns", options.columns or ())):
            if unknown := [name for name in asked if name not in set(names)]:
                known = ", ".join(names[:100])
                raise BadRowError(FileFault(f"{path}: {option} names {', '.join(unknown)}; it has {known}"))
        self.asked = {name: _known_type(path, name, type_) for name, type_ in options.column_types.items()}
        self._types: dict[str, pa.DataType] | None = None
        self._parse_options = parse_options(options)
        nulls = set(options.null_values or ())
        self._apart = not nulls <= NEVER_VALUES or bool(
            nulls & {*(options.true_values or ()), *(options.false_values or ())}
        )
        """Whether strings and other columns are read apart: always if a text may be both a value and none, and
        first of all once it had to be."""

    @property
    def types(self) -> dict[str, pa.DataType]:
        """The type of each column that is read."""
        return self._types or {}

    @property
    def known(self) -> bool:
        """Whether the types are known."""
        return self._types is not None

    def take_types(self, schema: pa.Schema) -> None:
        """Take the types of a schema, as an earlier reader has seen them."""
        if missing := [name for name in self.chosen if name not in schema.names]:
            raise BadRowError(FileFault(f"{self._path}: the columns {', '.join(missing)} were not there before"))
        self._types = {name: schema.field(name).type for name in self.chosen}

    def infer(self, body: bytes) -> None:
        """Take the types that fit all values of some rows, in columns for which none is asked.

        pa.ArrowInvalid if a row has a wrong number of values.
        """
        types = {name: self.asked.get(name, pa.string()) for name in self.chosen}
        if unasked := [name for name in self.chosen if name not in self.asked and body]:
            seen = self._read(body, unasked, {}, self._nulls(typed=True))
            strings = self._read(body, unasked, dict.fromkeys(unasked, pa.binary()), self._nulls(typed=True))
            types |= {
                field.name: _settled(field.type, strings[field.name].combine_chunks()) for field in seen.schema
            }
        self._types = types

    def table(self, body: bytes) -> pa.Table:
        """Return rows as a table.

        pa.ArrowInvalid if a value is not of its type, or a row has a wrong number of values.
        """
        if not self._apart:
            try:
                plain = self._read(body, self.chosen, self._readable(), self._nulls(typed=False))
                return self._converted(plain)
            except pa.ArrowInvalid:
                self._apart = True
        # Quotes make an empty cell an empty string, but in other columns there is none, so it is no value there.
        typed = [name for name in self.chosen if not _is_text(self.types[name])]
        tables = []
        if texts := [name for name in self.chosen if _is_text(self.types[name])]:
            tables.append(self._read(body, texts, self._readable(), self._nulls(typed=False)))
        if typed:
            tables.append(self._read(body, typed, self._readable(), self._nulls(typed=True)))
        columns = {name: table[name] for table in tables for name in table.column_names}
        return self._converted(pa.table({name: columns[name] for name in self.chosen}))

    def cells(self, body: bytes, names: list[str]) -> dict[str, pa.Array]:
        """Return the cells of some columns as bytes."""
        if not names:
            return {}
        table = self._read(body, names, dict.fromkeys(names, pa.binary()), self._nulls(typed=True))
        return {name: table[name].combine_chunks() for name in names}

    def wrong_cells(self, body: bytes) -> dict[str, Flags]:
        """Return by column which of its cells are surely no values of its type."""
        return {
            name: not_of_type(cells, self.types[name], self._options)
            for name, cells in self.cells(body, self.chosen).items()
        }

    def wrong_column(self, row: bytes) -> str:
        """Return the column that makes a single row one that cannot be converted."""
        chosen, types = self.chosen, self.types
        for name in chosen:
            one = Columns.__new__(Columns)
            one.__dict__ = {**self.__dict__, "chosen": [name], "_types": {name: types[name]}}
            try:
                one.table(row)
            except pa.ArrowInvalid:
                return name
        return chosen[0]

    def empty(self) -> pa.Table:
        """Return a table without rows."""
        return pa.schema(list(self.types.items())).empty_table()

    def described(self, name: str) -> str:
        """Return the type of a column as a message names it."""
        written = self._options.column_types.get(name)
        type_ = str(self.types[name])
        return written or {"double": "float64", "date32[day]": "date", "timestamp[us]": "timestamp"}.get(
            type_, type_
        )

    def doubtful_cells(self, body: bytes, table: pa.Table) -> dict[str, Flags]:
        """Return by column which cells of a table were changed by their type, or are no JSON."""
        rounded = [
            name
            for name, type_ in self.types.items()
            if pa.types.is_floating(type_) and name not in self.asked and _has_large(table[name])
        ]
        texts = [name for name in self.chosen if self._options.column_types.get(name) == "json"]
        found = {name: inexact(cells) for name, cells in self.cells(body, rounded).items()}
        # pyarrow keeps digits before the point that the type has no room for.
        found |= {name: _too_large(table[name]) for name in self.chosen if pa.types.is_decimal(self.types[name])}
        found |= {name: no_json(table[name].combine_chunks()) for name in texts}
        return {name: wrong for name, wrong in found.items() if wrong.any()}

    def _read(
        self,
        body: bytes,
        names: list[str],
        types: dict[str, pa.DataType],
        nulls: dict[str, object],
    ) -> pa.Table:
        options = self._options
        return arrow_csv.read_csv(
            pa.py_buffer(body),
            read_options=arrow_csv.ReadOptions(
                column_names=self.names, use_threads=False, block_size=len(body) + 1
            ),
            parse_options=self._parse_options,
            convert_options=arrow_csv.ConvertOptions(
                column_types=types,
                include_columns=names,
                true_values=options.true_values,
                false_values=options.false_values,
                decimal_point=options.decimal_point,
                timestamp_parsers=options.timestamp_formats,
                **nulls,
            ),
        )

    def _nulls(self, *, typed: bool) -> dict[str, object]:
        """Return what stands for no value in columns of strings, or in others."""
        given = self._options.null_values
        meant = {*(self._options.true_values or ()), *(self._options.false_values or ())}
        default = [text for text in NULL_VALUES if text not in meant] if typed else [""]
        return {
            "null_values": default if given is None else given,
            "strings_can_be_null": True,
            "quoted_strings_can_be_null": typed,
        }

    def _readable(self) -> dict[str, pa.DataType]:
        """Return the types with which pyarrow reads the columns."""
        return {name: self._read_as(type_) for name, type_ in self.types.items()}

    def _read_as(self, type_: pa.DataType) -> pa.DataType:
        if pa.types.is_decimal256(type_):
            return pa.string()
        if pa.types.is_date(type_) and self._options.timestamp_formats:
            return pa.timestamp("us")
        return type_

    def _converted(self, table: pa.Table) -> pa.Table:
        """Return the columns with their types where pyarrow does not read these."""
        for index, (name, type_) in enumerate(self.types.items()):
            column = table[name]
            if column.type == type_:
                continue
            if pa.types.is_decimal256(type_) and self._options.decimal_point != ".":
                column = pc.replace_substring(column, self._options.decimal_point, ".")
            converted = column.cast(type_)
            if pa.types.is_date(type_) and not pc.all(pc.equal(converted.cast(column.type), column)).as_py():
                converted = None
            if converted is None and table.num_rows > column.null_count:
                raise pa.ArrowInvalid(f"{name} has times of day")
            table = table.set_column(index, name, column.cast(type_) if converted is None else converted)
        return table


def _known_type(path: str, name: str, written: str) -> pa.DataType:
    try:
        type_ = arrow_type(written)
        if zone := getattr(type_, "tz", None):
            pc.assume_timezone(pa.array([0], pa.timestamp("us")), zone)
    except (ValueError, pa.ArrowException) as error:
        message = f"{path}: column_types makes {name} a {written}, which there is not: {error}"
        raise BadRowError(FileFault(message, column=name)) from error
    return type_


def _is_text(type_: pa.DataType) -> bool:
    return bool(pa.types.is_string(type_) or pa.types.is_binary(type_))


def _settled(type_: pa.DataType, cells: pa.Array) -> pa.DataType:
    """Return the type for a column, given the one that pyarrow sees: wide enough for what may come."""
    if pa.types.is_timestamp(type_):
        finer = pc.any(pc.match_substring_regex(cells, r"\.\d{7}")).as_py()
        return pa.timestamp("ns" if finer else "us", type_.tz)
    if pa.types.is_time(type_):
        return pa.time64("us")
    if pa.types.is_floating(type_):
        if all_match(cells, r"[+-]?\d+") and not all_match(cells, r"[+-]?\d{1,15}"):
            numbers = cells.drop_null().to_pylist()
            plain = all_match(cells, r"\d{1,20}") and all(int(number) <= LARGEST_UINT64 for number in numbers)
            return pa.uint64() if plain else pa.string()
        return pa.string() if inexact(cells).any() else type_
    if pa.types.is_null(type_) or pa.types.is_binary(type_):
        return pa.string()  # it may hold anything later; and what is no UTF-8 is a bad row
    return type_


def _too_large(decimals: pa.ChunkedArray) -> Flags:
    limit = 10 ** (decimals.type.precision - decimals.type.scale)
    ends = pc.min_max(decimals)
    if ends["min"].as_py() is None or max(-ends["min"].as_py(), ends["max"].as_py()) < limit:
        return np.zeros(len(decimals), bool)
    return np.array([value is not None and abs(value) >= limit for value in decimals.to_pylist()])


def _has_large(column: pa.ChunkedArray) -> bool:
    ends = pc.min_max(column)
    low, high = ends["min"].as_py(), ends["max"].as_py()
    return low is not None and (high >= LARGEST_EXACT or low <= -LARGEST_EXACT)
