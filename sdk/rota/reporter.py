"""Reports of a worker, grouped: what gathers while one publish is under way is the next."""

import asyncio
import logging
from contextlib import suppress
from typing import Self

import msgspec

from rota.errors import RotaError
from rota.jetstream import ACK, MAX_BATCH, RETRY_SECONDS, Connection, Message
from rota.protocol import Report

MESSAGE_BYTES = 1024 * 1024
"""Reports that share a message take no more than this; one alone is always smaller."""

log = logging.getLogger("rota.worker")
_encode = msgspec.msgpack.Encoder().encode


class Reporter:
    """Stores reports as commands, and acknowledges the jobs whose reports are durable, not before."""

    def __init__(self, connection: Connection, stop_seconds: float) -> None:
        self._connection = connection
        self._stop_seconds = stop_seconds
        self._waiting: list[tuple[Report, str]] = []
        self._more = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="reporter")
        return self

    async def __aexit__(self, *_: object) -> None:
        # What cannot be stored by then is done again by whoever gets the job when its lease has run out.
        with suppress(TimeoutError):
            async with asyncio.timeout(self._stop_seconds):
                await self._idle.wait()
        self._task.cancel()
        await asyncio.wait([self._task])

    def report(self, report: Report, ack_subject: str = "") -> None:
        """Have a report stored soon, and then its job's message acknowledged if there is an ack subject."""
        self._waiting.append((report, ack_subject))
        self._idle.clear()
        self._more.set()

    async def _run(self) -> None:
        while True:
            await self._more.wait()
            self._more.clear()
            while self._waiting:
                # Each report may be a message of its own, since only jobs of one group share one.
                group, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
                await self._store(_messages([report for report, _ in group]))
                for _, ack_subject in group:
                    if ack_subject:
                        # An ack that is lost only means that the job is handed out again, and ignored.
                        with suppress(RotaError):
                            await self._connection.send(ack_subject, ACK)
            self._idle.set()

    async def _store(self, messages: list[Message]) -> None:
        while True:
            try:
                await self._connection.publish_each(messages)
            except RotaError as error:
                # Away, or without room: the jobs stay leased until their reports are stored.
                log.warning("%s; reporting again", error)
                await asyncio.sleep(RETRY_SECONDS)
            else:
                return


def _messages(reports: list[Report]) -> list[Message]:
    groups: dict[str, list[list[msgspec.Raw]]] = {}
    room: dict[str, int] = {}
    for report in reports:
        body = msgspec.Raw(_encode(report))
        # What precedes the first "-" of an id decides its partition, and so which jobs may share a message.
        group = report.id.partition("-")[0]
        room[group] = room.get(group, 0) - len(body)
        if room[group] < 0:
            groups.setdefault(group, []).append([])
            room[group] = MESSAGE_BYTES - len(body)
        groups[group][-1].append(body)
    return [
        Message(f"rota.command.job.{group}.report", _encode(bodies))
        for group, parts in groups.items()
        for bodies in parts
    ]
