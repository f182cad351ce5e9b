"""Carries out commands: decides, appends once, and tells what became of each.

It knows no kind of aggregate. An aggregate is loaded when a command for it arrives, and kept in a bounded cache.
The expected sequence of each append is the fence that makes a second owner, or a stale cache, harmless; and that
nothing is to be done is decided by what the log has alone. A command that cannot be carried out costs nobody else
anything: it is tried TRIES times and becomes a dead letter.
"""

import asyncio
import logging
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from msgspec.structs import force_setattr

from actors.cache import MAX_ENTRIES, Cache, Entry, Identity
from actors.roles import Role
from events.base import Event, Kind, Origin, Refusal
from events.batch import OpenBatch
from events.catalog import AGGREGATES, AnyCommand
from events.jetstream.dead_letters import DeadLetters
from events.jetstream.log import Append, Log, SequenceConflictError
from events.jetstream.repository import load_state
from events.jetstream.requests import Asked, find_beginning
from events.jetstream.snapshots import Snapshots, is_due
from events.job import ScheduleJob
from events.subjects import kind_of
from rota.errors import NotFoundError, RotaError, UnavailableError
from rota.jetstream import RETRY_SECONDS, Connection, Msg, until_available
from rota.protocol import Outcome

LOADS_AT_ONCE = 32
TRIES = 3
TRACEBACK_CHARACTERS = 4000

MAKES = (ScheduleJob, OpenBatch)
"""Commands whose aggregate as a rule does not exist yet, so that it need not be looked for."""

log = logging.getLogger("rota.shard")


class Handler:
    """Decides for the aggregates whose commands come to it."""

    def __init__(
        self,
        connection: Connection,
        roles: Iterable[Role],
        clock: Callable[[], datetime],
        *,
        cached_aggregates: int = MAX_ENTRIES,
    ) -> None:
        self._connection = connection
        self._log = Log(connection)
        self._snapshots = Snapshots(connection)
        self._dead_letters = DeadLetters(connection)
        self._roles = {role.kind: role for role in roles}
        self._clock = clock
        self._cache = Cache(cached_aggregates)

    async def carry_out(self, asked: Sequence[Asked]) -> None:
        """Decide and append; when it returns, each command has its outcome, and what follows from it is durable.

        If somebody else was faster, or it is not known what was stored, all is decided again with fresh states.
        """
        fresh = False
        while True:
            try:
                await self._attempt(asked, fresh=fresh)
            except SequenceConflictError:
                log.debug("a conflict: loading the aggregates of %d commands again", len(asked))
            except UnavailableError as error:
                log.warning("%s; trying again", error)
                await asyncio.sleep(RETRY_SECONDS)
            except Exception as error:  # noqa: BLE001 - a fault for one command must not hold up all others
                await self._one_by_one(asked, error)
                break
            else:
                break
            fresh = True
        for one in asked:
            if one.outcome and one.outcome.status == "refused":
                await self._see_to_refused(one, one.outcome)

    async def _see_to_refused(self, asked: Asked, outcome: Outcome) -> None:
        """Keep a refused command as a dead letter, unless it has overtaken the one that it needs.

        When a partition changes its owner, commands may come in another order than they were sent in.
        """
        if outcome.slug == NotFoundError.slug:
            command = asked.command
            beginning = await until_available(
                lambda: find_beginning(self._connection, kind_of(command), command.id)
            )
            if beginning:
                # It comes once more by itself, and then there is nothing to do.
                await self.carry_out([beginning])
                if beginning.outcome and beginning.outcome.status == "done":
                    await self.carry_out([asked])
                    return
        await self._dead_letters.bury(asked, "refused", outcome.detail, self._clock())

    async def bury_unread(self, message: Msg, error: Exception) -> None:
        """Keep a message that is no list of commands as a dead letter."""
        log.error("a message on %s is no list of commands: %s", message.subject, error)
        await self._dead_letters.bury_unread(message, f"This is no list of commands: {error}", self._clock())

    async def _one_by_one(self, asked: Sequence[Asked], error: Exception) -> None:
        """Try each command by itself, and give those up that fail TRIES times."""
        for one in asked:
            tries, failure = (1, error) if len(asked) == 1 else (0, None)
            while tries < TRIES:
                tries += 1
                try:
                    await self._attempt([one], fresh=True)
                except (SequenceConflictError, UnavailableError) as passing:
                    log.warning("%s; trying again", passing)
                    tries -= 1
                    await asyncio.sleep(RETRY_SECONDS)
                except Exception as again:  # noqa: BLE001 - as above
                    failure = again
                else:
                    failure = None
                    break
            if failure:
                await self._give_up(one, failure, tries)

    async def _attempt(self, asked: Sequence[Asked], *, fresh: bool) -> None:
        staged = await self._entries([one.command for one in asked], fresh=fresh)
        known = dict(staged)
        appends: dict[Identity, Append] = {}
        doubtful: set[Identity] = set()
        now = self._clock()
        for one in asked:
            command = one.command
            kind = kind_of(command)
            identity = (kind, command.id)
            entry = staged[identity]
            try:
                events = AGGREGATES[kind].decide(entry.state, command, now)
            except Refusal as refusal:
                one.end("refused", refusal.detail, refusal.slug)
                doubtful.add(identity)
                continue
            one.end("done")
            if not events:
                doubtful.add(identity)
                continue
            append = appends.setdefault(identity, Append(kind, command.id, entry.sequence, []))
            append.events.extend(events)
            staged[identity] = Entry(_evolved(kind, entry.state, events), entry.sequence)
            _stamp(kind, staged[identity].state, one.origin, events)
        # No append would tell that the cache is stale: what it decided to ignore is loaded and decided again.
        cached = [identity for identity in doubtful if self._cache.forget(identity)]
        if cached and not fresh:
            await self._attempt(asked, fresh=False)
        elif appends:
            await self._store(list(appends.values()), known, staged)

    async def _store(
        self, appends: list[Append], known: dict[Identity, Entry], staged: dict[Identity, Entry]
    ) -> None:
        by_kind: dict[Kind, list[Event]] = {}
        for append in appends:
            by_kind.setdefault(append.kind, []).extend(append.events)
        for kind, events in by_kind.items():
            if role := self._roles.get(kind):
                await role.before(events)
        sequences = await self._log.append(appends)
        for append, sequence in zip(appends, sequences, strict=True):
            identity = (append.kind, append.id)
            state = staged[identity].state
            self._cache.put(identity, Entry(state, sequence))
            aggregate = AGGREGATES[append.kind]
            if is_due(aggregate, known[identity].state, state):
                with suppress(RotaError):  # losing one costs time, nothing else
                    await self._snapshots.save(aggregate, append.id, state, sequence)

    async def _entries(self, commands: Sequence[AnyCommand], *, fresh: bool) -> dict[Identity, Entry]:
        """Return the aggregates of the commands, from the cache or the log."""
        staged: dict[Identity, Entry] = {}
        missing: list[Identity] = []
        for command in commands:
            identity = (kind_of(command), command.id)
            if identity in staged:
                continue
            cached = None if fresh else self._cache.get(identity)
            staged[identity] = cached or Entry(None, 0)
            if fresh or not (cached or isinstance(command, MAKES)):
                missing.append(identity)
        for some in chunks(missing, LOADS_AT_ONCE):
            loaded = await asyncio.gather(*(load_state(self._log, self._snapshots, *identity) for identity in some))
            staged.update((identity, Entry(*found)) for identity, found in zip(some, loaded, strict=True))
        return staged

    async def _give_up(self, asked: Asked, error: Exception, tries: int) -> None:
        command = asked.command
        log.error(
            "%s for %s cannot be carried out and becomes a dead letter",
            type(command).__name__,
            command.id,
            exc_info=error,
        )
        self._cache.forget((kind_of(command), command.id))
        reason = f"{type(error).__name__}: {error}"[:TRACEBACK_CHARACTERS]
        detail = "Rota cannot carry this out: see the dead letters"
        asked.end("failed", detail, RotaError.slug)
        text = "".join(traceback.format_exception(error))[-TRACEBACK_CHARACTERS:]
        await self._dead_letters.bury(asked, "failed", reason, self._clock(), tries=tries, traceback=text)


def chunks(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """Yield the items, so many at a time."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


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
