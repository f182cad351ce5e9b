"""One subject per event against one per aggregate: what each grammar of the log costs the server (ADR 9).

The log is filled as Rota fills it: two events a job, jobs in lists of 100, each tenth list a piece of a batch. Once
the subjects are those of `events.subjects`, once all events of a job have `rota.event.job.<id>`. Then the server is
killed, stopped and started, and asked for what Rota asks of it. Memory is read after the server has been left alone
for a while, since Go gives memory back late. Ten million events take 6 GB of disk and half an hour.
"""

import argparse
import asyncio
import json
import os
import random
import secrets
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from bench.history import GRAMMARS, LIST, Grammar, Jobs, history, message, queued, succeeded
from bench.report import show
from events.jetstream.chain import chain
from events.jetstream.direct import scan
from events.jetstream.topology import EVENTS, SECOND, STREAMS
from rota.errors import RotaError, UnavailableError
from rota.jetstream import Connection, Message
from scripts.stack import free_port, nats_service, port_in_use

SEARCHES = 50
"""They are few, since each may take a second."""
WRITE = 2000
WRITES_AHEAD = 4
PATIENCE_SECONDS = 900.0
QUIET_SECONDS = {False: 150.0, True: 5.0}
"""By --quick. The collector runs at least every two minutes."""

Figures = dict[str, tuple[str, list[float]]]


class Server:
    """A nats-server with Rota's configuration, with the seconds of its starts."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._port = free_port()
        self._service = nats_service(self._port, home / "nats", home / "nats-server.log")

    async def start(self) -> float:
        """Start it; return the seconds until it takes connections, which it does when all streams are there."""
        started = time.perf_counter()
        self._service.start()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not port_in_use("127.0.0.1", self._port):
                await asyncio.sleep(0.01)
        return time.perf_counter() - started

    def end(self, sign: signal.Signals) -> float:
        """End it; return the seconds that it took."""
        started = time.perf_counter()
        self._service.process.send_signal(sign)
        self._service.process.wait(PATIENCE_SECONDS)
        return time.perf_counter() - started

    async def connect(self) -> Connection:
        """Open a connection to it."""
        return await Connection.open(f"nats://127.0.0.1:{self._port}", name="subjects")

    def megabytes(self, field: str = "VmRSS") -> float:
        """Return its resident memory, or the peak of it (VmHWM)."""
        for line in Path(f"/proc/{self._service.process.pid}/status").read_text().splitlines():
            if line.startswith(field):
                return int(line.split()[1]) / 1024
        raise RotaError(f"/proc has no {field}")

    def cpu_seconds(self) -> float:
        """Return the processor time since its start, which depends less on what else the machine does."""
        fields = Path(f"/proc/{self._service.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def disk_gigabytes(self) -> float:
        """Return what its files take."""
        return sum(path.stat().st_blocks * 512 for path in (self._home / "nats").rglob("*")) / 1e9

    def close(self) -> None:
        """End it if it runs."""
        self._service.kill()


async def call(connection: Connection, name: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """Call JetStream's API as `Connection.call`, but wait for as long as it takes."""
    reply = await connection.request(
        f"$JS.API.{name}", json.dumps(body).encode() if body else b"", timeout=PATIENCE_SECONDS
    )
    answer: dict[str, Any] = json.loads(reply.data)
    if "error" in answer:
        raise RotaError(f"{name}: {answer['error']}")
    return answer


async def fill(connection: Connection, messages: Iterator[Message]) -> None:
    """Store messages in large writes; only the last of each is answered, and few are ahead of their answer."""
    inbox = connection.client.new_inbox()
    answers = await connection.client.subscribe(inbox)
    ahead = 0
    while write := list(islice(messages, WRITE)):
        await connection.client.publish_many(write, [*[""] * (len(write) - 1), inbox])
        ahead += 1
        if ahead > WRITES_AHEAD:
            await answers.next_msg(timeout=PATIENCE_SECONDS)
            ahead -= 1
    for _ in range(ahead):
        await answers.next_msg(timeout=PATIENCE_SECONDS)
    await answers.unsubscribe()


async def appends_per_second(connection: Connection, grammar: Grammar, jobs: Jobs, lists: int) -> float:
    """Return events/s of appends as shards make them: two events of each job, each with its expected sequence."""
    started = time.perf_counter()
    for _ in range(lists):
        ids, batch = jobs.ids()
        sequences = [0] * LIST
        for make in (queued, succeeded):
            sequences = await connection.publish_each(
                [message(grammar, make(job, batch), expected) for job, expected in zip(ids, sequences, strict=True)]
            )
    return lists * LIST * 2 / (time.perf_counter() - started)


async def consumer(connection: Connection, subject: str, start: int) -> tuple[float, float]:
    """Make a consumer as a follower does; return the seconds, and how many messages it is to deliver."""
    name = secrets.token_hex(8)
    config = {
        "name": name,
        "ack_policy": "none",
        "deliver_policy": "by_start_sequence",
        "opt_start_seq": start,
        "filter_subjects": [subject],
        "headers_only": True,
        "mem_storage": True,
        "inactive_threshold": 60 * SECOND,
    }
    started = time.perf_counter()
    made = await call(connection, f"CONSUMER.CREATE.{EVENTS}.{name}", {"stream_name": EVENTS, "config": config})
    seconds = time.perf_counter() - started
    await call(connection, f"CONSUMER.DELETE.{EVENTS}.{name}")
    return seconds, float(made["num_pending"])


async def milliseconds(jobs: Sequence[str], attempt: Callable[[str], Awaitable[Any]]) -> tuple[float, float]:
    """Return the median and the 99th percentile of how long it takes for a job, one after the other."""
    taken = []
    for job in jobs:
        started = time.perf_counter()
        await attempt(job)
        taken.append((time.perf_counter() - started) * 1000)
    taken.sort()
    return taken[len(taken) // 2], taken[int(len(taken) * 0.99)]


class Measured:
    """The figures of one grammar; each is told on stderr as it comes, since the whole takes long."""

    def __init__(self, grammar: Grammar) -> None:
        self._prefix = grammar.name
        self.figures: Figures = {}

    def add(self, name: str, what: str, *values: float) -> None:
        """Note a figure."""
        name = f"{self._prefix}_{name}"
        self.figures[name] = (what, list(values))
        print(f"{name}: {', '.join(f'{value:.4g}' for value in values)}", file=sys.stderr, flush=True)


async def stored(connection: Connection) -> dict[str, int]:
    """Return the state of the stream."""
    state: dict[str, int] = (await call(connection, f"STREAM.INFO.{EVENTS}"))["state"]
    return state


async def start_again(server: Server, events: int) -> float:
    """Start the server; return the seconds until it has the stream back, with all events."""
    seconds = await server.start()
    async with await server.connect() as connection:
        found = (await stored(connection))["messages"]
    if found != events:
        raise RotaError(f"the stream has {found} events, not {events}")
    return seconds


async def measure(grammar: Grammar, folder: Path, events: int, *, quick: bool) -> Figures:
    """Fill a new server, and measure it."""
    measured, jobs, sample = Measured(grammar), Jobs(seed=3), list[str]()
    add = measured.add
    quiet = QUIET_SECONDS[quick]
    server = Server(folder)
    try:
        await server.start()
        add("empty_rss_mb", "memory of the server without events, MB", server.megabytes())
        async with await server.connect() as connection:
            await call(connection, f"STREAM.CREATE.{EVENTS}", {"name": EVENTS, **STREAMS[EVENTS]})
            started = time.perf_counter()
            await fill(connection, history(grammar, jobs, events, sample))
            add(
                "fill_per_second",
                "events appended, answered 2,000 at a time",
                events / (time.perf_counter() - started),
            )
            state = await stored(connection)
        if state["messages"] != events:
            raise RotaError(f"the stream has {state['messages']} events, not {events}")
        add("subjects", "subjects in the stream", state["num_subjects"])
        add("filled_rss_mb", "memory when it has just been filled, MB", server.megabytes())
        await asyncio.sleep(quiet)
        add("rss_mb", "memory when it has been left alone, MB", server.megabytes())
        add("disk_gb", "disk used, GB", server.disk_gigabytes())

        server.end(signal.SIGKILL)
        add(
            "start_after_kill_seconds",
            "start after kill -9 of the filled server",
            await start_again(server, events),
        )
        add("start_after_kill_cpu_seconds", "processor time of it", server.cpu_seconds())
        add("start_after_kill_peak_mb", "its peak of memory, MB", server.megabytes("VmHWM"))
        add("stop_seconds", "clean stop", server.end(signal.SIGTERM))
        add("start_seconds", "start after a clean stop", await start_again(server, events))
        add("start_cpu_seconds", "processor time of it", server.cpu_seconds())
        add("start_peak_mb", "its peak of memory, MB", server.megabytes("VmHWM"))
        await asyncio.sleep(quiet)
        add("restarted_rss_mb", "memory when it has been left alone after it, MB", server.megabytes())

        async with await server.connect() as connection:
            chosen = random.Random(5).sample(sample, 1200)
            await ask(connection, grammar, jobs.batches, chosen, measured)
            lists = 20 if quick else 200
            rate = await appends_per_second(connection, grammar, jobs, lists)
            add("append_per_second", "events appended, answered 100 at a time", rate)
            events = (await stored(connection))["messages"]
        server.end(signal.SIGKILL)
        seconds = await start_again(server, events)
        add("start_after_late_kill_seconds", "start after kill -9 some time after a clean start", seconds)
        add("start_after_late_kill_cpu_seconds", "processor time of it", server.cpu_seconds())
    finally:
        server.close()
    return measured.figures


async def ask(
    connection: Connection, grammar: Grammar, batches: list[str], sample: list[str], measured: Measured
) -> None:
    """Measure what Rota asks of the log."""
    add = measured.add

    async def load(job: str) -> None:
        if len(await chain(connection, EVENTS, grammar.of_job(job))) != 2:
            raise RotaError(f"{job} has not two events")

    async def search(job: str) -> None:
        # The server may be at it for longer than Rota waits; then the wait is what is measured.
        with suppress(UnavailableError):
            if len([found async for found in scan(connection, EVENTS, grammar.of_job(job))]) != 2:
                raise RotaError(f"{job} has not two events")

    async def last(job: str) -> None:
        if await connection.last(EVENTS, grammar.of_job(job)) is None:
            raise RotaError(f"{job} has no event")

    async def purge(job: str) -> None:
        if (await call(connection, f"STREAM.PURGE.{EVENTS}", {"filter": grammar.of_job(job)}))["purged"] != 2:
            raise RotaError(f"{job} had not two events")

    p50, p99 = await milliseconds(sample[:1000], load)
    add("load_p50_ms", "one job's events, median", p50)
    add("load_p99_ms", "one job's events, 99 %", p99)
    p50, p99 = await milliseconds(sample[:SEARCHES], search)
    add("search_p50_ms", "the same by a search on the filter", p50)
    add("search_p99_ms", "the same by a search, 99 %", p99)
    p50, p99 = await milliseconds(sample[:1000], last)
    add("last_p50_ms", "one job's last event, median", p50)
    add("last_p99_ms", "one job's last event, 99 %", p99)

    end = (await stored(connection))["last_seq"] - 1000
    batch = batches[len(batches) // 2]
    for name, what, subject in (
        ("work", "queued jobs", grammar.queued),
        ("batch", "a batch's ended jobs", grammar.ended(batch)),
    ):
        made = [await consumer(connection, subject, 1) for _ in range(3)]
        add(f"{name}_consumer_seconds", f"make a consumer of {what}", *(seconds for seconds, _ in made))
        add(f"{name}_consumer_messages", "messages that it is to deliver", made[0][1])
        made = [await consumer(connection, subject, end) for _ in range(3)]
        add(f"{name}_consumer_at_end_seconds", "the same from the last 1,000", *(seconds for seconds, _ in made))

    p50, p99 = await milliseconds(sample[1000:], purge)
    add("purge_p50_ms", "remove one job's events, median", p50)
    add("purge_p99_ms", "remove one job's events, 99 %", p99)


async def compare(events: int, *, quick: bool) -> Figures:
    figures: Figures = {}
    for grammar in GRAMMARS:
        with tempfile.TemporaryDirectory(prefix="rota-bench-", ignore_cleanup_errors=True) as folder:
            figures |= await measure(grammar, Path(folder), events, quick=quick)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=0, help="one million, unless --quick; ADR 9 has ten")
    parser.add_argument("--quick", action="store_true", help="200,000 events")
    parser.add_argument("--json", action="store_true", help="print one flat object of the figures instead")
    chosen = parser.parse_args()
    events = chosen.events or (200_000 if chosen.quick else 1_000_000)
    if events < 200_000 or events % (2 * LIST):
        parser.error(f"--events must be a multiple of {2 * LIST}, and at least 200,000")
    show(f"Subjects, {events:,} events", asyncio.run(compare(events, quick=chosen.quick)), as_json=chosen.json)


if __name__ == "__main__":
    main()
