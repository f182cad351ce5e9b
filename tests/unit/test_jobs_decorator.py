"""`@rota.job`: a function's annotations are the schemas of its params and its result."""

from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
import pyarrow as pa
import pytest
from msgspec import Meta, Raw

import rota
from rota.jobs import Context, Job
from rota.protocol import JobDetails, Payload, RegisterSpec, RetryPolicy, Rows, RowsForm, Work

ROWS = Rows("b", "a.csv", 0, 2, 200, 100, Payload("rota.payload.b_0-2", 5, "ab"))
DETAILS = JobDetails(spec="add", queue="default", params=Raw(b"\x80"), rows=ROWS)


class Address(msgspec.Struct):
    street: str
    number: int = 1


@rota.job
async def add(a: int, b: int = 2) -> int:
    """Add two numbers.

    Both are whole.
    """
    return a + b


@rota.job(name="send-mail", queue="mail", retry=RetryPolicy(max_attempts=5), timeout_seconds=3)
def send_mail(to: Address, size: Annotated[int, Meta(ge=1, le=9)], on: datetime | None = None) -> str:
    return f"{to.street} {size} {on}"


@rota.job
def load(rows: list[dict[str, Any]], table: str, *, context: Context) -> int:
    return len(rows)


@rota.job
def count(rows: pa.Table) -> int:
    return int(rows.num_rows)


def context() -> Context:
    return Context(Work(id="j", version=1, attempt=2, details=DETAILS), 3, lambda *_: None)


def arguments(job: Job[Any, Any], params: Any, rows: Any = None) -> dict[str, Any]:
    return job.arguments(Raw(msgspec.msgpack.encode(params)), rows, context())


def test_a_job_is_still_the_function_that_it_was() -> None:
    assert send_mail(Address("Elm St"), 3) == "Elm St 3 None"


async def test_an_async_job_is_still_awaited() -> None:
    assert await add(1) == 3
    assert (add.is_async, send_mail.is_async) == (True, False)


def test_the_spec_has_the_name_the_text_and_the_schema_of_the_function() -> None:
    assert add.spec == RegisterSpec(
        id="add",
        description="Add two numbers.\n\nBoth are whole.",
        params_schema={
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"type": "integer", "default": 2}},
            "required": ["a"],
            "additionalProperties": False,
        },
        result_schema={"type": "integer"},
    )


def test_the_options_are_the_defaults_of_the_spec() -> None:
    spec = send_mail.spec

    assert (spec.id, spec.queue, spec.timeout_seconds) == ("send-mail", "mail", 3)
    assert spec.retry == RetryPolicy(max_attempts=5)
    assert spec.description == ""


def test_types_and_limits_of_params_stand_in_the_schema() -> None:
    schema = send_mail.spec.params_schema

    assert schema["properties"]["to"] == {"$ref": "#/$defs/Address"}
    assert schema["$defs"]["Address"]["required"] == ["street"]
    assert schema["properties"]["size"] == {"type": "integer", "minimum": 1, "maximum": 9}
    assert schema["required"] == ["to", "size"]


def test_params_become_what_their_annotations_say() -> None:
    found = arguments(send_mail, {"to": {"street": "Elm St"}, "size": 3, "on": "2026-03-01T00:00:00Z"})

    assert found == {"to": Address("Elm St", 1), "size": 3, "on": datetime(2026, 3, 1, tzinfo=UTC)}


def test_params_that_are_left_out_have_their_defaults() -> None:
    assert arguments(add, {"a": 1}) == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({}, "missing required field `a`"),
        ({"a": "1"}, r"Expected `int`, got `str` - at `\$.a`"),
        ({"a": 1, "c": 3}, "unknown field `c`"),
        ([1, 2], "Expected `object`, got `array`"),
    ],
)
def test_params_that_do_not_fit_are_an_error_that_names_the_place(params: Any, reason: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=reason):
        arguments(add, params)


def test_rows_come_in_the_form_that_is_asked_for_and_are_no_param() -> None:
    assert (add.spec.rows, load.spec.rows, count.spec.rows) == (None, "dicts", "arrow")
    assert list(load.spec.params_schema["properties"]) == ["table"]
    assert arguments(load, {"table": "t"}, [{"n": 1}])["rows"] == [{"n": 1}]


@pytest.mark.parametrize(
    ("annotation", "schema"),
    [
        (str, {"type": "string"}),
        (dict[str, float], {"type": "object", "additionalProperties": {"type": "number"}}),
        (
            list[Address],
            {
                "type": "array",
                "items": {"$ref": "#/$defs/Address"},
                "$defs": {
                    "Address": {
                        "title": "Address",
                        "type": "object",
                        "properties": {"street": {"type": "string"}, "number": {"type": "integer", "default": 1}},
                        "required": ["street"],
                    }
                },
            },
        ),
        (None, {}),
        (Any, {}),
        (object, {}),
        (pa.Table, {}),
        (list[pa.Table], {}),
    ],
)
def test_what_a_function_returns_is_in_its_spec_as_far_as_its_annotation_says_it(
    annotation: Any, schema: dict[str, Any]
) -> None:
    def answer() -> None: ...

    answer.__annotations__["return"] = annotation

    assert rota.job(answer).spec.result_schema == schema


def test_nothing_is_known_of_what_a_function_returns_that_does_not_say_it() -> None:
    def answer() -> None: ...

    del answer.__annotations__["return"]

    assert rota.job(answer).spec.result_schema == {}


@pytest.mark.parametrize("form", ["dicts", "json", "messagepack"])
def test_the_form_in_which_rows_travel_can_be_chosen(form: RowsForm) -> None:
    def total(rows: list[dict[str, int]]) -> int:
        return sum(row["n"] for row in rows)

    made = rota.job(rows=form)(total)

    assert made.spec.rows == form
    assert made(**arguments(made, {}, [{"n": 1}, {"n": 2}])) == 3


def test_the_chosen_form_holds_where_the_annotation_says_nothing() -> None:
    def total(rows: Any) -> int:
        return int(rows.num_rows)

    assert rota.job(rows="arrow")(total).spec.rows == "arrow"


def test_a_form_that_does_not_go_with_the_handler_is_refused_when_the_job_is_defined() -> None:
    with pytest.raises(TypeError, match=r"count: rows that are a pyarrow\.Table come as arrow, not as json"):
        rota.job(rows="json")(count.handler)
    with pytest.raises(TypeError, match="add: it has no parameter `rows` to take rows as json"):
        rota.job(rows="json")(add.handler)


def test_the_context_tells_of_the_run() -> None:
    found = arguments(load, {"table": "t"}, [])["context"]

    assert (found.job_id, found.attempt, found.delivery) == ("j", 2, 3)
    assert found.rows == ROWS


def test_progress_goes_to_the_worker() -> None:
    told: list[tuple[float, str]] = []
    work = Work(id="j", version=1, attempt=1, details=DETAILS)

    Context(work, 1, lambda percent, message: told.append((percent, message))).progress(40, "half way")

    assert told == [(40, "half way")]


def test_a_job_without_rows_has_none_in_its_context() -> None:
    details = JobDetails(spec="add", queue="default", params=Raw(b"\x80"))

    assert Context(Work(id="j", version=1, attempt=1, details=details), 1, lambda *_: None).rows is None


def test_rows_of_another_type_are_refused_when_the_job_is_defined() -> None:
    def sum_up(rows: dict[str, int]) -> int:
        return sum(rows.values())

    with pytest.raises(
        TypeError, match=r"sum_up: rows must be annotated list\[dict\[str, Any\]\] or pyarrow.Table"
    ):
        rota.job(sum_up)


def test_params_that_have_no_name_are_refused_when_the_job_is_defined() -> None:
    def star(*numbers: int) -> int:
        return sum(numbers)

    def stars(**numbers: int) -> int:
        return sum(numbers.values())

    for function in (star, stars):
        with pytest.raises(TypeError, match="cannot be given by name"):
            rota.job(function)


def test_a_name_that_is_no_token_of_a_subject_is_refused_when_the_job_is_defined() -> None:
    def add_up() -> None: ...

    with pytest.raises(msgspec.ValidationError, match="regex"):
        rota.job(name="add.up")(add_up)
    with pytest.raises(msgspec.ValidationError, match="regex"):
        rota.job(queue="two words")(add_up)
