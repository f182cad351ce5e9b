"""The wire types of batches over HTTP and the NATS service: requests, and views as they are shown."""

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from rota.options import BadRows, Compression, Selection
from rota.protocol import BatchStatus, Id, Key, Name, RetryPolicy, Seconds

MEBIBYTE = 1024 * 1024

Count = Annotated[int, Meta(ge=0, lt=2**53)]
Share = Annotated[float, Meta(ge=0, le=1)]
RowsPerJob = Annotated[int, Meta(ge=1, le=1_000_000)]
BytesPerJob = Annotated[int, Meta(ge=1, le=6 * MEBIBYTE)]
"""Below what a message of NATS holds."""
JobsInFlight = Annotated[int, Meta(ge=1, le=100_000)]
BytesInFlight = Annotated[int, Meta(ge=1, le=2**40)]
Readers = Annotated[int, Meta(ge=1, le=64)]
ResultsFormat = Literal["ndjson", "ods", "parquet"]


class Tolerance(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """How much may go wrong before a batch fails; what is left out may be as much as it likes.

    Shares are of the jobs that have ended and of the rows that were read: judged from SHARE_OF_JOBS jobs and
    SHARE_OF_ROWS rows on, and when there are no more.
    """

    failed_jobs: Count | None = None
    """Jobs that end without success."""
    failed_jobs_share: Share | None = None
    bad_rows: Count | None = None
    """Rows that cannot be read and are left out."""
    bad_rows_share: Share | None = None


SHARE_OF_JOBS = 100
SHARE_OF_ROWS = 10_000


class StreamRules(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What becomes of a stream whose sender has fallen silent."""

    silent_after_seconds: Seconds = 3600.0
    """Since the last bytes, or the opening."""
    on_silence: Literal["fail", "seal"] = "fail"


class BatchRequest(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A data set that is cut into jobs: files that Rota reads, or a stream that the caller sends.

    A job ends where the first of its limits is reached. Without rows_per_job and bytes_per_job a file is one job.
    """

    spec: Name
    files: Annotated[list[Annotated[str, Meta(min_length=1, max_length=4096)]], Meta(max_length=10_000)] = []
    """Paths below a connection, or http(s) URLs; with `/` at the end a directory, with `*`, `?` or `[` a glob."""
    stream: StreamRules | None = None
    """Given in place of `files`: the caller sends the data."""
    connection: Name | None = None
    selection: Selection = Selection()
    """Which files of directories and globs are read."""
    format: str | None = None
    """Found out for each file by its name, media type and first bytes if it is left out; a stream names it."""
    options: dict[str, Any] = {}
    """Options of the format; without a format, options by the names of formats."""
    compression: Compression | None = None
    """Found out for each file if it is left out; of a stream `none`."""
    bad_rows: BadRows = "fail"
    max_readers: Readers = 4
    """Files that are read at a time, at most; one with `first` or `limit`."""
    rows_per_job: RowsPerJob | None = 1000
    bytes_per_job: BytesPerJob | None = 4 * MEBIBYTE
    """Bytes of the rows of a job, as Arrow holds their values; a larger row is a job alone."""
    seconds_per_job: Annotated[float, Meta(ge=0.1, le=24 * 3600)] | None = None
    """Of a stream: a row waits no longer for others."""
    first: Count = 0
    """Rows that are passed over, of all files in their order."""
    limit: Annotated[int, Meta(ge=1, lt=2**53)] | None = None
    """Rows that are taken at most, of all files in their order."""
    max_jobs_in_flight: JobsInFlight = 2000
    max_bytes_in_flight: BytesInFlight = 512 * MEBIBYTE
    """Rows of jobs that are scheduled and have not ended."""
    tolerance: Tolerance = Tolerance()
    params: dict[str, Any] = {}
    queue: Name | UnsetType = UNSET
    retry: RetryPolicy | UnsetType = UNSET
    timeout_seconds: Seconds | UnsetType | None = UNSET
    labels: dict[str, str] = {}
    key: Key | UnsetType = UNSET


class FailedJobs(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Which of a batch's jobs that ended without success run again: those for which all of this holds."""

    file: str | None = None
    first_row: Count | None = None
    """Jobs with a row of this number or a later one, numbered from 0 in their file."""
    last_row: Count | None = None
    """Jobs with a row of this number or an earlier one."""
    error: Annotated[str, Meta(min_length=1, max_length=1000)] | None = None
    """A part of the error's type or message."""


class BadRowsAgain(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Of which file the quarantined rows are read again; None stands for all."""

    file: str | None = None


class RedriveRequest(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """How a batch goes on that has failed, or completed with failures; what is left out stays as it was.

    Reading goes on where it stopped, and jobs that ended without success run again.
    """

    format: str | None = None
    options: dict[str, Any] | None = None
    bad_rows: BadRows | None = None
    tolerance: Tolerance | None = None
    jobs: FailedJobs | None = None
    """Left out, all of these jobs run again; or none, where `rows` are given."""
    rows: BadRowsAgain | None = None
    """Read the quarantined rows again, after the file or the options were mended."""


class ChangeRequest(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What is to be another while a batch is at work; what is left out stays."""

    max_jobs_in_flight: JobsInFlight | None = None
    max_bytes_in_flight: BytesInFlight | None = None
    max_readers: Readers | None = None
    tolerance: Tolerance | None = None


class ResultsRequest(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Results of a batch as a file: in a source's store, or without a connection for download."""

    format: ResultsFormat = "ndjson"
    connection: Name | None = None
    path: Annotated[str, Meta(min_length=1, max_length=4096)] | None = None
    """Of the file below the connection; its manifest is beside it, as `<path>.manifest.json`."""
    origin_columns: bool = False
    """Whether each row says by columns from which job, file and row it comes."""


class AppendRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bytes of a stream, as a message: they begin at this offset."""

    id: Id
    offset: Count
    data: bytes
    complete: bool = False
    """Whether the stream ends with them."""


class DataView(Struct, frozen=True):
    """How much of a stream is durable, in bytes, and whether it is sealed."""

    id: str
    offset: int
    complete: bool


class CollectionResponse(Struct, frozen=True):
    """The id of a collection of results."""

    id: str


class BatchResponse(Struct, frozen=True):
    """The id of the batch."""

    id: str


class FileView(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One file of a batch."""

    path: str
    status: Literal["reading", "finished", "failed"]
    size: int | None = None
    version: str | None = None
    """Its ETag, time of change, or size."""
    format: str | None = None
    columns: dict[str, str] = {}
    """Types of the columns by their names, as far as they are known."""
    read_bytes: int | None = None
    """How far in the decompressed file the jobs reach, where its format tells."""
    rows: int = 0
    jobs: int = 0
    bad_rows: int = 0
    """Rows that could not be read and were left out."""
    mends: int | None = None
    """Number of the file whose quarantined rows are read again here."""
    error: str | None = None


class BatchView(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A batch as `GET /batches/{id}` shows it."""

    id: str
    spec: str
    status: BatchStatus
    files: list[FileView]
    files_total: int
    rows: int
    bad_rows: int = 0
    jobs: dict[str, int]
    """Number of jobs by state, and `total`."""
    opened_at: datetime
    sealed_at: datetime | None = None
    ended_at: datetime | None = None
    rows_per_second: float | None = None
    """Rows that were cut into jobs, since the opening, or the last redrive or resume."""
    jobs_per_second: float | None = None
    """Jobs that have ended, since then."""
    seconds_left: float | None = None
    """An estimate, as long as something is left to do and it can be told how much."""
    error: str | None = None
    labels: dict[str, str] = {}
    workflow: str | None = None
    """The workflow that it is a part of."""


class BatchList(Struct, frozen=True):
    """One page of batches without their files, newest first; `next` is the cursor of the page after it."""

    batches: list[BatchView]
    next: str | None = None


class RowView(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which job of a batch had a row, and what became of it, as `GET /batches/{id}/rows` shows it."""

    file: str
    file_index: int
    row: int
    """Its number in the file, from 0; bad rows do not count."""
    job: str
    status: str
    first_row: int
    last_row: int
    error: Any = None


class BadRowView(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A quarantined row, as `GET /batches/{id}/bad-rows` shows it."""

    file: str
    file_index: int
    number: int
    """Among the bad rows of its file, from 0."""
    row: int | None = None
    """How many rows that could be read stand before it."""
    line: int | None = None
    column: str | None = None
    text: str | None = None
    message: str = ""


class BadRowList(Struct, frozen=True):
    """One page of bad rows; `next` is the `after` of the page after it, if there is one."""

    bad_rows: list[BadRowView]
    next: str | None = None


class Manifest(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a file of results has, and what it does not have."""

    batch: str
    spec: str
    format: ResultsFormat
    jobs: dict[str, int]
    """`succeeded`, `failed` and `pending`, and `total`."""
    rows: int
    """In the file."""
    size: int
    sha256: str
    failed: list[dict[str, Any]] = []
    """Jobs that ended without success: job, status, file, first_row, last_row, error; the first MAX_LISTED."""
    pending: list[str] = []
    """Ids of jobs that had not ended; the first MAX_LISTED."""


MAX_LISTED = 1000


class ResultsView(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A collection of results, as `GET /batches/{id}/results/{collection}` shows it."""

    id: str
    status: Literal["collecting", "collected", "failed"]
    format: ResultsFormat
    connection: str | None = None
    path: str | None = None
    manifest: Manifest | None = None
    error: str | None = None


class DryRunBatch(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One of the first jobs that a batch would have."""

    file: str
    first_row: int
    count: int
    rows: list[Any]
    """The first of its rows, as JSON has them."""


class DryRunFile(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was found out of a file by its head."""

    path: str
    size: int | None = None
    version: str | None = None
    format: str | None = None
    compression: Compression | None = None
    columns: dict[str, str] = {}
    rows_read: int = 0
    bad_rows: list[BadRowView] = []
    error: str | None = None


class DryRunView(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a batch would be."""

    files: list[DryRunFile]
    """The first of them."""
    files_total: int
    jobs: list[DryRunBatch]
    rows_estimated: int | None = None
    """None if it cannot be told from the heads of the files."""
    jobs_estimated: int | None = None
    exact: bool = False
    """Whether these are no estimates: all was read."""
    error: str | None = None
    """Why no batch would come of it."""
