"""The graphs of workflows: of one that runs or has ended, with the state of each job, and of one that is a plan."""

from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise

from msgspec import UNSET

from rota.errors import InvalidRequestError, Problem
from rota.graph import Edge, Graph, Node, NodeKind
from rota.graph_layout import CycleError, layers_of
from rota.graph_looks import state
from rota.protocol import ENDED_JOB
from rota.references import sources
from rota.show import SHOWN_CHARACTERS, text
from rota.show_batch import duration
from rota.workflow_protocol import WorkflowJobRequest, WorkflowJobView, WorkflowRequest, WorkflowView

SHORT_SECONDS = 10.0
"""Of shorter times the tenths are told."""


def graph_of(view: WorkflowView, now: datetime) -> Graph:
    """Return the graph of a workflow that was scheduled."""
    numbers = {job.name: number for number, job in enumerate(view.jobs)}
    path = [numbers[name] for name in view.critical_path if name in numbers]
    steps = set(pairwise(path))
    edges = [
        Edge(numbers[name], number, data=data, critical=(numbers[name], number) in steps)
        for number, job in enumerate(view.jobs)
        for data, names in ((True, job.needs), (False, job.after))
        for name in names
        if name in numbers
    ]
    return Graph(f"{view.name} {view.id}", [_node(job, now) for job in view.jobs], edges, state(view.status))


def plan_of(request: WorkflowRequest) -> Graph:
    """Return the graph of a workflow that is not scheduled; InvalidRequestError if its jobs have no order."""
    numbers: dict[str, int] = {}
    problems: list[Problem] = []
    for number, job in enumerate(request.jobs):
        if numbers.setdefault(job.name, number) != number:
            problems.append(Problem(f"There is a job {job.name} already", f"#/jobs/{number}/name"))
    edges: list[Edge] = []
    for number, job in enumerate(request.jobs):
        for name, field in _before(job):
            if name not in numbers:
                problems.append(Problem(f"There is no job {name}", f"#/jobs/{number}/{field}"))
            else:
                edges.append(Edge(numbers[name], number, data=field != "after"))
    if problems:
        raise InvalidRequestError("The workflow is not valid", problems=problems)
    try:
        layers_of(len(request.jobs), [(edge.source, edge.target) for edge in edges])
    except CycleError as error:
        names = [request.jobs[number].name for number in (*error.nodes, error.nodes[0])]
        wait = Problem(f"These jobs wait for each other: {' → '.join(names)}", f"#/jobs/{error.nodes[0]}")
        raise InvalidRequestError("The workflow is not valid", problems=[wait]) from error
    return Graph(request.name, [_planned(job) for job in request.jobs], edges)


def took(start: datetime, end: datetime) -> str:
    """Return the time between two moments as people read it."""
    seconds = max(0.0, (end - start).total_seconds())
    return f"{seconds:.1f} s" if seconds < SHORT_SECONDS else duration(seconds)


def why(job: WorkflowJobView) -> str:
    """Return why a job does not run, as a part of a sentence about it."""
    return f"waits {job.waits_for}" if job.waits_for.startswith("for ") else job.waits_for


def _node(job: WorkflowJobView, now: datetime) -> Node:
    kind: NodeKind = "fan_out" if job.runs is not None else "batch" if job.batch else "job"
    return Node(
        job.name,
        job.status,
        kind=kind,
        detail=" · ".join(_details(job, now)),
        says="\n".join(_says(job, now)),
        critical=job.critical,
    )


def _details(job: WorkflowJobView, now: datetime) -> Iterator[str]:
    if job.runs:
        yield f"{_ended(job.runs)}/{job.runs.get('total', 0):,} runs"
    if job.status in {"failed", "timed_out"}:
        yield state(job.status) if job.error is None else job.error.type
    if job.fallback:
        yield "defaults used"
    if job.attempt > 1:
        yield f"attempt {job.attempt}"
    if job.started_at and (job.ended_at or job.status == "running"):
        yield took(job.started_at, job.ended_at or now)


def _says(job: WorkflowJobView, now: datetime) -> Iterator[str]:
    """Yield all that is worth knowing, a line each."""
    yield f"{job.name}: {state(job.status)}"
    yield f"spec {job.spec}"
    if job.runs:
        yield "runs: " + ", ".join(f"{number:,} {word.replace('_', ' ')}" for word, number in job.runs.items())
    if job.batch or job.job:
        yield f"batch {job.batch}" if job.batch else f"job {job.job}"
    if job.attempt > 1:
        yield f"attempt {job.attempt}"
    if job.started_at:
        yield f"started {text(job.started_at)}"
    if job.ended_at:
        yield f"ended {text(job.ended_at)}"
    if job.started_at and (job.ended_at or job.status == "running"):
        yield f"took {took(job.started_at, job.ended_at or now)}"
    if job.error:
        yield f"{job.error.type}: {job.error.message}"[:SHOWN_CHARACTERS]
    if job.fallback:
        yield "its defaults stand for its output"
    if job.late:
        yield f"after that it has {state(job.late)}"
    if job.waits_for:
        yield why(job)
    if job.critical:
        yield "on the critical path"


def _planned(job: WorkflowJobRequest) -> Node:
    if job.batch is not UNSET:
        return Node(job.name, kind="batch", detail=f"batch: {job.batch.spec}", says=f"{job.name}: a batch")
    spec = "" if job.spec is UNSET else job.spec
    if job.for_each is not UNSET:
        return Node(job.name, kind="fan_out", detail=f"each: {spec}", says=f"{job.name}: {spec} for each of a list")
    return Node(job.name, detail="" if spec == job.name else spec, says=f"{job.name}: {spec}")


def _before(job: WorkflowJobRequest) -> Iterator[tuple[str, str]]:
    """Yield what a job comes after, each once, with the field that says so."""
    named: set[str] = set()
    given = {"inputs": job.inputs, "for_each": job.for_each, "files_from": job.files_from}
    uses = ((name, field) for field, value in given.items() for name in sources(value))
    for name, field in (*uses, *((name, "after") for name in job.after)):
        if name not in named:
            named.add(name)
            yield name, field


def _ended(runs: dict[str, int]) -> str:
    return f"{sum(number for status, number in runs.items() if status in ENDED_JOB):,}"
