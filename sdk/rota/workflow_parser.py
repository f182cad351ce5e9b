"""The words of the commands about workflows."""

from typing import get_args

from rota import workflow_commands
from rota.arguments import DRAWING_ENDINGS, output, params, positive, workflow_file
from rota.batch_parser import Add
from rota.command_parser import Commands
from rota.workflow_protocol import WorkflowStatus


def add_workflows(commands: Commands) -> None:
    """Make the commands about workflows known."""
    command = commands.group(
        "workflow", "Run jobs whose inputs are the outputs of others, and watch and steer them."
    )

    add = command(workflow_commands.run).add_argument
    says = "a workflow, by the ending .yaml, .yml or .json; - is stdin"
    add("file", type=workflow_file, metavar="FILE", help=says)
    _add_params(add, "in place of those in the file")
    add("--key", help="idempotency key: the same workflow and key again do nothing new")
    _add_wait(add)

    add = command(workflow_commands.list_).add_argument
    add("--status", choices=get_args(WorkflowStatus))
    add("--name", metavar="NAME")
    add("--limit", type=positive, default=50, metavar="N", help="show so many at most (default: 50)")

    _add_show(command)

    add = command(workflow_commands.pause).add_argument
    _add_id(add)
    add("--reason", default="", metavar="TEXT")

    _add_id(command(workflow_commands.resume).add_argument)

    add = command(workflow_commands.cancel).add_argument
    _add_id(add)
    add("--reason", default="", metavar="TEXT")

    add = command(workflow_commands.retry).add_argument
    _add_id(add)
    _add_wait(add)

    add = command(workflow_commands.rerun).add_argument
    _add_id(add)
    _add_params(add, "in place of those that it had")
    add("--key", help="idempotency key: the same workflow and key again do nothing new")
    _add_wait(add)


def _add_show(command: Commands) -> None:
    parser = command(workflow_commands.show)
    add = parser.add_argument
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("id", metavar="ID", nargs="?", help="a workflow's")
    says = "draw the workflow in this file of YAML or JSON, and do not schedule it; - is stdin"
    what.add_argument("--file", type=workflow_file, metavar="FILE", help=says)
    formats = list(dict.fromkeys(DRAWING_ENDINGS.values()))
    says = "how it is drawn (default: as the end of the output's name says, or text)"
    add("--format", choices=sorted(formats), help=says)
    says = "draw it to this file, in place of one that is there; - is stdout"
    add("--output", type=output, metavar="FILE", help=says)
    says = "draw it again and again till the end; exit status 0 only if it succeeded"
    add("--watch", action="store_true", help=says)


def _add_id(add: Add) -> None:
    add("id", metavar="ID", help="a workflow's")


def _add_params(add: Add, says: str) -> None:
    add(
        "--params",
        type=params,
        action="extend",
        nargs="+",
        default=[],
        metavar="PARAM",
        help=f"{says}: a JSON object, @FILE with one, or key=value with a value of JSON or else text",
    )


def _add_wait(add: Add) -> None:
    add("--wait", action="store_true", help="show progress till the end; exit status 0 only if it succeeded")
