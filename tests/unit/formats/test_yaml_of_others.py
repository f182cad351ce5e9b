"""YAML files that were written by other programs."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from actors.formats.block import BadRowError
from tests.unit.formats.samples import format_by_bytes, table_of, types_of


def test_yaml_of_ruamel_is_read() -> None:
    table = table_of("yaml/ruamel.yaml")
    bern = {"city": "Bern", "zip": "03000"}

    assert types_of(table) == {
        "id": "int64",
        "bill": "struct<city: string, zip: string>",
        "ship": "struct<city: string, zip: string>",
        "on": "date32[day]",
        "at": "timestamp[us, tz=UTC]",
        "note": "string",
        "text": "string",
        "data": "binary",
        "yes": "string",
        "set": "list<item: string>",
        "price": "double",
        "nothing": "null",
        "version": "string",
    }
    first = {
        "id": 1,
        "bill": bern,
        "ship": bern,
        "on": date(2026, 3, 1),
        "at": datetime(2026, 3, 1, 12, 30, tzinfo=UTC),
        "note": "two\nlines",
        "text": "one long line\n",
        "data": b"\x00\xff",
    }
    second = {"id": 2, "yes": "no", "set": ["a"], "price": 1.5e-9, "version": "1.10"}
    none: dict[str, Any] = dict.fromkeys(table.column_names)
    assert table.to_pylist() == [{**none, **first}, {**none, **second}]


def test_yaml_of_js_yaml_is_read() -> None:
    table = table_of("yaml/js-yaml.yaml")
    bern = {"city": "Bern", "zip": "03000"}

    assert types_of(table)["at"] == "timestamp[us, tz=UTC]"
    assert table.to_pylist() == [
        {
            "id": 1,
            "at": datetime(2026, 3, 1, 12, 30, tzinfo=UTC),
            "price": 12.5,
            "paid": True,
            "bill": bern,
            "ship": bern,
            "note": "two\nlines\n",
        },
        {
            "id": 2,
            "at": None,
            "price": 1e21,
            "paid": False,
            "bill": bern,
            "ship": {"city": "yes", "zip": "1e3"},
            "note": "- no list: #1",
        },
    ]


def test_documents_of_kubernetes_are_rows() -> None:
    config, deployment = table_of("yaml/kubernetes.yaml").to_pylist()

    assert config == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "web", "labels": {"app": "web", "tier": "1"}, "annotations": None},
        "data": {"LOG": "on", "RATE": "1e3", "nginx.conf": "server {\n  listen 80;  # plain\n}\n"},
        "spec": None,
    }
    container = {
        "name": "web",
        "image": "example.org/web:1.10",
        "command": ["sh", "-c", "exec web --port=$PORT"],
        "resources": {"limits": {"cpu": "500m", "memory": "64Mi"}},
        "ports": [{"containerPort": 80}],
    }
    assert deployment == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "labels": None, "annotations": None},
        "data": None,
        "spec": {"replicas": 2, "template": {"spec": {"containers": [container]}}},
    }


def test_a_file_of_docker_compose_is_one_row() -> None:
    (row,) = table_of("yaml/compose.yaml").to_pylist()

    assert row == {
        "x-defaults": {"restart": "always", "environment": {"TZ": "Europe/Berlin", "DEBUG": "no"}},
        "services": {
            "web": {
                "restart": "always",
                "environment": {"TZ": "Europe/Berlin", "DEBUG": "yes"},
                "image": "web:1.10",
                "ports": ["8080:80", "22:22"],
            },
            "db": {
                "restart": "always",
                "environment": {"TZ": "Europe/Berlin", "DEBUG": "no"},
                "image": "registry.example.org/ db",
                "mem_limit": 15,
                "started": datetime.fromisoformat("2026-03-01T12:30:00+01:00"),
            },
        },
    }
    assert row["services"]["db"]["started"].utcoffset() == timedelta(hours=1)


def test_only_a_marker_tells_yaml_without_a_name() -> None:
    assert format_by_bytes("yaml/ruamel.yaml") == "yaml"
    with pytest.raises(BadRowError, match="the option format names a file's format"):
        format_by_bytes("yaml/js-yaml.yaml")
