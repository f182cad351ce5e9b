"""What the commands of the command line do. Their docstrings are their help; examples follow the first line."""

import argparse
import importlib
import logging
import sys
from collections.abc import Coroutine
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

from msgspec.structs import asdict

from rota import show
from rota.arguments import given, merged
from rota.batch_commands import verdict
from rota.batch_protocol import BatchView
from rota.client import Client
from rota.errors import JobFailedError, NotFoundError
from rota.http import Event
from rota.jobs import Job
from rota.output import say, say_all
from rota.protocol import JobView
from rota.worker import Worker
from rota.workflow_protocol import WorkflowView

WATCH_PATIENCE_SECONDS = 60.0
KINDS = {BatchView: "batch", JobView: "job", WorkflowView: "workflow"}


async def schedule(options: argparse.Namespace) -> None:
    """Schedule a job and print its id.

    rota schedule add --params a=1 b=2 --wait
    rota schedule send_mail --params '{"to": "ann@example.com"}' --delay 3600
    rota schedule report --params @report.json month=5 --key report-may
    """
    chosen = given(options, "queue", "delay_seconds", "key")
    async with Client(options.url) as client:
        id_ = await client.schedule(options.spec, merged(options.params), **chosen)
        say(options, {"id": id_}, id_)
        if options.wait:
            result = await client.wait(id_)
            say(options, {"id": id_, "status": "succeeded", "result": result}, show.json_line(result))


async def get(options: argparse.Namespace) -> None:
    """Show a job, a batch or a workflow.

    rota get 01k9abc-0
    """
    async with Client(options.url) as client:
        found = await _found(client, options.id)
        fields = asdict(found)
        if isinstance(found, JobView) and found.status == "succeeded":
            fields["result"] = await client.wait(found.id)
    say(options, fields, show.record(fields))


async def list_(options: argparse.Namespace) -> None:
    """List jobs, newest first.

    rota list --status failed
    rota list --batch 01k9abc --limit 1000
    """
    chosen = given(options, "status", "queue", "spec", "batch", "workflow")
    jobs: list[JobView] = []
    async with Client(options.url) as client, aclosing(client.jobs(**chosen)) as found:
        while len(jobs) < options.limit and (job := await anext(found, None)):
            jobs.append(job)
    say_all(options, jobs, show.job_table(jobs))


async def watch(options: argparse.Namespace) -> int:
    """Print events: of ID until it ends, with exit status 0 only if it succeeded; or all that fit, until Ctrl-C.

    rota watch 01k9abc-0 && echo done
    rota watch --queue mail --type job.failed --type job.timed_out --json
    rota watch --batch 01k9abc --type 'job.*' --after 120000
    """
    chosen = given(options, "batch", "workflow", "queue", "spec", "type", "after")
    async with Client(options.url, patience_seconds=WATCH_PATIENCE_SECONDS) as client:
        if not options.id:
            async for event in client.events(**chosen):
                _say_event(options, event)
            return 0
        found = await _found(client, options.id)
        kind = KINDS[type(found)]
        about = {kind: options.id} | ({} if kind == "job" else {"type": f"{kind}.*"})
        async for event in client.events(**{"after": 0, **about, **chosen}):
            _say_event(options, event)
        if isinstance(found, BatchView):
            return verdict(await client.batches.wait(options.id))
        if isinstance(found, WorkflowView):
            return int((await client.workflows.wait(options.id)).status != "succeeded")
        try:
            await client.wait(options.id)
        except JobFailedError:
            return 1
        return 0


async def cancel(options: argparse.Namespace) -> None:
    """Cancel a job, or a batch or workflow with all its jobs.

    rota cancel 01k9abc-0 --reason 'no longer needed'
    rota cancel 01k9abc
    """
    async with Client(options.url) as client:
        for cancel_ in (client.cancel, client.batches.cancel, client.workflows.cancel):
            with suppress(NotFoundError):
                await cancel_(options.id, options.reason)
                break
        else:
            raise _unknown(options.id)
    say(options, {"id": options.id}, f"{options.id} will be cancelled")


async def specs(options: argparse.Namespace) -> None:
    """List the job specs.

    rota specs --json
    """
    async with Client(options.url) as client:
        specs = await client.specs()
    say_all(options, specs, show.spec_table(specs))


async def queues(options: argparse.Namespace) -> None:
    """Show the queues: how many jobs of each are in each state.

    rota queues
    """
    async with Client(options.url) as client:
        queues = await client.queues()
    say_all(options, queues, show.queue_table(queues))


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
            say(options, letter, show.record(letter))
        elif options.send_again:
            await letters.send_again(options.send_again)
        elif options.remove:
            await letters.remove(options.remove)
        else:
            found = [letter async for letter in letters.list(status=options.status)]
            say_all(options, found, show.letter_table(found))


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
    return Worker(jobs, **given(options, "nats_url", "concurrency", "queues", "lease_seconds")).run()


def _say_event(options: argparse.Namespace, event: Event) -> None:
    say(options, event, show.gap(event) if event["type"] == "gap" else show.event(event))


async def _found(client: Client, id_: str) -> JobView | BatchView | WorkflowView:
    for get_ in (client.get, client.batches.get, client.workflows.get):
        with suppress(NotFoundError):
            return await get_(id_)
    raise _unknown(id_)


def _unknown(id_: str) -> NotFoundError:
    return NotFoundError(f"There is no job, no batch and no workflow {id_}")


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
