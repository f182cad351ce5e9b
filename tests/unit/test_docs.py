import re
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest
from aiohttp import web
from msgspec.structs import FieldInfo, fields

from events.catalog import EVENTS
from events.config import Config
from events.formats import FORMATS
from events.sources import SOURCES
from gateway import (
    bad_rows,
    batches,
    dead_letters,
    dry_runs,
    health,
    jobs,
    messages,
    queues,
    results,
    specs,
    status,
    streams,
    workflows,
)
from rota import batch_protocol, protocol, workflow_protocol
from rota.jobs import Job

ROOT = Path(__file__).parent.parent.parent
REFERENCE = ROOT / "docs" / "reference"
FORMAT_PAGES = REFERENCE / "formats"
WORKFLOWS = ROOT / "docs" / "howto" / "workflows.md"
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])
SECTIONS = ["Options", "Types", "Bad rows", "Positions", "Limits"]
REQUESTS = {
    "BatchRequest": batch_protocol.BatchRequest,
    "CancelRequest": protocol.CancelRequest,
    "ChangeRequest": batch_protocol.ChangeRequest,
    "JobRequest": protocol.JobRequest,
    "PauseRequest": messages.PauseRequest,
    "RedriveRequest": batch_protocol.RedriveRequest,
    "RerunRequest": workflow_protocol.RerunRequest,
    "ResultsRequest": batch_protocol.ResultsRequest,
    "ScheduleRequest": protocol.ScheduleRequest,
    "WorkflowJobRequest": workflow_protocol.WorkflowJobRequest,
    "WorkflowRequest": workflow_protocol.WorkflowRequest,
}
ROUTES: list[web.RouteDef] = [
    route
    for resource in (
        bad_rows,
        batches,
        dead_letters,
        dry_runs,
        health,
        jobs,
        queues,
        results,
        specs,
        status,
        streams,
        workflows,
    )
    for route in resource.routes
    if isinstance(route, web.RouteDef)
]


def fenced(page: Path, language: str) -> list[str]:
    """Return the code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """Return the anchors of the headings, as they are made of their texts."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^a-z0-9 _-]", "", heading.lower()).replace(" ", "-") for heading in headings}


def bodies() -> list[Any]:
    """Return each example of a request in the reference: a comment before it names its type."""
    example = re.compile(r"<!-- (\w+) -->\n```json\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    return [
        pytest.param(name, body, id=f"{page.stem}-{name}")
        for page in sorted(REFERENCE.glob("*.md"))
        for name, body in example.findall(page.read_text())
    ]


def options_of(page: Path) -> list[tuple[str, str]]:
    """Return each example of options on the page of a format, with the type that a comment before it names."""
    example = re.compile(r"(?:<!-- (\w+) -->\n)?```json\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    return example.findall(page.read_text())


def curls() -> list[Any]:
    """Return each body that a page has curl send, with the address."""
    command = re.compile(r"^curl \S+:8080/(\w+) -d '(.*)'$", re.MULTILINE)
    return [
        pytest.param(address, body, id=f"{page.stem}-{address}")
        for page in PAGES
        for address, body in command.findall(page.read_text())
    ]


def shop(page: Path) -> dict[str, Any]:
    """Return the names in the example of a module with jobs."""
    module = ModuleType("shop")
    (code,) = (block for block in fenced(page, "python") if "@rota.job" in block)
    exec(code, module.__dict__)
    return vars(module)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link} is not there"
        if anchor:
            assert anchor in anchors(target), f"{link}: there is no such heading"


@pytest.mark.parametrize("page", [page for page in PAGES if page.parent.name != "adr"], ids=lambda page: page.stem)
def test_every_page_can_be_reached_from_the_readme(page: Path) -> None:
    reached, open_ = set(), [ROOT / "README.md"]
    while open_:
        here = open_.pop()
        if here in reached:
            continue
        reached.add(here)
        links = re.findall(r"\]\(([^)\s#]+\.md)", here.read_text())
        open_.extend((here.parent / link).resolve() for link in links if not link.startswith("http"))
    assert page in reached


@pytest.mark.parametrize("tag", sorted(EVENTS))
def test_every_event_is_described_with_its_fields(tag: str) -> None:
    text = (REFERENCE / "events.md").read_text()
    row = re.search(rf"^\| `{re.escape(tag)}` \| (.*?) \| .+ \|$", text, re.MULTILINE)
    assert row, f"{tag} is not in events.md"
    shared = {"originator_id", "originator_version", "at", "origin"}
    assert set(re.findall(r"`(\w+)`", row[1])) == set(EVENTS[tag].__struct_fields__) - shared


def test_no_event_is_described_that_does_not_exist() -> None:
    text = (REFERENCE / "events.md").read_text()
    assert set(re.findall(r"^\| `((?:batch|job|log|spec|workflow)\.\w+)` \|", text, re.MULTILINE)) == set(EVENTS)


@pytest.mark.parametrize("field", fields(Config), ids=lambda field: field.name)
def test_every_setting_is_described_with_its_default(field: FieldInfo) -> None:
    text = (REFERENCE / "configuration.md").read_text()
    assert f"| `ROTA_{field.name.upper()}` | `{field.default}` |" in text


@pytest.mark.parametrize(
    "name", sorted({name for source in SOURCES.values() for name in source.settings.__struct_fields__})
)
def test_every_field_of_a_connection_is_described(name: str) -> None:
    section = (REFERENCE / "configuration.md").read_text().partition("## connections.toml")[2]
    assert f"`{name}`" in section


@pytest.mark.parametrize("format_", sorted(FORMATS))
def test_every_option_of_a_format_has_a_row_on_its_page(format_: str) -> None:
    pages = {"tsv": ["csv", "tsv"]}.get(format_, [format_])
    text = "\n".join((FORMAT_PAGES / f"{page}.md").read_text() for page in pages)
    cells = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", text, re.MULTILINE)
    described = {name for cell in cells for name in re.findall(r"\w+", cell)}
    assert set(FORMATS[format_].options.__struct_fields__) <= described


@pytest.mark.parametrize("format_", sorted(FORMATS))
def test_the_page_of_a_format_has_the_sections_of_all(format_: str) -> None:
    text = (FORMAT_PAGES / f"{format_}.md").read_text()
    sections = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert [name for name in sections if name in SECTIONS] == SECTIONS


@pytest.mark.parametrize("page", sorted(FORMAT_PAGES.glob("*.md")), ids=lambda page: page.stem)
def test_examples_of_options_are_options_of_their_format(page: Path) -> None:
    named = {format_.options.__name__: format_.options for format_ in FORMATS.values()}
    for name, body in options_of(page):
        assert msgspec.convert(msgspec.json.decode(body), named[name])


@pytest.mark.parametrize("format_", sorted(FORMATS))
def test_every_format_is_in_the_index_with_the_ends_of_its_names(format_: str) -> None:
    text = (FORMAT_PAGES / "README.md").read_text()
    row = re.search(rf"^\| \[.*\]\({format_}\.md\) \| (.*?) \|", text, re.MULTILINE)
    assert row, f"{format_} is not in the index"
    assert re.findall(r"`\.(\w+)`", row[1]) == list(FORMATS[format_].suffixes)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_every_route_is_described(route: web.RouteDef) -> None:
    path = re.sub(r"\{(\w+):.*?\}(?=/|$)", r"{\1}", route.path)
    assert f"| `{route.method} {path}` |" in (REFERENCE / "http.md").read_text()


def test_no_route_is_described_that_does_not_exist() -> None:
    rows = re.findall(
        r"^\| `((?:DELETE|GET|HEAD|PATCH|POST|PUT) /\S*)` \|", (REFERENCE / "http.md").read_text(), re.MULTILINE
    )
    assert len(rows) == len(ROUTES)


@pytest.mark.parametrize("type_", REQUESTS.values(), ids=REQUESTS)
def test_every_field_of_a_request_is_described(type_: type[msgspec.Struct]) -> None:
    text = (REFERENCE / "http.md").read_text()
    assert [name for name in type_.__struct_fields__ if f"`{name}`" not in text and f'"{name}"' not in text] == []


@pytest.mark.parametrize(("name", "body"), bodies())
def test_bodies_in_the_reference_are_requests(name: str, body: str) -> None:
    assert msgspec.json.decode(body, type=REQUESTS[name])


@pytest.mark.parametrize(("address", "body"), curls())
def test_bodies_that_curl_sends_are_requests(address: str, body: str) -> None:
    types = {
        "batches": batch_protocol.BatchRequest,
        "schedule": protocol.JobRequest,
        "workflows": workflow_protocol.WorkflowRequest,
    }
    request = msgspec.json.decode(body, type=types[address])
    specs = {job.spec for job in request.jobs} if address == "workflows" else {request.spec}
    assert specs <= {*shop(ROOT / "docs" / "quickstart.md"), *shop(WORKFLOWS)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_examples_are_json_and_python(page: Path) -> None:
    for block in fenced(page, "python"):
        compile(block, str(page), "exec")
    for block in fenced(page, "json"):
        if "..." not in block:
            msgspec.json.decode(block)


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "docs" / "quickstart.md"], ids=lambda page: page.stem)
async def test_the_example_of_jobs_is_a_module_with_jobs_that_run(page: Path) -> None:
    module = shop(page)
    assert {name for name, value in module.items() if isinstance(value, Job)} == {"add", "revenue"}
    assert await module["add"](1, 2) == 3
    assert module["revenue"]([{"cents": 5}, {"cents": 7}]) == {"orders": 2, "cents": 12, "currency": "EUR"}
    assert module["add"].spec.params_schema["required"] == ["a", "b"]
    assert module["revenue"].spec.rows == "dicts"


def test_the_quickstart_and_the_readme_define_the_same_jobs() -> None:
    assert fenced(ROOT / "README.md", "python")[0] == fenced(ROOT / "docs" / "quickstart.md", "python")[0]


def test_the_readme_begins_with_the_two_commands() -> None:
    first = [line.split()[0] for line in (ROOT / "README.md").read_text().splitlines()[1:3]]
    assert first == ["./scripts/demo", "./scripts/test"]
