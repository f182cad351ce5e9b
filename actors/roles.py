"""What a role adds to the decisions of its aggregates: the seam between shards and kinds of aggregates."""

from collections.abc import Sequence
from typing import Protocol

from events.base import Event, Kind


class Role(Protocol):
    """What the events of one kind of aggregate set in motion."""

    kind: Kind

    async def before(self, events: Sequence[Event]) -> None:
        """Do what must not be lost, before the events are stored; it is repeated if they are decided again.

        So it must do no harm if the events are never stored.
        """
