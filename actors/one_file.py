"""Reads one file of a batch in a process of its own, while the batch's reader is in another."""

import asyncio
from collections.abc import Callable

from actors.batch_log import BatchLog
from actors.file_reader import FileReader
from actors.flight import Flight
from actors.reader import TELL_SECONDS
from events.ids import place_in_batch
from events.jetstream.payloads import Payloads
from events.sources import Connection as SourceConnection
from rota.follow import Follower
from rota.jetstream import Connection
from rota.pull import delivery


async def read_one_file(
    connection: Connection,
    sources: Callable[[], dict[str, SourceConnection]],
    batch: str,
    index: int,
    max_jobs: int,
) -> None:
    """Read a file to its end, unless the batch ends before; the batch's events say how far it was read already."""
    log = BatchLog(connection, batch, caller="reader")
    state, sequence = await log.state()
    if state is None or state.status != "reading" or state.files[index].finished:
        return
    begun, after = state.files[index], sequence
    flight = Flight(max_jobs, begun.jobs, {index: begun.jobs})
    if begun.found or begun.jobs:
        # Another reader may have scheduled more jobs than it told of; only the log knows which have ended.
        after = await log.opened_at()
    reader = FileReader(
        batch, state.details, sources=sources, payloads=Payloads(connection), flight=flight, send=log.send
    )
    async with log.follow(after) as follower:
        reading = asyncio.create_task(reader.run(index, begun), name=f"read {batch} {index}")
        ended = asyncio.create_task(_follow(follower, batch, index, flight, sequence), name=f"follow {batch}")
        try:
            await asyncio.wait([reading, ended], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (reading, ended):
                task.cancel()
            await asyncio.wait([reading, ended])
    for task in (reading, ended):
        if not task.cancelled():
            task.result()


async def _follow(follower: Follower, batch: str, index: int, flight: Flight, seen: int) -> None:
    """Note the file's jobs that end, until the batch has failed after the sequence that was seen."""
    while True:
        for message in await follower.take(timeout=TELL_SECONDS):
            _, _, kind, id_, name, *_ = message.subject.split(".")
            if kind == "batch" and name in ("failed", "cancelled"):
                if delivery(message).sequence > seen:
                    return
                continue
            if kind == "job" and (place := place_in_batch(id_, batch)) and place[0] == index:
                flight.ended(place)
