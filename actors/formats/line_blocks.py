"""Rows that are known by their lines, collected into blocks."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

import pyarrow as pa
from msgspec import Struct
from msgspec.structs import replace

from actors.formats.block import BadRowError, Block
from actors.formats.columns import Columns, Place
from actors.formats.input import Input
from events.batch import FileFault, Position
from rota.errors import TooLargeError

BLOCK_ROWS = 16_384
BLOCK_BYTES = 4 * 1024 * 1024

Row = dict[str, Any]


class Rows(Struct):
    """Rows that follow each other, where each ends (bytes or so, from anywhere), and on which line one begins."""

    values: Sequence[Row | FileFault]
    """A fault stands in place of a row that cannot be read."""
    ends: Sequence[int]
    line: Callable[[int], int]
    flat: bool = False
    """Whether all values are rows, and their values are texts."""
    before: int = 0
    """Where the first begins."""


class ColumnOptions(Protocol):
    """Options of the formats whose rows become columns here."""

    @property
    def column_types(self) -> dict[str, str]:
        """Types by name."""

    @property
    def columns(self) -> list[str] | None:
        """The columns to keep."""


class Form(Protocol):
    """What a format does with the rows of a block."""

    def fit(self, rows: Sequence[Row], not_flat: Sequence[Row], schema: pa.Schema | None) -> None:
        """Change the rows, before they become columns; `schema` are the columns that are known by then.

        `not_flat` are those among them that may hold more than texts.
        """

    def advise(self, fault: FileFault, row: Row) -> FileFault:
        """Return the fault of a row whose values fit no column, with what helps."""


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
        self._columns = Columns(
            file.path,
            column_types=options.column_types,
            columns=options.columns,
            schema=schema,
            limits=file.limits,
        )
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
        count = len(rows.values)
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
        all_: list[Any] = []
        not_flat: list[Any] = []
        begins: list[int] = []
        for rows, start, end in waiting:
            begins.append(len(all_))
            piece = rows.values[start:end]
            all_ += piece
            if not rows.flat:
                not_flat += piece

        def line(index: int) -> int:
            piece = bisect_right(begins, index) - 1
            rows, start, _ = waiting[piece]
            return rows.line(start + index - begins[piece])

        position = Position(row=self.row, bad=self._bad, line=line(0))
        good_not_flat = [value for value in not_flat if not isinstance(value, FileFault)]
        if len(good_not_flat) == len(not_flat):
            block = self._block(position, all_, not_flat, line)
        else:
            good = [index for index, value in enumerate(all_) if not isinstance(value, FileFault)]
            block = self._block(
                position, [all_[index] for index in good], good_not_flat, lambda index: line(good[index])
            )
            block.bad = self._merged(all_, good, block.bad)
        self._schema = self._columns.schema
        self.row += block.table.num_rows
        self._bad += len(block.bad)
        yield block

    def _block(
        self, start: Position, rows: Sequence[Row], not_flat: Sequence[Row], line: Callable[[int], int]
    ) -> Block:
        def place(index: int) -> Place:
            number = line(index)
            return Place(f"line {number}", number)

        self._form.fit(rows, not_flat, self._schema)
        table, bad = self._columns.table(rows, place, start.row)
        # The k-th bad row stands behind `row` good ones and k bad ones.
        bad = [self._form.advise(fault, rows[(fault.row or 0) - start.row + k]) for k, fault in enumerate(bad)]
        return Block(start, table, bad)

    def _merged(
        self, all_: Sequence[Row | FileFault], good: Sequence[int], unfit: Sequence[FileFault]
    ) -> list[FileFault]:
        """Return the bad rows in order: those of the format, and those whose values fit no column."""
        unfit_at = {good[(fault.row or 0) - self.row + k]: fault for k, fault in enumerate(unfit)}
        merged: list[FileFault] = []
        for index, value in enumerate(all_):
            fault = value if isinstance(value, FileFault) else unfit_at.get(index)
            if fault:
                merged.append(replace(fault, row=self.row + index - len(merged)))
        return merged
