"""The queries: jobs, batches, queues and job specs as the gateway shows them."""

import re
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Self

import msgspec

from events.jetstream.log import Recorded
from events.spec import Definition
from projections.sqlite import EPOCH, MICROSECOND, connect_read_only, from_microseconds, transaction
from projections.tables import SCHEMA_VERSION, apply, create
from rota.batch_protocol import BatchView, FileView
from rota.errors import InvalidRequestError, UnavailableError
from rota.protocol import BatchStatus, JobFault, JobList, JobStatus, JobView, QueueView, SpecView

CURSOR = re.compile(r"[0-9a-f]{1,15}")

unpack = msgspec.msgpack.decode


class Views:
    """The tables, to read. Each answer shows one state of them, however the runner goes on meanwhile.

    All methods raise UnavailableError if the file cannot be read.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        connection.row_factory = sqlite3.Row
        self._connection = connection

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open the file of the views; UnavailableError if the projections have not made it yet."""
        try:
            connection = connect_read_only(path)
            version = connection.execute("PRAGMA user_version").fetchone()[0]
        except sqlite3.Error as error:
            raise UnavailableError("There are no views yet: do the projections run?") from error
        if version != SCHEMA_VERSION:
            connection.close()
            raise UnavailableError("The views are of another version, and not made anew yet")
        return cls(connection)

    def job(self, id_: str) -> JobView | None:
        """Return a job."""
        found = self._read("SELECT * FROM jobs WHERE id = ?", id_)
        return _job(found[0]) if found else None

    def jobs(
        self,
        *,
        status: JobStatus | None = None,
        queue: str | None = None,
        spec: str | None = None,
        batch: str | None = None,
        limit: int = 50,
        after: str | None = None,
    ) -> JobList:
        """Return a page of the jobs that fit, newest first; `after` is the `next` of the page before.

        InvalidRequestError if the cursor is none.
        """
        # To say what an index leaves out is what lets SQLite use it.
        of_status = "status = ?" if status == "succeeded" else "status <> 'succeeded' AND status = ?"
        wanted = {
            of_status: status,
            "queue = ?": queue,
            "spec = ?": spec,
            "batch = ?": batch,
            "sequence < ?": None if after is None else _sequence(after),
        }
        wanted = {condition: value for condition, value in wanted.items() if value is not None}
        where = " AND ".join(wanted) or "true"
        found = self._read(
            f"SELECT * FROM jobs WHERE {where} ORDER BY sequence DESC LIMIT ?",  # noqa: S608 - of the texts above
            *wanted.values(),
            limit + 1,
        )
        shown = found[:limit]
        return JobList([_job(row) for row in shown], f"{shown[-1]['sequence']:x}" if len(found) > limit else None)

    def batch(self, id_: str) -> BatchView | None:
        """Return a batch with its files, and its jobs counted by state."""
        with transaction(self._connection, "DEFERRED"):
            found = self._read("SELECT * FROM batches WHERE id = ?", id_)
            files = self._read("SELECT * FROM batch_files WHERE batch = ? ORDER BY file_index", id_)
            found_paths = self._read("SELECT paths FROM batch_paths WHERE batch = ? ORDER BY first", id_)
            counts = self._read("SELECT status, count FROM batch_jobs WHERE batch = ? AND count > 0", id_)
        return _batch(found[0], found_paths, files, counts) if found else None

    def batches(
        self, *, status: BatchStatus | None = None, spec: str | None = None, limit: int = 50
    ) -> list[BatchView]:
        """Return so many of the batches that fit, newest first."""
        query = """
            SELECT id FROM batches WHERE (? IS NULL OR status = ?) AND (? IS NULL OR spec = ?)
            ORDER BY rowid DESC LIMIT ?
        """
        ids = [row["id"] for row in self._read(query, status, status, spec, spec, limit)]
        return [view for id_ in ids if (view := self.batch(id_))]

    def queues(self) -> list[QueueView]:
        """Return the queues that have or had jobs, by name, with their jobs counted by state."""
        query = "SELECT queue, status, count FROM queue_jobs WHERE count > 0 ORDER BY queue, status"
        counts: dict[str, dict[str, int]] = {}
        for row in self._read(query):
            counts.setdefault(row["queue"], {})[row["status"]] = row["count"]
        return [QueueView(name=name, jobs={**jobs, "total": sum(jobs.values())}) for name, jobs in counts.items()]

    def spec(self, name: str) -> SpecView | None:
        """Return a job spec."""
        found = self._read("SELECT * FROM specs WHERE name = ?", name)
        return _spec(found[0]) if found else None

    def specs(self) -> list[SpecView]:
        """Return all job specs by name."""
        return [_spec(row) for row in self._read("SELECT * FROM specs ORDER BY name")]

    def position(self) -> int:
        """Return the sequence in the log up to which all events are in the views."""
        return int(self._read("SELECT position FROM log")[0]["position"])

    def close(self) -> None:
        """Close the file; views in memory may also just be dropped."""
        self._connection.close()

    def __del__(self) -> None:
        # From 3.13 on, Python warns of a connection that nobody closed.
        self._connection.close()

    def _read(self, query: str, *parameters: object) -> list[sqlite3.Row]:
        try:
            return self._connection.execute(query, parameters).fetchall()
        except sqlite3.Error as error:
            raise UnavailableError(f"The views cannot be read: {error}") from error


def fold(recorded: Iterable[Recorded]) -> Views:
    """Return views of these events alone, in memory."""
    connection = create()
    apply(connection, recorded)
    return Views(connection)


def _sequence(cursor: str) -> int:
    if not CURSOR.fullmatch(cursor):
        raise InvalidRequestError("`after` is no cursor: take it from `next` of the page before")
    return int(cursor, 16)


def _job(row: sqlite3.Row) -> JobView:
    return JobView(
        id=row["id"],
        spec=row["spec"],
        queue=row["queue"],
        status=row["status"],
        attempt=row["attempt"],
        params=unpack(row["params"]),
        labels=_labels(row),
        batch=row["batch"],
        worker=row["worker"],
        scheduled_at=from_microseconds(row["scheduled_at"]),
        run_at=from_microseconds(row["run_at"]),
        queued_at=from_microseconds(row["queued_at"]),
        started_at=from_microseconds(row["started_at"]),
        ended_at=from_microseconds(row["ended_at"]),
        progress=row["progress"],
        error=unpack(row["error"], type=JobFault) if row["error"] else None,
    )


def _batch(
    row: sqlite3.Row, found_paths: list[sqlite3.Row], files: list[sqlite3.Row], counts: list[sqlite3.Row]
) -> BatchView:
    paths = [path for some in (row, *found_paths) for path in unpack(some["paths"], type=list[str])]
    jobs = {count["status"]: count["count"] for count in counts}
    shown = [
        FileView(
            path=paths[file["file_index"]],
            status=file["status"],
            size=file["size"],
            format=file["format"],
            rows=file["rows"] or 0,
            jobs=file["jobs"] or 0,
            bad_rows=file["bad"] or 0,
            error=file["error"],
        )
        for file in files
    ]
    return BatchView(
        id=row["id"],
        spec=row["spec"],
        status=row["status"],
        files=shown,
        files_total=len(paths),
        rows=sum(file.rows for file in shown),
        jobs={**jobs, "total": sum(jobs.values())},
        opened_at=EPOCH + row["opened_at"] * MICROSECOND,
        sealed_at=from_microseconds(row["sealed_at"]),
        ended_at=from_microseconds(row["ended_at"]),
        error=next((_with_path(file) for file in shown if file.error), row["error"]),
        labels=_labels(row),
    )


def _with_path(file: FileView) -> str:
    """Return a file's fault with its path, which it may have already."""
    error = file.error or ""
    return error if file.path in error else f"{file.path}: {error}"


def _spec(row: sqlite3.Row) -> SpecView:
    definition = unpack(row["definition"], type=Definition)
    return SpecView(
        name=row["name"],
        description=definition.description,
        params_schema=definition.params_schema,
        rows=definition.rows,
        queue=definition.queue,
        retry=definition.retry,
        timeout_seconds=definition.timeout_seconds,
    )


def _labels(row: sqlite3.Row) -> dict[str, str]:
    return unpack(row["labels"], type=dict[str, str]) if row["labels"] else {}
