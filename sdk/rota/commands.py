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
from rota.client import Client
from rota.errors import NotFoundError
from rota.jetstream import Connection
from rota.jobs import Job
from rota.protocol import ENDED_BATCH, BatchView, JobView
from rota.replay import logged
from rota.worker import Worker

PROGRESS_SECONDS = 0.5


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
    """Print the events of a job or a batch until it ends; exit status 0 only if it succeeded.

    rota watch 01k9abc-0 && echo done
    rota watch 01k9abc-0 --json
    """
    async with Client(options.url) as client:
        found = await _found(client, options.id)
        what = client.batches if isinstance(found, BatchView) else client
        async for event in what.watch(options.id):
            _say(options, event, show.event(event))
        if isinstance(found, BatchView):
            return _verdict(await client.batches.wait(options.id))
    return 0 if event["type"] == "job.succeeded" else 1


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
    """
    async with Client(options.url) as client:
        id_ = await client.batches.open(
            spec=options.spec,
            files=options.files,
            params=_merged(options.params),
            **_given(options, "connection", "rows_per_job", "queue", "key"),
        )
        _say(options, {"id": id_}, id_)
        return await _progress(options, client, id_) if options.watch else 0


async def specs(options: argparse.Namespace) -> None:
    """List the job specs.

    rota specs --json
    """
    async with Client(options.url) as client:
        specs = await client.specs()
    _say_all(options, specs, show.spec_table(specs))


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


async def replay(options: argparse.Namespace) -> None:
    """Print events from the log, up to where it ends now, over NATS.

    rota replay 01k9abc-0
    rota replay --all --kind batch --after 120000 --json
    """
    kind = options.kind or "*"
    subject = f"rota.event.{kind}.>" if options.all else f"rota.event.{kind}.{options.id}.>"
    last = None
    async with (
        await Connection.open(options.nats_url, name="rota replay") as connection,
        aclosing(logged(connection, subject, options.after)) as events,
    ):
        async for event in events:
            _say(options, event, show.event(event))
            last = event["sequence"]
    if last is None and options.id:
        raise NotFoundError(f"The log has no event of {options.id} after sequence {options.after}")


def _say(options: argparse.Namespace, value: Any, text: str) -> None:
    """Print a value: as JSON if that is wanted, else as this text."""
    sys.stdout.write(f"{show.json_line(value) if options.json else text}\n")
    sys.stdout.flush()


def _say_all(options: argparse.Namespace, values: Sequence[Any], table: str) -> None:
    for value in values if options.json else [table]:
        _say(options, value, table)


def complain(text: str) -> int:
    """Print what went wrong, and return the exit status that says so."""
    sys.stderr.write(f"rota: {text}\n")
    return 1


def _given(options: argparse.Namespace, *names: str) -> dict[str, Any]:
    return {name: value for name in names if (value := getattr(options, name)) is not None}


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
