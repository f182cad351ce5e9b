"""Sheets of cells into blocks: which row names the columns, which rows are data, and which cells are errors."""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice, zip_longest
from typing import Any

import pyarrow as pa
from msgspec import Struct
from msgspec.structs import replace

from actors.formats.block import BadRowError, Block
from actors.formats.columns import Columns, Place
from actors.formats.input import Input
from actors.formats.plain import unique_names
from actors.formats.rows import name_of_key, unique
from actors.formats.sheet_cells import CellError, column_letters, settled
from actors.formats.types import SHOWN_CHARACTERS
from events.batch import FileFault, Position
from rota.errors import TooLargeError
from rota.options import SheetOptions

BLOCK_ROWS = 10_000
MAX_CELLS = 8_000_000
"""Cells of one sheet with those that are empty between others; whoever reads a file counts them."""

Row = tuple[int, Sequence[Any]]
"""The number of a row, from 1, and its cells from the first column on: null where there is nothing."""


class Sheet(Struct):
    """One sheet; its rows are read when they are asked for, once, in order, without those that are empty."""

    number: int
    name: str
    rows: Callable[[], Iterator[Row]]
    hidden: bool = False
    is_table: bool = True
    """Whether it has cells: a sheet that is a chart has none."""


class Header(Struct):
    """The names of a sheet's columns by their index; null for a column that has none."""

    sheet: str
    names: list[str | None]

    @property
    def known(self) -> list[str]:
        """The names that there are."""
        return [name for name in self.names if name is not None]


def blocks(
    file: Input, options: SheetOptions, start: Position, schema: pa.Schema | None, sheets: Iterator[Sheet]
) -> Iterator[Block]:
    """Yield the rows of the chosen sheets from a position on; no block has rows of two sheets."""
    tables = _Tables(file, options, schema)
    first: Header | None = None
    row, bad = start.row, start.bad
    for sheet in _chosen(file.path, options, sheets):
        rows = sheet.rows()
        header = _header(file, options, sheet, rows)
        if header is None:
            continue
        first = first or header
        _check_same(file.path, first, header)
        if sheet.number - 1 < start.part:
            continue
        while some := list(islice(rows, BLOCK_ROWS)):
            line = some[0][0]
            if sheet.number - 1 == start.part and line < start.line:
                continue
            table, faults = tables.table(sheet.name, header, some, row)
            yield Block(Position(row=row, line=line, part=sheet.number - 1, bad=bad), table, faults)
            row, bad = row + table.num_rows, bad + len(faults)


class _Tables:
    """Turns the rows of all sheets into tables with the same columns."""

    def __init__(self, file: Input, options: SheetOptions, schema: pa.Schema | None) -> None:
        self._path = file.path
        self._named = options.column_types
        self._columns = Columns.of(file, options, schema)
        self._wanted = set(options.columns) if options.columns else None

    def table(
        self, sheet: str, header: Header, rows: list[Row], first_row: int
    ) -> tuple[pa.Table, list[FileFault]]:
        """Return rows as a table, and the bad ones among them."""
        names, columns = self._named_columns(header, rows)
        errors = self._errors(names, columns, len(rows), sheet, rows)
        if errors:
            kept = [index for index in range(len(rows)) if index not in errors]
            rows = [rows[index] for index in kept]
            columns = [[column[index] for index in kept] for column in columns]
        else:
            kept = list(range(len(rows)))
        known = {field.name: field.type for field in self._columns.schema}
        columns = [
            settled(column, known.get(name, pa.null()), named=self._named.get(name))
            for name, column in zip(names, columns, strict=True)
        ]
        asked: list[int] = []

        def place(index: int) -> Place:
            asked.append(index)
            return Place(f"sheet {sheet}, row {rows[index][0]}", rows[index][0])

        table, faults = self._columns.table_of_columns(names, columns, place, first_row)
        if not errors:
            return table, faults
        faults_by_index = {kept[index]: fault for index, fault in zip(asked, faults, strict=True)} | errors
        return table, [
            replace(faults_by_index[index], row=first_row + index - before)
            for before, index in enumerate(sorted(faults_by_index))
        ]

    def _named_columns(self, header: Header, rows: list[Row]) -> tuple[list[str], list[Sequence[Any]]]:
        """Return the columns that the header names, then those without a name in which something stands."""
        columns: list[Sequence[Any]] = list(zip_longest(*(cells for _, cells in rows)))
        nothing = (None,) * len(rows)
        columns += [nothing] * (len(header.names) - len(columns))
        named = {name: columns[index] for index, name in enumerate(header.names) if name is not None}
        taken = frozenset(named)
        for index, column in enumerate(columns):
            if index < len(header.names) and header.names[index] is not None:
                continue
            name = unique(f"column_{index + 1}", taken)
            if any(value is not None for value in column) or name in (self._wanted or ()):
                named[name] = column
        return list(named), list(named.values())

    def _errors(
        self, names: list[str], columns: list[Sequence[Any]], count: int, sheet: str, rows: list[Row]
    ) -> dict[int, FileFault]:
        """Return the rows with errors, by index; where text is wanted, an error's text takes its place."""
        found: dict[int, FileFault] = {}
        for at, (name, column) in enumerate(zip(names, columns, strict=True)):
            if CellError not in set(map(type, column)) or (self._wanted and name not in self._wanted):
                continue
            if self._named.get(name) in {"json", "string"}:
                columns[at] = [value.text if type(value) is CellError else value for value in column]
                continue
            for index in range(count):
                value = column[index]
                if type(value) is CellError:
                    found.setdefault(index, self._error(value, name, sheet, rows[index]))
        return found

    def _error(self, error: CellError, name: str, sheet: str, row: Row) -> FileFault:
        number, cells = row
        letters = column_letters(next(index for index, cell in enumerate(cells) if cell is error))
        return FileFault(
            f"{self._path}, sheet {sheet}, row {number}, column {name} ({letters}{number}): "
            f"{error.text!r} is {error.why}; "
            "the option column_types can make the column a string, which has this text",
            line=number,
            column=name,
            text=error.text,
        )


def too_many_cells(path: str, sheet: str, size: int) -> TooLargeError:
    """Return the error for a sheet whose cells would not fit in memory."""
    return TooLargeError(
        f"{path}, sheet {sheet}: between its first and its last cell are {size} cells; "
        f"at most {MAX_CELLS} are read. Save it as CSV, or split it"
    )


def _chosen(path: str, options: SheetOptions, sheets: Iterator[Sheet]) -> Iterator[Sheet]:
    names = []
    for sheet in sheets:
        names.append(sheet.name)
        if options.sheet is None:
            if sheet.is_table and not sheet.hidden:
                yield sheet
        elif options.sheet in {sheet.name, sheet.number}:
            if not sheet.is_table:
                raise BadRowError(FileFault(f"{path}: the sheet {sheet.name} is no table", row=0))
            yield sheet
            return
    if options.sheet is not None:
        known = ", ".join(names)[:SHOWN_CHARACTERS]
        raise BadRowError(FileFault(f"{path} has no sheet {options.sheet}; it has {known}", row=0))


def _header(file: Input, options: SheetOptions, sheet: Sheet, rows: Iterator[Row]) -> Header | None:
    """Take the header from the rows, if there is one; None if the sheet is empty."""
    wanted = options.header_row
    if wanted == 0 or (wanted is None and options.column_names):
        return Header(sheet.name, list(options.column_names or ()))
    number, cells = next((row for row in rows if row[0] >= (wanted or 1)), (0, ()))
    if not cells and not wanted:
        return None
    if wanted and number != wanted:
        raise BadRowError(
            FileFault(
                f"{file.path}, sheet {sheet.name}: row {wanted} is empty; "
                "the option header_row says that it has the names"
            )
        )
    if len(cells) > file.limits.columns:
        raise TooLargeError(f"{file.path}, sheet {sheet.name} has more than {file.limits.columns} columns")
    if options.column_names:
        return Header(sheet.name, list(options.column_names))
    texts = [_text(file.path, sheet.name, number, index, cell) for index, cell in enumerate(cells)]
    free = iter(unique_names([text for text in texts if text]))
    return Header(sheet.name, [next(free) if text else None for text in texts])


def _text(path: str, sheet: str, number: int, index: int, cell: Any) -> str:
    """Return the name in a cell of the header, "" if it is empty."""
    if cell is None:
        return ""
    try:
        return name_of_key(int(cell) if isinstance(cell, float) and cell.is_integer() else cell)
    except ValueError:
        text = cell.text if isinstance(cell, CellError) else repr(cell)
        at = f"{column_letters(index)}{number}"
        raise BadRowError(
            FileFault(f"{path}, sheet {sheet}, row {number}: {text} in {at} cannot be a column's name", line=number)
        ) from None


def _check_same(path: str, first: Header, header: Header) -> None:
    if set(first.known) == set(header.known):
        return
    differs = ", ".join(
        dict.fromkeys(
            name for name in chain(first.known, header.known) if (name in first.known) != (name in header.known)
        )
    )
    raise BadRowError(
        FileFault(
            f"{path}: the sheets {first.sheet} and {header.sheet} have different columns "
            f"({differs[:SHOWN_CHARACTERS]}); the option sheet chooses one"
        )
    )
