"""Cuts blocks of rows into batches of a fixed number of rows, each an Arrow IPC stream."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa
from msgspec import Struct

from actors.formats.block import Block
from actors.formats.plain import has_dictionaries
from events.batch import FileFault, Position
from rota.errors import RotaError, TooLargeError

END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"
JOBS_PER_CUT = 200
"""Jobs that are handed on together: few enough for one publish, enough to spread its cost."""
MOST_BYTES = 64 * 1024 * 1024
"""Rows that wait for the others of their job; no message holds as much."""


class Slice(Struct):
    """The rows of one job."""

    index: int
    """Number of the job in its file, from 0."""
    first_row: int
    count: int
    body: pa.Buffer
    sha256: str
    position: Position
    """Where reading can go on once this job is scheduled."""


class Cut(Struct):
    """Some jobs, in order, and the bad rows that were met on the way to the last of them."""

    slices: list[Slice]
    schema: pa.Schema
    """The columns that are known by now."""
    bad: Sequence[FileFault] = ()
    bad_before: int = 0
    """How many bad rows of the file stand before the first of `bad`."""


class MissingRowsError(RotaError):
    """A file ends before the rows that are in jobs already."""


def cut(blocks: Iterable[Block], rows_per_job: int, *, rows: int, jobs: int) -> Iterator[Cut]:
    """Cut what follows after `rows` rows, which are in `jobs` jobs already; blocks before that are passed over.

    The same file gives the same jobs wherever reading began, since every job but the last has `rows_per_job` rows.
    """
    carry: pa.Table | None = None
    before, reached = rows, 0
    schema = pa.schema([])
    position = Position()
    slices: list[Slice] = []
    for block in blocks:
        table = block.table
        reached = block.start.row + table.num_rows
        schema = table.schema
        if carry is None:
            position = block.start
            table = table.slice(rows - block.start.row)
        waiting = table if carry is None else _joined(carry, table)
        head, offset = _head(waiting.schema), 0
        while waiting.num_rows - offset >= rows_per_job:
            if rows + rows_per_job >= block.start.row:
                position = block.start
            slices.append(_slice(waiting.slice(offset, rows_per_job), head, jobs, rows, position))
            jobs, rows, offset = jobs + 1, rows + rows_per_job, offset + rows_per_job
            if len(slices) >= JOBS_PER_CUT:
                yield Cut(slices, schema)
                slices = []
        carry = waiting.slice(offset) if offset < waiting.num_rows else None
        if carry is not None and carry.nbytes > MOST_BYTES:
            raise TooLargeError(
                f"{carry.num_rows} rows from row {rows} on have {carry.nbytes} bytes, and a job has {rows_per_job} "
                "rows; no message holds that, so that it takes fewer rows_per_job"
            )
        if slices or block.bad:
            yield Cut(slices, schema, block.bad, block.start.bad)
            slices = []
    if reached < before:
        raise MissingRowsError(f"{before} rows are in jobs, and it has {reached}")
    if carry is not None:
        yield Cut([_slice(carry, _head(carry.schema), jobs, rows, position)], schema)


def _joined(first: pa.Table, second: pa.Table) -> pa.Table:
    """Return the rows of both; columns and fields that only the second has are null in the first."""
    if first.schema == second.schema:
        return pa.concat_tables([first, second])
    return pa.concat_tables([first, second], promote_options="permissive")


def _head(schema: pa.Schema) -> pa.Buffer | None:
    """Return how the streams with these columns begin; None if they have more than batches behind that."""
    return None if has_dictionaries(schema) else schema.serialize()


def _slice(table: pa.Table, head: pa.Buffer | None, index: int, first_row: int, position: Position) -> Slice:
    if head is None:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        body = sink.getvalue()
    else:
        # The bytes that Arrow's writer makes, quicker: the schema is written once, and no buffer has to grow.
        body = pa.py_buffer(b"".join([head, *(batch.serialize() for batch in table.to_batches()), END_OF_STREAM]))
    return Slice(index, first_row, table.num_rows, body, hashlib.sha256(body).hexdigest(), position)
