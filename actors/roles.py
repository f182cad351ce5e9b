"""What a role adds to the decisions of its aggregates: the seam between shards and kinds of aggregates."""

from collections.abc import Sequence
from typing import Any, Protocol

from msgspec import Struct

from events.base import Event, Kind
from events.catalog import AnyCommand


class Change(Struct, frozen=True):
    """New events of an aggregate, and its state after them."""

    events: Sequence[Event]
    state: Any
    was: Any = None
    """Its state before them; None if it is new, or not asked for."""


class Consequence(Struct, frozen=True):
    """A command for another aggregate, and the event that it follows from."""

    command: AnyCommand
    event: Event


class Role(Protocol):
    """What the events of one kind of aggregate set in motion."""

    kind: Kind

    def begin(self) -> None:
        """Note that decisions are begun; those before were stored if `after` was called since, else never."""

    def concerns(self, event: Event, state: Any) -> bool:
        """Say whether other aggregates have to be told of an event, given the state after it."""

    async def then(self, changes: Sequence[Change]) -> list[Consequence]:
        """Return what follows for other aggregates from events that concern them.

        It is carried out at once, and stored together with the events: all or nothing. Must do no harm if the
        events are never stored. UnavailableError lets all be decided again.
        """

    async def before(self, changes: Sequence[Change]) -> None:
        """Do what must not be lost, before the events are stored; it is repeated if they are decided again.

        So it must do no harm if the events are never stored.
        """

    async def after(self, changes: Sequence[Change]) -> None:
        """Take back what is needed no more, now that the events are stored; it may be lost with the process."""
