"""The library's stored events as NATS messages: CloudEvents headers, and the state as body.

Rota's own events are stored in the same manner by `events.jetstream.log`, so that one reader knows both.
"""

from urllib.parse import quote, unquote
from uuid import UUID

from eventsourcing.persistence import Notification, StoredEvent
from nats.aio.msg import Msg

TYPE_PREFIX, TYPE_SUFFIX = "rota.", ".v1"
UUID_PREFIX = "urn:uuid:"


def token(id_: UUID | str) -> str:
    """Return an id as one token of a subject; ids of Rota stay as they are."""
    # A colon in a text is escaped, so that no text looks like a UUID. `%` alone stands for the empty text.
    return id_.urn if isinstance(id_, UUID) else quote(id_, safe="").replace(".", "%2E") or "%"


def is_event(message: Msg) -> bool:
    """Say whether a message is a stored event, and not a position or a view's record in the same stream."""
    return "ce-id" in (message.headers or {})


def stored_event(message: Msg) -> StoredEvent:
    """Read a stored event from a message."""
    return StoredEvent(*_read(message))


def notification(message: Msg, sequence: int) -> Notification:
    """Read a notification from a message and its sequence in the stream."""
    return Notification(*_read(message), id=sequence)


def headers_of(event: StoredEvent, source: str) -> dict[str, str]:
    """Return the headers of a stored event."""
    id_ = token(event.originator_id)
    return {
        "ce-specversion": "1.0",
        "ce-id": f"{id_}.{event.originator_version}",
        "ce-source": source,
        "ce-type": f"{TYPE_PREFIX}{event.topic}{TYPE_SUFFIX}",
    }


def _read(message: Msg) -> tuple[UUID | str, int, str, bytes]:
    headers = message.headers or {}
    id_, _, version = headers["ce-id"].rpartition(".")
    topic = headers["ce-type"].removeprefix(TYPE_PREFIX).removesuffix(TYPE_SUFFIX)
    return _id(id_), int(version), topic, message.data


def _id(text: str) -> UUID | str:
    if text.startswith(UUID_PREFIX):
        return UUID(text)
    return unquote(text) if text != "%" else ""
