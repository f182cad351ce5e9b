"""What the tests of workflows share: workflows as they are scheduled, and jobs for them."""

import asyncio
import secrets
import time
from collections.abc import Sequence
from typing import Any

import msgspec

import rota
from events.base import Event
from events.catalog import encode
from events.ids import new_group
from events.job import JobSucceeded
from events.references import Reference, references
from events.workflow import ScheduleWorkflow, WorkflowDetails, WorkflowEnded, WorkflowJob
from events.workflow_ids import job_id
from rota.jobs import Job
from tests.integration.write_side import ONCE, WAIT_SECONDS, WriteSide


@rota.job(retry=ONCE)
async def give(value: Any = None) -> Any:
    """Return what it is given."""
    return value


@rota.job(retry=ONCE)
async def refuse(value: Any = None, why: str = "no") -> None:
    """Fail."""
    raise ValueError(why)


@rota.job(retry=ONCE)
async def choose(value: int, refused: list[int]) -> int:
    """Fail for some values."""
    if value in refused:
        raise ValueError(f"{value} is refused")
    return value


@rota.job(retry=ONCE)
async def rest(seconds: float, value: Any = None) -> Any:
    """Take time."""
    await asyncio.sleep(seconds)
    return value


KINDS: list[Job[Any, Any]] = [give, refuse, choose, rest]


def job(name: str, spec: str = "give", inputs: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
    """Return a job whose dependencies are yet to be found out."""
    return {"name": name, "spec": spec, "inputs": inputs or {}, **options}


def workflow(*jobs: dict[str, Any], params: Any = None, **options: Any) -> WorkflowDetails:
    """Return a workflow as the gateway would make it."""
    numbers = {one["name"]: number for number, one in enumerate(jobs)}
    made = []
    for one in jobs:
        options_ = dict(one)
        after = tuple(numbers[name] for name in options_.pop("after", ()))
        values = [options_["inputs"], options_.get("for_each"), options_.get("files_from")]
        found = {ref.source for value in values for _, ref in references(value) if isinstance(ref, Reference)}
        needs = tuple(sorted(numbers[name] for name in found if name in numbers))
        options_["inputs"] = msgspec.Raw(encode(options_["inputs"]))
        for field in ("defaults", "for_each", "files_from"):
            if field in options_:
                options_[field] = msgspec.Raw(encode(options_[field]))
        made.append(WorkflowJob(**{"queue": "default", "retry": ONCE, "needs": needs, "after": after, **options_}))
    if params is not None:
        options["params"] = msgspec.Raw(encode(params))
    return WorkflowDetails(name="test", jobs=tuple(made), **options)


async def schedule(write_side: WriteSide, details: WorkflowDetails) -> str:
    id_ = new_group(time.time_ns() // 1_000_000, secrets.token_bytes(10))
    await write_side.send(ScheduleWorkflow(id=id_, details=details))
    return id_


async def ended(write_side: WriteSide, id_: str, *, times: int = 1) -> list[Any]:
    """Return the events of a workflow when it has ended so often."""
    ends = ("succeeded", "partly_failed", "failed", "timed_out", "cancelled")
    subjects = [f"rota.event.workflow.{id_}.{end}" for end in ends]
    async with asyncio.timeout(WAIT_SECONDS), write_side.log.follow(subjects) as follower:
        count = 0
        while count < times:
            count += len(await follower.take())
    return [one.event for one in await write_side.log.load("workflow", id_)]


async def run(write_side: WriteSide, details: WorkflowDetails) -> tuple[str, list[Any]]:
    id_ = await schedule(write_side, details)
    return id_, await ended(write_side, id_)


async def output(write_side: WriteSide, id_: str, number: int, part: int | None = None) -> Any:
    """Return what a job has returned."""
    last = await write_side.log.last("job", job_id(id_, number, part))
    assert last
    assert isinstance(last.event, JobSucceeded), last.event
    return msgspec.msgpack.decode(last.event.result.value)


def of(events: Sequence[Event], kind: type[Event]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def end(events: Sequence[Event]) -> str:
    """Return how a workflow has ended last."""
    return type(of(events, WorkflowEnded)[-1]).__name__.removeprefix("Workflow")
