"""The sizes of rows: from their values alone."""

import pyarrow as pa
import pytest

from actors.row_sizes import RowSizes, row_bits

CASES: list[tuple[pa.Array, list[int]]] = [
    (pa.array([1, None, 3], pa.int16()), [16, 0, 16]),
    (pa.array([True, None, False]), [1, 0, 1]),
    (pa.array([1.5, 2.5, None]), [64, 64, 0]),
    (pa.array(["", "ä", None]), [0, 16, 0]),
    (pa.array([b"abc", b"", None], pa.large_binary()), [24, 0, 0]),
    (pa.array([b"abcd", None, b"efgh"], pa.binary(4)), [32, 0, 32]),
    (pa.array(["a", "bc", None], pa.string_view()), [8, 16, 0]),
    (pa.nulls(3), [0, 0, 0]),
    (pa.array([[1, None], [], None], pa.list_(pa.int8())), [8, 0, 0]),
    (pa.array([["a", "bc"], None, ["d"]], pa.large_list(pa.string())), [24, 0, 8]),
    (pa.array([[1, 2], None, [3, None]], pa.list_(pa.int8(), 2)), [16, 0, 8]),
    (pa.array([[1, 2], None, [3]], pa.list_view(pa.int8())), [16, 0, 8]),
    (pa.array([{"a": 1, "b": "x"}, None, {"a": None, "b": "yz"}]), [72, 0, 16]),
    (pa.array([[{"a": "x"}], [], [{"a": "yz"}, None]]), [8, 0, 16]),
    (pa.array([[("k", 1)], None, [("l", None), ("m", 2)]], pa.map_(pa.string(), pa.int8())), [16, 0, 24]),
    (pa.array(["abc", None, "abc"]).dictionary_encode(), [24, 0, 24]),
    (pa.array([None, None, None], pa.string()).dictionary_encode(), [0, 0, 0]),
    (pa.array([b"a" * 16, None, b"b" * 16], pa.uuid()), [128, 0, 128]),
    (pa.RunEndEncodedArray.from_arrays([2, 3], ["ab", "c"]), [16, 16, 8]),
    (pa.array([[], None, []], pa.list_(pa.null())), [0, 0, 0]),
    (pa.array([{}, None, {}], pa.struct([])), [0, 0, 0]),
]


@pytest.mark.parametrize(("column", "bits"), CASES, ids=lambda value: str(getattr(value, "type", "")))
def test_values_count_as_arrow_holds_them_and_null_counts_nothing(column: pa.Array, bits: list[int]) -> None:
    assert row_bits(pa.table({"a": column})).tolist() == bits


@pytest.mark.parametrize(("column", "bits"), CASES, ids=lambda value: str(getattr(value, "type", "")))
def test_a_piece_of_a_table_has_the_sizes_that_it_has_in_the_whole(column: pa.Array, bits: list[int]) -> None:
    whole = pa.table({"a": pa.chunked_array([column, column]), "b": [True] * 6})

    assert row_bits(whole.slice(1, 4)).tolist() == [size + 1 for size in [*bits, *bits][1:5]]


@pytest.mark.parametrize(("column", "bits"), CASES, ids=lambda value: str(getattr(value, "type", "")))
def test_what_rows_have_at_most_is_never_less_than_what_they_have(column: pa.Array, bits: list[int]) -> None:
    sizes = RowSizes(pa.table({"a": column}))

    assert sizes.most >= sum(bits)
    assert sizes.sum(1, 2) == sum(bits[1:])


def test_as_many_rows_fit_as_have_no_more_than_the_room() -> None:
    sizes = RowSizes(pa.table({"a": ["ab", "", "c", "def"]}))

    assert [sizes.fitting(0, 4, 8 * room) for room in (0, 1, 2, 3, 5, 6)] == [0, 0, 2, 3, 3, 4]
    assert sizes.fitting(1, 2, 800) == 2
    assert sizes.fitting(2, 2, -1) == 0


def test_a_table_without_columns_has_rows_without_size() -> None:
    assert row_bits(pa.table({"a": [1, 2]}).select([])).tolist() == [0, 0]
