"""The queries: jobs, batches, workflows, queues and job specs as the gateway shows them."""

import sqlite3
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Self

import msgspec

from events.jetstream.log import Recorded
from events.spec import Definition
from projections.batch_queries import (
    BadRows,
    find_batch,
    find_job_of_row,
    list_bad_rows,
    list_batches,
    list_results,
)
from projections.pages import before, cursor_of, where
from projections.sqlite import connect_read_only, from_microseconds, transaction
from projections.tables import SCHEMA_VERSION, apply, create
from projections.workflow_queries import find_workflow, list_workflows
from rota.batch_protocol import BatchList, BatchView, ResultsView, RowView
from rota.errors import UnavailableError
from rota.protocol import BatchStatus, JobFault, JobList, JobStatus, JobView, QueueView, Rows, SpecView
from rota.workflow_protocol import WorkflowList, WorkflowStatus, WorkflowView

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
        workflow: str | None = None,
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
            "workflow = ?": workflow,
            "sequence < ?": before(after),
        }
        condition, values = where(wanted)
        found = self._read(
            f"SELECT * FROM jobs WHERE {condition} ORDER BY sequence DESC LIMIT ?",  # noqa: S608 - of the texts above
            *values,
            limit + 1,
        )
        return JobList([_job(row) for row in found[:limit]], cursor_of(found, limit))

    def batch(self, id_: str, now: datetime | None = None) -> BatchView | None:
        """Return a batch with its files, and its jobs counted by state.

        Without a time there is no estimate, and no rate of a batch that has not ended.
        """
        with transaction(self._connection, "DEFERRED"):
            return find_batch(self._read, id_, now)

    def batches(
        self,
        *,
        status: BatchStatus | None = None,
        spec: str | None = None,
        limit: int = 50,
        after: str | None = None,
        now: datetime | None = None,
    ) -> BatchList:
        """Return a page of the batches that fit, newest first and without their files; `after` as with jobs."""
        wanted = {"status = ?": status, "spec = ?": spec, "sequence < ?": before(after)}
        with transaction(self._connection, "DEFERRED"):
            return list_batches(self._read, wanted, limit, now)

    def workflow(self, id_: str, now: datetime | None = None) -> WorkflowView | None:
        """Return a workflow with its jobs.

        Without a time, its critical path knows nothing of how long has gone on what has not ended.
        """
        with transaction(self._connection, "DEFERRED"):
            return find_workflow(self._read, id_, now)

    def workflows(
        self,
        *,
        status: WorkflowStatus | None = None,
        name: str | None = None,
        limit: int = 50,
        after: str | None = None,
    ) -> WorkflowList:
        """Return a page of the workflows that fit, newest first and without their jobs; `after` as with jobs."""
        wanted = {"name = ?": name, "sequence < ?": before(after)}
        with transaction(self._connection, "DEFERRED"):
            return list_workflows(self._read, wanted, status, limit)

    def row(self, batch: str, file: str | int | None, row: int) -> RowView:
        """Return which job had a row of a file, which is given by its path or number (None: the only one).

        NotFoundError says why there is none; InvalidRequestError if it must be said which file; UnavailableError if
        the views have not come so far.
        """
        with transaction(self._connection, "DEFERRED"):
            return find_job_of_row(self._read, batch, file, row)

    def bad_rows(
        self, batch: str, *, file: str | None = None, after: tuple[int, int] = (0, -1), limit: int = 50
    ) -> list[BadRows]:
        """Return in which events of the log there are quarantined rows, in the order of files and rows.

        Only those of files with a path, and with a row behind the given number of a file and of a row in it.
        NotFoundError if there is no such file; UnavailableError if the views do not have the batch.
        """
        with transaction(self._connection, "DEFERRED"):
            return list_bad_rows(self._read, batch, file, after, limit)

    def results(self, batch: str, limit: int = 100) -> list[ResultsView]:
        """Return the collections of a batch's results, newest first, whose manifests name no jobs.

        UnavailableError if the views do not have the batch.
        """
        with transaction(self._connection, "DEFERRED"):
            return list_results(self._read, batch, limit)

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
        rows=unpack(row["rows"], type=Rows) if row["rows"] else None,
        workflow=row["workflow"],
    )


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
        result_schema=definition.result_schema,
    )


def _labels(row: sqlite3.Row) -> dict[str, str]:
    return unpack(row["labels"], type=dict[str, str]) if row["labels"] else {}
