"""Results as an OpenDocument spreadsheet, by pyexcel-ods3: one sheet, whose first row names the columns."""

import math
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, BinaryIO

from pyexcel_ods3.odsw import ODSSheetWriter, ODSWriter

from actors.results.errors import ResultsError
from actors.results.registry import Row, Writer
from actors.results.rows import json_text
from actors.results.spool import Spool

SHEET = "results"
MAX_INTEGER = 10**15 - 1
"""Of pyexcel-ods3: cells are floats, which do not have all larger ones."""
MAX_ROWS = 1_048_575
"""Below the names of the columns: what spreadsheets have."""
MAX_COLUMNS = 16_384
MAX_CELLS = 2_000_000
"""The whole sheet is in memory when it is written, about 1 KB a cell."""
OTHER = "take NDJSON or Parquet in its place"


def writer(file: BinaryIO) -> Writer:
    """Return what writes rows into an empty file."""
    return OdsFile(file)


class OdsFile:
    """Keeps rows on disk, and makes the sheet when all have come."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._spool = Spool()
        self._columns: dict[str, None] = {}
        self._rows = 0

    def add(self, rows: Sequence[Row]) -> None:
        """Take some more rows; ResultsError as soon as they are more than a sheet holds."""
        self._rows += len(rows)
        for row in rows:
            self._columns |= dict.fromkeys(row)
        cells = (self._rows + 1) * len(self._columns)
        for what, count, most in (
            ("rows", self._rows, MAX_ROWS),
            ("columns", len(self._columns), MAX_COLUMNS),
            ("cells", cells, MAX_CELLS),
        ):
            if count > most:
                raise ResultsError(f"The results have more than {most} {what}, too many for ODS; {OTHER}")
        self._spool.add(rows)

    def finish(self) -> None:
        """Write the sheet; the file is complete."""
        book = ODSWriter(self._file, "ods")
        sheet = ODSSheetWriter(book.ods_book, None, SHEET)
        # A sheet that is put into its book when it is full takes a time that grows with the square of its size.
        book.ods_book.sheets += sheet.ods_sheet
        sheet.ods_sheet.reset(size=(self._rows + 1, max(1, len(self._columns))))
        for number, cells in enumerate(self._cells()):
            try:
                sheet.write_row(cells)
            except ValueError:  # of lxml, about characters that XML does not have
                where = f"row {number} of the results" if number else "the names of the columns"
                raise ResultsError(f"ODS cannot hold all characters of {where}; {OTHER}") from None
        book.close()

    def close(self) -> None:
        """Let go of the rows on disk."""
        self._spool.close()

    def _cells(self) -> Iterator[list[Any]]:
        yield [_cell(name) for name in self._columns]
        for rows, _ in self._spool.groups():
            for row in rows:
                yield [_cell(row.get(name)) for name in self._columns]


def _cell(value: Any) -> Any:
    """Return a value as a cell has it: a text where a spreadsheet would change it, or has no such thing."""
    match value:
        case None:
            return ""
        case bool() | str():
            return value
        case int():
            return value if abs(value) <= MAX_INTEGER else str(value)
        case float():
            return value if math.isfinite(value) and abs(value) <= MAX_INTEGER else str(value)
        case datetime():
            # Cells have whole seconds and no zone.
            return json_text(value).strip('"') if value.microsecond else value.astimezone(UTC).replace(tzinfo=None)
        case bytes():
            return json_text(value).strip('"')
        case _:
            return json_text(value)
