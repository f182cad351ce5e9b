"""Made one stored event of each tag as a file: what is here stays as it is, and a new tag gets a file.

`python -m tests.golden.make` writes the files that are missing and never changes one.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from events.base import Event, Origin
from events.batch import (
    BatchAdvanced,
    BatchCompleted,
    BatchCompletedWithFailures,
    BatchDetails,
    BatchFailed,
    BatchOpened,
    BatchRedriven,
    BatchSealed,
    FileFailed,
    FileFault,
    FileFinished,
    FileFound,
    FilesListed,
    JobCut,
    JobsCounted,
    JobsRedriven,
    Position,
    RowsQuarantined,
)
from events.batch_control import BatchCancelled, BatchCancelling, BatchChanged, BatchPaused, BatchResumed
from events.batch_results import ResultsCollected, ResultsFailed, ResultsRequested
from events.catalog import TAGS, encode
from events.job import (
    JobAttemptFailed,
    JobCancelled,
    JobFailed,
    JobProgressed,
    JobQueued,
    JobRedriven,
    JobScheduled,
    JobStarted,
    JobSucceeded,
    JobTimedOut,
)
from events.log import LOG_ID, LogTrimmed
from events.spec import Definition, SpecChanged, SpecRegistered
from events.workflow import (
    WorkflowAttemptExpired,
    WorkflowCancelled,
    WorkflowDetails,
    WorkflowFailed,
    WorkflowFallbackApplied,
    WorkflowJob,
    WorkflowJobCancelled,
    WorkflowJobExpanded,
    WorkflowJobFailed,
    WorkflowJobReleased,
    WorkflowJobsSkipped,
    WorkflowJobStarted,
    WorkflowJobSucceeded,
    WorkflowJobTimedOut,
    WorkflowJobWithdrawn,
    WorkflowPartlyFailed,
    WorkflowPaused,
    WorkflowResumed,
    WorkflowRetried,
    WorkflowScheduled,
    WorkflowStopping,
    WorkflowSucceeded,
    WorkflowTimedOut,
)
from rota.batch_protocol import FailedJobs, Manifest, ResultsRequest, StreamRules, Tolerance
from rota.options import Selection
from rota.protocol import JobDetails, JobFault, Payload, Result, RetryPolicy, Rows, WorkflowPlace

FOLDER = Path(__file__).parent
AT = datetime(2026, 3, 1, 12, 30, 15, 123456, tzinfo=UTC)
STARTED = datetime(2026, 3, 1, 12, 30, 14, tzinfo=UTC)
RETRY_AT = datetime(2026, 3, 1, 12, 31, tzinfo=UTC)

RETRY = RetryPolicy(max_attempts=5, delay_seconds=2.5, backoff=3.0, max_delay_seconds=60.0)
PARAMS = msgspec.Raw(msgspec.msgpack.encode({"table": "people", "limit": 3, "é": [1.5, None, True]}))
ROWS = Rows("b", "in/people.csv", 1, 2, 2000, 1000, Payload("rota.payload.b_1-2", 4711, "ab" * 32))
JOB = JobDetails(
    spec="load", queue="urgent", params=PARAMS, retry=RETRY, timeout_seconds=30.0, labels={"team": "x"}, rows=ROWS
)
BATCH = BatchDetails(
    spec="load",
    queue="urgent",
    files=("in/people.csv", "in/places.csv"),
    rows_per_job=1000,
    max_jobs_in_flight=2000,
    params=PARAMS,
    connection="lake",
    options={"delimiter": ";", "column_types": {"zip": "string"}, "null_values": ["-"]},
    retry=RETRY,
    timeout_seconds=30.0,
    labels={"team": "x"},
)
FAULT = JobFault("ValueError", "no such table", "Traceback (most recent call last): …")
RUN: dict[str, Any] = {"attempt": 2, "worker": "host-17", "started_at": STARTED}
DEFINITION = Definition("Loads rows.", {"type": "object"}, "arrow", "urgent", RETRY, 30.0)


def facts(id_: str, version: int) -> dict[str, Any]:
    """Return what all events have."""
    return {"originator_id": id_, "originator_version": version, "at": AT}


SEARCHING = msgspec.structs.replace(
    BATCH,
    files=("in/",),
    format=None,
    options={"csv": {"delimiter": ";"}},
    compression="gzip",
    selection=Selection(recursive=True, include=["*.csv"], exclude=["old/*"], hidden=True, allow_empty=True),
    bad_rows="quarantine",
    max_readers=4,
)

TOLERANCE = Tolerance(failed_jobs=3, failed_jobs_share=0.25, bad_rows=100, bad_rows_share=0.01)
STREAM = msgspec.structs.replace(
    BATCH,
    files=("stream",),
    connection=None,
    format="ndjson",
    options={},
    compression="gzip",
    bytes_per_job=1_048_576,
    seconds_per_job=2.5,
    first=10,
    limit=1_000_000,
    form="messagepack",
    max_bytes_in_flight=67_108_864,
    tolerance=TOLERANCE,
    stream=StreamRules(silent_after_seconds=60.0, on_silence="seal"),
)
OF_A_BATCH = msgspec.structs.replace(
    JOB,
    rows=msgspec.structs.replace(
        ROWS, form="json", version="d41d8cd9", size=123_456, columns={"zip": "string", "cents": "int64"}
    ),
)
MANIFEST = Manifest(
    batch="b",
    spec="load",
    format="parquet",
    jobs={"succeeded": 4, "failed": 1, "pending": 1, "total": 6},
    rows=4000,
    size=654_321,
    sha256="cd" * 32,
    failed=[
        {
            "job": "b_1-2",
            "status": "failed",
            "file": "in/people.csv",
            "first_row": 2000,
            "last_row": 2999,
            "error": {"type": "ValueError", "message": "no such table"},
        }
    ],
    pending=["b_1-0"],
)


def packed(value: Any) -> msgspec.Raw:
    """Return a value as MessagePack."""
    return msgspec.Raw(msgspec.msgpack.encode(value))


FETCH = WorkflowJob(
    name="fetch",
    spec="fetch",
    queue="urgent",
    inputs=packed({"table": {"from": "$params", "output": "table"}, "limit": 3}),
    retry=RETRY,
    timeout_seconds=30.0,
    waiting_timeout_seconds=10.0,
    total_timeout_seconds=120.0,
    on_timeout="use_defaults",
    on_failure="fail_dependents",
    defaults=packed({"files": ["in/people.csv"], "days": [1, 2, 3]}),
    labels={"team": "x"},
)
CLEAN = WorkflowJob(
    name="clean",
    spec="clean",
    queue="default",
    inputs=packed({"day": {"from": "$item"}, "number": {"from": "$index"}}),
    needs=(0,),
    for_each=packed({"from": "fetch", "output": ["days"]}),
    max_parallel=4,
    tolerated_failures=1,
    tolerated_failures_share=0.25,
)
LOAD = WorkflowJob(
    name="load",
    spec="load",
    queue="urgent",
    inputs=packed({"table": "people"}),
    needs=(0,),
    after=(1,),
    batch=msgspec.structs.replace(BATCH, params=msgspec.Raw(b"\x80")),
    files_from=packed({"from": "fetch", "output": "files"}),
)
REPORT = WorkflowJob(
    name="report", spec="report", queue="default", inputs=packed({"all": {"from": "clean"}}), needs=(1,)
)
WORKFLOW = WorkflowDetails(
    name="nightly",
    jobs=(FETCH, CLEAN, LOAD, REPORT),
    params=packed({"table": "people"}),
    timeout_seconds=3600.0,
    max_parallel=100,
    labels={"team": "x"},
    rerun_of="v",
)
LATE = JobFault("TimeoutError", "It took longer than 120 s in all")
PLACE = WorkflowPlace("w", 1, "clean", 2)

EVENTS: list[Event] = [
    BatchOpened(**facts("b", 1), details=BATCH),
    FileFound(**facts("b", 2), file_index=0, size=123_456, file_version="d41d8cd9"),
    BatchAdvanced(**facts("b", 3), file_index=0, position=Position(98_304, 2000, 2002), rows=2000, jobs=2),
    FileFinished(**facts("b", 4), file_index=0, rows=2500, jobs=3),
    FileFailed(
        **facts("b", 5),
        file_index=1,
        fault=FileFault("line 7: 2 columns, not 3: 'x;y'", 7, "zip", "x;y"),
        rows=1000,
        jobs=1,
    ),
    BatchSealed(**facts("b", 6), rows=5000, jobs=6),
    JobsCounted(**facts("b", 7), until=9001, succeeded=5, failed=1),
    BatchCompleted(**facts("b", 8), succeeded=5, failed=1),
    BatchFailed(**facts("b", 9), reason="in/places.csv: line 7: 2 columns, not 3"),
    BatchRedriven(**facts("b", 10), format="csv", options={"delimiter": ","}, bad_rows="skip"),
    FilesListed(**facts("b", 11), first=2, paths=("in/a.csv", "in/b.csv"), last=True),
    RowsQuarantined(
        **facts("b", 12),
        file_index=1,
        bad_before=1,
        faults=(FileFault("in/places.csv, line 9: 2 columns, not 3: 'x;y'", 9, None, "x;y", 1002),),
    ),
    JobCut(**facts("b", 13), file_index=1, index=1, count=17),
    BatchCompletedWithFailures(
        **facts("b", 14),
        succeeded=5,
        failed=1,
        reason="1 of 6 jobs ended without success; 2 rows are in quarantine",
    ),
    JobsRedriven(**facts("b", 15), redrive=10, jobs=1),
    BatchPaused(**facts("b", 16), reason="the table is full"),
    BatchResumed(**facts("b", 17)),
    BatchChanged(
        **facts("b", 18), max_jobs_in_flight=10, max_bytes_in_flight=1_048_576, max_readers=2, tolerance=TOLERANCE
    ),
    ResultsRequested(
        **facts("b", 19),
        collection="01k9abc",
        format="parquet",
        connection="lake",
        path="out/people.parquet",
        origin_columns=True,
    ),
    ResultsCollected(**facts("b", 20), collection="01k9abc", manifest=MANIFEST),
    ResultsFailed(**facts("b", 21), collection="01k9abd", reason="lake: out/people.ods may not be written"),
    BatchCancelling(**facts("b", 22), reason="the wrong year"),
    BatchCancelled(**facts("b", 23), jobs=6, succeeded=3, failed=3, reason="the wrong year"),
    JobScheduled(**facts("b_1-2", 1), details=JOB, run_at=RETRY_AT),
    JobQueued(**facts("b_1-2", 2), attempt=2, details=JOB),
    JobStarted(**facts("b_1-2", 3), batch="b", **RUN),
    JobProgressed(**facts("b_1-2", 4), attempt=2, percent=40.0, message="half way"),
    JobAttemptFailed(**facts("b_1-2", 5), fault=FAULT, timed_out=True, retry_at=RETRY_AT, **RUN),
    JobSucceeded(**facts("b_1-2", 6), batch="b", result=Result(value=PARAMS), **RUN),
    JobFailed(**facts("b_1-2", 7), batch="b", fault=FAULT, **RUN),
    JobTimedOut(**facts("b_1-2", 8), batch="b", fault=FAULT, **RUN),
    JobCancelled(**facts("b_1-2", 9), batch="b", attempt=2, reason="no need"),
    JobRedriven(**facts("b_1-2", 10), redrive=12, batch="b"),
    LogTrimmed(**facts(LOG_ID, 1), before=STARTED, until=4711, oldest_job=815),
    SpecRegistered(**facts("load", 1), definition=DEFINITION),
    SpecChanged(**facts("load", 2), definition=msgspec.structs.replace(DEFINITION, rows="dicts")),
    WorkflowScheduled(**facts("w", 1), details=WORKFLOW),
    WorkflowJobReleased(**facts("w", 2), job=0),
    WorkflowJobStarted(**facts("w", 3), job=0, attempt=1, started_at=STARTED),
    WorkflowAttemptExpired(**facts("w", 4), job=0, attempt=1, started_at=STARTED),
    WorkflowJobTimedOut(**facts("w", 5), job=0, limit="total", fault=LATE),
    WorkflowFallbackApplied(**facts("w", 6), job=0),
    WorkflowPaused(**facts("w", 7), reason="the table is full"),
    WorkflowResumed(**facts("w", 8)),
    WorkflowJobExpanded(**facts("w", 9), job=1, runs=3),
    WorkflowJobSucceeded(**facts("w", 10), job=1, run=0),
    WorkflowJobWithdrawn(**facts("w", 11), job=1, run=1),
    WorkflowJobFailed(**facts("w", 12), job=1, fault=JobFault("FailedRuns", "2 of 3 runs ended without success")),
    WorkflowJobsSkipped(**facts("w", 13), jobs=(3,), because=1),
    WorkflowJobCancelled(**facts("w", 14), job=2),
    WorkflowStopping(**facts("w", 15), outcome="failed", reason="The job clean has failed"),
    WorkflowFailed(**facts("w", 16), reason="The job clean has failed"),
    WorkflowRetried(**facts("w", 17), retry=1, key="again"),
    WorkflowPartlyFailed(**facts("w", 18), reason="2 of 4 jobs have no output"),
    WorkflowTimedOut(**facts("w", 19), reason="It took longer than 3600 s"),
    WorkflowCancelled(**facts("w", 20), reason="the wrong year"),
    WorkflowSucceeded(**facts("w", 21)),
]

ORIGIN = Origin("71", "worker:host-17", "b_1-2.2", "b")
LATER = {
    "batch.opened+selection": BatchOpened(**facts("b", 1), details=SEARCHING),
    "batch.file_found+format": FileFound(
        **facts("b", 2), file_index=0, size=123_456, file_version="d41d8cd9", format="parquet", compression="zstd"
    ),
    "batch.advanced+columns": BatchAdvanced(
        **facts("b", 3),
        file_index=0,
        position=Position(98_304, 2000, 2002, 3, 1),
        rows=2000,
        jobs=2,
        columns=b"\xff\xff\xff\xff",
    ),
    "batch.opened+stream": BatchOpened(**facts("b", 1), details=STREAM),
    "batch.opened+whole_files": BatchOpened(
        **facts("b", 1), details=msgspec.structs.replace(BATCH, rows_per_job=None, bytes_per_job=None)
    ),
    "batch.advanced+passed": BatchAdvanced(
        **facts("b", 3), file_index=0, position=Position(98_304, 2000, 2002), rows=1990, jobs=2, passed=10
    ),
    "batch.file_finished+passed": FileFinished(**facts("b", 4), file_index=0, rows=2490, jobs=3, bad=2, passed=10),
    "batch.file_failed+passed": FileFailed(
        **facts("b", 5),
        file_index=1,
        fault=FileFault("in/places.csv, line 7: 2 columns, not 3: 'x;y'", 7, "zip", "x;y", 1000, 1002),
        rows=990,
        jobs=1,
        bad=2,
        passed=10,
    ),
    "batch.rows_quarantined+number": RowsQuarantined(
        **facts("b", 12),
        file_index=1,
        bad_before=1,
        faults=(FileFault("in/places.csv, line 9: 2 columns, not 3: 'x;y'", 9, None, "x;y", 1002, 1003),),
    ),
    "batch.redriven+jobs": BatchRedriven(**facts("b", 10), tolerance=TOLERANCE, jobs=FailedJobs()),
    "batch.redriven+mends": BatchRedriven(
        **facts("b", 10),
        options={"delimiter": ","},
        jobs=FailedJobs(file="in/people.csv", first_row=2000, last_row=2999, error="ValueError"),
        mends=(0, 1),
    ),
    "batch.opened+workflow": BatchOpened(
        **facts("w_2", 1),
        details=msgspec.structs.replace(
            BATCH,
            workflow=WorkflowPlace("w", 2, "load"),
            results=ResultsRequest(format="parquet", connection="lake", path="out/people.parquet"),
        ),
    ),
    "job.queued+rows": JobQueued(**facts("b_1-2", 2), attempt=1, details=OF_A_BATCH),
    "job.succeeded+origin": msgspec.structs.replace(
        next(event for event in EVENTS if isinstance(event, JobSucceeded)), origin=ORIGIN
    ),
    "job.queued+workflow": JobQueued(
        **facts("w-1-2", 1),
        attempt=1,
        details=JobDetails(
            spec="clean",
            queue="default",
            params=msgspec.Raw(b"\x80"),
            workflow=PLACE,
            large_params=Payload("rota.payload.w.1.2.inputs.abababababababab", 471_100, "ab" * 32),
            tell_start=True,
        ),
    ),
    "spec.registered+result_schema": SpecRegistered(
        **facts("load", 1), definition=msgspec.structs.replace(DEFINITION, result_schema={"type": "integer"})
    ),
    "workflow.job_failed+impossible": WorkflowJobFailed(
        **facts("w", 12), job=3, fault=JobFault("InputError", "fetch: days is missing"), made=False
    ),
    "workflow.job_released+batch": WorkflowJobReleased(**facts("w", 18), job=2, retry=2, again=True, opened=1),
    "workflow.job_released+run": WorkflowJobReleased(**facts("w", 18), job=1, run=2, retry=1, again=True),
    "workflow.job_succeeded+late": WorkflowJobSucceeded(**facts("w", 7), job=0, late=True),
    "workflow.job_timed_out+run": WorkflowJobTimedOut(
        **facts("w", 12), job=1, run=2, limit="running", fault=FAULT, late=True
    ),
}
"""What was added to events later, and other forms of them, by `<tag>+<what>`."""

STORED = {TAGS[type(event)]: event for event in EVENTS} | LATER

if __name__ == "__main__":
    for name, event in STORED.items():
        path = FOLDER / f"{name}.msgpack"
        if not path.exists():
            path.write_bytes(encode(event))
