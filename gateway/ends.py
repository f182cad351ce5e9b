"""How a job, batch or workflow has ended, whatever was told of it after that."""

import asyncio

from msgspec import Struct

from events.base import Event, Kind
from events.batch_results import BatchCollected
from events.catalog import KINDS
from events.jetstream.log import Recorded
from events.subjects import event_subject
from gateway.edge import Edge
from gateway.frames import event_type
from rota.protocol import ENDED_BATCH, ENDED_JOB
from rota.workflow_protocol import ENDED_WORKFLOW

JOB_ENDS = frozenset(f"job.{status}" for status in ENDED_JOB)
WORKFLOW_ENDS = frozenset(f"workflow.{status}" for status in ENDED_WORKFLOW)
ENDS = JOB_ENDS | WORKFLOW_ENDS | {f"batch.{status}" for status in ENDED_BATCH}
FINAL = frozenset({"job.succeeded", "batch.completed", "batch.cancelled", "workflow.succeeded"})
"""Ends that nothing undoes; after others there may be a redrive, or a retry of a workflow."""
AGAIN: dict[Kind, str] = {"batch": "redriven", "job": "redriven", "workflow": "retried"}
"""The last part of the type of the event after which something goes on that had ended."""


class Ended(Struct, frozen=True):
    """The place in the log of the event that ended a job, batch or workflow, and the status since."""

    sequence: int
    status: str


async def find_end(edge: Edge, last: Recorded) -> Ended | None:
    """Return the end that stands, given the newest event of one of these; None if it has not ended."""
    type_ = event_type(last.event)
    if type_ in ENDS:
        return Ended(last.sequence, type_.partition(".")[2])
    kind = KINDS[type(last.event)]
    # There may be many events before it, of which only these tell.
    if kind == "workflow":
        statuses: list[str] = sorted(ENDED_WORKFLOW)
    elif isinstance(last.event, BatchCollected):
        statuses = sorted(ENDED_BATCH)
    else:
        return None
    names = [*statuses, AGAIN[kind]]
    *ends, again = await asyncio.gather(*(edge.log.sequence_on(_subject(last.event, name)) for name in names))
    sequence, status = max(zip(ends, statuses, strict=True))
    return Ended(sequence, status) if sequence > again else None


async def stands(edge: Edge, end: Recorded) -> bool:
    """Say whether nothing has undone the end of a job, batch or workflow since an event ended it."""
    if event_type(end.event) in FINAL:
        return True
    name = AGAIN[KINDS[type(end.event)]]
    return await edge.log.sequence_on(_subject(end.event, name)) < end.sequence


def _subject(event: Event, name: str) -> str:
    """Return where another event of the same one is stored, by the last part of its type."""
    parts = event_subject(event).split(".")
    parts[4] = name
    return ".".join(parts)
