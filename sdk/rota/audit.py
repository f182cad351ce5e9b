"""The commands for audit: what has happened, what led to what, what was when, and whether the log is sound."""

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, aclosing
from typing import Any, Self

from rota import extension, show
from rota.chain import Link, read_chain, walk
from rota.errors import InvalidRequestError, NotFoundError
from rota.export import exported
from rota.jetstream import Connection
from rota.selection import Fields, Selection, origin_of, select
from rota.show_batch import batch_table
from rota.show_workflow import workflow_table
from rota.whole_file import is_stdout

SHOW_SECONDS = 0.5
"""How often progress is shown; what is over sooner shows none."""

TABLES: dict[str, Callable[[Any], str]] = {
    "batches": batch_table,
    "jobs": show.job_table,
    "queues": show.queue_table,
    "specs": show.spec_table,
    "workflows": workflow_table,
}


async def replay(options: argparse.Namespace) -> int:
    """Print events from the log, up to where it ends now, over NATS; or export, follow causes, verify.

    rota replay 01k9abc-0
    rota replay --all --since 2h --type job.failed --type 'batch.*' --json
    rota replay --all --after 120000 --up-to 130000 --output events.parquet
    rota replay --correlation 01k9abc --output batch.ndjson
    rota replay --chain 01k9abc
    rota replay --verify
    """
    selection = Selection(
        kind=options.kind,
        id=options.id,
        types=tuple(options.types),
        after=options.after,
        up_to=options.up_to,
        since=options.since,
        until=options.until,
        correlation_id=options.correlation,
    )
    if (options.verify or options.chain) and (selection != Selection() or options.output):
        raise InvalidRequestError("--verify and --chain look at everything: they go with no option that selects")
    if options.verify:
        return await _verify(options)
    async with await Connection.open(options.nats_url, name="rota replay") as connection:
        if options.chain:
            _print_chain(options, await read_chain(connection, options.chain))
            return 0
        count = await _write(options, connection, selection)
    if not count and (wanted := options.id or options.correlation):
        raise NotFoundError(f"The log has no event of {wanted}{_narrowed(selection)}")
    return 0


async def at(options: argparse.Namespace) -> None:
    """Show jobs, queues, batches, workflows or specs as they were: at a time, so long ago, or at a sequence.

    rota at 2026-01-31T12:00:00Z queues
    rota at 5m jobs --status running --queue urgent
    rota at 12345 batches --json
    """
    names = ("id", "status", "name", "queue", "spec", "batch", "workflow", "limit")
    filters = {name: value for name in names if (value := getattr(options, name)) is not None}
    look = extension.at()
    with Progress() as progress:
        seen = await look(options.nats_url, options.point, options.what, filters, progress.show)
    _print(map(show.json_line, seen.found) if options.json else [TABLES[options.what](seen.found)])
    if not options.json:
        _note(f"as of sequence {seen.sequence}")
    if seen.removed:
        _note("events were removed from the log since then; what they belonged to is missing here")


async def _verify(options: argparse.Namespace) -> int:
    """Return 1 if the log or the views are not as they must be."""
    check = extension.verify()
    with Progress() as progress:
        verdict = await check(options.nats_url, progress.show)
    _print([show.json_line(verdict)] if options.json else show.verdict(verdict))
    return 0 if verdict.agrees else 1


async def _write(options: argparse.Namespace, connection: Connection, selection: Selection) -> int:
    """Print or export the events, and return how many there are."""
    count = 0
    with ExitStack() as opened:
        write = _printing(options)
        # Lines on the terminal show themselves how far it is.
        progress = opened.enter_context(Progress(wanted=bool(options.output) or not sys.stdout.isatty()))
        if options.output:
            write = opened.enter_context(exported(options.output)).write
        async with await selection.replay(connection) as replay, aclosing(select(replay, selection)) as groups:
            async for events in groups:
                write(events)
                count += len(events)
                progress.show(replay.position, replay.end)
    if options.output:
        summary = {"events": count, "file": str(options.output), "up_to": replay.end}
        what, are = ("event", "is") if count == 1 else ("events", "are")
        text = f"{count:,} {what} up to sequence {replay.end} {are} in {options.output}"
        if is_stdout(options.output):
            _note(text)
        else:
            _print([show.json_line(summary) if options.json else text])
    return count


def _printing(options: argparse.Namespace) -> Callable[[Sequence[Fields]], None]:
    line = show.json_line if options.json else show.event
    return lambda events: _print(map(line, events))


def _print_chain(options: argparse.Namespace, beginnings: Sequence[Link]) -> None:
    if options.json:
        _print(show.json_line({"depth": depth, **link.event}) for depth, link in walk(beginnings))
    else:
        _print(show.chain(beginnings))
    if silent := sum(not origin_of(link.event) for _, link in walk(beginnings)):
        _note(
            f"{silent:,} of these events are older than the fields that tell what caused them; "
            "each stands below the first event of its own history"
        )


def _narrowed(selection: Selection) -> str:
    """Say that there may be events which were not asked for."""
    return "" if selection == Selection(id=selection.id, correlation_id=selection.correlation_id) else " that fits"


class Progress:
    """How far something long is, on a line of the terminal that is written over and removed at the end."""

    def __init__(self, *, wanted: bool = True) -> None:
        self._wanted = wanted and sys.stderr.isatty()
        self._shown = time.monotonic()
        self._written = False

    def show(self, position: int, end: int) -> None:
        """Show how far the log was read, if the last time was a while ago."""
        if self._wanted and time.monotonic() - self._shown >= SHOW_SECONDS:
            self._shown = time.monotonic()
            sys.stderr.write(f"\r{show.share(position, end)}\x1b[K")
            sys.stderr.flush()
            self._written = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._written:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def _print(lines: Iterable[str]) -> None:
    sys.stdout.write("".join([f"{line}\n" for line in lines]))
    sys.stdout.flush()


def _note(text: str) -> None:
    sys.stderr.write(f"rota: {text}\n")
