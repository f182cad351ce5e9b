"""What some commands come to, before it is stored: new states, new events, and which of them go together."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from msgspec.structs import force_setattr

from actors.cache import Entry, Identity
from actors.roles import Change
from events.base import Event, Kind, Origin
from events.catalog import AGGREGATES, AnyCommand
from events.jetstream.log import Append
from events.subjects import kind_of

UNIT_EVENTS = 500
"""Events that are stored all or none, before no more commands are taken: the server allows twice as many."""
TURN_EVENTS = 2000
TURN_BYTES = 8 * 1024 * 1024
"""Of what is made anew, before no more commands are taken."""


class Turn:
    """Decides one command after the other."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self.known: dict[Identity, Entry] = {}
        """Aggregates as they were."""
        self.staged: dict[Identity, Entry] = {}
        """As they will be."""
        self._doubtful: set[Identity] = set()
        """Aggregates that have decided once to do nothing."""
        self._events = 0
        self._largest = 0
        self._bytes = 0
        self._appends: dict[Identity, Append] = {}
        self._units: dict[Identity, list[Identity]] = {}
        """Aggregates, each with those whose events are stored all or none with its own: one list for them all."""

    def know(self, entries: dict[Identity, Entry]) -> None:
        """Take aggregates as they are."""
        self.known |= entries
        self.staged |= entries

    def decide(self, command: AnyCommand, origin: Origin) -> list[Event]:
        """Return the events that follow, and keep them for the log; what `decide` raises is raised."""
        kind = kind_of(command)
        identity = (kind, command.id)
        entry = self.staged[identity]
        events: list[Event] = []
        try:
            events = AGGREGATES[kind].decide(entry.state, command, self.now)
        finally:
            if not events:
                self._doubtful.add(identity)
        if not events:
            return events
        self._events += len(events)
        append = self._appends.get(identity)
        if append is None:
            append = self._appends[identity] = Append(kind, command.id, entry.sequence, [])
            self._units[identity] = [identity]
        append.events.extend(events)
        state = _evolved(kind, entry.state, events)
        self.staged[identity] = Entry(state, entry.sequence)
        if entry.state is None:
            self._bytes += AGGREGATES[kind].weigh(state)
        _stamp(kind, state, origin, events)
        return events

    def tie(self, identities: Iterable[Identity]) -> None:
        """Have what is new of these aggregates stored together."""
        first: list[Identity] | None = None
        for identity in identities:
            unit = self._units.get(identity)
            if unit is None or unit is first:
                continue
            if first is None:
                first = unit
                continue
            first.extend(unit)
            for other in unit:
                self._units[other] = first
        if first:
            size = sum(len(self._appends[identity].events) for identity in first)
            self._largest = max(self._largest, size)

    @property
    def is_full(self) -> bool:
        """Whether it has to be stored before more is decided."""
        return self._largest >= UNIT_EVENTS or self._events >= TURN_EVENTS or self._bytes >= TURN_BYTES

    def undecided(self) -> set[Identity]:
        """Return the aggregates that have decided to do nothing, and nothing else.

        No append would tell that they are not what the log has.
        """
        return self._doubtful - self._appends.keys()

    def changes(self) -> dict[Kind, list[Change]]:
        """Return what is new, by kinds of aggregates."""
        found: dict[Kind, list[Change]] = {}
        for identity, append in self._appends.items():
            state, was = self.staged[identity].state, self.known[identity].state
            found.setdefault(append.kind, []).append(Change(append.events, state, was))
        return found

    def units(self) -> list[list[Append]]:
        """Return what is new, those together that are stored all or none, in the order in which they came about."""
        units = {id(unit): unit for unit in self._units.values()}.values()
        return [[self._appends[identity] for identity in unit] for unit in units]


def _evolved(kind: Kind, state: Any, events: Sequence[Event]) -> Any:
    evolve = AGGREGATES[kind].evolve
    for event in events:
        state = evolve(state, event)
    return state


def _stamp(kind: Kind, state: Any, origin: Origin, events: Sequence[Event]) -> None:
    """Say in new events where they come from. They are nobody else's yet, so that they need not be copied."""
    correlation_id = AGGREGATES[kind].correlation_id(events[0].originator_id, state)
    stamp = Origin(origin.command_id, origin.caller, origin.causation_id, correlation_id)
    for event in events:
        force_setattr(event, "origin", stamp)
