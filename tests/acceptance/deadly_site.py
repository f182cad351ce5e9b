"""A web server with a file that is deadly: whoever fetches it is killed (-9) at once."""

import os
import signal
import threading
from collections import Counter
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

from scripts.stack import Stack
from tests.acceptance.reader_killer import process_at

DEADLY = "deadly"
"""Is in the names of deadly files."""


class DeadlySite:
    """Its files lie in memory; `stack` is whose processes are killed."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.stack: Stack | None = None
        self.kills: Counter[str] = Counter()
        site = self

        class Answers(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                name = self.path.lstrip("/")
                body = site.files.get(name)
                if DEADLY in name and site.kill(name, self.client_address[1]):
                    self.close_connection = True
                    return
                self.send_response(200 if body is not None else 404)
                self.send_header("Content-Length", str(len(body or b"")))
                self.end_headers()
                with suppress(OSError):
                    self.wfile.write(body or b"")

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def connection(self, name: str) -> str:
        """Return the lines of connections.toml that make it known by a name."""
        return f'[{name}]\nkind = "http"\nroot = "http://127.0.0.1:{self._server.server_port}"\n'

    def kill(self, name: str, port: int) -> bool:
        """Kill the reader that asks from a port; say whether it was one."""
        pid = process_at(port, self.stack.actor_pids("ReaderHost")) if self.stack else None
        if pid is None:
            return False
        self.kills[name] += 1
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        return True
