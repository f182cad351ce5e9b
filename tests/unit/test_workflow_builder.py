"""The builder of workflows: what it sends, and what it refuses at once."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

import rota
from rota import BatchRequest, Job, RetryPolicy, Workflow
from rota.batch_protocol import ResultsRequest
from rota.errors import InvalidRequestError
from rota.references import Reference


def resize(path: str, number: int) -> str:
    return f"{path}{number}"


def sent(flow: Workflow) -> dict[str, Any]:
    """Return the request as its receiver reads it."""
    body: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(flow.request()))
    return body


def inputs(flow: Workflow) -> Any:
    """Return the inputs of the last job."""
    return sent(flow)["jobs"][-1]["inputs"]


def test_a_workflow_is_sent_with_what_was_given_and_nothing_else() -> None:
    flow = Workflow("nightly", params={"date": "2026-01-01"}, timeout_seconds=3600, max_parallel=10)
    fetch = flow.job("fetch", "fetch_orders", {"date": flow.params["date"], "pages": 3})
    flow.job(
        "clean",
        "clean",
        {"rows": fetch.output["rows"]},
        after=[fetch],
        retry=RetryPolicy(max_attempts=5),
        total_timeout_seconds=60,
        on_timeout="use_defaults",
        defaults={"rows": []},
    )
    assert sent(flow) == {
        "name": "nightly",
        "params": {"date": "2026-01-01"},
        "timeout_seconds": 3600,
        "max_parallel": 10,
        "jobs": [
            {
                "name": "fetch",
                "spec": "fetch_orders",
                "inputs": {"date": {"from": "$params", "output": "date"}, "pages": 3},
            },
            {
                "name": "clean",
                "spec": "clean",
                "inputs": {"rows": {"from": "fetch", "output": "rows"}},
                "after": ["fetch"],
                "retry": {"max_attempts": 5, "delay_seconds": 1.0, "backoff": 2.0, "max_delay_seconds": 300.0},
                "total_timeout_seconds": 60,
                "on_timeout": "use_defaults",
                "defaults": {"rows": []},
            },
        ],
    }


def test_a_fan_out_has_the_item_and_its_number_in_its_inputs() -> None:
    flow = Workflow()
    split = flow.job("split", "split")
    each = flow.each(
        "resize",
        Job(resize),
        split.output["files"],
        {"path": rota.item["path"], "number": rota.index},
        max_parallel=5,
        tolerated_failures=2,
        labels={"team": "a"},
    )
    flow.job("gather", "gather", {"all": each.output, "first": each.output[0]})
    assert sent(flow)["jobs"][1:] == [
        {
            "name": "resize",
            "spec": "resize",
            "for_each": {"from": "split", "output": "files"},
            "inputs": {"path": {"from": "$item", "output": "path"}, "number": {"from": "$index"}},
            "max_parallel": 5,
            "tolerated_failures": 2,
            "labels": {"team": "a"},
        },
        {
            "name": "gather",
            "spec": "gather",
            "inputs": {"all": {"from": "resize"}, "first": {"from": "resize", "output": "0"}},
        },
    ]


def test_the_list_of_a_fan_out_may_be_of_fixed_values_and_references() -> None:
    flow = Workflow()
    fetch = flow.job("fetch", "fetch")
    flow.each("each", "each", [1, fetch.output["n"], {"from": "Bonn"}], {"n": rota.item})
    assert sent(flow)["jobs"][1]["for_each"] == [
        1,
        {"from": "fetch", "output": "n"},
        {"from": "$literal", "value": {"from": "Bonn"}},
    ]


def test_a_batch_gets_its_files_and_params_from_others() -> None:
    flow = Workflow()
    split = flow.job("split", "split")
    flow.batch(
        "load",
        "load_rows",
        {"table": split.output["table"]},
        files=split.output["files"],
        connection="lake",
        rows_per_job=10,
        results=ResultsRequest(format="parquet"),
        on_failure="fail_dependents",
    )
    assert sent(flow)["jobs"][1] == {
        "name": "load",
        "batch": {"spec": "load_rows", "connection": "lake", "rows_per_job": 10},
        "files_from": {"from": "split", "output": "files"},
        "inputs": {"table": {"from": "split", "output": "table"}},
        "results": {"format": "parquet"},
        "on_failure": "fail_dependents",
    }


def test_a_batch_may_be_given_as_a_request_whose_params_become_inputs() -> None:
    flow = Workflow()
    request = BatchRequest(spec="load_rows", files=["a.csv"], params={"table": "t", "mode": "append"})
    flow.batch("load", request, {"mode": "replace"})
    assert sent(flow)["jobs"] == [
        {
            "name": "load",
            "batch": {"spec": "load_rows", "files": ["a.csv"]},
            "inputs": {"table": "t", "mode": "replace"},
        }
    ]


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        (lambda output: output, {"from": "a"}),
        (lambda output: output["stats"]["rows"], {"from": "a", "output": "stats.rows"}),
        (lambda output: output["items"][0]["x"], {"from": "a", "output": "items.0.x"}),
        (lambda output: output["a.b"][0], {"from": "a", "output": ["a.b", 0]}),
        (lambda output: output[""], {"from": "a", "output": [""]}),
    ],
)
def test_the_path_of_a_reference_is_a_text_unless_that_would_be_ambiguous(
    reference: Callable[[Reference], Reference], expected: dict[str, Any]
) -> None:
    flow = Workflow()
    flow.job("b", "b", {"deep": [{"x": (reference(flow.job("a", "a").output),)}]})
    assert inputs(flow) == {"deep": [{"x": [expected]}]}


def test_a_fixed_value_is_sent_as_json_has_it() -> None:
    flow = Workflow()
    flow.job("a", "a", {"at": datetime(2026, 1, 2, tzinfo=UTC), "by_number": {1: "x"}, "retry": RetryPolicy()})
    assert inputs(flow)["at"] == "2026-01-02T00:00:00Z"
    assert inputs(flow)["by_number"] == {"1": "x"}
    assert inputs(flow)["retry"]["max_attempts"] == 3


def test_a_fixed_object_with_a_field_from_is_marked_as_no_reference() -> None:
    flow = Workflow()
    flow.job("a", "a", {"trip": {"from": "Bonn", "stops": [{"from": "Köln"}]}})
    assert inputs(flow) == {"trip": {"from": "$literal", "value": {"from": "Bonn", "stops": [{"from": "Köln"}]}}}


def test_a_reference_in_an_object_that_is_sent_as_it_is_is_refused() -> None:
    flow = Workflow()
    fetch = flow.job("fetch", "fetch")
    with pytest.raises(InvalidRequestError, match="a field `from` is sent as it is"):
        flow.job("b", "b", {"trip": {"from": "Bonn", "to": fetch.output["to"]}})


def test_a_name_that_is_used_twice_is_refused() -> None:
    flow = Workflow("nightly")
    flow.job("a", "a")
    with pytest.raises(InvalidRequestError, match="There is a job a in the workflow nightly already"):
        flow.each("a", "b", [], {})


def test_a_reference_to_a_job_or_params_of_another_workflow_is_refused() -> None:
    flow, other = Workflow("one"), Workflow("two")
    stranger = other.job("a", "a")
    for reference in (stranger.output["x"], other.params["date"]):
        with pytest.raises(InvalidRequestError, match="is of another workflow than one"):
            flow.job("b", "b", {"x": [reference]})
    with pytest.raises(InvalidRequestError, match="<job a of workflow two> is none of the workflow one"):
        flow.job("b", "b", after=[stranger])


def test_what_was_refused_is_no_job_of_the_workflow() -> None:
    flow = Workflow()
    with pytest.raises(InvalidRequestError):
        flow.job("b", "b", {"x": rota.item})
    flow.job("b", "b")
    assert [job["name"] for job in sent(flow)["jobs"]] == ["b"]


@pytest.mark.parametrize(
    ("add", "says"),
    [
        (lambda flow: flow.job("a b", "spec"), r"a b: Expected `str` matching regex .* at `\$\.name`"),
        (lambda flow: flow.job("b", "b", on_failure="ignore"), r"b: Invalid enum value 'ignore'"),
        (lambda flow: flow.job("b", "b", timeout_seconds=-1), r"b: Expected `float` > 0.0"),
        (lambda flow: flow.job("b", "b", tiemout=1), r"b: Object contains unknown field `tiemout`"),
        (lambda flow: flow.job("b", "b", {"x": rota.index}), "Only the inputs of a fan-out have"),
        (lambda flow: flow.each("b", "b", [rota.item], {}), "Only the inputs of a fan-out have"),
        (lambda flow: flow.each("b", "b", "files", {}), "for_each is a list, or a reference to one"),
        (lambda flow: flow.batch("b", "b", files=rota.item), "Only the inputs of a fan-out have"),
        (lambda flow: flow.batch("b", "b", params={}), "are given as inputs"),
        (lambda flow: flow.batch("b", "b", rows=1), "b: Object contains unknown field `rows`"),
        (lambda flow: flow.job("b", "b", {"x": flow.job("a", "a")}), "of another job it is its `output`"),
        (lambda flow: flow.job("b", "b", defaults=flow.params), "References are of use in inputs alone"),
        (lambda flow: flow.job("b", "b", after=["a"]), "`after` lists jobs as they were returned"),
        (lambda flow: flow.params["items"][-1], r"The elements of <\$params\['items'\]> are numbered from 0"),
        (lambda flow: flow.params[1:2], "has parts by names and by numbers"),
        (lambda _: rota.index["x"], "has no parts"),
        (lambda flow: flow.request(), "The workflow workflow has no jobs"),
        (lambda _: Workflow("a b"), r"The workflow: Expected `str` matching regex .* at `\$\.name`"),
        (lambda _: Workflow(max_parallel=0), "The workflow: Expected `int` >= 1"),
    ],
)
def test_what_is_wrong_in_a_call_is_refused_by_the_call(add: Callable[[Workflow], Any], says: str) -> None:
    with pytest.raises(InvalidRequestError, match=says):
        add(Workflow())


@pytest.mark.parametrize(
    "use",
    [
        bool,
        list,
        lambda reference: f"{reference}",
        lambda reference: "x" in reference,
        lambda reference: "x" + reference,
    ],
)
def test_a_reference_is_no_value_yet(use: Callable[[Any], Any]) -> None:
    with pytest.raises(TypeError):
        use(Workflow().job("a", "a").output["x"])
