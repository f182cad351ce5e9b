"""Raw: one file is one row."""

from typing import NoReturn

import pytest

from actors.formats.input import Input
from actors.formats.limits import Limits
from actors.formats.raw import read
from events.batch import Position
from rota.errors import TooLargeError
from rota.options import RawOptions
from tests.contract.formats.case import START, Body


@pytest.mark.parametrize("body", [b"", b"\x00\xff\n"])
def test_the_row_has_bytes_path_size_media_type_and_version(body: bytes) -> None:
    [block] = read(Input(Body(body, "a/photo.jpg", media="image/jpeg")), RawOptions(), START, None)

    assert block.table.to_pylist() == [
        {"bytes": body, "path": "a/photo.jpg", "size": len(body), "media_type": "image/jpeg", "version": None}
    ]


class Unreadable(Body):
    """A file of which is known only what its server says."""

    version = "v1"

    def chunks(self, offset: int = 0) -> NoReturn:
        raise AssertionError(f"it is read from {offset} on")

    def read_at(self, offset: int, size: int) -> NoReturn:
        raise AssertionError(f"{size} bytes from {offset} on are read")


def test_without_its_content_a_file_is_not_read() -> None:
    [block] = read(Input(Unreadable(b"abc", "a.jpg")), RawOptions(content=False), START, None)

    assert block.table.to_pylist() == [
        {"bytes": None, "path": "a.jpg", "size": 3, "media_type": None, "version": "v1"}
    ]


def test_nothing_follows_the_row() -> None:
    assert list(read(Input(Body(b"x")), RawOptions(), Position(row=1), None)) == []


def test_a_file_that_is_too_large_to_hold_is_an_error() -> None:
    with pytest.raises(TooLargeError, match=r"photo\.jpg is larger than 2 bytes.*content = false"):
        list(read(Input(Body(b"xxx", "photo.jpg"), limits=Limits(whole_bytes=2)), RawOptions(), START, None))
