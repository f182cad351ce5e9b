"""scripts/up: starts all of Rota, stops it in order, goes on where it was, and says what keeps it from it."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import rota
from rota.protocol import JobView
from scripts.stack import ROOT, Service, free_port, port_in_use, program
from scripts.workers import start_workers
from tests.acceptance import kinds
from tests.acceptance.system import System, until

START_SECONDS = 60


class Up:
    """A running `scripts/up`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        assert process.stdout
        self._lines = process.stdout
        self.said = ""
        for line in self._lines:
            self.said += line
            if "Ctrl-C" in line:
                break
        address = re.search(r"Rota is ready at (http://\S+)\.", self.said)
        assert address, self.said
        self.url = address[1]

    def stop(self) -> int:
        """Ask it to end; return its exit status."""
        self._process.send_signal(signal.SIGTERM)
        self.said = self._lines.read()
        return self._process.wait(START_SECONDS)


def environment(home: Path, **variables: str) -> dict[str, str]:
    cleared = {name: value for name, value in os.environ.items() if not name.startswith("ROTA_")}
    return cleared | {"ROTA_HOME": str(home), **variables}


@contextmanager
def up(home: Path, **variables: str) -> Iterator[Up]:
    with subprocess.Popen(
        [sys.executable, "-m", "scripts.up"],
        cwd=ROOT,
        env=environment(home, **variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield Up(process)
        finally:
            # Its services end with it.
            process.terminate()


async def test_it_stops_in_order_and_a_second_start_goes_on_where_it_was(tmp_path: Path) -> None:
    nats_port = str(free_port())
    nats_url = f"nats://127.0.0.1:{nats_port}"
    variables = {"ROTA_NATS_PORT": nats_port, "ROTA_PORT": "0"}
    with up(tmp_path, **variables) as first:
        steps = re.findall(r"^  (\S+) +ready in", first.said, re.MULTILINE)
        assert steps == ["nats-server", "actors", "projections", "gateway"]
        [worker] = start_workers(1, nats_url, tmp_path, environment(tmp_path), module=kinds.__name__)
        async with rota.Client(first.url) as client:

            async def look() -> set[str]:
                return {spec.name for spec in await client.specs()}

            await until(look, lambda names: "add" in names)
            done = await client.schedule("add", {"a": 1, "b": 1})
            assert await client.wait(done, timeout=20) == 2
            assert worker.stop()
            late = await client.schedule("add", {"a": 19, "b": 23}, delay_seconds=1)
            waiting = await client.schedule("add", {"a": 2, "b": 2})
        assert first.stop() == 0
        assert first.said.splitlines() == ["Rota stops ...", "Rota has stopped."]
        assert not port_in_use("127.0.0.1", int(nats_port))
    with up(tmp_path, **variables) as second:
        [worker] = start_workers(1, nats_url, tmp_path, environment(tmp_path), module=kinds.__name__)
        async with rota.Client(second.url) as client:
            assert await client.wait(late, timeout=20) == 42
            assert await client.wait(waiting, timeout=20) == 4

            async def ended() -> list[JobView]:
                return [job async for job in client.jobs(spec="add")]

            jobs = await until(ended, lambda jobs: {job.status for job in jobs} == {"succeeded"})
            assert {job.id for job in jobs} == {done, late, waiting}
        assert worker.stop()
        assert second.stop() == 0


def refusal(home: Path, *command: str, **variables: str) -> str:
    """Run what must not start; return the one line that it says why."""
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env=environment(home, **variables),
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    [line] = done.stderr.splitlines()
    return line


def test_a_port_of_nats_that_is_in_use_is_said(system: System, tmp_path: Path) -> None:
    port = system.stack.nats_url.rpartition(":")[2]
    line = refusal(tmp_path, "scripts.up", ROTA_NATS_PORT=port)
    assert line == (
        f"rota: Port {port} is in use; set ROTA_NATS_PORT to another one, "
        "or ROTA_NATS_URL to the server that listens there."
    )


def test_a_port_of_the_gateway_that_is_in_use_is_said(system: System, tmp_path: Path) -> None:
    port = system.stack.url.rpartition(":")[2]
    line = refusal(tmp_path, "gateway", ROTA_PORT=port, ROTA_NATS_URL=system.stack.nats_url)
    assert line.startswith(f"gateway: Something else listens at 127.0.0.1:{port}. Stop it, or set ROTA_PORT")


def test_a_nats_server_that_does_not_answer_is_said(tmp_path: Path) -> None:
    url = f"nats://127.0.0.1:{free_port()}"
    line = refusal(tmp_path, "scripts.up", ROTA_NATS_URL=url)
    assert f"No NATS server answers at {url}." in line


def test_a_nats_server_without_jetstream_is_said(tmp_path: Path, plain_nats: str) -> None:
    line = refusal(tmp_path, "scripts.up", ROTA_NATS_URL=plain_nats)
    assert "JetStream is not enabled on the NATS server. Add a jetstream block" in line


@pytest.fixture
def plain_nats(tmp_path: Path) -> Iterator[str]:
    """A nats-server with Rota's configuration but for JetStream."""
    port = free_port()
    configuration = tmp_path / "plain.conf"
    configuration.write_text((ROOT / "nats.conf").read_text().partition("jetstream {")[0])
    server = Service(
        "nats-server",
        [program("nats-server"), "-c", str(configuration)],
        environment(tmp_path, ROTA_NATS_PORT=str(port)),
        tmp_path / "nats.log",
        says_ready=False,
    )
    server.start()
    server.wait(lambda: port_in_use("127.0.0.1", port))
    yield f"nats://127.0.0.1:{port}"
    server.stop()
