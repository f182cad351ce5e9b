"""Direct Get: what a stream has on a subject, oldest first, a page at a time."""

import asyncio
from collections.abc import AsyncIterator

import msgspec

from rota.errors import UnavailableError
from rota.jetstream import TIMEOUT_SECONDS, Connection, Msg

PAGE = 500


async def scan(
    connection: Connection, stream: str, subject: str, start: int = 1, *, page: int = PAGE
) -> AsyncIterator[Msg]:
    """Yield the messages from a sequence on whose subject matches; `page` is how many are asked for at a time."""
    more = True
    while more:
        messages, more = await _page(connection, stream, subject, start, page)
        for message in messages:
            yield message
        if messages:
            start = sequence_of(messages[-1]) + 1


def sequence_of(message: Msg) -> int:
    """Return the sequence of a message that was read by Direct Get."""
    return int((message.headers or {})["Nats-Sequence"])


async def get_at(connection: Connection, stream: str, sequence: int) -> Msg | None:
    """Return the message at a sequence, None if it has been removed."""
    query = msgspec.json.encode({"seq": sequence})
    message = await connection.request(f"$JS.API.DIRECT.GET.{stream}", query)
    match (message.headers or {}).get("Status"):
        case None:
            return message
        case "404":
            return None
        case status:
            raise UnavailableError(f"NATS could not read message {sequence} of {stream}: {status}")


async def get_many(connection: Connection, stream: str, query: bytes, what: str) -> tuple[list[Msg], bool]:
    """Return the messages that answer a query for several, and whether there are more; errors name `what`."""
    inbox = connection.client.new_inbox()
    replies: asyncio.Queue[Msg] = asyncio.Queue()
    subscription = await connection.client.subscribe(inbox, cb=replies.put)
    try:
        await connection.send(f"$JS.API.DIRECT.GET.{stream}", query, reply=inbox)
        messages: list[Msg] = []
        while True:
            try:
                async with asyncio.timeout(TIMEOUT_SECONDS):
                    message = await replies.get()
            except TimeoutError as error:
                raise UnavailableError(f"NATS did not answer while {what} was read") from error
            headers = message.headers or {}
            match headers.get("Status"):
                case None:
                    messages.append(message)
                case "204":
                    return messages, int(headers.get("Nats-Num-Pending", "0")) > 0
                case "404":
                    return messages, False
                case status:
                    raise UnavailableError(f"NATS could not read {what}: {status} {headers.get('Description', '')}")
    finally:
        await connection.ignore(subscription)


async def _page(connection: Connection, stream: str, subject: str, start: int, size: int) -> tuple[list[Msg], bool]:
    """Return up to `size` messages, and whether there are more."""
    query = b'{"next_by_subj":"%s","seq":%d,"batch":%d}' % (subject.encode(), start, size)
    return await get_many(connection, stream, query, subject)
