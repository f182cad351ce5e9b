"""The commands about batches, against a server that gives the answers which the gateway documents."""

import asyncio
import json
import os
import pty
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from events.formats import FORMATS
from rota import batch_commands, file_names, sending_bar, show_batch, stream_command
from rota.arguments import rows, size, tolerated
from rota.batch_protocol import BadRowView, BatchView, ResultsView
from rota.errors import NotFoundError, RotaError, UnavailableError
from rota.protocol import BatchStatus
from rota.sender import Sent
from rota.sending_bar import SendingBar
from tests.unit.test_batches_client import contents, limited, results
from tests.unit.test_cli import ROTA, Rota
from tests.unit.test_cli import rota as rota  # noqa: PLC0414 - a fixture
from tests.unit.test_client import END, PlayedGateway, batch, event, problem, streamed

NOW = datetime(2025, 6, 1, 12, 1, tzinfo=UTC)
DONE = {"id": "b1", "status": "done"}
OPEN = {"id": "b1", "offset": 0, "complete": False}
SEALED = {"id": "b1", "offset": 0, "complete": True}


@pytest.fixture
async def gateway() -> AsyncIterator[PlayedGateway]:
    async with PlayedGateway() as gateway:
        yield gateway


def view(status: str, **more: Any) -> BatchView:
    jobs = more.pop("jobs", {"total": 0})
    return msgspec.convert({**batch(status, **jobs), **more}, BatchView)


async def test_a_batch_is_opened_with_all_its_limits(rota: Rota, gateway: PlayedGateway) -> None:
    gateway.play("POST /batches", {"id": "b1"}, status=202)
    limits = "--rows-per-job none --bytes-per-job 1MiB --first 5 --limit 100 --max-jobs-in-flight 7"
    more = "--max-bytes-in-flight 64MiB --tolerate-failed-jobs 10 --tolerate-failed-jobs 0.5%"
    bad = "--bad-rows skip --tolerate-bad-rows 3"
    assert await rota(*f"batch load a.csv {limits} {more} {bad}".split()) == (0, "b1\n", "")
    [(_, body)] = gateway.asked
    assert body == {
        "spec": "load",
        "files": ["a.csv"],
        "rows_per_job": None,
        "bytes_per_job": 1024 * 1024,
        "first": 5,
        "limit": 100,
        "max_jobs_in_flight": 7,
        "max_bytes_in_flight": 64 * 1024 * 1024,
        "bad_rows": "skip",
        "tolerance": {"failed_jobs": 10, "failed_jobs_share": 0.005, "bad_rows": 3},
    }


async def test_each_file_can_be_one_job(rota: Rota, gateway: PlayedGateway) -> None:
    gateway.play("POST /batches", {"id": "b1"}, status=202)
    await rota("batch", "load", "a.csv", "--job-per-file")
    [(_, body)] = gateway.asked
    assert (body["rows_per_job"], body["bytes_per_job"]) == (None, None)
    status, _, err = await rota("batch", "load", "a.csv", "--job-per-file", "--rows-per-job", "5")
    assert (status, "--job-per-file goes with no limit" in err) == (1, True)


async def test_a_dry_run_shows_files_jobs_and_the_estimate(rota: Rota, gateway: PlayedGateway) -> None:
    bad = {"file": "a.csv", "file_index": 0, "number": 0, "message": "a.csv, line 3, column n: 'x' is no int64"}
    files = [
        {
            "path": "a.csv",
            "size": 1234567,
            "format": "csv",
            "compression": "gzip",
            "columns": {"n": "int64", "s": "string"},
            "rows_read": 5000,
            "bad_rows": [bad],
        },
        {"path": "b.bin", "error": "b.bin: no known format"},
    ]
    job = {"file": "a.csv", "first_row": 0, "count": 1000, "rows": [{"n": 1, "s": "x"}]}
    answer = {"files": files, "files_total": 5, "jobs": [job], "rows_estimated": 90_000, "jobs_estimated": 90}
    gateway.play("POST /batches/dry-run", answer)
    status, out, err = await rota("batch", "load", "data/", "--dry-run")
    assert (status, err) == (0, "")
    assert out.splitlines() == [
        "a.csv: csv, gzip, 1.2 MB, 5,000 rows looked at",
        "  columns: n int64, s string",
        "  bad row: a.csv, line 3, column n: 'x' is no int64",
        "b.bin: no known format, 0 rows looked at",
        "  b.bin: no known format",
        "… and 3 more files",
        "job 1: a.csv, rows 0 to 999 (1,000)",
        '  {"n":1,"s":"x"}',
        "  …",
        "About 90,000 rows in about 90 jobs",
    ]
    _, out, _ = await rota("batch", "load", "data/", "--dry-run", "--json")
    assert json.loads(out)["rows_estimated"] == 90_000
    assert [target for target, _ in gateway.asked] == ["POST /batches/dry-run"] * 2


async def test_a_dry_run_of_what_would_be_no_batch_fails_and_says_why(rota: Rota, gateway: PlayedGateway) -> None:
    answer = {"files": [], "files_total": 0, "jobs": [], "error": "data/: there is no file"}
    gateway.play("POST /batches/dry-run", answer)
    status, _, err = await rota("batch", "load", "data/", "--dry-run")
    assert (status, err) == (1, "rota: data/: there is no file\n")


async def test_batches_are_listed(rota: Rota, gateway: PlayedGateway) -> None:
    gateway.play("GET /batches", {"batches": [batch("failed", total=2) | {"files": []}] * 3})
    status, out, _ = await rota("batches", "--status", "failed", "--spec", "load", "--limit", "2")
    assert status == 0
    header, *rows_ = out.splitlines()
    assert header.split() == ["ID", "SPEC", "STATUS", "FILES", "ROWS", "JOBS", "OPENED", "ENDED"]
    assert [row.split()[:6] for row in rows_] == [["b1", "load", "failed", "1", "20", "2"]] * 2
    assert gateway.asked[0][0] == "GET /batches?status=failed&spec=load&limit=100"


async def test_a_batch_is_steered(rota: Rota, gateway: PlayedGateway) -> None:
    for action in ("pause", "resume", "cancel"):
        gateway.play(f"POST /batches/b1/{action}", DONE)
    gateway.play("PATCH /batches/b1", DONE)
    assert await rota("pause", "b1", "--reason", "full") == (0, "b1 will be paused\n", "")
    assert await rota("resume", "b1") == (0, "b1 will go on\n", "")
    changes = "--max-jobs-in-flight 5 --max-readers 1 --tolerate-failed-jobs 5%"
    assert await rota("change", "b1", *changes.split(), "--json") == (0, '{"id":"b1"}\n', "")
    assert await rota("cancel", "b1") == (0, "b1 will be cancelled\n", "")
    assert gateway.asked == [
        ("POST /batches/b1/pause", {"reason": "full"}),
        ("POST /batches/b1/resume", None),
        (
            "PATCH /batches/b1",
            {"max_jobs_in_flight": 5, "max_readers": 1, "tolerance": {"failed_jobs_share": 0.05}},
        ),
        ("POST /jobs/b1/cancel", {"reason": ""}),
        ("POST /batches/b1/cancel", {"reason": ""}),
    ]


async def test_a_change_of_nothing_is_refused(rota: Rota, gateway: PlayedGateway) -> None:
    status, _, err = await rota("change", "b1")
    assert (status, gateway.asked) == (1, [])
    assert err.startswith("rota: Nothing is to change")


async def test_what_is_neither_a_job_nor_a_batch_is_not_cancelled(rota: Rota) -> None:
    assert await rota("cancel", "x") == (1, "", "rota: There is no job, no batch and no workflow x\n")


async def test_a_redrive_says_which_jobs_and_rows(rota: Rota, gateway: PlayedGateway) -> None:
    gateway.play("POST /batches/b1/redrive", DONE)
    await rota("redrive", "b1", "--file", "a.csv", "--rows", "100-199", "--error", "Timeout")
    await rota("redrive", "b1", "--quarantined", "--tolerate-bad-rows", "5%")
    await rota("redrive", "b1", "--quarantined", "a.csv")
    await rota("redrive", "b1", "--quarantined", "--failed-jobs")
    assert [body for _, body in gateway.asked] == [
        {"jobs": {"file": "a.csv", "first_row": 100, "last_row": 199, "error": "Timeout"}},
        {"rows": {}, "tolerance": {"bad_rows_share": 0.05}},
        {"rows": {"file": "a.csv"}},
        {"jobs": {}, "rows": {}},
    ]


async def test_the_help_of_a_redrive_says_when_failed_jobs_run_again(rota: Rota) -> None:
    _, out, _ = await rota("redrive", "--help")
    assert (
        "run all failed jobs again, as without --quarantined (default: all, or with --quarantined none)"
        in " ".join(out.split())
    )


async def test_a_redrive_is_watched_past_the_end_before_it(rota: Rota, gateway: PlayedGateway) -> None:
    gateway.play("POST /batches/b1/redrive", DONE)
    old = batch("failed", total=2)
    new = batch("completed", succeeded=2, total=2) | {"ended_at": "2025-06-01T12:00:10Z"}
    gateway.play("GET /batches/b1", old, old, batch("reading", total=2), new)
    first, second = event(2, "batch.jobs_redriven") | {"jobs": 7}, event(4, "batch.jobs_redriven") | {"jobs": 1}
    events = [event(1, "batch.redriven"), first, event(3, "batch.redriven"), second, event(5, "batch.completed")]
    gateway.play("GET /batches/b1/events", {"events": events})
    status, out, err = await rota("redrive", "b1", "--watch")
    assert (status, err) == (0, "")
    lines = [line.partition(" · ")[0] for line in out.splitlines()]
    assert lines == ["b1 will go on", "completed", "1 job ran again"]


async def test_a_redrive_that_fits_no_job_says_so(rota: Rota, gateway: PlayedGateway) -> None:
    gateway.play("POST /batches/b1/redrive", DONE)
    new = batch("completed_with_failures", failed=2, total=2) | {"ended_at": "2025-06-01T12:00:10Z"}
    gateway.play("GET /batches/b1", batch("completed_with_failures", failed=2, total=2), new)
    gateway.play("GET /batches/b1/events", {"events": [event(1, "batch.redriven"), event(2, "batch.completed")]})
    _, out, _ = await rota("redrive", "b1", "--error", "Typo", "--watch")
    assert out.endswith("\n0 jobs ran again\n")


async def test_a_redrive_of_which_nothing_comes_is_not_waited_for(
    rota: Rota, gateway: PlayedGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_commands, "BEGIN_SECONDS", 0.1)
    gateway.play("POST /batches/b1/redrive", DONE)
    gateway.play("GET /batches/b1", batch("failed", total=2))
    status, _, err = await rota("redrive", "b1", "--watch")
    assert (status, "nothing has come of it: the batch is failed as before" in err) == (1, True)


async def test_a_redrive_that_fails_again_is_the_end(rota: Rota, gateway: PlayedGateway) -> None:
    gateway.play("POST /batches/b1/redrive", DONE)
    new = batch("failed", total=2) | {"ended_at": "2025-06-01T12:00:10Z", "error": "a.csv: no"}
    gateway.play("GET /batches/b1", batch("failed", total=2), new)
    gateway.play("GET /batches/b1/events", {"events": [event(1, "batch.failed")]})
    status, _, err = await rota("redrive", "b1", "--watch")
    assert (status, err) == (1, "rota: The batch ended as failed: a.csv: no\n")


async def test_a_row_is_found_with_what_became_of_it(rota: Rota, gateway: PlayedGateway) -> None:
    row = {
        "file": "a.csv",
        "file_index": 0,
        "row": 7,
        "job": "j7",
        "status": "failed",
        "first_row": 0,
        "last_row": 9,
    }
    gateway.play("GET /batches/b1/rows", row | {"error": {"type": "ValueError", "message": "bad"}})
    status, out, _ = await rota("row", "b1", "7", "--file", "a.csv")
    assert status == 0
    assert await rota("row", "b1", "7") == (0, out, "")
    assert [target.partition("?")[2] for target, _ in gateway.asked] == ["file=a.csv&row=7", "row=7"]
    assert "job         j7\nstatus      failed\n" in out
    assert '"message":"bad"' in out


async def test_bad_rows_are_printed_or_written_to_a_file(
    rota: Rota, gateway: PlayedGateway, tmp_path: Path
) -> None:
    bad = {"file": "a.csv", "file_index": 0, "number": 0, "row": 1, "line": 3, "message": "a.csv, line 3: no"}
    unsaid = {"file": "a.csv", "file_index": 0, "number": 1, "line": 9, "column": "n", "text": "x"}
    gateway.play("GET /batches/b1/bad-rows", {"bad_rows": [bad, unsaid], "next": None})
    _, out, _ = await rota("bad-rows", "b1", "--file", "a.csv")
    assert out == "a.csv, line 3: no\na.csv, bad row 1, line 9, column n: x\n"
    file = tmp_path / "bad.ndjson"
    _, out, _ = await rota("bad-rows", "b1", "--output", str(file))
    assert out == f"2 bad rows are in {file}\n"
    lines = [msgspec.json.decode(line, type=BadRowView) for line in contents(tmp_path)["bad.ndjson"].splitlines()]
    assert [one.line for one in lines] == [3, 9]
    assert gateway.asked[0][0] == "GET /batches/b1/bad-rows?file=a.csv&limit=1000"


async def test_results_are_downloaded_in_the_format_of_the_files_name(
    rota: Rota, gateway: PlayedGateway, tmp_path: Path
) -> None:
    body = b"PAR1"
    gateway.play("POST /batches/b1/results", {"id": "c1"}, status=202)
    gateway.play("GET /batches/b1/results/c1", results("collected", body))
    gateway.play("GET /batches/b1/results/c1/file", body)
    gateway.play("GET /batches/b1", batch("completed"))
    file = tmp_path / "r.parquet"
    status, out, _ = await rota("results", "b1", "--output", str(file), "--origin-columns")
    assert (status, out) == (0, f"20 rows of 2 jobs are in {file}; 1 job ended without success\n")
    assert contents(tmp_path) == {"r.parquet": body}
    assert gateway.asked[1] == ("POST /batches/b1/results", {"format": "parquet", "origin_columns": True})


async def test_results_of_a_batch_that_is_still_read_say_so(
    rota: Rota, gateway: PlayedGateway, tmp_path: Path
) -> None:
    gateway.play("POST /batches/b1/results", {"id": "c1"}, status=202)
    gateway.play("GET /batches/b1/results/c1", results("collected"))
    gateway.play("GET /batches/b1/results/c1/file", b"")
    gateway.play("GET /batches/b1", batch("reading"), batch("paused"))
    file = str(tmp_path / "r.jsonl")
    assert (await rota("results", "b1", "--output", file))[1].endswith(
        "; the batch is still being read, and there will be more\n"
    )
    assert (await rota("results", "b1", "--output", file))[1].endswith(
        "; the batch is paused before all of it was read\n"
    )


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("results b1 --output run.csv", "run.csv does not end in .jsonl or .ndjson or .ods or .parquet"),
        ("results b1 --connection lake --path run", "run does not end in .jsonl"),
        ("change b1 --tolerate-bad-rows 5 --tolerate-bad-rows 6", "--tolerate-bad-rows takes one number"),
        (
            "redrive b1 --tolerate-failed-jobs 5% --tolerate-failed-jobs 6%",
            "--tolerate-failed-jobs takes one share",
        ),
    ],
)
async def test_words_that_do_not_go_together_are_a_usage_error(
    rota: Rota, gateway: PlayedGateway, words: str, says: str
) -> None:
    status, _, err = await rota(*words.split())
    assert (status, gateway.asked) == (2, [])
    assert says in err


async def test_a_format_that_is_said_needs_no_ending(rota: Rota, gateway: PlayedGateway, tmp_path: Path) -> None:
    gateway.play("POST /batches/b1/results", {"id": "c1"}, status=202)
    gateway.play("GET /batches/b1/results/c1", results("collected"))
    gateway.play("GET /batches/b1/results/c1/file", b"")
    gateway.play("GET /batches/b1", batch("completed"))
    status, _, _ = await rota("results", "b1", "--output", str(tmp_path / "run.txt"), "--format", "parquet")
    assert (status, gateway.asked[1][1]) == (0, {"format": "parquet"})


async def test_results_and_bad_rows_come_out_of_stdout(gateway: PlayedGateway, tmp_path: Path) -> None:
    body = b'{"n": 1}\n'
    gateway.play("POST /batches/b1/results", {"id": "c1"}, status=202)
    gateway.play("GET /batches/b1/results/c1", results("collected", body))
    gateway.play("GET /batches/b1/results/c1/file", body)
    gateway.play("GET /batches/b1", batch("completed"))
    bad = {"file": "a.csv", "file_index": 0, "number": 0, "message": "no"}
    gateway.play("GET /batches/b1/bad-rows", {"bad_rows": [bad], "next": None})
    link = tmp_path / "link"
    link.symlink_to("/dev/stdout")
    for command in ("results", "bad-rows"):
        for output in ("-", str(link)):
            process = await asyncio.create_subprocess_exec(
                ROTA, command, "b1", "--output", output, "--url", gateway.url, stdout=PIPE, stderr=PIPE
            )
            out, err = await process.communicate()
            assert (process.returncode, out.count(b"\n")) == (0, 1)
            assert json.loads(out)
            assert f" in {output}".encode() in err
    assert link.is_symlink()


async def test_who_waits_for_results_is_told_what_collects_them(
    rota: Rota, gateway: PlayedGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway.play("POST /batches/b1/results", {"id": "c1"}, status=202)
    gateway.play("GET /batches/b1/results/c1", *[results("collecting")] * 3, results("collected"))
    gateway.play("GET /batches/b1", batch("completed"))
    monkeypatch.setattr(batch_commands, "REMARK_SECONDS", 0.15)
    command = ("results", "b1", "--connection", "lake", "--path", "r.ods")
    status, out, err = await rota(*command)
    assert (status, out[:14]) == (0, "20 rows of 2 j")
    says = "The results are not collected yet; a reader of Rota does that. If none runs: ./scripts/up starts Rota"
    assert err == f"rota: {says}\n"
    assert (await rota(*command))[2] == ""


async def test_results_are_written_below_a_connection(rota: Rota, gateway: PlayedGateway) -> None:
    gateway.play("POST /batches/b1/results", {"id": "c1"}, status=202)
    gateway.play("GET /batches/b1/results/c1", results("collected"))
    gateway.play("GET /batches/b1", batch("completed"))
    _, out, _ = await rota("results", "b1", "--connection", "lake", "--path", "r.ods", "--json")
    assert msgspec.json.decode(out, type=ResultsView).status == "collected"
    assert gateway.asked[1][1] == {"format": "ods", "connection": "lake", "path": "r.ods"}
    status, _, err = await rota("results", "b1", "--path", "r.ods")
    assert (status, err) == (1, "rota: --connection and --path go together, or else --output\n")


async def test_a_local_file_is_streamed_by_what_its_name_says(
    rota: Rota, gateway: PlayedGateway, tmp_path: Path
) -> None:
    file = tmp_path / "people.csv.gz"
    file.write_bytes(b"")
    gateway.play("POST /batches", {"id": "b1"}, status=202)
    gateway.play("GET /batches/b1/data", OPEN)
    gateway.play("POST /batches/b1/seal", SEALED)
    options = "--seconds-per-job 5 --silent-after 60 --on-silence seal --bytes-per-job 64k --params table=t"
    assert await rota("stream", "load", str(file), *options.split()) == (0, "b1\n", "")
    [(_, opened), *rest] = gateway.asked
    assert opened == {
        "spec": "load",
        "format": "csv",
        "compression": "gzip",
        "stream": {"silent_after_seconds": 60, "on_silence": "seal"},
        "seconds_per_job": 5,
        "bytes_per_job": 64_000,
        "params": {"table": "t"},
    }
    assert [target for target, _ in rest] == ["GET /batches/b1/data", "POST /batches/b1/seal"]


async def test_a_stream_is_resumed_with_a_file_and_watched(
    rota: Rota, gateway: PlayedGateway, tmp_path: Path
) -> None:
    file = tmp_path / "rows.ndjson"
    file.write_bytes(b"{}\n")
    gateway.play("GET /batches/b1/data", OPEN | {"offset": 3})
    gateway.play("POST /batches/b1/seal", SEALED)
    gateway.play("GET /batches/b1", batch("completed", succeeded=2, total=2) | {"rows_per_second": 3.0})
    status, out, err = await rota("stream", "--resume", "b1", str(file), "--watch")
    assert (status, err) == (0, "")
    assert out == "b1\ncompleted · 1/1 files · 20 rows · 2/2 jobs done · 3 rows/s\n"


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("m.parquet", "o.csv", "o.zip"):
        (tmp_path / name).touch()


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("stream", "Say for which spec"),
        ("stream load nowhere.csv", "nowhere.csv cannot be read: No such file"),
        ("stream load .", ". cannot be read: Is a directory"),
        ("stream load m.parquet", "parquet cannot be streamed; streams are arrow, avro, csv, json,"),
        ("stream load o.zip", "What o.zip has is not told by its name; streams are arrow, avro,"),
        ("stream load o.csv --format xlsx", "xlsx cannot be streamed"),
        ("stream --resume b1 load b.csv", "so SPEC is left out: rota stream --resume b1 b.csv"),
        ("stream --resume b1 a.csv --rows-per-job 5", "goes on with a stream as it was opened"),
    ],
)
async def test_what_cannot_be_streamed_is_one_line(
    rota: Rota, gateway: PlayedGateway, words: str, says: str
) -> None:
    status, _, err = await rota(*words.split())
    assert (status, gateway.asked) == (1, [])
    assert says in err


@pytest.mark.parametrize(
    "words",
    ["load --format ndjson FILE", "load FILE --format ndjson", "--format ndjson load FILE", "load --json FILE"],
)
async def test_options_may_stand_anywhere(rota: Rota, gateway: PlayedGateway, tmp_path: Path, words: str) -> None:
    file = tmp_path / "rows.ndjson"
    file.write_bytes(b"")
    gateway.play("POST /batches", {"id": "b1"}, status=202)
    gateway.play("GET /batches/b1/data", OPEN)
    gateway.play("POST /batches/b1/seal", SEALED)
    status, _, err = await rota("stream", *words.replace("FILE", str(file)).split())
    assert (status, err) == (0, "")
    assert gateway.asked[0][1] == {"spec": "load", "format": "ndjson", "stream": {}}
    status, _, err = await rota("stream", "load", "--watch", str(file), "more")
    assert (status, "unrecognized arguments: more" in err) == (2, True)


async def test_a_file_that_is_too_short_is_no_reason_to_go_on_with_it(
    rota: Rota, gateway: PlayedGateway, tmp_path: Path
) -> None:
    file = tmp_path / "my rows.ndjson"
    file.write_bytes(b"{}\n")
    gateway.play("GET /batches/b1/data", OPEN | {"offset": 7})
    status, _, err = await rota("stream", "--resume", "b1", str(file))
    assert (status, err) == (
        1,
        (
            "rota: 3 bytes are all there is, but the stream b1 has 7 already. "
            "To go on, give the data from its beginning\n"
        ),
    )


async def test_an_unknown_stream_is_not_gone_on_with(rota: Rota, gateway: PlayedGateway, tmp_path: Path) -> None:
    file = tmp_path / "rows.ndjson"
    file.write_bytes(b"{}\n")
    status, out, err = await rota("stream", "--resume", "b1", str(file))
    assert (status, out, err) == (1, "", "rota: Why\n")


async def test_a_stream_of_a_batch_that_was_cancelled_says_so(
    rota: Rota, gateway: PlayedGateway, tmp_path: Path
) -> None:
    file = tmp_path / "rows.ndjson"
    file.write_bytes(b"{}\n{}\n")
    gateway.play("GET /batches/b1/data", OPEN | {"offset": 3})
    gateway.play("PATCH /batches/b1/data", problem("conflict", 409))
    gateway.play("GET /batches/b1", batch("cancelled"))
    status, _, err = await rota("stream", "--resume", "b1", str(file))
    says = "The batch b1 is cancelled: it takes no more than the 3 bytes that it has"
    assert (status, err) == (1, f"rota: {says}\n")


async def test_a_gateway_that_goes_away_is_told_before_how_to_go_on(
    rota: Rota, gateway: PlayedGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_command, "PATIENCE_SECONDS", 0.1)
    file = tmp_path / "my rows.ndjson"
    file.write_bytes(b"{}\n")
    gateway.play("POST /batches", {"id": "b1"}, status=202)
    gateway.play("GET /batches/b1/data", OPEN)
    gateway.play("PATCH /batches/b1/data", problem("unavailable", 503))
    gateway.play("GET /batches/b1", batch("reading"))
    status, out, err = await rota("stream", "load", str(file))
    assert (status, out) == (1, "b1\n")
    first, second = err.splitlines()
    assert first == "rota: Why"
    assert second == (
        f"rota: 0 bytes are stored, and the batch waits for more. To go on: rota stream --resume b1 '{file}'"
    )


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (view("paused"), sending_bar.PAUSED),
        (view("reading"), sending_bar.JOBS),
        (NotFoundError("no batch"), sending_bar.JOBS),
        (UnavailableError("no gateway"), sending_bar.SILENCE),
    ],
)
async def test_without_a_terminal_it_is_said_once_what_holds_the_sending_back(
    answer: BatchView | RotaError, says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("STILL_SECONDS", "SHOW_SECONDS", "REMARK_SECONDS"):
        monkeypatch.setattr(sending_bar, name, 0.001)
    looks = 0
    looked = asyncio.Event()

    async def look() -> BatchStatus:
        nonlocal looks
        looks += 1
        if looks == 10:
            looked.set()
        if isinstance(answer, RotaError):
            raise answer
        return answer.status

    bar = SendingBar(look)
    bar.note(Sent(0, 10, None, reading=False))
    running = asyncio.create_task(bar.run())
    await looked.wait()
    running.cancel()
    assert capsys.readouterr().err == f"rota: {says}\n"


@pytest.mark.parametrize("sealed", [False, True])
async def test_a_batch_that_has_all_the_rows_that_it_takes_ends_the_sending(
    rota: Rota, gateway: PlayedGateway, tmp_path: Path, *, sealed: bool
) -> None:
    file = tmp_path / "rows.csv"
    file.write_bytes(b"n\n" + b"1\n" * 100)
    gateway.play("POST /batches", {"id": "b1"}, status=202)
    gateway.play("GET /batches/b1/data", OPEN, {"id": "b1", "offset": 42, "complete": sealed})
    gateway.play("PATCH /batches/b1/data", problem("conflict", 409))
    gateway.play("GET /batches/b1", batch("sealed", total=2), batch("completed", succeeded=2, total=2))
    gateway.play("GET /batches/b1/events", limited(20))
    status, out, err = await rota("stream", "load", str(file), "--limit", "20", "--watch")
    assert (status, [line.partition(" · ")[0] for line in out.splitlines()]) == (0, ["b1", "completed"])
    assert err == (
        f"rota: The batch has all the rows that its limit lets it take; the rest of {file} was not sent\n"
    )
    assert "POST /batches/b1/seal" not in [target for target, _ in gateway.asked]


async def test_the_bar_is_shown_on_a_terminal_and_removed(gateway: PlayedGateway, tmp_path: Path) -> None:
    gateway.play("POST /batches", {"id": "b1"}, status=202)
    gateway.play("GET /batches/b1/data", OPEN)
    gateway.play("POST /batches/b1/seal", SEALED)
    terminal, here = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        ROTA, "stream", "load", "--format", "ndjson", "--url", gateway.url, stdin=PIPE, stdout=PIPE, stderr=here
    )
    os.close(here)
    shown = b""
    while b"waits for data" not in shown:
        shown += await asyncio.to_thread(os.read, terminal, 1000)
    out, _ = await process.communicate(b"")
    rest = await asyncio.to_thread(os.read, terminal, 1000)
    os.close(terminal)
    assert (process.returncode, out) == (0, b"b1\n")
    assert shown.startswith(b"\r0 B \xc2\xb7 0 B/s\x1b[K")
    assert rest.endswith(b"\r\x1b[K")


@pytest.mark.parametrize(
    ("status", "more", "says"),
    [
        ("completed", {"jobs": {"succeeded": 2, "total": 2}}, ""),
        (
            "completed_with_failures",
            {"jobs": {"succeeded": 1, "failed": 1, "total": 2}, "bad_rows": 3},
            (
                "1 of the batch's jobs did not succeed: see rota list --batch b1 --status failed, and go on with "
                "rota redrive b1. 3 of its rows could not be read: see rota bad-rows b1; those in quarantine are "
                "read again, once they are mended, by rota redrive b1 --quarantined"
            ),
        ),
        (
            "completed_with_failures",
            {"jobs": {"succeeded": 1, "cancelled": 1, "total": 2}},
            ("1 of the batch's jobs did not succeed: see rota list --batch b1, and go on with rota redrive b1"),
        ),
        (
            "completed_with_failures",
            {
                "jobs": {"succeeded": 2, "total": 2},
                "bad_rows": 3,
                "files": [{"path": "stream", "status": "finished"}],
            },
            (
                "3 of its rows could not be read: see rota bad-rows b1; those in quarantine are read again, with "
                "other options, by rota redrive b1 --quarantined --option NAME=VALUE"
            ),
        ),
        ("cancelled", {}, "The batch ended as cancelled: see rota get b1"),
        ("failed", {"error": "a.csv: no"}, "The batch ended as failed: a.csv: no"),
    ],
)
async def test_watching_succeeds_only_if_the_batch_is_completed(
    rota: Rota, gateway: PlayedGateway, status: str, more: dict[str, Any], says: str
) -> None:
    gateway.play("GET /batches/b1/events", {"events": [event(1, f"batch.{status}")]})
    gateway.play("GET /events", streamed(event(1, f"batch.{status}")) + END)
    gateway.play("GET /batches/b1", batch(status, total=2) | more)
    code, _, err = await rota("watch", "b1")
    assert (code, err) == ((1, f"rota: {says}\n") if says else (0, ""))


def test_progress_tells_rates_what_is_left_out_and_the_time_left() -> None:
    found = view(
        "reading",
        jobs={"succeeded": 5, "failed": 1, "running": 2, "total": 8},
        bad_rows=3,
        rows_per_second=1234.5,
        jobs_per_second=1.25,
        seconds_left=3725.0,
    )
    assert show_batch.progress(found, NOW) == (
        "reading · 1/1 files · 20 rows · 3 bad rows left out · 6/8 jobs done · 1 of them without success · "
        "1,234 rows/s · 1.2 jobs/s · 1 h 02 min left"
    )


def test_a_batch_that_is_paused_has_no_time_left() -> None:
    assert "left" not in show_batch.progress(view("paused", seconds_left=10.0), NOW)


@pytest.mark.parametrize(
    ("sent", "waits", "line"),
    [
        (
            Sent(0, 45_000_000, 100_000_000, reading=False),
            "",
            "[#########...........]  45% · 45.0 MB of 100.0 MB · 5.5 MB/s · 10 s left",
        ),
        (
            Sent(0, 45_000_000, 100_000_000, reading=False),
            sending_bar.JOBS,
            "[#########...........]  45% · 45.0 MB of 100.0 MB · 5.5 MB/s · held back: the jobs are slower",
        ),
        (Sent(0, 0, 0, reading=True), "", "[####################] 100% · 0 B of 0 B · 5.5 MB/s · 0 s left"),
        (Sent(0, 1500, None, reading=True), sending_bar.DATA, "1.5 kB · 5.5 MB/s · waits for data"),
    ],
)
def test_the_bar_tells_the_share_the_rate_and_what_it_waits_for(sent: Sent, waits: str, line: str) -> None:
    assert show_batch.sending(sent, 5_500_000, waits) == line


@pytest.mark.parametrize(
    ("text", "bytes_"),
    [("500000", 500_000), ("64k", 64_000), ("64kB", 64_000), ("1.5MiB", 1_572_864), ("2 GB", 2 * 10**9)],
)
def test_sizes_are_read(text: str, bytes_: int) -> None:
    assert size(text) == bytes_


@pytest.mark.parametrize(("text", "value"), [("0", 0), ("10", 10), ("5%", 0.05), ("100%", 1.0)])
def test_tolerances_are_counts_or_shares(text: str, value: float) -> None:
    assert (tolerated(text), type(tolerated(text))) == (value, type(value))


@pytest.mark.parametrize(("text", "pair"), [("5", (5, 5)), ("5-9", (5, 9)), ("5-", (5, None)), ("-9", (None, 9))])
def test_ranges_of_rows_are_read(text: str, pair: tuple[int | None, int | None]) -> None:
    assert rows(text) == pair


@pytest.mark.parametrize(
    "wrong",
    [
        "batch load a --bytes-per-job much",
        "batch load a --bytes-per-job 0",
        "batch load a --tolerate-failed-jobs 101%",
        "batch load a --tolerate-failed-jobs -1",
        "batch load a --tolerate-failed-jobs 5%%",
        "redrive b1 --rows 9-5",
        "redrive b1 --rows -",
        "batch load a --rows-per-job 0",
        "batch load a --rows-per-job x",
        "batch load a --first x",
        "bad-rows b1 --output bad.csv",
        "results b1 --output .",
        "results b1 --output=",
    ],
)
async def test_a_word_that_means_nothing_is_a_usage_error(rota: Rota, gateway: PlayedGateway, wrong: str) -> None:
    status, _, err = await rota(*wrong.split())
    assert (status, gateway.asked) == (2, [])
    assert "error: argument --" in err


def test_names_of_files_mean_for_streams_what_they_mean_for_files() -> None:
    streamed_ = {suffix: name for name, one in FORMATS.items() if one.streamed for suffix in one.suffixes}
    assert streamed_ == file_names.FORMATS
    whole = {suffix: name for name, one in FORMATS.items() if not one.streamed for suffix in one.suffixes}
    assert whole == file_names.WHOLE
    assert file_names.named("a.b/rows.NDJSON.gz") == ("ndjson", "gzip")
    assert file_names.named("a.csv/rows") == (None, None)
    assert file_names.named("-") == (None, None)
