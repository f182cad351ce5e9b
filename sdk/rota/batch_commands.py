"""What the commands about batches do. Their docstrings are their help; examples follow the first line."""

import argparse
import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from typing import Any

from msgspec import UNSET
from msgspec.structs import asdict

from rota import show, show_batch
from rota.arguments import given, merged, results_format, tolerance
from rota.batch_protocol import BadRowsAgain, BatchRequest, BatchView, FailedJobs
from rota.batches import Batches
from rota.client import Client
from rota.errors import InvalidRequestError, NotFoundError, UnavailableError
from rota.options import Selection
from rota.output import Line, complain, remark, say, say_all
from rota.protocol import ENDED_BATCH
from rota.whole_file import is_stdout, whole_file
from rota.workflows import Workflows

PROGRESS_SECONDS = 0.5
REMARK_SECONDS = 5.0
"""Who waits for so long is told for what."""
BEGIN_SECONDS = 30.0
"""A redrive that was accepted has begun by then, or was refused."""
READING = ("format", "bad_rows")
"""What says how data is read, besides the options of formats."""
CUTTING = ("first", "limit", "max_jobs_in_flight", "max_bytes_in_flight")
"""What says how rows become jobs, besides the limits of a job."""
LIMITS = ("rows_per_job", "bytes_per_job")
CHANGES = ("max_jobs_in_flight", "max_bytes_in_flight", "max_readers")


async def batch(options: argparse.Namespace) -> int:
    """Have files read and cut into jobs, and print the batch's id.

    rota batch load_rows people.csv --connection lake --rows-per-job 1000 --watch
    rota batch load_rows https://data.example.com/people.csv --params table=people --limit 100
    rota batch load_rows orders/ 'old/**/*.json' --connection lake --recursive --exclude '*.tmp'
    rota batch load_rows people.txt --connection lake --format csv --option delimiter=';' header=false
    rota batch load_rows orders/ --connection lake --option csv='{"delimiter": ";"}' --bad-rows quarantine
    rota batch load_rows orders/ --connection lake --bytes-per-job 1MiB --tolerate-failed-jobs 1% --watch
    rota batch read_image images/ --connection lake --format raw --job-per-file
    rota batch load_rows people.csv --connection lake --dry-run
    """
    if options.job_per_file:
        if any(getattr(options, name) is not UNSET for name in LIMITS):
            raise InvalidRequestError("--job-per-file goes with no limit of rows or bytes: give one or the other")
        options.rows_per_job = options.bytes_per_job = None
    request = request_of(
        options, files=options.files, **_selection(options), **given(options, "connection", "max_readers")
    )
    async with Client(options.url) as client:
        if options.dry_run:
            view = await client.batches.dry_run(request)
            say(options, view, "\n".join(show_batch.dry_run(view)))
            return complain(view.error) if view.error else 0
        id_ = await client.batches.open(request)
        say(options, {"id": id_}, id_)
        return await follow(options, client, id_) if options.watch else 0


async def batches(options: argparse.Namespace) -> None:
    """List batches, newest first.

    rota batches --status failed
    rota batches --spec load_rows --limit 10 --json
    """
    found: list[BatchView] = []
    async with (
        Client(options.url) as client,
        aclosing(client.batches.list(**given(options, "status", "spec"))) as all_,
    ):
        while len(found) < options.limit and (one := await anext(all_, None)):
            found.append(one)
    say_all(options, found, show_batch.batch_table(found))


async def pause(options: argparse.Namespace) -> None:
    """Have a batch or workflow schedule no more jobs for now; those that are scheduled run.

    rota pause 01k9abc --reason 'the table is full'
    """
    async with Client(options.url) as client:
        await _steered(options.id, lambda of: of.pause(options.id, options.reason), client)
    say(options, {"id": options.id}, f"{options.id} will be paused")


async def resume(options: argparse.Namespace) -> None:
    """Have a paused batch or workflow go on.

    rota resume 01k9abc
    """
    async with Client(options.url) as client:
        await _steered(options.id, lambda of: of.resume(options.id), client)
    say(options, {"id": options.id}, f"{options.id} will go on")


async def _steered(id_: str, steer: Callable[[Batches | Workflows], Awaitable[None]], client: Client) -> None:
    """Have something done with a batch, or with a workflow if there is no such batch."""
    for of in (client.batches, client.workflows):
        with suppress(NotFoundError):
            await steer(of)
            return
    raise NotFoundError(f"There is no batch and no workflow {id_}")


async def change(options: argparse.Namespace) -> None:
    """Have a batch at work go on with other limits; what is left out stays.

    rota change 01k9abc --max-jobs-in-flight 50
    rota change 01k9abc --tolerate-failed-jobs 5% --tolerate-bad-rows 1000
    """
    changes = {**given(options, *CHANGES), **tolerance(options)}
    if not changes:
        raise InvalidRequestError(f"Nothing is to change: see rota change --help, or rota get {options.id}")
    async with Client(options.url) as client:
        await client.batches.change(options.id, **changes)
    say(options, {"id": options.id}, f"{options.id} will be changed")


async def redrive(options: argparse.Namespace) -> int:
    """Have a batch go on that has failed, or completed with failures: read on, and run what failed again.

    rota redrive 01k9abc
    rota redrive 01k9abc --bad-rows quarantine --watch
    rota redrive 01k9abc --option delimiter=';' column_types='{"zip": "string"}'
    rota redrive 01k9abc --error TimeoutError
    rota redrive 01k9abc --file orders.csv --rows 5000-5999
    rota redrive 01k9abc --quarantined orders.csv --watch
    rota redrive 01k9abc --quarantined --failed-jobs
    """
    changes: dict[str, Any] = {**given(options, *READING), **tolerance(options)}
    if options.options:
        changes["options"] = merged(options.options)
    first, last = options.rows or (None, None)
    jobs = FailedJobs(file=options.file, first_row=first, last_row=last, error=options.error)
    if options.failed_jobs or jobs != FailedJobs():
        changes["jobs"] = jobs
    if options.quarantined:
        changes["rows"] = BadRowsAgain(file=None if options.quarantined is True else options.quarantined)
    async with Client(options.url) as client:
        before = await client.batches.get(options.id) if options.watch else None
        await client.batches.redrive(options.id, **changes)
        say(options, {"id": options.id}, f"{options.id} will go on")
        if before is None:
            return 0
        status = await follow(options, client, options.id, before.ended_at)
        ran = await _run_again(client, options.id)
        if (ran or "jobs" in changes) and not options.json:
            say(options, None, f"{show_batch.count(ran, 'job')} ran again")
        return status


async def bad_rows(options: argparse.Namespace) -> None:
    """Print the quarantined rows of a batch with the reasons, or write them to a file.

    rota bad-rows 01k9abc
    rota bad-rows 01k9abc --file orders.csv --output bad.ndjson
    """
    count = 0
    with whole_file(options.output) if options.output else nullcontext() as file:
        async with Client(options.url) as client:
            async for row in client.batches.bad_rows(options.id, options.file):
                count += 1
                if file:
                    file.write(f"{show.json_line(row)}\n".encode())
                else:
                    say(options, row, show_batch.bad_row(row))
    if options.output:
        summary = {"id": options.id, "rows": count, "file": str(options.output)}
        are = "row is" if count == 1 else "rows are"
        _say_of_file(options, summary, f"{count:,} bad {are} in {options.output}")


async def row(options: argparse.Namespace) -> None:
    """Show which job had a row, and what became of it.

    rota row 01k9abc 1234
    rota row 01k9abc 1234 --file orders.csv
    """
    async with Client(options.url) as client:
        found = await client.batches.row(options.id, options.row, options.file)
    say(options, found, show.record(asdict(found)))


async def results(options: argparse.Namespace) -> None:
    """Have the results of the jobs that have succeeded written to a file, in the order of files and rows.

    rota results 01k9abc --output results.ndjson
    rota results 01k9abc --output results.parquet --origin-columns
    rota results 01k9abc --connection lake --path results/orders.ods
    """
    if bool(options.path) != bool(options.connection):
        raise InvalidRequestError("--connection and --path go together, or else --output")
    chosen = {
        "format": results_format(options),
        "origin_columns": options.origin_columns,
    }
    says = "The results are not collected yet; a reader of Rota does that. If none runs: ./scripts/up starts Rota"
    async with Client(options.url) as client:
        before = (await client.batches.get(options.id)).status
        with _remarked_after(REMARK_SECONDS, says):
            view = await client.batches.results(options.id, **chosen, **given(options, "connection", "path"))
        if options.output:
            await client.batches.download_results(options.id, options.output, collected=view)
    where = options.output or f"{options.path} of {options.connection}"
    _say_of_file(options, view, show_batch.collected(view, str(where), before))


def request_of(options: argparse.Namespace, **more: Any) -> BatchRequest:
    """Return the request for the batch that a command line describes."""
    return BatchRequest(
        spec=options.spec,
        params=merged(options.params),
        options=merged(options.options),
        **{name: value for name in LIMITS if (value := getattr(options, name)) is not UNSET},
        **tolerance(options),
        **{**given(options, "queue", "key", "compression", *READING, *CUTTING), **more},
    )


async def follow(
    options: argparse.Namespace, client: Client, id_: str, ended_before: datetime | None = None
) -> int:
    """Show how far a batch is until it has ended, and print its end; return 0 only if all of it succeeded.

    `ended_before` is when it had ended before it was redriven: views that show this end are old. UnavailableError
    if they do for too long.
    """
    line = Line()
    clock = asyncio.get_running_loop().time
    begins_by = clock() + BEGIN_SECONDS
    while True:
        batch = await client.batches.get(id_)
        text = show_batch.progress(batch, datetime.now(UTC))
        if batch.status not in ENDED_BATCH:
            line.show(text)
        elif ended_before is None or batch.ended_at != ended_before:
            break
        elif clock() > begins_by:
            raise UnavailableError(
                f"The redrive of {id_} was accepted, but nothing has come of it: the batch is {batch.status} as "
                "before. See rota dead-letters, whether it was refused, or rota get, whether it has begun since"
            )
        await asyncio.sleep(PROGRESS_SECONDS)
    line.clear()
    say(options, batch, text)
    return verdict(batch)


def verdict(batch: BatchView) -> int:
    """Return the exit status for a batch that has ended, and say what is missing."""
    reason = show_batch.shortfall(batch)
    return complain(reason) if reason else 0


async def _run_again(client: Client, id_: str) -> int:
    """Return how many jobs the last redrive of a batch had run again."""
    jobs = 0
    async with aclosing(client.batches.watch(id_)) as events:
        async for event in events:
            if event["type"] == "batch.redriven":
                jobs = 0
            elif event["type"] == "batch.jobs_redriven":
                jobs = event["jobs"]
    return jobs


def _say_of_file(options: argparse.Namespace, value: Any, text: str) -> None:
    """Print what was written to a file; to stderr, if that was stdout."""
    if options.output and is_stdout(options.output):
        remark(text)
    else:
        say(options, value, text)


@contextmanager
def _remarked_after(seconds: float, text: str) -> Iterator[None]:
    """Say something on stderr, once, if what is done here takes longer."""
    later = asyncio.get_running_loop().call_later(seconds, remark, text)
    try:
        yield
    finally:
        later.cancel()


def _selection(options: argparse.Namespace) -> dict[str, Any]:
    selection = Selection(**{name: getattr(options, name) for name in Selection.__struct_fields__})
    return {} if selection == Selection() else {"selection": selection}
