"""Workflows in files of YAML and JSON: what is read, and where it is said that something is wrong."""

import io
import json
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rota.errors import InvalidRequestError, Problem, RotaError, TooLargeError
from rota.workflow_file import STDIN, WorkflowFile, read_workflow
from rota.workflow_protocol import WorkflowRequest

NIGHTLY = """\
name: nightly
params:
  date: 2026-01-01
jobs:
  - name: fetch
    spec: fetch
    inputs: {country: NO, zip: 00123, at: 12:30, deep: [1, 2.5, .5, -3e2, true, ~, "5", 'x']}
    retry: &often
      max_attempts: 5
  - name: clean
    spec: clean
    inputs:
      rows: {from: fetch, output: rows}
    retry:
      <<: *often
      delay_seconds: 2
"""


def read(folder: Path, text: str, name: str = "flow.yaml") -> WorkflowFile:
    (folder / name).write_text(text)
    return read_workflow(folder / name)


def refusal(folder: Path, text: str, name: str = "flow.yaml") -> str:
    """Return what is said of a file, without the folder's name."""
    with pytest.raises(RotaError) as info:
        read(folder, text, name)
    return info.value.detail.removeprefix(f"{folder}/")


def built(request: WorkflowRequest) -> Any:
    return msgspec.to_builtins(request)


def test_a_workflow_of_yaml_is_read_with_the_types_of_yaml_1_2(tmp_path: Path) -> None:
    request = read(tmp_path, NIGHTLY).request
    assert (request.name, request.params) == ("nightly", {"date": "2026-01-01"})
    assert request.jobs[0].inputs == {
        "country": "NO",
        "zip": "00123",
        "at": "12:30",
        "deep": [1, 2.5, 0.5, -300.0, True, None, "5", "x"],
    }


def test_an_anchor_can_be_merged_into_another_mapping_whose_own_names_win(tmp_path: Path) -> None:
    first, second = built(read(tmp_path, NIGHTLY).request)["jobs"]
    assert first["retry"] == {"max_attempts": 5, "delay_seconds": 1.0, "backoff": 2.0, "max_delay_seconds": 300.0}
    assert second["retry"] == first["retry"] | {"delay_seconds": 2.0}


def test_the_same_workflow_as_json_is_the_same(tmp_path: Path) -> None:
    request = read(tmp_path, NIGHTLY).request
    assert read(tmp_path, json.dumps(built(request)), "flow.json").request == request


@pytest.mark.parametrize("text", [NIGHTLY, '\n {"jobs": [{"name": "fetch", "spec": "fetch"}]}'])
def test_stdin_may_be_yaml_or_json(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    file = read_workflow(STDIN)
    assert (file.name, file.request.jobs[0].name) == ("stdin", "fetch")


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("inputs:\n", "inptus:\n", "line 12, #/jobs/1/inptus: Object contains unknown field `inptus`"),
        ("name: nightly", "nome: nightly", "line 1, #/nome: Object contains unknown field `nome`"),
        ("max_attempts: 5", "max_attempts: 0", "line 9, #/jobs/0/retry/max_attempts: Expected `int` >= 1"),
        ("    spec: clean\n", "    spec: [clean]\n", "line 11, #/jobs/1/spec: Expected `str`, got `array`"),
        ("  - name: clean\n    spec", "  - spec", "line 10, #/jobs/1: Object missing required field `name`"),
        ("date: 2026", "{date: 2026", "line 4: the YAML is broken: "),
        ("    spec: clean\n", "    spec: a\n    spec: b\n", "line 12: 'spec' comes twice in a mapping"),
        ("*often", "*never", "line 15: *never stands for something that does not stand before it"),
        ("max_attempts: 5", "again: *often", "line 9: *often stands for itself"),
        ("*often", "often", "line 15: << stands for something that is no mapping"),
        ("zip: 00123", "zip: !!binary aGk=", "line 7: the tag tag:yaml.org,2002:binary has no meaning here"),
        ("zip: 00123", "zip: 99999999999999999999", "line 7: a number is too large"),
        ("zip: 00123", "zip: 1e999", "line 7: a number is too large"),
        ("zip: 00123", "[zip]: 1", "line 7: a name is a list or a mapping, and not a text"),
        ("jobs:", "---\njobs:", "line 4: a second document begins; there may be one"),
    ],
)
def test_what_is_wrong_in_yaml_is_told_with_its_line(tmp_path: Path, before: str, after: str, says: str) -> None:
    assert NIGHTLY.count(before) == 1
    assert refusal(tmp_path, NIGHTLY.replace(before, after)).startswith(f"flow.yaml, {says}")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"jobs": [\n\n}', "flow.json, line 3: the JSON is broken: Expecting value"),
        ('{"jobs": [], "jobs": []}', "flow.json: 'jobs' comes twice in an object"),
        ('{"jobs": [{"name": NaN}]}', "flow.json: NaN is no value of JSON"),
        ('{"jobs": [{"name": 1}]}', "flow.json, #/jobs/0/name: Expected `str`, got `int`"),
        ('{"jobs": []}', "flow.json, #/jobs: Expected `array` of length >= 1"),
        ("{}", "flow.json: Object missing required field `jobs`"),
        ("[]", "flow.json has no workflow: that is an object with `jobs`"),
        ("[" * 100_000, "flow.json: the JSON cannot be read"),
    ],
)
def test_what_is_wrong_in_json_is_told_with_its_place(tmp_path: Path, text: str, says: str) -> None:
    assert refusal(tmp_path, text, "flow.json").startswith(says)


def test_aliases_cannot_make_a_small_file_large(tmp_path: Path) -> None:
    names = "abcdefgh"
    lines = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]" for old, new in pairwise(names)]
    assert "there are more than 1000000 values" in refusal(tmp_path, "\n".join(lines))


def test_values_that_are_too_deep_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TooLargeError, match=r"line 1: values are deeper than 100 levels"):
        read(tmp_path, "[" * 1000)


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match="cannot be read: No such file"):
        read_workflow(tmp_path / "nowhere.yaml")
    (tmp_path / "latin.yaml").write_bytes("name: Köln".encode("latin-1"))
    with pytest.raises(InvalidRequestError, match=r"latin\.yaml is no UTF-8"):
        read_workflow(tmp_path / "latin.yaml")


def test_without_pyyaml_json_is_read_and_yaml_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    monkeypatch.delitem(sys.modules, "rota.yaml_document", raising=False)
    assert "pip install 'rota[yaml]'" in refusal(tmp_path, NIGHTLY)
    assert read(tmp_path, '{"jobs": [{"name": "a", "spec": "a"}]}', "flow.json").request.jobs[0].name == "a"


def test_a_refusal_of_the_gateway_is_told_with_lines_of_the_file(tmp_path: Path) -> None:
    pointers = ["#/jobs/1/inputs/rows/from", "#/jobs/1/inputs/a~1b", "#/params/x%20y", "#/labels", "#"]
    error = InvalidRequestError("No", problems=[Problem(f"Why {n}", one) for n, one in enumerate(pointers)])
    located = read(tmp_path, NIGHTLY).located(error)
    name = tmp_path / "flow.yaml"
    assert (located.detail, [problem.pointer for problem in located.problems]) == (
        "No",
        [
            f"{name}, line 13, #/jobs/1/inputs/rows/from",
            f"{name}, line 12, #/jobs/1/inputs/a~1b",
            f"{name}, line 2, #/params/x y",
            f"{name}, #/labels",
            f"{name}",
        ],
    )
