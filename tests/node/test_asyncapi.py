import json
from typing import Any

import yaml
from jsonschema_rs import Draft7Validator

from scripts.asyncapi import PATH
from tests.node.packages import installed


def test_the_document_is_valid_by_the_schema_of_asyncapi() -> None:
    schema = installed() / "node_modules" / "@asyncapi" / "specs" / "schemas" / "3.0.0-without-$id.json"
    document: Any = yaml.safe_load(PATH.read_text())
    errors = [
        f"{'/'.join(map(str, error.instance_path))}: {error.message:.200}"
        for error in Draft7Validator(json.loads(schema.read_text())).iter_errors(document)
    ]
    assert errors == []
    document["operations"]["send-work"]["action"] = "work"
    assert not Draft7Validator(json.loads(schema.read_text())).is_valid(document)
