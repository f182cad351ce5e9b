"""A batch as its readers and their supervisor see it: its state in the log, and what they tell it."""

import logging
from collections.abc import AsyncIterator, Iterable, Sequence

from events.batch_state import BatchState
from events.catalog import AnyCommand, AnyEvent
from events.ids import place_in_batch
from events.jetstream.bus import Bus
from events.jetstream.log import Log
from events.jetstream.repository import load_state
from events.jetstream.snapshots import Snapshots
from events.subjects import ended_jobs_filter, event_on, opened_subject
from rota.errors import RotaError
from rota.follow import Follower
from rota.jetstream import Connection, Msg, until_available

ASK_SECONDS = 10.0
LOOK_SECONDS = 1.0
TELL_SECONDS = 0.5
"""How often readers tell a batch what is new."""
JOBS_A_MESSAGE = 300
"""Commands for jobs that already are, so that other jobs of the shard do not wait long."""
STEERING = frozenset({"paused", "resumed", "changed"})
"""What people ask of a batch at work, by the names of its events."""

log = logging.getLogger("rota.reader")


class BatchLog:
    """One batch in the log; `caller` is who tells it something. While NATS is away, all methods wait."""

    def __init__(self, connection: Connection, batch: str, *, caller: str) -> None:
        self._log = Log(connection)
        self._snapshots = Snapshots(connection)
        self._bus = Bus(connection)
        self.batch = batch
        self._caller = caller

    async def state(self) -> tuple[BatchState | None, int]:
        """Return the batch's state, and the log's sequence of its last event; None if there are no events."""
        return await until_available(lambda: load_state(self._log, self._snapshots, "batch", self.batch))

    async def known_state(self) -> BatchState:
        """Return the batch's state; RotaError if there are no events."""
        state, _ = await self.state()
        if state is None:
            raise RotaError(f"The events of the batch {self.batch} are gone")
        return state

    async def opened_at(self) -> int:
        """Return the log's sequence at which the batch was opened."""
        return await until_available(lambda: self._log.sequence_on(opened_subject(self.batch)))

    async def redriven_at(self) -> int:
        """Return the log's sequence at which the batch was redriven last, 0 if it never was."""
        subject = f"rota.event.batch.{self.batch}.redriven"
        return await until_available(lambda: self._log.sequence_on(subject))

    def follow(self, after: int, names: Iterable[str]) -> Follower:
        """Follow the batch's own events with these names, and the ends of its jobs, without their bodies.

        Of all its events there are two a file, which each of its readers would get.
        """
        own = [event_on("batch", self.batch, name) for name in sorted(names)]
        subjects = [ended_jobs_filter(self.batch), *own]
        return self._log.follow(subjects, after=after, headers_only=True)

    def follow_jobs(self, after: int, names: Sequence[str] = ("*",), *, headers_only: bool = True) -> Follower:
        """Follow what ended its jobs, and `redriven`; `names` are those of the events, as `failed`."""
        subjects = [ended_jobs_filter(self.batch, name) for name in names]
        return self._log.follow(subjects, after=after, headers_only=headers_only)

    def place_of(self, message: Msg) -> tuple[int, int] | None:
        """Return the file and the index of an event's job; None if it only says that it is of this batch."""
        return place_in_batch(message.subject.split(".")[3], self.batch)

    async def events(self) -> list[AnyEvent]:
        """Return all events of the batch itself, oldest first."""
        return [one.event for one in await until_available(lambda: self._log.load("batch", self.batch))]

    async def ask(self, command: AnyCommand) -> None:
        """Send a command that follows from the opening of the batch, and wait until it is carried out."""
        opened = f"{self.batch}.1"
        while (
            await until_available(
                lambda: self._bus.ask(command, timeout=ASK_SECONDS, caller=self._caller, causation_id=opened)
            )
            is None
        ):
            log.warning("batch %s: nobody answers to %s; asking again", self.batch, type(command).__name__)

    async def send(self, commands: Sequence[AnyCommand]) -> None:
        """Send commands that follow from the opening of the batch."""
        opened = f"{self.batch}.1"
        await until_available(lambda: self._bus.send(commands, caller=self._caller, causation_id=opened))


async def caught_up(follower: Follower) -> AsyncIterator[Msg]:
    """Yield what was in the log when following began, or began again after a loss."""
    while follower.behind:
        messages = await follower.take(timeout=LOOK_SECONDS)
        if not messages:
            await follower.look()
        for message in messages:
            yield message
