"""How the command line writes things: JSON lines, records, tables, events, progress."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from logging import Formatter, LogRecord
from typing import Any

import msgspec
from msgspec import Struct

from rota.protocol import ENDED_JOB, BatchView, JobFault, JobView, SpecView

HEAD = frozenset({"sequence", "at", "type", "id", "version"})
"""What all events have."""


def json_line(value: Any) -> str:
    """Return a value as one line of JSON; what JSON does not know stands there as text."""
    return msgspec.json.encode(value, enc_hook=str).decode()


def record(thing: Mapping[str, Any]) -> str:
    """Return the fields that say something, one a line; more lines of a text are set in."""
    fields = {name: _text(value) for name, value in thing.items() if value is not None and value not in ({}, [])}
    width = max(map(len, fields))
    return "\n".join(
        f"{name:<{width}}  {text}".replace("\n", "\n" + " " * (width + 2)) for name, text in fields.items()
    )


def job_table(jobs: Sequence[JobView]) -> str:
    """Return jobs as a table."""
    rows = [(job.id, job.spec, job.queue, job.status, job.attempt, job.scheduled_at, job.ended_at) for job in jobs]
    return _table(("ID", "SPEC", "QUEUE", "STATUS", "ATTEMPT", "SCHEDULED", "ENDED"), rows)


def spec_table(specs: Sequence[SpecView]) -> str:
    """Return job specs as a table; params that need not be given have a question mark."""
    rows = [
        (spec.name, spec.queue, spec.rows, _params(spec.params_schema), spec.description.partition("\n")[0])
        for spec in specs
    ]
    return _table(("NAME", "QUEUE", "ROWS", "PARAMS", "DESCRIPTION"), rows)


def event(fields: Mapping[str, Any]) -> str:
    """Return an event as one line: its sequence, time, type, id and version, then the fields of its type."""
    head = f"{fields.get('sequence', ''):>8}  {_text(msgspec.convert(fields['at'], datetime))}  "
    head += f"{fields['type']:<18}  {fields['id']} v{fields['version']} "
    return " ".join([head, *(f"{name}={json_line(value)}" for name, value in fields.items() if name not in HEAD)])


def progress(batch: BatchView, now: datetime) -> str:
    """Return how far a batch is."""
    finished = sum(file.status != "reading" for file in batch.files)
    ended = sum(count for status, count in batch.jobs.items() if status in ENDED_JOB)
    seconds = ((batch.ended_at or now) - batch.opened_at).total_seconds()
    parts = [
        batch.status,
        f"{finished:,}/{batch.files_total:,} files",
        f"{batch.rows:,} rows",
        f"{ended:,}/{batch.jobs.get('total', 0):,} jobs done",
        f"{batch.rows / max(seconds, 0.001):,.0f} rows/s",
    ]
    if failed := ended - batch.jobs.get("succeeded", 0):
        parts.insert(4, f"{failed:,} of them without success")
    return " · ".join(parts)


def shortfall(batch: BatchView) -> str:
    """Return why a batch that has ended is no success; nothing if all its jobs succeeded."""
    if batch.status != "completed":
        return f"The batch ended as {batch.status}: {batch.error or f'see rota get {batch.id}'}"
    missing = batch.jobs.get("total", 0) - batch.jobs.get("succeeded", 0)
    return f"{missing:,} of the batch's jobs did not succeed: see rota list --batch {batch.id}" if missing else ""


class JsonFormatter(Formatter):
    """Writes log records as JSON lines."""

    def format(self, record: LogRecord) -> str:
        """Return the record as one line."""
        at = datetime.fromtimestamp(record.created, UTC)
        message = super().format(record)
        return json_line({"at": at, "level": record.levelname, "logger": record.name, "message": message})


def _table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [header, *([_text(cell) or "-" for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _text(value: Any) -> str:
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


def _params(schema: Mapping[str, Any]) -> str:
    required = schema.get("required", ())
    return ", ".join(name if name in required else f"{name}?" for name in schema.get("properties", {}))
