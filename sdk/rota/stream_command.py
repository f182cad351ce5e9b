"""The command that sends a local file or a pipe as a batch's stream."""

import argparse
import asyncio
import shlex
import signal
import sys
import threading
from contextlib import suppress
from typing import Any, BinaryIO

from msgspec import structs

from rota.arguments import given
from rota.batch_commands import follow, request_of
from rota.batch_protocol import BatchRequest, StreamRules
from rota.client import Client
from rota.errors import InvalidRequestError, UnavailableError
from rota.file_names import check_streamed, named
from rota.output import complain, remark, say
from rota.protocol import BatchStatus
from rota.sender import Sent
from rota.sending_bar import SendingBar

PATIENCE_SECONDS = 60.0
PIPE = "-"


async def stream(options: argparse.Namespace) -> int:
    """Send a local file, or what comes by a pipe, as a batch's data; print the batch's id, and seal it at the end.

    rota stream load_rows people.csv --watch
    rota stream load_rows big.ndjson.gz --bytes-per-job 1MiB --tolerate-failed-jobs 1%
    journalctl -f -o json | rota stream load_rows --format ndjson --seconds-per-job 5
    rota stream --resume 01k9abc big.ndjson.gz --watch
    """
    name = _name(options)
    _end_on_sigterm()
    with _opened(name) as file:
        request = None if options.resume else _request(options, name)
        async with Client(options.url, patience_seconds=PATIENCE_SECONDS) as client:
            id_ = await client.batches.open(request) if request else options.resume
            if request:
                say(options, {"id": id_}, id_)
            status = await _send(options, client, id_, file, name)
            return await follow(options, client, id_) if options.watch and not status else status


async def _send(options: argparse.Namespace, client: Client, id_: str, file: BinaryIO, name: str) -> int:
    """Send with a bar on the terminal, and return the exit status.

    What breaks it off is followed by how to go on, if it can.
    """
    found = False

    async def look() -> BatchStatus:
        return (await client.batches.get(id_)).status

    def note(sent: Sent) -> None:
        nonlocal found
        if not found and options.resume:
            say(options, {"id": id_}, id_)
        found = True
        bar.note(sent)

    def hint() -> None:
        if found or not options.resume:
            complain(_how_to_go_on(id_, name, bar.sent.durable if found else None))

    bar = SendingBar(look)
    showing = asyncio.create_task(bar.run(), name="bar")
    try:
        await client.batches.send_file(id_, file, progress=note)
    except asyncio.CancelledError:
        bar.line.clear()
        hint()
        raise
    except UnavailableError as error:
        bar.line.clear()
        complain(error.detail)
        hint()
        return 1
    finally:
        showing.cancel()
        with suppress(asyncio.CancelledError):
            await showing
        bar.line.clear()
    if bar.sent.full:
        source = "the data" if name == PIPE else name
        remark(f"The batch has all the rows that its limit lets it take; the rest of {source} was not sent")
    return 0


def _how_to_go_on(id_: str, name: str, durable: int | None) -> str:
    again = f"To go on: rota stream --resume {id_}"
    again += ", with the same data from its beginning" if name == PIPE else f" {shlex.quote(name)}"
    return again if durable is None else f"{durable:,} bytes are stored, and the batch waits for more. {again}"


def _end_on_sigterm() -> None:
    """Have SIGTERM break this task off as Ctrl-C does."""
    task = asyncio.current_task()
    if task and threading.current_thread() is threading.main_thread():
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)


def _name(options: argparse.Namespace) -> str:
    """Return the name of the file; with --resume it is the only word."""
    if not options.resume:
        if options.spec is None:
            raise InvalidRequestError("Say for which spec: rota stream SPEC [FILE]. `rota specs` lists them")
        return options.file or PIPE
    if options.file:
        raise InvalidRequestError(
            f"--resume goes on with a stream as it was opened, so SPEC is left out: rota stream --resume "
            f"{options.resume} {shlex.quote(options.file)}"
        )
    unused = given(options, "seconds_per_job", "silent_after", "on_silence")
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
    check_streamed(found["format"], name)
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
