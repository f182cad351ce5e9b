"""Recorders that store how far another application's log is processed, together with what follows from it."""

from collections.abc import Sequence
from typing import Any

from eventsourcing.persistence import (
    IntegrityError,
    ProcessRecorder,
    StoredEvent,
    Tracking,
    TrackingRecorder,
)

from events.jetstream.direct import sequence_of
from events.jetstream.envelope import token
from events.jetstream.recorders import JetStreamApplicationRecorder, JetStreamRecorder
from rota.jetstream import Message


class JetStreamTrackingRecorder(JetStreamRecorder, TrackingRecorder):
    """The position in an upstream application's log on the subject `<stream>.tracking.<application name>`.

    It only grows: each new position expects the one that was read to be still the last on its subject. A view
    stores its own records in the same batch, see `insert_tracking_with`.
    """

    def insert_tracking(self, tracking: Tracking) -> None:
        """Store a position; IntegrityError unless it is greater than the last."""
        self.insert_tracking_with(tracking, [])

    def insert_tracking_with(self, tracking: Tracking, records: Sequence[Message]) -> None:
        """Store a position together with records on subjects below `<stream>.`, all or none."""
        self.loop.run(self._insert_tracking(tracking, records))

    def max_tracking_id(self, application_name: str) -> int | None:
        """Return the last position, or None before the first."""
        return self.loop.run(self._last_position(application_name))[0]

    async def _insert_tracking(self, tracking: Tracking, records: Sequence[Message]) -> None:
        await self.store([await self._position(tracking), *records])

    async def _position(self, tracking: Tracking) -> Message:
        """Return the message that stores a position."""
        last, sequence = await self._last_position(tracking.application_name)
        if last is not None and last >= tracking.notification_id:
            raise IntegrityError(
                f"{tracking.application_name} is processed up to {last}: {tracking.notification_id} is not new"
            )
        return Message(
            self._subject(tracking.application_name),
            b"%d" % tracking.notification_id,
            {"Nats-Expected-Last-Subject-Sequence": str(sequence)},
        )

    async def _last_position(self, application_name: str) -> tuple[int | None, int]:
        """Return the last position, and its sequence in the stream (0: none)."""
        message = await self.connection.last(self.stream, self._subject(application_name))
        return (int(message.data), sequence_of(message)) if message else (None, 0)

    def _subject(self, application_name: str) -> str:
        return f"{self.stream}.tracking.{token(application_name)}"


class JetStreamProcessRecorder(JetStreamTrackingRecorder, JetStreamApplicationRecorder, ProcessRecorder):
    """Events together with the position of the event that they follow from, in one stream."""

    def insert_events(
        self, stored_events: Sequence[StoredEvent], *, tracking: Tracking | None = None, **_: Any
    ) -> Sequence[int] | None:
        """Store events and the position, all or none; IntegrityError if one of them exists."""
        return self.loop.run(self._insert_events(stored_events, tracking))

    async def _insert_events(self, events: Sequence[StoredEvent], tracking: Tracking | None) -> list[int]:
        return await self._insert(events, [await self._position(tracking)] if tracking else [])
