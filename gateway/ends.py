"""How a job or batch has ended, whatever was told of it after that."""

import asyncio

from msgspec import Struct

from events.base import Event
from events.batch_results import BatchCollected
from events.jetstream.log import Recorded
from events.subjects import event_subject
from gateway.edge import Edge
from gateway.frames import event_type
from rota.protocol import ENDED_BATCH, ENDED_JOB

JOB_ENDS = frozenset(f"job.{status}" for status in ENDED_JOB)
ENDS = JOB_ENDS | {f"batch.{status}" for status in ENDED_BATCH}
FINAL = frozenset({"job.succeeded", "batch.completed", "batch.cancelled"})
"""Ends that nothing undoes; after others there may be a redrive."""


class Ended(Struct, frozen=True):
    """The place in the log of the event that ended a job or batch, and the status since."""

    sequence: int
    status: str


async def find_end(edge: Edge, last: Recorded) -> Ended | None:
    """Return the end that stands, given the newest event of a job or batch; None if it has not ended."""
    type_ = event_type(last.event)
    if type_ in ENDS:
        return Ended(last.sequence, type_.partition(".")[2])
    if not isinstance(last.event, BatchCollected):
        return None
    # There may be many events before it, of which only these tell.
    statuses = sorted(ENDED_BATCH)
    names = [*statuses, "redriven"]
    *ends, redriven = await asyncio.gather(*(edge.log.sequence_on(_subject(last.event, name)) for name in names))
    sequence, status = max(zip(ends, statuses, strict=True))
    return Ended(sequence, status) if sequence > redriven else None


async def stands(edge: Edge, end: Recorded) -> bool:
    """Say whether a job or batch that an event ended has not been redriven since."""
    if event_type(end.event) in FINAL:
        return True
    return await edge.log.sequence_on(_subject(end.event, "redriven")) < end.sequence


def _subject(event: Event, name: str) -> str:
    """Return where another event of the same job or batch is stored, by the last part of its type."""
    parts = event_subject(event).split(".")
    parts[4] = name
    return ".".join(parts)
