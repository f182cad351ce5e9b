"""Chains of causes: which event led to which, from a batch or a request to its jobs, attempts and reports."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from msgspec import Struct

from rota.errors import NotFoundError, TooLargeError
from rota.jetstream import Connection
from rota.selection import Fields, Selection, origin_of, select

MAX_EVENTS = 100_000
"""All events of a chain are in memory."""
MAX_CAUSES = 100
"""So many causes are looked for that belong to something else."""

EVENT_ID = re.compile(r"([A-Za-z0-9_-]{1,128})\.([1-9][0-9]{0,17})")


class Link(Struct):
    """An event, and what followed from it."""

    event: Fields
    effects: list["Link"]


async def read_chain(connection: Connection, id_: str) -> list[Link]:
    """Return the beginnings of the chain that an id is in; NotFoundError if the log has nothing of it.

    For a batch, a workflow or a request, the chain is all that belongs to it; for a job, its own events and those
    that led to them. TooLargeError if these are more than MAX_EVENTS.
    """
    own = await _read(connection, Selection(id=id_))
    events = own if own and _is_member(own[0]) else await _read(connection, Selection(correlation_id=id_))
    if not events:
        raise NotFoundError(f"The log has nothing of {id_}")
    known = {event_id(event): event for event in events}
    looked_for: set[str] = set()
    while len(looked_for) < MAX_CAUSES and (cause := _missing_cause(known, looked_for)):
        looked_for.add(cause)
        if event := await _find(connection, cause):
            known[cause] = event
    return tie(known.values())


def tie(events: Iterable[Fields]) -> list[Link]:
    """Hang each event below the one that caused it, and return those that are below none, in the log's order.

    An event that does not say what caused it hangs below the first of its own history.
    """
    beginnings: list[Link] = []
    links: dict[str, Link] = {}
    for event in sorted(events, key=lambda event: int(event["sequence"])):
        # A cause stands in the log before its effect; any other claim would make a circle.
        causes = (cause_of(event), f"{event['id']}.1")
        cause = next((links[cause] for cause in causes if cause in links), None)
        link = links[event_id(event)] = Link(event, [])
        (cause.effects if cause else beginnings).append(link)
    return beginnings


def walk(beginnings: Sequence[Link]) -> Iterator[tuple[int, Link]]:
    """Yield the links of a chain, each before its effects, with its depth from 0."""
    waiting = [(0, link) for link in reversed(beginnings)]
    while waiting:
        depth, link = waiting.pop()
        yield depth, link
        waiting += [(depth + 1, effect) for effect in reversed(link.effects)]


def event_id(event: Fields) -> str:
    """Return what other events call this one."""
    return f"{event['id']}.{event['version']}"


def cause_of(event: Fields) -> str:
    """Return the id of the event that caused this one, or "" if it names none; callers may name other things."""
    causation_id = origin_of(event).get("causation_id", "")
    return causation_id if EVENT_ID.fullmatch(causation_id) else ""


def _is_member(event: Fields) -> bool:
    """Say whether what an event belongs to is but a part of something."""
    return bool(event["type"].startswith("job."))


def _missing_cause(known: Mapping[str, Fields], looked_for: set[str]) -> str:
    causes = (cause_of(event) for event in known.values())
    return next((cause for cause in causes if cause and cause not in known and cause not in looked_for), "")


async def _read(connection: Connection, selection: Selection) -> list[Fields]:
    found: list[Fields] = []
    async with await selection.replay(connection) as replay:
        async for events in select(replay, selection):
            found += events
            if len(found) > MAX_EVENTS:
                raise TooLargeError(
                    f"The chain has more than {MAX_EVENTS:,} events: look at one of its jobs, "
                    "or export all of it with --correlation and --output"
                )
    return found


async def _find(connection: Connection, cause: str) -> Fields | None:
    """Return an event by its id, if the log has it."""
    id_, _, version = cause.rpartition(".")
    selection = Selection(id=id_)
    async with await selection.replay(connection) as replay:
        async for events in select(replay, selection):
            for event in events:
                if event["version"] == int(version):
                    return event
    return None
