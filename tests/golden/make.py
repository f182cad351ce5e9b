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
    JobsCounted,
    Position,
    RowsQuarantined,
)
from events.catalog import TAGS, encode
from events.job import (
    JobAttemptFailed,
    JobCancelled,
    JobFailed,
    JobProgressed,
    JobQueued,
    JobScheduled,
    JobStarted,
    JobSucceeded,
    JobTimedOut,
)
from events.log import LOG_ID, LogTrimmed
from events.spec import Definition, SpecChanged, SpecRegistered
from rota.options import Selection
from rota.protocol import JobDetails, JobFault, Payload, Result, RetryPolicy, Rows

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
    JobScheduled(**facts("b_1-2", 1), details=JOB, run_at=RETRY_AT),
    JobQueued(**facts("b_1-2", 2), attempt=2, details=JOB),
    JobStarted(**facts("b_1-2", 3), batch="b", **RUN),
    JobProgressed(**facts("b_1-2", 4), attempt=2, percent=40.0, message="half way"),
    JobAttemptFailed(**facts("b_1-2", 5), fault=FAULT, timed_out=True, retry_at=RETRY_AT, **RUN),
    JobSucceeded(**facts("b_1-2", 6), batch="b", result=Result(value=PARAMS), **RUN),
    JobFailed(**facts("b_1-2", 7), batch="b", fault=FAULT, **RUN),
    JobTimedOut(**facts("b_1-2", 8), batch="b", fault=FAULT, **RUN),
    JobCancelled(**facts("b_1-2", 9), batch="b", attempt=2, reason="no need"),
    LogTrimmed(**facts(LOG_ID, 1), before=STARTED, until=4711, oldest_job=815),
    SpecRegistered(**facts("load", 1), definition=DEFINITION),
    SpecChanged(**facts("load", 2), definition=msgspec.structs.replace(DEFINITION, rows="dicts")),
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
    "job.succeeded+origin": msgspec.structs.replace(
        next(event for event in EVENTS if isinstance(event, JobSucceeded)), origin=ORIGIN
    ),
}
"""What was added to events later, by `<tag>+<what>`."""

STORED = {TAGS[type(event)]: event for event in EVENTS} | LATER

if __name__ == "__main__":
    for name, event in STORED.items():
        path = FOLDER / f"{name}.msgpack"
        if not path.exists():
            path.write_bytes(encode(event))
