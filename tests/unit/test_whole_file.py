import os
import stat
from pathlib import Path
from threading import Thread

import pytest

from rota.errors import InvalidRequestError
from rota.whole_file import whole_file


def write(path: Path, data: bytes, error: BaseException | None = None) -> None:
    with whole_file(path) as file:
        file.write(data)
        if error:
            raise error


def test_a_regular_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"before")
    with pytest.raises(KeyboardInterrupt):
        write(path, b"after", KeyboardInterrupt())
    assert path.read_bytes() == b"before"
    write(path, b"after")
    assert {one.name: one.read_bytes() for one in tmp_path.iterdir()} == {"a": b"after"}


@pytest.mark.parametrize("there", [False, True])
def test_what_a_link_leads_to_is_written_and_the_link_stays(tmp_path: Path, *, there: bool) -> None:
    (tmp_path / "far").mkdir()
    target, link = tmp_path / "far" / "a", tmp_path / "link"
    if there:
        target.write_bytes(b"before")
    link.symlink_to("far/a")
    write(link, b"after")
    assert link.is_symlink()
    assert {one.name: one.read_bytes() for one in target.parent.iterdir()} == {"a": b"after"}


def test_a_pipe_is_written_into(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    found: list[bytes] = []
    reading = Thread(target=lambda: found.append(pipe.read_bytes()))
    reading.start()
    write(pipe, b"rows")
    reading.join()
    assert found == [b"rows"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_device_stays_a_device(tmp_path: Path) -> None:
    link = tmp_path / "null"
    link.symlink_to(os.devnull)
    write(link, b"rows")
    assert link.is_symlink()
    assert stat.S_ISCHR(link.stat().st_mode)


@pytest.mark.parametrize("name", ["", "no/a"])
def test_what_cannot_be_written_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidRequestError, match="cannot be written"):
        write(tmp_path / name, b"")
