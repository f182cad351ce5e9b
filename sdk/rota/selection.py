"""Which of the log's events somebody wants to see."""

import logging
from collections.abc import AsyncGenerator, Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec
from msgspec import Struct

from rota.errors import InvalidRequestError
from rota.jetstream import Connection, Msg
from rota.replay import Replay, first_on, last_before

MARGIN = timedelta(minutes=5)
"""How far the clocks of shards may be apart from that of NATS."""

log = logging.getLogger("rota.nats")

HEAD = (("type", str), ("id", str), ("version", int), ("at", datetime))
"""What every event has."""

Fields = dict[str, Any]
"""An event as plain values, with its `sequence` in the log."""


class Selection(Struct, frozen=True, kw_only=True):
    """Events for which all of this holds; what is not given does not matter."""

    kind: str | None = None
    """What they belong to: a job, a batch, a spec."""
    id: str | None = None
    types: tuple[str, ...] = ()
    """Types such as `job.queued`, and patterns such as `job.*`: any of them."""
    after: int = 0
    """They stand after this sequence in the log."""
    up_to: int | None = None
    """They stand before the next sequence."""
    since: datetime | None = None
    """They happened then or later."""
    until: datetime | None = None
    """They happened before."""
    correlation_id: str | None = None
    """They belong to this batch, workflow or request."""

    def subjects(self) -> list[str]:
        """Return the subjects on which NATS has such events, none of them within another."""
        id_ = self.id or "*"
        if not self.types:
            return [f"rota.event.{self.kind or '*'}.{id_}.>"] if self.kind or self.id else ["rota.event.>"]
        types = [type_.partition(".") for type_ in sorted(set(self.types))]
        names = [(kind, name) for kind, _, name in types if self.kind in (None, kind)]
        if not names:
            raise InvalidRequestError(f"No event of a {self.kind} has the type {' or '.join(self.types)}")
        whole = {kind for kind, name in names if name == "*"}
        found = [f"rota.event.{kind}.{id_}.>" for kind in sorted(whole)]
        for kind, name in names:
            if kind not in whole:
                # The subjects of some types have more tokens.
                found += [f"rota.event.{kind}.{id_}.{name}", f"rota.event.{kind}.{id_}.{name}.>"]
        return found

    def fits(self, event: Mapping[str, Any]) -> bool:
        """Say whether an event fits of which NATS cannot know it."""
        if self.since and event["at"] < self.since:
            return False
        if self.until and event["at"] >= self.until:
            return False
        return self.correlation_id is None or belongs(event, self.correlation_id)

    async def replay(self, connection: Connection) -> Replay:
        """Return the replay of the smallest part of the log that has all such events.

        NATS knows when it has stored an event, not when the event happened, hence the margin. What belongs to a
        batch or workflow comes after its first event.
        """
        after, up_to = self.after, self.up_to
        if self.since:
            after = max(after, await last_before(connection, self.since - MARGIN))
        if self.until:
            last = await last_before(connection, self.until + MARGIN)
            up_to = last if up_to is None else min(up_to, last)
        if self.correlation_id:
            after = max(after, await first_on(connection, f"rota.event.*.{self.correlation_id}.>") - 1)
        return Replay(connection, self.subjects(), after=after, up_to=up_to)


async def select(replay: Replay, selection: Selection) -> AsyncGenerator[list[Fields], None]:
    """Yield the events of a replay that fit, in groups as they come; what is no event is logged and left out."""
    while messages := await replay.take():
        events = (_read(sequence, message) for sequence, message in messages)
        if fitting := [event for event in events if event and selection.fits(event)]:
            yield fitting


def belongs(event: Mapping[str, Any], correlation_id: str) -> bool:
    """Say whether an event belongs to a batch, workflow or request; older ones tell it by their id alone."""
    if correlation := origin_of(event).get("correlation_id"):
        return bool(correlation == correlation_id)
    id_: str = event["id"]
    # <request>-<number>, <batch>_<file>-<number>
    return id_ == correlation_id or id_.startswith((f"{correlation_id}-", f"{correlation_id}_"))


def origin_of(event: Mapping[str, Any]) -> Mapping[str, str]:
    """Return who asked for an event; empty if it does not say so."""
    return event.get("origin") or {}


def _read(sequence: int, message: Msg) -> Fields | None:
    try:
        event = {"sequence": sequence, **msgspec.msgpack.decode(message.data, type=dict[str, Any])}
    except (msgspec.DecodeError, RecursionError) as error:
        log.warning("message %d on %s is no event: %s", sequence, message.subject, error)
        return None
    if any(not isinstance(event.get(name), type_) for name, type_ in HEAD):
        log.warning("message %d on %s is no event", sequence, message.subject)
        return None
    return event
