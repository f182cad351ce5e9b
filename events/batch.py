"""What can be asked of a batch, a data set that is cut into jobs, and what can happen to it.

Most commands come from its readers, which may send each of them twice: they carry totals, not differences, and
one that says nothing new has no effect.
"""

from typing import Annotated, Any

from msgspec import Meta, Raw, Struct

from events.base import Command, Event
from rota.batch_protocol import BadRowsAgain, Count, FailedJobs, ResultsRequest, StreamRules, Tolerance
from rota.options import BadRows, Compression, Selection
from rota.protocol import Name, PayloadForm, RetryPolicy, WorkflowPlace

GLOB = frozenset("*?[")
"""The characters that make an entry of a batch's files a glob."""
STREAM = "stream"
"""The path of the one file of a batch that the caller streams in."""


class BatchDetails(Struct, frozen=True, omit_defaults=True):
    """What the reader needs, and what each job of the batch gets."""

    spec: Name
    queue: Name
    files: Annotated[tuple[str, ...], Meta(min_length=1)]
    """Paths below the connection, or URLs: with `/` at the end a directory, with `*`, `?` or `[` a glob."""
    rows_per_job: Annotated[int, Meta(ge=1)] | None
    max_jobs_in_flight: Annotated[int, Meta(ge=1)]
    params: Raw
    """A MessagePack map, the same for all jobs."""
    connection: str | None = None
    format: str | None = "csv"
    """None: found out for each file."""
    options: dict[str, Any] = {}
    """Options of the format; without a format, options by the names of formats."""
    retry: RetryPolicy = RetryPolicy()
    timeout_seconds: float | None = None
    labels: dict[str, str] = {}
    compression: Compression | None = None
    """None: found out for each file."""
    selection: Selection = Selection()
    bad_rows: BadRows = "fail"
    max_readers: Annotated[int, Meta(ge=1)] = 1
    """Files that are read at a time."""
    bytes_per_job: Annotated[int, Meta(ge=1)] | None = None
    seconds_per_job: float | None = None
    """Of a stream: how long a row may wait for others of its job."""
    first: Count = 0
    """Rows that are passed over, of all files in their order."""
    limit: Count | None = None
    """Rows that are taken at most, of all files in their order."""
    form: PayloadForm = "arrow"
    """How the rows of a job are stored for its worker."""
    max_bytes_in_flight: Annotated[int, Meta(ge=1)] = 512 * 1024 * 1024
    tolerance: Tolerance = Tolerance()
    stream: StreamRules | None = None
    """Given if the caller streams the data in; its only file is STREAM then."""
    keeps_stream: bool = False
    """Whether all of the stream is kept to the end, since it may have to be read again from its start."""
    workflow: WorkflowPlace | None = None
    results: ResultsRequest | None = None
    """Of a batch of a workflow: how its results are collected when it has ended, before the workflow goes on."""

    @property
    def in_order(self) -> bool:
        """Whether one file is read after the other: rows are counted over all of them, or there is but a stream."""
        return bool(self.first) or self.limit is not None or self.stream is not None

    @property
    def searched(self) -> bool:
        """Whether the files must be looked for: an entry is a directory or a glob."""
        return any(path.endswith("/") or GLOB & set(path) for path in self.files)


class Position(Struct, frozen=True):
    """Where in a file reading can go on: before row number `row` (from 0; bad rows do not count).

    Each format uses what it needs of these: `offset` is its byte in the decompressed file, `line` its line from 1,
    `part` the row group, sheet or other piece of the file, from 0. `bad` is how many bad rows stand before.
    """

    offset: int = 0
    row: int = 0
    line: int = 1
    part: int = 0
    bad: int = 0


class FileFault(Struct, frozen=True, omit_defaults=True):
    """Why a file or a row could not be read, and where: `message` says it all, with the file's path.

    `line` counts from 1, `text` is what stands there, `row` is how many rows that could be read stand before, and
    `number` is that of a quarantined row among all rows of the file, good and bad, from 0.
    """

    message: str
    line: int | None = None
    column: str | None = None
    text: str | None = None
    row: int | None = None
    number: int | None = None


# Commands


class OpenBatch(Command, frozen=True, kw_only=True, tag="batch.open"):
    """Read these files. A batch that exists already stays as it is."""

    details: BatchDetails


class ListFiles(Command, frozen=True, kw_only=True, tag="batch.list_files"):
    """These files were found, the first of them with the number `first`; `last` if there are no more."""

    first: Count
    paths: tuple[str, ...]
    last: bool


class FindFile(Command, frozen=True, kw_only=True, tag="batch.find_file"):
    """A file was found in this version (its ETag, or time of change), and is of this format."""

    file_index: Count
    size: Count | None
    file_version: str | None
    format: str = "csv"
    compression: Compression = "none"


class AdvanceFile(Command, frozen=True, kw_only=True, tag="batch.advance"):
    """So many rows and jobs of the file are scheduled; `position` is where reading can go on."""

    file_index: Count
    position: Position
    rows: Count
    jobs: Count
    columns: bytes | None = None
    """An Arrow schema, as an IPC message: the columns that were known at the position or later."""
    passed: Count = 0
    """Rows that were passed over at its start."""


class CutJob(Command, frozen=True, kw_only=True, tag="batch.cut_job"):
    """The file's job of this index gets so many rows, since they have waited long enough; told before it is made.

    Without it, who takes over might cut the same job elsewhere.
    """

    file_index: Count
    index: Count
    count: Count


class QuarantineRows(Command, frozen=True, kw_only=True, tag="batch.quarantine_rows"):
    """These rows of the file cannot be read; before the first of them there were so many bad ones."""

    file_index: Count
    bad_before: Count
    faults: tuple[FileFault, ...]


class FinishFile(Command, frozen=True, kw_only=True, tag="batch.finish_file"):
    """The file was read to its end, and all its jobs are scheduled; so many rows could not be read."""

    file_index: Count
    rows: Count
    jobs: Count
    bad: Count = 0
    passed: Count = 0
    """Rows that were passed over at its start."""


class FailFile(Command, frozen=True, kw_only=True, tag="batch.fail_file"):
    """The file cannot be read on; what was scheduled stays."""

    file_index: Count
    fault: FileFault
    rows: Count
    jobs: Count
    bad: Count = 0
    passed: Count = 0


class FailBatch(Command, frozen=True, kw_only=True, tag="batch.fail"):
    """The files of the batch cannot be found."""

    reason: str


class RedriveBatch(Command, frozen=True, kw_only=True, tag="batch.redrive"):
    """Let a batch go on that has failed or completed with failures, maybe in another way.

    Reading goes on where it stopped, the jobs that ended without success and fit `jobs` run again (None: no jobs),
    and the quarantined rows of `rows` are read again.
    """

    format: str | None = None
    """None: as before, and the options, too."""
    options: dict[str, Any] | None = None
    bad_rows: BadRows | None = None
    tolerance: Tolerance | None = None
    jobs: FailedJobs | None = FailedJobs()
    rows: BadRowsAgain | None = None
    key: str | None = None
    """Idempotency key: who asks under the key of the last redrive asks for that one again."""


class FinishRedrive(Command, frozen=True, kw_only=True, tag="batch.finish_redrive"):
    """So many jobs of the redrive number `redrive` are queued again."""

    redrive: Count
    jobs: Count


class CountJobs(Command, frozen=True, kw_only=True, tag="batch.count_jobs"):
    """So many of the batch's jobs have ended by the log's sequence `until`."""

    until: Count
    succeeded: Count
    failed: Count


BatchCommand = (
    OpenBatch
    | ListFiles
    | FindFile
    | AdvanceFile
    | CutJob
    | QuarantineRows
    | FinishFile
    | FailFile
    | FailBatch
    | RedriveBatch
    | FinishRedrive
    | CountJobs
)

# Events


class BatchOpened(Event, frozen=True, kw_only=True, tag="batch.opened"):
    """The batch waits for its reader."""

    details: BatchDetails


class FilesListed(Event, frozen=True, kw_only=True, tag="batch.files_listed"):
    """Files were found in the batch's directories; `last` if there are no more."""

    first: int
    paths: tuple[str, ...]
    last: bool


class FileFound(Event, frozen=True, kw_only=True, tag="batch.file_found"):
    """Reading of a file begins, or begins again after the batch had failed."""

    file_index: int
    size: int | None
    file_version: str | None
    format: str = "csv"
    compression: Compression = "none"


class BatchAdvanced(Event, frozen=True, kw_only=True, tag="batch.advanced"):
    """More jobs of a file are scheduled: so many in all by now."""

    file_index: int
    position: Position
    rows: int
    jobs: int
    columns: bytes | None = None
    """An Arrow schema, as an IPC message, if it is another one than before."""
    passed: int = 0


class JobCut(Event, frozen=True, kw_only=True, tag="batch.job_cut"):
    """The file's job of this index has so many rows, fewer than it might, since they had waited long enough."""

    file_index: int
    index: int
    count: int


class RowsQuarantined(Event, frozen=True, kw_only=True, tag="batch.rows_quarantined"):
    """Rows of a file cannot be read and are left out; so many bad ones were before them."""

    file_index: int
    bad_before: int
    faults: tuple[FileFault, ...]


class FileFinished(Event, frozen=True, kw_only=True, tag="batch.file_finished"):
    """A file was read to its end; so many of its rows could not be read."""

    file_index: int
    rows: int
    jobs: int
    bad: int = 0
    passed: int = 0


class FileFailed(Event, frozen=True, kw_only=True, tag="batch.file_failed"):
    """A file could not be read on."""

    file_index: int
    fault: FileFault
    rows: int
    jobs: int
    bad: int = 0
    passed: int = 0


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
    """All files are read and all jobs have ended, with success but in events of older versions of Rota."""

    succeeded: int
    failed: int


class BatchCompletedWithFailures(Event, frozen=True, kw_only=True, tag="batch.completed_with_failures"):
    """All files are read and all jobs have ended, some without success, or some rows are in quarantine."""

    succeeded: int
    failed: int
    reason: str


class BatchFailed(Event, frozen=True, kw_only=True, tag="batch.failed"):
    """A file could not be read to its end, the files not be found, or more went wrong than is tolerated."""

    reason: str


class BatchRedriven(Event, frozen=True, kw_only=True, tag="batch.redriven"):
    """The batch goes on; what is None stays as it was.

    For each file whose quarantined rows are read again there is a new file at the end: `mends` are their numbers.
    """

    format: str | None = None
    options: dict[str, Any] | None = None
    bad_rows: BadRows | None = None
    tolerance: Tolerance | None = None
    jobs: FailedJobs | None = None
    """None: no jobs run again, as in events of older versions of Rota."""
    mends: tuple[int, ...] = ()
    key: str | None = None


class JobsRedriven(Event, frozen=True, kw_only=True, tag="batch.jobs_redriven"):
    """So many jobs that had ended without success are queued again."""

    redrive: int
    jobs: int


BatchEvent = (
    BatchOpened
    | FilesListed
    | FileFound
    | BatchAdvanced
    | JobCut
    | RowsQuarantined
    | FileFinished
    | FileFailed
    | BatchSealed
    | JobsCounted
    | BatchCompleted
    | BatchCompletedWithFailures
    | BatchFailed
    | BatchRedriven
    | JobsRedriven
)
