"""The gateway's translation of requests into commands: no server, no NATS."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from events.batch import OpenBatch
from events.sources import HttpConnection, S3Connection
from events.ids import keyed_group
from events.job import ScheduleJob
from gateway.bodies import decode, decode_jobs
from gateway.pointers import pointer, split_message
from gateway.schemas import Schemas
from gateway.translate import Specs, batch_command, job_commands
from rota.errors import InvalidRequestError, RotaError, TooLargeError
from rota.protocol import BatchRequest, RetryPolicy, SpecView

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
    "required": ["a"],
    "additionalProperties": False,
}


def spec(name: str = "add", *, rows: Any = None, schema: Any = SCHEMA) -> SpecView:
    return SpecView(
        name=name,
        description="",
        params_schema=schema,
        rows=rows,
        queue="sums",
        retry=RetryPolicy(max_attempts=7),
        timeout_seconds=30.0,
    )


KNOWN = Specs({"add": spec(), "load": spec("load", rows="dicts")})
CONNECTIONS = {"bucket": S3Connection(root="data"), "site": HttpConnection()}


def commands(body: Any, specs: Specs = KNOWN) -> list[ScheduleJob]:
    requests, listed = decode_jobs(json.dumps(body).encode())
    return job_commands(requests, specs, Schemas(), "group", NOW, listed=listed)


def batch(specs: Specs = KNOWN, **body: Any) -> OpenBatch:
    asked = decode(json.dumps(body).encode(), BatchRequest)
    return batch_command(asked, specs, Schemas(), CONNECTIONS, "group")


def places(error: RotaError) -> dict[str, str]:
    return {problem.pointer: problem.detail for problem in error.problems}


def test_a_job_takes_what_it_leaves_out_from_its_spec() -> None:
    [command] = commands({"spec": "add", "params": {"a": 1}})
    assert command.id == "group"
    assert command.run_at is None
    assert command.details.queue == "sums"
    assert command.details.retry == RetryPolicy(max_attempts=7)
    assert command.details.timeout_seconds == 30
    assert msgspec.msgpack.decode(command.details.params) == {"a": 1}


def test_what_a_job_says_itself_goes_before_its_spec() -> None:
    retry = {"max_attempts": 1}
    [command] = commands(
        {
            "spec": "add",
            "params": {"a": 1},
            "queue": "fast",
            "retry": retry,
            "timeout_seconds": None,
            "labels": {"x": "y"},
        }
    )
    assert command.details.queue == "fast"
    assert command.details.retry == RetryPolicy(max_attempts=1)
    assert command.details.timeout_seconds is None
    assert command.details.labels == {"x": "y"}


def test_the_jobs_of_a_list_are_members_of_one_group() -> None:
    found = commands({"jobs": [{"spec": "add", "params": {"a": 1}}] * 3})
    assert [command.id for command in found] == ["group-0", "group-1", "group-2"]


def test_a_list_of_one_job_is_a_list() -> None:
    assert [command.id for command in commands({"jobs": [{"spec": "add", "params": {"a": 1}}]})] == ["group-0"]


def test_a_key_decides_the_id_whatever_the_request() -> None:
    job = {"spec": "add", "params": {"a": 1}, "key": "k"}
    expected = keyed_group("job", "add", "k")
    assert [command.id for command in commands(job)] == [expected]
    assert [command.id for command in commands({"jobs": [job]})] == [expected]


def test_a_delay_becomes_a_time() -> None:
    [command] = commands({"spec": "add", "params": {"a": 1}, "delay_seconds": 90})
    assert command.run_at == NOW + timedelta(seconds=90)


def test_a_delay_and_a_time_exclude_each_other() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        commands(
            {"spec": "add", "params": {"a": 1}, "delay_seconds": 1, "run_at": NOW.isoformat()},
        )
    assert places(caught.value) == {"#/delay_seconds": "delay_seconds and run_at exclude each other"}


@pytest.mark.parametrize("run_at", ["9999-12-31T23:59:59Z", "9999-12-31T23:59:59-05:00"])
def test_a_time_that_is_too_far_ahead_is_refused(run_at: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        commands({"spec": "add", "params": {"a": 1}, "run_at": run_at})

    assert list(places(caught.value)) == ["#/run_at"]


@pytest.mark.parametrize("run_at", ["0001-01-01T00:00:00+05:00", "2000-01-01T00:00:00Z"])
def test_a_time_that_has_passed_means_at_once(run_at: str) -> None:
    [command] = commands({"spec": "add", "params": {"a": 1}, "run_at": run_at})

    assert command.run_at is None


def test_all_that_is_wrong_in_a_list_is_told_at_once() -> None:
    specs = Specs(KNOWN.found, ["add", "load"])
    with pytest.raises(InvalidRequestError) as caught:
        commands(
            {
                "jobs": [
                    {"spec": "add", "params": {"a": 1}},
                    {"spec": "adds", "params": {}},
                    {"spec": "load"},
                    {"spec": "add", "params": {"a": "x", "b": 1.5}},
                    {"spec": "add", "params": {"b": 1}},
                    {"spec": "add", "params": {"a": 2**64}},
                ]
            },
            specs,
        )
    assert places(caught.value) == {
        "#/jobs/1/spec": "There is no spec adds; did you mean add?",
        "#/jobs/2/spec": "load works on the rows of a batch: POST /batches",
        "#/jobs/3/params/a": '"x" is not of type "integer"',
        "#/jobs/3/params/b": '1.5 is not of type "integer"',
        "#/jobs/4/params": '"a" is a required property',
        "#/jobs/5/params": "An integer is beyond 64 bits",
    }


def test_a_single_job_is_named_without_a_number() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        commands({"spec": "add", "params": {"a": "x"}})
    assert list(places(caught.value)) == ["#/params/a"]


def test_a_list_that_is_wrong_everywhere_is_answered_with_its_first_places() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        commands({"jobs": [{"spec": "adds"}] * 1000})
    assert list(places(caught.value)) == [f"#/jobs/{index}/spec" for index in range(100)]
    assert "at least 100 places" in caught.value.detail


def test_an_unknown_spec_where_there_is_none_says_so() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        commands({"spec": "add"}, Specs({}))
    assert places(caught.value) == {"#/spec": "There is no spec add"}


def test_params_over_the_limit_are_too_large() -> None:
    with pytest.raises(TooLargeError) as caught:
        commands({"spec": "any", "params": {"a": "x" * 70_000}}, Specs({"any": spec("any", schema={})}))
    assert list(places(caught.value)) == ["#/params"]


def test_a_list_has_room_for_a_thousand_messages() -> None:
    jobs = [{"spec": "add", "params": {"a": 1}, "key": str(number)} for number in range(1000)]
    with pytest.raises(TooLargeError) as caught:
        commands({"jobs": jobs})
    assert places(caught.value) == {"#/jobs": "1000 jobs have a key; the limit is 999 in a list"}
    assert len(commands({"jobs": [*jobs[1:], {"spec": "add", "params": {"a": 1}}]})) == 1000


def test_a_broken_schema_is_told_of_its_spec() -> None:
    broken = Specs({"add": spec(schema={"type": "objekt"})})
    with pytest.raises(InvalidRequestError) as caught:
        commands({"spec": "add", "params": {"a": 1}}, broken)
    assert places(caught.value)["#/spec"].startswith('The params schema of add is broken: "objekt" is not valid')


def test_a_schema_reads_no_files_or_addresses() -> None:
    broken = Specs({"add": spec(schema={"$ref": "file:///etc/hostname"})})
    with pytest.raises(InvalidRequestError) as caught:
        commands({"spec": "add", "params": {"a": 1}}, broken)
    assert "may refer to itself only" in places(caught.value)["#/spec"]


def test_a_changed_schema_is_used_at_once() -> None:
    schemas = Schemas()
    requests, listed = decode_jobs(b'{"spec": "add", "params": {"a": "x"}}')
    with pytest.raises(InvalidRequestError):
        job_commands(requests, KNOWN, schemas, "group", NOW, listed=listed)
    changed = Specs({"add": spec(schema={})})
    assert job_commands(requests, changed, schemas, "group", NOW, listed=listed)


def test_each_malformed_job_of_a_list_is_told() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        decode_jobs(b'{"jobs": [{"spec": "a b"}, {"spec": "add"}, {"spec": "add", "extra": 1}, {"params": []}, 7]}')
    assert places(caught.value) == {
        "#/jobs/0/spec": "Expected `str` matching regex '^[A-Za-z][A-Za-z0-9_-]{0,63}(?!\\\\n)$'",
        "#/jobs/2": "Object contains unknown field `extra`",
        "#/jobs/3/params": "Expected `object`, got `array`",
        "#/jobs/4": "Expected `object`, got `int`",
    }


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (b'{"jobs": []}', "#/jobs"),
        (b'{"jobs": 1}', "#/jobs"),
        (b'{"jobs": [{"spec": "add"}], "more": 1}', "#"),
        (b"[]", "#"),
        (b'{"spec": "add", "retry": {"max_attempts": 0}}', "#/retry/max_attempts"),
        (b'{"spec": "add", "labels": {"x": 1}}', "#/labels"),
    ],
)
def test_the_place_of_a_wrong_value_is_named(body: bytes, place: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        decode_jobs(body)
    assert list(places(caught.value)) == [place]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "it is empty"),
        (b"  ", "it is empty"),
        (b'{"spec": "add"', "it ends too early"),
        (b'{\n "spec": "add",\n "\xc3\xa4" 1}', "line 3, column 6: expected ':'"),
        (b'{"spec": "\xff"}', "it is not encoded as UTF-8"),
        (b'{"spec": "add", "params": {"a": ' + b"[" * 5000 + b"]" * 5000 + b"}}", "it is nested too deeply"),
        (b"spec=add", "line 1, column 1: invalid character"),
    ],
)
def test_a_body_that_is_no_json_is_told_where(body: bytes, said: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        decode_jobs(body)
    assert caught.value.detail == f"The body is no JSON: {said}"


def test_a_batch_takes_what_it_leaves_out_from_its_spec() -> None:
    command = batch(spec="load", files=["a.csv"], connection="bucket", params={"a": 1})
    assert command.id == "group"
    assert command.details.queue == "sums"
    assert command.details.retry == RetryPolicy(max_attempts=7)
    assert command.details.files == ("a.csv",)
    assert command.details.connection == "bucket"


def test_a_batch_of_urls_needs_no_connection() -> None:
    url = "https://example.org/a.csv"
    assert batch(spec="load", files=[url], params={"a": 1}).details.files == (url,)


def test_all_that_is_wrong_in_a_batch_is_told_at_once() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        batch(
            spec="add",
            files=[
                "a.csv",
                "s3://bucket/a.csv",
                "http://user:word@example.org/a",
                "http://[/",
                "https://example.org/a",
            ],
            params={"a": "x"},
        )
    found = places(caught.value)
    assert found.pop("#/files/3").startswith("'http://[/' is no URL")
    assert found == {
        "#/files/0": "a path needs a connection; without one a file is an http or https URL",
        "#/files/1": "an address with s3:// needs a connection; without one a file is an http or https URL",
        "#/files/2": "A URL must not hold a user or password; they belong into a connection",
        "#/spec": "add does not take rows; its handler needs a parameter for them",
        "#/params/a": '"x" is not of type "integer"',
    }


def test_an_unknown_connection_is_told_with_the_nearest() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        batch(spec="load", files=["../a"], connection="buckets", params={"a": 1})
    assert places(caught.value) == {
        "#/connection": "There is no connection buckets; did you mean bucket?",
        "#/files/0": "A path below a connection has no '..'",
    }


def test_pointers_escape_what_pointers_and_uris_need() -> None:
    assert pointer(["a/b", "c~d", 3, "ä x"]) == "/a~1b/c~0d/3/%C3%A4%20x"


def test_a_message_of_msgspec_is_split_into_text_and_place() -> None:
    assert split_message("Expected `int`, got `str` - at `$.jobs[3].params`") == (
        "Expected `int`, got `str`",
        "/jobs/3/params",
    )
    assert split_message("Expected `object`, got `array`") == ("Expected `object`, got `array`", "")
