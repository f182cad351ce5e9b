"""Writes rows into a file by its format.

A format of results is a module, imported when it is used, with a function

    writer(file: BinaryIO) -> Writer

- The file is empty, can be read and sought, and belongs to the writer until `finish` returns.
- `add` takes rows in their order, from any thread but one at a time. A row is a dict: its values by the names of
  its columns, in their order. A value is what MessagePack has: None, bool, int, float, str, bytes, datetime, list
  or dict of these.
- `finish` makes the file complete. Nothing is promised of it before. `close` comes last, whatever went wrong.
- Rows that the format cannot hold are a ResultsError, which says what to do.
- Its memory does not grow with the rows, or it has a limit that is a ResultsError.
"""

import importlib
from collections.abc import Sequence
from typing import Any, BinaryIO, Protocol

from rota.batch_protocol import ResultsFormat

WRITERS: dict[ResultsFormat, str] = {
    "ndjson": "actors.results.ndjson",
    "ods": "actors.results.ods",
    "parquet": "actors.results.parquet",
}

Row = dict[str, Any]


class Writer(Protocol):
    """Takes rows, and makes a file of them."""

    def add(self, rows: Sequence[Row]) -> None:
        """Take some more rows."""

    def finish(self) -> None:
        """Write what is left; the file is complete."""

    def close(self) -> None:
        """Let go of what is needed beside the file, also of one that is not complete."""


def writer(format_: ResultsFormat, file: BinaryIO) -> Writer:
    """Return what writes rows into an empty file."""
    found: Writer = importlib.import_module(WRITERS[format_]).writer(file)
    return found
