"""The grammar of subjects: where commands, events, work, payloads and timers go.

rota.command.<kind>.<group>.<verb>          the server puts the partition between `command` and the kind
rota.event.<kind>.<id>.<name>[...]          queued jobs add queue, priority, spec; ended jobs of a batch its id
rota.work.<queue>.<priority>.<spec>.<id>    made by the server from job.queued
rota.status.<as rota.event>                 published by the server when an event is stored
rota.payload.<batch>.<file>.<block>.<index>.<digest>   rows of a job
rota.payload.<workflow>.<job>.<run>.inputs.<digest>    large params of a job
rota.chunk.<batch>.<head or rest>           bytes that are streamed in
rota.dry_run                                a question, answered by a supervisor
rota.result.<job id>                        a large result
rota.results_file.<batch>.<collection>.<piece>   results of a batch in a file
rota.timer.<kind>.<id>:<attempt, or which time limit>
rota.snapshot.<kind>.<id>
rota.dead_letter.<refused or failed>.<kind>.<id>
rota.shard.<name>                           each shard tells the others that it lives
"""

from datetime import datetime
from typing import assert_never

from events.base import Event, Kind
from events.catalog import KINDS, TAGS, AnyCommand, split_tag
from events.ids import group_of
from events.job import JobEnded, JobQueued, JobRedriven, ReleaseJob
from events.workflow import ExpireWorkflow, ExpireWorkflowJob

PARTITIONS = 16
"""How many lines commands are sorted into; it cannot be changed while commands wait."""

PRIORITY = "normal"

TimedCommand = ReleaseJob | ExpireWorkflow | ExpireWorkflowJob

ROWS_BLOCK = 100


def event_subject(event: Event) -> str:
    """Return where an event is stored."""
    kind, _, name = split_tag(TAGS[type(event)])[0].partition(".")
    subject = f"rota.event.{kind}.{event.originator_id}.{name}"
    if isinstance(event, JobQueued):
        return f"{subject}.{event.details.queue}.{PRIORITY}.{event.details.spec}"
    if isinstance(event, JobEnded | JobRedriven) and event.batch:
        return f"{subject}.{event.batch}"
    return subject


def aggregate_filter(kind: Kind, id_: str) -> str:
    """Return what matches all events of one aggregate."""
    return f"rota.event.{kind}.{id_}.>"


def event_on(kind: Kind, id_: str, name: str) -> str:
    """Return where an event of an aggregate is stored whose type ends so, if nothing is added to its subject."""
    return f"rota.event.{kind}.{id_}.{name}"


def opened_subject(batch: str) -> str:
    """Return where the first event of a batch is stored."""
    return event_on("batch", batch, "opened")


def ended_jobs_filter(batch: str, name: str = "*") -> str:
    """Return what matches the last events of a batch's jobs, and `redriven`: no other event has six tokens.

    `name` is how they ended, as `failed`, or `redriven`; all of them if it is left out.
    """
    return f"rota.event.job.*.{name}.{batch}"


def end_filter(job: str, batch: str) -> str:
    """Return what matches the events that ended a job of a batch, and those that redrove it."""
    return f"rota.event.job.{job}.*.{batch}"


def queued_filter(job: str) -> str:
    """Return what matches the events of a job that hand out its attempts."""
    return f"rota.event.job.{job}.queued.>"


DRY_RUN = "rota.dry_run"
"""Where somebody who can read files is asked what a batch would be; nothing is stored there."""


def chunks_filter(batch: str) -> str:
    """Return what matches all that was streamed in for a batch."""
    return f"rota.chunk.{batch}.>"


def chunk_subject(batch: str, *, head: bool) -> str:
    """Return where bytes of a stream are kept: its head as long as the batch, the rest until they are in jobs."""
    return f"rota.chunk.{batch}.{'head' if head else 'rest'}"


def results_file_subject(batch: str, collection: str, piece: int) -> str:
    """Return where a piece of a file of results is kept that is for download."""
    return f"rota.results_file.{batch}.{collection}.{piece}"


def results_file_filter(batch: str, collection: str = "*") -> str:
    """Return what matches the pieces of a batch's files of results."""
    return f"rota.results_file.{batch}.{collection}.*"


def command_subject(command: AnyCommand) -> str:
    """Return where a command is published; commands of one kind and group may share a message."""
    kind, _, verb = TAGS[type(command)].partition(".")
    return f"rota.command.{kind}.{group_of(command.id)}.{verb}"


def published_subject(stored: str) -> str:
    """Return where a command was published that is stored on a subject: the same without the partition."""
    rota, command, _, *rest = stored.split(".")
    return ".".join((rota, command, *rest))


def kind_of(command: AnyCommand) -> Kind:
    """Return the kind of aggregate that a command is for."""
    return KINDS[type(command)]


def partition_filter(partition: int) -> str:
    """Return what matches the commands of one partition, as they are stored."""
    return f"rota.command.{partition}.>"


def work_of(job: str) -> str:
    """Return what matches the waiting work of one job, whatever its queue."""
    return f"rota.work.*.*.*.{job}"


def rows_subject(batch: str, file_index: int, index: int, sha256: str) -> str:
    """Return where the rows of a batch's job are kept.

    The digest keeps rows that are made again from replacing others that their job has been told of.
    """
    return f"rota.payload.{batch}.{file_index}.{index // ROWS_BLOCK}.{index}.{sha256[:16]}"


def rows_block_filter(batch: str, file_index: int, block: int) -> str:
    """Return what matches the rows of ROWS_BLOCK neighbouring jobs, so that they can be removed together."""
    return f"rota.payload.{batch}.{file_index}.{block}.>"


def rows_filter(batch: str) -> str:
    """Return what matches the rows of all of a batch's jobs."""
    return f"rota.payload.{batch}.>"


def inputs_subject(workflow: str, job: int, run: int | None, sha256: str) -> str:
    """Return where the large params of a job of a workflow are kept; the digest as with rows."""
    return f"rota.payload.{workflow}.{job}.{0 if run is None else run}.inputs.{sha256[:16]}"


def timer_subject(command: TimedCommand) -> str:
    """Return the subject of a timer; setting it again replaces it."""
    # An attempt's own: who sets one for an attempt that is over long since must not replace that of the next.
    # For the same reason a time limit's has the moment from which it counts.
    match command:
        case ReleaseJob():
            what = f"{command.attempt}"
        case ExpireWorkflow():
            what = _microseconds(command.since)
        case ExpireWorkflowJob():
            run = "" if command.run is None else command.run
            what = f"{command.job}:{run}:{command.limit}:{_microseconds(command.since)}"
        case _:
            assert_never(command)
    return f"rota.timer.{kind_of(command)}.{command.id}:{what}"


def _microseconds(moment: datetime) -> str:
    return str(round(moment.timestamp() * 1_000_000))


def snapshot_subject(kind: Kind, id_: str) -> str:
    """Return where the newest snapshot of an aggregate is kept."""
    return f"rota.snapshot.{kind}.{id_}"


def result_subject(job: str) -> str:
    """Return where the large result of a job is kept."""
    return f"rota.result.{job}"


def dead_letter_subject(status: str, command: AnyCommand | None) -> str:
    """Return where a command is kept that was refused or failed; None stands for what cannot be read."""
    place = f"{kind_of(command)}.{command.id}" if command else "unknown.unknown"
    return f"rota.dead_letter.{status}.{place}"
