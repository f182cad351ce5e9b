"""How the command line writes things: JSON lines, records, tables, events, progress."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from logging import Formatter, LogRecord
from typing import Any, get_args

import msgspec
from msgspec import Struct

from rota.chain import Link, walk
from rota.extension import Verdict
from rota.protocol import DeadLetterView, JobFault, JobStatus, JobView, QueueView, SpecView

HEAD = frozenset({"sequence", "at", "type", "id", "version", "origin"})
"""What all events have."""
CHAIN_WIDTH = 100
"""What is set in deeper pushes its line to the right."""
SHOWN_CHARACTERS = 200
"""Longer values are cut where people compare them."""


def json_line(value: Any) -> str:
    """Return a value as one line of JSON; what JSON does not know stands there as text."""
    return msgspec.json.encode(value, enc_hook=str).decode()


def record(thing: Mapping[str, Any]) -> str:
    """Return the fields that say something, one a line; more lines of a text are set in."""
    fields = {name: text(value) for name, value in thing.items() if value is not None and value not in ({}, [])}
    width = max(map(len, fields))
    return "\n".join(
        f"{name:<{width}}  {value}".replace("\n", "\n" + " " * (width + 2)) for name, value in fields.items()
    )


def job_table(jobs: Sequence[JobView]) -> str:
    """Return jobs as a table."""
    rows = [(job.id, job.spec, job.queue, job.status, job.attempt, job.scheduled_at, job.ended_at) for job in jobs]
    return table(("ID", "SPEC", "QUEUE", "STATUS", "ATTEMPT", "SCHEDULED", "ENDED"), rows)


def spec_table(specs: Sequence[SpecView]) -> str:
    """Return job specs as a table; params that need not be given have a question mark."""
    rows = [
        (spec.name, spec.queue, spec.rows, _params(spec.params_schema), spec.description.partition("\n")[0])
        for spec in specs
    ]
    return table(("NAME", "QUEUE", "ROWS", "PARAMS", "DESCRIPTION"), rows)


def queue_table(queues: Sequence[QueueView]) -> str:
    """Return queues as a table: how many jobs of each are in each state."""
    states = get_args(JobStatus)
    rows = [(queue.name, *(f"{queue.jobs.get(state, 0):,}" for state in states)) for queue in queues]
    return table(("QUEUE", *(state.upper() for state in states)), rows)


def letter_table(letters: Sequence[DeadLetterView]) -> str:
    """Return dead letters as a table."""
    rows = [(one.sequence, one.at, one.status, one.type, one.id, one.caller, one.reason) for one in letters]
    return table(("SEQUENCE", "AT", "STATUS", "COMMAND", "ID", "CALLER", "REASON"), rows)


def event(fields: Mapping[str, Any]) -> str:
    """Return an event as one line: its sequence, time, type, id and version, the fields of its type, who asked."""
    head = f"{fields.get('sequence', ''):>8}  {text(msgspec.convert(fields['at'], datetime))}  "
    head += f"{fields['type']:<18}  {fields['id']} v{fields['version']} "
    pairs = [(name, value) for name, value in fields.items() if name not in HEAD]
    pairs += (fields.get("origin") or {}).items()
    return " ".join([head, *(f"{name}={json_line(value)}" for name, value in pairs)])


def gap(fields: Mapping[str, Any]) -> str:
    """Return as one line that events may be missing here."""
    return f"-- after {fields['after']} and before {fields['first']}: {fields['reason']}"


def chain(beginnings: Sequence[Link]) -> Iterator[str]:
    """Yield the events of a chain as lines, each set in below the one that caused it, with who asked for it."""
    lines = [(link.event, "  " * depth + _named(link.event)) for depth, link in walk(beginnings)]
    width = min(CHAIN_WIDTH, max(len(line) for _, line in lines))
    for fields, line in lines:
        origin = fields.get("origin") or {}
        words = {"caller": "asked by", "command_id": "command"}
        says = ", ".join(f"{word} {origin[name]}" for name, word in words.items() if origin.get(name))
        yield f"{fields['sequence']:>8}  {text(fields['at'])}  {line:<{width}}  {says}".rstrip()


def verdict(found: Verdict) -> Iterator[str]:
    """Yield what is wrong with the log and the views, a line each, and a last line that says how much there is."""
    for fault in found.faults:
        yield f"log   {fault.sequence}  {fault.detail}"
    for difference in found.differences:
        place = f"{difference.table}  {text(difference.key)}  {difference.column}".rstrip()
        yield f"views  {place}: {_cut(difference.live)} in the views, {_cut(difference.log)} by the log"
    rows = sum(found.rows.values())
    yield (
        f"{found.events:,} events up to sequence {found.position}: {found.faults_total:,} faults; "
        f"{rows:,} rows of views: {found.differences_total:,} differences"
    )


def share(position: int, end: int) -> str:
    """Return how far the log was read."""
    return f"sequence {position:,} of {end:,} · {position / max(end, 1):.0%}"


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return rows below their headings."""
    lines = [header, *([text(cell) or "-" for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def text(value: Any) -> str:
    """Return a value as people read it."""
    match value:
        case None:
            return ""
        case str():
            return value
        case datetime():
            return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        case JobFault():
            return f"{value.type}: {value.message}\n{value.traceback}".strip()
        case [Struct(), *_]:
            return "\n".join(map(json_line, value))
        case _:
            return json_line(value)


class JsonFormatter(Formatter):
    """Writes log records as JSON lines."""

    def format(self, record: LogRecord) -> str:
        """Return the record as one line."""
        at = datetime.fromtimestamp(record.created, UTC)
        message = super().format(record)
        return json_line({"at": at, "level": record.levelname, "logger": record.name, "message": message})


def _params(schema: Mapping[str, Any]) -> str:
    required = schema.get("required", ())
    return ", ".join(name if name in required else f"{name}?" for name in schema.get("properties", {}))


def _named(fields: Mapping[str, Any]) -> str:
    return f"{fields['type']}  {fields['id']} v{fields['version']}"


def _cut(value: Any) -> str:
    line = json_line(value)
    return line if len(line) <= SHOWN_CHARACTERS else f"{line[:SHOWN_CHARACTERS]}…"
