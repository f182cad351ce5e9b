"""The whole of Rota as the tests see it: processes, HTTP, the command line, and what must hold of a batch."""

import asyncio
import json
import secrets
import subprocess
from collections import Counter
from collections.abc import Awaitable, Callable
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import msgspec

import rota
from events.ids import batch_job_id
from rota.batch_protocol import BatchView
from rota.protocol import ENDED_BATCH
from scripts.stack import ROOT, Service, Stack, program
from scripts.store import Store

LOOK_SECONDS = 0.05
PATIENCE_SECONDS = 60.0
FETCHES_AT_ONCE = 20

T = TypeVar("T")


class Answer(msgspec.Struct):
    """What came back for a request: the status, the body as JSON has it, the headers."""

    status: int
    body: Any
    headers: dict[str, str]


class Http:
    """Plain HTTP, as anybody may speak it."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def get(self, path: str, **query: str | float) -> Answer:
        async with self._session.get(path, params=query) as response:
            return await _answer(response)

    async def post(self, path: str, body: Any, **headers: str) -> Answer:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self._session.post(path, data=BytesIO(data), headers=named) as response:
            return await _answer(response)

    async def patch(self, path: str, body: Any, **headers: str) -> Answer:
        """Send a body; what is iterated over is sent in chunks, as it comes."""
        data = json.dumps(body).encode() if isinstance(body, dict) else body
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self._session.patch(
            path, data=BytesIO(data) if isinstance(data, bytes) else data, headers=named
        ) as response:
            return await _answer(response)

    async def head(self, path: str) -> Answer:
        async with self._session.head(path) as response:
            return await _answer(response)

    async def download(self, path: str, **query: str) -> bytes:
        async with self._session.get(path, params=query) as response:
            assert response.status == 200, await response.text()
            return await response.read()

    async def send(self, batch: str, body: Any, offset: int = 0, **headers: str) -> int:
        """Send bytes of a stream, and return the durable offset."""
        answer = await self.patch(f"/batches/{batch}/data", body, Upload_Offset=str(offset), **headers)
        assert answer.status == 204, answer.body
        return int(answer.headers["Upload-Offset"])

    async def done(self, path: str, body: Any = None) -> None:
        """Have something done that is done at once, or soon."""
        answer = await self.post(path, body if body is not None else b"")
        assert answer.status in (200, 202), answer.body

    async def schedule(self, spec: str, params: dict[str, Any] | None = None, **options: Any) -> str:
        answer = await self.post("/schedule", {"spec": spec, "params": params or {}, **options})
        assert answer.status == 202, answer.body
        [id_] = answer.body["ids"]
        return str(id_)

    async def open_batch(self, **request: Any) -> str:
        answer = await self.post("/batches", request)
        assert answer.status == 202, answer.body
        return str(answer.body["id"])

    async def outcome(self, id_: str) -> Any:
        """Return how a job has ended, when it has."""
        answer = await self.get(f"/jobs/{id_}/result", wait=30)
        assert answer.status == 200, answer.body
        return answer.body

    async def ended_batch(self, id_: str) -> Any:
        """Return a batch's view, when it has ended."""

        async def look() -> Any:
            return (await self.get(f"/batches/{id_}")).body

        return await until(look, lambda view: view["status"] in ENDED_BATCH)

    async def until_batch(self, id_: str, holds: Callable[[Any], bool]) -> Any:
        """Return a batch's view, as soon as something holds of it."""

        async def look() -> Any:
            return (await self.get(f"/batches/{id_}")).body

        return await until(look, holds)

    async def events(self, path: str) -> list[Any]:
        return list((await self.get(f"{path}/events")).body["events"])

    async def types(self, path: str) -> list[str]:
        return [event["type"] for event in await self.events(path)]


class System:
    """The processes that the tests share."""

    def __init__(self, stack: Stack, store: Store, workers: list[Service]) -> None:
        self.stack = stack
        self.store = store
        self.workers = workers

    def put(self, name: str, body: str | bytes) -> str:
        return self.store.put(name, body.encode() if isinstance(body, str) else body)

    def connect(self, root: str) -> str:
        """Make a web server known, and return the name of its connection: no process needs to be started again."""
        return self.know("web", lambda name: f'[{name}]\nkind = "http"\nroot = "{root}"\n')

    def know(self, kind: str, lines: Callable[[str], str]) -> str:
        """Add a connection by its lines of connections.toml, which are asked for by its name; return the name."""
        name = f"{kind}-{secrets.token_hex(4)}"
        path = self.stack.home / "connections.toml"
        new = path.with_suffix(".new")
        new.write_text(path.read_text() + lines(name))
        new.replace(path)
        return name

    def run(self, *arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
        """Run the command line `rota` with this stack's addresses."""
        environment = self.stack.environment | {"ROTA_URL": self.stack.url}
        return subprocess.run(
            [program("rota"), *arguments],
            env=environment,
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )


async def until(look: Callable[[], Awaitable[T]], holds: Callable[[T], bool]) -> T:
    """Look again and again until it holds, and return what was seen."""
    deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
    while not holds(seen := await look()):
        if asyncio.get_running_loop().time() > deadline:
            raise AssertionError(f"it came to no more than {seen!r:.2000}")
        await asyncio.sleep(LOOK_SECONDS)
    return seen


async def results(client: rota.Client, batch: str) -> dict[str, Any]:
    """Return the results of a batch's jobs by their ids."""
    places = asyncio.Semaphore(FETCHES_AT_ONCE)

    async def result(id_: str) -> tuple[str, Any]:
        async with places:
            return id_, await client.wait(id_, timeout=PATIENCE_SECONDS)

    ids = [job.id async for job in client.jobs(batch=batch, page_size=1000)]
    assert len(ids) == len(set(ids))
    return dict(await asyncio.gather(*map(result, ids)))


async def assert_each_row_once(
    client: rota.Client, batch: str, jobs: list[int], expected: dict[str, Any]
) -> BatchView:
    """Check a batch that was read from files cut into so many jobs each, by its view and by the jobs' results."""
    view = await client.batches.wait(batch, timeout=PATIENCE_SECONDS)
    assert (view.status, view.error) == ("completed", None)
    assert view.rows == expected["rows"]
    total = sum(jobs)
    assert {state: count for state, count in view.jobs.items() if count} == (
        {"succeeded": total, "total": total} if total else {}
    )
    found = await results(client, batch)
    assert set(found) == {batch_job_id(batch, file, job) for file, count in enumerate(jobs) for job in range(count)}
    added: Counter[str] = Counter()
    for result in found.values():
        added.update({name: result[name] for name in expected})
    assert {name: added[name] for name in expected} == expected
    return view


async def _answer(response: aiohttp.ClientResponse) -> Answer:
    body = await response.read()
    is_json = "json" in response.content_type and not response.content_type.endswith("ndjson")
    return Answer(response.status, json.loads(body) if body and is_json else body or None, dict(response.headers))
