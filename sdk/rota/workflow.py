"""The builder of workflows: jobs are added one by one, and get what others return by reference.

    flow = rota.Workflow("nightly", params={"date": "2026-01-01"})
    fetch = flow.job("fetch", fetch_orders, {"date": flow.params["date"]})
    clean = flow.each("clean", clean_file, fetch.output["files"], {"path": rota.item, "number": rota.index})
    flow.job("report", write_report, {"files": clean.output}, on_failure="fail_dependents")

    async with rota.Client() as client:
        id_ = await client.workflows.schedule(flow, params={"date": "2026-01-02"})

What is wrong in a call is refused by the call, with an InvalidRequestError: a name used twice, a reference to
another workflow's job. A job can refer only to those that were added before it, so that there are no cycles.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict, TypeVar, Unpack

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from rota.batch_protocol import BatchRequest, ResultsRequest
from rota.errors import InvalidRequestError
from rota.jobs import Job, spec_name
from rota.protocol import RetryPolicy
from rota.references import INDEX, ITEM, PARAMS, Reference, encoded, plain
from rota.workflow_protocol import Rule, WorkflowJobRequest, WorkflowRequest

T = TypeVar("T")


class WorkflowJob:
    """A job of a workflow, for references to it."""

    def __init__(self, flow: "Workflow", name: str) -> None:
        self.flow = flow
        self.name = name

    def __repr__(self) -> str:
        return f"<job {self.name} of workflow {self.flow.name}>"

    @property
    def output(self) -> Reference:
        """What it will return: of a fan-out the list of what its runs return, of a batch its id and counts."""
        return Reference(self.name, flow=self.flow)


class JobOptions(TypedDict, total=False):
    """What can be said of a job or fan-out; see WorkflowJobRequest."""

    after: Sequence[WorkflowJob]
    """Jobs that must have ended before, though nothing of them is used."""
    total_timeout_seconds: float | None
    on_timeout: Rule
    on_failure: Rule
    defaults: Any
    """What stands for its output under the rule `use_defaults`."""
    queue: str
    retry: RetryPolicy
    timeout_seconds: float | None
    waiting_timeout_seconds: float | None
    labels: dict[str, str]


class Workflow:
    """Jobs whose order follows from their inputs; `Client.workflows` schedules it, as often as one likes.

    `params` are what jobs refer to as `params`, with the values for when none are given; `timeout_seconds` is the
    time limit of all of it, `max_parallel` how many jobs run at a time.
    """

    def __init__(
        self,
        name: str = "workflow",
        *,
        params: dict[str, Any] | None = None,
        timeout_seconds: float | None = None,
        max_parallel: int | None = None,
        labels: dict[str, str] | None = None,
    ) -> None:
        self._jobs: dict[str, WorkflowJobRequest] = {}
        fields = {"name": name, "params": plain(params or {}), "labels": labels or {}}
        limits = {"timeout_seconds": timeout_seconds, "max_parallel": max_parallel}
        # What is wrong with it is told before there are jobs.
        self._request = _checked({**fields, **limits, "jobs": [{"name": "none"}]}, WorkflowRequest, "The workflow")

    @property
    def name(self) -> str:
        """What kind of workflow it is."""
        return self._request.name

    def __repr__(self) -> str:
        return f"<workflow {self.name} of {len(self._jobs)} jobs>"

    @property
    def params(self) -> Reference:
        """The params that the workflow is scheduled with."""
        return Reference(PARAMS, flow=self)

    def job(
        self,
        name: str,
        spec: str | Job[..., Any],
        inputs: dict[str, Any] | None = None,
        **options: Unpack[JobOptions],
    ) -> WorkflowJob:
        """Add a job: its inputs are the params of the spec, fixed values and references at any depth."""
        return self._add(name, {"spec": spec_name(spec), "inputs": self._encoded(inputs or {})}, options)

    def each(
        self,
        name: str,
        spec: str | Job[..., Any],
        for_each: Reference | Sequence[Any],
        inputs: dict[str, Any],
        *,
        max_parallel: int | None = None,
        tolerated_failures: int | None = None,
        tolerated_failures_share: float | None = None,
        **options: Unpack[JobOptions],
    ) -> WorkflowJob:
        """Add a fan-out: a run of the spec for each element of a list, with `rota.item` and `rota.index` in inputs.

        Its output is the list of what the runs return, in the order of the list; null for those that are tolerated
        to fail.
        """
        if isinstance(for_each, str | bytes | dict):
            raise InvalidRequestError(f"{name}: for_each is a list, or a reference to one")
        fields = {
            "spec": spec_name(spec),
            "inputs": self._encoded(inputs, in_run=True),
            "for_each": self._encoded(for_each if isinstance(for_each, Reference) else list(for_each)),
            "max_parallel": max_parallel,
            "tolerated_failures": tolerated_failures,
            "tolerated_failures_share": tolerated_failures_share,
        }
        return self._add(name, fields, options)

    def batch(
        self,
        name: str,
        spec: str | Job[..., Any] | BatchRequest,
        inputs: dict[str, Any] | None = None,
        *,
        files: Reference | Sequence[str] | None = None,
        results: ResultsRequest | None = None,
        after: Sequence[WorkflowJob] = (),
        total_timeout_seconds: float | None = None,
        on_timeout: Rule = "fail_workflow",
        on_failure: Rule = "fail_workflow",
        defaults: Any = UNSET,
        **fields: Any,
    ) -> WorkflowJob:
        """Add a batch: give a BatchRequest, or the spec and fields of one, as `connection` and `rows_per_job`.

        Its `inputs` are the params of its jobs; its files may be a reference to a list of them. With `results` its
        results are collected at its end, before what depends on it runs.
        """
        if "params" in fields:
            raise InvalidRequestError(f"{name}: the params of a batch in a workflow are given as inputs")
        more: dict[str, Any] = {"after": after, "total_timeout_seconds": total_timeout_seconds}
        more |= {"on_timeout": on_timeout, "on_failure": on_failure, "defaults": defaults}
        if results is not None:
            more["results"] = results
        if isinstance(files, Reference):
            more["files_from"] = self._encoded(files)
        elif files is not None:
            fields["files"] = list(files)
        given = spec if isinstance(spec, BatchRequest) else BatchRequest(spec=spec_name(spec))
        batch = {**plain(replace(given, params={})), **_plain(fields)}
        params = self._encoded({**given.params, **(inputs or {})})
        return self._add(name, {"batch": batch, "inputs": params}, more)

    def request(self) -> WorkflowRequest:
        """Return what is sent to schedule it."""
        if not self._jobs:
            raise InvalidRequestError(f"The workflow {self.name} has no jobs")
        return replace(self._request, jobs=list(self._jobs.values()))

    def _add(self, name: str, fields: dict[str, Any], options: Mapping[str, Any]) -> WorkflowJob:
        if name in self._jobs:
            raise InvalidRequestError(f"There is a job {name} in the workflow {self.name} already")
        after = [self._own(job) for job in options.get("after", ())]
        given = _plain({field: value for field, value in options.items() if field != "after"})
        self._jobs[name] = _checked({"name": name, **fields, "after": after, **given}, WorkflowJobRequest, name)
        return WorkflowJob(self, name)

    def _own(self, job: WorkflowJob) -> str:
        if not isinstance(job, WorkflowJob):
            raise InvalidRequestError(f"`after` lists jobs as they were returned when they were added, not {job!r}")
        if job.flow is not self:
            raise InvalidRequestError(f"{job!r} is none of the workflow {self.name}")
        return job.name

    def _encoded(self, value: Any, *, in_run: bool = False) -> Any:
        def check(reference: Reference) -> None:
            if reference.source in {ITEM, INDEX}:
                if not in_run:
                    raise InvalidRequestError("Only the inputs of a fan-out have `rota.item` and `rota.index`")
            elif reference.flow is not self:
                raise InvalidRequestError(f"{reference!r} is of another workflow than {self.name}")

        return encoded(value, check)


def _plain(fields: dict[str, Any]) -> dict[str, Any]:
    """Return those fields that are given, as JSON has them."""
    return {name: plain(value) for name, value in fields.items() if value is not UNSET}


def _checked(fields: dict[str, Any], type_: type[T], name: str) -> T:
    """Return the request with these fields; InvalidRequestError if one of them is not valid."""
    try:
        return msgspec.convert(fields, type_)
    except msgspec.ValidationError as error:
        raise InvalidRequestError(f"{name}: {error}") from error
