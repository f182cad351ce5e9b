"""Services that tests share."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    # Begun in the background by a shell: the processes that tests interrupt would not hear of it either.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def nats_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a nats-server with Rota's configuration on a free port, in a folder of its own."""
    store = tmp_path_factory.mktemp("nats")
    with subprocess.Popen(
        [Path(sys.executable).with_name("nats-server"), "-c", ROOT / "nats.conf"],
        env=os.environ | {"ROTA_NATS_PORT": "-1", "ROTA_NATS_STORE": str(store)},
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stderr
        port = said = ""
        for line in server.stderr:
            said += line
            if match := re.search(r"Listening for client connections on .*:(\d+)", line):
                port = match[1]
            if "Server is ready" in line:
                break
        assert port, f"nats-server did not start:\n{said}"
        # Its log is read to the end, so that it never waits for a reader.
        threading.Thread(target=server.stderr.read, daemon=True).start()
        try:
            yield f"nats://127.0.0.1:{port}"
        finally:
            server.terminate()
