"""What docs/reference/protocol.md and asyncapi.yaml say is what the code does, and all of it."""

import re
from datetime import UTC, datetime
from typing import Any, get_args

import msgspec
import pytest
import yaml
from nats.micro.request import ERROR_CODE_HEADER, ERROR_HEADER

from events.batch import BatchDetails, BatchOpened, OpenBatch
from events.catalog import COMMANDS, EVENTS, split_tag
from events.jetstream.dead_letters import DeadLetter
from events.jetstream.log import cloud_event
from events.jetstream.topology import STREAMS
from events.job import CancelJob, JobCancelled, JobQueued, ReleaseJob, ScheduleJob
from events.subjects import (
    DRY_RUN,
    chunk_subject,
    command_subject,
    dead_letter_subject,
    event_subject,
    inputs_subject,
    result_subject,
    results_file_subject,
    rows_subject,
    snapshot_subject,
    timer_subject,
)
from events.workflow import ExpireWorkflow, ExpireWorkflowJob
from gateway.callers import KEY_HEADER
from gateway.service import OPERATIONS, PREFIX
from rota import protocol
from rota.protocol import JobDetails, Outcome, RegisterSpec
from scripts.asyncapi import PATH, SENDERS, answer_of, requests_of, text
from tests.unit.test_docs import REFERENCE

PAGE = (REFERENCE / "protocol.md").read_text()
EMPTY = msgspec.Raw(b"\x80")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
JOB = JobDetails(spec="add", queue="default", params=EMPTY)
BATCH = BatchDetails(spec="add", queue="default", files=("a",), rows_per_job=1, max_jobs_in_flight=1, params=EMPTY)
FACTS: dict[str, Any] = {"originator_id": "j-1", "originator_version": 1, "at": NOW}
CANCELLED = JobCancelled(attempt=1, batch="b", **FACTS)
SUBJECTS = [
    *(f"{PREFIX}.{name}" for name in OPERATIONS),
    command_subject(CancelJob(id="j-1")),
    command_subject(OpenBatch(id="b", details=BATCH)),
    event_subject(BatchOpened(details=BATCH, **FACTS)),
    event_subject(JobQueued(attempt=1, details=JOB, **FACTS)),
    event_subject(CANCELLED),
    "rota.status.batch.b.opened",
    "rota.work.default.normal.add.j-1",
    rows_subject("b", 0, 1, "ab" * 32),
    inputs_subject("w", 0, None, "ab" * 32),
    result_subject("j-1"),
    chunk_subject("b", head=True),
    results_file_subject("b", "c", 0),
    DRY_RUN,
    dead_letter_subject("refused", CancelJob(id="j-1")),
    dead_letter_subject("failed", None),
    snapshot_subject("job", "j-1"),
    timer_subject(ReleaseJob(id="j-1", attempt=1)),
    timer_subject(ExpireWorkflow(id="w", since=NOW)),
    timer_subject(ExpireWorkflowJob(id="w", job=1, limit="total", since=NOW)),
    "rota.shard.shard-1",
]


def section(title: str) -> str:
    """Return what stands under a heading, up to the next one."""
    found = re.search(rf"^#+ {title}\n(.*?)(?=^#+ |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


def rows(title: str) -> dict[str, list[str]]:
    """Return the rows of a section's tables by what stands in code in their first cell."""
    lines = re.findall(r"^\| `([^`]+)`[^|]* \|(.*) \|$", section(title), re.MULTILINE)
    return {name: [cell.strip() for cell in cells.split(" | ")] for name, cells in lines}


def codes(cell: str) -> set[str]:
    return set(re.findall(r"`(\w+)`", cell))


def matches(pattern: str, subject: str) -> bool:
    return bool(re.fullmatch(re.sub(r"<[^>]+>", r"[^.]+", pattern.replace(".", r"\.")), subject))


def test_every_stream_is_described() -> None:
    assert set(rows("Streams")) == set(STREAMS)


@pytest.mark.parametrize("subject", SUBJECTS)
def test_every_subject_is_described(subject: str) -> None:
    assert any(matches(pattern, subject) for pattern in rows("Subjects"))


@pytest.mark.parametrize("pattern", rows("Subjects"))
def test_every_described_subject_is_used(pattern: str) -> None:
    assert any(matches(pattern, subject) for subject in SUBJECTS)


def test_every_header_is_described() -> None:
    used = {
        protocol.CALLER,
        protocol.CAUSATION_ID,
        protocol.COMMAND_ID,
        protocol.CONTENT_TYPE,
        protocol.REPLY_TO,
        KEY_HEADER,
        ERROR_CODE_HEADER,
        ERROR_HEADER,
        *cloud_event(CANCELLED),
    }
    by_nats = {"Nats-Msg-Id", "Nats-Sequence", "Nats-Last-Sequence"}
    assert set(rows("Headers")) == used | by_nats


def test_every_endpoint_is_described_with_its_types() -> None:
    described = {name: [codes(cell) for cell in cells[:2]] for name, cells in rows("Requests").items()}
    assert described == {
        f"{PREFIX}.{name}": [{type_.__name__ for type_ in requests_of(name)}, {answer_of(name).__name__}]
        for name in OPERATIONS
    }


def test_every_command_is_described_with_its_sender_and_fields() -> None:
    described = {name: (cells[0], codes(cells[1])) for name, cells in rows("Commands").items()}
    assert described == {
        tag: (SENDERS[tag], set(command.__struct_fields__) - {"id"}) for tag, command in COMMANDS.items()
    }


def test_every_report_is_described() -> None:
    assert set(rows("Reports")) == {tag for tag, sender in SENDERS.items() if sender == "worker"}


@pytest.mark.parametrize(("title", "type_"), [("Outcomes", Outcome), ("Dead letters", DeadLetter)])
def test_every_field_is_described(title: str, type_: type[msgspec.Struct]) -> None:
    described = set().union(
        *(codes(row.split("|")[1]) for row in re.findall(r"^\| `.*$", section(title), re.MULTILINE))
    )
    assert described == set(type_.__struct_fields__)


def test_the_commands_in_the_page_are_some() -> None:
    [example] = re.findall(r"^```json\n(.*?)^```$", section("Commands"), re.MULTILINE | re.DOTALL)
    assert [command.id for command in msgspec.json.decode(example, type=list[ScheduleJob])] == [
        "order5-1",
        "order5-2",
    ]


def test_the_document_for_machines_is_made_from_the_code_as_it_is() -> None:
    assert PATH.read_text() == text(), "run `python -m scripts.asyncapi`"


def test_the_document_for_machines_has_every_message() -> None:
    messages = yaml.safe_load(PATH.read_text())["components"]["messages"]
    requests = {f"{name}.{part}" for name in OPERATIONS for part in ("request", "answer")}
    rows = {f"rows.{form}" for form in get_args(protocol.PayloadForm)}
    others = {"deadLetter", "inputs", "outcomes", "problem", "result"} | rows
    assert set(messages) == set(COMMANDS) | set(EVENTS) | requests | others
    types = {message["name"] for tag, message in messages.items() if tag in EVENTS}
    assert types == {"rota.{}.v{}".format(*split_tag(tag)) for tag in EVENTS}


def test_the_schemas_for_machines_are_those_of_the_types() -> None:
    schemas = yaml.safe_load(PATH.read_text())["components"]["schemas"]
    _, expected = msgspec.json.schema_components(
        [RegisterSpec, JobQueued], ref_template="#/components/schemas/{name}"
    )
    assert {name: schemas[name] for name in expected} == msgspec.to_builtins(expected)
