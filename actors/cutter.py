"""Cuts blocks of rows into jobs: the same jobs, wherever reading began and whatever blocks the rows came in."""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import pyarrow as pa
from msgspec import Struct

from actors.formats.block import Block
from actors.row_forms import arrow_head, arrow_stream, encode_rows
from actors.row_sizes import RowSizes
from events.batch import FileFault, Position
from rota.errors import RotaError, TooLargeError
from rota.protocol import PayloadForm

JOBS_PER_CUT = 200
"""Jobs that are handed on together: few enough for one publish, enough to spread its cost."""
MOST_BYTES = 64 * 1024 * 1024
"""Rows that wait for the others of their job; no message holds as much."""
MANY_PARTS = 16
"""Of a job: each would be a record batch of its own, with its own overhead."""
ENDLESS = 2**62


class JobLimits(Struct, frozen=True):
    """Where a job ends: where the first of these is reached. With none of them all rows of a file are one job."""

    rows: int | None = None
    bytes: int | None = None
    """Of the values of its rows, as `row_sizes` counts them; a row that has more is a job alone."""
    seconds: float | None = None
    """How long its first row may wait for the others."""


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
    schema: pa.Schema
    early: bool = False
    """Whether it was cut since its rows had waited long enough: another reader would maybe cut elsewhere."""


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


class Cutter:
    """Cuts the rows of a file that follow after the `passed` first, which are left out, and `rows` in `jobs` jobs.

    The number of a row counts from 0 at the start of the file; `end` is that of the first row that is not taken any
    more. `known` has the counts of jobs, by their index, that were cut early by another reader. Jobs before number
    `timed_from` are not cut early by this one, since they may be scheduled with more rows.
    """

    def __init__(
        self,
        limits: JobLimits,
        *,
        rows: int = 0,
        jobs: int = 0,
        passed: int = 0,
        end: int | None = None,
        known: Mapping[int, int] | None = None,
        timed_from: int = 0,
        form: PayloadForm = "arrow",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bits = ENDLESS if limits.bytes is None else limits.bytes * 8
        self._rows_per_job = limits.rows or ENDLESS
        self._seconds = limits.seconds
        self._rows_before, self._jobs_before, self._passed = rows, jobs, passed
        self._end = ENDLESS if end is None else end
        self._known = known or {}
        self._timed_from = timed_from
        self._form = form
        self._clock = clock
        self._job = jobs
        self._first = passed + rows
        """Number of the first row that is not in a job."""
        self._next = self._first
        """Number of the next row that is to come."""
        self._start = Position()
        """Of the last block."""
        self._schema = pa.schema([])
        self._waiting: list[_Part] = []
        self._count = 0
        """Rows that wait."""
        self._most_bits = 0
        """The rows that wait have no more together."""
        self._nbytes = 0
        """What they take as Arrow holds them, but those of the block at hand."""
        self._since = 0.0
        self.reached = 0
        """How many rows of the file were seen or are known to be there."""

    def cut(self, blocks: Iterable[Block | None]) -> Iterator[Cut]:
        """Yield jobs as soon as their last row is there; a block that is None says that nothing came for a while.

        Whatever is full is yielded before the next block is asked for. MissingRowsError if the file has fewer rows
        than are in jobs, TooLargeError if no message would hold the rows of a job.
        """
        for block in blocks:
            if block is None:
                late = self._overdue()
                if late:
                    yield Cut(late, self._schema)
                continue
            yield from self._take(block)
            if self.reached >= self._end:
                break
        if self._jobs_before and self.reached < self._passed + self._rows_before:
            after = f" after the first {self._passed}" if self._passed else ""
            raise MissingRowsError(f"{self._rows_before} rows{after} are in jobs, and it has {self.reached}")
        if self._count:
            yield Cut([self._close()], self._schema)

    def _take(self, block: Block) -> Iterator[Cut]:
        table, start = block.table, block.start
        self._start, self._schema = start, table.schema
        self.reached = start.row + table.num_rows
        if self._next > start.row or self._end < self.reached:
            table = table.slice(self._next - start.row)
            table = table.slice(0, max(0, self._end - self._next))
        self._next += table.num_rows
        slices: list[Slice] = []
        for one in self._fill(start, table):
            slices.append(one)
            if len(slices) >= JOBS_PER_CUT:
                yield Cut(slices, self._schema)
                slices = []
        slices += self._overdue()
        bad = block.bad
        if self._end < ENDLESS:
            bad = [fault for fault in bad if (fault.row or 0) < self._end]
        if slices or bad:
            yield Cut(slices, self._schema, bad, start.bad)

    def _fill(self, start: Position, table: pa.Table) -> Iterator[Slice]:
        """Put rows into jobs, and yield those that are full."""
        rows, offset = table.num_rows, 0
        if not rows:
            return
        head = arrow_head(self._schema)
        sizes = RowSizes(table) if self._bits < ENDLESS else None
        while offset < rows:
            most = self._known.get(self._job, self._rows_per_job)
            wanted = min(most - self._count, rows - offset)
            taken = wanted
            if sizes is not None and self._job not in self._known:
                taken = self._fitting(sizes, offset, wanted)
            if taken:
                if not self._count and self._seconds is not None:
                    self._since = self._clock()
                part = _Part(table.slice(offset, taken), start, self._schema, head, sizes, offset, taken)
                self._waiting.append(part)
                self._count += taken
                offset += taken
            if taken < wanted or self._count >= most or self._is_large_row():
                yield self._close()
        self._weigh()

    def _fitting(self, sizes: RowSizes, offset: int, wanted: int) -> int:
        """Return how many more rows the job may have; the size of each is looked at only if need be."""
        if self._most_bits + sizes.most <= self._bits:
            return wanted
        if self._waiting:
            self._most_bits = sum(part.bits() for part in self._waiting)
        return max(sizes.fitting(offset, wanted, self._bits - self._most_bits), 0 if self._count else 1)

    def _is_large_row(self) -> bool:
        """Say whether what waits is one row that is a job alone."""
        return self._count == 1 and self._waiting[0].exceeds(self._bits)

    def _weigh(self) -> None:
        """Note the size of the rows that wait for the next block; TooLargeError if no message holds them."""
        if not self._count:
            return
        part = self._waiting[-1]
        nbytes = part.table.nbytes
        self._nbytes += nbytes
        self._most_bits += part.most_bits(nbytes)
        if self._nbytes > MOST_BYTES:
            raise too_large(self._first, self._count, self._nbytes, None)

    def _overdue(self) -> list[Slice]:
        """Return the rows that wait as a job, if they have waited long enough."""
        if self._seconds is None or not self._count:
            return []
        if self._job in self._known or self._job < self._timed_from:
            return []
        if self._clock() - self._since < self._seconds:
            return []
        return [self._close(early=True)]

    def _close(self, *, early: bool = False) -> Slice:
        """Make the rows that wait a job."""
        parts, count, first = self._waiting, self._count, self._first
        self._waiting, self._count, self._first = [], 0, first + count
        self._most_bits = self._nbytes = 0
        self._job += 1
        position = self._start if self._start.row <= self._first else parts[-1].start
        if len(parts) == 1:
            table, schema, head = parts[0].table, parts[0].schema, parts[0].head
        else:
            table = _joined([part.table for part in parts])
            schema = parts[-1].schema
            head = arrow_head(table.schema)
            if len(parts) > MANY_PARTS and head is not None:
                table = table.combine_chunks()
        arrow = self._form == "arrow"
        body = arrow_stream(table, head) if arrow else pa.py_buffer(encode_rows(table, self._form))
        digest = hashlib.sha256(body).hexdigest()
        return Slice(self._job - 1, first, count, body, digest, position, schema, early)


def too_large(first_row: int, count: int, size: int, limit: int | None) -> TooLargeError:
    """Return the error for rows of one job that no message holds."""
    last = first_row + count
    what = f"rows {first_row + 1} to {last}" if count > 1 else f"row {last}"
    holds = "no message holds that" if limit is None else f"the limit is {limit}"
    helps = (
        "make rows_per_job or bytes_per_job smaller"
        if count > 1
        else "read fewer columns; of a raw file the option content = false gives the job its path alone"
    )
    return TooLargeError(f"{what}: {size} bytes for one job; {holds}; {helps}")


class _Part(Struct):
    """Rows of one block that wait for others of their job."""

    table: pa.Table
    start: Position
    """Of the block."""
    schema: pa.Schema
    head: pa.Buffer | None
    sizes: RowSizes | None
    """Of the block's rows, while they are of use."""
    offset: int
    count: int
    exact: int | None = None
    """The size of the rows, once it was asked for."""

    def bits(self) -> int:
        """Return the size of the rows."""
        if self.exact is None:
            self.exact = self.sizes.sum(self.offset, self.count) if self.sizes else 0
        return self.exact

    def most_bits(self, nbytes: int) -> int:
        """Return what the size is at most, of rows that take so many bytes as Arrow holds them."""
        if self.exact is not None or self.sizes is None:
            return self.exact or 0
        return ENDLESS if self.sizes.most >= ENDLESS else nbytes * 8

    def exceeds(self, bits: int) -> bool:
        """Say whether the rows have more."""
        return self.sizes is not None and self.sizes.most > bits and self.bits() > bits


def _joined(tables: list[pa.Table]) -> pa.Table:
    """Return the rows of all; columns and fields that only the later ones have are null in the earlier."""
    if all(table.schema == tables[0].schema for table in tables[1:]):
        return pa.concat_tables(tables)
    return pa.concat_tables(tables, promote_options="permissive")
