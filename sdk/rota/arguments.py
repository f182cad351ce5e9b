"""What the words on the command line mean. argparse makes usage errors of what the types here refuse."""

import argparse
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from rota import moment as moments
from rota.batch_protocol import Tolerance
from rota.errors import InvalidRequestError
from rota.export import SINKS
from rota.whole_file import is_passed_on

ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(|[kMGT]i?)B?", re.IGNORECASE)
ROWS = re.compile(r"([0-9]*)-?([0-9]*)")
RESULTS_ENDINGS = {".jsonl": "ndjson", ".ndjson": "ndjson", ".ods": "ods", ".parquet": "parquet"}
WORKFLOW_ENDINGS = (".yaml", ".yml", ".json")
DRAWING_ENDINGS = {".json": "json", ".mermaid": "mermaid", ".mmd": "mermaid", ".svg": "svg", ".txt": "text"}
EVENT_TYPE = re.compile(r"[a-z]+\.(\*|[a-z_]+)")


class UsageError(InvalidRequestError):
    """Words that do not go together, which no type tells; exit status 2."""


def params(text: str) -> dict[str, Any]:
    """Return the params in a JSON object, in a file of one, or in a pair."""
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


def id_(text: str) -> str:
    """Return an id or a name."""
    if not ID.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no id")
    return text


def event_type(text: str) -> str:
    """Return a type of events, or a pattern of types."""
    if not EVENT_TYPE.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no type of events: give one like job.failed, or 'batch.*'")
    return text


def moment(text: str) -> datetime:
    """Return a time, or that of so long ago."""
    try:
        return moments.read_moment(text, datetime.now(UTC))
    except InvalidRequestError as error:
        raise argparse.ArgumentTypeError(error.detail) from error


def point(text: str) -> int | datetime:
    """Return a sequence, or else a moment."""
    try:
        return moments.read_point(text, datetime.now(UTC))
    except InvalidRequestError as error:
        raise argparse.ArgumentTypeError(error.detail) from error


def output(text: str) -> Path:
    """Return the path of something that can be written; `-` is stdout."""
    path = Path(text)
    if path.is_dir():  # as is what has no name
        raise argparse.ArgumentTypeError(f"{text!r} is the name of no file" if text else "give the name of a file")
    return path


def export(text: str) -> Path:
    """Return the path of a file for events, by its ending; other things than files take NDJSON."""
    return _ending(text, tuple(SINKS))


def workflow_file(text: str) -> Path:
    """Return the path of a file of YAML or JSON; what other things than files have is told by their content."""
    return _ending(text, WORKFLOW_ENDINGS)


def ndjson(text: str) -> Path:
    """Return the path of a file of NDJSON."""
    return _ending(text, (".ndjson", ".jsonl"))


def _ending(text: str, endings: tuple[str, ...]) -> Path:
    path = output(text)
    if path.suffix not in endings and not is_passed_on(path):
        raise argparse.ArgumentTypeError(f"{text!r} does not end in {' or '.join(endings)}")
    return path


def sequence(text: str) -> int:
    """Return a sequence, or 0."""
    return _whole(text, 0)


def positive(text: str) -> int:
    """Return a number from 1."""
    return _whole(text, 1)


def _whole(text: str, least: int) -> int:
    try:
        number = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number") from None
    if number < least:
        raise argparse.ArgumentTypeError(f"{number} is less than {least}")
    return number


def limit(text: str) -> int | None:
    """Return a number from 1, or None for `none`."""
    return None if text == "none" else positive(text)


def size(text: str) -> int:
    """Return a number of bytes from 1, of a text like 500000, 64k or 4MiB."""
    found = SIZE.fullmatch(text.strip())
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is no size: give one like 500000, 64kB or 4MiB")
    base = 1024 if found[2].endswith("i") else 1000
    return positive(str(round(float(found[1]) * base ** " kmgt".index(found[2][:1].lower() or " "))))


def size_limit(text: str) -> int | None:
    """Return a number of bytes from 1, or None for `none`."""
    return None if text == "none" else size(text)


def tolerated(text: str) -> int | float:
    """Return a count, or a share of 1 for a percentage."""
    number, percent, rest = text.partition("%")
    try:
        tolerance = float(number) / 100 if percent else int(number)
    except ValueError:
        rest = text
    if rest or not 0 <= tolerance <= (1 if percent else 2**53):
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number like 10 nor a share like 0.5%")
    return tolerance


def rows(text: str) -> tuple[int | None, int | None]:
    """Return the first and the last of some rows, None where there is no limit: of 5, 5-9, 5- or -9."""
    found = ROWS.fullmatch(text)
    if not found or not (found[1] or found[2]):
        raise argparse.ArgumentTypeError(f"{text!r} are no rows: give some like 100-199, 100- or 100")
    first, last = (int(one) if one else None for one in found.groups())
    if "-" not in text:
        last = first
    if first is not None and last is not None and last < first:
        raise argparse.ArgumentTypeError(f"{text!r} ends before it begins")
    return first, last


def given(options: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Return those of the options that were given."""
    return {name: value for name in names if (value := getattr(options, name)) is not None}


def merged(params: list[dict[str, Any]]) -> dict[str, Any]:
    """Return params that were given one by one as one object."""
    return {name: value for part in params for name, value in part.items()}


def results_format(options: argparse.Namespace) -> str:
    """Return how results are written: as is said, or as their file's name ends; UsageError if neither tells."""
    if options.format:
        return str(options.format)
    path: Path = options.output or Path(options.path)
    if path.suffix in RESULTS_ENDINGS:
        return RESULTS_ENDINGS[path.suffix]
    if options.output and is_passed_on(path):
        return "ndjson"
    raise UsageError(f"{path} does not end in {' or '.join(RESULTS_ENDINGS)}: say with --format what it is to be")


def drawing_format(options: argparse.Namespace) -> str:
    """Return how a graph is drawn: as is said, or as its file's name ends; UsageError if neither tells."""
    if options.format:
        return str(options.format)
    if not options.output or is_passed_on(options.output):
        return "text"
    if options.output.suffix in DRAWING_ENDINGS:
        return DRAWING_ENDINGS[options.output.suffix]
    endings = " or ".join(DRAWING_ENDINGS)
    raise UsageError(f"{options.output} does not end in {endings}: say with --format what it is to be")


def tolerance(options: argparse.Namespace) -> dict[str, Any]:
    """Return what may go wrong, if that was given; UsageError for two numbers, or two shares, of one thing."""
    parts: dict[str, Any] = {}
    for what in ("failed_jobs", "bad_rows"):
        for value in getattr(options, f"tolerate_{what}"):
            name = what if isinstance(value, int) else f"{what}_share"
            if name in parts:
                kind = "number" if isinstance(value, int) else "share"
                raise UsageError(f"--tolerate-{what.replace('_', '-')} takes one {kind}, or a number and a share")
            parts[name] = value
    return {"tolerance": Tolerance(**parts)} if parts else {}
