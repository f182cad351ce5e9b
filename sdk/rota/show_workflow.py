"""How the command line writes workflows: tables, progress, drawings with what is wrong, and what is missing."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from rota.graph_looks import STYLES, SYMBOLS, state
from rota.graph_text import text_lines
from rota.protocol import ENDED_JOB
from rota.show import table
from rota.show_batch import count
from rota.terminal import cut, paint, printable
from rota.workflow_graph import graph_of, took, why
from rota.workflow_protocol import WorkflowJobView, WorkflowView

DONE = (*ENDED_JOB, "skipped")
MAX_REASONS = 10
"""Of more jobs it is not told one by one why they are as they are."""


def workflow_table(workflows: Sequence[WorkflowView]) -> str:
    """Return workflows as a table."""
    rows = [
        (one.id, one.name, one.status, _done(one), f"{one.progress:.0%}", one.scheduled_at, one.ended_at)
        for one in workflows
    ]
    return table(("ID", "NAME", "STATUS", "DONE", "PROGRESS", "SCHEDULED", "ENDED"), rows)


def progress(view: WorkflowView, now: datetime) -> str:
    """Return how far a workflow is."""
    parts = [state(view.status), f"{_done(view)} jobs done"]
    lost = sum(view.counts.get(status, 0) for status in DONE if status != "succeeded")
    if lost:
        parts.append(f"{lost:,} of them without success")
    if running := view.counts.get("running"):
        parts.append(f"{running:,} running")
    parts.append(took(view.scheduled_at, view.ended_at or now))
    return " · ".join(parts)


def drawing(view: WorkflowView, now: datetime, width: int, *, colour: bool) -> list[str]:
    """Return a workflow as lines of text: how far it is, its graph, and why jobs are not done or failed."""
    title = cut(printable(f"{view.name} {view.id}"), width)
    head = [paint(title, "bold", colour=colour), cut(progress(view, now), width)]
    foot = list(_reasons(view, width, colour=colour))
    if view.error:
        foot.append(cut(printable(view.error), width))
    if len(view.critical_path) > 1:
        foot.append(cut(printable(f"critical path: {' → '.join(view.critical_path)}"), width))
    return [*head, "", *text_lines(graph_of(view, now), width, colour=colour), *([""] if foot else []), *foot]


def shortfall(view: WorkflowView) -> str:
    """Return why a workflow that has ended is no success; nothing if it is one."""
    if view.status == "succeeded":
        return ""
    reason = f": {view.error}" if view.error else ""
    return (
        f"The workflow ended as {state(view.status)}{reason}. See rota workflow show {view.id}; "
        f"rota workflow retry {view.id} runs again what has not succeeded"
    )


def _done(view: WorkflowView) -> str:
    ended = sum(view.counts.get(status, 0) for status in DONE)
    return f"{ended:,}/{view.counts.get('total', 0):,}"


def _reasons(view: WorkflowView, width: int, *, colour: bool) -> Iterator[str]:
    """Yield why jobs have failed, and why others do not run."""
    failed = [(job, f"{job.error.type}: {job.error.message}") for job in view.jobs if job.error]
    waiting = [(job, why(job)) for job in view.jobs if job.waits_for and not job.error]
    told = [*failed, *waiting]
    for job, reason in told[:MAX_REASONS]:
        yield paint(cut(_said(job, reason), width), STYLES[job.status], colour=colour)
    if len(told) > MAX_REASONS:
        yield f"… and {count(len(told) - MAX_REASONS, 'more job')}"


def _said(job: WorkflowJobView, reason: str) -> str:
    return printable(f"{SYMBOLS[job.status]} {job.name}: {reason}")
