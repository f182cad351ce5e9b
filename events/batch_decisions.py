"""The batch: what follows from what is asked of it.

reading ─► sealed ─► completed      `failed` from either, when a file cannot be read to its end;
▲                                `batch.redrive` lets the reading of a failed one go on
└──── failed
"""

from datetime import datetime
from typing import Any, assert_never

from msgspec import Struct
from msgspec.structs import replace

from events.base import Aggregate, EndedError, Event, UnknownAggregateError
from events.batch import (
    AdvanceFile,
    BatchAdvanced,
    BatchCommand,
    BatchCompleted,
    BatchDetails,
    BatchEvent,
    BatchFailed,
    BatchOpened,
    BatchRedriven,
    BatchSealed,
    CountJobs,
    FailBatch,
    FailFile,
    FileFailed,
    FileFinished,
    FileFound,
    FilesListed,
    FindFile,
    FinishFile,
    JobsCounted,
    ListFiles,
    OpenBatch,
    Position,
    QuarantineRows,
    RedriveBatch,
    RowsQuarantined,
)
from rota.options import Compression
from rota.protocol import ENDED_BATCH, BatchStatus

FILE_BYTES = 300
"""About what a file takes in the state."""


class FileState(Struct, frozen=True):
    """How far a file has been read."""

    path: str = ""
    version: str | None = None
    found: bool = False
    format: str = "csv"
    compression: Compression = "none"
    position: Position = Position()
    rows: int = 0
    jobs: int = 0
    finished: bool = False
    columns: bytes | None = None
    """An Arrow schema: what is known of the columns at the position or later."""
    bad: int = 0
    """Rows that could not be read."""
    quarantined: int = 0
    """Bad rows that are kept."""
    failed: bool = False
    """Whether its reader has told where it stopped: else it may have been further than is known."""


class BatchState(Struct, frozen=True):
    """What later decisions, and a reader that takes over, need."""

    version: int
    status: BatchStatus
    details: BatchDetails
    files: tuple[FileState, ...]
    listed: bool = True
    """Whether all files are known."""
    counted_until: int = 0
    """Sequence in the log up to which the ends of jobs are counted."""
    succeeded: int = 0
    failed: int = 0

    @property
    def rows(self) -> int:
        """Rows that are in jobs."""
        return sum(file.rows for file in self.files)

    @property
    def jobs(self) -> int:
        """Jobs that are scheduled."""
        return sum(file.jobs for file in self.files)

    @property
    def jobs_ended(self) -> int:
        """Jobs that were counted as ended."""
        return self.succeeded + self.failed


def decide(state: BatchState | None, command: BatchCommand, now: datetime) -> list[Event]:
    """Return what follows from the command; nothing if it says nothing new."""
    if isinstance(command, OpenBatch):
        opened = BatchOpened(originator_id=command.id, originator_version=1, at=now, details=command.details)
        return [] if state else [opened]
    if state is None:
        raise UnknownAggregateError(f"There is no batch {command.id}", batch=command.id)
    facts: dict[str, Any] = {"originator_id": command.id, "originator_version": state.version + 1, "at": now}
    if isinstance(command, RedriveBatch):
        if state.status == "completed":
            raise EndedError(f"The batch {command.id} is completed: nothing is left to read", batch=command.id)
        if state.status != "failed":
            return []
        format_ = None if command.format == state.details.format else command.format
        options = None if command.options == state.details.options else command.options
        changed = format_ is not None or options is not None
        skips = state.details.bad_rows == "skip"
        if changed and any(_has_left_out_rows(file, skips=skips) for file in state.files if not file.finished):
            raise EndedError(
                f"The batch {command.id} may have left out bad rows of a file that is not finished: with another "
                "format or other options its rows would be counted anew. Open another batch",
                batch=command.id,
            )
        return [BatchRedriven(format=format_, options=options, bad_rows=command.bad_rows, **facts)]
    if state.status in ENDED_BATCH:
        return []
    events: list[Event] = list(_step(state, command, facts))
    for event in events:
        state = evolve(state, event)  # type: ignore[arg-type] # list[Event] is wider than the union
    return events + _consequences(state, command.id, now)


def evolve(state: BatchState | None, event: BatchEvent) -> BatchState:
    """Return the state after the event."""
    if isinstance(event, BatchOpened):
        listed = not event.details.searched
        files = tuple(FileState(path) for path in event.details.files) if listed else ()
        return BatchState(event.originator_version, "reading", event.details, files, listed)
    if state is None:
        raise ValueError(f"The history of batch {event.originator_id} does not begin with its opening")
    state = replace(state, version=event.originator_version)
    match event:
        case FilesListed():
            return replace(
                state, files=(*state.files, *(FileState(path) for path in event.paths)), listed=event.last
            )
        case FileFound():
            return _with_file(
                state,
                event.file_index,
                found=True,
                failed=False,
                version=event.file_version,
                format=event.format,
                compression=event.compression,
                **_begun_again(state.files[event.file_index], event),
            )
        case BatchAdvanced():
            columns = event.columns or state.files[event.file_index].columns
            return _with_file(
                state,
                event.file_index,
                position=event.position,
                rows=event.rows,
                jobs=event.jobs,
                columns=columns,
            )
        case RowsQuarantined():
            return _with_file(state, event.file_index, quarantined=event.bad_before + len(event.faults))
        case FileFinished():
            return _with_file(
                state,
                event.file_index,
                finished=True,
                rows=event.rows,
                jobs=event.jobs,
                bad=event.bad,
                columns=None,
            )
        case FileFailed():
            return _with_file(state, event.file_index, failed=True, rows=event.rows, jobs=event.jobs, bad=event.bad)
        case BatchSealed():
            return replace(state, status="sealed")
        case JobsCounted():
            return replace(state, counted_until=event.until, succeeded=event.succeeded, failed=event.failed)
        case BatchCompleted():
            return replace(state, status="completed")
        case BatchFailed():
            return replace(state, status="failed")
        case BatchRedriven():
            return _redriven(state, event)
        case _:
            assert_never(event)


def _weigh(state: BatchState) -> int:
    # It is asked after each event, and a batch may have ten thousand files.
    return len(state.details.params) + FILE_BYTES * (len(state.files) + len(state.details.files))


BATCH = Aggregate("batch", decide, evolve, BatchState, weigh=_weigh, snapshot_every=100, state_version=3)


def _step(
    state: BatchState,
    command: ListFiles | FindFile | AdvanceFile | QuarantineRows | FinishFile | FailFile | FailBatch | CountJobs,
    facts: dict[str, Any],
) -> list[Event]:
    """Return the event that the command asks for, unless the state has it already."""
    if isinstance(command, CountJobs):
        if command.until <= state.counted_until:
            return []
        return [JobsCounted(until=command.until, succeeded=command.succeeded, failed=command.failed, **facts)]
    if isinstance(command, FailBatch):
        if state.listed:
            return []
        return [BatchFailed(reason=command.reason, **facts)]
    if isinstance(command, ListFiles):
        news = command.last or command.paths
        if state.listed or command.first != len(state.files) or not news:
            return []
        return [FilesListed(first=command.first, paths=command.paths, last=command.last, **facts)]
    index = command.file_index
    file = state.files[index]
    if file.finished:
        return []
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
                    **facts,
                )
            ]
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
            return [FileFinished(file_index=index, rows=command.rows, jobs=command.jobs, bad=command.bad, **facts)]
        case FailFile():
            failed = FileFailed(
                file_index=index,
                fault=command.fault,
                rows=max(command.rows, file.rows),
                jobs=max(command.jobs, file.jobs),
                bad=command.bad,
                **facts,
            )
            version = state.version + 2
            return [
                failed,
                BatchFailed(reason=command.fault.message, **{**facts, "originator_version": version}),
            ]
        case _:
            assert_never(command)


def _consequences(state: BatchState, id_: str, now: datetime) -> list[Event]:
    """Seal the batch after its last file, complete it after its last job."""
    events: list[Event] = []
    version = state.version + 1
    status = state.status
    if status == "reading" and state.listed and all(file.finished for file in reversed(state.files)):
        events.append(
            BatchSealed(originator_id=id_, originator_version=version, at=now, rows=state.rows, jobs=state.jobs)
        )
        status, version = "sealed", version + 1
    if status == "sealed" and state.jobs_ended >= state.jobs:
        events.append(
            BatchCompleted(
                originator_id=id_,
                originator_version=version,
                at=now,
                succeeded=state.succeeded,
                failed=state.failed,
            )
        )
    return events


def _has_left_out_rows(file: FileState, *, skips: bool) -> bool:
    """Say whether bad rows of a file were left out, or may have been, since its reader has told of them."""
    unknown = skips and file.found and not file.failed
    return bool(file.bad or file.position.bad or file.quarantined or unknown)


def _with_file(state: BatchState, index: int, **changes: object) -> BatchState:
    file = replace(state.files[index], **changes)
    return replace(state, files=(*state.files[:index], file, *state.files[index + 1 :]))


def _redriven(state: BatchState, event: BatchRedriven) -> BatchState:
    """Return the state with all that was read by then, and the files that are not finished to be found again.

    Options may change the columns: with others a file is read from its start, past the rows that are in jobs.
    """
    changes: dict[str, Any] = {
        name: value for name in ("format", "options", "bad_rows") if (value := getattr(event, name)) is not None
    }
    again: dict[str, Any] = {"found": False}
    if "format" in changes or "options" in changes:
        again |= {"position": Position(), "columns": None}
    files = tuple(file if file.finished else replace(file, **again) for file in state.files)
    return replace(state, status="reading", details=replace(state.details, **changes), files=files)


def _begun_again(file: FileState, event: FileFound) -> dict[str, Any]:
    """Return what changes when a file is another than before: its rows may end at other bytes."""
    same = (event.file_version, event.format, event.compression) == (file.version, file.format, file.compression)
    return {} if same else {"position": Position(), "columns": None}
