"""The library's mapper for Rota's events: the topic is the event's tag, the state its whole MessagePack body."""

from typing import cast

import msgspec
from eventsourcing.domain import DomainEventProtocol
from eventsourcing.persistence import (
    Cipher,
    Compressor,
    Mapper,
    MapperDeserialisationError,
    NotSupportedError,
    StoredEvent,
    Transcoder,
)

from events.base import Event
from events.catalog import TAGS, decode_event, encode


class EventMapper(Mapper[str]):
    """Maps events of the catalogue; the transcoder is not used, since they have their codec."""

    def __init__(
        self, transcoder: Transcoder, compressor: Compressor | None = None, cipher: Cipher | None = None
    ) -> None:
        if compressor or cipher:
            raise NotSupportedError("Rota's log is neither compressed nor encrypted")
        super().__init__(transcoder)

    def to_stored_event(self, domain_event: DomainEventProtocol[str]) -> StoredEvent:
        """Return the event as it is stored; KeyError if it is not in the catalogue."""
        event = cast("Event", domain_event)
        return StoredEvent(event.originator_id, event.originator_version, TAGS[type(event)], encode(event))

    def to_domain_event(self, stored_event: StoredEvent) -> DomainEventProtocol[str]:
        """Return the event; MapperDeserialisationError if it is none of the catalogue."""
        try:
            return decode_event(stored_event.state)
        except msgspec.DecodeError as error:
            raise MapperDeserialisationError(
                f"{stored_event.topic} version {stored_event.originator_version} of "
                f"{stored_event.originator_id} cannot be read: {error}"
            ) from error
