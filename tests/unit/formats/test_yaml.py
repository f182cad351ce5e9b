"""YAML: what rows and values are, and that aliases, tags, depth and size are bounded."""

import time
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from yaml._yaml import CParser

from actors.formats.block import BadRowError, Block
from actors.formats.input import Input
from actors.formats.limits import Limits
from actors.formats.yaml import read
from actors.formats.yaml_rows import rows_in
from actors.formats.yaml_scalars import plain_value
from events.batch import Position
from rota.errors import TooLargeError
from rota.options import YamlOptions
from tests.contract.formats.case import Body

START = Position()


def blocks(body: bytes | str, limits: Limits | None = None) -> list[Block]:
    body = body.encode() if isinstance(body, str) else body
    return list(read(Input(Body(body, "o.yaml"), limits=limits), YamlOptions(), START))


def rows(body: bytes | str, limits: Limits | None = None) -> list[dict[str, Any]]:
    return [row for block in blocks(body, limits) for row in block.table.to_pylist()]


def faults(body: bytes | str) -> list[str]:
    return [fault.message for block in blocks(body) for fault in block.bad]


def test_documents_and_the_elements_of_lists_are_rows() -> None:
    assert rows("- {a: 1}\n- {a: 2}\n---\na: 3\n---\n---\n[{a: 4}]\n...\n") == [
        {"a": 1},
        {"a": 2},
        {"a": 3},
        {"a": 4},
    ]


def test_what_is_no_mapping_is_a_row_with_a_value() -> None:
    assert rows("[1, ~]") == [{"value": 1}, {"value": None}]


@pytest.mark.parametrize("body", ["", "# nothing\n", "---\n", "---\n---\n", "[]"])
def test_a_document_without_a_value_is_no_row(body: str) -> None:
    assert rows(body) == []


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"), ("on", "on"), ("Yes", "Yes"), ("true", True), ("FALSE", False), ("~", None), ("null", None),
        ("12", 12), ("-7", -7), ("007", "007"), ("0o17", 15), ("0xff", 255), ("1_000", "1_000"), ("12:30", "12:30"),
        ("1.5", 1.5), ("1e3", 1000.0), (".5", 0.5), ("-.inf", float("-inf")), ("1.2.3", "1.2.3"),
        ("2026-05-01", date(2026, 5, 1)), ("2026-02-30", "2026-02-30"),
        ("2026-05-01T09:30:00Z", datetime(2026, 5, 1, 9, 30, tzinfo=UTC)),
        ("2026-05-01 09:30:00.25 +02:00", datetime(2026, 5, 1, 9, 30, 0, 250_000, timezone(timedelta(hours=2)))),
        ("2026-05-01T09:30:00.123456789", "2026-05-01T09:30:00.123456789"),
        ("<<", "<<"), ("=", "="),
    ],
)  # fmt: skip
def test_a_plain_scalar_is_what_the_core_schema_says_and_a_text_where_that_is_doubtful(
    text: str, value: Any
) -> None:
    assert plain_value(text) == value
    assert type(plain_value(text)) is type(value)


def test_known_tags_say_the_type() -> None:
    body = (
        '{a: !!str 1, b: !!int "2", c: !!float 3, d: !!bool yes, e: !!binary aGk=, f: !!set {x, y}, g: !!null ""}'
    )

    assert rows(f"[{body}]") == [{"a": "1", "b": 2, "c": 3.0, "d": True, "e": b"hi", "f": ["x", "y"], "g": None}]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (
            "!!python/object/apply:os.system [ls]",
            "the tag tag:yaml.org,2002:python/object/apply:os.system is not known",
        ),
        ("{a: !mine 1}", "the tag !mine is not known"),
        ("{a: !!int x}", "'x' is no value of its tag"),
        ("{a: !!binary ü}", "is no value of its tag"),
        ("{a: 1, a: 2}", "the key a comes twice in a mapping"),
        ('{1: 1, "1": 2}', "the key 1 comes twice in a mapping"),
        ("{[1]: 2}", "a key is a list or a mapping"),
        ("{a: *b}", r"the alias \*b stands for something that is not in the document before"),
        ("&b [*b]", r"the alias \*b stands for itself"),
        ("{<<: 1}", "<< stands for something that is no mapping"),
        (f"{{a: {'9' * 5000}}}", "more than 4000 digits"),
    ],
)
def test_a_row_that_cannot_be_read_is_bad_and_reading_goes_on(row: str, says: str) -> None:
    [block] = blocks(f"- {{z: 1}}\n- {row}\n- {{z: 3}}\n")

    assert block.table.to_pylist() == [{"z": 1}, {"z": 3}]
    [fault] = block.bad
    assert (fault.line, fault.row) == (2, 1)
    with pytest.raises(ValueError, match=f"o.yaml, line 2: .*{says}"):
        raise ValueError(fault.message)


def test_bad_rows_of_both_kinds_are_in_order() -> None:
    [block] = blocks("- {a: 1}\n- {a: x}\n- {a: 1, a: 1}\n- {a: y}\n- {a: 2}\n")

    assert [(fault.line, fault.row) for fault in block.bad] == [(2, 1), (3, 1), (4, 1)]
    assert block.table.to_pylist() == [{"a": 1}, {"a": 2}]


def test_aliases_repeat_values_and_merges_give_defaults() -> None:
    body = "- &x {a: 1, b: 2}\n- {<<: *x, b: 3}\n- {<<: [{b: 5}, *x]}\n- *x\n"

    assert rows(body) == [{"a": 1, "b": 2}, {"a": 1, "b": 3}, {"a": 1, "b": 5}, {"a": 1, "b": 2}]


def test_keys_are_texts() -> None:
    assert rows("[{1: a, true: b, 2026-05-01: c}]") == [{"1": "a", "true": "b", "2026-05-01": "c"}]


LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
DEEP_BY_ALIASES = "".join(f"- &a{n} [*a{n - 1}]\n" if n else "- &a0 [1]\n" for n in range(100))
SMALL = Limits(row_bytes=500_000, columns=100)


@pytest.mark.parametrize(
    "body",
    [
        LAUGHS, DEEP_BY_ALIASES, "[" * 5000, "{a: " * 5000, "- " * 5000, "? " * 5000,
        "a: " + "x" * 1_200_000, "'" + "x" * 1_200_000, "# " + "x" * 1_200_000, "- [" + "x, " * 400_000,
        "{" + "".join(f"k{n}: 1, " for n in range(200)) + "}",
        "- &s " + "x" * 100_000 + "\n- [" + "*s, " * 100 + "]\n",
        "- [" + "".join(f"&a{n} {'x' * 20}, " for n in range(25_000)) + "]\n",
    ],
    ids=[
        "laughs", "deep by aliases", "lists", "mappings", "blocks", "keys", "text", "quotes", "comment",
        "endless list", "many keys", "repeated text", "anchors",
    ],
)  # fmt: skip
def test_a_hostile_document_costs_little(body: str) -> None:
    begin = time.monotonic()
    with pytest.raises((TooLargeError, BadRowError)):
        list(read(Input(Body(body.encode()), limits=SMALL), YamlOptions(), START))

    assert time.monotonic() - begin < 10


VALUE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=8),
    lambda inner: st.lists(inner, max_size=2),
    max_leaves=3,
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text("abc", min_size=1, max_size=2), VALUE, min_size=1, max_size=4))
def test_what_pyyaml_writes_comes_back_the_same(row: dict[str, Any]) -> None:
    body = yaml.dump([row], Dumper=yaml.CSafeDumper, encoding="utf-8", allow_unicode=True)

    assert [value for piece in rows_in("o", CParser(body), Limits(), lambda: False) for value in piece.values] == [
        row
    ]


SAMPLE = (
    b"- &x {a: 1, b: [x, 'y']}\n- <<: *x\n  c: \"z\\n\"\n- !!set {a, b}\n--- \n# c\nd: |\n  text\n  more\n...\n"
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(SAMPLE) - 1), st.integers(0, 255)), min_size=1, max_size=3))
def test_other_bytes_are_rows_or_a_clear_error(changes: list[tuple[int, int]]) -> None:
    body = bytearray(SAMPLE)
    for at, byte in changes:
        body[at] = byte
    try:
        blocks(bytes(body))
    except (BadRowError, TooLargeError) as error:
        assert "o.yaml" in str(error)  # noqa: PT017 - it need not fail


def test_a_cut_document_has_the_rows_before_or_an_error() -> None:
    body = b"[{a: 1}, {a: 2}, {a: 3}]"
    for end in range(1, len(body)):
        with pytest.raises(BadRowError) as caught:
            rows(body[:end])
        assert caught.value.fault.row == body[:end].count(b"}")


def test_reading_goes_on_at_each_block() -> None:
    body = "".join(f"- {{n: {n}}}\n" if n % 1000 else "- {n: 1, n: 2}\n" for n in range(20_000))
    file = Input(Body(body.encode()))
    all_ = list(read(file, YamlOptions(), START))

    assert [block.start for block in all_] == [START, Position(row=16_367, bad=17, line=16_385)]
    for index, block in enumerate(all_):
        again = list(read(file, YamlOptions(), block.start, block.table.schema))
        assert [found.start for found in again] == [found.start for found in all_[index:]]
        assert [found.bad for found in again] == [found.bad for found in all_[index:]]
        assert all(a.table.equals(b.table) for a, b in zip(again, all_[index:], strict=True))
