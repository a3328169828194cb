"""A target that can be told how to answer, in front of a real VictoriaMetrics."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.peers import VictoriaMetrics

Verdict = Callable[[bytes], int | None]
"""Given a write's body: the status to answer with, or None to pass it on."""


class BreakableTarget:
    """Passes everything on to `behind`, unless `verdict` says otherwise of a write."""

    def __init__(self, behind: VictoriaMetrics) -> None:
        self.verdict: Verdict = lambda _: None
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._pass()

            def do_POST(self) -> None:
                self._pass()

            def _pass(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                refused = outer.verdict(body) if self.command == "POST" else None
                if refused is not None:
                    self._answer(refused, b"refused by the test")
                    return
                headers = {k: v for k, v in self.headers.items() if k.startswith(("Content-", "X-"))}
                request = urllib.request.Request(
                    behind.url + self.path, data=body or None, headers=headers, method=self.command
                )
                try:
                    with urllib.request.urlopen(request, timeout=10) as response:
                        self._answer(response.status, response.read())
                except urllib.error.HTTPError as error:
                    self._answer(error.code, error.read())
                except OSError:
                    self.close_connection = True

            def _answer(self, status: int, body: bytes) -> None:
                self.send_response(status)
                if status != 204:
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if status != 204:
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
