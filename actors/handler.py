"""Carries out commands: decides, appends once, and tells what became of each.

It knows no kind of aggregate. An aggregate is loaded when a command for it arrives, and kept in a bounded cache.
What follows for other aggregates, as their roles tell, is decided at once, and stored with it: all or nothing.
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

from actors.cache import MAX_ENTRIES, Cache, Entry, Identity
from actors.roles import Change, Consequence, Role
from actors.turn import Turn
from events.base import Event, Kind, Origin, Refusal, event_id
from events.batch import OpenBatch
from events.catalog import AGGREGATES, KINDS, AnyCommand
from events.jetstream.dead_letters import DeadLetters
from events.jetstream.log import Log, SequenceConflictError
from events.jetstream.repository import load_state
from events.jetstream.requests import Asked, find_beginning
from events.jetstream.snapshots import Snapshots, is_due
from events.job import ScheduleJob
from events.subjects import aggregate_filter, kind_of
from events.workflow import ScheduleWorkflow
from rota.errors import NotFoundError, RotaError, UnavailableError
from rota.jetstream import RETRY_SECONDS, Connection, Msg, until_available
from rota.protocol import Outcome

LOADS_AT_ONCE = 32
TRIES = 3
TRACEBACK_CHARACTERS = 4000

MAKES = (ScheduleJob, OpenBatch, ScheduleWorkflow)
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
        done, fresh = 0, False
        while done < len(asked):
            rest = asked[done:]
            try:
                done += await self._attempt(rest, fresh=fresh)
            except SequenceConflictError:
                log.debug("a conflict: loading the aggregates of %d commands again", len(rest))
            except UnavailableError as error:
                log.warning("%s; trying again", error)
                await asyncio.sleep(RETRY_SECONDS)
            except Exception as error:  # noqa: BLE001 - a fault for one command must not hold up all others
                await self._one_by_one(rest, error)
                break
            else:
                fresh = False
                continue
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

    async def _attempt(self, asked: Sequence[Asked], *, fresh: bool) -> int:
        """Decide and store; return how many commands that were: not all, if too much would be stored at once."""
        for role in self._roles.values():
            role.begin()
        turn = Turn(self._clock())
        turn.know(await self._entries([one.command for one in asked], turn, fresh=fresh))
        count = 0
        for one in asked:
            count += 1
            try:
                events = turn.decide(one.command, one.origin)
            except Refusal as refusal:
                one.end("refused", refusal.detail, refusal.slug)
                continue
            one.end("done")
            await self._cascade(turn, one, events, fresh=fresh)
            if turn.is_full:
                break
        if not fresh and await self._forget_stale(turn):
            return await self._attempt(asked, fresh=False)
        await self._store(turn)
        return count

    async def _cascade(self, turn: Turn, root: Asked, events: Sequence[Event], *, fresh: bool) -> None:
        """Decide what follows for other aggregates, step by step: all of it is stored together."""
        identities = [(kind_of(root.command), root.command.id)]
        while following := await self._following(turn, events):
            turn.know(await self._entries([one.command for one in following], turn, fresh=fresh))
            events = []
            for one in following:
                command = one.command
                identities.append((kind_of(command), command.id))
                origin = Origin(root.origin.command_id, KINDS[type(one.event)], event_id(one.event))
                try:
                    events += turn.decide(command, origin)
                except Refusal as refusal:
                    log.info("what follows from %s is refused: %s", event_id(one.event), refusal.detail)
        if len(identities) > 1:
            turn.tie(identities)

    async def _following(self, turn: Turn, events: Sequence[Event]) -> list[Consequence]:
        """Return what follows from events for other aggregates."""
        concerned: dict[Identity, list[Event]] = {}
        for event in events:
            kind = KINDS[type(event)]
            identity = (kind, event.originator_id)
            if (role := self._roles.get(kind)) and role.concerns(event, turn.staged[identity].state):
                concerned.setdefault(identity, []).append(event)
        by_kind: dict[Kind, list[Change]] = {}
        for identity, some in concerned.items():
            by_kind.setdefault(identity[0], []).append(Change(some, turn.staged[identity].state))
        return [one for kind, changes in by_kind.items() for one in await self._roles[kind].then(changes)]

    async def _forget_stale(self, turn: Turn) -> bool:
        """Forget what is remembered of aggregates that did nothing, if the log knows more; say whether it does."""
        cached = [(identity, found) for identity in turn.undecided() if (found := self._cache.get(identity))]
        stale = False
        for some in chunks(cached, LOADS_AT_ONCE):
            last = await asyncio.gather(*(self._log.sequence_on(aggregate_filter(*one)) for one, _ in some))
            for (identity, entry), sequence in zip(some, last, strict=True):
                if entry.sequence != sequence:
                    self._cache.forget(identity)
                    stale = True
        return stale

    async def _store(self, turn: Turn) -> None:
        changes = turn.changes()
        if not changes:
            return
        for kind, some in changes.items():
            if role := self._roles.get(kind):
                await role.before(some)
        units = turn.units()
        stored = await self._log.append_units(units)
        for unit, sequences in zip(units, stored, strict=True):
            for append, sequence in zip(unit, sequences, strict=True):
                identity = (append.kind, append.id)
                state = turn.staged[identity].state
                self._cache.put(identity, Entry(state, sequence))
                aggregate = AGGREGATES[append.kind]
                if is_due(aggregate, turn.known[identity].state, state):
                    with suppress(RotaError):  # losing one costs time, nothing else
                        await self._snapshots.save(aggregate, append.id, state, sequence)
        for kind, some in changes.items():
            if role := self._roles.get(kind):
                with suppress(UnavailableError):
                    await role.after(some)

    async def _entries(self, commands: Sequence[AnyCommand], turn: Turn, *, fresh: bool) -> dict[Identity, Entry]:
        """Return the aggregates of the commands that the turn does not know, from the cache or the log."""
        found: dict[Identity, Entry] = {}
        missing: list[Identity] = []
        for command in commands:
            identity = (kind_of(command), command.id)
            if identity in found or identity in turn.known:
                continue
            cached = None if fresh else self._cache.get(identity)
            found[identity] = cached or Entry(None, 0)
            if fresh or not (cached or isinstance(command, MAKES)):
                missing.append(identity)
        for some in chunks(missing, LOADS_AT_ONCE):
            loaded = await asyncio.gather(*map(self._load, some))
            found.update((identity, Entry(*state)) for identity, state in zip(some, loaded, strict=True))
        return found

    async def _load(self, identity: Identity) -> tuple[Any, int]:
        """Return a state and its sequence as the log has them, from what is remembered of it on."""
        cached = self._cache.get(identity) or Entry(None, 0)
        known = (cached.state, cached.sequence)
        return await load_state(self._log, self._snapshots, *identity, known=known)

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
