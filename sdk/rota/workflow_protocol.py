"""The wire types of workflows over HTTP and the NATS service: requests, and views as they are shown."""

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from rota.batch_protocol import BatchRequest, Count, ResultsRequest, Share
from rota.protocol import JobFault, JobStatus, Key, Name, RetryPolicy, Seconds

MAX_JOBS = 10_000
"""Jobs of a workflow, and runs of a fan-out."""
MAX_RUNS = 50_000
"""Runs of all fan-outs of a workflow."""

Rule = Literal["fail_workflow", "fail_dependents", "use_defaults"]
"""What a job that ends without success, or is late, does to the rest.

`fail_workflow`: what runs is cancelled. `fail_dependents`: what depends on it is skipped, the rest goes on.
`use_defaults`: what depends on it gets its `defaults`.
"""
WorkflowStatus = Literal[
    "running", "paused", "stopping", "succeeded", "partly_failed", "failed", "timed_out", "cancelled"
]
WorkflowJobStatus = Literal["waiting", "skipped"] | JobStatus

ENDED_WORKFLOW: frozenset[WorkflowStatus] = frozenset(
    {"succeeded", "partly_failed", "failed", "timed_out", "cancelled"}
)

AtOnce = Annotated[int, Meta(ge=1, le=MAX_JOBS)]


class WorkflowJobRequest(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One job of a workflow; with `for_each` a job for each item of a list, with `batch` a data set.

    An object with `from` in inputs, `for_each` and a batch's files is a reference:
    `{"from": "<job>", "output": "<path>"}` to what another job returns; in place of the job `$params` stands for
    the params of the workflow, `$item` and `$index` for the item of a fan-out. A path has names of fields and
    numbers in lists, as `stats.rows` or `["a.b", 0]`; without one it is the whole.
    `{"from": "$literal", "value": ...}` is the value as it is.
    """

    name: Name
    spec: Name | UnsetType = UNSET
    """Left out where a batch is given."""
    inputs: dict[str, Any] = {}
    """The params: fixed values and references, also inside lists and objects."""
    after: list[Name] = []
    """Jobs that must have an output before, though nothing of it is used."""
    for_each: list[Any] | dict[str, Any] | UnsetType = UNSET
    """A list of fixed values and references, or a reference to a list."""
    max_parallel: AtOnce | None = None
    """Runs of a fan-out at a time."""
    tolerated_failures: Count | None = None
    """Runs of a fan-out that may end without success; their outputs are null."""
    tolerated_failures_share: Share | None = None
    batch: BatchRequest | UnsetType = UNSET
    """Its files may be given by `files_from`, and its params by `inputs`."""
    files_from: dict[str, Any] | UnsetType = UNSET
    """A reference to the list of a batch's files."""
    results: ResultsRequest | UnsetType = UNSET
    """Of a batch: has its results collected at its end, before what depends on it runs."""
    queue: Name | UnsetType = UNSET
    retry: RetryPolicy | UnsetType = UNSET
    timeout_seconds: Seconds | UnsetType | None = UNSET
    """Time limit of one attempt; null for none."""
    waiting_timeout_seconds: Seconds | None = None
    """Time limit from its release until a worker begins it for the first time."""
    total_timeout_seconds: Seconds | None = None
    """Time limit from its release until it ends, with all attempts; of all of a fan-out or batch."""
    on_timeout: Rule = "fail_workflow"
    on_failure: Rule = "fail_workflow"
    """After the last attempt."""
    defaults: Any = UNSET
    """What stands for its output under the rule `use_defaults`."""
    labels: dict[str, str] = {}


class WorkflowRequest(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Jobs whose order follows from their inputs."""

    name: Name = "workflow"
    """What kind of workflow it is: many may have the same."""
    jobs: Annotated[list[WorkflowJobRequest], Meta(min_length=1, max_length=MAX_JOBS)]
    params: dict[str, Any] = {}
    """What jobs refer to as `$params`."""
    timeout_seconds: Seconds | None = None
    """Time limit of all of it."""
    max_parallel: AtOnce | None = None
    """Jobs, runs and batches at a time."""
    labels: dict[str, str] = {}
    key: Key | UnsetType = UNSET


class WorkflowResponse(Struct, frozen=True):
    """The id of the workflow."""

    id: str


class RetryRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Run again what has not succeeded, with all that has."""


class RerunRequest(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Run the whole again as another workflow; params that are left out stay as they were."""

    params: dict[str, Any] = {}
    key: Key | UnsetType = UNSET


class WorkflowJobView(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One job of a workflow."""

    name: str
    spec: str
    status: WorkflowJobStatus
    needs: list[str] = []
    """Jobs whose outputs it uses."""
    after: list[str] = []
    """Other jobs that it comes after."""
    job: str | None = None
    """Id of its job, once there is one."""
    batch: str | None = None
    """Id of its batch, once there is one."""
    runs: dict[str, int] | None = None
    """Of a fan-out: number of runs by state, and `total`, once its list is known."""
    attempt: int = 0
    released_at: datetime | None = None
    """When its inputs were there, and limits and pauses let it begin."""
    started_at: datetime | None = None
    ended_at: datetime | None = None
    error: JobFault | None = None
    fallback: bool = False
    """Whether its defaults stand for its output."""
    late: Literal["succeeded", "failed", "timed_out"] | None = None
    """How it ended after its defaults were used."""
    waits_for: str = ""
    """Why it does not run."""
    critical: bool = False
    """Whether it is on the critical path."""


class WorkflowView(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A workflow as `GET /workflows/{id}` shows it."""

    id: str
    name: str
    status: WorkflowStatus
    jobs: list[WorkflowJobView] = []
    counts: dict[str, int]
    """Number of jobs by state, and `total`."""
    progress: float
    """Share of the jobs that have ended, from 0 to 1."""
    critical_path: list[str] = []
    """The chain of jobs that took longest, or with what is known by now will."""
    params: Any = None
    scheduled_at: datetime
    ended_at: datetime | None = None
    timeout_at: datetime | None = None
    error: str | None = None
    retries: int = 0
    rerun_of: str | None = None
    labels: dict[str, str] = {}


class WorkflowList(Struct, frozen=True):
    """One page of workflows without jobs and params, newest first; `next` is the cursor of the page after it."""

    workflows: list[WorkflowView]
    next: str | None = None
