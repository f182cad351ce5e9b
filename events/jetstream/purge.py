"""Removing what had ended from the streams, once `log.trimmed` has said that it goes."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

from msgspec import Struct

from events.base import Kind
from events.jetstream.topology import CHUNKS, EVENTS, PAYLOADS, RESULTS, RESULTS_FILES, SNAPSHOTS
from events.subjects import (
    aggregate_filter,
    chunks_filter,
    result_subject,
    results_file_filter,
    rows_filter,
    snapshot_subject,
)
from rota.jetstream import Connection, JetStreamError

ALL = "*"
"""In place of an id: all aggregates of a kind."""

STEP = 50_000
"""Sequences that are purged at a time: meanwhile the server takes no events, for about 0.1 s."""

PATIENCE_SECONDS = 30.0

NOT_THERE = frozenset({10043, 10057})
"""The message is not there, since it was removed before; the second if it stood before all that are left."""

Call = tuple[str, dict[str, Any]]


class Removed(Struct, frozen=True):
    """An aggregate, or all of a kind, whose events from one sequence of the log to another go."""

    number: int
    kind: Kind
    id: str
    first: int
    """0 if it is not known."""
    last: int
    events: int
    """How many there are; 0 if others stand for their removal."""
    large_result: bool = False


async def purge(connection: Connection, removed: Sequence[Removed]) -> None:
    """Remove events, oldest first, after the snapshots and large results; what is gone already does no harm.

    An aggregate whose newest events alone are left has ended in each fold, or is not in it; in a rebuild the latter
    is not found again, and stays until all older jobs have gone. A purge that was killed leaves one at most.
    A job of two events, as most are, goes by their sequences: that costs the server a tenth of a purge by subject.
    """
    beside = [call for one in removed for call in _beside(one)]
    two = [one for one in removed if one.kind == "job" and one.events == 2]  # noqa: PLR2004
    more = [one for one in removed if one.events and one not in two]
    older = [_purge_by_subject(EVENTS, aggregate_filter(one.kind, one.id), one.last) for one in more]
    pairs = [_delete(sequence) for one in two for sequence in (one.first, one.last)]
    await _call(connection, [*beside, *older, *pairs])
    for one in removed:
        if one.id == ALL:
            await _purge_all(connection, one)


def _beside(one: Removed) -> Iterator[Call]:
    """Yield what removes the rest of an aggregate: first, since its id may be used again without its events.

    Few jobs have a snapshot, and those go by their age.
    """
    if one.kind in ("batch", "workflow"):
        yield _purge_by_subject(SNAPSHOTS, snapshot_subject(one.kind, one.id))
        # A workflow's are the large params of its jobs.
        yield _purge_by_subject(PAYLOADS, rows_filter(one.id))
    if one.kind == "batch":
        yield _purge_by_subject(CHUNKS, chunks_filter(one.id))
        yield _purge_by_subject(RESULTS_FILES, results_file_filter(one.id))
    if one.large_result:
        yield _purge_by_subject(RESULTS, result_subject(one.id))


async def _purge_all(connection: Connection, one: Removed) -> None:
    """Remove all events of a kind in a range, in steps that keep the server from others for a moment only."""
    clock = asyncio.get_running_loop().time
    first = int((await connection.call(f"STREAM.INFO.{EVENTS}"))["state"]["first_seq"])
    for last in [*range(max(first, one.first) + STEP, one.last, STEP), one.last]:
        started = clock()
        await _call(connection, [_purge_by_subject(EVENTS, aggregate_filter(one.kind, ALL), last)])
        await asyncio.sleep(clock() - started)


def _purge_by_subject(stream: str, subject: str, last: int | None = None) -> Call:
    """Return the call that removes what is on a subject, up to a sequence."""
    return f"STREAM.PURGE.{stream}", {"filter": subject} | ({} if last is None else {"seq": last + 1})


def _delete(sequence: int) -> Call:
    return f"STREAM.MSG.DELETE.{EVENTS}", {"seq": sequence, "no_erase": True}


async def _call(connection: Connection, calls: list[Call]) -> None:
    codes = await connection.call_each(calls, timeout=PATIENCE_SECONDS)
    for (name, _), code in zip(calls, codes, strict=True):
        if code and code not in NOT_THERE:
            raise JetStreamError(name, code, "cannot be removed")
