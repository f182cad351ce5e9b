"""The worker: pulls jobs from NATS, runs their handlers, reports.

A job is acknowledged only after its report is stored. A worker that dies loses its leases, and others get its
jobs.
"""

import asyncio
import logging
import os
import signal
import socket
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, suppress
from typing import Any

import msgspec
from nats.aio.msg import Msg

from rota.attempt import Attempt
from rota.errors import GiveUpError, RotaError, UnavailableError
from rota.jetstream import (
    ACK,
    CONSUMER_NOT_FOUND,
    IN_PROGRESS,
    NAK,
    STREAM_NOT_FOUND,
    Connection,
    JetStreamError,
    Message,
    until_available,
)
from rota.jobs import Job
from rota.protocol import MAX_DELIVERIES, Report, Work
from rota.pull import Pull, delivery
from rota.reporter import Reporter

WORK = "ROTA_WORK"
DEFAULT_NATS_URL = "nats://127.0.0.1:4222"
TICK_SECONDS = 1.0

log = logging.getLogger("rota.worker")
_decoder = msgspec.msgpack.Decoder(Work)


def work_filter(queue: str, spec: str) -> str:
    """Return what matches the work of one spec in one queue, of whatever priority."""
    return f"rota.work.{queue}.*.{spec}.*"


class Held(msgspec.Struct):
    """A job that runs here, and the delivery that its ack answers."""

    attempt: Attempt
    message: Msg
    task: asyncio.Task[None] | None = None


class Worker:
    """Runs jobs of some kinds, so many at a time.

    `concurrency` is the number of handlers that run at once; handlers that are not async run in threads.
    `queues` names queues to serve besides each job's own. A job that this worker holds is its own for
    `lease_seconds` after the last sign of life, which it gives by itself; for a queue and spec that have workers
    already, the first of them has chosen how long.
    """

    def __init__(
        self,
        jobs: Sequence[Job[Any, Any]],
        *,
        nats_url: str = DEFAULT_NATS_URL,
        concurrency: int = 10,
        queues: Sequence[str] = (),
        lease_seconds: float = 30.0,
        stop_seconds: float = 30.0,
        name: str | None = None,
    ) -> None:
        self.name = name or f"{socket.gethostname()}-{os.getpid()}"
        self._jobs = {job.name: job for job in jobs}
        self._nats_url = nats_url
        self._concurrency = concurrency
        self._queues = queues
        self._lease_seconds = lease_seconds
        self._stop_seconds = stop_seconds
        self._waiting: deque[tuple[Msg, Pull]] = deque()
        self._running: dict[tuple[str, int], Held] = {}
        """By job and attempt: the next attempt may come while one whose lease ran out still runs."""
        self._stopping = asyncio.Event()

    async def run(self, *, signals: bool = True) -> None:
        """Work until `stop` is called, or SIGTERM or SIGINT comes; then finish what runs and give back the rest."""
        if signals:
            for number in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(number, self.stop)
        async with AsyncExitStack() as stack:
            self._connection = await stack.enter_async_context(
                await Connection.open(self._nats_url, name=self.name)
            )
            await self._register()
            self._reporter = await stack.enter_async_context(Reporter(self._connection, self._stop_seconds))
            self._threads = ThreadPoolExecutor(self._concurrency, thread_name_prefix="rota-job")
            stack.callback(self._threads.shutdown, wait=False, cancel_futures=True)
            for subject in ("rota.status.job.*.cancelled", "rota.status.job.*.cancelled.*"):
                await self._connection.client.subscribe(subject, cb=self._on_cancelled)
            async with AsyncExitStack() as pulls:
                for job in self._jobs.values():
                    for queue in {job.spec.queue, *self._queues}:
                        await pulls.enter_async_context(await self._pull(job.name, queue))
                log.info("worker %s is ready for %s", self.name, ", ".join(self._jobs))
                ticker = asyncio.create_task(self._tick(), name="worker ticker")
                await self._stopping.wait()
            await self._finish()
            ticker.cancel()
            await asyncio.wait([ticker])

    def stop(self) -> None:
        """Stop gracefully; a second time, give up what still runs at once."""
        if self._stopping.is_set():
            for held in self._running.values():
                if held.task:
                    held.task.cancel()
        self._stopping.set()

    async def _register(self) -> None:
        specs = [
            Message(f"rota.command.spec.{job.name.partition('-')[0]}.register", msgspec.msgpack.encode([job.spec]))
            for job in self._jobs.values()
        ]
        await until_available(lambda: self._connection.publish_all(specs))

    async def _pull(self, spec: str, queue: str) -> Pull:
        """Return the flow of one queue's jobs of one spec."""
        consumer = f"{queue}:{spec}"  # no name has a colon
        config = {
            "name": consumer,
            "durable_name": consumer,
            "filter_subject": work_filter(queue, spec),
            "ack_policy": "explicit",
            "ack_wait": int(self._lease_seconds * 1e9),
            "max_ack_pending": -1,
        }

        async def create() -> None:
            try:
                info = await self._connection.call(f"CONSUMER.INFO.{WORK}.{consumer}")
            except JetStreamError as error:
                if error.code == STREAM_NOT_FOUND:
                    raise UnavailableError("This NATS server has no streams of Rota yet") from error
                if error.code != CONSUMER_NOT_FOUND:
                    raise
                body = {"stream_name": WORK, "config": config}
                info = await self._connection.call(f"CONSUMER.CREATE.{WORK}.{consumer}", body)
            # All workers of a consumer share its lease; who came first has chosen it.
            self._lease_seconds = min(self._lease_seconds, info["config"]["ack_wait"] / 1e9)

        await until_available(create)

        def receive(message: Msg) -> None:
            self._waiting.append((message, pull))
            self._dispatch()

        # No more than can run: a job that waits here behind long ones could run elsewhere.
        pull = Pull(self._connection, WORK, consumer, receive, credit=self._concurrency, recreate=create)
        return pull

    def _dispatch(self) -> None:
        while self._waiting and len(self._running) < self._concurrency and not self._stopping.is_set():
            message, pull = self._waiting.popleft()
            try:
                work = _decoder.decode(message.data)
                job = self._jobs[work.details.spec]
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, KeyError) as error:
                # Perhaps a newer worker can: it comes to one when its lease has run out.
                log.warning("work on %s cannot be read: %r", message.subject, error)
                pull.free()
                continue
            if held := self._running.get((work.id, work.attempt)):
                # The lease ran out while this process was busy, and the job came back to it.
                held.message = message
                pull.free()
                continue
            count = delivery(message).count
            held = Held(Attempt(work, job, self.name, count), message)
            held.task = asyncio.create_task(self._work(held, count, pull), name=f"job {work.id}")
            self._running[work.id, work.attempt] = held

    async def _work(self, held: Held, count: int, pull: Pull) -> None:
        try:
            if count > MAX_DELIVERIES:
                lost = GiveUpError(f"Its worker was lost {count - 1} times; the job may be what kills it")
                report: Report = held.attempt.failed(lost, final=True)
            else:
                if held.attempt.work.details.tell_start:
                    self._reporter.report(held.attempt.start())
                report = await held.attempt.run(self._connection, self._threads)
            self._reporter.report(report, held.message.reply)
        except asyncio.CancelledError:
            if self._stopping.is_set():
                # Given back when the pulls have ended: as long as one is open, it would come back to this worker.
                self._waiting.append((held.message, pull))
            else:  # cancelled for everybody
                await self._send(held.message, ACK)
        finally:
            del self._running[held.attempt.work.id, held.attempt.work.attempt]
            pull.free()
            self._dispatch()

    async def _send(self, message: Msg, answer: bytes) -> None:
        """Answer a delivery; if that is lost, the lease runs out instead."""
        with suppress(RotaError):
            await self._connection.send(message.reply, answer)

    async def _tick(self) -> None:
        """Once a second tell of what takes long, and keep the leases of all that is here."""
        every = max(1, int(self._lease_seconds / 3 / TICK_SECONDS))
        tick = 0
        while True:
            await asyncio.sleep(min(TICK_SECONDS, self._lease_seconds / 3))
            tick += 1
            here = [message for message, _ in self._waiting]
            for held in self._running.values():
                here.append(held.message)
                for report in held.attempt.news():
                    self._reporter.report(report)
            if tick % every == 0:
                for message in here:
                    await self._send(message, IN_PROGRESS)

    async def _on_cancelled(self, message: Msg) -> None:
        job = message.subject.split(".")[3]
        for (id_, _), held in self._running.items():
            if id_ == job and held.task:
                log.info("job %s was cancelled", job)
                held.task.cancel()

    async def _finish(self) -> None:
        await self._give_back()
        tasks = [held.task for held in self._running.values() if held.task]
        if tasks:
            log.info("worker %s finishes %d jobs", self.name, len(tasks))
            _, late = await asyncio.wait(tasks, timeout=self._stop_seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
            await self._give_back()

    async def _give_back(self) -> None:
        while self._waiting:
            message, _ = self._waiting.popleft()
            await self._send(message, NAK)
