"""Batches as they are shown: what the rows of their tables come to."""

import sqlite3
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from projections.estimates import Known, Progress, rate, seconds_left
from projections.sqlite import EPOCH, MICROSECOND, from_microseconds
from rota.batch_protocol import BatchView, FileView, Manifest, ResultsView
from rota.protocol import ENDED_BATCH, ENDED_JOB

SCHEMAS_KEPT = 256
"""Schemas that are known decoded: most files of a batch have the same one."""

unpack = msgspec.msgpack.decode


class _FirstRows(Struct):
    """What the first job of a file tells of it: the part of `Rows` that is of interest here."""

    columns: dict[str, str] = {}


_first_rows = msgspec.msgpack.Decoder(_FirstRows)


def paths_of(batch: sqlite3.Row, found: Sequence[sqlite3.Row], files: Sequence[sqlite3.Row]) -> dict[int, str]:
    """Return the paths of a batch's files by their numbers, from its row, those of paths and those of files."""
    paths = dict(enumerate(unpack(batch["paths"], type=list[str])))
    for some in found:
        paths |= enumerate(unpack(some["paths"], type=list[str]), some["first"])
    # They stand in order, one by one: a file that is mended before what mends it, which may be mended itself.
    for file in files:
        if file["mends"] is not None:
            paths[file["file_index"]] = paths[file["mends"]]
    return paths


def batch_view(
    row: sqlite3.Row,
    paths: dict[int, str],
    files: Sequence[sqlite3.Row],
    counts: dict[str, int],
    now: datetime | None,
) -> BatchView:
    """Return a batch; `counts` are its jobs by state, and without a time there are no rates of what goes on."""
    shown = [_file(file, paths[file["file_index"]]) for file in files]
    view = _summary(row, sum(file.rows for file in shown), sum(file.bad_rows for file in shown), counts, now)
    error = next((_with_path(file) for file in shown if file.error), view.error)
    left = None
    if now and view.status in ("reading", "sealed"):
        progress = Progress(
            begun_at=EPOCH + row["begun_at"] * MICROSECOND,
            now=now,
            files=[_known(file) for file in files],
            files_total=row["files"] if row["listed"] else None,
            rows=view.rows,
            max_rows=row["max_rows"],
            jobs=view.jobs["total"],
            jobs_ended=_ended(counts),
            rows_before=row["begun_rows"],
            jobs_before=row["begun_jobs"],
        )
        left = seconds_left(progress, sealed=view.status == "sealed")
    return replace(view, files=shown, error=error, seconds_left=left)


def listed_view(row: sqlite3.Row, counts: dict[str, int], now: datetime | None) -> BatchView:
    """Return a batch without its files, from its row with the sums `rows` and `bad` over them."""
    return _summary(row, row["rows"] or 0, row["bad"] or 0, counts, now)


def results_view(row: sqlite3.Row) -> ResultsView:
    """Return a collection of results; its manifest counts jobs, and names none."""
    return ResultsView(
        id=row["collection"],
        status=row["status"],
        format=row["format"],
        connection=row["connection"],
        path=row["path"],
        manifest=unpack(row["manifest"], type=Manifest) if row["manifest"] else None,
        error=row["error"],
    )


def _summary(row: sqlite3.Row, rows: int, bad: int, counts: dict[str, int], now: datetime | None) -> BatchView:
    begun_at = EPOCH + row["begun_at"] * MICROSECOND
    sealed_at, ended_at = from_microseconds(row["sealed_at"]), from_microseconds(row["ended_at"])
    running = None if row["status"] in ENDED_BATCH else now
    return BatchView(
        id=row["id"],
        spec=row["spec"],
        status=row["status"],
        files=[],
        files_total=row["files"],
        rows=rows,
        bad_rows=bad,
        jobs={**counts, "total": sum(counts.values())},
        opened_at=EPOCH + row["opened_at"] * MICROSECOND,
        sealed_at=sealed_at,
        ended_at=ended_at,
        rows_per_second=rate(rows - row["begun_rows"], begun_at, sealed_at or ended_at or running),
        jobs_per_second=rate(_ended(counts) - row["begun_jobs"], begun_at, ended_at or running),
        error=row["error"],
        labels=unpack(row["labels"], type=dict[str, str]) if row["labels"] else {},
        workflow=row["workflow"],
    )


def _file(row: sqlite3.Row, path: str) -> FileView:
    return FileView(
        path=path,
        status=row["status"],
        size=row["size"],
        version=row["version"],
        format=row["format"],
        columns=_columns(row),
        read_bytes=_read_bytes(row),
        rows=row["rows"] or 0,
        jobs=row["jobs"] or 0,
        bad_rows=row["bad"] or 0,
        mends=row["mends"],
        error=row["error"],
    )


def _known(row: sqlite3.Row) -> Known:
    return Known(row["status"] == "finished", row["size"], _read_bytes(row) if _is_plain(row) else None)


def _read_bytes(row: sqlite3.Row) -> int | None:
    """Return how far the jobs reach in the decompressed file: an estimate, which may be beyond its end."""
    offset: int | None = row["offset"]
    if offset is None or row["size"] is None or not _is_plain(row):
        return offset
    return min(offset, int(row["size"]))


def _is_plain(row: sqlite3.Row) -> bool:
    """Say whether the size of a file is that of what its offsets stand in."""
    return row["compression"] in (None, "none")


def _columns(row: sqlite3.Row) -> dict[str, str]:
    """Return the types of a file's columns, as it was told of them or else as its first job has them."""
    if row["columns"]:
        return _types(row["columns"])
    return _first_rows.decode(row["first_rows"]).columns if row["first_rows"] else {}


@lru_cache(SCHEMAS_KEPT)
def _types(schema: bytes) -> dict[str, str]:
    """Return the types of an Arrow schema by the names of the columns; none if it cannot be read."""
    # Only who looks at a batch needs it, and it takes long to load.
    import pyarrow as pa  # noqa: PLC0415

    try:
        fields = pa.ipc.read_schema(pa.py_buffer(schema))
    except pa.ArrowException:
        return {}
    return {field.name: str(field.type) for field in fields}


def _ended(counts: dict[str, int]) -> int:
    return sum(count for status, count in counts.items() if status in ENDED_JOB)


def _with_path(file: FileView) -> str:
    """Return a file's fault with its path, which it may have already."""
    error = file.error or ""
    return error if file.path in error else f"{file.path}: {error}"
