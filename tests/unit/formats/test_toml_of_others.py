"""TOML files that were written by other programs."""

from datetime import UTC, datetime, time
from math import inf

import pytest

from tests.unit.formats.samples import format_by_bytes, table_of, types_of


def test_toml_of_tomlkit_is_read() -> None:
    table = table_of("toml/tomlkit.toml", path="shop.orders")

    assert types_of(table) == {
        "id": "int64",
        "at": "timestamp[us, tz=UTC]",
        "opens": "time64[us]",
        "tags": "list<item: string>",
        "size": "struct<w: double, h: double>",
    }
    assert table.to_pylist() == [
        {
            "id": n,
            "at": datetime(2026, 3, n, 12, 30, tzinfo=UTC),
            "opens": time(9, 30),
            "tags": ["a", "ü"],
            "size": {"w": 1.5, "h": inf},
        }
        for n in (1, 2)
    ]


def test_toml_of_tomli_w_is_read() -> None:
    table = table_of("toml/tomli-w.toml")

    assert types_of(table)["files"] == "list<item: struct<file: string, size: int64>>"
    assert table.to_pylist() == [
        {"name": name, "version": "1.0", "files": [{"file": f"{name}.whl", "size": 2**40}], "python": ">=3.12"}
        for name in ("attrs", "zope")
    ]


def test_toml_of_iarna_is_read() -> None:
    table = table_of("toml/iarna.toml")

    assert types_of(table) == {
        "id": "int64",
        "at": "timestamp[us, tz=UTC]",
        "price": "double",
        "name": "string",
        "tags": "list<item: string>",
        "address": "struct<zip: string>",
    }
    first = {"id": 1, "at": datetime(2026, 3, 1, 12, 30, tzinfo=UTC), "price": 12.5, "name": 'Zoë "Z"\n'}
    second = {"id": 2, "at": datetime(2026, 3, 2, tzinfo=UTC), "price": -0.25, "name": ""}
    assert table.to_pylist() == [
        {**first, "tags": ["a", "b"], "address": {"zip": "03000"}},
        {**second, "tags": [], "address": {"zip": "1e3"}},
    ]


def test_packages_of_a_lock_of_poetry_are_rows() -> None:
    attrs, colorama = table_of("toml/poetry.toml").to_pylist()

    assert attrs == {
        "name": "attrs",
        "version": "25.1.0",
        "description": "Classes Without Boilerplate",
        "optional": False,
        "python-versions": ">=3.8",
        "groups": ["main"],
        "files": [
            {"file": "attrs-25.1.0-py3-none-any.whl", "hash": "sha256:00"},
            {"file": "attrs-25.1.0.tar.gz", "hash": "sha256:01"},
        ],
        "extras": {"dev": ['cloudpickle ; platform_python_implementation == "CPython"', "pytest (>=4.3.0)"]},
        "markers": None,
    }
    assert colorama == {
        "name": "colorama",
        "version": "0.4.6",
        "description": "Cross-platform colored terminal text.",
        "optional": True,
        "python-versions": "!=3.0.*,>=2.7",
        "groups": ["dev"],
        "files": [],
        "extras": None,
        "markers": 'sys_platform == "win32"',
    }


def test_a_manifest_of_cargo_is_one_row_or_the_tables_at_a_path() -> None:
    bins = [
        {"name": "shop", "path": "src\\bin\\shop.rs", "required-features": None},
        {"name": "till", "path": None, "required-features": ["till"]},
    ]

    assert table_of("toml/cargo.toml", path="bin").to_pylist() == bins
    assert table_of("toml/cargo.toml").to_pylist() == [
        {
            "package": {
                "name": "shop",
                "version": "0.1.0",
                "edition": "2024",
                "authors": ["Zoë <zoe@example.org>"],
            },
            "dependencies": {"serde": {"version": "1.0", "features": ["derive"]}, "rand": {"version": "0.9"}},
            "profile": {"release": {"lto": True, "opt-level": 3}},
            "bin": bins,
            "bench": [{"name": "all", "harness": False}],
        }
    ]


@pytest.mark.parametrize("name", ["cargo", "iarna", "poetry", "tomli-w", "tomlkit"])
def test_the_first_bytes_tell_toml(name: str) -> None:
    assert format_by_bytes(f"toml/{name}.toml") == "toml"
