"""What some commands come to, before it is stored: new states, new events, and which of them go together."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct
from msgspec.structs import force_setattr

from actors.cache import Entry, Identity
from actors.roles import Change
from events.base import Event, Kind, Origin
from events.catalog import AGGREGATES, AnyCommand
from events.jetstream.log import Append
from events.subjects import kind_of


class Unit(Struct):
    """Aggregates whose events are stored all or none."""

    identities: list[Identity]


class Turn:
    """Decides one command after the other."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self.known: dict[Identity, Entry] = {}
        """Aggregates as they were."""
        self.staged: dict[Identity, Entry] = {}
        """As they will be."""
        self.doubtful: set[Identity] = set()
        """Aggregates that decided to do nothing; no append would tell that they are not what the log has."""
        self._appends: dict[Identity, Append] = {}
        self._units: dict[Identity, Unit] = {}

    def know(self, entries: dict[Identity, Entry]) -> None:
        """Take aggregates as they are."""
        self.known |= entries
        self.staged |= entries

    def decide(self, command: AnyCommand, origin: Origin) -> list[Event]:
        """Return the events that follow, and keep them for the log; what `decide` raises is raised."""
        kind = kind_of(command)
        identity = (kind, command.id)
        entry = self.staged[identity]
        try:
            events = AGGREGATES[kind].decide(entry.state, command, self.now)
        finally:
            self.doubtful.add(identity)
        if not events:
            return events
        append = self._appends.get(identity)
        if append is None:
            append = self._appends[identity] = Append(kind, command.id, entry.sequence, [])
            self._units[identity] = Unit([identity])
        append.events.extend(events)
        state = _evolved(kind, entry.state, events)
        self.staged[identity] = Entry(state, entry.sequence)
        _stamp(kind, state, origin, events)
        return events

    def tie(self, identities: Iterable[Identity]) -> int:
        """Have what is new of these aggregates stored together; return how many events that is."""
        first: Unit | None = None
        for identity in identities:
            unit = self._units.get(identity)
            if unit is None or unit is first:
                continue
            if first is None:
                first = unit
                continue
            first.identities.extend(unit.identities)
            for other in unit.identities:
                self._units[other] = first
        return sum(len(self._appends[identity].events) for identity in first.identities) if first else 0

    def undecided(self) -> set[Identity]:
        """Return the aggregates that have decided to do nothing, and nothing else."""
        return self.doubtful - self._appends.keys()

    def changes(self) -> dict[Kind, list[Change]]:
        """Return what is new, by kinds of aggregates."""
        found: dict[Kind, list[Change]] = {}
        for identity, append in self._appends.items():
            found.setdefault(append.kind, []).append(Change(append.events, self.staged[identity].state))
        return found

    def units(self) -> list[list[Append]]:
        """Return what is new, those together that are stored all or none, in the order in which they came about."""
        units = {id(unit): unit for unit in self._units.values()}.values()
        return [[self._appends[identity] for identity in unit.identities] for unit in units]


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
