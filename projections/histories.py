"""The histories in the log, checked event by event: each is whole, in order, and leads to a state."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from events.base import Kind
from events.batch import BatchRedriven
from events.batch_results import BatchCollected
from events.catalog import AGGREGATES, KINDS, AnyEvent, encode
from events.job import JobRedriven
from events.log import LogTrimmed
from events.workflow import (
    WorkflowAttemptExpired,
    WorkflowJobCancelled,
    WorkflowJobFailed,
    WorkflowJobStarted,
    WorkflowJobSucceeded,
    WorkflowJobTimedOut,
    WorkflowPart,
    WorkflowRetried,
)
from events.workflow_state import WorkflowState
from projections.prefix import Stored
from projections.sqlite import Row, connect, transaction
from rota.extension import LogFault
from rota.protocol import ENDED_BATCH, ENDED_JOB
from rota.workflow_protocol import ENDED_WORKFLOW

MAX_OPEN = 50_000
"""Aggregates whose state is in memory; more go to a file, as all do that have ended."""

ENDED: frozenset[str] = ENDED_JOB | ENDED_BATCH | ENDED_WORKFLOW
FINAL = ("job", "succeeded")
"""An end after which nothing follows.

Others may be redriven or retried, results of batches be collected at any time, and jobs of workflows go on for
which defaults stand.
"""
LATE = (
    WorkflowAttemptExpired,
    WorkflowJobCancelled,
    WorkflowJobFailed,
    WorkflowJobStarted,
    WorkflowJobSucceeded,
    WorkflowJobTimedOut,
)
"""What is told of these."""

SCHEMA = """
    CREATE TABLE histories (
        kind TEXT NOT NULL,
        id TEXT NOT NULL,
        version INTEGER NOT NULL,
        sequence INTEGER NOT NULL,
        ended INTEGER NOT NULL,
        state BLOB,
        gap INTEGER,
        after INTEGER NOT NULL,
        PRIMARY KEY (kind, id)
    ) WITHOUT ROWID
"""
FIND = "SELECT version, sequence, ended, state, gap, after FROM histories WHERE kind = ? AND id = ?"
KEEP = "INSERT OR REPLACE INTO histories VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
BROKEN = "SELECT kind, id, sequence, gap, after FROM histories WHERE gap IS NOT NULL ORDER BY gap"

Identity = tuple[Kind, str]


class History(Struct):
    """How far an aggregate's history was read."""

    version: int = 0
    sequence: int = 0
    ended: bool = False
    state: Any = None
    """None if it has ended for good, or if it cannot be known."""
    gap: int | None = None
    """Sequence of the first event that is not the next one after the one before it."""
    after: int = 0
    """The version before the gap; 0 if the beginning is missing."""

    @property
    def at_rest(self) -> bool:
        """Whether most of its like get no more events."""
        return self.ended or self.state is None


class Histories:
    """All histories; what does not fit into memory is in a file, which is the caller's to remove.

    Where events were removed after what they belong to had ended, gaps are no fault; whether that is so is only
    known at the end, since the log says it later.
    """

    def __init__(self, path: Path) -> None:
        self._file = connect(path)
        self._file.execute("PRAGMA synchronous = OFF")
        self._file.execute(SCHEMA)
        self._open: dict[Identity, History] = {}
        self._trimmed_until = 0

    def check(self, stored: Sequence[Stored]) -> Iterator[LogFault]:
        """Take what the log has next, and yield what is wrong with it."""
        touched = {_identity(one.event) for one in stored if one.event}
        self._open |= self._kept(touched - self._open.keys())
        for one in stored:
            if one.event is None:
                yield LogFault(one.sequence, f"the message on {one.subject} is no event: {one.fault}")
            else:
                yield from self._add(one, one.event)
        if len(self._open) > MAX_OPEN:
            self._put_away(list(self._open))
        else:
            self._put_away([identity for identity in touched if self._open[identity].at_rest])

    def finish(self, is_there: Callable[[Kind, str], bool]) -> Iterator[LogFault]:
        """Yield the gaps, but those of what is no longer there because it was removed."""
        self._put_away(list(self._open))
        for kind, id_, last, gap, after in self._file.execute(BROKEN):
            if last > self._trimmed_until or is_there(kind, id_):
                what = f"version {after + 1} is missing" if after else "the beginning is missing"
                yield LogFault(gap, f"{kind} {id_}: {what}")

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _kept(self, identities: Iterable[Identity]) -> dict[Identity, History]:
        """Return what the file has of these aggregates."""
        rows = ((identity, self._file.execute(FIND, identity).fetchone()) for identity in sorted(identities))
        return {identity: _unpack(identity[0], row) for identity, row in rows if row}

    def _put_away(self, identities: Iterable[Identity]) -> None:
        # In the order of the file.
        rows = [(*identity, *_pack(self._open.pop(identity))) for identity in sorted(identities)]
        with transaction(self._file, "IMMEDIATE"):
            self._file.executemany(KEEP, rows)

    def _add(self, one: Stored, event: AnyEvent) -> Iterator[LogFault]:
        kind, id_ = identity = _identity(event)
        if not one.subject.startswith(f"rota.event.{kind}.{id_}."):
            yield LogFault(one.sequence, f"{kind} {id_}: its event stands on {one.subject}")
        if isinstance(event, LogTrimmed):
            self._trimmed_until = event.until
        history = self._open.setdefault(identity, History())
        version = event.originator_version
        if version <= history.version:
            yield LogFault(one.sequence, f"{kind} {id_}: version {version} comes again")
            return
        if version > history.version + 1:
            if history.gap is None:
                history.gap, history.after = one.sequence, history.version
            history.state = None
        elif history.ended and not _may_follow(event, history.state):
            yield LogFault(one.sequence, f"{kind} {id_}: version {version} comes after its end")
        elif version == 1 or history.state is not None:
            try:
                history.state = AGGREGATES[kind].evolve(history.state, event)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is what is looked for
                history.state = None
                yield LogFault(one.sequence, f"{kind} {id_}: version {version} leads to no state: {error!r}")
            status = getattr(history.state, "status", None)
            history.ended = status in ENDED
            if (kind, status) == FINAL:
                history.state = None
        history.version, history.sequence = version, one.sequence


def _may_follow(event: AnyEvent, state: Any) -> bool:
    """Say whether an event may come after the end that a state tells of."""
    if state is None:
        return False
    match event:
        case BatchRedriven():
            return state.status in ("failed", "completed_with_failures")
        case JobRedriven():
            return state.status in ("failed", "timed_out", "cancelled")
        case WorkflowRetried():
            return state.status in ("partly_failed", "failed", "timed_out", "cancelled")
        case WorkflowPart():
            return isinstance(event, LATE) and _runs(state, event)
        case _:
            return isinstance(event, BatchCollected)


def _runs(state: WorkflowState, event: WorkflowPart) -> bool:
    """Say whether a job of a workflow, or a run, goes on."""
    job = state.jobs[event.job] if event.job < len(state.jobs) else None
    if job is None or event.run is None or job.fan_out is None:
        return job is not None and job.part.alive
    return event.run < len(job.fan_out.runs) and job.fan_out.runs[event.run].alive


def _identity(event: AnyEvent) -> Identity:
    return KINDS[type(event)], event.originator_id


def _pack(history: History) -> Row:
    state = None if history.state is None else encode(history.state)
    return (history.version, history.sequence, history.ended, state, history.gap, history.after)


def _unpack(kind: Kind, row: Row) -> History:
    version, sequence, ended, state, gap, after = row
    known = None if state is None else msgspec.msgpack.decode(state, type=AGGREGATES[kind].state)
    return History(version, sequence, bool(ended), known, gap, after)
