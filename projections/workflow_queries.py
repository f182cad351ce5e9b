"""The queries for workflows: each takes what reads the tables, in one state of them."""

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from msgspec.structs import replace

from projections.pages import cursor_of, where
from projections.workflow_parts import JobRow, Runs, runs_of, status_at_work
from projections.workflow_views import listed_view, workflow_view
from rota.workflow_protocol import WorkflowJobStatus, WorkflowList, WorkflowStatus, WorkflowView

Read = Callable[..., list[sqlite3.Row]]
"""Takes a query and its parameters."""

# The columns are the fields of JobRow.
JOBS = """
    SELECT
        workflow_jobs.number, workflow_jobs.name, workflow_jobs.spec, workflow_jobs.queue, workflow_jobs.kind,
        workflow_jobs.needs, workflow_jobs.after, workflow_jobs.status, workflow_jobs.part, workflow_jobs.runs,
        workflow_jobs.released_at, workflow_jobs.ended_at, workflow_jobs.fallback, workflow_jobs.late,
        workflow_jobs.because, workflow_jobs.error,
        jobs.status, jobs.attempt, jobs.started_at, jobs.run_at, jobs.error, batches.status
    FROM workflow_jobs
    LEFT JOIN jobs ON jobs.id = workflow_jobs.part
    LEFT JOIN batches ON batches.id = workflow_jobs.part
    WHERE workflow_jobs.workflow = ?
"""
ALL_JOBS = f"{JOBS} ORDER BY workflow_jobs.number"
FAN_OUTS_AT_WORK = f"{JOBS} AND workflow_jobs.status = 'released' AND workflow_jobs.kind = 'fan_out'"
COUNTS = "SELECT status, count(*) FROM workflow_jobs WHERE workflow = ? GROUP BY status"
COUNTS_AT_WORK = """
    SELECT workflow_jobs.kind, jobs.status, count(*)
    FROM workflow_jobs LEFT JOIN jobs ON jobs.id = workflow_jobs.part
    WHERE workflow_jobs.workflow = ? AND workflow_jobs.status = 'released'
    GROUP BY 1, 2
"""
# The ids of jobs are made as `job_id` makes them; only those of runs that have not ended are looked up.
RUNS = """
    SELECT workflow_runs.number, workflow_runs.status, jobs.status, count(*)
    FROM workflow_runs
    LEFT JOIN jobs ON jobs.id = CASE workflow_runs.status WHEN 'released' THEN
        workflow_runs.workflow || '-' || workflow_runs.number || '-' || workflow_runs.run
    END
    WHERE workflow_runs.workflow = ? AND workflow_runs.number IN (SELECT value FROM json_each(?))
    GROUP BY 1, 2, 3
"""


def find_workflow(read: Read, id_: str, now: datetime | None) -> WorkflowView | None:
    """Return a workflow with its jobs."""
    found = read("SELECT * FROM workflows WHERE id = ?", id_)
    if not found:
        return None
    jobs = [JobRow(*row) for row in read(ALL_JOBS, id_)]
    return workflow_view(found[0], jobs, _runs(read, id_, jobs), now)


def list_workflows(read: Read, wanted: dict[str, Any], status: WorkflowStatus | None, limit: int) -> WorkflowList:
    """Return a page of the workflows that fit conditions with their values: newest first, no jobs, no params."""
    condition, values = where({**wanted, **_of_status(status)})
    query = f"SELECT * FROM workflows WHERE {condition} ORDER BY sequence DESC LIMIT ?"  # noqa: S608 - of our own
    found = read(query, *values, limit + 1)
    shown = [replace(_listed(read, row), params=None) for row in found[:limit]]
    return WorkflowList(shown, cursor_of(found, limit))


def _of_status(status: WorkflowStatus | None) -> dict[str, Any]:
    """Return the conditions for a state as it is shown: what is paused runs."""
    match status:
        case "paused":
            return {"status = ?": "running", "paused = ?": True}
        case "running":
            return {"status = ?": "running", "paused = ?": False}
        case _:
            return {"status = ?": status}


def _listed(read: Read, row: sqlite3.Row) -> WorkflowView:
    id_ = row["id"]
    counts: Counter[WorkflowJobStatus] = Counter()
    fan_outs: list[JobRow] = []
    for status, count in read(COUNTS, id_):
        if status != "released":
            counts[status] += count
            continue
        for kind, job_status, number in read(COUNTS_AT_WORK, id_):
            if kind == "fan_out":
                fan_outs = [JobRow(*one) for one in read(FAN_OUTS_AT_WORK, id_)]
            else:
                counts[status_at_work(kind, job_status, None)] += number
    return listed_view(row, counts, fan_outs, _runs(read, id_, fan_outs))


def _runs(read: Read, id_: str, jobs: Iterable[JobRow]) -> dict[int, Runs]:
    """Return the runs by state of those jobs that are fan-outs whose lists are known."""
    fan_outs = {job.number: job for job in jobs if job.total is not None}
    if not fan_outs:
        return {}
    counts: dict[int, dict[Any, int]] = {number: {} for number in fan_outs}
    for number, status, job_status, count in read(RUNS, id_, str(list(fan_outs))):
        counts[number][status, job_status] = count
    return {number: runs_of(job, job.total or 0, counts[number]) for number, job in fan_outs.items()}
