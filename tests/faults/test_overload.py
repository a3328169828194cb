"""More than fits: what is taken is kept, what is not is told to come again, and memory stays within its bound."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.otlp import gauge_request
from tests.e2e.program import Gateway

pytestmark = pytest.mark.real

POINTS = 800
LIMIT = 256 * 1024


def together(work: Callable[[], None], count: int) -> None:
    """The same in so many threads."""
    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_overload_is_refused_with_a_wait_and_what_is_taken_is_kept(tmp_path: Path) -> None:
    assignments = [f"ingest.max_request_bytes={LIMIT // 2}", f"ingest.max_in_flight_bytes={LIMIT}"]
    with Gateway(tmp_path, *assignments) as gateway:
        answers: list[tuple[int, str]] = []
        body = gauge_request("load", "m", [(time.time_ns(), float(i), {"n": f"{i:03d}"}) for i in range(POINTS)])
        assert LIMIT // 20 < len(body) < LIMIT // 2

        def send() -> None:
            for _ in range(15):
                request = urllib.request.Request(f"http://{gateway.otlp_http}/v1/metrics", data=body)
                request.add_header("Content-Type", "application/x-protobuf")
                try:
                    with urllib.request.urlopen(request, timeout=30) as response:
                        answers.append((response.status, ""))
                except urllib.error.HTTPError as error:
                    answers.append((error.code, error.headers.get("Retry-After", "")))

        # However fast the machine, nothing fits while announced bodies hold the room.
        with contextlib.ExitStack() as held:
            host, port = gateway.otlp_http.split(":")
            for _ in range(2):
                slow = held.enter_context(socket.create_connection((host, int(port))))
                slow.sendall(
                    b"POST /v1/metrics HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\n"
                    b"Content-Length: %d\r\n\r\n\x0a" % (LIMIT // 2 - 1)
                )
            together(send, 4)
        assert (429, "1") in set(answers), answers
        together(send, 40)
        kinds = set(answers)
        assert (200, "") in kinds
        assert kinds <= {(200, ""), (429, "1")}
        taken = sum(status == 200 for status, _ in answers)
        assert gateway.json("/api/v1/status")["accepted_points"] == taken * POINTS
        metrics = gateway.get("/metrics").decode().splitlines()
        in_flight = next(line for line in metrics if line.startswith("gateway_ingest_in_flight_bytes "))
        assert float(in_flight.split()[1]) == 0.0, "nothing is held once all are answered"
        assert gateway.post("/v1/metrics", body, Content_Type="application/x-protobuf")[0] == 200
