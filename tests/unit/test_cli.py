import asyncio
import json
import re
import secrets
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from events.jetstream.log import Append, Log
from events.jetstream.topology import prepare
from events.job import JobQueued, JobSucceeded
from rota import show_batch
from rota.batch_protocol import BatchView
from rota.cli import main
from rota.jetstream import Connection
from rota.protocol import JobDetails, Result
from tests.unit.test_client import END, PlayedGateway, batch, event, job, problem, sent, streamed

ROTA = Path(sys.executable).with_name("rota")
NOW = datetime(2025, 6, 1, 12, tzinfo=UTC)
COMMANDS = (
    "at",
    "bad-rows",
    "batch",
    "batches",
    "cancel",
    "change",
    "dead-letters",
    "get",
    "list",
    "pause",
    "queues",
    "redrive",
    "replay",
    "results",
    "resume",
    "row",
    "schedule",
    "specs",
    "stream",
    "watch",
    "worker",
)

Rota = Callable[..., Awaitable[tuple[int, str, str]]]


@pytest.fixture
async def gateway() -> AsyncIterator[PlayedGateway]:
    async with PlayedGateway() as gateway:
        yield gateway


@pytest.fixture
def rota(gateway: PlayedGateway, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Rota:
    """Run a command line against the played gateway; return exit status, output and error output."""
    monkeypatch.setenv("ROTA_URL", gateway.url)

    def call(arguments: tuple[str, ...]) -> int:
        try:
            return main(list(arguments))
        except SystemExit as exit_:
            return int(exit_.code or 0)

    async def run(*arguments: str) -> tuple[int, str, str]:
        # In a thread, since it runs an event loop of its own and the gateway needs this one.
        status = await asyncio.to_thread(call, arguments)
        return status, *capsys.readouterr()

    return run


async def start(*arguments: str, **options: Any) -> Process:
    return await asyncio.create_subprocess_exec(ROTA, *arguments, stdout=PIPE, stderr=PIPE, **options)


@pytest.mark.parametrize("command", COMMANDS)
async def test_the_help_of_each_command_has_examples(rota: Rota, command: str) -> None:
    status, out, _ = await rota(command, "--help")
    assert status == 0
    assert f"examples:\n  rota {command}" in out
    assert "--json" in out


async def test_scheduling_prints_the_id(rota: Rota, gateway: PlayedGateway) -> None:
    gateway.play("POST /schedule", {"ids": ["j1"]}, status=202)
    assert await rota("schedule", "add", "--queue", "fast", "--delay", "1.5", "--key", "k") == (0, "j1\n", "")
    assert await rota("schedule", "add", "--json") == (0, '{"id":"j1"}\n', "")
    sent = {"spec": "add", "queue": "fast", "delay_seconds": 1.5, "key": "k"}
    assert [body for _, body in gateway.asked] == [sent, {"spec": "add"}]


async def test_params_are_put_together_from_files_objects_and_pairs(
    rota: Rota, gateway: PlayedGateway, tmp_path: Path
) -> None:
    gateway.play("POST /schedule", {"ids": ["j1"]}, status=202)
    file = tmp_path / "params.json"
    file.write_text('{"a": 1, "b": 1}')
    params = [f"@{file}", '{"b": 2}', "n=1", 'text="1"', "name=ann=bob", "list=[1,2]"]
    await rota("schedule", "add", "--params", *params, "--params", "more=true")
    ((_, body),) = gateway.asked
    expected = {"a": 1, "b": 2, "n": 1, "text": "1", "name": "ann=bob", "list": [1, 2], "more": True}
    assert body["params"] == expected


@pytest.mark.parametrize("params", ["{", "[1]", "@nowhere.json", "word"])
async def test_params_that_are_none_are_a_usage_error(rota: Rota, gateway: PlayedGateway, params: str) -> None:
    status, _, err = await rota("schedule", "add", "--params", params)
    assert status == 2
    assert f"error: argument --params: {params}" in err.replace("'", "")
    assert gateway.asked == []


async def test_scheduling_can_wait_for_the_result(rota: Rota, gateway: PlayedGateway) -> None:
    gateway.play("POST /schedule", {"ids": ["j1"]}, status=202)
    gateway.play("GET /jobs/j1/result", {"id": "j1", "status": "succeeded", "result": {"sum": 3}})
    assert await rota("schedule", "add", "--wait") == (0, 'j1\n{"sum":3}\n', "")
    _, out, _ = await rota("schedule", "add", "--wait", "--json")
    assert out.splitlines()[1] == '{"id":"j1","status":"succeeded","result":{"sum":3}}'


async def test_waiting_for_a_job_that_fails_fails_with_one_line(rota: Rota, gateway: PlayedGateway) -> None:
    gateway.play("POST /schedule", {"ids": ["j1"]}, status=202)
    fault = {"type": "ValueError", "message": "bad"}
    gateway.play("GET /jobs/j1/result", {"id": "j1", "status": "failed", "error": fault})
    status, _, err = await rota("schedule", "add", "--wait")
    assert (status, err) == (1, "rota: Job j1 ended as failed, ValueError: bad\n")


async def test_a_refusal_lists_the_places_that_are_wrong(rota: Rota, gateway: PlayedGateway) -> None:
    wrong = [{"detail": "not an integer", "pointer": "#/params/a"}]
    gateway.play("POST /schedule", problem("invalid-request", 400, errors=wrong))
    assert await rota("schedule", "add") == (1, "", "rota: Why\n  #/params/a: not an integer\n")


async def test_a_job_is_shown_with_its_result(rota: Rota, gateway: PlayedGateway) -> None:
    gateway.play("GET /jobs/j1", job(status="succeeded"))
    gateway.play("GET /jobs/j1/result", {"id": "j1", "status": "succeeded", "result": [1, 2]})
    status, out, _ = await rota("get", "j1")
    assert status == 0
    assert re.search(r"^status +succeeded$", out, re.MULTILINE)
    assert re.search(r"^result +\[1,2\]$", out, re.MULTILINE)
    _, out, _ = await rota("get", "j1", "--json")
    assert json.loads(out)["result"] == [1, 2]


async def test_a_failed_job_is_shown_with_its_traceback(rota: Rota, gateway: PlayedGateway) -> None:
    fault = {"type": "ValueError", "message": "bad", "traceback": "Traceback\n  line 1"}
    gateway.play("GET /jobs/j1", job(status="failed") | {"error": fault})
    _, out, _ = await rota("get", "j1")
    assert "error         ValueError: bad\n              Traceback\n                line 1\n" in out


async def test_an_id_may_be_that_of_a_batch(rota: Rota, gateway: PlayedGateway) -> None:
    gateway.play("GET /batches/b1", batch("completed", succeeded=2, total=2))
    status, out, _ = await rota("get", "b1")
    assert status == 0
    assert '{"path":"a.csv","status":"finished","rows":20,"jobs":2}' in out


async def test_an_id_that_is_not_known_is_one_line(rota: Rota) -> None:
    assert await rota("get", "x") == (1, "", "rota: There is no job, no batch and no workflow x\n")


async def test_jobs_are_listed_up_to_a_limit(rota: Rota, gateway: PlayedGateway) -> None:
    gateway.play("GET /jobs", {"jobs": [job("j3"), job("j2")], "next": "c"}, {"jobs": [job("j1")]})
    _, out, _ = await rota("list", "--status", "queued", "--limit", "1")
    assert out.splitlines() == [
        "ID  SPEC  QUEUE    STATUS  ATTEMPT  SCHEDULED                 ENDED",
        "j3  add   default  queued  0        2025-06-01T12:00:00.000Z  -",
    ]
    assert gateway.asked == [("GET /jobs?status=queued&limit=100", None)]


async def test_jobs_are_listed_as_json_lines(rota: Rota, gateway: PlayedGateway) -> None:
    gateway.play("GET /jobs", {"jobs": [job("j3"), job("j2")], "next": "c"}, {"jobs": [job("j1")]})
    _, out, _ = await rota("list", "--json")
    assert [json.loads(line)["id"] for line in out.splitlines()] == ["j3", "j2", "j1"]


@pytest.mark.parametrize(("end", "expected"), [("job.succeeded", 0), ("job.failed", 1), ("job.cancelled", 1)])
async def test_watching_prints_events_and_succeeds_only_if_the_job_does(
    rota: Rota, gateway: PlayedGateway, end: str, expected: int
) -> None:
    gateway.play("GET /jobs/j1", job())
    gateway.play("GET /jobs/j1/result", {"id": "j1", "status": end.removeprefix("job."), "result": None})
    gateway.play("GET /events", streamed(event(1, "job.queued") | {"attempt": 1}, event(2, end)) + END)
    status, out, err = await rota("watch", "j1")
    assert (status, err) == (expected, "")
    first, second = out.splitlines()
    assert first == "      11  2025-06-01T12:00:00.000Z  job.queued          j1 v1  attempt=1"
    assert end in second
    _, out, _ = await rota("watch", "j1", "--json")
    assert [json.loads(line)["version"] for line in out.splitlines()] == [1, 2]


async def test_watching_without_an_id_prints_all_that_fits(rota: Rota, gateway: PlayedGateway) -> None:
    gap = sent("gap", {"after": 7, "first": 10, "reason": "removed"}, 7)
    events = streamed() + gap + streamed(event(1, "job.failed"), event(2, "batch.opened")) + END
    gateway.play("GET /events", events)
    filters = "--queue a --queue b --spec add --batch b1 --type job.* --type batch.opened --after 7"
    status, out, err = await rota("watch", *filters.split())
    assert (status, err) == (0, "")
    first, second, third = out.splitlines()
    assert first == "-- after 7 and before 10: removed"
    assert second.startswith("      11  2025-06-01T12:00:00.000Z  job.failed")
    assert "batch.opened" in third
    query = "batch=b1&queue=a&queue=b&spec=add&type=job.*&type=batch.opened&after=7"
    assert gateway.asked == [(f"GET /events?{query}", None)]
    _, out, _ = await rota("watch", "--json")
    assert [json.loads(line).get("sequence") for line in out.splitlines()] == [None, 11, 12]
    assert gateway.asked[1] == ("GET /events", None)


async def test_a_batch_whose_jobs_did_not_all_succeed_is_no_success(rota: Rota, gateway: PlayedGateway) -> None:
    gateway.play("POST /batches", {"id": "b1"}, status=202)
    gateway.play("GET /batches/b1/events", {"events": [event(1, "batch.completed")]})
    gateway.play("GET /events", streamed(event(1, "batch.completed")) + END)
    gateway.play("GET /batches/b1", batch("completed", succeeded=1, failed=1, total=2))
    for command in (("watch", "b1"), ("batch", "load", "a.csv", "--watch")):
        status, _, err = await rota(*command)
        assert status == 1
        assert err == "rota: 1 of the batch's jobs did not succeed: see rota list --batch b1 --status failed\n"


async def test_a_failed_batch_says_why(rota: Rota, gateway: PlayedGateway) -> None:
    gateway.play("GET /batches/b1/events", {"events": [event(1, "batch.failed")]})
    gateway.play("GET /events", streamed(event(1, "batch.failed")) + END)
    gateway.play("GET /batches/b1", batch("failed", total=0) | {"error": "a.csv: line 7, column age: 'x'"})
    status, _, err = await rota("watch", "b1")
    assert (status, err) == (1, "rota: The batch ended as failed: a.csv: line 7, column age: 'x'\n")


async def test_opening_a_batch_prints_its_id(rota: Rota, gateway: PlayedGateway) -> None:
    gateway.play("POST /batches", {"id": "b1"}, status=202)
    command = "batch load a.csv b.csv --connection lake --rows-per-job 10 --params table=people"
    assert await rota(*command.split()) == (0, "b1\n", "")
    sent = {
        "spec": "load",
        "files": ["a.csv", "b.csv"],
        "connection": "lake",
        "rows_per_job": 10,
        "params": {"table": "people"},
    }
    assert gateway.asked == [("POST /batches", sent)]


async def test_a_batch_says_which_files_it_reads_and_how(rota: Rota, gateway: PlayedGateway) -> None:
    gateway.play("POST /batches", {"id": "b1"}, status=202)
    selection = "--recursive --hidden --allow-empty --include *.csv --include *.tsv --exclude old/"
    reading = "--format csv --compression gzip --bad-rows quarantine --max-readers 2"
    options = ["--option", "delimiter=;", "header=false", "--option", '{"column_types": {"zip": "string"}}']
    command = ["batch", "load", "orders/", *selection.split(), *reading.split(), *options]
    assert await rota(*command) == (0, "b1\n", "")
    [(_, sent)] = gateway.asked
    assert sent == {
        "spec": "load",
        "files": ["orders/"],
        "selection": {
            "recursive": True,
            "include": ["*.csv", "*.tsv"],
            "exclude": ["old/"],
            "hidden": True,
            "allow_empty": True,
        },
        "format": "csv",
        "options": {"delimiter": ";", "header": False, "column_types": {"zip": "string"}},
        "compression": "gzip",
        "bad_rows": "quarantine",
        "max_readers": 2,
    }


async def test_options_may_be_given_by_the_names_of_formats(rota: Rota, gateway: PlayedGateway) -> None:
    gateway.play("POST /batches", {"id": "b1"}, status=202)
    await rota("batch", "load", "orders/", "--option", 'csv={"delimiter": ";"}', 'xml={"row": "order"}')
    [(_, sent)] = gateway.asked
    assert sent["options"] == {"csv": {"delimiter": ";"}, "xml": {"row": "order"}}


@pytest.mark.parametrize(
    "wrong", ["--option delimiter", "--bad-rows drop", "--compression zip", "--max-readers 0", "--rows-per-job x"]
)
async def test_a_wrong_word_about_a_batch_is_a_usage_error(rota: Rota, gateway: PlayedGateway, wrong: str) -> None:
    status, _, err = await rota("batch", "load", "a.csv", *wrong.split())
    assert (status, gateway.asked) == (2, [])
    assert f"error: argument {wrong.split(maxsplit=1)[0]}: " in err


async def test_a_failed_batch_is_redriven(rota: Rota, gateway: PlayedGateway) -> None:
    gateway.play("POST /batches/b1/redrive", {"id": "b1", "status": "done"})
    assert await rota("redrive", "b1") == (0, "b1 will go on\n", "")
    changes = ["--format", "tsv", "--option", "quote=null", "--bad-rows", "skip"]
    assert await rota("redrive", "b1", *changes, "--json") == (0, '{"id":"b1"}\n', "")
    assert gateway.asked == [
        ("POST /batches/b1/redrive", {}),
        ("POST /batches/b1/redrive", {"format": "tsv", "options": {"quote": None}, "bad_rows": "skip"}),
    ]


async def test_a_batch_that_is_redriven_can_be_watched_to_its_end(rota: Rota, gateway: PlayedGateway) -> None:
    gateway.play("POST /batches/b1/redrive", {"id": "b1", "status": "done"})
    ended = batch("completed", succeeded=2, total=2) | {"ended_at": "2025-06-01T12:00:10Z"}
    gateway.play("GET /batches/b1", batch("failed"), ended)
    gateway.play("GET /batches/b1/events", {"events": [event(1, "batch.completed")]})
    status, out, err = await rota("redrive", "b1", "--watch")
    assert (status, err) == (0, "")
    assert out.splitlines()[1].startswith("completed · 1/1 files")


async def test_a_batch_that_is_completed_is_not_redriven(rota: Rota, gateway: PlayedGateway) -> None:
    gateway.play("POST /batches/b1/redrive", problem("conflict", 409))
    assert await rota("redrive", "b1") == (1, "", "rota: Why\n")


async def test_a_batch_shows_the_formats_and_the_bad_rows_of_its_files(rota: Rota, gateway: PlayedGateway) -> None:
    files = [
        {"path": "a.csv", "status": "finished", "format": "csv", "rows": 20, "jobs": 2, "bad_rows": 1200},
        {"path": "b.json", "status": "reading", "format": "json", "rows": 5, "jobs": 1, "bad_rows": 34},
    ]
    gateway.play("GET /batches/b1", batch("reading", total=3) | {"files": files, "files_total": 2})
    _, out, _ = await rota("get", "b1")
    assert '"path":"a.csv","status":"finished","format":"csv","rows":20,"jobs":2,"bad_rows":1200' in out
    view = msgspec.convert(batch("completed", total=0) | {"files": files}, BatchView)
    assert "20 rows · 1,234 bad rows left out · " in show_batch.progress(view, datetime.now(UTC))


async def test_the_progress_of_a_batch_is_one_line_on_a_terminal_only(
    rota: Rota, gateway: PlayedGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway.play("POST /batches", {"id": "b1"}, status=202)
    ended = batch("completed", succeeded=2, total=2) | {"ended_at": "2025-06-01T12:00:10Z"}
    last = "completed · 1/1 files · 20 rows · 2/2 jobs done · 2 rows/s"
    gateway.play("GET /batches/b1", ended)
    assert await rota("batch", "load", "a.csv", "--watch") == (0, f"b1\n{last}\n", "")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    gateway.play("GET /batches/b1", batch("sealed", succeeded=1, timed_out=0, total=2), ended)
    status, out, err = await rota("batch", "load", "a.csv", "--watch")
    assert (status, out) == (0, f"b1\n{last}\n")
    assert err.startswith("\rsealed · 1/1 files · 20 rows · 1/2 jobs done · ")
    assert "\n" not in err


async def test_a_job_is_cancelled(rota: Rota, gateway: PlayedGateway) -> None:
    gateway.play("POST /jobs/j1/cancel", {"id": "j1"}, status=202)
    assert await rota("cancel", "j1", "--reason", "old") == (0, "j1 will be cancelled\n", "")
    assert gateway.asked == [("POST /jobs/j1/cancel", {"reason": "old"})]


async def test_specs_are_listed_with_their_params(rota: Rota, gateway: PlayedGateway) -> None:
    schema = {"properties": {"a": {}, "b": {}}, "required": ["a"]}
    spec = {"name": "add", "description": "Add.\n\nMore.", "params_schema": schema, "rows": "dicts"}
    gateway.play("GET /specs", {"specs": [spec | {"queue": "default", "retry": {}, "timeout_seconds": None}]})
    _, out, _ = await rota("specs")
    assert out.splitlines() == [
        "NAME  QUEUE    ROWS   PARAMS  DESCRIPTION",
        "add   default  dicts  a, b?   Add.",
    ]
    _, out, _ = await rota("specs", "--json")
    assert json.loads(out)["params_schema"] == schema


async def test_queues_are_listed_with_their_jobs_by_state(rota: Rota, gateway: PlayedGateway) -> None:
    queue = {"name": "sums", "jobs": {"queued": 1234, "failed": 1, "total": 1235}}
    gateway.play("GET /queues", {"queues": [queue]})
    _, out, _ = await rota("queues")
    header, row = out.splitlines()
    assert header.split()[:4] == ["QUEUE", "SCHEDULED", "QUEUED", "RUNNING"]
    assert row.split() == ["sums", "0", "1,234", "0", "0", "1", "0", "0"]
    _, out, _ = await rota("queues", "--json")
    assert json.loads(out) == queue


async def test_ctrl_c_is_no_traceback(gateway: PlayedGateway) -> None:
    gateway.play("GET /jobs/j1", job())
    gateway.play("GET /events", streamed(event(1, "job.queued")))
    process = await start("watch", "j1", "--url", gateway.url)
    assert process.stdout
    assert b"job.queued" in await process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert await process.communicate() == (b"", b"")
    assert process.returncode == 130


async def test_a_reader_that_has_seen_enough_is_no_traceback(gateway: PlayedGateway) -> None:
    gateway.play("GET /jobs", {"jobs": [job(f"j{number}") for number in range(1000)]})
    command = f"{ROTA} list --json --limit 1000 --url {gateway.url} | head -n 1"
    process = await asyncio.create_subprocess_shell(command, stdout=PIPE, stderr=PIPE)
    out, err = await process.communicate()
    assert json.loads(out)["id"] == "j0"
    assert err == b""


async def test_a_module_that_is_not_there_is_one_line(rota: Rota) -> None:
    message = "rota: There is no module no.such_jobs, neither here nor on PYTHONPATH\n"
    assert await rota("worker", "no.such_jobs") == (1, "", message)


@pytest.mark.parametrize("target", ["json", "rota.cli:main"])
async def test_a_module_without_jobs_is_one_line(rota: Rota, target: str) -> None:
    message = f"rota: There is no job in {target}: a function is one by the decorator @rota.job\n"
    assert await rota("worker", target) == (1, "", message)


@pytest.fixture
async def connection(nats_url: str) -> AsyncIterator[Connection]:
    async with await Connection.open(nats_url, name="test") as connection:
        await prepare(connection)
        yield connection


async def test_a_worker_works_until_it_is_stopped(connection: Connection, nats_url: str, tmp_path: Path) -> None:
    source = "import rota\n\n@rota.job\ndef first() -> None: ...\n\n@rota.job\ndef second() -> None: ...\n"
    (tmp_path / "shop.py").write_text(source)
    for target, names in (("shop", "first, second"), ("shop:second", "second")):
        process = await start("worker", target, "--nats-url", nats_url, "--json", cwd=tmp_path)
        assert process.stderr
        said = json.loads(await process.stderr.readline())
        assert said["message"].endswith(f"is ready for {names}")
        process.send_signal(signal.SIGTERM)
        await process.communicate()
        assert process.returncode == 0


@pytest.fixture
async def logged(connection: Connection) -> tuple[str, int]:
    """Store the history of a job; return its id and the sequence of its first event."""
    id_ = secrets.token_hex(8)
    facts: dict[str, Any] = {"originator_id": id_, "at": NOW, "attempt": 1}
    details = JobDetails("add", "default", msgspec.Raw(msgspec.msgpack.encode({"a": 1})))
    result = Result(msgspec.Raw(msgspec.msgpack.encode(3)))
    events = [
        JobQueued(originator_version=1, details=details, **facts),
        JobSucceeded(originator_version=2, worker="w", started_at=NOW, result=result, **facts),
    ]
    (last,) = await Log(connection).append([Append("job", id_, 0, list(events))])
    return id_, last - 1


async def test_replay_prints_the_events_of_one_thing(rota: Rota, nats_url: str, logged: tuple[str, int]) -> None:
    id_, first = logged
    status, out, err = await rota("replay", id_, "--nats-url", nats_url, "--json")
    assert (status, err) == (0, "")
    queued, succeeded = map(json.loads, out.splitlines())
    assert queued == {
        "sequence": first,
        "type": "job.queued",
        "id": id_,
        "version": 1,
        "at": "2025-06-01T12:00:00Z",
        "attempt": 1,
        "details": {"spec": "add", "queue": "default", "params": {"a": 1}},
    }
    assert (succeeded["sequence"], succeeded["type"], succeeded["result"]) == (
        first + 1,
        "job.succeeded",
        {"value": 3},
    )
    _, out, _ = await rota("replay", id_, "--nats-url", nats_url, "--kind", "job", "--after", str(first))
    assert out.startswith(f"{first + 1:>8}  2025-06-01T12:00:00.000Z  job.succeeded       {id_} v2  attempt=1 ")
    assert out.count("\n") == 1


async def test_replay_of_all_goes_to_the_end_of_the_log(rota: Rota, nats_url: str, logged: tuple[str, int]) -> None:
    id_, first = logged
    after = ("--nats-url", nats_url, "--json", "--after", str(first - 1))
    _, out, _ = await rota("replay", "--all", *after)
    assert [json.loads(line)["id"] for line in out.splitlines()] == [id_, id_]
    assert await rota("replay", "--all", "--kind", "batch", *after) == (0, "", "")


async def test_replay_hands_out_each_event_once_and_in_order(
    rota: Rota, connection: Connection, nats_url: str
) -> None:
    id_ = secrets.token_hex(8)
    details = JobDetails("add", "default", msgspec.Raw(msgspec.msgpack.encode({})))
    queued = [
        JobQueued(originator_id=id_, originator_version=version, at=NOW, attempt=1, details=details)
        for version in range(1, 5001)
    ]
    log = Log(connection)
    (last,) = await log.append([Append("job", id_, 0, list(queued[:1000]))])
    for start_ in range(1000, 5000, 1000):
        (last,) = await log.append([Append("job", id_, last, list(queued[start_ : start_ + 1000]))])
    _, out, _ = await rota("replay", id_, "--nats-url", nats_url, "--json")
    assert [json.loads(line)["version"] for line in out.splitlines()] == list(range(1, 5001))


async def test_replay_of_what_the_log_does_not_have_is_one_line(
    rota: Rota, connection: Connection, nats_url: str
) -> None:
    expected = (1, "", "rota: The log has no event of nothing\n")
    assert await rota("replay", "nothing", "--nats-url", nats_url) == expected


@pytest.mark.parametrize("arguments", [(), ("j1", "--all")])
async def test_replay_wants_an_id_or_all(rota: Rota, arguments: tuple[str, ...]) -> None:
    status, _, err = await rota("replay", *arguments)
    assert status == 2
    assert "error" in err
