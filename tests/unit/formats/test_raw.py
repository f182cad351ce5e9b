"""Raw: one file is one row."""

import pytest

from actors.formats.input import Input
from actors.formats.limits import Limits
from actors.formats.raw import read
from events.batch import Position
from rota.errors import TooLargeError
from rota.options import RawOptions
from tests.contract.formats.case import START, Body


@pytest.mark.parametrize("body", [b"", b"\x00\xff\n"])
def test_the_row_has_bytes_path_size_and_media_type(body: bytes) -> None:
    [block] = read(Input(Body(body, "a/photo.jpg", media="image/jpeg")), RawOptions(), START, None)

    assert block.table.to_pylist() == [
        {"bytes": body, "path": "a/photo.jpg", "size": len(body), "media_type": "image/jpeg"}
    ]


def test_nothing_follows_the_row() -> None:
    assert list(read(Input(Body(b"x")), RawOptions(), Position(row=1), None)) == []


def test_a_file_that_is_too_large_to_hold_is_an_error() -> None:
    with pytest.raises(TooLargeError, match=r"photo\.jpg is larger than 2 bytes"):
        list(read(Input(Body(b"xxx", "photo.jpg"), limits=Limits(whole_bytes=2)), RawOptions(), START, None))
