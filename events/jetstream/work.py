"""The work of jobs that wait, and the timers, made anew from the log.

The server fills ROTA_WORK from `job.queued`. It knows by the messages in it how far it has come, so that a copy
made while it was empty would hand out all jobs of the past again. So the stream gets what waits, and only then its
source, which begins after the end that the log has now.
"""

import asyncio
import json
from collections.abc import Iterable

from msgspec import DecodeError

from events.base import event_id
from events.catalog import decode_event
from events.jetstream.bus import Bus
from events.jetstream.direct import scan
from events.jetstream.log import Log
from events.jetstream.repository import load_state
from events.jetstream.requests import read_commands
from events.jetstream.snapshots import Snapshots
from events.jetstream.timers import set_timer
from events.jetstream.topology import COMMANDS, EVENTS, SNAPSHOTS, STREAMS, WORK
from events.job import JobAttemptFailed, JobQueued, JobScheduled, ReleaseJob
from events.workflow import AdvanceWorkflow
from events.workflow_progress import has_more
from events.workflow_timers import timers
from rota.jetstream import STREAM_NOT_FOUND, Connection, JetStreamError, Message, Msg
from rota.protocol import FailJob, SucceedJob
from rota.replay import Replay

JOBS = "rota.event.job.>"
WORKFLOWS = "rota.event.workflow.>"
REPORTS = ("rota.command.*.job.*.succeed", "rota.command.*.job.*.fail")
QUEUED = frozenset({"queued"})
SCHEDULED = frozenset({"attempt_failed", "scheduled"})
"""The events after which a job waits for its time."""
ENDED = frozenset({"cancelled", "failed", "partly_failed", "succeeded", "timed_out"})
BEGUN = frozenset({"retried", "scheduled"})
"""The events of a workflow after which it is at work."""
AT_A_TIME = 100

Attempt = tuple[str, int]


async def make_work(connection: Connection) -> int:
    """Make ROTA_WORK with all jobs that are queued or running, oldest first; return how many there are.

    It must not exist, and no command may be carried out meanwhile. Jobs are left out whose reports wait among the
    commands. If it is interrupted, the stream is there without its source, and no process of Rota starts.
    """
    found, end = await _after(connection, JOBS, QUEUED, SCHEDULED | ENDED)
    queued = sorted(found.values())
    reported = await _reported(connection)
    source = STREAMS[WORK]["sources"][0] | {"opt_start_seq": end + 1}
    config = {"name": WORK, **STREAMS[WORK]}
    await connection.call(f"STREAM.CREATE.{WORK}", config | {"subjects": ["rota.work.>"], "sources": []})
    count = 0
    for start in range(0, len(queued), AT_A_TIME):
        made = await asyncio.gather(
            *(_work(connection, sequence, reported) for sequence in queued[start : start + AT_A_TIME])
        )
        messages = [message for message in made if message]
        await connection.publish_each(messages)
        count += len(messages)
    await connection.call(f"STREAM.UPDATE.{WORK}", config | {"subjects": [], "sources": [source]})
    return count


async def make_timers(connection: Connection) -> int:
    """Set the timers of all that waits for a time, which replaces those that are there; return how many.

    These are jobs that are due later, and the time limits of workflows at work.
    """
    scheduled, _ = await _after(connection, JOBS, SCHEDULED, QUEUED | ENDED)
    sequences = list(scheduled.values())
    for start in range(0, len(sequences), AT_A_TIME):
        some = sequences[start : start + AT_A_TIME]
        await asyncio.gather(*(_set_timer(connection, sequence) for sequence in some))
    at_work, _ = await _after(connection, WORKFLOWS, BEGUN, ENDED)
    return len(sequences) + sum([await _set_limits(connection, id_) for id_ in sorted(at_work)])


async def mend(connection: Connection) -> tuple[int, int]:
    """Make the work and the timers anew, when a power cut may have cost some; return how many there are.

    Snapshots are forgotten: they may be of events that are lost. No process of Rota may run. It may be interrupted,
    and done again.
    """
    await connection.call(f"STREAM.PURGE.{SNAPSHOTS}")
    try:
        await connection.call(f"STREAM.DELETE.{WORK}")
    except JetStreamError as error:
        if error.code != STREAM_NOT_FOUND:
            raise
    return await make_work(connection), await make_timers(connection)


async def _after(
    connection: Connection, subjects: str, into: frozenset[str], out: frozenset[str]
) -> tuple[dict[str, int], int]:
    """Return where in the log something has come into a state which it has not left, by ids, and the log's end."""
    there: dict[str, int] = {}
    async with Replay(connection, [subjects]) as replay:
        while messages := await replay.take():
            for sequence, message in messages:
                _, _, _, id_, name, *_ = message.subject.split(".")
                if name in into:
                    there[id_] = sequence
                elif name in out:
                    there.pop(id_, None)
        return there, replay.log.last


async def _reported(connection: Connection) -> set[Attempt]:
    """Return the attempts whose ends are known to commands that wait."""
    reported: set[Attempt] = set()
    for subject in REPORTS:
        async for message in scan(connection, COMMANDS, subject):
            try:
                commands = read_commands(message)
            except (DecodeError, OverflowError, RecursionError):
                continue  # a shard will say so
            reported |= _attempts(commands)
    return reported


def _attempts(commands: Iterable[object]) -> set[Attempt]:
    return {(command.id, command.attempt) for command in commands if isinstance(command, SucceedJob | FailJob)}


async def _work(connection: Connection, sequence: int, reported: set[Attempt]) -> Message | None:
    """Return the message that hands out a job, as the server would make it of the event."""
    message = await _read(connection, sequence)
    headers = message.headers or {}
    event = decode_event(message.data)
    if not isinstance(event, JobQueued) or (event.originator_id, event.attempt) in reported:
        return None
    *_, queue, priority, spec = headers["Nats-Subject"].split(".")
    facts = {name: value for name, value in headers.items() if name.startswith("ce-")}
    return Message(f"rota.work.{queue}.{priority}.{spec}.{event.originator_id}", message.data, facts)


async def _set_timer(connection: Connection, sequence: int) -> None:
    match event := decode_event((await _read(connection, sequence)).data):
        case JobScheduled():
            release = ReleaseJob(id=event.originator_id, attempt=1)
            await set_timer(connection, release, event.run_at, event_id(event))
        case JobAttemptFailed():
            release = ReleaseJob(id=event.originator_id, attempt=event.attempt + 1)
            await set_timer(connection, release, event.retry_at, event_id(event))


async def _set_limits(connection: Connection, workflow: str) -> int:
    """Set the timers of a workflow, and have it go on; return how many timers that were."""
    state, sequence = await load_state(Log(connection), Snapshots(connection), "workflow", workflow)
    if not sequence:
        return 0
    due = list(timers(workflow, state))
    for timer in due:
        await set_timer(connection, timer.command, timer.due, f"{workflow}.{state.version}")
    if has_more(state):
        # It had asked itself to go on, and what it asked may be lost.
        await Bus(connection).send([AdvanceWorkflow(id=workflow)], caller="mend")
    return len(due)


async def _read(connection: Connection, sequence: int) -> Msg:
    return await connection.request(f"$JS.API.DIRECT.GET.{EVENTS}", json.dumps({"seq": sequence}).encode())
