"""The command line `rota`: schedule, watch, work and replay from a shell.

Exit status: 0 done, 1 refused or without success, 2 wrong usage, 130 interrupted, 143 ended by SIGTERM.
"""

import asyncio
import os
import sys
from collections.abc import Callable
from typing import get_args

from rota import audit, commands, extension
from rota.arguments import UsageError, event_type, export, id_, moment, point, positive, sequence
from rota.batch_parser import add_batches, add_job_options
from rota.command_parser import CommandParser, Commands, Run
from rota.errors import RotaError
from rota.moment import SAYS as MOMENTS
from rota.output import complain
from rota.protocol import BatchStatus, JobStatus
from rota.workflow_parser import add_workflows
from rota.workflow_protocol import WorkflowStatus

KINDS = ("batch", "job", "log", "spec", "workflow")


def main(arguments: list[str] | None = None) -> int:
    """Carry out a command line and return the exit status."""
    options = _parser().parse_args(arguments)
    run: Run = options.run
    try:
        return asyncio.run(run(options)) or 0
    except UsageError as error:
        complain(error.detail)
        return 2
    except RotaError as error:
        places = (f"  {problem.pointer}: {problem.detail}" for problem in error.problems)
        return complain("\n".join([error.detail, *places]))
    except KeyboardInterrupt:
        return 130
    except asyncio.CancelledError:
        return 143
    except BrokenPipeError:
        # The reader has seen enough (`rota list | head`); what Python flushes at its end goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _parser() -> CommandParser:
    parser = CommandParser(
        prog="rota",
        description="Schedule jobs, batches of jobs and workflows, work on them, watch and replay them.",
        epilog="`rota COMMAND --help` shows a command's options and examples.",
    )
    command = Commands(parser)

    add = command(commands.schedule).add_argument
    add("spec", metavar="SPEC", help="name of the job spec")
    add_job_options(add)
    add("--delay", type=float, dest="delay_seconds", metavar="SECONDS", help="run it so many seconds from now")
    add("--wait", action="store_true", help="wait for its end and print its result; fails if the job does")

    add = command(commands.list_).add_argument
    add("--status", choices=get_args(JobStatus))
    for name in ("batch", "queue", "spec", "workflow"):
        add(f"--{name}", metavar=name.upper())
    add("--limit", type=positive, default=50, metavar="N", help="show so many at most (default: 50)")

    command(commands.get).add_argument("id", metavar="ID")

    add = command(commands.watch).add_argument
    add(
        "id",
        metavar="ID",
        nargs="?",
        help="a job's, batch's or workflow's; without it, all that the filters let pass",
    )
    for name in ("batch", "queue", "spec", "workflow"):
        add(f"--{name}", action="append", metavar=name.upper(), help="may be repeated: any of them will do")
    add("--type", action="append", metavar="TYPE", help="like job.failed, or 'job.*'; may be repeated")
    add("--after", type=sequence, metavar="SEQ", help="begin after this sequence (default: all of ID, else now)")

    add = command(commands.cancel).add_argument
    add("id", metavar="ID")
    add("--reason", default="", metavar="TEXT")

    add_batches(command)
    add_workflows(command)
    add = command(commands.worker, over_nats=True).add_argument
    add("module", metavar="MODULE[:NAME]", help="the module, or one job in it")
    add("--queue", dest="queues", action="append", metavar="NAME", help="serve it too; may be repeated")
    add("--concurrency", type=positive, default=10, metavar="N", help="jobs that run at once (default: 10)")
    add(
        "--lease-seconds",
        type=positive,
        metavar="N",
        help="a job goes to another worker after this worker was silent for so long (default: 30)",
    )

    _add_audit(command)
    add = command(commands.dead_letters).add_argument
    add("--status", choices=("failed", "refused"))
    for action, does in (("show", "show all of one"), ("send-again", "try it once more"), ("remove", "remove it")):
        add(f"--{action}", type=positive, metavar="SEQ", help=does)
    command(commands.queues)
    command(commands.specs)
    return parser


def _add_audit(command: Callable[..., CommandParser]) -> None:
    replay = command(audit.replay, over_nats=True)
    what = replay.add_mutually_exclusive_group(required=True)
    says = "a job's, a batch's or a workflow's, or a spec's name"
    what.add_argument("id", metavar="ID", nargs="?", type=id_, help=says)
    what.add_argument("--all", action="store_true", help="all events")
    says = "all that belongs to a batch, a workflow or a request"
    what.add_argument("--correlation", type=id_, metavar="ID", help=says)
    says = "a job, batch, workflow or request: what led to what, as a tree"
    what.add_argument("--chain", type=id_, metavar="ID", help=says)
    what.add_argument(
        "--verify",
        action="store_true",
        help="check the log, and compare the views in ROTA_HOME with what it folds to",
    )
    add = replay.add_argument
    add("--kind", choices=KINDS, help="only events of such things")
    add(
        "--type",
        dest="types",
        type=event_type,
        action="append",
        default=[],
        metavar="TYPE",
        help="only events of this type, like job.failed or 'batch.*'; may be repeated",
    )
    add("--after", type=sequence, default=0, metavar="SEQ", help="only events after this sequence")
    add("--up-to", type=sequence, metavar="SEQ", help="only events up to this sequence")
    add("--since", type=moment, metavar="TIME", help=f"only events that happened then or later: {MOMENTS}")
    add("--until", type=moment, metavar="TIME", help="only events that happened before")
    says = "write them to a file, by its ending .ndjson or .parquet, in place of one that is there; - is stdout"
    add("--output", type=export, metavar="FILE", help=says)

    add = command(audit.at, over_nats=True).add_argument
    add("point", type=point, metavar="TIME", help=f"{MOMENTS}; or a sequence of the log")
    add("what", choices=get_args(extension.What))
    add("--status", choices=sorted({*get_args(JobStatus), *get_args(BatchStatus), *get_args(WorkflowStatus)}))
    for name in ("id", "batch", "name", "queue", "spec", "workflow"):
        add(f"--{name}", type=id_, metavar=name.upper())
    add("--limit", type=positive, default=50, metavar="N", help="show so many at most, newest first (default: 50)")
