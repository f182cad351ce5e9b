"""The wire types: what crosses NATS between workers and Rota, and HTTP between callers and Rota.

On NATS bodies are MessagePack, over HTTP they are JSON. Unknown fields are ignored when read from NATS, so
that an older worker understands a newer server, and refused over HTTP, so that a typing error is seen.
"""

import hashlib
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

# In Python a `$` alone lets a line break pass at the end, on which the server would end the connection.
Name = Annotated[str, Meta(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,63}(?!\n)$")]
"""A job spec's, a queue's or a connection's name: one token of a NATS subject."""

Id = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_-]{0,127}(?!\n)$")]
"""An aggregate's id: one token of a NATS subject, and so is its group, all before the first `-`."""

Key = Annotated[str, Meta(min_length=1, max_length=256)]
Seconds = Annotated[float, Meta(gt=0, le=30 * 24 * 3600)]
RowsForm = Literal["arrow", "dicts", "json", "messagepack"]
"""How a worker gets the rows of a batch job: `dicts` are made by the SDK of an Arrow payload."""
PayloadForm = Literal["arrow", "json", "messagepack"]
JobStatus = Literal["scheduled", "queued", "running", "succeeded", "failed", "timed_out", "cancelled"]
BatchStatus = Literal[
    "reading", "paused", "sealed", "cancelling", "completed", "completed_with_failures", "failed", "cancelled"
]

ENDED_JOB: frozenset[JobStatus] = frozenset({"succeeded", "failed", "timed_out", "cancelled"})
ENDED_BATCH: frozenset[BatchStatus] = frozenset({"completed", "completed_with_failures", "failed", "cancelled"})

# Headers of a message with commands; each may be left out.
CALLER = "Rota-Caller"
"""Who asks; it stands in the events that follow."""
CAUSATION_ID = "Rota-Causation-Id"
"""Id of the event or command that made the sender ask."""
COMMAND_ID = "Rota-Command-Id"
"""The sender's own id of the message; without it, the message's sequence in the stream of commands."""
CONTENT_TYPE = "Content-Type"
"""JSON or MSGPACK; without it, the body is MessagePack."""
REPLY_TO = "Rota-Reply-To"
"""A subject for the outcomes of the commands. (NATS' own reply subject gets JetStream's ack.)"""

JSON = "application/json"
MSGPACK = "application/msgpack"

MAX_INLINE_BYTES = 64 * 1024
"""Params and results up to this size travel in the message, larger ones as a payload (claim check)."""

MAX_JOBS_PER_REQUEST = 10_000
MAX_DELIVERIES = 10
"""A job whose worker was lost this often is given up: it may be what kills its workers."""


class RetryPolicy(Struct, frozen=True, forbid_unknown_fields=True):
    """When a failed attempt is followed by another: after `delay_seconds * backoff ** (attempt - 1)`."""

    max_attempts: Annotated[int, Meta(ge=1, le=1000)] = 3
    delay_seconds: Annotated[float, Meta(ge=0, le=24 * 3600)] = 1.0
    backoff: Annotated[float, Meta(ge=1, le=10)] = 2.0
    max_delay_seconds: Annotated[float, Meta(ge=0, le=24 * 3600)] = 300.0

    def delay_after(self, attempt: int) -> float:
        """Seconds to wait after failed attempt number `attempt` (from 1)."""
        # The exponent is bounded since 10.0 ** 1000 is an OverflowError.
        return min(self.delay_seconds * self.backoff ** min(attempt - 1, 64), self.max_delay_seconds)


class Payload(Struct, frozen=True):
    """A claim check: where a body lies that is too large for an event."""

    subject: Annotated[str, Meta(pattern=r"^[^\s.*>]+(\.[^\s.*>]+)*(?!\n)$", max_length=400)]
    """Where to read it; one that is no subject would end the reader's connection, or have it wait for ever."""
    size: int
    sha256: str

    @classmethod
    def of(cls, subject: str, body: bytes) -> Self:
        """Return the claim check for a body."""
        return cls(subject, len(body), hashlib.sha256(body).hexdigest())

    def fits(self, body: bytes) -> bool:
        """Say whether a body is the one that was stored."""
        return hashlib.sha256(body).hexdigest() == self.sha256


class Rows(Struct, frozen=True, omit_defaults=True):
    """The rows of a batch job, and where they came from."""

    batch: Id
    file: str
    file_index: int
    index: int
    first_row: int
    """Number of the first row in its file, from 0."""
    count: int
    payload: Payload
    form: PayloadForm = "arrow"
    """The payload: an Arrow IPC stream, a JSON array of objects, or a MessagePack array of maps."""
    version: str | None = None
    """Of the file: its ETag, time of change, or size."""
    size: int | None = None
    """Of the file, in bytes."""
    columns: dict[str, str] = {}
    """Arrow types of the columns by their names; left out where they are very many."""


class WorkflowPlace(Struct, frozen=True, omit_defaults=True):
    """Which part of which workflow a job or a batch is."""

    id: Id
    job: Annotated[int, Meta(ge=0)]
    """Its number in the list of jobs, from 0."""
    name: str
    run: Annotated[int, Meta(ge=0)] | None = None
    """Of a fan-out: its number in the list, from 0."""


class JobDetails(Struct, frozen=True, omit_defaults=True):
    """What a worker needs to run a job, and Rota to run it again."""

    spec: Name
    queue: Name
    params: Raw
    """A MessagePack map."""
    retry: RetryPolicy = RetryPolicy()
    timeout_seconds: float | None = None
    labels: dict[str, str] = {}
    rows: Rows | None = None
    workflow: WorkflowPlace | None = None
    large_params: Payload | None = None
    """Where the params are that are too large for an event; `params` is an empty map then."""
    tell_start: bool = False
    """Whether its worker tells at once that it has begun: a time limit hangs on it."""

    @property
    def batch(self) -> str | None:
        """The id of the batch that the job belongs to."""
        return self.rows.batch if self.rows else None


class JobFault(Struct, frozen=True, omit_defaults=True):
    """Why an attempt failed: the exception's type and text, and where it was raised."""

    type: str
    message: str
    traceback: str = ""


NIL = Raw(b"\xc0")


class Result(Struct, frozen=True, omit_defaults=True):
    """What a job returned: a MessagePack value in place, or behind a claim check and then nil here."""

    value: Raw = NIL
    payload: Payload | None = None


# Reports: the commands that workers send.


class Report(Struct, frozen=True, kw_only=True, tag_field="type"):
    """What every report says: which attempt of which job, and who ran it."""

    id: Id
    attempt: int
    worker: str
    delivery: int = 1
    """How often the attempt was handed out; above 1, a worker was lost."""
    causation_id: str = ""
    """The event that handed the attempt out: `<job id>.<version>` of the work message."""


class StartJob(Report, frozen=True, kw_only=True, tag="job.start"):
    """The attempt has been running for about a second."""

    started_at: datetime


class ProgressJob(Report, frozen=True, kw_only=True, tag="job.progress"):
    """How far the attempt has come."""

    percent: float
    message: str = ""


class SucceedJob(Report, frozen=True, kw_only=True, tag="job.succeed"):
    """The attempt returned."""

    started_at: datetime
    result: Result


class FailJob(Report, frozen=True, kw_only=True, tag="job.fail"):
    """The attempt raised, ran out of time, or was given up."""

    started_at: datetime
    fault: JobFault
    timed_out: bool = False
    final: bool = False
    """True when another attempt would not help."""


class RegisterSpec(Struct, frozen=True, kw_only=True, tag_field="type", tag="spec.register"):
    """A worker makes its kind of job known; the same again changes nothing."""

    id: Name
    description: str = ""
    params_schema: dict[str, Any] = {}
    """JSON Schema, draft 2020-12, of the params object."""
    rows: RowsForm | None = None
    """Whether the job takes the rows of a batch, and in which form its worker wants them."""
    queue: Name = "default"
    retry: RetryPolicy = RetryPolicy()
    timeout_seconds: Seconds | None = None
    result_schema: dict[str, Any] = {}
    """JSON Schema of what the job returns; empty where that is not known."""


class Outcome(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of a command: `done` (maybe there was nothing to do), `refused`, or `failed` by Rota's fault."""

    id: str
    type: str
    status: Literal["done", "refused", "failed"]
    detail: str = ""
    slug: str = ""
    """For a refusal the last part of its problem type's URI, as over HTTP."""


class Work(Struct, frozen=True, kw_only=True):
    """What a worker is handed: the body of the `job.queued` event."""

    id: str
    version: int
    attempt: int
    details: JobDetails


# HTTP.


class JobRequest(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One job to be scheduled. What is left out comes from the spec."""

    spec: Name
    params: dict[str, Any] = {}
    queue: Name | UnsetType = UNSET
    retry: RetryPolicy | UnsetType = UNSET
    timeout_seconds: Seconds | UnsetType | None = UNSET
    """Time limit of one attempt; null for none."""
    delay_seconds: Annotated[float, Meta(ge=0, le=10 * 365 * 24 * 3600)] | UnsetType = UNSET
    run_at: Annotated[datetime, Meta(tz=True)] | UnsetType = UNSET
    key: Key | UnsetType = UNSET
    """Idempotency key: one spec and key name one job, however often it is scheduled."""
    labels: dict[str, str] = {}


class ScheduleRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """A list of jobs, of which all are scheduled or none."""

    jobs: Annotated[list[JobRequest], Meta(min_length=1, max_length=MAX_JOBS_PER_REQUEST)]


class ScheduleResponse(Struct, frozen=True):
    """The ids of the jobs, in the order of the request."""

    ids: list[str]


class CancelRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Why something is cancelled."""

    reason: str = ""


class JobView(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A job as `GET /jobs/{id}` shows it."""

    id: str
    spec: str
    queue: str
    status: JobStatus
    attempt: int = 0
    params: Any = None
    labels: dict[str, str] = {}
    batch: str | None = None
    worker: str | None = None
    scheduled_at: datetime | None = None
    run_at: datetime | None = None
    queued_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    progress: float | None = None
    error: JobFault | None = None
    rows: Rows | None = None
    """Of a batch job: which rows it has, and where they came from."""
    workflow: str | None = None
    """The workflow that it is a part of."""


class QueueView(Struct, frozen=True, kw_only=True):
    """A queue as `GET /queues` shows it."""

    name: str
    jobs: dict[str, int]
    """Number of its jobs by state, and `total`."""


class DeadLetterView(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A command that was refused or failed, as `GET /dead-letters` shows it."""

    sequence: int
    status: Literal["failed", "refused"]
    reason: str
    at: datetime
    type: str = ""
    id: str = ""
    tries: int = 1
    caller: str = ""
    causation_id: str = ""
    command_id: str = ""
    subject: str
    """Where the command was published."""
    command: Any = None
    """Its fields; the message's body as base64 if it cannot be read as a command."""
    traceback: str = ""


class DeadLetterList(Struct, frozen=True):
    """One page of dead letters, oldest first; `next` is the `after` of the page after it, if there is one."""

    dead_letters: list[DeadLetterView]
    next: int | None = None


class SpecView(Struct, frozen=True, kw_only=True):
    """A job spec as `GET /specs` shows it."""

    name: str
    description: str
    params_schema: dict[str, Any]
    rows: RowsForm | None
    queue: str
    retry: RetryPolicy
    timeout_seconds: float | None
    result_schema: dict[str, Any] = {}


class JobList(Struct, frozen=True):
    """One page of jobs, newest first; `next` is the cursor of the page after it, if there is one."""

    jobs: list[JobView]
    next: str | None = None
