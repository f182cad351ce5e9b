"""Types have the names of the options, and messages stay short."""

from datetime import date

import pyarrow as pa
import pytest

from actors.formats.types import SHOWN_CHARACTERS, arrow_type, name_of, shown, text_of


@pytest.mark.parametrize(
    "name",
    ["int8", "uint64", "string", "date", "timestamp", "timestamp[Europe/Berlin]", "decimal(12,2)", "decimal(76,5)"],
)
def test_a_type_has_the_name_that_it_was_asked_by(name: str) -> None:
    assert name_of(arrow_type(name)) == name


@pytest.mark.parametrize("name", ["text", "timestamp[Nowhere/At]", "decimal(77,0)", "decimal(2,3)"])
def test_an_unknown_type_is_an_error(name: str) -> None:
    with pytest.raises(ValueError, match="There is no"):
        arrow_type(name)


@pytest.mark.parametrize(
    "value", ["x" * 1000, list(range(1000)), {str(n): n for n in range(1000)}, [10**5000], b"x" * 999]
)
def test_what_is_shown_is_short(value: object) -> None:
    assert 0 < len(shown(value)) <= SHOWN_CHARACTERS
    assert len(text_of(value)) <= SHOWN_CHARACTERS


def test_dates_and_nested_types_are_shown_as_their_readers_know_them() -> None:
    assert shown(date(2026, 5, 1)) == "2026-05-01"
    assert name_of(pa.struct([("a", pa.int64())])) == "record"
    assert name_of(pa.list_(pa.int64())) == "list"
