"""Results as Parquet: rows wait on disk until it is known which columns there are, and of which types."""

from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import pyarrow as pa
from pyarrow import parquet

from actors.results.columns import Column, as_array
from actors.results.errors import ResultsError
from actors.results.registry import Row, Writer
from actors.results.spool import Spool

MAX_COLUMNS = 5_000
GROUP_ROWS = 50_000
GROUP_CELLS = 2_000_000
GROUP_BYTES = 32 * 1024 * 1024
"""A row group ends with the rows that bring it to one of these."""


def writer(file: BinaryIO) -> Writer:
    """Return what writes rows into an empty file."""
    return ParquetWriter(file)


class ParquetWriter:
    """Keeps rows on disk, and writes them when all have come."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._spool = Spool()
        self._columns: dict[str, Column] = {}

    def add(self, rows: Sequence[Row]) -> None:
        """Take some more rows."""
        values: dict[str, list[Any]] = {}
        for row in rows:
            for name, value in row.items():
                values.setdefault(name, []).append(value)
        for name, some in values.items():
            self._columns.setdefault(name, Column()).note(some)
        if len(self._columns) > MAX_COLUMNS:
            raise ResultsError(
                f"The results have more than {MAX_COLUMNS} columns, too many for Parquet; take NDJSON in its place"
            )
        self._spool.add(rows)

    def finish(self) -> None:
        """Write the rows; the file is complete."""
        while not self._written():
            self._file.seek(0)
            self._file.truncate()

    def close(self) -> None:
        """Let go of the rows on disk."""
        self._spool.close()

    def _written(self) -> bool:
        """Write all rows; False if values did not fit the type of their column: it has JSON texts by now."""
        schema = pa.schema([column.field(name) for name, column in self._columns.items()])
        with parquet.ParquetWriter(self._file, schema, compression="zstd") as opened:
            for group in self._groups():
                arrays = []
                for field in schema:
                    array = as_array([row.get(field.name) for row in group], field)
                    if array is None:
                        self._columns[field.name].is_json = True
                        return False
                    arrays.append(array)
                opened.write_table(pa.Table.from_arrays(arrays, schema=schema), row_group_size=len(group))
        return True

    def _groups(self) -> Iterator[list[Row]]:
        most = max(1, min(GROUP_ROWS, GROUP_CELLS // max(1, len(self._columns))))
        group: list[Row] = []
        size = 0
        for rows, taken in self._spool.groups():
            size += taken
            for start in range(0, len(rows), most):
                group += rows[start : start + most]
                while len(group) >= most:
                    yield group[:most]
                    group, size = group[most:], 0
            if size >= GROUP_BYTES and group:
                yield group
                group, size = [], 0
        if group:
            yield group
