"""The whole stack as processes: nats-server, actors, projections, gateway. Used by up, demo, bench and tests.

They start in this order and stop in the other; each tells by a line `ready` that it is there. All of them end
with the process that started them.
"""

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Self

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 60.0
NATS_START_SECONDS = 900.0
"""After `kill -9` nats-server reads 2 to 4 s for each million of events (ADR 9)."""
STOP_SECONDS = 20.0
PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG


class StartError(Exception):
    """A process did not start; the text says why and what to do."""


def free_port() -> int:
    """Return a loopback port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def port_in_use(host: str, port: int) -> bool:
    """Say whether somebody listens there."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((host, port)) == 0


def program(name: str) -> str:
    """Return a program of the virtual environment."""
    return str(Path(sys.executable).parent / name)


class Service:
    """A process of the stack, with its output in a log file."""

    def __init__(
        self, name: str, command: list[str], environment: Mapping[str, str], log: Path, *, says_ready: bool = True
    ) -> None:
        self.name = name
        self._command = command
        self._environment = dict(environment)
        self._log = log
        self._says_ready = says_ready
        self.ready_line = ""

    def start(self) -> None:
        """Start it, and wait until it is ready. Raises StartError with what it printed."""
        self.spawn()
        if self._says_ready:
            self.wait(lambda: self.ready)

    def spawn(self) -> None:
        """Start it without waiting.

        It ends with the thread that called this: let that be one that lasts.
        """
        with self._log.open("ab") as output:
            self.process = subprocess.Popen(
                self._command,
                cwd=ROOT,
                env=self._environment,
                stdout=subprocess.PIPE if self._says_ready else output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                preexec_fn=_end_with_parent,  # noqa: PLW1509 - no thread holds a lock that prctl needs
            )
        self._ready = threading.Event()
        if lines := self.process.stdout:
            threading.Thread(target=self._copy, args=(lines, self._ready), daemon=True).start()

    def wait(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition holds while the process lives."""
        seconds = NATS_START_SECONDS if self.name == "nats-server" else START_SECONDS
        deadline = time.monotonic() + seconds
        while not condition():
            ended = self.process.poll() is not None
            if ended or time.monotonic() > deadline:
                self.kill()
                what = "did not start" if ended else f"was not ready within {seconds:.0f} s"
                last = self._log.read_text(errors="replace").strip().splitlines()[-1:]
                raise StartError(f"{self.name} {what}: {' '.join(last) or 'see ' + str(self._log)}")
            time.sleep(0.02)

    @property
    def ready(self) -> bool:
        """Say whether it has told that it is ready."""
        return self._ready.is_set()

    @property
    def alive(self) -> bool:
        """Say whether it runs."""
        return self.process.poll() is None

    def stop(self) -> bool:
        """End it by SIGTERM; say whether it ended in time and without an error."""
        if not hasattr(self, "process"):  # its log could not be opened, or its program is missing
            return False
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_SECONDS) in (0, 1 if self.name == "nats-server" else 0)
        except subprocess.TimeoutExpired:
            self.kill()
            return False

    def kill(self) -> None:
        """End it by SIGKILL."""
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()

    def _copy(self, lines: IO[bytes], ready: threading.Event) -> None:
        with lines, self._log.open("ab", buffering=0) as log:
            for line in lines:
                log.write(line)
                if line.startswith(b"ready"):
                    self.ready_line = line.decode().strip()
                    ready.set()


def nats_service(port: int, store: Path, log: Path, config: Path = ROOT / "nats.conf") -> Service:
    """Return a nats-server to be started, by itself, with its data in a folder; wait for its port."""
    environment = os.environ | {"ROTA_NATS_PORT": str(port), "ROTA_NATS_STORE": str(store)}
    command = [program("nats-server"), "-c", str(config)]
    return Service("nats-server", command, environment, log, says_ready=False)


@contextlib.contextmanager
def nats_running(store: Path, log: Path, config: Path = ROOT / "nats.conf") -> Iterator[tuple[Service, str]]:
    """Run a nats-server by itself on a free port; yield it with its address."""
    port = free_port()
    service = nats_service(port, store, log, config)
    service.start()
    try:
        service.wait(lambda: port_in_use("127.0.0.1", port))
        yield service, f"nats://127.0.0.1:{port}"
    finally:
        service.stop()


class Stack:
    """All services of one Rota, with their data in `home`.

    `nats_url` names a server to use; without it one is started. Port 0 means a free one. `step` is called with
    each service's name, its address or "", and the seconds that its start took.
    """

    def __init__(
        self,
        home: Path,
        *,
        nats_url: str | None = None,
        nats_port: int = 4222,
        host: str = "127.0.0.1",
        port: int = 8080,
        environment: Mapping[str, str] | None = None,
        step: Callable[[str, str, float], None] = lambda *_: None,
    ) -> None:
        self.home = home.resolve()
        self._own_nats = nats_url is None
        self._nats_port = nats_port or free_port()
        self.nats_url = nats_url or f"nats://127.0.0.1:{self._nats_port}"
        self._host = host
        self._port = port
        self._step = step
        self.url = ""
        self.services: dict[str, Service] = {}
        self.environment = {
            **os.environ,
            "ROTA_HOME": str(self.home),
            "ROTA_NATS_URL": self.nats_url,
            "ROTA_NATS_PORT": str(self._nats_port),
            "ROTA_NATS_STORE": str(self.home / "nats"),
            "ROTA_HOST": host,
            "ROTA_PORT": str(port),
            "PYTHONUNBUFFERED": "1",
            **(environment or {}),
        }

    def start(self) -> None:
        """Start all services, each when the one before is ready. Raises StartError after stopping what runs."""
        (self.home / "logs").mkdir(parents=True, exist_ok=True)
        try:
            if self._own_nats:
                self._start_nats()
            for name in ("actors", "projections", "gateway"):
                self._start(name, [sys.executable, "-m", name])
            self.url = self.services["gateway"].ready_line.partition(" ")[2]
        except BaseException:
            self.stop()
            raise

    def stop(self) -> bool:
        """Stop all services in order; say whether each ended in time and without an error."""
        order = [name for name in ("gateway", "actors", "projections", "nats-server") if name in self.services]
        ended = [self.services.pop(name).stop() for name in order]
        return all(ended)

    def restart(self, name: str) -> None:
        """Start a service again that has ended."""
        service = self.services[name]
        service.start()
        if name == "nats-server":
            service.wait(lambda: port_in_use("127.0.0.1", self._nats_port))

    def keep(self) -> list[str]:
        """Start again what has ended, without waiting for it; return the names."""
        ended = [name for name, service in self.services.items() if not service.alive]
        for name in ended:
            self.services[name].spawn()
        return ended

    def actor_pids(self, role: str) -> list[int]:
        """Return the processes of the actors of a role (`ShardHost`, `ReaderHost`), which Ray names after it."""
        return self.pids(f"ray::{role}")

    def pids(self, title: str = "") -> list[int]:
        """Return all processes that were started for it, and theirs, whose command line begins so."""
        home = f"ROTA_HOME={self.home}".encode()
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                named = (folder / "cmdline").read_bytes().startswith(title.encode())
                if named and home in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
        return sorted(found)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _start_nats(self) -> None:
        if port_in_use("127.0.0.1", self._nats_port):
            raise StartError(
                f"Port {self._nats_port} is in use; set ROTA_NATS_PORT to another one, "
                "or ROTA_NATS_URL to the server that listens there."
            )
        command = [program("nats-server"), "-c", str(ROOT / "nats.conf")]
        self._start("nats-server", command, address=self.nats_url)

    def _start(self, name: str, command: list[str], address: str = "") -> None:
        started = time.monotonic()
        log = self.home / "logs" / f"{name}.log"
        service = Service(name, command, self.environment, log, says_ready=not address)
        self.services[name] = service
        service.start()
        if address:
            service.wait(lambda: port_in_use("127.0.0.1", self._nats_port))
        self._step(name, address or service.ready_line.partition(" ")[2], time.monotonic() - started)


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(PARENT_DEATH_SIGNAL, signal.SIGTERM)
