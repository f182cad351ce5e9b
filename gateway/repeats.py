"""Repeats under a key: the same again is done once, and something else under the same key is refused.

What was asked first is read off the log. So this costs one read for a request with a key, and nothing is kept for
it; a request that comes before the first one is carried out is not compared.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct

from events.batch import BatchOpened, OpenBatch
from events.ids import group_of, member
from events.jetstream.beginnings import beginnings
from events.job import JobQueued, JobScheduled, ScheduleJob
from events.workflow import ScheduleWorkflow, WorkflowDetails, WorkflowJob, WorkflowScheduled
from gateway.edge import Edge
from gateway.problems import MAX_FAULTS
from rota.batch_protocol import BatchRequest
from rota.errors import KeyReusedError, Problem
from rota.protocol import JobRequest
from rota.workflow_protocol import WorkflowJobRequest, WorkflowRequest

OTHER = "It was another one under this key"
JOB_FIELDS = ("spec", "params", "queue", "retry", "timeout_seconds", "labels")
BATCH_FIELDS = (
    "spec",
    "files",
    "connection",
    "selection",
    "format",
    "options",
    "compression",
    "bad_rows",
    "max_readers",
    "rows_per_job",
    "bytes_per_job",
    "seconds_per_job",
    "first",
    "limit",
    "max_jobs_in_flight",
    "max_bytes_in_flight",
    "tolerance",
    "stream",
    *JOB_FIELDS[1:],
)
OF_A_JOB = ("spec", "queue", "retry", "timeout_seconds", "labels")
WORKFLOW_FIELDS = ("name", "params", "timeout_seconds", "max_parallel", "labels")
WORKFLOW_JOB_FIELDS = (
    "name",
    "inputs",
    "after",
    "for_each",
    "max_parallel",
    "tolerated_failures",
    "tolerated_failures_share",
    "files_from",
    "waiting_timeout_seconds",
    "total_timeout_seconds",
    "on_timeout",
    "on_failure",
    "defaults",
)


async def check_jobs(
    edge: Edge, requests: Sequence[JobRequest], commands: Sequence[ScheduleJob], *, keyed: bool, listed: bool
) -> None:
    """Raise KeyReusedError if a key has stood for other jobs; `keyed` says that the request as a whole has one."""
    own = [index for index, request in enumerate(requests) if request.key]
    shared = [index for index, request in enumerate(requests) if keyed and not request.key]
    repeated = [*own, *(shared if await _is_repeat(edge, commands, shared) else ())]
    firsts = await beginnings(edge.connection, "job", [commands[index].id for index in repeated])
    problems: list[Problem] = []
    for index, first in zip(repeated, firsts, strict=True):
        place = f"#/jobs/{index}" if listed else "#"
        if isinstance(first, JobQueued | JobScheduled):
            names = _differences(first.details, commands[index].details, requests[index], JOB_FIELDS)
            problems += [Problem(OTHER, f"{place}/{name}") for name in names]
        elif index in shared and not await edge.bus.find_waiting("job", commands[index].id):
            problems.append(Problem("There was no such job under this key", place))
    if listed and len(repeated) > len(own):
        beyond = member(group_of(commands[shared[0]].id), len(commands))
        if (await beginnings(edge.connection, "job", [beyond]))[0]:
            problems.append(Problem("There were more jobs under this key", "#/jobs"))
    _check(problems)


async def check_batch(edge: Edge, request: BatchRequest, command: OpenBatch) -> None:
    """Raise KeyReusedError if the key has stood for another batch."""
    [first] = await beginnings(edge.connection, "batch", [command.id])
    if isinstance(first, BatchOpened):
        names = _differences(first.details, command.details, request, BATCH_FIELDS)
        _check([Problem(OTHER, f"#/{name}") for name in names])


async def check_workflow(edge: Edge, request: WorkflowRequest, command: ScheduleWorkflow) -> None:
    """Raise KeyReusedError if the key has stood for another workflow."""
    first, now = await _workflow(edge, command.id), command.details
    if first is None or first == now:
        return
    problems = [Problem(OTHER, f"#/{name}") for name in _others(first, now, WORKFLOW_FIELDS)]
    if first.rerun_of != now.rerun_of:
        problems.append(Problem("It was a rerun under this key", "#"))
    elif len(first.jobs) != len(now.jobs):
        problems.append(Problem("There were other jobs under this key", "#/jobs"))
    else:
        for number, job in enumerate(zip(first.jobs, now.jobs, request.jobs, strict=True)):
            problems += [Problem(OTHER, f"#/jobs/{number}/{name}") for name in _differences_of_job(*job)]
    _check(problems)


async def check_rerun(edge: Edge, command: ScheduleWorkflow) -> None:
    """Raise KeyReusedError if the key has stood for another workflow, or for other params."""
    first, now = await _workflow(edge, command.id), command.details
    if first is None:
        return
    if first.rerun_of != now.rerun_of:
        _check([Problem("It was another workflow under this key", "#")])
    _check([Problem(OTHER, f"#/{name}") for name in _others(first, now, ["params"])])


async def _workflow(edge: Edge, id_: str) -> WorkflowDetails | None:
    first = next(iter(await edge.log.load("workflow", id_, limit=1)), None)
    return first.event.details if first and isinstance(first.event, WorkflowScheduled) else None


async def _is_repeat(edge: Edge, commands: Sequence[ScheduleJob], shared: Sequence[int]) -> bool:
    """Say whether the key has been used: for a new one, this is all that is read."""
    return bool(shared) and (await beginnings(edge.connection, "job", [commands[shared[0]].id]))[0] is not None


def _differences(first: Any, now: Any, request: Struct, names: Sequence[str]) -> Iterator[str]:
    """Find the fields that were other ones; what the request leaves out comes from the spec, maybe a newer one."""
    for name in names:
        if getattr(request, name) is not UNSET and _plain(getattr(first, name)) != _plain(getattr(now, name)):
            yield name


def _differences_of_job(first: WorkflowJob, now: WorkflowJob, request: WorkflowJobRequest) -> Iterator[str]:
    """Find the fields of a workflow's job that were other ones, as above."""
    yield from _others(first, now, WORKFLOW_JOB_FIELDS)
    if not first.batch or not now.batch or not request.batch:
        if bool(first.batch) != bool(now.batch):
            yield "batch"
        yield from _differences(first, now, request, OF_A_JOB)
        return
    if first.batch.results != now.batch.results:
        yield "results"
    for name in _differences(first.batch, now.batch, request.batch, BATCH_FIELDS):
        yield f"batch/{name}"


def _others(first: Any, now: Any, names: Sequence[str]) -> Iterator[str]:
    """Find the fields that are other ones, whether a request has them or not."""
    return (name for name in names if _plain(getattr(first, name)) != _plain(getattr(now, name)))


def _plain(value: Any) -> Any:
    return msgspec.msgpack.decode(value) if isinstance(value, Raw | bytes) else value


def _check(problems: list[Problem]) -> None:
    if problems:
        raise KeyReusedError(
            "The key was used for another request; nothing was done", problems=problems[:MAX_FAULTS]
        )
