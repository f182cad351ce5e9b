"""The batch: what follows from what is asked of it.

reading ─► sealed ─► completed · completed_with_failures
▲  │          │      `failed` from the first two, when a file cannot be read to its end, or too much goes wrong
│  └──────────┴────► cancelling ─► cancelled
└── failed · completed_with_failures      by `batch.redrive`
"""

from datetime import datetime
from typing import Any, assert_never

from events.base import Aggregate, EndedError, Event, UnknownAggregateError
from events.batch import (
    AdvanceFile,
    BatchAdvanced,
    BatchCommand,
    BatchCompleted,
    BatchCompletedWithFailures,
    BatchFailed,
    BatchOpened,
    BatchRedriven,
    BatchSealed,
    CountJobs,
    CutJob,
    FailBatch,
    FailFile,
    FileFailed,
    FileFinished,
    FileFound,
    FilesListed,
    FindFile,
    FinishFile,
    FinishRedrive,
    JobCut,
    JobsCounted,
    JobsRedriven,
    ListFiles,
    OpenBatch,
    QuarantineRows,
    RedriveBatch,
    RowsQuarantined,
)
from events.batch_control import BatchControl, CancelBatch, ChangeBatch, FinishCancel, PauseBatch, ResumeBatch
from events.batch_results import BatchCollection, CollectResults, FailResults, FinishResults
from events.batch_state import BatchState, FileState, evolve
from events.batch_steering import collect, steer
from events.batch_tolerance import excess, shortfall
from rota.protocol import ENDED_BATCH

FILE_BYTES = 300
"""About what a file takes in the state."""

REDRIVABLE = ("failed", "completed_with_failures")

Reading = ListFiles | FindFile | AdvanceFile | CutJob | QuarantineRows | FinishFile | FailFile | FailBatch


def decide(
    state: BatchState | None, command: BatchCommand | BatchControl | BatchCollection, now: datetime
) -> list[Event]:
    """Return what follows from the command; nothing if it says nothing new."""
    if isinstance(command, OpenBatch):
        opened = BatchOpened(originator_id=command.id, originator_version=1, at=now, details=command.details)
        return [] if state else [opened]
    if state is None:
        raise UnknownAggregateError(f"There is no batch {command.id}", batch=command.id)
    facts: dict[str, Any] = {"originator_id": command.id, "originator_version": state.version + 1, "at": now}
    match command:
        case CollectResults() | FinishResults() | FailResults():
            return collect(state, command, facts)
        case PauseBatch() | ResumeBatch() | ChangeBatch() | CancelBatch() | FinishCancel():
            events = steer(state, command, facts)
        case RedriveBatch():
            events = _redrive(state, command, facts)
        case _:
            events = [] if state.status in ENDED_BATCH else _told(state, command, facts)
    for event in events:
        state = evolve(state, event)  # type: ignore[arg-type] # list[Event] is wider than the union
    return events + _consequences(state, command.id, now)


def _weigh(state: BatchState) -> int:
    # It is asked after each event, and a batch may have ten thousand files.
    return len(state.details.params) + FILE_BYTES * (len(state.files) + len(state.details.files))


def _correlation_id(id_: str, state: BatchState) -> str:
    return state.details.workflow.id if state.details.workflow else id_


BATCH = Aggregate(
    "batch", decide, evolve, BatchState, _correlation_id, _weigh, snapshot_every=lambda _: 100, state_version=4
)


def _redrive(state: BatchState, command: RedriveBatch, facts: dict[str, Any]) -> list[Event]:
    if command.key is not None and command.key == state.redrive_key:
        return []
    if state.status in ("completed", "cancelled"):
        left = "nothing is left to do" if state.status == "completed" else "open another one"
        raise EndedError(f"The batch {command.id} is {state.status}: {left}", batch=command.id)
    if state.status not in REDRIVABLE:
        return []
    if state.status == "completed_with_failures" and not (state.failed or command.rows):
        raise EndedError(
            f"All jobs of the batch {command.id} succeeded; its quarantined rows are read again if `rows` says so",
            batch=command.id,
        )
    format_ = None if command.format == state.details.format else command.format
    options = None if command.options == state.details.options else command.options
    changed = format_ is not None or options is not None
    skips = state.details.bad_rows == "skip"
    if changed and state.details.stream and not state.details.keeps_stream:
        raise EndedError(
            f"The batch {command.id} was streamed in, and bytes that were read are gone: with another format or "
            "other options it would have to be read from its start. Send it in another batch",
            batch=command.id,
        )
    if changed and any(_has_left_out_rows(file, skips=skips) for file in state.files if not file.finished):
        raise EndedError(
            f"The batch {command.id} may have left out bad rows of a file that is not finished: with another "
            "format or other options its rows would be counted anew. Open another batch",
            batch=command.id,
        )
    return [
        BatchRedriven(
            format=format_,
            options=options,
            bad_rows=command.bad_rows,
            tolerance=command.tolerance,
            jobs=command.jobs,
            mends=_mends(state, command),
            key=command.key,
            **facts,
        )
    ]


def _mends(state: BatchState, command: RedriveBatch) -> tuple[int, ...]:
    """Return the files whose quarantined rows are to be read again: those that nobody has read again by now."""
    if command.rows is None:
        return ()
    if state.details.stream and not state.details.keeps_stream:
        raise EndedError(
            f"The batch {command.id} was streamed in without quarantine, and its bytes are gone: send them again",
            batch=command.id,
        )
    mended = {file.mends for file in state.files}
    found = tuple(
        index
        for index, file in enumerate(state.files)
        if file.quarantined and file.finished and index not in mended and command.rows.file in (None, file.path)
    )
    if not found:
        of = f" of {command.rows.file}" if command.rows.file else ""
        raise EndedError(
            f"The batch {command.id} has no quarantined rows{of} that could be read again: its files must be "
            "read to their end, and each is read again once",
            batch=command.id,
        )
    return found


def _told(state: BatchState, command: Reading | CountJobs | FinishRedrive, facts: dict[str, Any]) -> list[Event]:
    """Return the events that follow from what a reader tells."""
    match command:
        case CountJobs():
            if command.until <= state.counted_until:
                return []
            return [JobsCounted(until=command.until, succeeded=command.succeeded, failed=command.failed, **facts)]
        case FinishRedrive():
            if state.redrive is None or state.redrive.number != command.redrive:
                return []
            return [JobsRedriven(redrive=command.redrive, jobs=command.jobs, **facts)]
        case FailBatch():
            if state.listed or state.status == "cancelling":
                return []
            return [BatchFailed(reason=command.reason, **facts)]
        case ListFiles():
            news = command.last or command.paths
            if state.listed or command.first != len(state.files) or not news:
                return []
            return [FilesListed(first=command.first, paths=command.paths, last=command.last, **facts)]
        case _:
            return _told_of_file(state, command, facts)


def _told_of_file(
    state: BatchState,
    command: FindFile | AdvanceFile | CutJob | QuarantineRows | FinishFile | FailFile,
    facts: dict[str, Any],
) -> list[Event]:
    file = state.files[command.file_index]
    if file.finished:
        return []
    index = command.file_index
    match command:
        case FindFile():
            if file.found:
                return []
            return [
                FileFound(
                    file_index=index,
                    size=command.size,
                    file_version=command.file_version,
                    format=command.format,
                    compression=command.compression,
                    **facts,
                )
            ]
        case AdvanceFile():
            if command.jobs <= file.jobs:
                return []
            return [
                BatchAdvanced(
                    file_index=index,
                    position=command.position,
                    rows=command.rows,
                    jobs=command.jobs,
                    columns=None if command.columns == file.columns else command.columns,
                    passed=command.passed,
                    **facts,
                )
            ]
        case CutJob():
            if command.index < file.jobs or any(known == command.index for known, _ in file.cuts):
                return []
            return [JobCut(file_index=index, index=command.index, count=command.count, **facts)]
        case QuarantineRows():
            # Bad rows that were left out before the batch wished to keep them are not among those that are kept.
            known = max(0, file.quarantined - command.bad_before)
            if known >= len(command.faults):
                return []
            return [
                RowsQuarantined(
                    file_index=index,
                    bad_before=command.bad_before + known,
                    faults=command.faults[known:],
                    **facts,
                )
            ]
        case FinishFile():
            counts: dict[str, Any] = {
                "rows": command.rows,
                "jobs": command.jobs,
                "bad": command.bad,
                "passed": command.passed,
            }
            return [FileFinished(file_index=index, **counts, **facts)]
        case FailFile():
            return [] if state.status == "cancelling" else _failed(state, file, command, facts)
        case _:
            assert_never(command)


def _failed(state: BatchState, file: FileState, command: FailFile, facts: dict[str, Any]) -> list[Event]:
    failed = FileFailed(
        file_index=command.file_index,
        fault=command.fault,
        rows=max(command.rows, file.rows),
        jobs=max(command.jobs, file.jobs),
        bad=command.bad,
        passed=command.passed,
        **facts,
    )
    after = {**facts, "originator_version": state.version + 2}
    return [failed, BatchFailed(reason=command.fault.message, **after)]


def _consequences(state: BatchState, id_: str, now: datetime) -> list[Event]:
    """Seal the batch after its last file, end it after its last job or when too much went wrong."""
    events: list[Event] = []

    def facts() -> dict[str, Any]:
        return {"originator_id": id_, "originator_version": state.version + len(events) + 1, "at": now}

    status = state.status
    if status == "reading" and state.listed and all(file.finished for file in reversed(state.files)):
        events.append(BatchSealed(rows=state.rows, jobs=state.jobs, **facts()))
        status = "sealed"
    if status not in ("reading", "sealed") or state.redrive:
        return events
    ended = status == "sealed" and state.jobs_ended >= state.jobs
    if reason := excess(state, sealed=status == "sealed", ended=ended):
        events.append(BatchFailed(reason=reason, **facts()))
    elif ended:
        counts: dict[str, Any] = {"succeeded": state.succeeded, "failed": state.failed}
        if reason := shortfall(state):
            events.append(BatchCompletedWithFailures(reason=reason, **counts, **facts()))
        else:
            events.append(BatchCompleted(**counts, **facts()))
    return events


def _has_left_out_rows(file: FileState, *, skips: bool) -> bool:
    """Say whether bad rows of a file were left out, or may have been, since its reader has told of them."""
    unknown = skips and file.found and not file.failed
    return bool(file.left_out or unknown)
