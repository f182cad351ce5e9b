"""References in the inputs of a workflow's job: what they may look like, and what stands for them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.references import (
    MAX_DEPTH,
    InvalidReferenceError,
    MissingOutputError,
    Reference,
    is_too_deep,
    parse,
    parse_path,
    pick,
    references,
    resolve,
    show,
)


@pytest.mark.parametrize(
    ("value", "reference"),
    [
        ({"from": "clean"}, Reference("clean")),
        ({"from": "clean", "output": ""}, Reference("clean")),
        ({"from": "clean", "output": "stats.rows"}, Reference("clean", ("stats", "rows"))),
        ({"from": "clean", "output": ["a.b", 0]}, Reference("clean", ("a.b", 0))),
        ({"from": "clean", "output": []}, Reference("clean")),
        ({"from": "$params", "output": "day"}, Reference("$params", ("day",))),
        ({"from": "$item"}, Reference("$item")),
        ({"from": "$index"}, Reference("$index")),
        ({"from": "$literal", "value": {"from": "x"}}, Reference("$literal")),
    ],
)
def test_an_object_with_from_is_a_reference(value: dict[str, Any], reference: Reference) -> None:
    assert parse(value) == reference


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ({"from": 1}, "`from` names a job"),
        ({"from": None}, "`from` names a job"),
        ({"from": "$items"}, "There is no $items: only $params, $item, $index, $literal"),
        ({"from": "a", "outputs": "x"}, "has no field 'outputs'"),
        ({"from": "a", "value": 1}, "has no field 'value'"),
        ({"from": "a", 7: 1, "x": 2}, "has no field 7"),
        ({"from": "$literal", "value": 1, "output": "x"}, "has no field 'output'"),
        ({"from": "$literal"}, "$literal needs a `value`"),
        ({"from": "a", "output": 3}, "`output` is a path"),
        ({"from": "a", "output": None}, "`output` is a path"),
        ({"from": "a", "output": ["x", True]}, "`output` is a path"),
        ({"from": "a", "output": ["x", 1.5]}, "`output` is a path"),
        ({"from": "a", "output": "x..y"}, "'x..y' has an empty part: give it as a list"),
        ({"from": "a", "output": ".x"}, "has an empty part"),
    ],
)
def test_what_is_no_reference_is_refused_with_the_reason(value: dict[Any, Any], why: str) -> None:
    with pytest.raises(InvalidReferenceError) as refused:
        parse(value)

    assert why in str(refused.value)


def test_all_references_are_found_with_their_places() -> None:
    value = {
        "a": {"from": "x"},
        "b": [1, {"c/d~": {"from": "y", "output": "z"}}],
        "literal": {"from": "$literal", "value": {"from": "none of its own"}},
        "from_": {"from_": "x"},
    }

    assert list(references(value)) == [
        ("/a", Reference("x")),
        ("/b/1/c~1d~0", Reference("y", ("z",))),
        ("/literal", Reference("$literal")),
    ]


def test_a_reference_in_the_wrong_form_is_found_with_its_fault() -> None:
    [(place, fault)] = references([{"from": 1}], "/for_each")

    assert place == "/for_each/0"
    assert isinstance(fault, InvalidReferenceError)


def test_values_take_the_places_of_references() -> None:
    outputs = {"x": {"rows": [7, 8]}, "$item": "i"}
    value = {"a": {"from": "x", "output": "rows.1"}, "b": [{"from": "$item"}, 1, "from"], "c": {"d": None}}

    assert resolve(value, lambda one: pick(outputs[one.source], one.path)) == {
        "a": 8,
        "b": ["i", 1, "from"],
        "c": {"d": None},
    }


def test_a_literal_is_taken_as_it_is() -> None:
    value = {"from": "$literal", "value": [{"from": "x"}]}

    assert resolve(value, lambda _: pytest.fail("nothing is to be looked up")) == [{"from": "x"}]


def test_a_value_that_took_the_place_of_a_reference_is_not_searched_for_others() -> None:
    assert resolve({"from": "x"}, lambda _: {"from": "y"}) == {"from": "y"}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("", {"rows": [{"n": 1}, None], "1": "one", "a.b": 2, "none": None}),
        ("rows.0.n", 1),
        ("rows.1", None),
        ("none", None),
        ("1", "one"),
        ([1], "one"),
        (["a.b"], 2),
        (["rows", 0], {"n": 1}),
    ],
)
def test_a_path_leads_into_objects_and_lists(path: Any, found: Any) -> None:
    value = {"rows": [{"n": 1}, None], "1": "one", "a.b": 2, "none": None}

    assert pick(value, parse_path(path)) == found


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("x", "x is missing: the object there has rows, empty"),
        ("rows.2", "rows.2 is missing: the list there has 2 items"),
        (["rows", -1], "rows.-1 is missing: the list there has 2 items"),
        ("rows.n", "rows.n is missing: the list there has 2 items"),
        ("rows.\u0661", "rows.\u0661 is missing: the list there has 2 items"),
        (f"rows.{'9' * 5000}", "is missing: the list there has 2 items"),
        ("rows.0.n.m", "rows.0.n.m is missing: there is a int"),
        ("empty.x", "empty.x is missing: the object there has no fields"),
    ],
)
def test_a_path_that_leads_nowhere_says_where_it_ends(path: Any, why: str) -> None:
    with pytest.raises(MissingOutputError) as missing:
        pick({"rows": [{"n": 1}, None], "empty": {}}, parse_path(path))

    assert why in str(missing.value)


def test_not_all_of_what_is_there_instead_is_shown() -> None:
    with pytest.raises(MissingOutputError) as missing:
        pick({f"{number}{'x' * 100}": 1 for number in range(100)}, ("a",))

    assert len(str(missing.value)) < 500


values = st.recursive(
    st.none() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)


@given(values)
def test_a_value_without_references_stays_as_it_is(value: Any) -> None:
    assert list(references(value)) == []
    assert resolve(value, lambda _: pytest.fail("there is no reference")) == value


@given(values)
def test_everything_can_be_said_as_a_literal(value: Any) -> None:
    assert resolve([{"from": "$literal", "value": value}], lambda _: 0) == [value]


@given(values, st.data())
def test_a_path_to_any_part_of_a_value_leads_there(value: Any, data: st.DataObject) -> None:
    path: list[str | int] = []
    part = value
    while part and isinstance(part, dict | list):
        key = data.draw(st.sampled_from(list(part) if isinstance(part, dict) else range(len(part))))
        path.append(key)
        part = part[key]

    assert pick(value, parse_path(path)) == part
    if all(isinstance(one, int) or ("." not in one and one) for one in path):
        assert pick(value, parse_path(show(tuple(path)))) == part


def test_how_deep_values_may_be_nested_is_seen() -> None:
    value: Any = 1
    for _ in range(MAX_DEPTH):
        value = [value]
    assert not is_too_deep(value)
    assert is_too_deep({"more": value})
