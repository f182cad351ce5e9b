"""The rows of a block that cannot be read: which they are, and why."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from actors.formats.block import BadRowError, Block
from actors.formats.csv_columns import Columns
from actors.formats.csv_rows import Dialect, Rows, Scan
from actors.formats.types import SHOWN_CHARACTERS
from events.batch import FileFault, Position

Flags = npt.NDArray[np.bool_]


class BadRows:
    """Parts the rows of a block into those that can be read and those that cannot."""

    def __init__(self, path: str, dialect: Dialect, columns: Columns, body: bytes, start: Position) -> None:
        self._path = path
        self._columns = columns
        self._start = start
        scan = Scan(dialect, body)
        self._rows = Rows(scan, body)
        self._good: Flags = np.ones(len(self._rows), bool)
        self._reasons: dict[int, tuple[str, str | None, str]] = {}
        """By row: the message behind its place, the column if it is one, and the text."""
        for row in self._rows.at(scan.stray):
            text = self._text(int(row))
            message = f": text stands behind a closing quote: {text!r}; the option quote can be null"
            self._refuse(int(row), message, None, text)
        counts = self._rows.counts(scan)
        for row in np.flatnonzero((counts != len(columns.names)) & self._good):
            text = self._text(int(row))
            self._refuse(int(row), f": {counts[row]} columns, not {len(columns.names)}: {text!r}", None, text)

    def others(self) -> bytes:
        """Return the rows that have the right number of values."""
        return self._rows.some(self._good)

    def block(self) -> Block:
        """Return the rows that can be read as a table, and the others beside them."""
        table = self._table()
        while doubtful := self._columns.doubtful_cells(self._rows.some(self._good), table):
            self._refuse_cells(np.flatnonzero(self._good), doubtful)
            table = self._table()
        if table.num_rows != np.count_nonzero(self._good):
            raise BadRowError(
                FileFault(f"{self._path}, from line {self._start.line} on: its rows cannot be told apart")
            )
        before = np.cumsum(self._good)
        faults = [self._fault(row, int(before[row])) for row in sorted(self._reasons)]
        return Block(self._start, table, faults)

    def _table(self) -> pa.Table:
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
            for place, cell in zip(places.tolist(), cells[name].take(pa.array(places)).to_pylist(), strict=True):
                if int(rows[place]) not in self._reasons:
                    self._refuse_cell(int(rows[place]), name, cell or b"")

    def _refuse_cell(self, row: int, name: str, cell: bytes) -> None:
        text = _shown(cell)
        type_ = self._columns.described(name)
        if type_ in {"string", "json"}:
            try:
                cell.decode()
            except UnicodeDecodeError:
                message = f", column {name}: {text!r} is no UTF-8; the option encoding says how the file is written"
                self._refuse(row, message, name, text)
                return
        rounded = type_ == "float64" and text.strip().lstrip("+-").isdigit()
        what = "is not exact as" if rounded else "is no"
        message = f", column {name}: {text!r} {what} {type_}; the option column_types can make the column a string"
        self._refuse(row, message, name, text)

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
                    self._refuse_cell(int(some[0]), name, self._columns.cells(body, [name])[name][0].as_py() or b"")
                else:
                    waiting += [some[: len(some) // 2], some[len(some) // 2 :]]

    def _refuse(self, row: int, message: str, column: str | None, text: str) -> None:
        self._good[row] = False
        self._reasons[row] = message, column, text

    def _fault(self, row: int, before: int) -> FileFault:
        message, column, text = self._reasons[row]
        line = self._start.line + self._rows.line(row)
        return FileFault(
            f"{self._path}, line {line}{message}", line=line, column=column, text=text, row=self._start.row + before
        )

    def _text(self, row: int) -> str:
        return _shown(self._rows.text(row))


def _shown(text: bytes) -> str:
    return text[: SHOWN_CHARACTERS * 4].decode(errors="replace")[:SHOWN_CHARACTERS]
