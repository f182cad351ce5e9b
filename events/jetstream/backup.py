"""Backup and restore: the streams, as the server itself writes and reads them, in one file.

While the streams are copied no command is carried out: the consumers of commands are paused, and go on by
themselves if the backup is killed. Senders and workers notice nothing but that answers take longer. So the log and
the rows are of one moment. Commands are copied first: those that the log has not seen yet, and perhaps some that it
has, which then decide to nothing. ROTA_WORK is not in the file: it is made anew from the log.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

from msgspec import Struct

from events.jetstream.topology import COMMANDS, EVENTS, WORK, partition_consumer
from events.jetstream.work import make_work
from events.subjects import PARTITIONS
from rota.errors import IncompatibleError, NotFoundError, RotaError, UnavailableError
from rota.jetstream import Connection, Msg

FORMAT = 1
MANIFEST = "manifest.json"
PREFIXES = ("ROTA_", "KV_ROTA_", "OBJ_ROTA_")

CHUNK_BYTES = 512 * 1024
SILENCE_SECONDS = 30.0
FINISH_SECONDS = 600.0
"""How long the server may take to read a stream in that it was sent."""
PAUSE_SECONDS = 60
QUIET_SECONDS = 3.0
LOOK_SECONDS = 0.1


class Copied(Struct, frozen=True):
    """A stream in the file."""

    stream: str
    messages: int
    bytes: int


async def backup(connection: Connection, path: Path, now: Callable[[], datetime]) -> list[Copied]:
    """Copy all streams of Rota but ROTA_WORK into a file, which is there when all of it is.

    NotFoundError if there are none, UnavailableError if the server falls silent.
    """
    names = await _streams(connection)
    if not {COMMANDS, EVENTS} <= set(names):
        raise NotFoundError("This NATS server has no streams of Rota")
    part = path.with_name(f"{path.name}.part")
    try:
        with ZipFile(part, "w") as file:
            async with _quiet(connection, now):
                copied = [await _copy(connection, stream, file) for stream in names]
            facts = {"format": FORMAT, "made_at": now().isoformat(), "streams": names}
            file.writestr(MANIFEST, json.dumps(facts))
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return copied


async def restore(connection: Connection, path: Path) -> tuple[list[Copied], int]:
    """Make the streams of a backup, on a server that has none of Rota.

    Return them, and how many jobs wait for workers. IncompatibleError if the server has some, or the file is no
    whole backup. If it is interrupted, empty the server's store and begin again.
    """
    if there := await _streams(connection, all_of_them=True):
        raise IncompatibleError(f"This NATS server has streams of Rota already: {', '.join(there)}")
    try:
        with ZipFile(path) as file:
            names = _read_manifest(file)
            # With a log, and without its work, no process of Rota starts: so an interrupted restore is noticed.
            names.sort(key=lambda name: name != EVENTS)
            copied = [await _put_back(connection, stream, file) for stream in names]
    except (BadZipFile, KeyError, ValueError) as error:
        raise IncompatibleError(f"{path} is no whole backup of Rota: {error}") from error
    waiting = await make_work(connection)
    await _pause(connection, None)  # as they were when they were copied
    return copied, waiting


async def _streams(connection: Connection, *, all_of_them: bool = False) -> list[str]:
    """Return the streams of Rota: commands first, then events."""
    found: list[str] = (await connection.call("STREAM.NAMES"))["streams"] or []
    names = [name for name in found if name.startswith(PREFIXES) and (all_of_them or name != WORK)]
    return sorted(names, key=lambda name: (name != COMMANDS, name != EVENTS, name))


def _read_manifest(file: ZipFile) -> list[str]:
    facts = json.loads(file.read(MANIFEST))
    if facts["format"] != FORMAT:
        raise IncompatibleError(f"The backup has format {facts['format']}; this version reads {FORMAT}")
    if damaged := file.testzip():
        raise ValueError(f"{damaged} is damaged")
    names: list[str] = facts["streams"]
    return names


@asynccontextmanager
async def _quiet(connection: Connection, now: Callable[[], datetime]) -> AsyncIterator[None]:
    """Have no command carried out in the block."""

    async def pause() -> None:
        await _pause(connection, now() + timedelta(seconds=PAUSE_SECONDS))

    async def keep() -> None:
        while True:
            await asyncio.sleep(PAUSE_SECONDS / 3)
            with suppress(UnavailableError):
                await pause()

    keeping = asyncio.create_task(keep(), name="keep the pause")
    try:
        await pause()
        await _until_quiet(connection)
        yield
        if keeping.done():
            keeping.result()
    finally:
        keeping.cancel()
        await asyncio.wait([keeping])
        await _pause(connection, None)


async def _pause(connection: Connection, until: datetime | None) -> None:
    """Pause the consumers of commands until a time, or let them go on."""
    body = {} if until is None else {"pause_until": until.astimezone(UTC).isoformat()}
    for partition in range(PARTITIONS):
        answer = await connection.call(f"CONSUMER.PAUSE.{COMMANDS}.{partition_consumer(partition)}", body)
        if until and not answer["paused"]:
            raise RotaError("The clocks of this machine and of the NATS server differ by a minute or more")


async def _until_quiet(connection: Connection) -> None:
    """Wait until the shards have carried out what they had taken; not for those that are dead."""
    clock = asyncio.get_running_loop().time
    before, since = None, clock()
    while True:
        consumers = [
            await connection.call(f"CONSUMER.INFO.{COMMANDS}.{partition_consumer(partition)}")
            for partition in range(PARTITIONS)
        ]
        pending = sum(consumer["num_ack_pending"] for consumer in consumers)
        last = (await connection.call(f"STREAM.INFO.{EVENTS}"))["state"]["last_seq"]
        if pending == 0:
            return
        if (pending, last) != before:
            before, since = (pending, last), clock()
        elif clock() - since > QUIET_SECONDS:
            return
        await asyncio.sleep(LOOK_SECONDS)


async def _copy(connection: Connection, stream: str, file: ZipFile) -> Copied:
    """Write what the server sends of a stream and its consumers: pieces that want an answer, then an empty one."""
    inbox = connection.client.new_inbox()
    arrived: asyncio.Queue[Msg] = asyncio.Queue()
    subscription = await connection.client.subscribe(inbox, cb=arrived.put)
    try:
        body = {"deliver_subject": inbox, "chunk_size": CHUNK_BYTES}
        begun = await connection.call(f"STREAM.SNAPSHOT.{stream}", body)
        size = 0
        with file.open(f"{stream}.snapshot", "w", force_zip64=True) as pieces:
            while True:
                try:
                    async with asyncio.timeout(SILENCE_SECONDS):
                        message = await arrived.get()
                except TimeoutError as error:
                    raise UnavailableError(f"NATS has stopped to send the stream {stream}") from error
                if not message.data:
                    break
                pieces.write(message.data)
                size += len(message.data)
                if message.reply:
                    await connection.send(message.reply, b"")
        if said := (message.headers or {}).get("Description"):
            raise RotaError(f"The stream {stream} cannot be copied: {said}")
    finally:
        await subscription.unsubscribe()
    file.writestr(f"{stream}.json", json.dumps({"config": begun["config"], "state": begun["state"]}))
    return Copied(stream, begun["state"]["messages"], size)


async def _put_back(connection: Connection, stream: str, file: ZipFile) -> Copied:
    facts: dict[str, Any] = json.loads(file.read(f"{stream}.json"))
    subject = (await connection.call(f"STREAM.RESTORE.{stream}", facts))["deliver_subject"]
    size = 0
    with file.open(f"{stream}.snapshot") as pieces:
        while piece := pieces.read(CHUNK_BYTES):
            _check(stream, await connection.request(subject, piece, timeout=SILENCE_SECONDS))
            size += len(piece)
    _check(stream, await connection.request(subject, timeout=FINISH_SECONDS))
    return Copied(stream, facts["state"]["messages"], size)


def _check(stream: str, answer: Msg) -> None:
    if answer.data and (error := json.loads(answer.data).get("error")):
        raise IncompatibleError(f"The stream {stream} cannot be restored: {error.get('description')}")
