"""Verifying the log and the views, and looking into the past: a log of their own, with a real nats-server."""

import asyncio
import json
import re
import shlex
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from events.catalog import encode
from events.jetstream.log import Append, Log
from events.log import LOG_ID, LogTrimmed
from projections.runner import Runner
from projections.tables import Tables
from projections.verify import verify_views
from projections.views import Views
from rota import extension
from rota.errors import ConflictError, IncompatibleError, UnavailableError
from rota.extension import Verdict
from rota.jetstream import Connection
from scripts.stack import ROOT
from tests.integration.past import (
    NOON,
    Past,
    Terminal,
    a_batch,
    a_redriven_batch,
    failed,
    past_in,
    queued,
    started,
    succeeded,
)


@pytest_asyncio.fixture
async def past(tmp_path: Path) -> AsyncIterator[Past]:
    async with past_in(tmp_path) as past:
        yield past


@pytest.fixture
def rota(past: Past, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("ROTA_HOME", str(past.home))
    return Terminal(past, capsys)


async def verdict_on(past: Past) -> Verdict:
    return await verify_views(past.connection, past.views, lambda *_: None)


def damage(past: Past, *statements: str) -> None:
    with closing(sqlite3.connect(past.views)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def faults(verdict: Verdict) -> list[tuple[int, str]]:
    return [(fault.sequence, fault.detail) for fault in verdict.faults]


def differences(verdict: Verdict) -> list[tuple[str, list[Any], str]]:
    return [(one.table, one.key, one.column) for one in verdict.differences]


def ids(out: str) -> list[str]:
    return [line["id"] for line in map(json.loads, out.splitlines())]


async def test_views_that_are_what_the_log_folds_to_agree(past: Past, rota: Terminal) -> None:
    await past.store(*a_batch("b"), queued("j"), started("j"), failed("j", 3))
    await past.fold()
    verdict = await verdict_on(past)
    assert verdict.agrees
    assert (verdict.position, verdict.events) == (10, 10)
    assert verdict.rows == {"batches": 1, "batch_jobs": 1, "jobs": 3, "queue_jobs": 2}
    status, out, err = await rota("replay", "--verify")
    assert (status, err) == (0, "")
    assert out == "10 events up to sequence 10: 0 faults; 7 rows of views: 0 differences\n"
    assert not list(past.home.glob("verify-*"))


async def test_the_views_are_compared_at_their_own_position(past: Past) -> None:
    await past.store(*a_batch("b"))
    await past.fold()
    await past.store(queued("late"))
    verdict = await verdict_on(past)
    assert verdict.agrees
    assert (verdict.position, verdict.events) == (7, 7)


async def test_a_row_that_was_changed_by_hand_is_told_with_table_key_and_column(past: Past, rota: Terminal) -> None:
    await past.store(queued("j"), succeeded("j"))
    await past.fold()
    damage(past, "UPDATE jobs SET worker = 'somebody' WHERE id = 'j'")
    assert differences(await verdict_on(past)) == [("jobs", ["j"], "worker")]
    status, out, _ = await rota("replay", "--verify")
    assert status == 1
    assert out.splitlines()[0] == 'views  jobs  ["j"]  worker: "somebody" in the views, "w" by the log'
    status, out, _ = await rota("replay", "--verify", "--json")
    assert status == 1
    difference = {"table": "jobs", "key": ["j"], "column": "worker", "live": "somebody", "log": "w"}
    assert json.loads(out)["differences"] == [difference]


async def test_rows_too_many_and_too_few_are_told(past: Past) -> None:
    await past.store(queued("j-1"), queued("j-2"), queued("j-3"))
    await past.fold()
    damage(
        past,
        "DELETE FROM jobs WHERE id = 'j-2'",
        "UPDATE jobs SET id = 'j-4' WHERE id = 'j-3'",
        "UPDATE queue_jobs SET count = 3",
    )
    verdict = await verdict_on(past)
    assert differences(verdict) == [("jobs", ["j-2"], ""), ("jobs", ["j-3"], ""), ("jobs", ["j-4"], "")]
    assert [bool(one.live) for one in verdict.differences] == [False, False, True]


async def test_only_the_first_differences_are_told_and_all_are_counted(past: Past) -> None:
    await past.store_many(100)
    await past.fold()
    damage(past, "UPDATE jobs SET attempt = 7, spec = 'other'")
    verdict = await verdict_on(past)
    assert (len(verdict.differences), verdict.differences_total) == (20, 200)
    assert differences(verdict)[:3] == [
        ("jobs", ["many-0"], "spec"),
        ("jobs", ["many-0"], "attempt"),
        ("jobs", ["many-1"], "spec"),
    ]


async def test_gaps_and_repeats_and_afterthoughts_in_the_log_are_told(past: Past) -> None:
    await past.store(queued("gap"), failed("gap", 3), queued("again"), started("again", 1))
    await past.store(started("headless", 2), queued("over"), failed("over"), started("over", 3))
    await past.fold()
    assert faults(await verdict_on(past)) == [
        (4, "job again: version 1 comes again"),
        (8, "job over: version 3 comes after its end"),
        (2, "job gap: version 2 is missing"),
        (5, "job headless: the beginning is missing"),
    ]


async def test_a_batch_goes_on_after_its_failure_only_if_it_is_redriven(past: Past) -> None:
    opened, failure, redriven, sealed, completed = a_redriven_batch("b")
    await past.store(opened, failure, redriven, sealed, completed)
    await past.fold()
    assert faults(await verdict_on(past)) == []
    await past.store(msgspec.structs.replace(redriven, originator_version=6))
    opened, failure, redriven, sealed, completed = a_redriven_batch("not")
    await past.store(opened, failure, msgspec.structs.replace(sealed, originator_version=3))
    await past.fold()
    assert faults(await verdict_on(past)) == [
        (6, "batch b: version 6 comes after its end"),
        (9, "batch not: version 3 comes after its end"),
    ]


async def test_what_does_not_belong_where_it_stands_is_told(past: Past) -> None:
    await past.connection.publish("rota.event.job.j.queued", b"\xc1")
    await past.connection.publish("rota.event.job.k.queued", encode(queued("j")))
    await past.fold()
    (_, first), second = faults(await verdict_on(past))
    assert first.startswith("the message on rota.event.job.j.queued is no event: ")
    assert second == (2, "job j: its event stands on rota.event.job.k.queued")


async def test_an_event_that_leads_to_no_state_is_told(past: Past) -> None:
    await past.store(started("j", 1))
    await past.fold()
    [(sequence, detail)] = faults(await verdict_on(past))
    assert (sequence, detail[:38]) == (1, "job j: version 1 leads to no state: Va")


async def test_histories_that_do_not_fit_into_memory_are_checked_as_well(
    past: Past, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("projections.histories.MAX_OPEN", 3)
    await past.store_many(5000)
    for start in range(0, 5000, 1000):
        names = [f"many-{number}" for number in range(start, start + 1000)]
        await past.log.append(
            [Append("job", id_, start + 1 + place, [started(id_)]) for place, id_ in enumerate(names)]
        )
    await past.log.append([Append("job", "many-7", 5008, [failed("many-7", 4)])])
    await past.fold()
    assert faults(await verdict_on(past)) == [(10_001, "job many-7: version 3 is missing")]


async def test_what_was_removed_after_its_end_is_no_fault(past: Past) -> None:
    await past.store(queued("gone"), succeeded("gone"), queued("going"), succeeded("going"), queued("stays"))
    await past.store(trimmed(until=4, oldest_job=5))
    await past.fold()
    # Somebody is about to remove what goes, oldest first.
    await past.connection.call("STREAM.PURGE.ROTA_EVENTS", {"filter": "rota.event.job.gone.>"})
    await past.connection.call("STREAM.PURGE.ROTA_EVENTS", {"filter": "rota.event.job.going.queued.>"})
    verdict = await verdict_on(past)
    assert verdict.agrees, verdict
    assert verdict.rows["jobs"] == 1


async def test_the_beginning_of_what_stays_may_not_be_missing(past: Past) -> None:
    await past.store(queued("gone"), succeeded("gone"), queued("stays"), trimmed(until=2, oldest_job=3))
    await past.store(succeeded("stays"))
    await past.fold()
    await past.connection.call("STREAM.PURGE.ROTA_EVENTS", {"filter": "rota.event.job.stays.queued.>"})
    verdict = await verdict_on(past)
    assert faults(verdict) == [(5, "job stays: the beginning is missing")]
    assert ("jobs", ["stays"], "") in differences(verdict)


async def test_it_begins_again_if_events_are_removed_while_it_reads(past: Past) -> None:
    await past.store(queued("gone"), succeeded("gone"), queued("stays"))
    await past.fold()
    positions: list[int] = []

    async def trim() -> None:
        async with await Connection.open(past.url, name="retention") as connection:
            await Log(connection).append([Append("log", LOG_ID, 0, [trimmed(until=2, oldest_job=3)])])
            with closing(Tables.open(past.views)) as tables:
                await Runner(Log(connection), tables).catch_up()
            await connection.call("STREAM.PURGE.ROTA_EVENTS", {"filter": "rota.event.job.gone.>"})

    def remove(position: int, _: int) -> None:
        positions.append(position)
        if len(positions) == 1:
            # In a loop of its own: this one waits, so that nothing is compared before.
            removing = threading.Thread(target=lambda: asyncio.run(trim()))
            removing.start()
            removing.join()

    verdict = await verify_views(past.connection, past.views, remove)
    assert verdict.agrees, verdict
    assert positions == [3, 4]


async def test_a_log_from_which_events_go_all_the_time_cannot_be_verified(
    past: Past, monkeypatch: pytest.MonkeyPatch
) -> None:
    await past.store(queued("j"))
    await past.fold()
    await past.store(trimmed(until=0, oldest_job=0))
    with pytest.raises(UnavailableError, match="events were removed"):
        await verdict_on(past)


async def test_views_of_another_log_are_not_compared(past: Past) -> None:
    await past.store(queued("j"))
    await past.fold()
    damage(past, "UPDATE log SET origin = 'elsewhere'")
    with pytest.raises(ConflictError, match="views of another log"):
        await verdict_on(past)


async def test_views_that_are_not_there_or_damaged_are_one_line(past: Past, rota: Terminal) -> None:
    status, _, err = await rota("replay", "--verify")
    assert status == 1
    assert err.startswith(f"rota: There are no views at {past.views}: run this on the machine of the projections")
    past.views.write_bytes(b"no database" * 1000)
    with pytest.raises(IncompatibleError, match="file is not a database"):
        await verdict_on(past)
    damage_version = "PRAGMA user_version = 999"
    past.views.unlink()
    await past.fold()
    damage(past, damage_version)
    with pytest.raises(UnavailableError, match="views of another version"):
        await verdict_on(past)


async def test_verifying_goes_with_nothing_that_selects(rota: Terminal) -> None:
    status, _, err = await rota("replay", "--verify", "--kind", "job")
    assert (status, err.startswith("rota: --verify and --chain look at everything")) == (1, True)


async def test_without_the_server_it_is_said_what_is_missing(
    rota: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extension, "GROUP", "rota.commands.of.nobody")
    for arguments in (("replay", "--verify"), ("at", "5m", "jobs")):
        status, _, err = await rota(*arguments)
        assert status == 1
        assert err.startswith("rota: This needs the code of Rota's server, the package rota-server")


async def test_jobs_are_shown_as_of_each_sequence(past: Past, rota: Terminal) -> None:
    await past.store(queued("j"), started("j"), failed("j", 3))
    seen = []
    for sequence in range(4):
        _, out, _ = await rota("at", str(sequence), "jobs", "--json")
        seen += [json.loads(line)["status"] for line in out.splitlines()] or ["none"]
    assert seen == ["none", "queued", "running", "failed"]
    status, out, err = await rota("at", "2", "jobs")
    assert (status, err) == (0, "rota: as of sequence 2\n")
    assert out.splitlines()[1].split()[:4] == ["j", "add", "sums", "running"]


async def test_views_are_shown_as_of_a_time(past: Past, rota: Terminal) -> None:
    await past.store(queued("j-1"))
    time = datetime.now(UTC)
    await past.store(queued("j-2"))
    _, out, _ = await rota("at", time.isoformat(), "jobs", "--json")
    assert ids(out) == ["j-1"]
    _, out, _ = await rota("at", "0s", "jobs", "--json")
    assert ids(out) == ["j-2", "j-1"]
    _, out, _ = await rota("at", "1h", "jobs", "--json")
    assert ids(out) == []


async def test_jobs_of_the_past_are_selected(past: Past, rota: Terminal) -> None:
    await past.store(*a_batch("b"), queued("j-1", queue="urgent"), queued("j-2", queue="urgent"), failed("j-2"))

    async def found(*filters: str) -> list[str]:
        _, out, _ = await rota("at", "10", "jobs", "--json", *filters)
        return ids(out)

    assert await found("--queue", "urgent") == ["j-2", "j-1"]
    assert await found("--queue", "urgent", "--limit", "1") == ["j-2"]
    assert await found("--status", "failed") == ["j-2"]
    assert await found("--batch", "b") == ["b_0-1", "b_0-0"]
    assert await found("--id", "j-1") == ["j-1"]
    assert await found("--id", "j-1", "--status", "failed") == []
    assert await found("--spec", "mul") == []


async def test_queues_are_counted_as_of_a_sequence(past: Past, rota: Terminal) -> None:
    await past.store(*a_batch("b"), queued("j", queue="urgent"))
    _, out, _ = await rota("at", "5", "queues", "--json")
    assert [json.loads(line) for line in out.splitlines()] == [
        {"name": "sums", "jobs": {"queued": 1, "succeeded": 1, "total": 2}}
    ]
    _, out, _ = await rota("at", "8", "queues")
    assert [line.split() for line in out.splitlines()[1:]] == [
        ["sums", "0", "0", "0", "2", "0", "0", "0"],
        ["urgent", "0", "1", "0", "0", "0", "0", "0"],
    ]


async def test_batches_are_shown_as_of_a_sequence(past: Past, rota: Terminal) -> None:
    await past.store(*a_batch("b"), *a_batch("c"))
    _, out, _ = await rota("at", "11", "batches", "--json")
    assert [
        (batch["id"], batch["status"], batch["jobs"]["total"]) for batch in map(json.loads, out.splitlines())
    ] == [
        ("c", "reading", 2),
        ("b", "completed", 2),
    ]
    _, out, _ = await rota("at", "11", "batches", "--id", "c")
    assert out.splitlines()[1].split()[:3] == ["c", "add", "reading"]
    _, out, _ = await rota("at", "11", "batches", "--status", "completed", "--json")
    assert ids(out) == ["b"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("2", "jobs"), "The log ends at sequence 1"),
        (("2999-01-01T00:00:00Z", "jobs"), "2999-01-01T00:00:00+00:00 is yet to come"),
        (("1", "queues", "--status", "failed"), "There are no queues by status"),
    ],
)
async def test_a_past_that_cannot_be_shown_is_one_line(
    past: Past, rota: Terminal, arguments: tuple[str, ...], says: str
) -> None:
    await past.store(queued("j"))
    status, _, err = await rota("at", *arguments)
    assert (status, err) == (1, f"rota: {says}\n")


async def test_a_past_from_which_events_were_removed_since_says_so(past: Past, rota: Terminal) -> None:
    await past.store(queued("j"), succeeded("j"), trimmed(until=2, oldest_job=3))
    _, _, err = await rota("at", "2", "jobs", "--json")
    assert err == "rota: events were removed from the log since then; what they belonged to is missing here\n"
    _, _, err = await rota("at", "3", "jobs", "--json")
    assert err == ""


async def test_the_live_queues_are_those_of_the_views(past: Past) -> None:
    await past.store(*a_batch("b"), queued("j", queue="urgent"), failed("j"))
    await past.fold()
    with closing(Views.open(past.views)) as views:
        assert [(queue.name, queue.jobs) for queue in views.queues()] == [
            ("sums", {"succeeded": 2, "total": 2}),
            ("urgent", {"failed": 1, "total": 1}),
        ]
        assert [batch.id for batch in views.batches().batches] == ["b"]


async def test_the_commands_on_the_page_about_audit_do_what_it_says(
    past: Past, rota: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    await past.store(*a_batch("01k9abc"))
    await past.fold()
    monkeypatch.chdir(past.home)
    page = (ROOT / "docs" / "howto" / "audit.md").read_text()
    commands = re.findall(r"^\.venv/bin/rota (.*)$", page, re.MULTILINE)
    said = {}
    for command in commands:
        status, said[command], _ = await rota(*shlex.split(command))
        assert status == 0, command
    assert len(said) >= 10
    shown = page.partition("```\n       1  ")[2].partition("```")[0].splitlines()
    assert said["replay --chain 01k9abc_0-0"].splitlines() == ["       1  " + shown[0], *shown[1:]]
    assert (past.home / "events.parquet").exists()


def trimmed(*, until: int, oldest_job: int) -> LogTrimmed:
    return LogTrimmed(
        originator_id=LOG_ID,
        originator_version=1,
        at=NOON,
        before=NOON + timedelta(hours=1),
        until=until,
        oldest_job=oldest_job,
    )
