"""How far the jobs of a file are scheduled by whoever read it before, where it has told the batch less."""

import asyncio

from actors.flight import Place
from events.batch_state import BatchState
from events.ids import batch_job_id, group_of
from events.jetstream.log import Log
from events.jetstream.topology import COMMANDS
from events.job import JobEnded
from rota.jetstream import Connection, until_available

LOOK_SECONDS = 0.05
LOOKS_AT_ONCE = 100


async def first_unscheduled(connection: Connection, batch: str, file_index: int, known: int) -> int:
    """Return the index of the first job of a file that does not exist; the first `known` do.

    The one who scheduled them must be gone. Jobs are scheduled in order, so that a few are looked at, not all.
    """
    log = Log(connection)
    await until_carried_out(connection, batch, file_index, "schedule")

    async def exists(index: int) -> bool:
        id_ = batch_job_id(batch, file_index, index)
        return await until_available(lambda: log.last("job", id_)) is not None

    low, step = known, 1
    while await exists(low + step - 1):
        low, step = low + step, step * 2
    high = low + step - 1
    while low < high:
        middle = (low + high) // 2
        if await exists(middle):
            low = middle + 1
        else:
            high = middle
    return low


async def ended_untold(connection: Connection, batch: str, state: BatchState) -> dict[Place, int]:
    """Return the jobs that the batch was not told of and that have ended, with the log's sequences of their ends.

    Who scheduled them must be gone, as above.
    """
    log = Log(connection)
    found: dict[Place, int] = {}

    async def look(place: Place) -> None:
        last = await until_available(lambda: log.last("job", batch_job_id(batch, *place)))
        if last and isinstance(last.event, JobEnded):
            found[place] = last.sequence

    for index, file in enumerate(state.files):
        if not file.found or file.finished:
            continue
        jobs = await first_unscheduled(connection, batch, index, file.jobs)
        for start in range(file.jobs, jobs, LOOKS_AT_ONCE):
            await asyncio.gather(*(look((index, job)) for job in range(start, min(start + LOOKS_AT_ONCE, jobs))))
    return found


async def until_carried_out(connection: Connection, batch: str, file_index: int, verb: str) -> None:
    """Wait until no command of this verb waits for the jobs of a file."""
    waiting = f"rota.command.*.job.{group_of(batch_job_id(batch, file_index, 0))}.{verb}"

    async def wait() -> None:
        while True:
            info = await connection.call(f"STREAM.INFO.{COMMANDS}", {"subjects_filter": waiting})
            if not info["state"].get("subjects"):
                return
            await asyncio.sleep(LOOK_SECONDS)

    await until_available(wait)
