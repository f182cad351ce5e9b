"""Requests for workflows into commands, and what is wrong with them: no server, no NATS."""

import json
import time
from typing import Any

import msgspec
import pytest

from events.catalog import decode_commands, encode
from events.sources import S3Connection
from events.workflow import ScheduleWorkflow, WorkflowJob
from gateway.bodies import decode, decode_list
from gateway.schemas import Schemas
from gateway.translate import Specs
from gateway.workflow_details import request_of, rerun_of
from gateway.workflow_requests import specs_of, workflow_command
from rota.errors import InvalidRequestError, RotaError, TooLargeError
from rota.options import Selection
from rota.protocol import NIL, RetryPolicy, SpecView
from rota.workflow_protocol import WorkflowJobRequest, WorkflowRequest

PARAMS = {
    "type": "object",
    "properties": {
        "a": {"type": "integer"},
        "b": {"type": "number"},
        "name": {"type": "string"},
        "rows": {"type": "array", "items": {"type": "integer"}, "minItems": 2},
        "range": {"anyOf": [{"$ref": "#/$defs/range"}, {"type": "null"}]},
    },
    "additionalProperties": False,
    "$defs": {
        "range": {
            "type": "object",
            "properties": {"low": {"type": "integer"}, "high": {"type": "integer"}},
            "required": ["low", "high"],
        }
    },
}
RESULT = {
    "type": "object",
    "properties": {
        "sum": {"type": "integer"},
        "text": {"type": "string"},
        "pairs": {"type": "array", "items": {"$ref": "#/$defs/pair"}},
        "best": {"anyOf": [{"$ref": "#/$defs/pair"}, {"type": "null"}]},
        "by_name": {"type": "object", "additionalProperties": {"type": "string"}},
        "place": {"type": "array", "prefixItems": [{"type": "number"}, {"type": "string"}], "items": False},
        "any": {},
    },
    "required": ["sum"],
    "$defs": {"pair": {"type": "object", "properties": {"x": {"type": "integer"}, "y": {"type": "integer"}}}},
}


def spec(name: str, params: Any = None, result: Any = None, rows: Any = None) -> SpecView:
    return SpecView(
        name=name,
        description="",
        params_schema=params or {},
        rows=rows,
        queue="sums",
        retry=RetryPolicy(max_attempts=7),
        timeout_seconds=30.0,
        result_schema=result or {},
    )


KNOWN = Specs(
    {
        "add": spec("add", PARAMS, RESULT),
        "any": spec("any"),
        "load": spec("load", {"type": "object", "required": ["table"]}, rows="dicts"),
        "needy": spec("needy", {"type": "object", "required": ["a"]}),
    },
    ["add", "any", "load", "needy"],
)
CONNECTIONS = {"bucket": S3Connection(root="data")}


def command(*jobs: Any, **workflow: Any) -> ScheduleWorkflow:
    body = json.dumps({"jobs": jobs, **workflow}).encode()
    return workflow_command(decode(body, WorkflowRequest), KNOWN, Schemas(), CONNECTIONS, "w")


def job(name: str, spec: str = "any", **fields: Any) -> dict[str, Any]:
    return {"name": name, "spec": spec, **fields}


def out(name: str, output: Any = "") -> dict[str, Any]:
    return {"from": name, "output": output} if output else {"from": name}


def faults(*jobs: Any, **workflow: Any) -> dict[str, str]:
    """Return what is wrong with a workflow, by places."""
    with pytest.raises(InvalidRequestError) as caught:
        command(*jobs, **workflow)
    return {problem.pointer: problem.detail for problem in caught.value.problems}


def first(*jobs: Any, **workflow: Any) -> WorkflowJob:
    return command(*jobs, **workflow).details.jobs[0]


def test_a_job_takes_what_it_leaves_out_from_its_spec() -> None:
    made = first(job("one", "add", inputs={"a": 1}))

    assert (made.queue, made.retry, made.timeout_seconds) == ("sums", RetryPolicy(max_attempts=7), 30)
    assert msgspec.msgpack.decode(made.inputs) == {"a": 1}


def test_what_a_job_says_goes_before_its_spec() -> None:
    made = first(job("one", queue="fast", retry={"max_attempts": 1}, timeout_seconds=None, labels={"x": "y"}))

    assert (made.queue, made.retry, made.timeout_seconds) == ("fast", RetryPolicy(max_attempts=1), None)
    assert made.labels == {"x": "y"}


def test_what_a_job_uses_is_what_it_needs_and_references_stay_as_they_are() -> None:
    inputs = {"x": [1, {"y": out("two", "p.0")}], "z": out("one")}
    details = command(
        job("one"), job("two"), job("three", inputs=inputs, after=["one", "four"]), job("four")
    ).details

    assert [(one.needs, one.after) for one in details.jobs] == [((), ()), ((), ()), ((0, 1), (3,)), ((), ())]
    assert msgspec.msgpack.decode(details.jobs[2].inputs) == inputs


def test_a_workflow_has_its_own_fields_in_its_details() -> None:
    details = command(
        job("one"), name="nightly", params={"day": "mon"}, timeout_seconds=60, max_parallel=3, labels={"a": "b"}
    ).details

    assert (details.name, details.timeout_seconds, details.max_parallel) == ("nightly", 60, 3)
    assert (msgspec.msgpack.decode(details.params), details.labels) == ({"day": "mon"}, {"a": "b"})


def test_all_that_is_wrong_is_told_at_once() -> None:
    assert faults(
        job("one", "ad"),
        job("two", inputs={"x": out("three")}, after=["tow"]),
        job("two", inputs={"x": out("$param")}),
        job("four", "add", inputs={"a": "x", "more": 1}),
    ) == {
        "#/jobs/0/spec": "There is no spec ad; did you mean add or load?",
        "#/jobs/1/inputs/x": "There is no job three",
        "#/jobs/1/after/0": "There is no job tow; did you mean two?",
        "#/jobs/2/name": "#/jobs/1 is named two, too",
        "#/jobs/2/inputs/x": "There is no $param: only $params, $item, $index, $literal",
        "#/jobs/3/inputs/a": '"x" is not of type "integer"',
        "#/jobs/3/inputs": "Additional properties are not allowed ('more' was unexpected)",
    }


def test_each_malformed_job_is_told() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        decode_list(b'{"jobs": [{"name": "a b"}, {"name": "b"}, {"name": 7}]}', WorkflowRequest, WorkflowJobRequest)
    assert [problem.pointer for problem in caught.value.problems] == ["#/jobs/0/name", "#/jobs/2/name"]


@pytest.mark.parametrize(
    "body",
    [
        b'{"jobs": [{"name": }]}',
        b'{"jobs": [{"name": "a", "inputs": {"x": ' + b"[" * 5000,
        b'{"name": "\xff"}',
        b"",
    ],
)
def test_a_body_that_is_no_json_is_told_as_such(body: bytes) -> None:
    with pytest.raises(InvalidRequestError, match="The body is no JSON"):
        decode_list(body, WorkflowRequest, WorkflowJobRequest)


def test_a_name_in_a_place_is_written_as_in_a_uri() -> None:
    assert list(faults(job("one", inputs={"ä/~": [out("no")]}))) == ["#/jobs/0/inputs/%C3%A4~1~0/0"]


# The graph


def test_a_cycle_is_shown() -> None:
    found = faults(
        job("a", inputs={"x": out("c")}),
        job("b", inputs={"x": out("a")}),
        job("c", after=["b"]),
        job("d", after=["a"]),
    )
    [(place, detail)] = found.items()
    assert place in {"#/jobs/0", "#/jobs/1", "#/jobs/2"}
    assert detail in {
        f"The jobs wait for each other: {cycle}"
        for cycle in ("a -> b -> c -> a", "b -> c -> a -> b", "c -> a -> b -> c")
    }


def test_a_long_cycle_is_shown_by_its_ends() -> None:
    [detail] = faults(*(job(f"j{n}", after=[f"j{(n + 1) % 100}"]) for n in range(100))).values()
    assert "…" in detail
    assert len(detail) < 300


def test_a_job_that_would_wait_for_itself_is_refused() -> None:
    assert faults(job("a", inputs={"x": out("a")}, after=["a"])) == {
        "#/jobs/0/inputs/x": "a would wait for itself",
        "#/jobs/0/after/0": "a would wait for itself",
    }


# References


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"from": 7}, "`from` names a job"),
        ({"from": "one", "output": {}}, "`output` is a path"),
        ({"from": "one", "output": "a..b"}, "has an empty part"),
        ({"from": "one", "default": 1}, "has no field 'default'"),
        ({"from": "$literal"}, "needs a `value`"),
    ],
)
def test_an_object_that_is_no_reference_is_told(value: Any, said: str) -> None:
    found = faults(job("one"), job("two", inputs={"x": value}))
    assert list(found) == ["#/jobs/1/inputs/x"]
    assert said in found["#/jobs/1/inputs/x"]


def test_items_are_of_fan_outs_alone() -> None:
    assert faults(
        job("one", inputs={"x": out("$item"), "y": [out("$index")]}),
        job("two", for_each=[out("$item", "x")]),
        job("three", for_each=[1], inputs={"x": out("$index", "y")}),
    ) == {
        "#/jobs/0/inputs/x": "$item is of the items of `for_each`, which this job does not have",
        "#/jobs/0/inputs/y/0": "$index is of the items of `for_each`, which this job does not have",
        "#/jobs/1/for_each/0": "$item can stand in `inputs` alone",
        "#/jobs/2/inputs/x": "$index: y is missing: there is an integer",
    }


def test_params_that_a_job_uses_must_be_there() -> None:
    assert command(job("one", inputs={"x": out("$params", "a.0.b")}), params={"a": [{"b": 1}]})
    assert faults(job("one", inputs={"x": out("$params", "a.1")}), params={"a": [1]}) == {
        "#/jobs/0/inputs/x": "$params: a.1 is missing: the list there has 1 items"
    }


def test_a_literal_is_no_reference() -> None:
    assert first(job("one", inputs={"x": {"from": "$literal", "value": {"from": "me@example.org"}}})).needs == ()


# Inputs


def test_what_is_known_of_inputs_is_checked_and_what_is_not_is_left() -> None:
    assert faults(
        job("one"),
        job("two", "add", inputs={"a": out("one"), "name": 7, "rows": [out("one"), "x"]}),
        job("three", "add", inputs={"rows": [out("one")]}),
        job("four", "add", inputs={"a": {"deep": out("one")}}),
        job("five", "needy"),
        job("six", "add", inputs=out("one")),
    ) == {
        "#/jobs/1/inputs/name": '7 is not of type "string"',
        "#/jobs/1/inputs/rows/1": '"x" is not of type "integer"',
        "#/jobs/2/inputs/rows": '[{"from":"…"}] has less than 2 items',
        "#/jobs/3/inputs/a": '{"deep":{"from":"…"}} is not of type "integer"',
        "#/jobs/4/inputs": '"a" is a required property',
    }


def test_alternatives_are_refused_if_none_of_them_can_fit() -> None:
    assert command(job("one"), job("two", "add", inputs={"range": {"low": out("one"), "high": 2}}))
    assert list(
        faults(
            job("one"),
            job("two", "add", inputs={"range": {"low": out("one"), "high": "x"}}),
            job("three", "add", inputs={"range": {"low": out("one")}}),
        )
    ) == ["#/jobs/1/inputs/range", "#/jobs/2/inputs/range"]


def test_a_condition_on_what_is_not_known_refuses_nothing() -> None:
    schema = {
        "if": {"properties": {"kind": {"const": "file"}}},
        "else": {"required": ["url"]},
        "properties": {"kind": {"enum": ["file", "url"]}},
    }
    specs = Specs({"any": spec("any"), "open": spec("open", schema)})
    request = WorkflowRequest(
        jobs=[
            WorkflowJobRequest(name="one", spec="any"),
            WorkflowJobRequest(name="two", spec="open", inputs={"kind": out("one")}),
        ]
    )
    assert workflow_command(request, specs, Schemas(), {}, "w")


def test_params_and_literals_are_checked_where_they_are_used() -> None:
    assert faults(
        job("one", "add", inputs={"a": out("$params", "day"), "rows": [1, {"from": "$literal", "value": "x"}]}),
        params={"day": "mon"},
    ) == {
        "#/jobs/0/inputs/a": '$params day: "mon" is not of type "integer"',
        "#/jobs/0/inputs/rows/1/value": '"x" is not of type "integer"',
    }


def test_the_params_of_a_job_may_be_an_output_that_is_an_object() -> None:
    assert command(job("one", "add"), job("two", inputs=out("one")))
    assert faults(
        job("one", "add"),
        job("two", inputs=out("one", "sum")),
        job("three", inputs=out("$params", "n")),
        params={"n": 1},
    ) == {
        "#/jobs/1/inputs": "It is an integer, and an object is wanted",
        "#/jobs/2/inputs": "It leads to no object: the params of a job are one",
    }


def test_inputs_over_the_limit_are_too_large() -> None:
    with pytest.raises(TooLargeError) as caught:
        command(job("one", inputs={"x": "y" * 70_000}))
    assert [problem.pointer for problem in caught.value.problems] == ["#/jobs/0/inputs"]


def test_integers_beyond_64_bits_are_refused_wherever_they_are() -> None:
    big = 2**64
    assert faults(
        job("one", inputs={"x": big}),
        job("two", for_each=[big]),
        job("three", defaults=big, on_failure="use_defaults"),
        params={"x": big},
    ) == dict.fromkeys(
        ("#/params", "#/jobs/0/inputs", "#/jobs/1/for_each", "#/jobs/2/defaults"), "An integer is beyond 64 bits"
    )


def test_a_job_that_takes_rows_needs_a_batch_and_a_batch_one_that_does() -> None:
    assert faults(
        job("one", "load", inputs={"table": "t"}),
        {"name": "two", "batch": {"spec": "any", "files": ["https://a.org/b"]}},
        {"name": "three"},
    ) == {
        "#/jobs/0/spec": "load works on the rows of a batch: give a `batch`",
        "#/jobs/1/batch/spec": "any does not take rows; its handler needs a parameter for them",
        "#/jobs/2/spec": "A job needs a `spec`, or a `batch`",
    }


# Outputs


@pytest.mark.parametrize(
    "path",
    ["sum", "pairs.0.x", "best.y", "by_name.anything", "place.1", "any.what.ever", ["pairs", 3], "pairs"],
)
def test_an_output_that_a_spec_may_have_is_taken(path: Any) -> None:
    assert command(job("one", "add"), job("two", inputs={"x": out("one", path)}))


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("total", "one: total is missing: the object there has sum, text, pairs, best, by_name, place, any"),
        ("sum.x", "one: sum.x is missing: there is an integer"),
        ("pairs.x", "one: pairs.x is missing: there is an array"),
        ("pairs.0.z", "one: pairs.0.z is missing: the object there has x, y"),
        ("best.z", "one: best.z is missing: the object there has x, y"),
        ("by_name.a.b", "one: by_name.a.b is missing: there is a string"),
        ("place.2", "one: place.2 is missing: there is an array"),
    ],
)
def test_an_output_that_a_spec_cannot_have_is_refused(path: str, said: str) -> None:
    assert faults(job("one", "add"), job("two", inputs={"x": out("one", path)})) == {"#/jobs/1/inputs/x": said}


def test_nothing_is_known_of_what_a_spec_without_a_result_schema_returns() -> None:
    assert command(job("one"), job("two", inputs={"x": out("one", "what.ever")}))


def test_an_output_of_another_type_than_a_param_is_refused() -> None:
    assert command(
        job("one", "add"),
        job(
            "two",
            "add",
            inputs={"b": out("one", "sum"), "range": out("one", "best"), "name": out("one", "by_name.x")},
        ),
    )
    assert faults(
        job("one", "add"),
        job("two", "add", inputs={"a": out("one", "text"), "rows": [1, out("one", "pairs")]}),
    ) == {
        "#/jobs/1/inputs/a": "It is a string, and an integer is wanted",
        "#/jobs/1/inputs/rows/1": "It is an array, and an integer is wanted",
    }


def test_a_result_schema_that_refers_to_itself_says_nothing() -> None:
    endless = spec("loop", result={"$ref": "#"})
    request = WorkflowRequest(
        jobs=[
            WorkflowJobRequest(name="one", spec="loop"),
            WorkflowJobRequest(name="two", spec="loop", inputs={"x": out("one", "a.b")}),
        ]
    )
    assert workflow_command(request, Specs({"loop": endless}), Schemas(), {}, "w")


# Fan-outs


def test_the_output_of_a_fan_out_is_a_list_of_those_of_its_runs() -> None:
    fan_out = job("one", "add", for_each=[1, 2], inputs={"a": out("$item")})
    assert command(fan_out, job("two", inputs={"x": out("one"), "y": out("one", "1.sum")}))
    assert faults(fan_out, job("two", "add", inputs={"a": out("one"), "b": out("one", "sum")})) == {
        "#/jobs/1/inputs/a": "It is an array, and an integer is wanted",
        "#/jobs/1/inputs/b": "one: sum is missing: there is an array",
    }


def test_each_item_that_is_known_is_checked_as_the_inputs_of_its_run() -> None:
    assert faults(
        job(
            "one",
            "add",
            for_each=[{"n": 1}, {"m": 1}, {"n": "x"}],
            inputs={"a": out("$item", "n"), "b": out("$index")},
        ),
        job("two", "add", for_each=out("$params", "days"), inputs={"name": out("$item")}),
        params={"days": ["mon", 2]},
    ) == {
        "#/jobs/0/for_each/1": "$item: n is missing: the object there has m",
        "#/jobs/0/for_each/2": 'In #/jobs/0/inputs/a: "x" is not of type "integer"',
        "#/jobs/1/for_each": 'Item 1: In #/jobs/1/inputs/name: 2 is not of type "string"',
    }


def test_items_that_are_an_output_are_checked_by_their_types() -> None:
    assert faults(
        job("one", "add"),
        job("two", "add", for_each=out("one", "pairs"), inputs={"a": out("$item", "z"), "name": out("$item", "x")}),
        job("three", for_each=out("one", "sum"), inputs={}),
        job("four", "add", for_each=out("one", "pairs"), inputs={"name": out("$index")}),
    ) == {
        "#/jobs/1/inputs/a": "$item: z is missing: the object there has x, y",
        "#/jobs/1/inputs/name": "It is an integer, and a string is wanted",
        "#/jobs/2/for_each": "It is an integer, and an array is wanted",
        "#/jobs/3/inputs/name": "It is an integer, and a string is wanted",
    }


def test_the_items_are_a_list() -> None:
    assert faults(
        job("one", for_each={"a": 1}),
        job("two", for_each=out("$params", "n")),
        job("three", for_each={"x": out("one")}),
        params={"n": 1},
    ) == dict.fromkeys(
        ("#/jobs/0/for_each", "#/jobs/1/for_each", "#/jobs/2/for_each"), "It is no list, and no reference to one"
    )


def test_a_fan_out_has_a_limit() -> None:
    with pytest.raises(TooLargeError) as caught:
        command(job("one", for_each=[0] * 10_001))
    assert [problem.detail for problem in caught.value.problems] == ["It has 10001 items; the limit is 10000"]


def test_fields_of_fan_outs_and_batches_are_refused_elsewhere() -> None:
    nothing = "Only a fan-out has several runs: give `for_each`"
    assert faults(
        job("one", max_parallel=2, tolerated_failures=1, tolerated_failures_share=0.5),
        job("two", files_from=out("one"), results={}),
    ) == {
        "#/jobs/0/max_parallel": nothing,
        "#/jobs/0/tolerated_failures": nothing,
        "#/jobs/0/tolerated_failures_share": nothing,
        "#/jobs/1/files_from": "Only a batch has files: give a `batch`",
        "#/jobs/1/results": "Only a batch has results: give a `batch`",
    }


# Rules


def test_defaults_go_with_the_rule_that_uses_them() -> None:
    assert faults(
        job("one", on_failure="use_defaults", on_timeout="use_defaults"), job("two", defaults={"x": 1})
    ) == {
        "#/jobs/0/on_timeout": "use_defaults needs `defaults`",
        "#/jobs/0/on_failure": "use_defaults needs `defaults`",
        "#/jobs/1/defaults": "No rule uses them: on_timeout or on_failure has to be use_defaults",
    }
    assert first(job("one", on_failure="use_defaults", defaults=None)).defaults == NIL


def test_defaults_have_all_that_is_used_of_the_output() -> None:
    fallback: dict[str, Any] = {"on_timeout": "use_defaults", "defaults": {"rows": [1]}}
    assert command(job("one", **fallback), job("two", inputs={"x": out("one", "rows.0")}))
    assert faults(job("one", **fallback), job("two", inputs={"x": [out("one", "rows.1")]})) == {
        "#/jobs/0/defaults": "rows.1 is missing: the list there has 1 items, and #/jobs/1/inputs/x/0 uses it"
    }


def test_defaults_are_an_output_of_the_spec() -> None:
    assert faults(
        job("one", "add", on_failure="use_defaults", defaults={"sum": "x"}),
        job("two", "add", on_failure="use_defaults", defaults={}),
        job("three", "add", for_each=[1], on_failure="use_defaults", defaults=[{"sum": 1}, None, {"sum": None}]),
        job("four", for_each=[1], on_failure="use_defaults", defaults={}),
    ) == {
        "#/jobs/0/defaults/sum": '"x" is not of type "integer"',
        "#/jobs/1/defaults": '"sum" is a required property',
        "#/jobs/2/defaults/2/sum": 'null is not of type "integer"',
        "#/jobs/3/defaults": "The output of a fan-out is a list",
    }


# Batches


def batch(name: str = "one", **fields: Any) -> dict[str, Any]:
    files = {} if "files_from" in fields else {"files": ["in/a.csv"]}
    asked = {"spec": "load", "connection": "bucket", **files, **fields.pop("batch", {})}
    return {"name": name, "batch": asked, "inputs": {"table": "t"}, **fields}


def test_a_batch_is_made_with_what_is_known_of_it() -> None:
    made = first(batch(batch={"rows_per_job": 10, "labels": {"x": "y"}}, total_timeout_seconds=60))

    assert made.batch is not None
    assert (made.spec, made.queue, made.total_timeout_seconds) == ("load", "sums", 60)
    assert (made.batch.files, made.batch.rows_per_job, made.batch.labels) == (("in/a.csv",), 10, {"x": "y"})
    assert (made.batch.retry, msgspec.msgpack.decode(made.batch.params)) == (RetryPolicy(max_attempts=7), {})
    assert msgspec.msgpack.decode(made.inputs) == {"table": "t"}


def test_what_a_batch_cannot_have_within_a_workflow_is_told() -> None:
    own: dict[str, Any] = {"queue": "q", "retry": {}, "timeout_seconds": 1, "labels": {"x": "y"}}
    asked = {"params": {"x": 1}, "key": "k", "stream": {}, "files": []}
    found = faults(batch(spec="load", for_each=[1], waiting_timeout_seconds=1, batch=asked, **own))

    assert list(found) == [
        "#/jobs/0/spec",
        "#/jobs/0/for_each",
        "#/jobs/0/waiting_timeout_seconds",
        "#/jobs/0/queue",
        "#/jobs/0/retry",
        "#/jobs/0/timeout_seconds",
        "#/jobs/0/labels",
        "#/jobs/0/batch/stream",
        "#/jobs/0/batch/params",
        "#/jobs/0/batch/key",
    ]
    assert found["#/jobs/0/batch/params"] == "The params of the batch are the `inputs` of the job"


def test_what_is_wrong_with_a_batch_is_told_with_its_place() -> None:
    assert faults(
        batch(batch={"files": ["../a"], "spec": "lod", "format": "csv", "options": {"delimiter": 1}}),
        batch("two", batch={"files": []}, inputs={}),
    ) == {
        "#/jobs/0/batch/files/0": "A path below a connection has no '.' or '..' in it",
        "#/jobs/0/batch/options/delimiter": "Expected `str`, got `int`",
        "#/jobs/0/batch/spec": "There is no spec lod; did you mean load?",
        "#/jobs/1/batch/files": "There is no file. Name some, or give `files_from`",
        "#/jobs/1/inputs": '"table" is a required property',
    }


def test_the_files_of_a_batch_may_be_an_output() -> None:
    made = command(job("list"), batch("two", files_from=out("list", "files"))).details.jobs[1]

    assert made.needs == (0,)
    assert made.files_from is not None
    assert msgspec.msgpack.decode(made.files_from) == out("list", "files")
    assert made.batch is not None
    # It is read again as it is stored: then a batch has files.
    assert decode_commands(encode([command(job("list"), batch("two", files_from=out("list", "files")))]))


def test_files_come_from_one_place_that_may_have_some() -> None:
    assert faults(
        job("list", "add"),
        batch("two", files_from=out("list", "sum")),
        batch("three", files_from=out("$params", "files")),
        batch("four", files_from=out("list", "text"), batch={"files": ["a"]}),
        batch("five", files_from={"x": out("list")}),
        params={"files": []},
    ) == {
        "#/jobs/1/files_from": "It is an integer, and an array or a string is wanted",
        "#/jobs/2/files_from": "It leads to no path and no list of paths",
        "#/jobs/3/batch/files": "They come from `files_from`",
        "#/jobs/4/files_from": "It leads to no path and no list of paths",
    }


def test_the_output_of_a_batch_is_counts_and_where_the_results_are() -> None:
    later = job(
        "two", inputs={"x": out("one", "jobs.failed"), "y": out("one", "batch"), "z": out("one", "results.path")}
    )
    asked = {"format": "parquet", "connection": "bucket", "path": "out/a.parquet"}
    assert command(batch(results=asked), later).details.jobs[0].batch
    assert faults(
        batch(),
        later,
        job("three", "add", inputs={"name": out("one", "rows")}),
        job("four", inputs={"x": out("one", "status.x")}),
    ) == {
        "#/jobs/1/inputs/z": "one: results.path is missing: there is null",
        "#/jobs/2/inputs/name": "It is an integer, and a string is wanted",
        "#/jobs/3/inputs/x": "one: status.x is missing: there is a string",
    }


def test_where_the_results_of_a_batch_go_is_checked() -> None:
    assert list(
        faults(batch(results={"connection": "bucket"}), batch("two", results={"connection": "bucke", "path": "a"}))
    ) == [
        "#/jobs/0/results/path",
        "#/jobs/1/results/connection",
    ]


def test_defaults_of_a_batch_are_like_its_output() -> None:
    assert faults(batch(on_failure="use_defaults", defaults={"rows": "many", "colour": 1})) == {
        "#/jobs/0/defaults/rows": '"many" is not of type "integer"',
        "#/jobs/0/defaults": "Additional properties are not allowed ('colour' was unexpected)",
    }


# As it was scheduled

WHOLE: dict[str, Any] = {
    "name": "nightly",
    "params": {"day": 1, "files": ["a.csv"], "items": [1, 2]},
    "timeout_seconds": 3600,
    "max_parallel": 10,
    "labels": {"team": "x"},
    "jobs": [
        job(
            "one",
            "add",
            inputs={"a": out("$params", "day")},
            on_failure="use_defaults",
            defaults={"sum": 0, "pairs": []},
        ),
        job(
            "two",
            "any",
            for_each=out("one", "pairs"),
            inputs={"x": out("$item")},
            max_parallel=2,
            tolerated_failures=1,
        ),
        batch(
            "three",
            files_from=out("$params", "files"),
            batch={"limit": 5, "format": "csv", "options": {"delimiter": ";"}},
        ),
        batch("four", after=["two"], results={}, batch={"selection": {"recursive": True}}),
        job(
            "five",
            queue="fast",
            retry={"max_attempts": 2},
            timeout_seconds=None,
            inputs={"x": [out("three", "rows")]},
        ),
        job("six", for_each=out("$params", "items"), total_timeout_seconds=9, waiting_timeout_seconds=8),
    ],
}


def test_a_workflow_as_it_was_scheduled_makes_the_same_when_it_is_sent_again() -> None:
    made = command(*WHOLE["jobs"], **{name: value for name, value in WHOLE.items() if name != "jobs"})
    sent = decode(msgspec.json.encode(request_of(made.details)), WorkflowRequest)

    assert workflow_command(sent, KNOWN, Schemas(), CONNECTIONS, "w") == made
    assert list(specs_of(sent.jobs)) == ["add", "any", "load", "load", "any", "any"]
    assert sent.jobs[3].batch
    assert sent.jobs[3].batch.selection == Selection(recursive=True)


def test_what_it_was_holds_whatever_its_specs_have_become() -> None:
    made = command(job("one", "add"))
    changed = Specs({"add": msgspec.structs.replace(spec("add"), queue="other", timeout_seconds=1.0)})

    assert workflow_command(request_of(made.details), changed, Schemas(), {}, "w") == made


def test_a_rerun_has_other_params_and_all_else_as_it_was() -> None:
    details = command(job("one", inputs={"x": out("$params", "day")}), params={"day": 1, "rest": 2}).details
    again = rerun_of("w", details, {"day": 7})

    assert msgspec.msgpack.decode(again.params) == {"day": 7, "rest": 2}
    assert (again.jobs, again.rerun_of) == (details.jobs, "w")


def test_params_of_a_rerun_must_have_what_jobs_use() -> None:
    details = command(
        job("one", inputs={"x": out("$params", "day.name")}),
        job("two", for_each=out("$params", "items")),
        params={"day": {"name": "mon"}, "items": []},
    ).details
    with pytest.raises(InvalidRequestError) as caught:
        rerun_of("w", details, {"day": {}, "items": 7})
    assert [(problem.pointer, problem.detail) for problem in caught.value.problems] == [
        ("#/params", "day.name is missing: the object there has no fields: one uses it"),
        ("#/params", "items is no list: two uses it"),
    ]


# Size


def test_a_workflow_of_ten_thousand_jobs_is_checked_soon() -> None:
    jobs = [job("j0", "add", inputs={"a": 1})]
    jobs += [
        job(f"j{n}", "add", inputs={"a": out(f"j{n - 1}", "sum"), "b": out("$params", "n")})
        for n in range(1, 10_000)
    ]
    request = decode(json.dumps({"jobs": jobs, "params": {"n": 1}}).encode(), WorkflowRequest)
    start = time.process_time()
    made = workflow_command(request, KNOWN, Schemas(), {}, "w")

    assert time.process_time() - start < 2
    assert len(made.details.jobs) == 10_000
    assert len(encode([made])) < 4_000_000


def test_a_workflow_that_is_wrong_everywhere_is_answered_with_its_first_places() -> None:
    start = time.process_time()
    with pytest.raises(RotaError, match="at least 100 places"):
        command(*(job(f"j{n}", "no", inputs={"x": out(f"k{n}")}) for n in range(10_000)))
    assert time.process_time() - start < 2


def test_inputs_that_are_nested_too_deeply_are_refused_where_they_stand() -> None:
    deep: Any = 1
    for _ in range(400):
        deep = [deep]

    found = faults(job("one", inputs={"value": deep}), job("two", for_each=[deep]))

    assert found == {
        "#/jobs/0/inputs": "Objects and lists are nested in it more than 100 times",
        "#/jobs/1/for_each": "Objects and lists are nested in it more than 100 times",
    }
