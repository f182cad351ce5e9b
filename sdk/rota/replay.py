"""The event log, read from NATS: what has happened, in its order, each event once."""

import json
import logging
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Self

from msgspec import Struct

from rota.errors import ConflictError, NotFoundError, RotaError, UnavailableError
from rota.follow import Follower, consumer_name, create_consumer, delete_consumer
from rota.jetstream import STREAM_NOT_FOUND, Connection, JetStreamError, Msg, until_available
from rota.pull import delivery

EVENTS = "ROTA_EVENTS"
CONSUMER_PREFIX = "replay"
SILENCE_SECONDS = 2.5
"""After this silence a replay asks whether the server has anything left to send."""

log = logging.getLogger("rota.nats")


class Extent(Struct, frozen=True):
    """What the log has now."""

    origin: str
    """What tells this log from another one under its name: when its stream was made."""
    first: int
    """The first sequence that is there; above 1 if older ones were removed."""
    last: int


async def extent(connection: Connection) -> Extent:
    """Return what the log has now; NotFoundError if there is none."""
    try:
        info = await connection.call(f"STREAM.INFO.{EVENTS}")
    except JetStreamError as error:
        if error.code == STREAM_NOT_FOUND:
            raise NotFoundError("This NATS server has no events of Rota: is it the one that Rota uses?") from error
        raise
    return Extent(info["created"], info["state"]["first_seq"], info["state"]["last_seq"])


async def last_before(connection: Connection, time: datetime) -> int:
    """Return the sequence of the last event that NATS had stored before a time; 0 if there was none."""
    start = time.astimezone(UTC).isoformat().replace("+00:00", "Z")
    name = consumer_name(CONSUMER_PREFIX)
    config = {"deliver_policy": "by_start_time", "opt_start_time": start}
    info = await create_consumer(connection, EVENTS, name, config)
    with suppress(RotaError):
        await delete_consumer(connection, EVENTS, name)
    return int(info["delivered"]["stream_seq"])


async def first_on(connection: Connection, subject: str) -> int:
    """Return the sequence of the first event on a subject, 0 if the log has none."""
    return await _found(connection, {"seq": 1, "next_by_subj": subject})


async def last_on(connection: Connection, subject: str) -> int:
    """Return the sequence of the last event on a subject, 0 if the log has none."""
    return await _found(connection, {"last_by_subj": subject})


class Replay:
    """The log's messages on some subjects, after one sequence and up to another, at most to the end as it is now.

    Take them with `take`. A lost connection and a restarted server only pause it: it goes on after the last message
    that it has handed out. ConflictError if the log is no longer the one that it began with.
    """

    def __init__(
        self,
        connection: Connection,
        subjects: Sequence[str] = (">",),
        *,
        after: int = 0,
        up_to: int | None = None,
    ) -> None:
        self._connection = connection
        self._up_to = up_to
        self.position = after
        """Sequence of the last message that was handed out, or where it began."""
        self._follower = Follower(
            connection, EVENTS, subjects, after=after, check=self._check_log, name=CONSUMER_PREFIX
        )

    async def __aenter__(self) -> Self:
        self.log = await extent(self._connection)
        self.end = self.log.last if self._up_to is None else min(self._up_to, self.log.last)
        """Nothing beyond this sequence is handed out."""
        await self._follower.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._follower.__aexit__(*exc)

    async def take(self) -> list[tuple[int, Msg]]:
        """Return the messages that have come with their sequences, at least one; none at the end."""
        while self._follower.position < self.end and self._follower.behind:
            messages = await until_available(self._next)
            taken = [(delivery(message).sequence, message) for message in messages]
            if taken and taken[-1][0] > self.end:
                taken = [one for one in taken if one[0] <= self.end]
            if taken:
                self.position = taken[-1][0]
                return taken
        return []

    async def _next(self) -> list[Msg]:
        """Return what has come; after some silence none, having found out why."""
        messages = await self._follower.take(timeout=SILENCE_SECONDS)
        if not messages:
            try:
                await self._follower.look()
            except UnavailableError as error:
                log.warning("%s; the replay goes on when it does", error)
        return messages

    async def _check_log(self, received: int) -> None:
        log_now = await extent(self._connection)
        if log_now.origin != self.log.origin or log_now.last < received:
            raise ConflictError(f"NATS has lost the log after sequence {received}; what it has now is another one")


async def _found(connection: Connection, query: dict[str, Any]) -> int:
    answer = await connection.request(f"$JS.API.DIRECT.GET.{EVENTS}", json.dumps(query).encode())
    return int((answer.headers or {}).get("Nats-Sequence", "0"))
