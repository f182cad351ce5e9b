"""The event log, read from NATS: what has happened, in its order."""

import asyncio
import secrets
from collections.abc import AsyncGenerator
from typing import Any

import msgspec

from rota.errors import NotFoundError, UnavailableError
from rota.jetstream import STREAM_NOT_FOUND, Connection, JetStreamError, Msg
from rota.pull import Pull, delivery

EVENTS = "ROTA_EVENTS"
CREDIT = 2000
SILENCE_SECONDS = 10.0


async def logged(connection: Connection, subject: str, after: int) -> AsyncGenerator[dict[str, Any], None]:
    """Yield the events on a subject that stand after a sequence, up to what is the log's end now."""
    consumer = f"replay-{secrets.token_hex(8)}"
    config = {
        "name": consumer,
        "ack_policy": "none",
        "deliver_policy": "by_start_sequence",
        "opt_start_seq": after + 1,
        "filter_subject": subject,
        "mem_storage": True,
        "inactive_threshold": int(SILENCE_SECONDS * 1e9),
    }
    try:
        info = await connection.call(
            f"CONSUMER.CREATE.{EVENTS}.{consumer}", {"stream_name": EVENTS, "config": config}
        )
    except JetStreamError as error:
        if error.code == STREAM_NOT_FOUND:
            raise NotFoundError("This NATS server has no events of Rota: is it the one that Rota uses?") from error
        raise
    arrived: asyncio.Queue[Msg] = asyncio.Queue()
    async with Pull(connection, EVENTS, consumer, arrived.put_nowait, credit=CREDIT) as pull:
        for order in range(1, info["num_pending"] + 1):
            try:
                async with asyncio.timeout(SILENCE_SECONDS):
                    message = await arrived.get()
            except TimeoutError:
                raise UnavailableError(f"NATS has gone silent: go on with --after {after}") from None
            place = delivery(message)
            if place.order != order:
                raise UnavailableError(f"The connection to NATS was lost: go on with --after {after}")
            pull.free()
            yield {"sequence": place.sequence, **msgspec.msgpack.decode(message.data)}
            after = place.sequence
