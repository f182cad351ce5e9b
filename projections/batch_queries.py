"""The queries for batches: each takes what reads the tables, in one state of them."""

import sqlite3
from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from projections.batch_rows import ReadFile, RowsJob, choose, find_row
from projections.batch_views import batch_view, listed_view, paths_of, results_view
from projections.pages import cursor_of, where
from rota.batch_protocol import BatchList, BatchView, ResultsView, RowView
from rota.errors import NotFoundError, UnavailableError
from rota.protocol import JobFault, Rows

Read = Callable[..., list[sqlite3.Row]]
"""Takes a query and its parameters."""

PATHS = "SELECT first, paths FROM batch_paths WHERE batch = ? ORDER BY first"
MENDS = "SELECT file_index, mends FROM batch_files WHERE batch = ? AND mends NOTNULL ORDER BY file_index"
# A file that is read at once is never told of with its columns: then its first job has them, whose id is made as
# `batch_job_id` makes it.
FILES = """
    SELECT *, iif(columns ISNULL, (
        SELECT "rows" FROM jobs WHERE id = batch_files.batch || '_' || batch_files.file_index || '-0'
    ), NULL) AS first_rows
    FROM batch_files WHERE batch = ? ORDER BY file_index
"""
COUNTS = "SELECT status, count FROM batch_jobs WHERE batch = ? AND count > 0"

unpack = msgspec.msgpack.decode


class BadRows(Struct, frozen=True):
    """Bad rows of a file that stand in one event of the log; the first of them has this number in its file."""

    path: str
    file_index: int
    first: int
    count: int
    sequence: int


def find_batch(read: Read, id_: str, now: datetime | None) -> BatchView | None:
    """Return a batch with its files."""
    found = read("SELECT * FROM batches WHERE id = ?", id_)
    if not found:
        return None
    files = read(FILES, id_)
    return batch_view(found[0], paths_of(found[0], read(PATHS, id_), files), files, _counts(read, id_), now)


def list_batches(read: Read, wanted: dict[str, Any], limit: int, now: datetime | None) -> BatchList:
    """Return a page of the batches that fit conditions with their values, newest first, without their files."""
    condition, values = where(wanted)
    query = f"""
        SELECT *,
            (SELECT sum("rows") FROM batch_files WHERE batch = batches.id) AS "rows",
            (SELECT sum(bad) FROM batch_files WHERE batch = batches.id) AS bad
        FROM batches WHERE {condition} ORDER BY sequence DESC LIMIT ?
    """  # noqa: S608 - of texts of our own
    found = read(query, *values, limit + 1)
    batches = [listed_view(row, _counts(read, row["id"]), now) for row in found[:limit]]
    return BatchList(batches, cursor_of(found, limit))


def find_job_of_row(read: Read, batch: str, file: str | int | None, row: int) -> RowView:
    """Return which job had a row; errors as `Views.row` says."""
    paths, mends = _paths(read, batch)
    index = choose(file, paths, mends, batch)
    found = read("SELECT * FROM batch_files WHERE batch = ? AND file_index = ?", batch, index)
    known = {} if not found else dict(found[0])
    place = ReadFile(
        batch,
        index,
        paths[index],
        finished=known.get("status") == "finished",
        passed=known.get("passed") or 0,
        rows=known.get("rows") or 0,
        jobs=known.get("jobs") or 0,
    )

    def find_job(id_: str) -> RowsJob | None:
        jobs = read('SELECT id, status, "rows", error FROM jobs WHERE id = ? AND "rows" NOTNULL', id_)
        return _rows_job(jobs[0]) if jobs else None

    return find_row(place, row, find_job)


def list_bad_rows(read: Read, batch: str, file: str | None, after: tuple[int, int], limit: int) -> list[BadRows]:
    """Return where quarantined rows stand, as `Views.bad_rows` says."""
    paths, _ = _paths(read, batch)
    wanted = [index for index, path in paths.items() if file in (None, path)]
    if file is not None and not wanted:
        raise NotFoundError(f"The batch {batch} has no file {file!r} by now", batch=batch)
    query = """
        SELECT file_index, first, count, sequence FROM batch_bad_rows
        WHERE batch = ? AND file_index >= ? AND (file_index > ? OR first + count > ? + 1)
        AND (? OR file_index IN (SELECT value FROM json_each(?)))
        ORDER BY file_index, first LIMIT ?
    """
    index, number = after
    chosen = (file is None, msgspec.json.encode([] if file is None else wanted).decode())
    found = read(query, batch, index, index, number, *chosen, limit)
    return [BadRows(paths[row["file_index"]], *row) for row in found]


def list_results(read: Read, batch: str, limit: int) -> list[ResultsView]:
    """Return the newest collections of a batch's results, as `Views.results` says."""
    _batch(read, batch)
    query = "SELECT * FROM batch_results WHERE batch = ? ORDER BY sequence DESC LIMIT ?"
    return [results_view(row) for row in read(query, batch, limit)]


def _paths(read: Read, batch: str) -> tuple[dict[int, str], list[int]]:
    """Return the paths of all files by their numbers, and which of these mend others."""
    row = _batch(read, batch)
    mends = read(MENDS, batch)
    return paths_of(row, read(PATHS, batch), mends), [mend["file_index"] for mend in mends]


def _batch(read: Read, id_: str) -> sqlite3.Row:
    """Return a batch's row; UnavailableError if there is none: nobody knows here whether there will be one."""
    found = read("SELECT paths FROM batches WHERE id = ?", id_)
    if not found:
        raise UnavailableError(f"The views do not have the batch {id_} yet: try again in a moment", batch=id_)
    return found[0]


def _counts(read: Read, id_: str) -> dict[str, int]:
    """Return how many jobs of a batch are in each state."""
    return {row["status"]: row["count"] for row in read(COUNTS, id_)}


def _rows_job(row: sqlite3.Row) -> RowsJob:
    return RowsJob(
        row["id"],
        row["status"],
        unpack(row["rows"], type=Rows),
        unpack(row["error"], type=JobFault) if row["error"] else None,
    )
