"""Reads a file by its format, and treats bad rows as the batch wishes.

A format is a module, imported when it is used, with a function

    read(file: Input, options: <its Options>, start: Position, schema: pa.Schema | None) -> Iterator[Block]

- It yields blocks of a few megabytes, in order, beginning with the row at `start`, which is the start
  of the file or a `Block.start` that it has yielded before. From the same start on it yields the same blocks.
- `schema` is given together with a start inside the file: the columns that were known there or later. Their
  types hold; new columns come at the end.
- A row that cannot be read goes to `Block.bad`, and reading goes on. Where it cannot go on (a cut file, broken
  syntax), the rows before are yielded and then BadRowError is raised. A file never ends silently before its end.
- It raises BadRowError, TooLargeError (a limit), and what `file` raises; nothing else, whatever the bytes are.
- It reads `file` lazily, closes what it opens when it is closed, and holds no more than a few blocks.
"""

import importlib
from collections.abc import Iterator

import pyarrow as pa

from actors.formats.block import BadRowError, Block
from actors.formats.input import Input
from events.batch import Position
from events.formats import formats
from rota.options import BadRows, Options


def read(
    name: str,
    file: Input,
    options: Options,
    start: Position,
    schema: pa.Schema | None = None,
    *,
    bad_rows: BadRows = "fail",
) -> Iterator[Block]:
    """Read a file from a position on, in blocks of rows.

    With `bad_rows` as `fail` the rows before the first bad one are yielded, then BadRowError is raised; else the
    bad ones are in the blocks.
    """
    blocks: Iterator[Block] = importlib.import_module(formats()[name].module).read(file, options, start, schema)
    if bad_rows != "fail":
        yield from blocks
        return
    for block in blocks:
        if block.bad:
            before = (block.bad[0].row or 0) - block.start.row
            if before:
                yield Block(block.start, block.table.slice(0, before))
            raise BadRowError(block.bad[0])
        yield block
