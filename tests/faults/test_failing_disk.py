"""The whole program on a disk that is full, fails, is read-only, or loses power: refusals are to be retried, what was
acknowledged stays, and a disk that works again is taken up without a restart."""

from __future__ import annotations

import errno
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from loadtest.disk_faults import FaultyDisk, compiler
from tests.e2e.otlp import gauge_request
from tests.e2e.program import Gateway
from tests.faults.plane import values_in_log

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(compiler() is None, reason="the Debian package gcc is not installed"),
]


class Sender:
    """Sends numbered samples and remembers which were acknowledged."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.next = 0
        self.acknowledged: list[int] = []

    def send(self) -> tuple[int, str]:
        """One sample: status and the Retry-After header."""
        number, self.next = self.next, self.next + 1
        time_ns = time.time_ns() - 3600 * 10**9 + number * 10**6
        body = gauge_request("faults", "numbered", [(time_ns, float(number), {})])
        request = urllib.request.Request(f"http://{self.gateway.otlp_http}/v1/metrics", data=body)
        request.add_header("Content-Type", "application/x-protobuf")
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                self.acknowledged.append(number)
                return response.status, ""
        except urllib.error.HTTPError as error:
            return error.code, error.headers.get("Retry-After", "")

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Send without pause beside the block; refusals and broken connections are part of it."""
        stop = threading.Event()

        def run() -> None:
            while not stop.is_set():
                try:
                    self.send()
                except OSError:
                    time.sleep(0.01)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


def ready(gateway: Gateway) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{gateway.http}/-/ready", timeout=5) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_full_failing_and_read_only_disks_are_refusals_to_be_retried(tmp_path: Path) -> None:
    disk = FaultyDisk(tmp_path)
    with Gateway(tmp_path, environment=disk.environment()) as gateway:
        sender = Sender(gateway)
        assert sender.send()[0] == 200
        pid = gateway.children()["data"].pid
        faults = {
            "ENOSPC": {"writes": errno.ENOSPC},
            "EIO of fsync": {"syncs": errno.EIO},
            "EIO of write": {"writes": errno.EIO},
            "read-only": {"writes": errno.EROFS, "creates": errno.EROFS},
        }
        for name, fault in faults.items():
            disk.fail(**fault)
            for _ in range(2):
                status, retry_after = sender.send()
                assert (status, retry_after) == (503, "1"), name
            code, said = ready(gateway)
            assert code == 503, name
            assert "the log" in said, said
            disk.heal()
            gateway.until(lambda: ready(gateway)[0] == 200)  # although nobody sends
            assert sender.send()[0] == 200, f"after {name} the disk works again"
        disk.fail(writes=errno.ENOSPC, syncs=errno.EIO, within="/state/")
        for _ in range(5):
            assert sender.send()[0] == 200, "a failing state directory does not stop what is sent"
        disk.heal()
        assert gateway.children()["data"].pid == pid, "nothing was restarted"
        gateway.until(lambda: gateway.json("/api/v1/status")["scored_points"] == len(sender.acknowledged))
        assert gateway.stop() == 0
    assert values_in_log(disk.data) == sender.acknowledged


def test_acknowledged_samples_survive_the_loss_of_everything_that_was_not_synced(tmp_path: Path) -> None:
    disk = FaultyDisk(tmp_path, shadow=True)
    gateway = Gateway(tmp_path, environment=disk.environment())
    sender = Sender(gateway)
    try:
        gateway.start()
        for _ in range(2):
            before = len(sender.acknowledged)
            with sender.sending():
                gateway.until(lambda before=before: len(sender.acknowledged) > before + 40)
                gateway.kill_all()
            disk.cut_power()
            gateway.start()
            status = gateway.json("/api/v1/status")
            assert status["accepted_points"] >= len(sender.acknowledged)
            assert sender.send()[0] == 200
        assert gateway.stop() == 0
    finally:
        gateway.stop()
    held = values_in_log(disk.data)
    assert len(held) == len(set(held)), "nothing was taken twice"
    assert set(sender.acknowledged) <= set(held)
