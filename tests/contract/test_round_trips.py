"""Any rows that are written in a format come back, in any batches and however the bytes arrive."""

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actors.cutter import Cutter, JobLimits
from actors.formats.input import Input
from actors.formats.registry import read
from tests.contract.formats.case import START, Body, Case, blocks_of, rows_in
from tests.contract.test_formats import TABLES

TEXT = st.text(
    st.characters(
        codec="utf-8", exclude_categories=("Cs", "Cc", "Cn", "Zl", "Zp"), exclude_characters="\ufeff\ufffe"
    ),
    max_size=20,
).map(lambda text: text and f"§{text}")
"""Texts that are no numbers or dates: some formats have no other sign of a text."""
ROW = st.builds(
    lambda id_, name, price, paid: {"id": id_, "name": name, "price": price, "paid": paid},
    st.integers(-(2**53), 2**53),
    TEXT,
    st.floats(allow_nan=False, allow_infinity=False, width=32).map(float),
    st.booleans(),
)


def in_jobs(case: Case, body: bytes, rows_per_job: int, piece: int) -> list[dict[str, Any]]:
    blocks = read(case.format, Input(Body(body, piece=piece)), case.options, START)
    cuts = Cutter(JobLimits(rows_per_job)).cut(blocks)
    tables = [pa.ipc.open_stream(one.body).read_all() for some in cuts for one in some.slices]
    assert all(table.num_rows == rows_per_job for table in tables[:-1])
    return [row for table in tables for row in table.to_pylist()]


@pytest.mark.parametrize("case", TABLES, ids=lambda case: case.format)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(ROW, min_size=1, max_size=12), st.integers(1, 13), st.sampled_from([1, 3, 64, 1 << 20]))
def test_rows_come_back_in_any_batches(
    case: Case, rows: list[dict[str, Any]], rows_per_job: int, piece: int
) -> None:
    body = case.write(rows)

    assert in_jobs(case, body, rows_per_job, piece) == case.expected(rows)


@pytest.mark.parametrize("case", TABLES, ids=lambda case: case.format)
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(ROW, min_size=1, max_size=12))
def test_what_is_read_again_is_the_same(case: Case, rows: list[dict[str, Any]]) -> None:
    body = case.write(rows)
    first, second = blocks_of(case, body), blocks_of(case, body, piece=5)

    assert [block.table.schema for block in first] == [block.table.schema for block in second]
    assert rows_in(first) == rows_in(second)
