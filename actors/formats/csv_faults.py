"""The rows of a block that cannot be read: which they are, and why."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from actors.formats.block import BadRowError, Block
from actors.formats.csv_columns import Columns
from actors.formats.csv_rows import Dialect, Rows, Scan
from actors.formats.csv_text import Piece
from actors.formats.types import SHOWN_CHARACTERS
from events.batch import FileFault, Position

MOST_FAULTS = 20_000
"""Of one block: where there are more, the rows of a piece become several blocks."""
NO_CELL = -1

Flags = npt.NDArray[np.bool_]


class BadRows:
    """Parts the rows of a piece into those that can be read and those that cannot."""

    def __init__(self, path: str, dialect: Dialect, columns: Columns, piece: Piece, start: Position) -> None:
        self._path = path
        self._columns = columns
        self._piece = piece
        self._start = start
        scan = Scan(dialect, piece.body)
        self._rows = Rows(scan, piece.body)
        self._stray: Flags = np.zeros(len(self._rows), bool)
        self._stray[self._rows.at(scan.stray)] = True
        self._counts = self._rows.counts(scan)
        self._good: Flags = ~self._stray & (self._counts == len(columns.names))
        self._cells: list[tuple[str, str, pa.Array]] = []
        """Columns and their types, with some cells of theirs that are no values of these."""
        self._of_cells = np.full(len(self._rows), NO_CELL, np.int32)
        """By row: which of these its bad cell is in, if a cell is what is wrong with it."""
        self._in_cells = np.zeros(len(self._rows), np.int64)
        """By row: the number of its cell there."""

    def others(self) -> bytes:
        """Return the rows that have the right number of values."""
        return self._rows.some(self._good)

    def table(self) -> pa.Table:
        """Return the rows that can be read."""
        table = self._readable()
        while doubtful := self._columns.doubtful_cells(self._rows.some(self._good), table):
            self._refuse_cells(np.flatnonzero(self._good), doubtful)
            table = self._readable()
        if table.num_rows != np.count_nonzero(self._good):
            raise BadRowError(
                FileFault(f"{self._path}, from line {self._start.line} on: its rows cannot be told apart")
            )
        return table

    def blocks(self, table: pa.Table) -> Iterator[Block]:
        """Yield the rows in blocks, none with more than MOST_FAULTS bad ones.

        Each but the first begins with a bad row, so that going on there gives the same ones again.
        """
        bad = np.flatnonzero(~self._good)
        before = np.cumsum(self._good)
        lines = self._rows.lines(bad)
        start = self._start
        for first in range(0, max(1, len(bad)), MOST_FAULTS):
            some = bad[first : first + MOST_FAULTS]
            if first:
                begin = int(self._rows.starts[some[0]])
                start = Position(
                    self._start.offset + self._piece.source_offset(begin),
                    self._start.row + int(before[some[0]]),
                    self._start.line + int(lines[first]),
                    bad=self._start.bad + first,
                )
            behind = first + MOST_FAULTS
            end = int(before[bad[behind]]) if behind < len(bad) else table.num_rows
            numbers = zip(some.tolist(), lines[first:behind].tolist(), before[some].tolist(), strict=True)
            faults = [self._fault(row, line, good) for row, line, good in numbers]
            offset = start.row - self._start.row
            yield Block(start, table.slice(offset, end - offset), faults)

    def _readable(self) -> pa.Table:
        """Return the good rows; what is found to be none on the way is refused."""
        body = self._rows.some(self._good)
        if not body:
            return self._columns.empty()
        try:
            return self._columns.table(body)
        except pa.ArrowInvalid:
            self._refuse_cells(np.flatnonzero(self._good), self._columns.wrong_cells(body))
        try:
            body = self._rows.some(self._good)
            return self._columns.table(body) if body else self._columns.empty()
        except pa.ArrowInvalid:
            self._search(np.flatnonzero(self._good))
        body = self._rows.some(self._good)
        return self._columns.table(body) if body else self._columns.empty()

    def _refuse_cells(self, rows: npt.NDArray[np.intp], wrong: dict[str, Flags]) -> None:
        """Refuse the rows with wrong cells; `rows` are those that the flags are of."""
        refused = {name: np.flatnonzero(flags) for name, flags in wrong.items() if flags.any()}
        if not refused:
            return
        cells = self._columns.cells(self._rows.some(self._good), list(refused))
        for name, places in refused.items():
            new = places[self._good[rows[places]]]
            self._refuse(rows[new], name, cells[name].take(pa.array(new)))

    def _refuse(self, rows: npt.NDArray[np.intp], name: str, cells: pa.Array) -> None:
        """Refuse rows for a cell of each."""
        self._good[rows] = False
        self._of_cells[rows] = len(self._cells)
        self._in_cells[rows] = np.arange(len(rows))
        self._cells.append((name, self._columns.described(name), cells))

    def _search(self, rows: npt.NDArray[np.intp]) -> None:
        """Halve the rows until those are found that cannot be converted: a few that no pattern knows."""
        waiting = [rows]
        while waiting:
            some = waiting.pop()
            keep = np.zeros(len(self._rows), bool)
            keep[some] = True
            body = self._rows.some(keep)
            try:
                self._columns.table(body)
            except pa.ArrowInvalid:
                if len(some) == 1:
                    name = self._columns.wrong_column(body)
                    self._refuse(some, name, self._columns.cells(body, [name])[name])
                else:
                    waiting += [some[: len(some) // 2], some[len(some) // 2 :]]

    def _fault(self, row: int, line: int, before: int) -> FileFault:
        line += self._start.line
        if (number := self._of_cells[row]) != NO_CELL:
            name, type_, cells = self._cells[number]
            column: str | None = name
            text, reason = _of_cell(name, type_, cells[int(self._in_cells[row])].as_py() or b"")
        else:
            column, text = None, _shown(self._rows.text(row))
            reason = f": {self._counts[row]} columns, not {len(self._columns.names)}: {text!r}"
            if self._stray[row]:
                reason = f": text stands behind a closing quote: {text!r}; the option quote can be null"
        return FileFault(
            f"{self._path}, line {line}{reason}", line=line, column=column, text=text, row=self._start.row + before
        )


def _of_cell(name: str, type_: str, cell: bytes) -> tuple[str, str]:
    """Return a cell as it is shown, and why it is no value."""
    text = _shown(cell)
    if type_ in {"string", "json"}:
        try:
            cell.decode()
        except UnicodeDecodeError:
            hint = "the option encoding says how the file is written"
            return text, f", column {name}: {text!r} is no UTF-8; {hint}"
    rounded = type_ == "float64" and text.strip().lstrip("+-").isdigit()
    what = "is not exact as" if rounded else "is no"
    return text, f", column {name}: {text!r} {what} {type_}; the option column_types can make the column a string"


def _shown(text: bytes) -> str:
    return text[: SHOWN_CHARACTERS * 4].decode(errors="replace")[:SHOWN_CHARACTERS]
