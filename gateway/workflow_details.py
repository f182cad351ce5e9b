"""Workflows as they were scheduled: as requests that can be sent again, and with other params."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from msgspec import UNSET, Raw
from msgspec.structs import replace

from events.batch import BatchDetails
from events.references import PARAMS, MissingOutputError, Path, Reference, pick, references, show
from events.workflow import WorkflowDetails, WorkflowJob
from gateway.problems import Faults
from gateway.translate import packed_value
from rota.batch_protocol import BatchRequest
from rota.protocol import NIL
from rota.workflow_protocol import MAX_JOBS, WorkflowJobRequest, WorkflowRequest

unpack = msgspec.msgpack.decode

SAME = (
    "name",
    "waiting_timeout_seconds",
    "total_timeout_seconds",
    "on_timeout",
    "on_failure",
    "max_parallel",
    "tolerated_failures",
    "tolerated_failures_share",
)
"""What a job has as its request had it."""
OF_A_JOB = ("spec", "queue", "retry", "timeout_seconds", "labels")
"""What a batch has itself."""
OF_A_BATCH = tuple(
    name for name in BatchRequest.__struct_fields__ if name not in {"files", "params", "key", "stream", "options"}
)


def request_of(details: WorkflowDetails) -> WorkflowRequest:
    """Return the request for a workflow: sent again, it makes the same one, whatever the specs have become."""
    names = [job.name for job in details.jobs]
    return WorkflowRequest(
        name=details.name,
        jobs=[_job_request(job, names) for job in details.jobs],
        params=unpack(details.params),
        timeout_seconds=details.timeout_seconds,
        max_parallel=details.max_parallel,
        labels=details.labels,
    )


def rerun_of(id_: str, details: WorkflowDetails, params: Mapping[str, Any]) -> WorkflowDetails:
    """Return the same workflow with some params replaced; InvalidRequestError if its jobs cannot use these."""
    merged = unpack(details.params) | params
    faults = Faults()
    for job in details.jobs:
        for place, reference in _params_used(job):
            if faults.enough:
                break
            if said := _wrong(place, reference, merged):
                faults.add("#/params", f"{said}: {job.name} uses it")
    body = packed_value("Params", merged, "#/params", faults)
    faults.check()
    return replace(details, params=Raw(body), rerun_of=id_)


def _job_request(job: WorkflowJob, names: list[str]) -> WorkflowJobRequest:
    fields: dict[str, Any] = {name: getattr(job, name) for name in SAME}
    fields["inputs"] = unpack(job.inputs)
    fields["after"] = [names[number] for number in job.after]
    for name in ("defaults", "for_each", "files_from"):
        body = getattr(job, name)
        fields[name] = UNSET if body == NIL else unpack(body)
    if "use_defaults" in (job.on_timeout, job.on_failure):
        fields["defaults"] = unpack(job.defaults)  # which may be null
    if job.batch:
        files = list(job.batch.files) if job.files_from == NIL else []
        return WorkflowJobRequest(
            **fields, batch=_batch_request(job.batch, files), results=job.batch.results or UNSET
        )
    return WorkflowJobRequest(**fields, **{name: getattr(job, name) for name in OF_A_JOB})


def _batch_request(details: BatchDetails, files: list[str]) -> BatchRequest:
    return BatchRequest(
        files=files,
        options=dict(details.options),
        **{name: getattr(details, name) for name in OF_A_BATCH},
    )


def _params_used(job: WorkflowJob) -> Iterator[tuple[str, Reference]]:
    """Yield the references of a job to the params of its workflow, each with its place."""
    for name in ("inputs", "for_each", "files_from"):
        for place, reference in references(unpack(getattr(job, name)), name):
            if isinstance(reference, Reference) and reference.source == PARAMS:
                yield place, reference


def _wrong(place: str, reference: Reference, params: Mapping[str, Any]) -> str:
    """Say what is wrong with what a reference leads to in params; nothing if all is well."""
    try:
        value = pick(params, reference.path)
    except MissingOutputError as error:
        return str(error)
    if place == "for_each" and not isinstance(value, list):
        return f"{_named(reference.path)} is no list"
    if place == "for_each" and len(value) > MAX_JOBS:
        return f"{_named(reference.path)} has {len(value)} items, and the limit is {MAX_JOBS}"
    return ""


def _named(path: Path) -> str:
    return show(path) or "They"
