"""What all events, commands and aggregates have in common."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Literal

from msgspec import Struct, field

from rota.errors import ConflictError, InvalidRequestError, NotFoundError
from rota.protocol import Id

Kind = Literal["batch", "job", "log", "spec", "workflow"]


class Origin(Struct, frozen=True, omit_defaults=True):
    """Where an event comes from, so that a chain of causes can be followed."""

    command_id: str = ""
    """The message with the command: its sequence in the stream of commands, unless the sender has named it."""
    caller: str = ""
    """Who asked, for example `http:127.0.0.1`, `worker:host-12`, `reader`, `timer`."""
    causation_id: str = ""
    """The event that made the caller ask, `<id>.<version>`."""
    correlation_id: str = ""
    """What all of it belongs to: a workflow, a batch, or the request that scheduled the job."""


class Event(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    """Something that happened to one aggregate.

    The tag is stored for ever: renaming the class is free, renaming the tag is a migration. A class whose fields
    change their meaning gets the tag `<tag>.v2` and a static method `upcast_v1_v2` that mends a stored state.
    The attributes are those that the `eventsourcing` library asks of a domain event.
    """

    originator_id: str = field(name="id")
    originator_version: int = field(name="version")
    """Position in the aggregate's history, from 1, without gaps."""
    at: datetime
    origin: Origin | None = None
    """Stamped when the event is stored; deciders know nothing of it."""


def event_id(event: Event) -> str:
    """Return what names an event among all others."""
    return f"{event.originator_id}.{event.originator_version}"


class Command(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    """A request to change the aggregate `id`; it may come twice, and may be refused."""

    id: Id


class Aggregate(Struct, frozen=True):
    """A kind of aggregate: pure functions, and the type of their state.

    `decide(state, command, now)` returns the events that follow, which may be none, or raises a refusal.
    `evolve(state, event)` returns the next state and never fails. The state is None before the first event;
    every state has a `version`.
    """

    kind: Kind
    decide: Callable[[Any, Any, datetime], list[Event]]
    evolve: Callable[[Any, Any], Any]
    state: type[Struct]
    correlation_id: Callable[[str, Any], str] = lambda id_, _: id_
    """Takes the aggregate's id and its state, and returns what it belongs to."""
    weigh: Callable[[Any], int] = lambda _: 0
    """Takes the state, and returns about how many bytes it has that other states of the kind do not have."""
    snapshot_every: Callable[[Any], int] | None = None
    """Takes the state, and returns after how many events it is kept: for aggregates with long histories."""
    state_version: int = 1
    """To be raised with each change of the state or its meaning: older snapshots are not used then."""


class UnknownAggregateError(NotFoundError):
    """The command is for something that was never made."""


class EndedError(ConflictError):
    """The command is for something that has ended."""


class InvalidCommandError(InvalidRequestError):
    """The command asks for something that cannot be."""


Refusal = (UnknownAggregateError, EndedError, InvalidCommandError)
"""What `decide` raises."""
