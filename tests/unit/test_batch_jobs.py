"""The jobs that are made of a file's rows."""

import msgspec
import pyarrow as pa

from actors.batch_jobs import MAX_COLUMNS_BYTES, BatchJobs, named_columns
from actors.cutter import Cutter, JobLimits
from actors.formats.block import Block
from events.batch import BatchDetails, Position
from events.batch_state import FileState


def test_a_job_knows_where_its_rows_came_from() -> None:
    details = BatchDetails("add", "default", ("a.csv",), 2, 10, msgspec.Raw(b"\x80"), form="json")
    jobs = BatchJobs("b", details, 3, FileState("a.csv"), version="v1", size=40)
    blocks = [Block(Position(), pa.table({"n": [1, 2, 3], "m": ["x", "y", None]}))]

    slices = [one for some in Cutter(JobLimits(2), form="json").cut(blocks) for one in some.slices]
    made = [jobs.make(one) for one in slices]

    rows = [job.details.rows for job in made]
    assert [job.id for job in made] == ["b_3-0", "b_3-1"]
    assert [row and (row.first_row, row.count, row.payload.sha256) for row in rows] == [
        (0, 2, slices[0].sha256),
        (2, 1, slices[1].sha256),
    ]
    assert rows[0]
    assert (rows[0].form, rows[0].version, rows[0].size) == ("json", "v1", 40)
    assert rows[0].columns == {"n": "int64", "m": "string"}


def test_columns_that_are_very_many_are_left_out() -> None:
    names = [f"column_{index:03}" for index in range(1000)]
    most = next(
        count for count in range(1000) if not named_columns(pa.schema([(n, pa.int8()) for n in names[: count + 1]]))
    )

    named = named_columns(pa.schema([(name, pa.int8()) for name in names[:most]]))

    assert len(named) == most
    assert (
        MAX_COLUMNS_BYTES - 30
        < len(msgspec.json.encode(named).decode().replace(":", ": ").replace(",", ", "))
        <= MAX_COLUMNS_BYTES
    )
