"""Reads some files of a batch in a process of its own, while the batch's reader is in another."""

import asyncio
from collections.abc import Callable, Iterator, Sequence

from actors.batch_log import STEERING, TELL_SECONDS, BatchLog
from actors.file_reader import FileReader
from actors.flight import Flight, readers_of, share_of
from events.batch_state import BatchState
from events.sources import Connection as SourceConnection
from rota.follow import Follower
from rota.jetstream import Connection
from rota.pull import delivery

STOPS = frozenset({"failed", "cancelling", "cancelled"})
"""What ends the reading, by the names of the batch's events."""


async def read_some_files(
    connection: Connection,
    sources: Callable[[], dict[str, SourceConnection]],
    batch: str,
    indexes: Sequence[int],
    max_jobs: int,
) -> None:
    """Read files to their end, unless one of them fails or the batch ends before.

    The batch's events say how far they were read already.
    """
    log = BatchLog(connection, batch, caller="reader")
    state, sequence = await log.state()
    if state is None or state.status != "reading":
        return
    unread = {index: state.files[index] for index in indexes if not state.files[index].finished}
    if not unread:
        return
    known, after = {index: file.jobs for index, file in unread.items()}, sequence
    limits = _limits(state) | {"max_jobs": max_jobs}
    # Ends of jobs that nobody told of are seen: in that case the whole log of the batch's jobs is followed.
    flight = Flight(before=sum(known.values()), known=known, paused=state.paused, early=(), **limits)
    if any(file.found or file.jobs for file in unread.values()):
        # Another reader may have scheduled more jobs than it told of; only the log knows which have ended.
        after = await log.opened_at()
    reader = FileReader(log, state.details, sources=sources, connection=connection, flight=flight)
    turns: Iterator[int] = iter(unread)
    async with log.follow(after, STOPS | STEERING) as follower:
        reading = asyncio.create_task(
            reader.run_each(lambda: next(turns, None), state.files), name=f"read files of {batch}"
        )
        ended = asyncio.create_task(
            _follow(follower, log, frozenset(unread), flight, sequence), name=f"follow {batch}"
        )
        try:
            await asyncio.wait([reading, ended], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (reading, ended):
                task.cancel()
            await asyncio.wait([reading, ended])
    for task in (reading, ended):
        if not task.cancelled():
            task.result()


async def _follow(follower: Follower, log: BatchLog, mine: frozenset[int], flight: Flight, seen: int) -> None:
    """Note the files' jobs that end, and go on as the batch wishes, until it stops after the sequence seen."""
    while True:
        for message in await follower.take(timeout=TELL_SECONDS):
            _, _, kind, _, name, *_ = message.subject.split(".")
            if kind == "job":
                place = log.place_of(message)
                if place is None or place[0] not in mine:
                    continue
                if name == "redriven":
                    flight.redriven(place)
                else:
                    flight.ended(place)
            elif delivery(message).sequence <= seen:
                continue
            elif name in STOPS:
                return
            else:
                state = await log.known_state()
                flight.adapt(paused=state.paused, **_limits(state))


def _limits(state: BatchState) -> dict[str, int]:
    """Return this reader's share, as the batch's lead shares out what the batch may have in flight."""
    return share_of(state.details, readers_of(state.details, sum(not file.finished for file in state.files)))
