"""The workflows in the documents: the gateway takes them, and they are the same in each form."""

import re
import sys
from types import ModuleType
from typing import Any

import msgspec
import pytest
from msgspec.structs import asdict

from events.sources import S3Connection
from gateway.schemas import Schemas
from gateway.translate import Specs
from gateway.workflow_requests import workflow_command
from rota.jobs import Job
from rota.protocol import SpecView
from rota.workflow_protocol import WorkflowRequest
from rota.yaml_document import read_yaml
from tests.unit.test_docs import REFERENCE, ROOT, WORKFLOWS, fenced, shop

ORDERS = shop(WORKFLOWS)
IN_YAML = [
    msgspec.convert(read_yaml(text, WORKFLOWS.name)[0], WorkflowRequest) for text in fenced(WORKFLOWS, "yaml")
]
IN_REFERENCE = [
    msgspec.json.decode(text, type=WorkflowRequest)
    for text in re.findall(
        r"<!-- WorkflowRequest -->\n```json\n(.*?)^```$",
        (REFERENCE / "http.md").read_text(),
        re.MULTILINE | re.DOTALL,
    )
]


async def fetch_orders(date: str) -> dict[str, list[str]]: ...  # type: ignore[empty-body] # never called
async def clean_file(path: str, number: int) -> str: ...  # type: ignore[empty-body] # never called
async def fetch_rates() -> dict[str, float]: ...  # type: ignore[empty-body] # never called
async def publish(path: str, orders: int) -> None: ...
async def write_report(files: list[str | None], usd: float) -> None: ...


def specs() -> Specs:
    """Return the specs of all jobs that the documents speak of."""
    jobs = [
        one for one in (*ORDERS.values(), *shop(ROOT / "docs" / "quickstart.md").values()) if isinstance(one, Job)
    ]
    jobs += [Job(handler) for handler in (fetch_orders, clean_file, fetch_rates, publish, write_report)]
    return Specs({job.name: view(job) for job in jobs})


def view(job: Job[..., Any]) -> SpecView:
    fields = asdict(job.spec)
    return SpecView(name=fields.pop("id"), **fields)


@pytest.mark.parametrize(
    "request_", [*IN_YAML, *IN_REFERENCE], ids=lambda request: f"{request.name}-{len(request.jobs)}"
)
def test_a_workflow_in_the_documents_is_accepted(request_: WorkflowRequest) -> None:
    lake = S3Connection(root="orders")
    command = workflow_command(request_, specs(), Schemas(), {"lake": lake}, "w")
    assert [job.name for job in command.details.jobs] == [job.name for job in request_.jobs]


def test_the_example_in_python_is_the_one_in_yaml(monkeypatch: pytest.MonkeyPatch) -> None:
    orders, nightly = ModuleType("orders"), ModuleType("nightly")
    vars(orders).update(ORDERS)
    monkeypatch.setitem(sys.modules, "orders", orders)
    exec(fenced(WORKFLOWS, "python")[1], vars(nightly))
    assert nightly.flow.request() == IN_YAML[0]


async def test_the_jobs_of_the_example_return_what_the_next_one_takes() -> None:
    files = await ORDERS["list_files"]("2026-05-01")
    sums = [await ORDERS["add_up"](path, number) for number, path in enumerate(files)]
    assert await ORDERS["report"]("2026-05-01", [*sums, None], await ORDERS["rate"]("usd")) == "2026-05-01: 75.00"
