"""Picks the rows of a file that are read again, since they were bad before; others are passed over.

A row is known by its number among all rows of the file, good and bad, from 0: that does not change when a bad row
becomes a good one.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa
from msgspec.structs import replace

from actors.formats.block import BadRowError, Block
from events.batch import FileFault, Position, RowsQuarantined
from events.catalog import AnyEvent
from rota.options import BadRows


def number_of(fault: FileFault, bad_before: int) -> int:
    """Return the number of a bad row among all rows of its file; `bad_before` are the bad ones before it."""
    return (fault.row or 0) + bad_before if fault.number is None else fault.number


def quarantined_numbers(events: Iterable[AnyEvent], file_index: int) -> list[int]:
    """Return the numbers of a file's quarantined rows in order."""
    return sorted(
        {
            number_of(fault, event.bad_before + index)
            for event in events
            if isinstance(event, RowsQuarantined) and event.file_index == file_index
            for index, fault in enumerate(event.faults)
        }
    )


def pick(
    blocks: Iterable[Block | None], numbers: Sequence[int], path: str, *, bad_rows: BadRows
) -> Iterator[Block | None]:
    """Yield the rows with these numbers, as blocks of a file that has no others.

    `blocks` are those of the whole file, with its bad rows. One that is bad again keeps its number, and one that
    the file does not have any more is a bad row; with `bad_rows` as `fail` the first of them is a BadRowError.
    """
    if not numbers:
        return
    wanted = np.array(numbers, np.int64)
    start, seen = Position(), 0
    columns = pa.table({})
    for block in blocks:
        if block is None:
            yield None
            continue
        picked = _picked(block, wanted, start)
        yield from _judged(picked, bad_rows)
        columns = picked.table.slice(0, 0)
        start = Position(row=start.row + picked.table.num_rows, bad=start.bad + len(picked.bad))
        seen = block.start.row + block.start.bad + block.table.num_rows + len(block.bad)
        if seen > wanted[-1]:
            return
    missing = [
        FileFault(f"{path} has no row {number + 1} any more: it ended before", row=start.row, number=number)
        for number in wanted[wanted >= seen].tolist()
    ]
    yield from _judged(Block(start, columns, missing), bad_rows)


def _picked(block: Block, wanted: np.ndarray, start: Position) -> Block:
    """Return what is wanted of a block, as the block that begins at `start`."""
    first, count = block.start.row, block.table.num_rows
    # So many good rows of the block stand before each bad one.
    before = np.array([count if bad.row is None else bad.row - first for bad in block.bad], np.int64)
    good = np.arange(count)
    numbers = first + block.start.bad + good + np.searchsorted(before, good, side="right")
    taken = np.isin(numbers, wanted)
    table = block.table.filter(pa.array(taken)) if taken.any() else block.table.slice(0, 0)
    sums = np.concatenate([[0], np.cumsum(taken)])
    bad_numbers = first + block.start.bad + before + np.arange(len(before))
    bad = [
        replace(block.bad[index], number=int(bad_numbers[index]), row=start.row + int(sums[before[index]]))
        for index in np.flatnonzero(np.isin(bad_numbers, wanted)).tolist()
    ]
    return Block(start, table, bad)


def _judged(block: Block, bad_rows: BadRows) -> Iterator[Block]:
    if block.bad and bad_rows == "fail":
        yield Block(block.start, block.table.slice(0, (block.bad[0].row or 0) - block.start.row))
        raise BadRowError(block.bad[0])
    if block.table.num_rows or block.bad:
        yield block
