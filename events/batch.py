"""The batch: a data set that is cut into jobs, loaded from files.

    reading ─► sealed ─► completed      `failed` from either, when a file cannot be read to its end

Its commands come from its reader, which may send each of them twice: they carry totals, not differences, and
one that says nothing new has no effect.
"""

from datetime import datetime
from typing import Annotated, Any, assert_never

from msgspec import Meta, Raw, Struct
from msgspec.structs import replace

from events.base import Aggregate, Command, Event, UnknownAggregateError
from rota.protocol import ENDED_BATCH, BatchStatus, CsvOptions, Name, RetryPolicy

Count = Annotated[int, Meta(ge=0, lt=2**53)]
"""What a command counts or numbers: -1 would be the last file of a batch, and views keep no larger numbers."""


class BatchDetails(Struct, frozen=True, omit_defaults=True):
    """What the reader needs, and what each job of the batch gets."""

    spec: Name
    queue: Name
    files: Annotated[tuple[str, ...], Meta(min_length=1)]
    rows_per_job: Annotated[int, Meta(ge=1)]
    max_jobs_in_flight: Annotated[int, Meta(ge=1)]
    params: Raw
    """A MessagePack map, the same for all jobs."""
    connection: str | None = None
    format: str = "csv"
    options: CsvOptions = CsvOptions()
    retry: RetryPolicy = RetryPolicy()
    timeout_seconds: float | None = None
    labels: dict[str, str] = {}


class Position(Struct, frozen=True):
    """Where in a file reading can go on: row number `row` (from 0) begins at byte `offset`, in line `line`."""

    offset: int = 0
    row: int = 0
    line: int = 1


class FileFault(Struct, frozen=True, omit_defaults=True):
    """Why a file could not be read, and where: `message` says it all, with the file's path.

    `line` counts from 1, `text` is what stands there.
    """

    message: str
    line: int | None = None
    column: str | None = None
    text: str | None = None


# Commands


class OpenBatch(Command, frozen=True, kw_only=True, tag="batch.open"):
    """Read these files. A batch that exists already stays as it is."""

    details: BatchDetails


class FindFile(Command, frozen=True, kw_only=True, tag="batch.find_file"):
    """A file was found in this version (its ETag, or time of change)."""

    file_index: Count
    size: Count | None
    file_version: str | None


class AdvanceFile(Command, frozen=True, kw_only=True, tag="batch.advance"):
    """So many rows and jobs of the file are scheduled; `position` is where reading can go on."""

    file_index: Count
    position: Position
    rows: Count
    jobs: Count


class FinishFile(Command, frozen=True, kw_only=True, tag="batch.finish_file"):
    """The file was read to its end, and all its jobs are scheduled."""

    file_index: Count
    rows: Count
    jobs: Count


class FailFile(Command, frozen=True, kw_only=True, tag="batch.fail_file"):
    """The file cannot be read on; what was scheduled stays."""

    file_index: Count
    fault: FileFault
    rows: Count
    jobs: Count


class CountJobs(Command, frozen=True, kw_only=True, tag="batch.count_jobs"):
    """So many of the batch's jobs have ended by the log's sequence `until`."""

    until: Count
    succeeded: Count
    failed: Count


BatchCommand = OpenBatch | FindFile | AdvanceFile | FinishFile | FailFile | CountJobs

# Events


class BatchOpened(Event, frozen=True, kw_only=True, tag="batch.opened"):
    """The batch waits for its reader."""

    details: BatchDetails


class FileFound(Event, frozen=True, kw_only=True, tag="batch.file_found"):
    """Reading of a file begins."""

    file_index: int
    size: int | None
    file_version: str | None


class BatchAdvanced(Event, frozen=True, kw_only=True, tag="batch.advanced"):
    """More jobs of a file are scheduled: so many in all by now."""

    file_index: int
    position: Position
    rows: int
    jobs: int


class FileFinished(Event, frozen=True, kw_only=True, tag="batch.file_finished"):
    """A file was read to its end."""

    file_index: int
    rows: int
    jobs: int


class FileFailed(Event, frozen=True, kw_only=True, tag="batch.file_failed"):
    """A file could not be read on."""

    file_index: int
    fault: FileFault
    rows: int
    jobs: int


class BatchSealed(Event, frozen=True, kw_only=True, tag="batch.sealed"):
    """All files are read; no more jobs will come."""

    rows: int
    jobs: int


class JobsCounted(Event, frozen=True, kw_only=True, tag="batch.jobs_counted"):
    """So many of the batch's jobs have ended by the log's sequence `until`."""

    until: int
    succeeded: int
    failed: int


class BatchCompleted(Event, frozen=True, kw_only=True, tag="batch.completed"):
    """All files are read and all jobs have ended."""

    succeeded: int
    failed: int


class BatchFailed(Event, frozen=True, kw_only=True, tag="batch.failed"):
    """A file could not be read to its end."""

    reason: str


BatchEvent = (
    BatchOpened
    | FileFound
    | BatchAdvanced
    | FileFinished
    | FileFailed
    | BatchSealed
    | JobsCounted
    | BatchCompleted
    | BatchFailed
)


class FileState(Struct, frozen=True):
    """How far a file has been read."""

    version: str | None = None
    found: bool = False
    position: Position = Position()
    rows: int = 0
    jobs: int = 0
    finished: bool = False


class BatchState(Struct, frozen=True):
    """What later decisions, and a reader that takes over, need."""

    version: int
    status: BatchStatus
    details: BatchDetails
    files: tuple[FileState, ...]
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
    if state.status in ENDED_BATCH:
        return []
    events: list[Event] = list(_step(state, command, now))
    for event in events:
        state = evolve(state, event)  # type: ignore[arg-type] # list[Event] is wider than the union
    return events + _consequences(state, command.id, now)


def evolve(state: BatchState | None, event: BatchEvent) -> BatchState:
    """Return the state after the event."""
    if isinstance(event, BatchOpened):
        files = tuple(FileState() for _ in event.details.files)
        return BatchState(event.originator_version, "reading", event.details, files)
    if state is None:
        raise ValueError(f"The history of batch {event.originator_id} does not begin with its opening")
    state = replace(state, version=event.originator_version)
    match event:
        case FileFound():
            return _with_file(state, event.file_index, found=True, version=event.file_version)
        case BatchAdvanced():
            return _with_file(state, event.file_index, position=event.position, rows=event.rows, jobs=event.jobs)
        case FileFinished():
            return _with_file(state, event.file_index, finished=True, rows=event.rows, jobs=event.jobs)
        case FileFailed():
            return _with_file(state, event.file_index, rows=event.rows, jobs=event.jobs)
        case BatchSealed():
            return replace(state, status="sealed")
        case JobsCounted():
            return replace(state, counted_until=event.until, succeeded=event.succeeded, failed=event.failed)
        case BatchCompleted():
            return replace(state, status="completed")
        case BatchFailed():
            return replace(state, status="failed")
        case _:
            assert_never(event)


def _weigh(state: BatchState) -> int:
    return len(state.details.params) + sum(map(len, state.details.files))


BATCH = Aggregate("batch", decide, evolve, BatchState, weigh=_weigh, snapshot_every=100)


def _step(
    state: BatchState, command: FindFile | AdvanceFile | FinishFile | FailFile | CountJobs, now: datetime
) -> list[Event]:
    """Return the event that the command asks for, unless the state has it already."""
    facts: dict[str, Any] = {"originator_id": command.id, "originator_version": state.version + 1, "at": now}
    if isinstance(command, CountJobs):
        if command.until <= state.counted_until:
            return []
        return [JobsCounted(until=command.until, succeeded=command.succeeded, failed=command.failed, **facts)]
    index = command.file_index
    file = state.files[index]
    if file.finished:
        return []
    match command:
        case FindFile():
            if file.found:
                return []
            return [FileFound(file_index=index, size=command.size, file_version=command.file_version, **facts)]
        case AdvanceFile():
            if command.jobs <= file.jobs:
                return []
            return [
                BatchAdvanced(
                    file_index=index,
                    position=command.position,
                    rows=command.rows,
                    jobs=command.jobs,
                    **facts,
                )
            ]
        case FinishFile():
            return [FileFinished(file_index=index, rows=command.rows, jobs=command.jobs, **facts)]
        case FailFile():
            failed = BatchFailed(
                originator_id=command.id,
                originator_version=state.version + 2,
                at=now,
                reason=command.fault.message,
            )
            return [
                FileFailed(
                    file_index=index,
                    fault=command.fault,
                    rows=max(command.rows, file.rows),
                    jobs=max(command.jobs, file.jobs),
                    **facts,
                ),
                failed,
            ]
        case _:
            assert_never(command)


def _consequences(state: BatchState, id_: str, now: datetime) -> list[Event]:
    """Seal the batch after its last file, complete it after its last job."""
    events: list[Event] = []
    version = state.version + 1
    status = state.status
    if status == "reading" and all(file.finished for file in state.files):
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


def _with_file(state: BatchState, index: int, **changes: object) -> BatchState:
    file = replace(state.files[index], **changes)
    return replace(state, files=(*state.files[:index], file, *state.files[index + 1 :]))
