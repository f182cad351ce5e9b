"""A connection to NATS JetStream as Rota's processes use it: requests, and publishes with their ack."""

import asyncio
import json
import logging
import secrets
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Self, TypeVar

import msgspec
import nats
from msgspec import Struct
from nats.aio.msg import Msg as Msg  # noqa: PLC0414 - for those who may not import nats
from nats.aio.subscription import Subscription
from nats.errors import (
    BadSubscriptionError,
    ConnectionClosedError,
    ConnectionDrainingError,
    MaxPayloadError,
    NoRespondersError,
    NoServersError,
    OutboundBufferLimitError,
    StaleConnectionError,
)
from nats.errors import TimeoutError as NatsTimeoutError

from rota.errors import RotaError, TooLargeError, UnavailableError
from rota.wire import Message as Message  # noqa: PLC0414 - part of what this module offers
from rota.wire import WireClient

TIMEOUT_SECONDS = 5.0
RETRY_SECONDS = 0.25
# While the server is away, this much is kept to be sent when it is back.
PENDING_BYTES = 64 * 1024 * 1024

MAX_BATCH = 1000
"""Messages in one atomic batch: the server's limit."""

ACK = b"+ACK"
NAK = b"-NAK"
IN_PROGRESS = b"+WPI"

WRONG_LAST_SEQUENCE = frozenset({10071, 10164})
"""The second is the same refusal where the server cannot name the sequence: inside a batch, or on replicas."""
STREAM_NOT_FOUND = 10059
CONSUMER_NOT_FOUND = 10014
INCOMPLETE_BATCH = 10176
NO_ROOM = frozenset({10002, 10028, 10047})
"""JetStream, or the account, has no more storage: that passes when somebody makes room."""
UNAVAILABLE = 503

T = TypeVar("T")

log = logging.getLogger("rota.nats")


class JetStreamError(RotaError):
    """JetStream refused a request; `code` is its `err_code`."""

    def __init__(self, subject: str, code: int, description: str) -> None:
        super().__init__(f"{subject}: {description} ({code})")
        self.code = code
        self.description = description


class Connection:
    """One connection to a NATS server; it comes back by itself when the server does."""

    def __init__(self, client: WireClient) -> None:
        self.client = client
        self.on_reconnect: set[Callable[[], None]] = set()

    @classmethod
    async def open(cls, url: str, *, name: str) -> Self:
        """Connect, or raise UnavailableError that says what to do."""
        connection = cls(WireClient())

        async def reconnected() -> None:
            log.info("reconnected to NATS")
            for callback in list(connection.on_reconnect):
                callback()

        async def disconnected() -> None:
            if not connection.client.is_closed:  # it is also called when we close
                log.warning("lost the connection to NATS; trying again")

        async def failed(error: Exception) -> None:
            # nats-py prints a traceback for each failed attempt to reconnect unless it is given this.
            log.debug("nats: %r", error)

        try:
            # Since it is to reconnect for ever, nats-py would also try for ever to connect.
            async with asyncio.timeout(TIMEOUT_SECONDS):
                await connection.client.connect(
                    url,
                    name=name,
                    allow_reconnect=True,
                    connect_timeout=2,
                    skip_subject_validation=True,  # subjects are made by the grammar
                    reconnect_time_wait=RETRY_SECONDS,  # type: ignore[arg-type] # it is given to asyncio.sleep
                    max_reconnect_attempts=-1,
                    pending_size=PENDING_BYTES,
                    reconnected_cb=reconnected,
                    disconnected_cb=disconnected,
                    error_cb=failed,
                )
        except (NoServersError, OSError, NatsTimeoutError, nats.errors.Error) as error:
            await connection.close()
            raise UnavailableError(
                f"No NATS server answers at {url}. Start one with ./scripts/up, or set ROTA_NATS_URL."
            ) from error
        return connection

    async def close(self) -> None:
        """Send what is waiting and close; a second time does nothing."""
        with suppress(nats.errors.Error, OSError, asyncio.TimeoutError):
            if self.client.is_connected:
                await self.client.flush(timeout=2)
        with suppress(nats.errors.Error, OSError):
            await self.client.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def request(
        self,
        subject: str,
        body: bytes = b"",
        headers: dict[str, str] | None = None,
        *,
        timeout: float = TIMEOUT_SECONDS,
    ) -> Msg:
        """Send a request and wait for its one reply."""
        with self._translated():
            return await self.client.request(subject, body, timeout=timeout, headers=headers)

    async def send(
        self, subject: str, body: bytes, headers: dict[str, str] | None = None, *, reply: str = ""
    ) -> None:
        """Publish without an answer."""
        with self._translated():
            await self.client.publish(subject, body, reply=reply, headers=headers)

    async def ignore(self, subscription: Subscription) -> None:
        """End a subscription."""
        with self._translated():
            await subscription.unsubscribe()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except MaxPayloadError as error:
            limit = self.client.max_payload
            raise TooLargeError(f"A message is over the server's max_payload of {limit} bytes") from error
        except (
            BadSubscriptionError,
            ConnectionClosedError,
            ConnectionDrainingError,
            NatsTimeoutError,
            NoRespondersError,
            OutboundBufferLimitError,
            StaleConnectionError,
            TimeoutError,
        ) as error:
            raise UnavailableError(f"NATS does not answer: {type(error).__name__}") from error

    async def call(self, name: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Call JetStream's JSON API (`name` is what follows `$JS.API.`); JetStreamError if it refuses."""
        reply = await self.request(f"$JS.API.{name}", json.dumps(body).encode() if body else b"")
        return _checked(name, reply)

    async def call_each(
        self, calls: Sequence[tuple[str, dict[str, Any]]], *, timeout: float = TIMEOUT_SECONDS
    ) -> list[int]:
        """Call JetStream's JSON API several times in one write, which the server does in this order.

        Return the `err_code` of each: 0 if it was done. UnavailableError says that it is not known which were.
        """
        messages = [Message(f"$JS.API.{name}", json.dumps(body).encode()) for name, body in calls]
        with self._translated():
            answers = await self.client.request_many(messages, timeout)
        for message, answer in zip(messages, answers, strict=True):
            _check_answered(message.subject, answer)
        found = [_ack_decoder.decode(answer.data).error for answer in answers]
        return [error.err_code if error else 0 for error in found]

    async def purge(self, stream: str, subject: str) -> None:
        """Remove what a stream has on a subject, without waiting for it."""
        await self.send(f"$JS.API.STREAM.PURGE.{stream}", json.dumps({"filter": subject}).encode())

    async def publish(self, subject: str, body: bytes, headers: dict[str, str] | None = None) -> int:
        """Publish into a stream; when it returns, the message is stored. Returns its sequence."""
        [sequence] = await self.publish_each([Message(subject, body, headers or {})])
        return sequence

    async def publish_all(self, messages: Sequence[Message]) -> int:
        """Store messages in one stream that has `allow_atomic`, all or none; return the sequence of the last.

        There is room for MAX_BATCH messages. UnavailableError says that it is not known whether they are stored.
        """
        *early, last = messages
        headers = last.headers
        if early:
            batch = secrets.token_hex(4)
            marked = [
                Message(
                    message.subject,
                    message.body,
                    message.headers | {"Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(number)},
                )
                for number, message in enumerate(early, start=1)
            ]
            with self._translated():
                await self.client.publish_many(marked)
            headers = headers | {
                "Nats-Batch-Id": batch,
                "Nats-Batch-Sequence": str(len(messages)),
                "Nats-Batch-Commit": "1",
            }
        return await self.publish(last.subject, last.body, headers)

    async def publish_each(self, messages: Sequence[Message]) -> list[int]:
        """Store messages, each by itself but in one write; return their sequences when all are stored.

        UnavailableError says that it is not known which of them are stored, JetStreamError that one was refused,
        while others may be stored. For up to some hundred messages it is several times cheaper than
        `publish_all`, which makes the server write each of them twice.
        """
        with self._translated():
            answers = await self.client.request_many(messages, TIMEOUT_SECONDS)
        return [_stored(message.subject, answer) for message, answer in zip(messages, answers, strict=True)]

    async def last(self, stream: str, subject: str) -> Msg | None:
        """Return the last message that a stream with `allow_direct` has on a subject, or None."""
        reply = await self.request(f"$JS.API.DIRECT.GET.{stream}.{subject}")
        return None if (reply.headers or {}).get("Status") == "404" else reply


class ApiError(Struct, frozen=True):
    """What JetStream says when it refuses."""

    code: int = 0
    err_code: int = 0
    description: str = "refused"

    def as_error(self, subject: str) -> RotaError:
        """Return the error to raise; what passes by itself is UnavailableError."""
        if self.code == UNAVAILABLE or self.err_code == INCOMPLETE_BATCH or self.err_code in NO_ROOM:
            return UnavailableError(f"{subject}: {self.description} ({self.err_code})")
        return JetStreamError(subject, self.err_code, self.description)


class PubAck(Struct, frozen=True):
    """What JetStream says when it has stored a message."""

    seq: int = 0
    error: ApiError | None = None


_ack_decoder = msgspec.json.Decoder(PubAck)


def _stored(subject: str, reply: Msg) -> int:
    _check_answered(subject, reply)
    ack = _ack_decoder.decode(reply.data)
    if ack.error:
        raise ack.error.as_error(subject)
    return ack.seq


def _checked(subject: str, reply: Msg) -> dict[str, Any]:
    _check_answered(subject, reply)
    answer: dict[str, Any] = json.loads(reply.data)
    if error := answer.get("error"):
        raise msgspec.convert(error, ApiError).as_error(subject)
    return answer


def _check_answered(subject: str, reply: Msg) -> None:
    if not reply.data:  # "no responders": no stream takes the subject, or JetStream is not up yet
        raise UnavailableError(f"Nobody answers on {subject}")


async def until_available(attempt: Callable[[], Awaitable[T]]) -> T:
    """Do something that may be repeated until the server is there to do it."""
    while True:
        try:
            return await attempt()
        except UnavailableError as error:
            log.warning("%s; trying again", error)
            await asyncio.sleep(RETRY_SECONDS)
