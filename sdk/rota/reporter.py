"""Reports of a worker, grouped: what gathers while one publish is under way is the next."""

import asyncio
from contextlib import suppress
from typing import Self

import msgspec

from rota.errors import RotaError
from rota.jetstream import ACK, MAX_BATCH, Connection, Message, until_available
from rota.protocol import Report

_encode = msgspec.msgpack.Encoder().encode


class Reporter:
    """Stores reports as commands, and acknowledges the jobs whose reports are durable, not before."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._waiting: list[tuple[Report, str]] = []
        self._more = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="reporter")
        return self

    async def __aexit__(self, *_: object) -> None:
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
                messages = _messages([report for report, _ in group])
                await until_available(lambda messages=messages: self._connection.publish_each(messages))  # type: ignore[misc] # mypy cannot infer a lambda with a default
                for _, ack_subject in group:
                    if ack_subject:
                        # An ack that is lost only means that the job is handed out again, and ignored.
                        with suppress(RotaError):
                            await self._connection.send(ack_subject, ACK)
            self._idle.set()


def _messages(reports: list[Report]) -> list[Message]:
    groups: dict[str, list[Report]] = {}
    for report in reports:
        # What precedes the first "-" of an id decides its partition, and so which jobs may share a message.
        groups.setdefault(report.id.partition("-")[0], []).append(report)
    return [Message(f"rota.command.job.{group}.report", _encode(members)) for group, members in groups.items()]
