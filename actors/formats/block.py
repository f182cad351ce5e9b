"""Rows in columns, with their place in the file, and the rows beside them that cannot be read."""

from collections.abc import Sequence

import pyarrow as pa
from msgspec import Struct

from events.batch import FileFault, Position
from rota.errors import RotaError


class Block(Struct):
    """A table, and the position at which its first row begins.

    The table has all columns of the file that are known by then, in the same order as the block before, with new
    ones at the end. `bad` are the rows in and after it that could not be read, in order: each has in `row` how many
    rows of the file (that could be read) stand before it.
    """

    start: Position
    table: pa.Table
    bad: Sequence[FileFault] = ()


class BadRowError(RotaError):
    """A row, or all that follows, cannot be read; `fault` says where it is and what stands there."""

    def __init__(self, fault: FileFault) -> None:
        super().__init__(fault.message)
        self.fault = fault
