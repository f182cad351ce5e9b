"""Rows that are known by their lines, collected into blocks."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

import pyarrow as pa
from msgspec import Struct
from msgspec.structs import replace

from actors.formats.block import BadRowError, Block
from actors.formats.columns import ColumnOptions, Columns, Place
from actors.formats.input import Input
from actors.formats.values import MAX_CELLS
from events.batch import FileFault, Position
from rota.errors import TooLargeError

BLOCK_ROWS = 16_384
BLOCK_BYTES = 4 * 1024 * 1024

Row = dict[str, Any]
Piece = tuple[int, list[Row] | dict[str, list[Any]]]
"""How many rows, and these: one by one, or in columns."""


class Rows(Struct):
    """Rows that follow each other, where each ends (bytes or so, from anywhere), and on which line one begins."""

    values: Sequence[Row | FileFault]
    """A fault stands in place of a row that cannot be read."""
    ends: Sequence[int]
    line: Callable[[int], int]
    columns: dict[str, list[Any]] | None = None
    """In place of `values`, where all rows have the same names and texts for values; None where there is none."""
    before: int = 0
    """Where the first begins."""


PAUSE = Rows((), (), lambda _: 0)
"""Says that what follows has to be waited for."""


class Form(Protocol):
    """What a format does with the rows of a block."""

    def fit(self, columns: dict[str, list[Any]], rows: Sequence[Row], schema: pa.Schema | None) -> None:
        """Change the columns of a block; `schema` are those that are known by then.

        `rows` are the ones that may hold more than texts.
        """

    def advise(self, fault: FileFault, columns: dict[str, list[Any]], index: int) -> FileFault:
        """Return the fault of a value in the row with an index that does not fit its column, with what helps."""


def blocks_of(  # noqa: PLR0917 - what `read` of a format has, and what it made of it
    rows: Iterable[Rows],
    form: Form,
    file: Input,
    options: ColumnOptions,
    start: Position,
    schema: pa.Schema | None,
) -> Iterator[Block]:
    """Yield the rows of a whole file in blocks, without those before the start."""
    blocks = _Blocks(file, options, start, schema, form)
    failure: BadRowError | TooLargeError | None = None
    try:
        for piece in rows:
            yield from blocks.add(piece)
            if piece is PAUSE and file.prompt:
                yield from blocks.rest()
    except (BadRowError, TooLargeError) as error:
        failure = error
    yield from blocks.rest()
    if isinstance(failure, BadRowError):
        raise BadRowError(replace(failure.fault, row=blocks.row)) from failure
    if failure:
        raise failure


class _Blocks:
    """Collects rows until they are a block."""

    def __init__(
        self, file: Input, options: ColumnOptions, start: Position, schema: pa.Schema | None, form: Form
    ) -> None:
        self._columns = Columns.of(file, options, schema)
        self._path = file.path
        self._kept = None if options.columns is None else set(options.columns)
        self._schema = schema
        self._form = form
        self._pass_over = start.row + start.bad
        self._bad = start.bad
        self.row = start.row
        self._waiting: list[tuple[Rows, int, int]] = []
        self._count = 0
        self._bytes = 0

    def add(self, rows: Rows) -> Iterator[Block]:
        """Take rows; yield the blocks that are full."""
        count = len(rows.ends)
        at = min(self._pass_over, count)
        self._pass_over -= at
        while at < count:
            before = rows.ends[at - 1] if at else rows.before
            end = bisect_left(rows.ends, before + BLOCK_BYTES - self._bytes, at) + 1
            end = min(end, at + BLOCK_ROWS - self._count, count)
            self._waiting.append((rows, at, end))
            self._count += end - at
            self._bytes += rows.ends[end - 1] - before
            if self._count >= BLOCK_ROWS or self._bytes >= BLOCK_BYTES:
                yield from self.rest()
            at = end

    def rest(self) -> Iterator[Block]:
        """Yield the rows that are left as a block."""
        if not self._waiting:
            return
        waiting, self._waiting, self._count, self._bytes = self._waiting, [], 0, 0
        begins: list[int] = []
        faults: dict[int, FileFault] = {}
        pieces: list[Piece] = []
        count = 0
        for rows, start, end in waiting:
            begins.append(count)
            if rows.columns is not None:
                columns = {name: column[start:end] for name, column in rows.columns.items()}
                pieces.append((end - start, columns))
            else:
                values = rows.values[start:end]
                faults.update((count + i, value) for i, value in enumerate(values) if isinstance(value, FileFault))
                read = [value for value in values if not isinstance(value, FileFault)]
                pieces.append((len(read), read))
            count += end - start

        def line(index: int) -> int:
            piece = bisect_right(begins, index) - 1
            rows, start, _ = waiting[piece]
            return rows.line(start + index - begins[piece])

        indices = [index for index in range(count) if index not in faults] if faults else range(count)
        position = Position(row=self.row, bad=self._bad, line=line(0))
        block = self._block(position, pieces, lambda index: line(indices[index]))
        if faults:
            block.bad = self._merged(faults, indices, block.bad)
        self._schema = self._columns.schema
        self.row += block.table.num_rows
        self._bad += len(block.bad)
        yield block

    def _block(self, start: Position, pieces: Sequence[Piece], line: Callable[[int], int]) -> Block:
        def place(index: int) -> Place:
            number = line(index)
            return Place(f"line {number}", number)

        names = _names(pieces)
        columns, rows = self._joined(pieces, names)
        self._form.fit(columns, rows, self._schema)
        if names:
            self._columns.look_for(names)
        if columns:
            table, bad = self._columns.table_of_columns(list(columns), list(columns.values()), place, start.row)
        else:
            table, bad = self._columns.table([{}] * sum(count for count, _ in pieces), place, start.row)
        advised = []
        for k, fault in enumerate(bad):  # it stands behind `row` good ones and k bad ones
            advised.append(self._form.advise(fault, columns, (fault.row or 0) - start.row + k))
        return Block(start, table, advised)

    def _merged(
        self, faults: dict[int, FileFault], indices: Sequence[int], unfit: Sequence[FileFault]
    ) -> list[FileFault]:
        """Return the bad rows in order: those of the format, and those whose values fit no column."""
        all_ = faults | {indices[(fault.row or 0) - self.row + k]: fault for k, fault in enumerate(unfit)}
        return [replace(all_[index], row=self.row + index - k) for k, index in enumerate(sorted(all_))]

    def _joined(self, pieces: Sequence[Piece], names: Iterable[str]) -> tuple[dict[str, list[Any]], list[Row]]:
        """Return the columns of all pieces that are kept, and the rows among them that are not in columns."""
        rows = [row for _, piece in pieces if isinstance(piece, list) for row in piece]
        kept = [name for name in names if self._kept is None or name in self._kept]
        if len(kept) * sum(count for count, _ in pieces) > MAX_CELLS:
            raise TooLargeError(
                f"{self._path} has more than {MAX_CELLS} cells in one block, since most columns are empty in most "
                "rows; the option columns can choose among them"
            )
        columns: dict[str, list[Any]] = {name: [] for name in kept}
        for count, piece in pieces:
            for name, values in columns.items():
                if isinstance(piece, list):
                    values.extend([row.get(name) for row in piece])
                else:
                    values.extend(piece.get(name) or [None] * count)
        return columns, rows


def _names(pieces: Sequence[Piece]) -> dict[str, None]:
    """Return the names of all columns, in the order in which they come."""
    names: dict[str, None] = {}
    for _, piece in pieces:
        for part in [piece] if isinstance(piece, dict) else piece:
            names.update(dict.fromkeys(part))
    return names
