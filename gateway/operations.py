"""What can be asked of Rota, however it is asked: HTTP and the NATS service are two thin skins over this."""

import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import reduce
from typing import Any

import msgspec

from events.catalog import AnyCommand
from events.ids import keyed_group, new_group
from events.jetstream.log import Recorded
from events.jetstream.status import Watch
from events.job import JOB, CancelJob, JobCancelled, JobEnded, JobFailed, JobSucceeded, JobTimedOut
from gateway.callers import Asker
from gateway.edge import Edge
from gateway.lookup import find, find_specs
from gateway.messages import CommandResponse, JobResult, SpecRequest
from gateway.problems import Faults
from gateway.repeats import check_jobs
from gateway.translate import job_commands
from rota.errors import BY_SLUG, ConflictError, RotaError
from rota.protocol import ENDED_JOB, JobFault, JobRequest, JobStatus, RegisterSpec, Result

ASK_SECONDS = 2.0
"""How long a shard's answer is waited for; the command is stored all the same."""


async def schedule(edge: Edge, requests: Sequence[JobRequest], asker: Asker, *, listed: bool) -> list[str]:
    """Schedule one job or a list; when it returns the ids, all of them are durable.

    KeyReusedError if a key stands for something else.
    """
    specs = await find_specs(edge, (one.spec for one in requests))
    group = group_for(asker, "request")
    commands = job_commands(requests, specs, edge.schemas, group, datetime.now(UTC), listed=listed)
    await check_jobs(edge, requests, commands, keyed=asker.key is not None, listed=listed)
    await edge.bus.send(commands, caller=asker.caller)
    return [command.id for command in commands]


async def job_result(edge: Edge, id_: str, wait: float) -> JobResult:
    """Return how a job has ended, as soon as it has or the time to wait is over."""
    async with Watch(edge.connection, edge.log, "job", id_) as watch:
        history = (await find(edge, "job", id_)).events
        async with edge.patience(wait):
            while not (history and isinstance(history[-1].event, JobEnded)):
                history += await watch.wait(len(history))
    status = _status(history)
    if status not in ENDED_JOB:
        return JobResult(id=id_, status=status)
    match history[-1].event:
        case JobSucceeded() as event:
            return JobResult(id=id_, status=status, result=await _value(edge, event.result))
        case JobFailed() | JobTimedOut() as event:
            return JobResult(id=id_, status=status, error=event.fault)
        case JobCancelled() as event:
            return JobResult(id=id_, status=status, error=JobFault("Cancelled", event.reason))
    raise RotaError(f"The job {id_} has ended without saying how")


async def cancel_job(edge: Edge, id_: str, reason: str, asker: Asker) -> CommandResponse:
    """Have a job cancelled; ConflictError if it has ended in another way, NotFoundError if there is none."""
    status = _status((await find(edge, "job", id_)).events)
    if status == "cancelled":
        return CommandResponse(id_, "done")
    if status in ENDED_JOB:
        raise ConflictError(f"The job {id_} has ended: {status}")
    return await carry_out(edge, CancelJob(id=id_, reason=reason), asker)


async def register_spec(edge: Edge, request: SpecRequest, asker: Asker) -> CommandResponse:
    """Make a kind of job known; InvalidRequestError if one of its schemas is none."""
    faults = Faults()
    edge.schemas.check_schema(request.params_schema, "#/params_schema", faults)
    edge.schemas.check_schema(request.result_schema, "#/result_schema", faults)
    faults.check()
    return await carry_out(edge, RegisterSpec(**msgspec.structs.asdict(request)), asker)


async def carry_out(edge: Edge, command: AnyCommand, asker: Asker) -> CommandResponse:
    """Send a command and return what became of it; a refusal is raised."""
    outcome = await edge.bus.ask(command, caller=asker.caller, timeout=ASK_SECONDS)
    if outcome is None:
        return CommandResponse(command.id, "accepted")
    if outcome.status == "refused":
        raise BY_SLUG.get(outcome.slug, ConflictError)(outcome.detail)
    if outcome.status == "failed":
        raise RotaError(f"The command could not be carried out and is a dead letter now: {outcome.detail}")
    return CommandResponse(command.id, "done")


def group_for(asker: Asker, kind: str) -> str:
    """Return the group of the ids that a request makes: the same for the same key, else a new one."""
    return keyed_group(kind, "", asker.key) if asker.key else new_group(time.time_ns() // 1_000_000, os.urandom(10))


def _status(history: list[Recorded]) -> JobStatus:
    """Return a job's status after its events; a command that waits counts as scheduled."""
    state = reduce(JOB.evolve, (recorded.event for recorded in history), None)
    return state.status if state else "scheduled"


async def _value(edge: Edge, result: Result) -> Any:
    body = await edge.payloads.get(result.payload) if result.payload else result.value
    return None if body is None else msgspec.msgpack.decode(body)
