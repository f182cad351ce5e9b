"""The command line `rota`: schedule, watch, work and replay from a shell.

Exit status: 0 done, 1 refused or without success, 2 wrong usage, 130 interrupted.
"""

import argparse
import asyncio
import importlib
import inspect
import logging
import os
import secrets
import sys
import textwrap
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import aclosing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import msgspec
from msgspec.structs import asdict
from nats.aio.msg import Msg

from rota import show
from rota.client import DEFAULT_URL, Client
from rota.errors import NotFoundError, RotaError, UnavailableError
from rota.jetstream import STREAM_NOT_FOUND, Connection, JetStreamError, Pull, delivery
from rota.jobs import Job
from rota.protocol import ENDED_BATCH, BatchView, JobStatus, JobView
from rota.worker import DEFAULT_NATS_URL, Worker

EVENTS = "ROTA_EVENTS"
PROGRESS_SECONDS = 0.5
REPLAY_CREDIT = 2000
REPLAY_SILENCE_SECONDS = 10.0

Run = Callable[[argparse.Namespace], Coroutine[Any, Any, int | None]]


def main(arguments: list[str] | None = None) -> int:
    """Carry out a command line and return the exit status."""
    options = _parser().parse_args(arguments)
    run: Run = options.run
    try:
        return asyncio.run(run(options)) or 0
    except RotaError as error:
        places = (f"  {problem.pointer}: {problem.detail}" for problem in error.problems)
        return _complain("\n".join([error.detail, *places]))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader has seen enough (`rota list | head`); what Python flushes at its end goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


async def _schedule(options: argparse.Namespace) -> None:
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


async def _get(options: argparse.Namespace) -> None:
    """Show a job or a batch.

    rota get 01k9abc-0
    """
    async with Client(options.url) as client:
        found = await _found(client, options.id)
        fields = asdict(found)
        if isinstance(found, JobView) and found.status == "succeeded":
            fields["result"] = await client.wait(found.id)
    _say(options, fields, show.record(fields))


async def _list(options: argparse.Namespace) -> None:
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


async def _watch(options: argparse.Namespace) -> int:
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


async def _cancel(options: argparse.Namespace) -> None:
    """Cancel a job.

    rota cancel 01k9abc-0 --reason 'no longer needed'
    """
    async with Client(options.url) as client:
        await client.cancel(options.id, options.reason)
    _say(options, {"id": options.id}, f"{options.id} will be cancelled")


async def _batch(options: argparse.Namespace) -> int:
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


async def _specs(options: argparse.Namespace) -> None:
    """List the job specs.

    rota specs --json
    """
    async with Client(options.url) as client:
        specs = await client.specs()
    _say_all(options, specs, show.spec_table(specs))


def _worker(options: argparse.Namespace) -> Coroutine[Any, Any, None]:
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


async def _replay(options: argparse.Namespace) -> None:
    """Print events from the log, up to where it ends now, over NATS.

    rota replay 01k9abc-0
    rota replay --all --kind batch --after 120000 --json
    """
    kind = options.kind or "*"
    subject = f"rota.event.{kind}.>" if options.all else f"rota.event.{kind}.{options.id}.>"
    last = None
    async with (
        await Connection.open(options.nats_url, name="rota replay") as connection,
        aclosing(_logged(connection, subject, options.after)) as events,
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


def _complain(text: str) -> int:
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
    return _complain(reason) if reason else 0


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


async def _logged(connection: Connection, subject: str, after: int) -> AsyncGenerator[dict[str, Any], None]:
    """Yield the events on a subject that stand after a sequence, up to what is the log's end now."""
    consumer = f"replay-{secrets.token_hex(8)}"
    config = {
        "name": consumer,
        "ack_policy": "none",
        "deliver_policy": "by_start_sequence",
        "opt_start_seq": after + 1,
        "filter_subject": subject,
        "mem_storage": True,
        "inactive_threshold": int(REPLAY_SILENCE_SECONDS * 1e9),
    }
    try:
        info = await connection.call(
            f"CONSUMER.CREATE.{EVENTS}.{consumer}", {"stream_name": EVENTS, "config": config}
        )
    except JetStreamError as error:
        if error.code == STREAM_NOT_FOUND:
            raise NotFoundError("This NATS server has no events of Rota: is it the one that Rota uses?") from error
        raise
    arrived: asyncio.Queue[Msg] = asyncio.Queue()
    async with Pull(connection, EVENTS, consumer, arrived.put_nowait, credit=REPLAY_CREDIT) as pull:
        for order in range(1, info["num_pending"] + 1):
            try:
                async with asyncio.timeout(REPLAY_SILENCE_SECONDS):
                    message = await arrived.get()
            except TimeoutError:
                raise UnavailableError(f"NATS has gone silent: go on with --after {after}") from None
            place = delivery(message)
            if place.order != order:
                raise UnavailableError(f"The connection to NATS was lost: go on with --after {after}")
            pull.free()
            yield {"sequence": place.sequence, **msgspec.msgpack.decode(message.data)}
            after = place.sequence


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rota",
        description="Schedule jobs, load data sets as batches of jobs, work on them, watch and replay them.",
        epilog="`rota COMMAND --help` shows a command's options and examples.",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(run: Run, *, over_nats: bool = False) -> argparse.ArgumentParser:
        does, _, examples = (inspect.getdoc(run) or "").partition("\n\n")
        made = commands.add_parser(
            run.__name__.strip("_"),
            help=does,
            description=does,
            epilog=f"examples:\n{textwrap.indent(examples, '  ')}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        made.set_defaults(run=run)
        made.add_argument("--json", action="store_true", help="print JSON, one value a line")
        unused = "; not used by this command" if over_nats else ""
        made.add_argument("--url", help=f"the gateway's address (default: ROTA_URL, or {DEFAULT_URL}){unused}")
        if over_nats:
            says = f"the NATS server's address (default: ROTA_NATS_URL, or {DEFAULT_NATS_URL})"
            made.add_argument("--nats-url", default=os.environ.get("ROTA_NATS_URL") or DEFAULT_NATS_URL, help=says)
        return made

    add = command(_schedule).add_argument
    add("spec", metavar="SPEC", help="name of the job spec")
    _add_job_options(add)
    add("--delay", type=float, dest="delay_seconds", metavar="SECONDS", help="run it so many seconds from now")
    add("--wait", action="store_true", help="wait for its end and print its result; fails if the job does")

    add = command(_list).add_argument
    add("--status", choices=get_args(JobStatus))
    for name in ("batch", "queue", "spec"):
        add(f"--{name}", metavar=name.upper())
    add("--limit", type=_positive, default=50, metavar="N", help="show so many at most (default: 50)")

    for run in (_get, _watch):
        command(run).add_argument("id", metavar="ID")

    add = command(_cancel).add_argument
    add("id", metavar="ID")
    add("--reason", default="", metavar="TEXT")

    add = command(_batch).add_argument
    add("spec", metavar="SPEC", help="name of a job spec that takes rows")
    add("files", metavar="FILE", nargs="+", help="a path below the connection, or a URL")
    add("--connection", metavar="NAME", help="where the files lie, as Rota's configuration calls it")
    add("--rows-per-job", type=_positive, metavar="N", help="rows that each job gets (default: 1000)")
    _add_job_options(add)
    add("--watch", action="store_true", help="show progress till the end; exit status 0 only if all jobs succeeded")

    add = command(_worker, over_nats=True).add_argument
    add("module", metavar="MODULE[:NAME]", help="the module, or one job in it")
    add("--queue", dest="queues", action="append", metavar="NAME", help="serve it too; may be repeated")
    add("--concurrency", type=_positive, default=10, metavar="N", help="jobs that run at once (default: 10)")
    add(
        "--lease-seconds",
        type=_positive,
        metavar="N",
        help="a job goes to another worker after this worker was silent for so long (default: 30)",
    )

    replay = command(_replay, over_nats=True)
    what = replay.add_mutually_exclusive_group(required=True)
    what.add_argument("id", metavar="ID", nargs="?", help="a job's or a batch's, or a spec's name")
    what.add_argument("--all", action="store_true", help="all events")
    add = replay.add_argument
    add("--kind", choices=("batch", "job", "spec"), help="only events of such things")
    add("--after", type=int, default=0, metavar="SEQ", help="only events after this sequence")

    command(_specs)
    return parser


def _add_job_options(add: Callable[..., argparse.Action]) -> None:
    add(
        "--params",
        type=_params,
        action="extend",
        nargs="+",
        default=[],
        metavar="PARAM",
        help="a JSON object, @FILE with one, or key=value with a value of JSON or else text",
    )
    add("--queue", metavar="NAME", help="the queue to wait in (default: the spec's)")
    add("--key", help="idempotency key: the same spec and key again do nothing new")


def _params(text: str) -> dict[str, Any]:
    name, equals, value = text.partition("=")
    if text.startswith(("{", "@")):
        try:
            content = Path(text[1:]).read_bytes() if text.startswith("@") else text
            return msgspec.json.decode(content, type=dict[str, Any])
        except (OSError, msgspec.DecodeError) as error:
            raise argparse.ArgumentTypeError(f"{text}: {error}") from error
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is no JSON object, no @FILE and no key=value")
    try:
        return {name: msgspec.json.decode(value)}
    except msgspec.DecodeError:
        return {name: value}


def _positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number
