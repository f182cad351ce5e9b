"""Selection: which files of a tree a request means, in which order, and never one outside of it."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.local import LocalFileSystem

from actors.sources.errors import MomentaryError, SourceError
from actors.sources.walk import walk
from rota.errors import NotFoundError, TooLargeError
from rota.options import Selection

FILES = LocalFileSystem(skip_instance_cache=True)
TREE = ["a.csv", "b.json", "sub/c.csv", "sub/deep/d.csv", "sub.csv", ".hidden/e.csv", "sub/.f.csv", "x[1].csv"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in TREE:
        path = tmp_path / "root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.csv").write_text("secret")
    return tmp_path / "root"


def selected(root: Path, *entries: str, limit: int = 1000, **selection: Any) -> list[str]:
    return list(walk(FILES, str(root), entries, Selection(**selection), limit))


@pytest.mark.parametrize(
    ("entries", "selection", "expected"),
    [
        (["a.csv"], {}, ["a.csv"]),
        (["not there.csv"], {}, ["not there.csv"]),
        (["b.json", "a.csv", "b.json"], {}, ["b.json", "a.csv"]),
        (["sub/"], {}, ["sub/c.csv"]),
        (["sub/"], {"recursive": True}, ["sub/c.csv", "sub/deep/d.csv"]),
        (["sub/"], {"hidden": True}, ["sub/.f.csv", "sub/c.csv"]),
        (["/sub/"], {}, ["/sub/c.csv"]),
        (["*.csv"], {}, ["a.csv", "sub.csv", "x[1].csv"]),
        (["**/*.csv"], {}, ["a.csv", "sub.csv", "sub/c.csv", "sub/deep/d.csv", "x[1].csv"]),
        (["**"], {}, ["a.csv", "b.json", "sub.csv", "sub/c.csv", "sub/deep/d.csv", "x[1].csv"]),
        (["s*/"], {}, ["sub/c.csv"]),
        (["s*/"], {"recursive": True}, ["sub/c.csv", "sub/deep/d.csv"]),
        (["sub/*/d.csv"], {}, ["sub/deep/d.csv"]),
        (["?.csv", "[b].json"], {}, ["a.csv", "b.json"]),
        ([".hidden/"], {}, [".hidden/e.csv"]),
        ([".*/*"], {}, [".hidden/e.csv"]),
        (["x[1].csv"], {}, ["x[1].csv"]),
        (["nothing/*.csv", "z*"], {}, []),
        (["**"], {"include": ["*.csv"], "exclude": ["deep/", "x*"]}, ["a.csv", "sub.csv", "sub/c.csv"]),
        (["**"], {"include": ["sub/*"]}, ["sub/c.csv"]),
        (["**"], {"include": ["/a*", "deep/"]}, ["a.csv", "sub/deep/d.csv"]),
        (["**"], {"exclude": ["/*.csv", "sub/deep/**"]}, ["b.json", "sub/c.csv"]),
        (["a.csv", "sub/"], {"exclude": ["*"]}, ["a.csv"]),
    ],
)
def test_entries_stand_for_files(
    root: Path, entries: Sequence[str], selection: dict[str, Any], expected: list[str]
) -> None:
    assert selected(root, *entries, **selection) == expected


def test_paths_come_in_the_order_of_their_texts(root: Path) -> None:
    found = selected(root, "**", hidden=True)

    assert found == sorted(TREE)


def test_a_directory_that_is_not_there_is_named(root: Path) -> None:
    with pytest.raises(NotFoundError, match="missing/ is not there"):
        selected(root, "missing/")


def test_more_files_than_the_limit_are_an_error(root: Path) -> None:
    with pytest.raises(TooLargeError, match="More than 2 files are selected"):
        selected(root, "**", limit=2)


def test_a_directory_that_cannot_be_listed_for_a_moment_is_asked_again(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.sources.file.TRY_AGAIN_SECONDS", 0)
    busy = iter([True, True])

    class Busy(LocalFileSystem):  # type: ignore[misc] # fsspec has no types
        def ls(self, path: str, detail: bool = False, **options: Any) -> list[Any]:  # noqa: FBT001, FBT002 - fsspec's
            if next(busy, False):
                raise MomentaryError("The server is busy")
            return super().ls(path, detail, **options)  # type: ignore[no-any-return]

    found = walk(Busy(skip_instance_cache=True), str(root), ["sub/"], Selection())

    assert list(found) == ["sub/c.csv"]


def test_a_name_that_events_cannot_hold_is_an_error_that_shows_it(root: Path) -> None:
    (root / os.fsdecode(b"caf\xe9.csv")).touch()

    with pytest.raises(SourceError, match=r"^caf\\xe9\.csv is a name that is no UTF-8"):
        selected(root, "**")

    assert selected(root, "**", exclude=["caf*"])


def test_links_lead_neither_out_of_the_root_nor_in_circles(root: Path) -> None:
    (root / "out").symlink_to(root.parent / "outside")
    (root / "secret.csv").symlink_to(root.parent / "outside" / "secret.csv")
    (root / "sub" / "up").symlink_to(root)
    (root / "sub" / "self").symlink_to(root / "sub")
    (root / "broken").symlink_to(root / "nowhere")
    (root / "link.csv").symlink_to(root / "a.csv")
    (root / "also").symlink_to(root / "sub" / "deep")

    found = selected(root, "**/*.csv")

    assert found == ["a.csv", "also/d.csv", "link.csv", "sub.csv", "sub/c.csv", "sub/deep/d.csv", "x[1].csv"]


def test_links_among_directories_do_not_multiply(root: Path) -> None:
    for level in range(12):
        (root / f"level{level}").mkdir()
        (root / f"level{level}" / "file.csv").touch()
        for name in "ab" if level else "":
            (root / f"level{level - 1}" / name).symlink_to(root / f"level{level}")

    assert len(selected(root, "**")) < 200
