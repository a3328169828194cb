"""A clock that steps, series without end, and a process without file descriptors."""

from __future__ import annotations

import resource
import socket
import time
from pathlib import Path

import psutil
import pytest

from gateway.addresses import parse_address
from gateway.clock import SystemClock
from gateway.decode.otlp_metrics import OtlpMetricsDecoder
from gateway.decode.settings import DecodeSettings
from tests.e2e.otlp import gauge_request
from tests.e2e.program import Gateway
from tests.faults.plane import running_plane, send, settled, values_in_log


class SteppedClock(SystemClock):
    """The machine's clock, set back or forward."""

    step_ns = 0

    def time_ns(self) -> int:
        return time.time_ns() + self.step_ns


async def test_steps_of_the_clock_lose_and_repeat_nothing(tmp_path: Path) -> None:
    clock = SteppedClock()
    for hours in (0, 1, -1, 0):
        clock.step_ns = hours * 3600 * 10**9
        async with running_plane(tmp_path, clock=clock) as plane:
            held = len(values_in_log(tmp_path))
            await send(plane, held, 5)
            clock.step_ns -= 3600 * 10**9  # and once more while it runs
            await send(plane, held + 5, 5)
            status = await settled(plane)
            assert status["problem"] == ""
            assert status["accepted_points"] == held + 10
            assert 0.0 <= status["uptime_seconds"] < 60.0
    assert values_in_log(tmp_path) == list(range(40))


async def test_series_without_end_are_refused_at_the_limit_and_known_ones_go_on(tmp_path: Path) -> None:
    async with running_plane(tmp_path, max_series=100) as plane:
        await send(plane, 0, 1, series="known")
        decoder = OtlpMetricsDecoder(plane.hash_key, DecodeSettings())
        refused = 0
        for wave in range(20):
            now_ns = time.time_ns()
            points = [(now_ns, 1.0, {"series": f"{wave}-{i}"}) for i in range(500)]
            columns = decoder.decode_protobuf(gauge_request("explosion", "m", points), now_ns // 10**6)
            receipt = await plane.committer.accept(columns, received_ns=now_ns, body_bytes=1)
            refused += receipt.refused.get("series_limit", 0)
            assert receipt.rows + receipt.refused.get("series_limit", 0) == 500
        receipt = await send(plane, 1, 3, series="known")
        assert receipt.refused == {}
        status = await settled(plane)
        assert status["active_series"] <= 100
        assert refused == 20 * 500 - 99
        assert status["accepted_points"] == 99 + 4


@pytest.mark.real
def test_a_process_without_file_descriptors_takes_up_again_when_there_are_some(tmp_path: Path) -> None:
    with Gateway(tmp_path) as gateway:
        data = psutil.Process(gateway.children()["data"].pid)
        body = gauge_request("s", "m", [(time.time_ns(), 1.0, {})])
        headers = {"Content_Type": "application/x-protobuf"}
        assert gateway.post("/v1/metrics", body, **headers)[0] == 200
        before = data.rlimit(resource.RLIMIT_NOFILE)
        few = data.num_fds() + 4
        data.rlimit(resource.RLIMIT_NOFILE, (few, before[1]))
        address = parse_address(gateway.otlp_http)
        greedy = [socket.create_connection(address, 5) for _ in range(30)]
        with pytest.raises(OSError):
            ask_briefly(address)
        for one in greedy:
            one.close()
        data.rlimit(resource.RLIMIT_NOFILE, before)

        def taken() -> bool:
            try:
                return gateway.post("/v1/metrics", body, **headers)[0] == 200
            except OSError:
                return False

        gateway.until(taken)
        assert gateway.children()["data"].pid == data.pid, "it was not restarted"


def ask_briefly(address: tuple[str, int]) -> bytes:
    """The first bytes of an answer; raises OSError when none come at once."""
    with socket.create_connection(address, 1) as one:
        one.settimeout(1.5)
        one.sendall(b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n")
        said = one.recv(100)
        if not said:
            raise ConnectionResetError("closed without an answer")
        return said
