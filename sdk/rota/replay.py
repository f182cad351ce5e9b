"""The event log, read from NATS: what has happened, in its order, each event once."""

import asyncio
import json
import logging
import secrets
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Self

from msgspec import Struct

from rota.errors import ConflictError, NotFoundError, RotaError, UnavailableError
from rota.jetstream import STREAM_NOT_FOUND, Connection, JetStreamError, Msg, until_available
from rota.pull import Pull, delivery

EVENTS = "ROTA_EVENTS"
ALL_EVENTS = "rota.event.>"
CREDIT = 4000
SILENCE_SECONDS = 2.5
"""After this silence a replay asks whether the server has anything left to send."""
GONE_SECONDS = 60

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
    name = _consumer_name()
    info = await _create(connection, name, {"deliver_policy": "by_start_time", "opt_start_time": start})
    await _delete(connection, name)
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
        subjects: Sequence[str] = (ALL_EVENTS,),
        *,
        after: int = 0,
        up_to: int | None = None,
    ) -> None:
        self._connection = connection
        self._subjects = list(subjects)
        self._up_to = up_to
        self.position = after
        """Sequence of the last message that was handed out, or where it began."""
        self._received = after
        self._name = _consumer_name()
        self._order = 0
        self._left = 0
        """How many messages the server had left when it was last heard of."""
        self._broken = False
        self._waiting: list[tuple[int, Msg]] = []
        self._arrived = asyncio.Event()

    async def __aenter__(self) -> Self:
        self.log = await extent(self._connection)
        self.end = self.log.last if self._up_to is None else min(self._up_to, self.log.last)
        """Nothing beyond this sequence is handed out."""
        await self._create()
        self._pull = Pull(self._connection, EVENTS, self._name, self._receive, credit=CREDIT)
        self._connection.on_reconnect.add(self._break)
        await self._pull.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._connection.on_reconnect.discard(self._break)
        await self._pull.__aexit__(*exc)
        await _delete(self._connection, self._name)

    async def take(self) -> list[tuple[int, Msg]]:
        """Return the messages that have come with their sequences, at least one; none at the end."""
        while not self._waiting:
            if self._broken:
                await until_available(self._begin_again)
                continue
            if self._received >= self.end or not self._left:
                return []
            self._arrived.clear()
            try:
                async with asyncio.timeout(SILENCE_SECONDS):
                    await self._arrived.wait()
            except TimeoutError:
                await self._look()
        taken, self._waiting = self._waiting, []
        self._pull.free(len(taken))
        if taken[-1][0] > self.end:
            taken = [one for one in taken if one[0] <= self.end]
        if taken:
            self.position = taken[-1][0]
        return taken

    def _receive(self, message: Msg) -> None:
        place = delivery(message)
        if place.consumer == self._name and place.order == self._order + 1:
            self._order += 1
            self._received = place.sequence
            self._left = _left(message)
            self._waiting.append((place.sequence, message))
        else:
            # From the consumer before, or the first after a loss.
            self._broken = self._broken or place.consumer == self._name
            self._pull.free()
        self._arrived.set()

    def _break(self) -> None:
        # What was on its way when the connection broke is lost, and perhaps nothing comes that would show it.
        self._broken = True
        self._arrived.set()

    async def _look(self) -> None:
        """Find out why nothing comes: it may have been lost on its way, or removed from the log."""
        try:
            info = await self._connection.call(f"CONSUMER.INFO.{EVENTS}.{self._name}")
        except JetStreamError:
            self._broken = True
        except UnavailableError as error:
            log.warning("%s; the replay goes on when it does", error)
        else:
            self._broken = info["delivered"]["consumer_seq"] != self._order
            self._left = info["num_pending"]

    async def _begin_again(self) -> None:
        self._broken = False
        log_now = await extent(self._connection)
        if log_now.origin != self.log.origin or log_now.last < self._received:
            raise ConflictError(
                f"NATS has lost the log after sequence {self.position}; what it has now is another one"
            )
        await _delete(self._connection, self._name)
        # Under another name, so that what the one before has sent is told apart.
        self._name = _consumer_name()
        self._order = 0
        await self._create()
        self._pull.aim(self._name)

    async def _create(self) -> None:
        config = {
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": self._received + 1,
            "filter_subjects": self._subjects,
        }
        info = await _create(self._connection, self._name, config)
        self._left = info["num_pending"]


def _consumer_name() -> str:
    return f"replay-{secrets.token_hex(8)}"


async def _create(connection: Connection, name: str, config: dict[str, Any]) -> dict[str, Any]:
    ephemeral = {
        "name": name,
        "ack_policy": "none",
        "mem_storage": True,
        "inactive_threshold": GONE_SECONDS * 1_000_000_000,
    }
    body = {"stream_name": EVENTS, "config": ephemeral | config}
    return await connection.call(f"CONSUMER.CREATE.{EVENTS}.{name}", body)


async def _delete(connection: Connection, name: str) -> None:
    with suppress(RotaError):
        await connection.call(f"CONSUMER.DELETE.{EVENTS}.{name}")


def _left(message: Msg) -> int:
    """Return how many messages the consumer had left: the ninth token of `$JS.ACK…`, see `rota.pull.delivery`."""
    tokens = message.reply.split(".")
    return int(tokens[8 if len(tokens) == 9 else 10])  # noqa: PLR2004 - the two lengths of the format


async def _found(connection: Connection, query: dict[str, Any]) -> int:
    answer = await connection.request(f"$JS.API.DIRECT.GET.{EVENTS}", json.dumps(query).encode())
    return int((answer.headers or {}).get("Nats-Sequence", "0"))
