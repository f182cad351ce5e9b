"""What the commands of the command line do. Their docstrings are their help; examples follow the first line."""

import argparse
import asyncio
import importlib
import logging
import sys
from collections.abc import Coroutine, Sequence
from contextlib import aclosing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from msgspec.structs import asdict

from rota import show
from rota.batch_protocol import BatchView
from rota.client import Client
from rota.errors import JobFailedError, NotFoundError
from rota.http import Event
from rota.jobs import Job
from rota.options import Selection
from rota.protocol import ENDED_BATCH, JobView
from rota.worker import Worker

PROGRESS_SECONDS = 0.5
READING = ("format", "bad_rows")
"""What says how files are read, besides the options of formats."""
WATCH_PATIENCE_SECONDS = 60.0


async def schedule(options: argparse.Namespace) -> None:
    """Schedule a job and print its id.

    rota schedule add --params a=1 b=2 --wait
    rota schedule send_mail --params '{"to": "ann@example.com"}' --delay 3600
    rota schedule report --params @report.json month=5 --key report-may
    """
    chosen = _given(options, "queue", "delay_seconds", "key")
    async with Client(options.url) as client:
        id_ = await client.schedule(options.spec, _merged(options.params), **chosen)
        _say(options, {"id": id_}, id_)
        if options.wait:
            result = await client.wait(id_)
            _say(options, {"id": id_, "status": "succeeded", "result": result}, show.json_line(result))


async def get(options: argparse.Namespace) -> None:
    """Show a job or a batch.

    rota get 01k9abc-0
    """
    async with Client(options.url) as client:
        found = await _found(client, options.id)
        fields = asdict(found)
        if isinstance(found, JobView) and found.status == "succeeded":
            fields["result"] = await client.wait(found.id)
    _say(options, fields, show.record(fields))


async def list_(options: argparse.Namespace) -> None:
    """List jobs, newest first.

    rota list --status failed
    rota list --batch 01k9abc --limit 1000
    """
    chosen = _given(options, "status", "queue", "spec", "batch")
    jobs: list[JobView] = []
    async with Client(options.url) as client, aclosing(client.jobs(**chosen)) as found:
        while len(jobs) < options.limit and (job := await anext(found, None)):
            jobs.append(job)
    _say_all(options, jobs, show.job_table(jobs))


async def watch(options: argparse.Namespace) -> int:
    """Print events: of ID until it ends, with exit status 0 only if it succeeded; or all that fit, until Ctrl-C.

    rota watch 01k9abc-0 && echo done
    rota watch --queue mail --type job.failed --type job.timed_out --json
    rota watch --batch 01k9abc --type 'job.*' --after 120000
    """
    chosen = _given(options, "batch", "queue", "spec", "type", "after")
    async with Client(options.url, patience_seconds=WATCH_PATIENCE_SECONDS) as client:
        if not options.id:
            async for event in client.events(**chosen):
                _say_event(options, event)
            return 0
        found = await _found(client, options.id)
        about = {"job": options.id} if isinstance(found, JobView) else {"batch": options.id, "type": "batch.*"}
        async for event in client.events(**{"after": 0, **about, **chosen}):
            _say_event(options, event)
        if isinstance(found, BatchView):
            return _verdict(await client.batches.wait(options.id))
        try:
            await client.wait(options.id)
        except JobFailedError:
            return 1
        return 0


async def cancel(options: argparse.Namespace) -> None:
    """Cancel a job.

    rota cancel 01k9abc-0 --reason 'no longer needed'
    """
    async with Client(options.url) as client:
        await client.cancel(options.id, options.reason)
    _say(options, {"id": options.id}, f"{options.id} will be cancelled")


async def batch(options: argparse.Namespace) -> int:
    """Have files read and cut into jobs, and print the batch's id.

    rota batch load_rows people.csv --connection lake --rows-per-job 1000 --watch
    rota batch load_rows https://data.example.com/people.csv --params table=people
    rota batch load_rows orders/ 'old/**/*.json' --connection lake --recursive --exclude '*.tmp'
    rota batch load_rows people.txt --connection lake --format csv --option delimiter=';' header=false
    rota batch load_rows orders/ --connection lake --option csv='{"delimiter": ";"}' --bad-rows quarantine
    """
    async with Client(options.url) as client:
        id_ = await client.batches.open(
            spec=options.spec,
            files=options.files,
            params=_merged(options.params),
            options=_merged(options.options),
            **_selection(options),
            **_given(options, "connection", "rows_per_job", "queue", "key", *READING, "compression", "max_readers"),
        )
        _say(options, {"id": id_}, id_)
        return await _progress(options, client, id_) if options.watch else 0


async def redrive(options: argparse.Namespace) -> int:
    """Have the reading of a failed batch go on where it stopped, after the file or the options were mended.

    rota redrive 01k9abc
    rota redrive 01k9abc --bad-rows quarantine --watch
    rota redrive 01k9abc --option delimiter=';' column_types='{"zip": "string"}'
    """
    async with Client(options.url) as client:
        changed = _merged(options.options) if options.options else None
        await client.batches.redrive(options.id, options=changed, **_given(options, *READING))
        _say(options, {"id": options.id}, f"{options.id} will be read on")
        return await _progress(options, client, options.id) if options.watch else 0


async def specs(options: argparse.Namespace) -> None:
    """List the job specs.

    rota specs --json
    """
    async with Client(options.url) as client:
        specs = await client.specs()
    _say_all(options, specs, show.spec_table(specs))


async def queues(options: argparse.Namespace) -> None:
    """Show the queues: how many jobs of each are in each state.

    rota queues
    """
    async with Client(options.url) as client:
        queues = await client.queues()
    _say_all(options, queues, show.queue_table(queues))


async def dead_letters(options: argparse.Namespace) -> None:
    """Show the commands that were refused or failed; have one carried out after all, or remove it.

    rota dead-letters --status failed
    rota dead-letters --show 17
    rota dead-letters --send-again 17
    rota dead-letters --remove 17
    """
    async with Client(options.url) as client:
        letters = client.dead_letters
        if options.show:
            letter = asdict(await letters.get(options.show))
            _say(options, letter, show.record(letter))
        elif options.send_again:
            await letters.send_again(options.send_again)
        elif options.remove:
            await letters.remove(options.remove)
        else:
            found = [letter async for letter in letters.list(status=options.status)]
            _say_all(options, found, show.letter_table(found))


def worker(options: argparse.Namespace) -> Coroutine[Any, Any, None]:
    """Run the jobs of a Python module until SIGTERM or Ctrl-C, over NATS.

    rota worker shop.jobs --concurrency 20
    rota worker shop.jobs:send_mail --queue urgent
    """
    # The module is imported before there is an event loop, as it would be by `import`.
    jobs = _jobs_in(options.module)
    handler = logging.StreamHandler()
    handler.setFormatter(show.JsonFormatter() if options.json else logging.Formatter("%(asctime)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    return Worker(jobs, **_given(options, "nats_url", "concurrency", "queues", "lease_seconds")).run()


def _say(options: argparse.Namespace, value: Any, text: str) -> None:
    """Print a value: as JSON if that is wanted, else as this text."""
    sys.stdout.write(f"{show.json_line(value) if options.json else text}\n")
    sys.stdout.flush()


def _say_event(options: argparse.Namespace, event: Event) -> None:
    _say(options, event, show.gap(event) if event["type"] == "gap" else show.event(event))


def _say_all(options: argparse.Namespace, values: Sequence[Any], table: str) -> None:
    for value in values if options.json else [table]:
        _say(options, value, table)


def complain(text: str) -> int:
    """Print what went wrong, and return the exit status that says so."""
    sys.stderr.write(f"rota: {text}\n")
    return 1


def _given(options: argparse.Namespace, *names: str) -> dict[str, Any]:
    return {name: value for name in names if (value := getattr(options, name)) is not None}


def _selection(options: argparse.Namespace) -> dict[str, Selection]:
    selection = Selection(**{name: getattr(options, name) for name in Selection.__struct_fields__})
    return {} if selection == Selection() else {"selection": selection}


def _merged(params: list[dict[str, Any]]) -> dict[str, Any]:
    return {name: value for part in params for name, value in part.items()}


async def _found(client: Client, id_: str) -> JobView | BatchView:
    with suppress(NotFoundError):
        return await client.get(id_)
    with suppress(NotFoundError):
        return await client.batches.get(id_)
    raise NotFoundError(f"There is no job and no batch {id_}")


async def _progress(options: argparse.Namespace, client: Client, id_: str) -> int:
    """Show how far a batch is, on a line of a terminal that is written over, until it has ended."""
    on_terminal = sys.stderr.isatty()
    while True:
        batch = await client.batches.get(id_)
        line = show.progress(batch, datetime.now(UTC))
        if on_terminal:
            sys.stderr.write(f"\r{line}\x1b[K")
            sys.stderr.flush()
        if batch.status in ENDED_BATCH:
            break
        await asyncio.sleep(PROGRESS_SECONDS)
    if on_terminal:
        sys.stderr.write("\r\x1b[K")
    _say(options, batch, line)
    return _verdict(batch)


def _verdict(batch: BatchView) -> int:
    reason = show.shortfall(batch)
    return complain(reason) if reason else 0


def _jobs_in(target: str) -> list[Job[..., Any]]:
    """Import `module` or `module:name` and return the jobs in it."""
    module_name, _, name = target.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and f"{module_name}.".startswith(f"{error.name}."):
            raise NotFoundError(f"There is no module {module_name}, neither here nor on PYTHONPATH") from error
        raise
    found = [getattr(module, name, None)] if name else vars(module).values()
    jobs = list(dict.fromkeys(one for one in found if isinstance(one, Job)))
    if not jobs:
        raise NotFoundError(f"There is no job in {target}: a function is one by the decorator @rota.job")
    return jobs
