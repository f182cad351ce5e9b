"""Jobs by plain HTTP, through the whole of Rota."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.acceptance import kinds
from tests.acceptance.system import Http, until


async def test_a_job_is_scheduled_and_has_a_result(http: Http) -> None:
    answer = await http.post("/schedule", {"spec": "add", "params": {"a": 19, "b": 23}})
    assert answer.status == 202
    [id_] = answer.body["ids"]
    assert answer.headers["Location"] == f"/jobs/{id_}"
    assert await http.outcome(id_) == {"id": id_, "status": "succeeded", "result": 42}
    assert await http.types(f"/jobs/{id_}") == ["job.queued", "job.succeeded"]


async def test_a_list_of_jobs_is_scheduled_in_its_order(http: Http) -> None:
    jobs = [{"spec": "add", "params": {"a": number, "b": number}} for number in range(250)]
    answer = await http.post("/schedule", {"jobs": jobs})
    assert answer.status == 202
    ids = answer.body["ids"]
    assert len(set(ids)) == 250
    assert [(await http.outcome(id_))["result"] for id_ in ids] == [2 * number for number in range(250)]


async def test_an_id_that_was_given_out_is_known_at_once(http: Http) -> None:
    for number in range(50):
        id_ = await http.schedule("add", {"a": number, "b": 0})
        for path in (f"/jobs/{id_}", f"/jobs/{id_}/result", f"/jobs/{id_}/events"):
            assert (await http.get(path)).status in (200, 202)


async def test_options_of_a_job_stand_above_those_of_its_spec(http: Http) -> None:
    id_ = await http.schedule("describe", queue="urgent", labels={"team": "shop"})
    expected = {"id": id_, "queue": "urgent", "labels": {"team": "shop"}, "attempt": 1}
    assert (await http.outcome(id_))["result"] == expected

    async def look() -> Any:
        return (await http.get(f"/jobs/{id_}")).body

    view = await until(look, lambda view: view["status"] == "succeeded")
    assert (view["queue"], view["labels"]) == ("urgent", {"team": "shop"})


async def test_a_job_is_not_run_before_its_delay(http: Http) -> None:
    asked = datetime.now(UTC)
    id_ = await http.schedule("add", {"a": 1, "b": 1}, delay_seconds=0.7)
    assert (await http.get(f"/jobs/{id_}")).body["status"] == "scheduled"
    assert (await http.outcome(id_))["result"] == 2
    first, queued, _ = await http.events(f"/jobs/{id_}")
    assert first["type"] == "job.scheduled"
    assert datetime.fromisoformat(queued["at"]) >= asked + timedelta(seconds=0.7)


async def test_a_job_is_not_run_before_its_time(http: Http) -> None:
    run_at = datetime.now(UTC) + timedelta(seconds=0.7)
    id_ = await http.schedule("add", {"a": 1, "b": 2}, run_at=run_at.isoformat())
    assert (await http.outcome(id_))["result"] == 3
    queued = (await http.events(f"/jobs/{id_}"))[1]
    assert datetime.fromisoformat(queued["at"]) >= run_at


async def test_a_failed_attempt_is_followed_by_another(http: Http) -> None:
    id_ = await http.schedule("stumble", {"times": 2})
    assert (await http.outcome(id_))["result"] == 3
    again = ["job.attempt_failed", "job.queued"]
    assert await http.types(f"/jobs/{id_}") == ["job.queued", *again, *again, "job.succeeded"]


async def test_a_job_without_attempts_left_has_failed_with_its_error(http: Http) -> None:
    id_ = await http.schedule("stumble", {"times": 5}, retry={"max_attempts": 2, "delay_seconds": 0})
    outcome = await http.outcome(id_)
    assert outcome["status"] == "failed"
    assert (outcome["error"]["type"], outcome["error"]["message"]) == ("ValueError", "attempt 2 stumbles")


async def test_an_attempt_that_takes_too_long_has_timed_out(http: Http) -> None:
    id_ = await http.schedule("sleep", {"seconds": 60}, timeout_seconds=0.2, retry={"max_attempts": 1})
    outcome = await http.outcome(id_)
    assert outcome["status"] == "timed_out"
    assert "0.2 s" in outcome["error"]["message"]


async def test_a_request_with_the_same_idempotency_key_is_done_once(http: Http, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    body = {"jobs": [{"spec": "note", "params": {"runs": str(runs)}}] * 3}
    answers = [await http.post("/schedule", body, Idempotency_Key="notes-1") for _ in range(5)]
    assert {answer.status for answer in answers} == {202}
    assert len({tuple(answer.body["ids"]) for answer in answers}) == 1
    for id_ in answers[0].body["ids"]:
        await http.outcome(id_)
        again = await http.post("/schedule", body, Idempotency_Key="notes-1")
        assert again.body == answers[0].body
        assert await http.types(f"/jobs/{id_}") == ["job.queued", "job.succeeded"]
    assert runs.read_text() == "ran\n" * 3


async def test_a_job_with_the_same_key_is_run_once(http: Http, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    ids = [await http.schedule("note", {"runs": str(runs)}, key="note-1") for _ in range(3)]
    assert len(set(ids)) == 1
    await http.outcome(ids[0])
    assert await http.schedule("note", {"runs": str(runs)}, key="note-1") == ids[0]
    assert await http.schedule("add", {"a": 1, "b": 1}, key="note-1") != ids[0]
    assert await http.types(f"/jobs/{ids[0]}") == ["job.queued", "job.succeeded"]
    assert runs.read_text() == "ran\n"


async def test_jobs_are_listed_by_what_they_are_newest_first(http: Http) -> None:
    ids = [await http.schedule("describe", queue="nobody") for _ in range(5)]
    other = await http.schedule("sleep", {"seconds": 0}, queue="nobody")

    async def look() -> list[str]:
        return [job["id"] for job in (await http.get("/jobs", queue="nobody", spec="describe")).body["jobs"]]

    assert await until(look, lambda found: len(found) >= 5) == ids[::-1]
    first = (await http.get("/jobs", queue="nobody", spec="describe", status="queued", limit=3)).body
    rest = (
        await http.get("/jobs", queue="nobody", spec="describe", status="queued", limit=3, after=first["next"])
    ).body
    assert [job["id"] for job in first["jobs"] + rest["jobs"]] == ids[::-1]
    assert rest.get("next") is None
    assert (await http.get("/jobs", queue="nobody", status="succeeded")).body["jobs"] == []
    assert [job["id"] for job in (await http.get("/jobs", queue="nobody", spec="sleep")).body["jobs"]] == [other]


async def test_a_job_that_waits_can_be_cancelled(http: Http) -> None:
    id_ = await http.schedule("describe", queue="closed")
    answer = await http.post(f"/jobs/{id_}/cancel", {"reason": "no longer needed"})
    assert (answer.status, answer.body) == (200, {"id": id_, "status": "done"})
    outcome = await http.outcome(id_)
    assert outcome == {
        "id": id_,
        "status": "cancelled",
        "error": {"type": "Cancelled", "message": "no longer needed"},
    }


async def test_a_job_that_runs_can_be_cancelled(http: Http) -> None:
    id_ = await http.schedule("sleep", {"seconds": 60})

    async def look() -> list[str]:
        return await http.types(f"/jobs/{id_}")

    await until(look, lambda types: "job.started" in types)
    await http.post(f"/jobs/{id_}/cancel", b"")
    assert (await http.outcome(id_))["status"] == "cancelled"


async def test_a_job_that_has_ended_cannot_be_cancelled(http: Http) -> None:
    id_ = await http.schedule("add", {"a": 1, "b": 1})
    await http.outcome(id_)
    answer = await http.post(f"/jobs/{id_}/cancel", b"")
    assert (answer.status, answer.headers["Content-Type"]) == (409, "application/problem+json")
    assert answer.body["detail"] == f"The job {id_} has ended: succeeded"


async def test_specs_tell_what_jobs_there_are(http: Http) -> None:
    specs = {spec["name"]: spec for spec in (await http.get("/specs")).body["specs"]}
    assert set(kinds.__all__) <= set(specs)
    assert specs["add"]["params_schema"]["required"] == ["a", "b"]
    assert (specs["tally"]["rows"], specs["tally_dicts"]["rows"], specs["add"]["rows"]) == ("arrow", "dicts", None)
    assert (await http.get("/specs/stumble")).body == specs["stumble"]
    unknown = await http.get("/specs/stumbel")
    assert (unknown.status, unknown.body["detail"]) == (404, "There is no spec stumbel; did you mean stumble?")


async def test_the_gateway_tells_that_it_lives_and_can_serve(http: Http) -> None:
    assert (await http.get("/healthz")).body == {"status": "ok"}
    assert (await http.get("/readyz")).body == {"status": "ready"}
