"""How the command line writes batches: tables, progress, dry runs, what is sent, what is missing."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from rota.batch_protocol import BadRowView, BatchView, DryRunFile, DryRunView, ResultsView
from rota.protocol import ENDED_JOB, BatchStatus
from rota.sender import Sent
from rota.show import json_line, table

BAR_WIDTH = 20
UNITS = ("B", "kB", "MB", "GB", "TB")


def batch_table(batches: Sequence[BatchView]) -> str:
    """Return batches as a table."""
    rows = [
        (
            one.id,
            one.spec,
            one.status,
            one.files_total,
            one.rows,
            one.jobs.get("total", 0),
            one.opened_at,
            one.ended_at,
        )
        for one in batches
    ]
    return table(("ID", "SPEC", "STATUS", "FILES", "ROWS", "JOBS", "OPENED", "ENDED"), rows)


def progress(batch: BatchView, now: datetime) -> str:
    """Return how far a batch is."""
    ended = sum(number for status, number in batch.jobs.items() if status in ENDED_JOB)
    parts: list[str] = [batch.status]
    if batch.files:
        finished = sum(file.status == "finished" for file in batch.files)
        parts.append(f"{finished:,}/{batch.files_total:,} files")
    parts.append(count(batch.rows, "row"))
    if bad := bad_rows_of(batch):
        parts.append(f"{count(bad, 'bad row')} left out")
    parts.append(f"{ended:,}/{batch.jobs.get('total', 0):,} jobs done")
    if failed := ended - batch.jobs.get("succeeded", 0):
        parts.append(f"{failed:,} of them without success")
    rate = batch.rows_per_second
    if rate is None:
        rate = batch.rows / max(((batch.ended_at or now) - batch.opened_at).total_seconds(), 0.001)
    parts.append(f"{rate:,.0f} rows/s")
    if batch.jobs_per_second is not None:
        parts.append(f"{batch.jobs_per_second:,.1f} jobs/s")
    if batch.seconds_left is not None and batch.status != "paused":
        parts.append(f"{duration(batch.seconds_left)} left")
    return " · ".join(parts)


def bad_rows_of(batch: BatchView) -> int:
    """Return how many rows could not be read and were left out."""
    return batch.bad_rows or sum(file.bad_rows for file in batch.files)


def shortfall(batch: BatchView) -> str:
    """Return why a batch that has ended is no success; nothing if all its jobs succeeded."""
    missing = batch.jobs.get("total", 0) - batch.jobs.get("succeeded", 0)
    failed = " --status failed" if batch.jobs.get("failed") else ""
    lacks = f"{missing:,} of the batch's jobs did not succeed: see rota list --batch {batch.id}{failed}"
    if batch.status == "completed_with_failures":
        parts = [f"{lacks}, and go on with rota redrive {batch.id}"] * bool(missing)
        if bad := bad_rows_of(batch):
            parts.append(
                f"{bad:,} of its rows could not be read: see rota bad-rows {batch.id}; those in quarantine are "
                f"read again, {_mended(batch)}"
            )
        return ". ".join(parts) or batch.error or "The batch completed with failures"
    if batch.status != "completed":
        return f"The batch ended as {batch.status}: {batch.error or f'see rota get {batch.id}'}"
    return lacks if missing else ""


def sending(sent: Sent, bytes_per_second: float, waits: str = "") -> str:
    """Return how far the sending of a file is, and what it waits for, if nothing has moved for a while."""
    parts = [size(sent.sent)]
    if sent.size is not None:
        share = sent.sent / sent.size if sent.size else 1.0
        filled = int(share * BAR_WIDTH)
        parts = [f"[{'#' * filled:.<{BAR_WIDTH}}] {share:4.0%}", f"{size(sent.sent)} of {size(sent.size)}"]
    parts.append(f"{size(round(bytes_per_second))}/s")
    if waits:
        parts.append(waits)
    elif sent.size is not None and bytes_per_second:
        parts.append(f"{duration((sent.size - sent.sent) / bytes_per_second)} left")
    return " · ".join(parts)


def bad_row(row: BadRowView) -> str:
    """Return a row that could not be read as one line."""
    place = "".join(
        f", {word} {value}" for word, value in (("line", row.line), ("column", row.column)) if value is not None
    )
    return row.message or f"{row.file}, bad row {row.number}{place}: {row.text}"


def collected(view: ResultsView, where: str, status: BatchStatus) -> str:
    """Return what is in a file of results, and what is not; the status is the batch's before that was collected."""
    if view.manifest is None:
        return f"The results are in {where}"
    jobs = view.manifest.jobs
    rows = view.manifest.rows
    are = "is" if rows == 1 else "are"
    parts = [f"{count(rows, 'row')} of {count(jobs.get('succeeded', 0), 'job')} {are} in {where}"]
    if failed := jobs.get("failed"):
        parts.append(f"{count(failed, 'job')} ended without success")
    if pending := jobs.get("pending"):
        parts.append(f"{count(pending, 'job')} {'has' if pending == 1 else 'have'} not ended")
    if status == "reading":
        parts.append("the batch is still being read, and there will be more")
    elif status == "paused":
        parts.append("the batch is paused before all of it was read")
    return "; ".join(parts)


def dry_run(view: DryRunView) -> Iterator[str]:
    """Yield what a batch would be, as lines."""
    for file in view.files:
        yield from _file(file)
    if more := view.files_total - len(view.files):
        yield f"… and {count(more, 'more file')}"
    for number, job in enumerate(view.jobs, 1):
        last = job.first_row + job.count - 1
        yield f"job {number}: {job.file}, rows {job.first_row:,} to {last:,} ({job.count:,})"
        yield from (f"  {json_line(row)}" for row in job.rows)
        if job.count > len(job.rows):
            yield "  …"
    if view.rows_estimated is None:
        yield "How many rows and jobs it would be cannot be told from the heads of the files"
    else:
        about = "" if view.exact else "about "
        jobs = "" if view.jobs_estimated is None else f" in {about}{count(view.jobs_estimated, 'job')}"
        yield f"{about}{count(view.rows_estimated, 'row')}{jobs}".capitalize()


def count(number: int, what: str) -> str:
    """Return so many of something, as `1 job` or `2,000 jobs`."""
    return f"{number:,} {what}{'s' * (number != 1)}"


def size(bytes_: int) -> str:
    """Return a number of bytes as people read it."""
    value, unit = float(bytes_), 0
    while value >= 1000 and unit < len(UNITS) - 1:  # noqa: PLR2004 - the step of the units
        value, unit = value / 1000, unit + 1
    return f"{value:.1f} {UNITS[unit]}" if unit else f"{bytes_} B"


def duration(seconds: float) -> str:
    """Return a time as people read it."""
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {whole % 60:02} s" if minutes else f"{whole} s"


def _mended(batch: BatchView) -> str:
    """Return when and how quarantined rows are read again: the bytes of a stream stay as they were sent."""
    again = f"rota redrive {batch.id} --quarantined"
    if batch.files and all(file.path == "stream" for file in batch.files):
        return f"with other options, by {again} --option NAME=VALUE"
    return f"once they are mended, by {again}"


def _file(file: DryRunFile) -> Iterator[str]:
    facts = [file.format or "no known format"]
    if file.compression not in {None, "none"}:
        facts.append(str(file.compression))
    if file.size is not None:
        facts.append(size(file.size))
    facts.append(f"{count(file.rows_read, 'row')} looked at")
    yield f"{file.path}: {', '.join(facts)}"
    if file.columns:
        yield "  columns: " + ", ".join(f"{name} {type_}" for name, type_ in file.columns.items())
    yield from (f"  bad row: {bad_row(row)}" for row in file.bad_rows)
    if file.error:
        yield f"  {file.error}"
