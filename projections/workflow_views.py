"""Workflows as they are shown: what the rows of their tables come to."""

import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from math import fsum

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from projections.critical_path import Timed, estimated_seconds, longest_chain
from projections.sqlite import EPOCH, MICROSECOND, from_microseconds, to_microseconds
from projections.workflow_parts import JobRow, Runs, share_ended, shown_status
from projections.workflow_reasons import Waiting, Whole, waits_for
from rota.protocol import ENDED_JOB, JobFault
from rota.workflow_protocol import (
    ENDED_WORKFLOW,
    WorkflowJobStatus,
    WorkflowJobView,
    WorkflowStatus,
    WorkflowView,
)

SECOND = 1_000_000
SETTLED: frozenset[WorkflowJobStatus] = ENDED_JOB | {"skipped"}

unpack = msgspec.msgpack.decode
_numbers = msgspec.json.Decoder(list[int])
_fault = msgspec.msgpack.Decoder(JobFault)


class _Job(Struct, frozen=True):
    """A job with what follows from its row."""

    row: JobRow
    status: WorkflowJobStatus
    runs: Runs | None
    needs: list[int]
    after: list[int]


def workflow_view(
    row: sqlite3.Row, rows: Sequence[JobRow], runs: Mapping[int, Runs], now: datetime | None
) -> WorkflowView:
    """Return a workflow with its jobs in their order, given the runs of its fan-outs.

    Without a time it is not known how long goes on what has not ended.
    """
    jobs = [_job(one, runs.get(one.number)) for one in rows]
    ended = fsum(share_ended(job.row, job.runs) for job in jobs)
    view = _summary(row, Counter(job.status for job in jobs), ended)
    whole = Whole(view.status, view.error, limited=row["max_parallel"] is not None)
    at = to_microseconds(now) if now else None
    seconds = estimated_seconds([_timed(job, at) for job in jobs])
    path = longest_chain([{*job.needs, *job.after} for job in jobs], seconds)
    critical = frozenset(path)
    return replace(
        view,
        jobs=[_job_view(job, jobs, whole, critical=number in critical) for number, job in enumerate(jobs)],
        critical_path=[jobs[number].row.name for number in path],
    )


def listed_view(
    row: sqlite3.Row, counts: Counter[WorkflowJobStatus], fan_outs: Sequence[JobRow], runs: Mapping[int, Runs]
) -> WorkflowView:
    """Return a workflow without its jobs, given how many are in each state, besides the fan-outs at work."""
    settled = sum(count for status, count in counts.items() if status in SETTLED)
    shares = [share_ended(job, runs.get(job.number)) for job in fan_outs]
    shown = counts + Counter(shown_status(job, runs.get(job.number)) for job in fan_outs)
    return _summary(row, shown, fsum([settled, *shares]))


def _summary(row: sqlite3.Row, counts: Counter[WorkflowJobStatus], ended: float) -> WorkflowView:
    status: WorkflowStatus = "paused" if row["status"] == "running" and row["paused"] else row["status"]
    total = counts.total()
    timeout_at = None
    if row["timeout"] is not None and status not in ENDED_WORKFLOW:
        timeout_at = EPOCH + row["began_at"] * MICROSECOND + timedelta(seconds=row["timeout"])
    return WorkflowView(
        id=row["id"],
        name=row["name"],
        status=status,
        counts={**{str(state): count for state, count in counts.items()}, "total": total},
        progress=ended / total,
        params=unpack(row["params"]),
        scheduled_at=EPOCH + row["scheduled_at"] * MICROSECOND,
        ended_at=from_microseconds(row["ended_at"]),
        timeout_at=timeout_at,
        error=row["error"],
        retries=row["retries"],
        rerun_of=row["rerun_of"],
        labels=unpack(row["labels"], type=dict[str, str]) if row["labels"] else {},
    )


def _job(row: JobRow, runs: Runs | None) -> _Job:
    return _Job(row, shown_status(row, runs), runs, _numbers.decode(row.needs), _numbers.decode(row.after))


def _job_view(job: _Job, jobs: Sequence[_Job], whole: Whole, *, critical: bool) -> WorkflowJobView:
    row = job.row
    fault = row.error or (row.attempt_error if row.status == "released" else None)
    return WorkflowJobView(
        name=row.name,
        spec=row.spec,
        status=job.status,
        needs=[jobs[number].row.name for number in job.needs],
        after=[jobs[number].row.name for number in job.after],
        job=row.part if row.kind == "job" and row.is_made else None,
        batch=row.part if row.kind == "batch" and row.is_made else None,
        runs=job.runs,
        attempt=row.attempt or 0,
        released_at=from_microseconds(row.released_at),
        started_at=from_microseconds(_started_at(row)),
        ended_at=from_microseconds(row.ended_at),
        error=_fault.decode(fault) if fault else None,
        fallback=bool(row.fallback),
        late=row.late,
        waits_for="" if job.status in ENDED_JOB else waits_for(_waiting(job, jobs), whole),
        critical=critical,
    )


def _waiting(job: _Job, jobs: Sequence[_Job]) -> Waiting:
    row = job.row
    missing = _missing(job, jobs) if row.status == "waiting" else []
    cause = None if row.because is None else jobs[row.because]
    return Waiting(
        status=job.status,
        queue=row.queue,
        missing=missing,
        due=from_microseconds(row.run_at) if job.status == "scheduled" else None,
        because=(cause.row.name, cause.status) if cause else None,
        batch_paused=row.batch_status == "paused",
    )


def _missing(job: _Job, jobs: Sequence[_Job]) -> list[str]:
    """Return the names of those that a job waits for, each once."""
    others = (jobs[number].row for number in dict.fromkeys((*job.needs, *job.after)))
    return [other.name for other in others if not other.has_output]


def _started_at(row: JobRow) -> int | None:
    """Return when a worker began the last attempt of a job; None if it waits again."""
    return None if row.released_at is None else row.started_at


def _timed(job: _Job, now: int | None) -> Timed:
    """Return how long a job takes, from when it was begun; from when its inputs were there if that is not known.

    If it has had several attempts, all of them count.
    """
    row = job.row
    begun = _started_at(row) if row.attempt == 1 else None
    begun = row.released_at if begun is None else begun
    end = row.ended_at if row.settled else now
    return Timed(
        like=(row.spec, row.kind),
        seconds=0.0 if begun is None or end is None else max(0, end - begun) / SECOND,
        ended=row.settled,
        typical=row.status == "succeeded",
    )
