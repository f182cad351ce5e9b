"""What all events, commands and aggregates have in common."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Literal

from msgspec import Struct, field

from rota.errors import ConflictError, NotFoundError
from rota.protocol import Id

Kind = Literal["batch", "job", "spec"]


class Event(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    """Something that happened to one aggregate.

    The tag is stored for ever: renaming the class is free, renaming the tag is a migration. The attributes
    are those that the `eventsourcing` library asks of a domain event.
    """

    originator_id: str = field(name="id")
    originator_version: int = field(name="version")
    """Position in the aggregate's history, from 1, without gaps."""
    at: datetime


class Command(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    """A request to change the aggregate `id`; it may come twice, and may be refused."""

    id: Id


class Aggregate(Struct, frozen=True):
    """A kind of aggregate: two pure functions.

    `decide(state, command, now)` returns the events that follow, which may be none, or raises a refusal.
    `evolve(state, event)` returns the next state and never fails. The state is None before the first event;
    every state has a `version`.
    """

    kind: Kind
    decide: Callable[[Any, Any, datetime], list[Event]]
    evolve: Callable[[Any, Any], Any]


class UnknownAggregateError(NotFoundError):
    """The command is for something that was never made."""


class EndedError(ConflictError):
    """The command is for something that has ended."""


Refusal = (UnknownAggregateError, EndedError)
"""What `decide` raises."""
