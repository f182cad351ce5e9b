"""The words of the commands about batches."""

from argparse import Action, Namespace
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, get_args

from msgspec import UNSET

from rota import batch_commands, stream_command
from rota.arguments import limit, ndjson, output, params, positive, rows, sequence, size, size_limit, tolerated
from rota.batch_protocol import ResultsFormat
from rota.command_parser import CommandParser
from rota.options import BadRows, Compression
from rota.protocol import BatchStatus

Add = Callable[..., Action]
Run = Callable[[Namespace], Coroutine[Any, Any, int | None]]


class Command(Protocol):
    """Makes the parser of a command."""

    def __call__(self, run: Run, *, over_nats: bool = False) -> CommandParser:
        """Return a parser; the command's name and help come from the function that carries it out."""


def add_batches(command: Command) -> None:
    """Make the commands about batches known."""
    _add_opening(command)
    _add_looking(command)
    _add_steering(command)


def add_job_options(add: Add) -> None:
    """Take what is said of a job, or of each job of a batch."""
    add(
        "--params",
        type=params,
        action="extend",
        nargs="+",
        default=[],
        metavar="PARAM",
        help="a JSON object, @FILE with one, or key=value with a value of JSON or else text",
    )
    add("--queue", metavar="NAME", help="the queue to wait in (default: the spec's)")
    add("--key", help="idempotency key: the same spec and key again do nothing new")


def _add_opening(command: Command) -> None:
    add = command(batch_commands.batch).add_argument
    add("spec", metavar="SPEC", help="name of a job spec that takes rows")
    says = "a path below the connection, or a URL; with / at its end a directory, with *, ? or [ a glob (in quotes)"
    add("files", metavar="FILE", nargs="+", help=says)
    add("--connection", metavar="NAME", help="where the files lie, as Rota's configuration calls it")
    add("--job-per-file", action="store_true", help="each file is one job, whatever its size")
    _add_cutting(add)
    _add_selection(add)
    _add_reading(add, "found out for each", "fail")
    _add_compression(add, "how all files are compressed (default: found out for each)")
    add("--max-readers", type=positive, metavar="N", help="read so many files at a time at most (default: 4)")
    _add_tolerance(add)
    add_job_options(add)
    add("--dry-run", action="store_true", help="only show what the batch would be, by the heads of its files")
    _add_watch(add)

    parser = command(stream_command.stream)
    parser.intermixed = True
    parser.usage = "rota stream [options] SPEC [FILE]\n       rota stream --resume ID [FILE] [--watch]"
    add = parser.add_argument
    add("spec", metavar="SPEC", nargs="?", help="name of a job spec that takes rows")
    add(
        "file", metavar="FILE", nargs="?", help="a file of this machine, or - for what comes by a pipe (default: -)"
    )
    says = "go on with a stream whose sending was interrupted; give the same data, from its beginning"
    add("--resume", metavar="ID", help=says)
    _add_cutting(add)
    add(
        "--seconds-per-job",
        type=float,
        metavar="N",
        help="a row waits no longer than so long for others to be in a job with (default: for ever)",
    )
    says = "the stream has fallen silent when nothing came for so long (default: 3600)"
    add("--silent-after", type=float, metavar="SECONDS", help=says)
    says = "whether it then fails, or is taken to have ended (default: fail)"
    add("--on-silence", choices=("fail", "seal"), help=says)
    _add_reading(add, "as the file's name says", "fail")
    _add_compression(add, "how the data is compressed (default: as the file's name says)")
    _add_tolerance(add)
    add_job_options(add)
    _add_watch(add)


def _add_looking(command: Command) -> None:
    add = command(batch_commands.batches).add_argument
    add("--status", choices=get_args(BatchStatus))
    add("--spec", metavar="SPEC")
    add("--limit", type=positive, default=50, metavar="N", help="show so many at most (default: 50)")

    add = command(batch_commands.row).add_argument
    _add_id(add)
    says = "its number in the file, from 0; rows that cannot be read do not count"
    add("row", type=sequence, metavar="ROW", help=says)
    add("--file", metavar="FILE", help="as the batch calls it; needed where the batch has more than one")

    add = command(batch_commands.bad_rows).add_argument
    _add_id(add)
    add("--file", metavar="FILE", help="only those of this file")
    says = "write them to a file whose name ends in .ndjson, in place of one that is there; - is stdout"
    add("--output", type=ndjson, metavar="FILE", help=says)

    parser = command(batch_commands.results)
    add = parser.add_argument
    _add_id(add)
    says = "how they are written (default: as the end of the file's name says: .ndjson, .jsonl, .parquet or .ods)"
    add("--format", choices=get_args(ResultsFormat), help=says)
    where = parser.add_mutually_exclusive_group(required=True)
    says = "download them to this file, in place of one that is there; - is stdout"
    where.add_argument("--output", type=output, metavar="FILE", help=says)
    where.add_argument("--path", metavar="PATH", help="have them written to this path below a connection")
    add("--connection", metavar="NAME", help="below which --path is")
    add("--origin-columns", action="store_true", help="each row says from which job, file and row it comes")


def _add_steering(command: Command) -> None:
    add = command(batch_commands.pause).add_argument
    _add_id(add)
    add("--reason", default="", metavar="TEXT")

    _add_id(command(batch_commands.resume).add_argument)

    add = command(batch_commands.change).add_argument
    _add_id(add)
    _add_flight(add)
    add("--max-readers", type=positive, metavar="N", help="read so many files at a time at most")
    _add_tolerance(add, "as before")

    add = command(batch_commands.redrive).add_argument
    _add_id(add)
    add("--file", metavar="FILE", help="run only failed jobs with rows of this file again")
    add(
        "--rows",
        type=rows,
        metavar="FROM-TO",
        help="run only failed jobs with one of these rows of their file again",
    )
    says = "run only failed jobs again with this text in their error's type or message"
    add("--error", metavar="TEXT", help=says)
    add(
        "--quarantined",
        metavar="FILE",
        nargs="?",
        const=True,
        help="read the quarantined rows again, those of FILE or all, after they were mended; failed jobs then run "
        "again only if one of the options for them is given",
    )
    says = "run all failed jobs again, as without --quarantined (default: all, or with --quarantined none)"
    add("--failed-jobs", action="store_true", help=says)
    _add_reading(add, "as before", "as before")
    _add_tolerance(add, "as before")
    _add_watch(add)


def _add_id(add: Add) -> None:
    add("id", metavar="ID", help="a batch's")


def _add_cutting(add: Add) -> None:
    says = "rows that a job gets at most, or none for no limit (default: 1000)"
    add("--rows-per-job", type=limit, default=UNSET, metavar="N", help=says)
    says = "bytes of the rows of a job, like 500000 or 2MiB, or none (default: 4MiB)"
    add("--bytes-per-job", type=size_limit, default=UNSET, metavar="SIZE", help=says)
    add("--first", type=sequence, metavar="N", help="pass over so many rows at the beginning")
    add("--limit", type=positive, metavar="N", help="take so many rows at most")
    _add_flight(add, " (default: 2000)", " (default: 512MiB)")


def _add_flight(add: Add, jobs: str = "", bytes_: str = "") -> None:
    says = "schedule no more while so many jobs have not ended"
    add("--max-jobs-in-flight", type=positive, metavar="N", help=f"{says}{jobs}")
    says = "schedule no more while jobs with so many bytes have not ended"
    add("--max-bytes-in-flight", type=size, metavar="SIZE", help=f"{says}{bytes_}")


def _add_tolerance(add: Add, default: str = "any") -> None:
    for what, says in (("failed-jobs", "jobs may end without success"), ("bad-rows", "rows may be unreadable")):
        add(
            f"--tolerate-{what}",
            type=tolerated,
            action="append",
            default=[],
            metavar="N|P%",
            help=f"so many, or such a share of all {says} before the batch fails; twice for both "
            f"(default: {default})",
        )


def _add_selection(add: Add) -> None:
    add("--recursive", action="store_true", help="read directories within directories, too")
    for name, says in (("include", "read only files that match"), ("exclude", "leave out what matches")):
        add(f"--{name}", action="append", default=[], metavar="PATTERN", help=f"{says}; may be repeated")
    add("--hidden", action="store_true", help="read files and directories whose names begin with a dot")
    add("--allow-empty", action="store_true", help="no file at all is a batch without rows, and no error")


def _add_reading(add: Add, format_: str, bad_rows: str) -> None:
    says = f"of all files, like csv, json or parquet (default: {format_})"
    add("--format", metavar="NAME", help=says)
    add(
        "--option",
        dest="options",
        type=params,
        action="extend",
        nargs="+",
        default=[],
        metavar="OPTION",
        help="of the format: name=value with a value of JSON or else text, a JSON object, or @FILE with one; "
        'without --format by the names of formats, like csv=\'{"delimiter": ";"}\'',
    )
    add(
        "--bad-rows",
        choices=get_args(BadRows),
        help="a row that cannot be read fails the batch, is left out, or is left out and kept with the reason "
        f"(default: {bad_rows})",
    )


def _add_compression(add: Add, says: str) -> None:
    add("--compression", choices=sorted(get_args(Compression)), help=says)


def _add_watch(add: Add) -> None:
    add("--watch", action="store_true", help="show progress till the end; exit status 0 only if all jobs succeeded")
