"""The state of a batch: what its events come to, for later decisions and for readers that take over."""

from typing import Any, assert_never

from msgspec import Struct
from msgspec.structs import replace

from events.batch import (
    BatchAdvanced,
    BatchCompleted,
    BatchCompletedWithFailures,
    BatchDetails,
    BatchEvent,
    BatchFailed,
    BatchOpened,
    BatchRedriven,
    BatchSealed,
    FileFailed,
    FileFinished,
    FileFound,
    FilesListed,
    JobCut,
    JobsCounted,
    JobsRedriven,
    Position,
    RowsQuarantined,
)
from events.batch_control import (
    BatchCancelled,
    BatchCancelling,
    BatchChanged,
    BatchControlled,
    BatchPaused,
    BatchResumed,
)
from events.batch_results import BatchCollected, ResultsCollected, ResultsFailed, ResultsRequested
from rota.batch_protocol import FailedJobs
from rota.options import Compression
from rota.protocol import BatchStatus


class FileState(Struct, frozen=True):
    """How far a file has been read."""

    path: str = ""
    version: str | None = None
    found: bool = False
    format: str = "csv"
    compression: Compression = "none"
    position: Position = Position()
    rows: int = 0
    """Rows that are in jobs."""
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
    passed: int = 0
    """Rows that were passed over at its start."""
    cuts: tuple[tuple[int, int], ...] = ()
    """Jobs from number `jobs` on that were cut before they were full: index, and count of rows."""
    mends: int | None = None
    """Number of the file whose quarantined rows are read again here."""
    size: int | None = None

    @property
    def left_out(self) -> int:
        """Bad rows, as far as the batch was told of them."""
        return max(self.bad, self.position.bad, self.quarantined)


class Redrive(Struct, frozen=True):
    """Jobs that are to run again, and are not queued yet; the number is that of the event."""

    number: int
    jobs: FailedJobs


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
    paused: bool = False
    """No more jobs are scheduled; the status is that of the reading."""
    redrive: Redrive | None = None
    reason: str = ""
    """Why it is cancelled."""
    redrive_key: str | None = None
    """The idempotency key of the last redrive."""
    collections: dict[str, bool] = {}
    """Collections of results that were asked for, and whether they have ended."""

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

    @property
    def mended(self) -> frozenset[int]:
        """The files whose quarantined rows are read again: what is bad there counts in place of them."""
        return frozenset(file.mends for file in self.files if file.mends is not None)


def evolve(state: BatchState | None, event: BatchEvent | BatchControlled | BatchCollected) -> BatchState:
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
            found = (*state.files, *(FileState(path) for path in event.paths))
            return replace(state, files=found, listed=event.last)
        case FileFound() | BatchAdvanced() | JobCut() | RowsQuarantined() | FileFinished() | FileFailed():
            return _with_file(state, event)
        case BatchSealed():
            return replace(state, status="sealed")
        case JobsCounted():
            return replace(state, counted_until=event.until, succeeded=event.succeeded, failed=event.failed)
        case BatchCompleted():
            return replace(state, status="completed")
        case BatchCompletedWithFailures():
            return replace(state, status="completed_with_failures")
        case BatchFailed():
            return replace(state, status="failed", redrive=None)
        case BatchRedriven():
            return _redriven(state, event)
        case JobsRedriven():
            # Its jobs are counted like all others: by what the log says of each, which its reader tells before.
            return replace(state, redrive=None)
        case BatchPaused():
            return replace(state, paused=True)
        case BatchResumed():
            return replace(state, paused=False)
        case BatchChanged():
            names = ("max_jobs_in_flight", "max_bytes_in_flight", "max_readers", "tolerance")
            return replace(state, details=replace(state.details, **_given(event, names)))
        case BatchCancelling():
            return replace(state, status="cancelling", redrive=None, reason=event.reason)
        case BatchCancelled():
            return replace(state, status="cancelled", succeeded=event.succeeded, failed=event.failed)
        case ResultsRequested():
            return replace(state, collections={**state.collections, event.collection: False})
        case ResultsCollected() | ResultsFailed():
            return replace(state, collections={**state.collections, event.collection: True})
        case _:
            assert_never(event)


def _with_file(
    state: BatchState, event: FileFound | BatchAdvanced | JobCut | RowsQuarantined | FileFinished | FileFailed
) -> BatchState:
    index = event.file_index
    file = _file(state.files[index], event)
    return replace(state, files=(*state.files[:index], file, *state.files[index + 1 :]))


def _file(
    file: FileState, event: FileFound | BatchAdvanced | JobCut | RowsQuarantined | FileFinished | FileFailed
) -> FileState:
    match event:
        case FileFound():
            return replace(
                file,
                found=True,
                failed=False,
                version=event.file_version,
                format=event.format,
                compression=event.compression,
                size=event.size,
                **_begun_again(file, event),
            )
        case BatchAdvanced():
            return replace(
                file,
                position=event.position,
                rows=event.rows,
                jobs=event.jobs,
                columns=event.columns or file.columns,
                passed=event.passed,
                cuts=tuple(cut for cut in file.cuts if cut[0] >= event.jobs),
            )
        case JobCut():
            return replace(file, cuts=(*file.cuts, (event.index, event.count)))
        case RowsQuarantined():
            return replace(file, quarantined=event.bad_before + len(event.faults))
        case FileFinished():
            return replace(
                file,
                finished=True,
                rows=event.rows,
                jobs=event.jobs,
                bad=event.bad,
                passed=event.passed,
                columns=None,
                cuts=(),
            )
        case FileFailed():
            return replace(file, failed=True, rows=event.rows, jobs=event.jobs, bad=event.bad, passed=event.passed)
        case _:
            assert_never(event)


def _begun_again(file: FileState, event: FileFound) -> dict[str, Any]:
    """Return what changes when a file is another than before: its rows may end at other bytes."""
    same = (event.file_version, event.format, event.compression) == (file.version, file.format, file.compression)
    return {} if same else {"position": Position(), "columns": None}


def _redriven(state: BatchState, event: BatchRedriven) -> BatchState:
    """Return the state with all that was read by then, and the files that are not finished to be found again.

    Options may change the columns: with others a file is read from its start, past the rows that are in jobs.
    """
    changes = _given(event, ("format", "options", "bad_rows", "tolerance"))
    again: dict[str, Any] = {"found": False}
    if "format" in changes or "options" in changes:
        again |= {"position": Position(), "columns": None}
    read_on = tuple(file if file.finished else replace(file, **again) for file in state.files)
    files = (*read_on, *(FileState(state.files[index].path, mends=index) for index in event.mends))
    reads = not state.listed or not all(file.finished for file in files)
    return replace(
        state,
        status="reading" if reads else "sealed",
        details=replace(state.details, **changes),
        files=files,
        paused=False,
        redrive=Redrive(event.originator_version, event.jobs) if event.jobs else None,
        redrive_key=event.key,
    )


def _given(event: BatchRedriven | BatchChanged, names: tuple[str, ...]) -> dict[str, Any]:
    """Return what an event changes."""
    return {name: value for name in names if (value := getattr(event, name)) is not None}
