"""Rows in columns, with their place in the file."""

import pyarrow as pa
from msgspec import Struct

from events.batch import FileFault, Position
from rota.errors import RotaError


class Block(Struct):
    """A table, and the position at which its first row begins."""

    start: Position
    table: pa.Table


class BadRowError(RotaError):
    """A row that cannot be read; `fault` says where it is and what stands there."""

    def __init__(self, fault: FileFault) -> None:
        super().__init__(fault.message)
        self.fault = fault
