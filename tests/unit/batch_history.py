"""Histories of a batch with two files, and what they are made of: shared by the tests of its decider."""

from datetime import UTC, datetime
from typing import Any

import msgspec

from events.base import Event
from events.batch import (
    AdvanceFile,
    BatchAdvanced,
    BatchDetails,
    BatchFailed,
    BatchOpened,
    BatchSealed,
    CountJobs,
    FileFailed,
    FileFault,
    FileFinished,
    FileFound,
    FilesListed,
    ListFiles,
    Position,
    QuarantineRows,
    RowsQuarantined,
)
from events.batch_state import BatchState, evolve

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
DETAILS = BatchDetails(
    spec="load",
    queue="default",
    files=("a.csv", "b.csv"),
    rows_per_job=10,
    max_jobs_in_flight=100,
    params=msgspec.Raw(b"\x80"),
)
FAULT = FileFault("b.csv, line 3: 2 columns, not 3: 'x,y'", line=3, text="x,y")


def facts(version: int) -> dict[str, Any]:
    return {"originator_id": "b", "originator_version": version, "at": NOW}


OPENED = BatchOpened(**facts(1), details=DETAILS)
SEARCHED = msgspec.structs.replace(DETAILS, files=("orders/", "more.csv"))
SEARCHING = BatchOpened(**facts(1), details=SEARCHED)


def finished(version: int, index: int, *, rows: int = 10, jobs: int = 1) -> FileFinished:
    return FileFinished(**facts(version), file_index=index, rows=rows, jobs=jobs)


SEALED = [OPENED, finished(2, 0), finished(3, 1), BatchSealed(**facts(4), rows=20, jobs=2)]


def state_after(*events: Any) -> BatchState | None:
    state: BatchState | None = None
    for event in events:
        state = evolve(state, event)
    return state


def advance(jobs: int, rows: int, offset: int) -> AdvanceFile:
    return AdvanceFile(id="b", file_index=0, position=Position(offset, rows, rows + 2), rows=rows, jobs=jobs)


def advanced(version: int, jobs: int, rows: int, offset: int) -> BatchAdvanced:
    position = Position(offset, rows, rows + 2)
    return BatchAdvanced(**facts(version), file_index=0, position=position, rows=rows, jobs=jobs)


def count(until: int, succeeded: int, failed: int = 0) -> CountJobs:
    return CountJobs(id="b", until=until, succeeded=succeeded, failed=failed)


def listing(first: int, *paths: str, last: bool = True) -> ListFiles:
    return ListFiles(id="b", first=first, paths=paths, last=last)


def listed(version: int, first: int, *paths: str, last: bool = True) -> FilesListed:
    return FilesListed(**facts(version), first=first, paths=paths, last=last)


def found(version: int, index: int = 0, file_version: str = "v1", format_: str = "csv") -> FileFound:
    return FileFound(**facts(version), file_index=index, size=500, file_version=file_version, format=format_)


def bad_rows(*lines: int) -> tuple[FileFault, ...]:
    return tuple(FileFault(f"a.csv, line {line}: no", line=line) for line in lines)


def quarantine(bad_before: int, *lines: int) -> QuarantineRows:
    return QuarantineRows(id="b", file_index=0, bad_before=bad_before, faults=bad_rows(*lines))


def quarantined(version: int, bad_before: int, *lines: int) -> RowsQuarantined:
    return RowsQuarantined(**facts(version), file_index=0, bad_before=bad_before, faults=bad_rows(*lines))


def failed_file(version: int, *, bad: int = 0) -> list[Event]:
    """The first file has failed after 20 rows, and the batch with it."""
    return [
        FileFailed(**facts(version), file_index=0, fault=FAULT, rows=20, jobs=2, bad=bad),
        BatchFailed(**facts(version + 1), reason=FAULT.message),
    ]


READ_20 = [OPENED, found(2), advanced(3, 2, 20, 300)]
FAILED = [*READ_20, *failed_file(4)]


def known_after(*events: Any) -> BatchState:
    state = state_after(*events)
    assert state
    return state
