"""Bodies too large for an event: kept apart, with size and digest in the event (claim check)."""

from collections.abc import Sequence
from typing import Any

from events.jetstream.bus import HEADROOM_BYTES
from events.jetstream.topology import PAYLOADS, RESULTS
from rota.errors import NotFoundError, RotaError
from rota.jetstream import Connection, Message
from rota.protocol import Payload


class DamagedPayloadError(RotaError):
    """A payload is not what was stored."""


class Payloads:
    """The streams of payloads: rows and large results."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @property
    def max_bytes(self) -> int:
        """The largest body that the server takes."""
        return self._connection.client.max_payload - HEADROOM_BYTES

    async def put(self, bodies: Sequence[tuple[str, Any]]) -> None:
        """Store rows by subject; one that is there already is replaced.

        An atomic batch of bodies would be written twice by the server; to store some again does no harm.
        """
        await self._connection.publish_each([Message(subject, body) for subject, body in bodies])

    async def get(self, payload: Payload) -> bytes:
        """Return a body. NotFoundError if it was removed, DamagedPayloadError if it is not what was stored."""
        message = await self._connection.last(_stream_of(payload.subject), payload.subject)
        if message is None:
            raise NotFoundError(f"The payload {payload.subject} was removed")
        if not payload.fits(message.data):
            raise DamagedPayloadError(f"The payload {payload.subject} does not have its digest")
        return message.data

    async def remove(self, subjects: str) -> None:
        """Remove all rows on subjects that match, without waiting for it."""
        await self._connection.purge(PAYLOADS, subjects)


def _stream_of(subject: str) -> str:
    return RESULTS if subject.startswith("rota.result.") else PAYLOADS
