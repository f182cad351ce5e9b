"""The command that sends a local file or a pipe as a batch's stream."""

import argparse
import asyncio
import shlex
import sys
import time
from collections import deque
from contextlib import suppress
from typing import Any, BinaryIO

from msgspec import structs

from rota import show_batch
from rota.arguments import given
from rota.batch_commands import follow, request_of
from rota.batch_protocol import BatchRequest, StreamRules
from rota.client import Client
from rota.errors import ConflictError, InvalidRequestError, RotaError
from rota.file_names import named
from rota.output import Line, complain, remark, say
from rota.sender import Sent

PATIENCE_SECONDS = 60.0
SHOW_SECONDS = 0.2
RATE_SECONDS = 5.0
STILL_SECONDS = 1.0
PIPE = "-"


async def stream(options: argparse.Namespace) -> int:
    """Send a local file, or what comes by a pipe, as a batch's data; print the batch's id, and seal it at the end.

    rota stream load_rows people.csv --watch
    rota stream load_rows big.ndjson.gz --bytes-per-job 1MiB --tolerate-failed-jobs 1%
    journalctl -f -o json | rota stream load_rows --format ndjson --seconds-per-job 5
    rota stream --resume 01k9abc big.ndjson.gz --watch
    """
    name = _name(options)
    with _opened(name) as file:
        request = None if options.resume else _request(options, name)
        async with Client(options.url, patience_seconds=PATIENCE_SECONDS) as client:
            id_ = await client.batches.open(request) if request else options.resume
            say(options, {"id": id_}, id_)
            await _send(client, id_, file, name)
            return await follow(options, client, id_) if options.watch else 0


async def _send(client: Client, id_: str, file: BinaryIO, name: str) -> None:
    """Send with a bar on the terminal. What breaks it off is followed by how to go on."""
    bar = Bar()
    showing = asyncio.create_task(bar.run(), name="bar")
    try:
        await client.batches.send_file(id_, file, progress=bar.note)
    except ConflictError:
        raise
    except (asyncio.CancelledError, RotaError):
        bar.line.clear()
        again = f"rota stream --resume {id_}" + ("" if name == PIPE else f" {shlex.quote(name)}")
        source = ", with the same data from its beginning" if name == PIPE else ""
        complain(f"{bar.durable:,} bytes are stored, and the batch waits for more. To go on: {again}{source}")
        raise
    finally:
        showing.cancel()
        with suppress(asyncio.CancelledError):
            await showing
        bar.line.clear()
    if bar.full:
        source = "the data" if name == PIPE else name
        remark(f"The batch has all the rows that its limit lets it take; the rest of {source} was not sent")


class Bar:
    """Shows how far the sending is, and whether it stands still."""

    def __init__(self) -> None:
        self.line = Line()
        self._sent = Sent(0, 0, None, reading=True)
        self._moved = time.monotonic()
        self._past: deque[tuple[float, int]] = deque([(self._moved, 0)])

    @property
    def durable(self) -> int:
        """How many bytes are stored."""
        return self._sent.durable

    @property
    def full(self) -> bool:
        """Whether the batch took no more."""
        return self._sent.full

    def note(self, sent: Sent) -> None:
        """Take the news."""
        if sent != self._sent:
            self._moved = time.monotonic()
        if self._sent.size is None and not self._sent.sent:
            # What was durable before this began was not sent now.
            self._past = deque([(self._moved, sent.sent)])
        self._sent = sent

    async def run(self) -> None:
        """Show it again and again."""
        while self.line.wanted:
            now = time.monotonic()
            self._past.append((now, self._sent.sent))
            while len(self._past) > 2 and self._past[1][0] < now - RATE_SECONDS:  # noqa: PLR2004 - two make a rate
                self._past.popleft()
            began, before = self._past[0]
            rate = max(0, self._sent.sent - before) / max(now - began, SHOW_SECONDS)
            self.line.show(show_batch.sending(self._sent, rate, still=now - self._moved > STILL_SECONDS))
            await asyncio.sleep(SHOW_SECONDS)


def _name(options: argparse.Namespace) -> str:
    """Return the name of the file; with --resume it is the only word."""
    if not options.resume:
        if options.spec is None:
            raise InvalidRequestError("Say for which spec: rota stream SPEC [FILE]. `rota specs` lists them")
        return options.file or PIPE
    unused = given(options, "file", "seconds_per_job", "silent_after", "on_silence")
    if unused or request_of(options) != BatchRequest(spec=options.spec):
        raise InvalidRequestError(
            "--resume goes on with a stream as it was opened: rota stream --resume ID [FILE] [--watch]"
        )
    return options.spec or PIPE


def _opened(name: str) -> BinaryIO:
    # Without a buffer: a thread that waits for a pipe must not hold a lock when the process ends.
    try:
        if name == PIPE:
            return open(sys.stdin.fileno(), "rb", buffering=0, closefd=False)
        return open(name, "rb", buffering=0)  # noqa: PTH123 - the caller closes
    except OSError as error:
        raise InvalidRequestError(f"{name} cannot be read: {error.strerror or error}") from error


def _request(options: argparse.Namespace, name: str) -> BatchRequest:
    format_, compression = named(name)
    found: dict[str, Any] = {
        "format": format_,
        "compression": compression,
        **given(options, "format", "compression"),
    }
    rules = StreamRules(
        **{
            to: value
            for to, value in (
                ("silent_after_seconds", options.silent_after),
                ("on_silence", options.on_silence),
            )
            if value is not None
        }
    )
    return structs.replace(request_of(options, **found), stream=rules, seconds_per_job=options.seconds_per_job)
