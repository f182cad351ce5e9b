"""Rows that are Python values, into tables whose columns never change their type."""

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from msgspec import Struct

from actors.formats.block import BadRowError
from actors.formats.casts import cast
from actors.formats.inference import INT64_MIN, UINT64_MAX
from actors.formats.input import Input
from actors.formats.limits import Limits
from actors.formats.rows import spread
from actors.formats.types import SHOWN_CHARACTERS, arrow_type, name_of, shown, text_of
from actors.formats.values import KNOWN, Misfit, Misfits, Room, Values, build
from events.batch import FileFault

ADVICE = "; the option column_types can make {} a {}"
NO_NAME = "it cannot be a name"


class Place(Struct, frozen=True):
    """Where a row stands, in words (`line 5`, `sheet Orders, row 3`, `element 17`), and its line if it has one."""

    words: str
    line: int | None = None


class ColumnOptions(Protocol):
    """Options of the formats whose rows are Python values."""

    @property
    def column_types(self) -> dict[str, str]:
        """Types by name."""

    @property
    def columns(self) -> list[str] | None:
        """The columns to keep."""


class Columns:
    """The columns of one file as they become known.

    `column_types` are types by name that hold from the start, as the options write them; `columns` are the ones to
    keep, in this order; `schema` is what was known when reading goes on inside the file.
    """

    def __init__(
        self,
        path: str,
        *,
        column_types: Mapping[str, str] = {},
        columns: Sequence[str] | None = None,
        schema: pa.Schema | None = None,
        limits: Limits | None = None,
    ) -> None:
        for name in column_types.values():
            try:
                arrow_type(name)
            except ValueError as error:
                raise BadRowError(FileFault(f"{path}: {error}")) from error
        self._path = path
        self._named_types = column_types
        self._columns = tuple(dict.fromkeys(columns)) if columns else None
        self._looked_for = schema is not None
        self._types: dict[str, pa.DataType] = dict.fromkeys(self._columns or (), pa.null())
        self._types |= {field.name: field.type for field in schema or () if self._kept(field.name)}
        self._room = Room(limits or Limits(), path)
        self._room.take(sum(map(_fields, self._types.values())), 0)

    @classmethod
    def of(cls, file: Input, options: ColumnOptions, schema: pa.Schema | None) -> "Columns":
        """Return the columns of a file that is read with these options."""
        return cls(
            file.path,
            column_types=options.column_types,
            columns=options.columns,
            schema=schema,
            limits=file.limits,
        )

    @property
    def named(self) -> Container[str]:
        """The columns whose types hold from the start."""
        return self._named_types

    @property
    def schema(self) -> pa.Schema:
        """The columns that are known by now."""
        return pa.schema(list(self._types.items()))

    def look_for(self, names: Iterable[str]) -> None:
        """Raise BadRowError if columns were chosen that the first rows, which have these names, do not have."""
        if self._looked_for:
            return
        self._looked_for = True
        found = list(dict.fromkeys(names))
        if missing := [name for name in self._columns or () if name not in found]:
            known = ", ".join(found)[:SHOWN_CHARACTERS]
            raise BadRowError(
                FileFault(f"{self._path} has no column {', '.join(missing)}; it has {known}", column=missing[0])
            )

    def table(
        self, rows: Sequence[Mapping[str, Any]], place: Callable[[int], Place], first_row: int
    ) -> tuple[pa.Table, list[FileFault]]:
        """Return the rows as a table, and the bad ones among them.

        `place` says where the row with an index in `rows` stands; `first_row` is the number of the first in the
        file. The types are those of the first block's values, so call this with some thousand rows at a time.
        Rows may lack columns; a name that is no text becomes one.
        """
        by_name = spread(rows)
        misfits = {index: Misfit(name, pa.string(), (), NO_NAME) for index, name in by_name.misnamed.items()}
        return self._table(by_name.names, by_name.column, len(rows), misfits, place, first_row)

    def table_of_columns(
        self, names: Sequence[str], columns: Sequence[Values], place: Callable[[int], Place], first_row: int
    ) -> tuple[pa.Table, list[FileFault]]:
        """Do as `table` does for rows that are in columns already: lists of one length, with names that differ.

        A column may be an array of the type that it is known to have, or whose Python values are the column's.
        """
        found = dict(zip(names, columns, strict=True))
        return self._table(names, found.get, len(columns[0]) if columns else 0, {}, place, first_row)

    def _table(  # noqa: PLR0917 - of one caller each
        self,
        names: Sequence[str],
        column: Callable[[str], Values | None],
        count: int,
        misfits: Misfits,
        place: Callable[[int], Place],
        first_row: int,
    ) -> tuple[pa.Table, list[FileFault]]:
        self._room.cells = 0
        if count:
            self.look_for(names)
        new = [name for name in names if name not in self._types and self._kept(name)]
        self._room.take(len(new), count * (len(self._types) + len(new)))
        self._types.update(dict.fromkeys(new, pa.null()))
        arrays = []
        for name, known in self._types.items():
            values = column(name)
            if values is None:
                arrays.append(pa.nulls(count, known))
                continue
            named = self._named_types.get(name)
            if isinstance(values, pa.Array):
                if values.type == known and named != "json":
                    arrays.append(values)
                    continue
                values = values.to_pylist()
            if named:
                array, more = cast(values, named, self._room)
            else:
                array, more = build(values, known, self._room)
            arrays.append(array)
            for index, misfit in more.items() if more else ():
                misfits.setdefault(index, Misfit(misfit.value, misfit.type, (name, *misfit.path), misfit.reason))
            self._types[name] = array.type
        table = pa.table(arrays, schema=self.schema) if arrays else _without_columns(count)
        if not misfits:
            return table, []
        bad = sorted(misfits)
        keep = np.ones(count, bool)
        keep[bad] = False
        # Each bad row follows the good ones before it.
        faults = [
            self._fault(misfits[index], place(index), first_row + index - before)
            for before, index in enumerate(bad)
        ]
        return table.filter(pa.array(keep)), faults

    def _kept(self, name: str) -> bool:
        return self._columns is None or name in self._columns

    def _fault(self, misfit: Misfit, place: Place, row: int) -> FileFault:
        path = ".".join(misfit.path)
        column = f", column {path}" if path else ""
        if misfit.reason:
            fault = f"{shown(misfit.value)}: {misfit.reason}"
        else:
            fault = f"{shown(misfit.value)} is no {self._wanted(misfit)}{self._advice(misfit)}"
        return FileFault(
            f"{self._path}, {place.words}{column}: {fault}",
            line=place.line,
            column=path or None,
            text=text_of(misfit.value),
            row=row,
        )

    def _wanted(self, misfit: Misfit) -> str:
        named = self._named_types.get(misfit.path[0])
        return named if named and len(misfit.path) == 1 else name_of(misfit.type)

    def _advice(self, misfit: Misfit) -> str:
        """Return which option would take the value."""
        name, value, is_whole = misfit.path[0], misfit.value, len(misfit.path) == 1
        if self._named_types.get(name) == "json" or not isinstance(value, tuple(KNOWN)):
            return ""
        if self._named_types.get(name) == "string":
            return ADVICE.format("the column", "json")
        nested = pa.types.is_nested(misfit.type) or pa.types.is_nested(self._types.get(name, misfit.type))
        if not is_whole or nested or isinstance(value, dict | list | tuple):
            return ADVICE.format("the column" if is_whole else f"column {name}", "json")
        if pa.types.is_integer(misfit.type) and isinstance(value, float):
            return ADVICE.format("the column", "float64")
        if isinstance(value, int) and not isinstance(value, bool) and not INT64_MIN <= value <= UINT64_MAX:
            return ADVICE.format("the column", "string, json or decimal(38,0)")
        return ADVICE.format("the column", "string")


def _fields(type_: pa.DataType) -> int:
    """Return how many fields there are in a column, itself included."""
    children = (type_.field(index).type for index in range(type_.num_fields))
    return sum(map(_fields, children)) + (1 if not type_.num_fields or pa.types.is_struct(type_) else 0)


def _without_columns(count: int) -> pa.Table:
    return pa.table({"": pa.nulls(count)}).select([])
