import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from rota import export
from rota.errors import InvalidRequestError
from rota.export import exported

AT = datetime(2026, 1, 31, 12, 0, 0, 123456, tzinfo=UTC)
ORIGIN = {"command_id": "5", "caller": "http:127.0.0.1", "correlation_id": "a"}


def event(sequence: int, **fields: Any) -> dict[str, Any]:
    return {"sequence": sequence, "type": "job.queued", "id": f"a-{sequence}", "version": 1, "at": AT, **fields}


def test_ndjson_has_one_event_a_line(tmp_path: Path) -> None:
    path = tmp_path / "events.ndjson"
    with exported(path) as sink:
        sink.write([event(1, attempt=1), event(2)])
        sink.write([event(3)])
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["sequence"] for line in lines] == [1, 2, 3]
    assert lines[0]["at"] == "2026-01-31T12:00:00.123456Z"


def test_parquet_has_one_event_a_row(tmp_path: Path) -> None:
    path = tmp_path / "events.parquet"
    with exported(path) as sink:
        sink.write([event(1, attempt=1, origin=ORIGIN, details={"params": {"é": b"\0"}}), event(2)])
    first, second = parquet.read_table(path).to_pylist()
    assert first | {"data": json.loads(first["data"])} == {
        "sequence": 1,
        "time": AT,
        "type": "job.queued",
        "kind": "job",
        "id": "a-1",
        "version": 1,
        "command_id": "5",
        "caller": "http:127.0.0.1",
        "causation_id": None,
        "correlation_id": "a",
        "data": {"attempt": 1, "details": {"params": {"é": "AA=="}}},
    }
    assert (second["caller"], second["data"]) == (None, "{}")


@pytest.mark.parametrize(("limit", "value"), [("GROUP_ROWS", 10), ("GROUP_BYTES", 100)])
def test_parquet_is_written_in_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: int
) -> None:
    monkeypatch.setattr(export, limit, value)
    path = tmp_path / "events.parquet"
    with exported(path) as sink:
        sink.write([event(number, text="x" * 10) for number in range(1, 36)])
    file = parquet.ParquetFile(path)
    assert file.metadata.num_row_groups >= 4
    assert file.read().column("sequence").to_pylist() == list(range(1, 36))


@pytest.mark.parametrize("ending", ["ndjson", "parquet"])
def test_without_events_there_is_a_file_without_rows(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"events.{ending}"
    with exported(path):
        pass
    assert (path.read_bytes() == b"") if ending == "ndjson" else (parquet.read_table(path).num_rows == 0)


@pytest.mark.parametrize("ending", ["ndjson", "parquet"])
def test_a_file_is_whole_or_as_it_was(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"events.{ending}"
    path.write_text("before")

    def begin() -> None:
        with exported(path) as sink:
            sink.write([event(1)])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        begin()
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    assert path.read_text() == "before"


def test_a_file_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(InvalidRequestError, match="No such file or directory"),
        exported(tmp_path / "no" / "a.ndjson"),
    ):
        pass
