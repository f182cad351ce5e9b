"""The gateway's translation of requests into commands: no server, no NATS."""

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from events.batch import OpenBatch
from events.formats import formats
from events.ids import keyed_group
from events.job import ScheduleJob
from events.sources import HttpConnection, S3Connection
from gateway.batch_requests import batch_command
from gateway.bodies import decode, decode_jobs
from gateway.options import TYPES, check_options
from gateway.pointers import pointer, split_message
from gateway.problems import Faults
from gateway.schemas import Schemas
from gateway.translate import Specs, job_commands
from rota.batch_protocol import BatchRequest, StreamRules, Tolerance
from rota.errors import InvalidRequestError, RotaError, TooLargeError
from rota.options import ColumnType, Selection
from rota.protocol import JobRequest, RetryPolicy, SpecView

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
CONNECTIONS = {
    "bucket": S3Connection(root="data"),
    "shop": HttpConnection(root="https://shop.example.org/export"),
    "site": HttpConnection(),
}


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
        "#/jobs/2": "Object contains unknown field `extra`; there is " + ", ".join(JobRequest.__struct_fields__),
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
        "#/files/0": "A path below a connection has no '.' or '..' in it",
    }


def refused(**body: Any) -> dict[str, str]:
    """Return the places of what is wrong with a batch."""
    with pytest.raises(InvalidRequestError) as caught:
        batch(**{"spec": "load", "params": {"a": 1}, **body})
    return places(caught.value)


def refused_file(file: str, connection: str | None = None) -> str:
    good = "a" if connection in ("bucket", "shop") else "https://example.org/a"
    found = refused(files=[good, file], connection=connection)
    assert list(found) == ["#/files/1"]
    return found["#/files/1"]


@pytest.mark.parametrize(
    "query",
    [
        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=5f2c",
        "X-Amz-Credential=AKIA%2F20260101",
        "AWSAccessKeyId=AKIA&Expires=1&Signature=5f2c",
        "x-goog-signature=5f2c",
        "sv=2022-11-02&sp=r&sig=5f2c%3D",
        "token=5f2c",
        "a=1;access_token=5f2c",
        "%74oken=5f2c",
        "API_KEY=",
    ],
)
def test_a_secret_in_a_url_is_refused_since_the_log_would_keep_it(query: str) -> None:
    says = "A URL must not hold a secret"
    assert refused_file(f"https://example.org/a.csv?{query}").startswith(says)
    assert refused_file(f"https://example.org/a.csv?{query}", "site").startswith(says)
    assert refused_file(f"a.csv?{query}", "shop").startswith(says)


def test_the_refusal_of_a_secret_names_where_it_stands_and_not_what_it_is() -> None:
    assert refused_file("https://example.org/a.csv?day=1&Signature=5f2c") == (
        "A URL must not hold a secret, as Signature in its query seems to be: it would stand in the log for ever. "
        "Secrets belong into a connection"
    )


def test_a_query_without_a_secret_is_part_of_a_url() -> None:
    url = "https://example.org/export?format=csv&tokens=3&signed=no"
    assert batch(spec="load", files=[url], params={"a": 1}).details.files == (url,)


def test_a_url_may_be_a_directory_or_a_glob() -> None:
    files = ["https://example.org/orders/", "https://example.org/orders/**/2026-*.csv"]
    assert batch(spec="load", files=files, params={"a": 1}).details.files == tuple(files)


@pytest.mark.parametrize(
    "path", ["..", "a/../b", "a/%2e%2E/b", "a\\..\\b", "a%2F..%2fb", "./a", "orders/*/../a", "a/..;/b"]
)
def test_a_path_does_not_lead_out_of_its_connection(path: str) -> None:
    for connection in ("bucket", "shop"):
        assert refused_file(path, connection) == "A path below a connection has no '.' or '..' in it"


def test_dots_that_are_part_of_a_name_are_fine() -> None:
    files = ["a..b/..c/d...csv", ".hidden/*"]
    command = batch(spec="load", files=files, connection="bucket", params={"a": 1})
    assert command.details.files == tuple(files)


@pytest.mark.parametrize(
    ("url", "connection"),
    [
        ("s3://data/a.csv", "bucket"),
        ("https://shop.example.org/export/a", "shop"),
        ("http://elsewhere/a", "bucket"),
    ],
)
def test_a_path_below_a_connection_is_no_whole_address(url: str, connection: str) -> None:
    assert refused_file(url, connection).startswith(
        f"A file of the connection {connection} is a path below its root"
    )


def test_a_connection_without_a_root_takes_urls() -> None:
    url = "https://example.org/a.csv"
    assert batch(spec="load", files=[url], connection="site", params={"a": 1}).details.files == (url,)
    assert refused_file("a.csv", "site").startswith("a path needs a connection")


def test_a_file_that_is_named_twice_is_refused() -> None:
    assert refused(files=["b", "a", "b", "b"], connection="bucket") == {
        "#/files/2": "It is #/files/0 already",
        "#/files/3": "It is #/files/0 already",
    }


def test_a_list_of_files_that_is_wrong_everywhere_is_answered_with_its_first_places() -> None:
    assert len(refused(files=[f"/{number}" for number in range(1000)])) == 100


def test_a_batch_says_which_files_it_reads_and_how() -> None:
    details = batch(
        spec="load",
        files=["orders/"],
        connection="bucket",
        params={"a": 1},
        selection={
            "recursive": True,
            "include": ["*.csv"],
            "exclude": ["old/"],
            "hidden": True,
            "allow_empty": True,
        },
        format="csv",
        options={"delimiter": ";", "column_types": {"price": "decimal(12,2)"}},
        compression="gzip",
        bad_rows="quarantine",
        max_readers=7,
    ).details
    assert details.selection == Selection(
        recursive=True, include=["*.csv"], exclude=["old/"], hidden=True, allow_empty=True
    )
    assert details.options == {"delimiter": ";", "column_types": {"price": "decimal(12,2)"}}
    assert (details.format, details.compression, details.bad_rows, details.max_readers) == (
        "csv",
        "gzip",
        "quarantine",
        7,
    )


def test_what_a_batch_does_not_say_is_found_out_for_each_file() -> None:
    details = batch(spec="load", files=["a"], connection="bucket", params={"a": 1}).details
    assert (details.format, details.options, details.compression, details.bad_rows, details.max_readers) == (
        None,
        {},
        None,
        "fail",
        4,
    )


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"selection": {"recursiv": True}}, "#/selection"),
        ({"selection": {"include": "*.csv"}}, "#/selection/include"),
        ({"compression": "zip"}, "#/compression"),
        ({"bad_rows": "drop"}, "#/bad_rows"),
        ({"max_readers": 0}, "#/max_readers"),
        ({"max_readers": 65}, "#/max_readers"),
        ({"options": [1]}, "#/options"),
        ({"format": 1}, "#/format"),
    ],
)
def test_a_value_that_no_batch_can_have_is_refused_with_its_place(body: dict[str, Any], place: str) -> None:
    assert list(refused(files=["a"], connection="bucket", **body)) == [place]


STREAM: dict[str, Any] = {"spec": "load", "stream": {}, "params": {"a": 1}}


def test_a_stream_is_a_batch_of_one_file_that_the_caller_sends() -> None:
    details = batch(**STREAM, format="ndjson", rows_per_job=5, bytes_per_job=None, seconds_per_job=2).details
    assert (details.files, details.stream, details.compression) == (("stream",), StreamRules(), "none")
    assert (details.rows_per_job, details.bytes_per_job, details.seconds_per_job) == (5, None, 2)
    assert batch(**STREAM, format="ndjson", compression="gzip").details.compression == "gzip"


@pytest.mark.parametrize(
    ("body", "place", "says"),
    [
        ({"files": ["a.csv"]}, "#/files", "or the caller streams the data in"),
        ({"connection": "bucket"}, "#/connection", "or the caller streams the data in"),
        ({"format": None}, "#/format", "A stream needs a format: one of arrow, avro, csv"),
        ({"format": "parquet"}, "#/format", "parquet cannot be read in pieces"),
        ({"rows_per_job": None, "bytes_per_job": None}, "#/bytes_per_job", "needs rows_per_job or bytes_per_job"),
    ],
)
def test_a_stream_that_cannot_be_cut_is_refused_with_its_place(body: Any, place: str, says: str) -> None:
    found = refused(**{**STREAM, "format": "csv", **body})
    assert list(found) == [place]
    assert says in found[place]


FILES: dict[str, Any] = {"spec": "load", "files": ["a"], "connection": "bucket", "params": {"a": 1}}


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"files": []}, "#/files"),
        ({"seconds_per_job": 5}, "#/seconds_per_job"),
        ({"tolerance": {"bad_rows": 5}}, "#/tolerance/bad_rows"),
        ({"tolerance": {"bad_rows_share": 0.5}}, "#/tolerance/bad_rows_share"),
    ],
)
def test_what_means_nothing_for_files_is_refused_with_its_place(body: Any, place: str) -> None:
    assert list(refused(**{**FILES, **body})) == [place]


def test_a_batch_says_where_its_jobs_are_cut_and_how_much_may_go_wrong() -> None:
    details = batch(
        **FILES,
        rows_per_job=None,
        bytes_per_job=1000,
        max_bytes_in_flight=5000,
        bad_rows="skip",
        tolerance={"failed_jobs": 1, "bad_rows_share": 0.5},
    ).details
    assert (details.rows_per_job, details.bytes_per_job, details.max_bytes_in_flight) == (None, 1000, 5000)
    assert details.tolerance == Tolerance(failed_jobs=1, bad_rows_share=0.5)


@pytest.mark.parametrize("body", [{"first": 5}, {"limit": 5}])
def test_the_files_of_a_batch_that_counts_rows_over_all_are_read_one_after_the_other(body: Any) -> None:
    assert batch(**FILES, max_readers=7, **body).details.max_readers == 1


@pytest.mark.parametrize(
    ("rows", "form"),
    [("arrow", "arrow"), ("dicts", "arrow"), ("json", "json"), ("messagepack", "messagepack")],
)
def test_rows_are_stored_in_the_form_that_the_spec_asks_for(rows: str, form: str) -> None:
    specs = Specs({"load": spec("load", rows=rows)})
    assert batch(specs, **FILES).details.form == form


def wrong_options(options: Any, format_: str | None = None) -> dict[str, str]:
    faults = Faults()
    check_options(format_, options, faults)
    with pytest.raises(InvalidRequestError) as caught:
        faults.check()
    return places(caught.value)


ALL_FORMATS = ", ".join(sorted(formats()))


def test_an_unknown_format_is_told_with_the_nearest_and_all() -> None:
    assert wrong_options({}, "cvs") == {
        "#/format": f"There is no format cvs; did you mean csv? The formats are {ALL_FORMATS}"
    }
    assert wrong_options({}, "docx") == {"#/format": f"There is no format docx. The formats are {ALL_FORMATS}"}


def test_options_without_a_format_are_given_by_the_names_of_formats() -> None:
    faults = Faults()
    check_options(None, {"csv": {"delimiter": ";"}, "xml": {"row": "order"}}, faults)
    faults.check()

    found = wrong_options({"delimiter": ";", "csv": ";", "json": {"paht": "x"}})
    assert list(found) == ["#/options/delimiter", "#/options/csv", "#/options/json"]
    assert "options are given by the names of formats" in found["#/options/delimiter"]
    assert found["#/options/csv"] == "The options of csv are an object"
    assert found["#/options/json"].startswith("Object contains unknown field `paht`; did you mean path?")


@pytest.mark.parametrize(
    ("format_", "options", "place"),
    [
        ("csv", {"delimiter": ";;"}, "#/options/delimiter"),
        ("csv", {"header": "yes"}, "#/options/header"),
        ("csv", {"columns": ["a", 1]}, "#/options/columns/1"),
        ("csv", {"delimiter": '"'}, "#/options"),
        ("csv", {"encoding": "utf-99"}, "#/options"),
        ("xlsx", {"sheet": 0}, "#/options/sheet"),
        ("parquet", {"delimiter": ";"}, "#/options"),
        (None, {"xml": {"lists": "item"}}, "#/options/xml/lists"),
    ],
)
def test_an_option_that_is_wrong_is_told_with_its_place(
    format_: str | None, options: dict[str, Any], place: str
) -> None:
    assert list(wrong_options(options, format_)) == [place]


@pytest.mark.parametrize("type_", ["int", "decimal(12)", "timestamp[", "varchar", 5, None])
def test_a_type_that_is_none_is_told_with_its_column_and_all_types(type_: Any) -> None:
    given = {"id": "int64", "a/b": type_, "price": "decimal(12,2)"}
    found = wrong_options({"column_types": given}, "csv")
    assert list(found) == ["#/options/column_types/a~1b"]
    assert found["#/options/column_types/a~1b"].startswith(
        f"{type_!r} is no type of a column. There are string, json,"
    )

    assert list(wrong_options({"ndjson": {"column_types": given}})) == ["#/options/ndjson/column_types/a~1b"]


def test_each_type_that_a_message_lists_is_one() -> None:
    for type_ in re.split(", | and ", TYPES):
        example = type_.replace("[zone]", "[Europe/Berlin]").replace("digits,decimals", "12,2")
        msgspec.convert(example, ColumnType)


def test_pointers_escape_what_pointers_and_uris_need() -> None:
    assert pointer(["a/b", "c~d", 3, "ä x"]) == "/a~1b/c~0d/3/%C3%A4%20x"


def test_a_message_of_msgspec_is_split_into_text_and_place() -> None:
    assert split_message("Expected `int`, got `str` - at `$.jobs[3].params`") == (
        "Expected `int`, got `str`",
        "/jobs/3/params",
    )
    assert split_message("Expected `object`, got `array`") == ("Expected `object`, got `array`", "")
