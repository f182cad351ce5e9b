"""The shard: takes commands of its partitions, decides, appends once, acknowledges.

It knows no kind of aggregate. Nothing is acknowledged before it is in the log. An aggregate is loaded when a
command for it arrives, and kept in a bounded cache. The expected sequence of each append is the fence that makes
a second owner, or a stale cache, harmless; and that nothing is to be done is decided by what the log has alone.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, suppress
from datetime import datetime
from typing import Any

from msgspec import MsgspecError, Struct

from actors.roles import Role
from events.base import Event, Kind, Refusal
from events.batch import OpenBatch
from events.catalog import AGGREGATES, AnyCommand, decode_commands
from events.jetstream.log import Append, Log, SequenceConflictError
from events.jetstream.repository import load_state
from events.jetstream.topology import COMMANDS, partition_consumer
from events.job import ScheduleJob
from events.subjects import kind_of
from rota.errors import TooLargeError, UnavailableError
from rota.jetstream import ACK, NAK, RETRY_SECONDS, Connection, JetStreamError, Msg
from rota.pull import Pull

MESSAGES_PER_PARTITION = 128
COMMANDS_AT_ONCE = 500
CACHED_AGGREGATES = 50_000
LOADS_AT_ONCE = 32

MAKES = (ScheduleJob, OpenBatch)
"""Commands whose aggregate as a rule does not exist yet, so that it need not be looked for."""

log = logging.getLogger("rota.shard")
Identity = tuple[Kind, str]


class Entry(Struct, frozen=True):
    """An aggregate's state, and the log's sequence of its last event (0: none)."""

    state: Any
    sequence: int


class Shard:
    """The owner of some partitions' aggregates."""

    def __init__(
        self,
        connection: Connection,
        partitions: Sequence[int],
        roles: Sequence[Role],
        clock: Callable[[], datetime],
    ) -> None:
        self._connection = connection
        self._log = Log(connection)
        self._partitions = partitions
        self._roles = {role.kind: role for role in roles}
        self._clock = clock
        self._cache: OrderedDict[Identity, Entry] = OrderedDict()
        self._inbox: list[tuple[Msg, Pull]] = []
        self._arrived = asyncio.Event()
        self._stopping = False

    async def run(self) -> None:
        """Work until `stop`; what was taken by then is finished, and what came later is given back."""
        async with AsyncExitStack() as pulls:
            for partition in self._partitions:
                await pulls.enter_async_context(self._pull(partition))
            while not self._stopping:
                await self._arrived.wait()
                self._arrived.clear()
                messages, self._inbox = self._inbox, []
                await self._handle(messages)
        for message, _ in self._inbox:
            with suppress(UnavailableError):
                await self._connection.send(message.reply, NAK)

    def stop(self) -> None:
        """Stop after the commands that are being worked on."""
        self._stopping = True
        self._arrived.set()

    def _pull(self, partition: int) -> Pull:
        def receive(message: Msg) -> None:
            self._inbox.append((message, pull))
            self._arrived.set()

        pull = Pull(
            self._connection, COMMANDS, partition_consumer(partition), receive, credit=MESSAGES_PER_PARTITION
        )
        return pull

    async def _handle(self, messages: Sequence[tuple[Msg, Pull]]) -> None:
        """Carry out the commands of messages, acknowledging the messages of COMMANDS_AT_ONCE at a time."""
        commands: list[AnyCommand] = []
        done: list[tuple[Msg, Pull]] = []
        for position, (message, pull) in enumerate(messages, start=1):
            try:
                commands.extend(decode_commands(message.data))
            except MsgspecError as error:
                log.error("a message on %s is no list of commands and is dropped: %s", message.subject, error)  # noqa: TRY400 - the place in the data says more than the stack
            done.append((message, pull))
            if len(commands) >= COMMANDS_AT_ONCE or position == len(messages):
                for chunk in _chunks(commands, COMMANDS_AT_ONCE):
                    await self._carry_out(chunk)
                await self._acknowledge(done)
                commands, done = [], []

    async def _acknowledge(self, messages: Sequence[tuple[Msg, Pull]]) -> None:
        for message, pull in messages:
            with suppress(UnavailableError):
                # An ack that is lost brings the commands back, and then they change nothing.
                await self._connection.send(message.reply, ACK)
            pull.free()

    async def _carry_out(self, commands: Sequence[AnyCommand]) -> None:
        """Decide and append; again with fresh states if somebody else was faster or the answer is unknown."""
        fresh = False
        while True:
            try:
                await self._attempt(commands, fresh=fresh)
            except SequenceConflictError:
                log.debug("a conflict: loading %d aggregates again", len(commands))
            except UnavailableError as error:
                log.warning("%s; trying again", error)
                await asyncio.sleep(RETRY_SECONDS)
            except (JetStreamError, TooLargeError):
                if len(commands) == 1:
                    log.exception(
                        "the events of %s for %s cannot be stored", type(commands[0]).__name__, commands[0].id
                    )
                    return
                # The others must not suffer for one.
                for one in commands:
                    await self._carry_out([one])
                return
            else:
                return
            fresh = True

    async def _attempt(self, commands: Sequence[AnyCommand], *, fresh: bool) -> None:
        staged = await self._entries(commands, fresh=fresh)
        appends: dict[Identity, Append] = {}
        doubtful: set[Identity] = set()
        now = self._clock()
        for command in commands:
            kind = kind_of(command)
            identity = (kind, command.id)
            entry = staged[identity]
            events = self._decide(kind, entry.state, command, now)
            if not events:
                if not isinstance(command, MAKES):  # what exists in the cache exists in the log
                    doubtful.add(identity)
                continue
            append = appends.setdefault(identity, Append(kind, command.id, entry.sequence, []))
            append.events.extend(events)
            state = entry.state
            for event in events:
                state = AGGREGATES[kind].evolve(state, event)
            staged[identity] = Entry(state, entry.sequence)
        # No append would tell that the cache is stale: what it decided to ignore is loaded and decided again.
        cached = [identity for identity in doubtful if self._cache.pop(identity, None)]
        if cached and not fresh:
            await self._attempt(commands, fresh=False)
        elif appends:
            await self._store(list(appends.values()), staged)

    async def _store(self, appends: list[Append], staged: dict[Identity, Entry]) -> None:
        by_kind: dict[Kind, list[Event]] = {}
        for append in appends:
            by_kind.setdefault(append.kind, []).extend(append.events)
        for kind, events in by_kind.items():
            if role := self._roles.get(kind):
                await role.before(events)
        sequences = await self._log.append(appends)
        for append, sequence in zip(appends, sequences, strict=True):
            identity = (append.kind, append.id)
            self._cache[identity] = Entry(staged[identity].state, sequence)
            self._cache.move_to_end(identity)
        while len(self._cache) > CACHED_AGGREGATES:
            self._cache.popitem(last=False)

    def _decide(self, kind: Kind, state: Any, command: AnyCommand, now: datetime) -> list[Event]:
        try:
            return AGGREGATES[kind].decide(state, command, now)
        except Refusal as error:
            log.info("refused: %s", error)
        except Exception:
            # A fault in a decider must not hold up all other commands of the partition.
            log.exception("command %s for %s cannot be decided and is dropped", type(command).__name__, command.id)
        return []

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
        for some in _chunks(missing, LOADS_AT_ONCE):
            loaded = await asyncio.gather(*(load_state(self._log, kind, id_) for kind, id_ in some))
            staged.update((identity, Entry(*found)) for identity, found in zip(some, loaded, strict=True))
        return staged


def _chunks(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
