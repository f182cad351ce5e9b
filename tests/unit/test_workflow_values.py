"""What is said of values that are known in part: never more than holds for each of those that they may become."""

from collections.abc import Iterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from jsonschema_rs import Draft202012Validator
from msgspec import Struct

from events.references import Path, Reference, references
from gateway.workflow_links import Use
from gateway.workflow_outputs import TYPES, clash, follow, shape_of, types_of
from gateway.workflow_values import Filled

KEYWORDS = ["anyOf", "oneOf", "prefixItems", "uniqueItems"]
NAMES = st.sampled_from(["a", "b", "c/d", "e~", "0"])


class Case(Struct, frozen=True):
    """A schema, and a value that as a rule fits it."""

    schema: Any
    value: Any


LEAVES = st.one_of(
    st.integers(0, 9).map(lambda value: Case({"type": "integer"}, value)),
    st.integers(0, 9).map(lambda value: Case({"type": "number", "maximum": 9}, value)),
    st.sampled_from(["x", "yy"]).map(lambda value: Case({"enum": ["x", "yy"]}, value)),
    st.sampled_from(["x", "yy"]).map(lambda value: Case({"type": "string", "maxLength": 2}, value)),
    st.sampled_from([None, True]).map(lambda value: Case({"const": value}, value)),
    st.sampled_from([1, "x", None, [1], {"a": {"b": 1}}]).map(lambda value: Case({}, value)),
)


def _objects(cases: st.SearchStrategy[Case]) -> st.SearchStrategy[Case]:
    def make(fields: dict[str, Case], required: set[str], others: Any) -> Case:
        schema = {
            "type": "object",
            "properties": {name: case.schema for name, case in fields.items()},
            "required": sorted(required & fields.keys()),
            "minProperties": len(fields),
        }
        extra = {} if others is None else {"additionalProperties": others}
        return Case(schema | extra, {name: case.value for name, case in fields.items()})

    return st.builds(
        make,
        st.dictionaries(NAMES, cases, max_size=3),
        st.sets(NAMES, max_size=2),
        st.sampled_from([None, False, {}]),
    )


def _lists(cases: st.SearchStrategy[Case]) -> st.SearchStrategy[Case]:
    def make(items: list[Case], keyword: str) -> Case:
        schema: dict[str, Any] = {"type": "array", "minItems": len(items)}
        if keyword == "prefixItems" and items:
            schema |= {"prefixItems": [case.schema for case in items], "items": False}
        elif keyword == "uniqueItems":
            schema["uniqueItems"] = True
        elif items:
            schema["items"] = {keyword: [case.schema for case in items]}
        return Case(schema, [case.value for case in items])

    return st.builds(make, st.lists(cases, max_size=3), st.sampled_from(KEYWORDS))


def _composed(cases: st.SearchStrategy[Case]) -> st.SearchStrategy[Case]:
    def make(case: Case, other: Case, how: str) -> Case:
        schema: Any = {
            "allOf": {"allOf": [case.schema, {}]},
            "anyOf": {"anyOf": [other.schema, case.schema]},
            "oneOf": {"oneOf": [case.schema, other.schema]},
            "not": {"not": other.schema},
            "if": {"if": other.schema, "then": case.schema, "else": {"not": other.schema}},
            "contains": {"contains": other.schema},
            "const": {"const": case.value},
        }[how]
        return Case(schema, case.value)

    hows = ["allOf", "anyOf", "oneOf", "not", "if", "contains", "const"]
    return st.builds(make, cases, cases, st.sampled_from(hows))


CASES = st.recursive(LEAVES, lambda cases: _objects(cases) | _lists(cases) | _composed(cases), max_leaves=8).filter(
    lambda case: Draft202012Validator(case.schema).is_valid(case.value)
)


def places(value: Any, path: Path = ()) -> Iterator[Path]:
    """Yield the paths of all that is in a value."""
    yield path
    if isinstance(value, dict):
        for name, one in value.items():
            yield from places(one, (*path, name))
    elif isinstance(value, list):
        for index, one in enumerate(value):
            yield from places(one, (*path, index))


def masked(value: Any, unknown: set[Path], path: Path = ()) -> Any:
    """Return a value with references in some places."""
    if path in unknown:
        return {"from": "job"}
    if isinstance(value, dict):
        return {name: masked(one, unknown, (*path, name)) for name, one in value.items()}
    if isinstance(value, list):
        return [masked(one, unknown, (*path, index)) for index, one in enumerate(value)]
    return value


@given(CASES, st.data())
def test_nothing_is_said_of_a_value_that_may_fit(case: Case, data: st.DataObject) -> None:
    unknown = data.draw(st.sets(st.sampled_from(list(places(case.value)))))
    value = masked(case.value, unknown)
    uses = [Use(place, found) for place, found in references(value, "/inputs") if isinstance(found, Reference)]

    filled = Filled(value, "/inputs", uses, {})

    assert not [
        error for error in Draft202012Validator(case.schema).iter_errors(filled.value) if filled.stands(error)
    ]


@given(CASES, st.data())
def test_a_path_that_leads_somewhere_in_a_value_leads_to_its_type(case: Case, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(list(places(case.value))))
    value = case.value
    for step in path:
        value = value[step]

    found = follow(shape_of(case.schema), path)

    types = types_of(found)
    assert types is None or types & {TYPES[type(value)], "number" if type(value) is int else ""}
    assert clash(found, shape_of({"type": TYPES[type(value)]})) is None
