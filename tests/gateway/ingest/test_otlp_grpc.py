"""OTLP/gRPC over real channels."""

from __future__ import annotations

import asyncio
import socket
import threading
from concurrent import futures

import aiohttp
import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from gateway import addresses
from gateway.access.settings import AccessSettings
from gateway.errors import AddressNotFree, ConfigError, LogFull
from gateway.ingest import otlp_grpc
from gateway.ingest.otlp_grpc import GrpcReceiver
from gateway.ingest.settings import IngestSettings
from gateway.settings_types import ByteSize, Duration
from tests.gateway.ingest.receivers import Receivers, running

EXPORT = "/opentelemetry.proto.collector.{}.v1.{}Service/Export"
METRICS, TRACES, LOGS = (EXPORT.format(*n) for n in (("metrics", "Metrics"), ("trace", "Trace"), ("logs", "Logs")))


async def _call(target: str, method: str, body: bytes, **kwargs: object) -> bytes:
    async with grpc.aio.insecure_channel(target) as channel:
        return await channel.unary_unary(method)(body, timeout=10, **kwargs)


def _details(error: grpc.aio.AioRpcError) -> status_pb2.Status:
    return status_pb2.Status.FromString(dict(error.trailing_metadata())["grpc-status-details-bin"])


@pytest.mark.parametrize("compression", list(grpc.Compression))
async def test_accepts_metrics(compression):
    async with running() as r:
        assert await _call(r.target, METRICS, b"points=3", compression=compression) == b""
        answer = ExportMetricsServiceResponse.FromString(await _call(r.target, METRICS, b"points=1,reject=2"))
        assert answer.partial_success.rejected_data_points == 2
        assert "48h" in answer.partial_success.error_message
        assert r.sink.points == 4
        assert r.admission.in_flight == 0


async def test_traces_and_logs_are_answered_truthfully():
    async with running() as r:
        answer = ExportTraceServiceResponse.FromString(await _call(r.target, TRACES, b"points=4"))
        assert answer.partial_success.rejected_spans == 4
        assert await _call(r.target, LOGS, b"") == b""


async def test_damaged_and_too_large_requests_are_not_to_be_repeated():
    async with running(IngestSettings(max_request_bytes=ByteSize(10_000))) as r:
        with pytest.raises(grpc.aio.AioRpcError) as damaged:
            await _call(r.target, METRICS, b"bad")
        assert damaged.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "at byte 3" in damaged.value.details()
        for compression in (grpc.Compression.NoCompression, grpc.Compression.Gzip):
            with pytest.raises(grpc.aio.AioRpcError) as large:
                await _call(r.target, METRICS, b"x" * 10_001, compression=compression)
            assert large.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "grpc-status-details-bin" not in dict(large.value.trailing_metadata())
        assert await _call(r.target, METRICS, b"points=1") == b""


async def test_temporary_failures_carry_retry_info():
    async with running(IngestSettings(max_request_bytes=ByteSize(5_000), max_in_flight_bytes=ByteSize(10_000))) as r:
        r.sink.failure = LogFull("the log is full", retry_after=2.0)
        with pytest.raises(grpc.aio.AioRpcError) as full:
            await _call(r.target, METRICS, b"points=1")
        assert full.value.code() is grpc.StatusCode.UNAVAILABLE
        wait = error_details_pb2.RetryInfo()
        assert _details(full.value).details[0].Unpack(wait)
        assert wait.retry_delay.seconds == 2

        r.sink.failure, r.sink.thread_gate = None, threading.Event()
        body = b"points=1,pad=" + b"x" * 4_500
        held = [asyncio.create_task(_call(r.target, METRICS, body)) for _ in "ab"]
        async with asyncio.timeout(5):
            while r.admission.in_flight < 9_000:
                await asyncio.sleep(0.01)
        with pytest.raises(grpc.aio.AioRpcError) as over:
            await _call(r.target, METRICS, body)
        r.sink.thread_gate.set()
        assert over.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert _details(over.value).details[0].Unpack(wait)
        assert await asyncio.gather(*held) == [b"", b""]
        assert r.admission.in_flight == 0


async def test_an_unexpected_error_is_unavailable():
    async with running() as r:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await _call(r.target, METRICS, b"boom")
        assert failed.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "planted" not in failed.value.details()


async def test_health_follows_readiness():
    async with running() as r, grpc.aio.insecure_channel(r.target) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        answer = await stub.Check(health_pb2.HealthCheckRequest())
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        r.problem = "stuck"
        async with asyncio.timeout(5):
            while answer.status == health_pb2.HealthCheckResponse.SERVING:
                await asyncio.sleep(0.05)
                answer = await stub.Check(health_pb2.HealthCheckRequest())


async def test_the_health_of_an_unknown_service_is_not_found():
    async with running() as r, grpc.aio.insecure_channel(r.target) as channel:
        call = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service="nobody"))
        assert await call.code() is grpc.StatusCode.NOT_FOUND
        known = health_pb2.HealthCheckRequest(service="opentelemetry.proto.collector.metrics.v1.MetricsService")
        answer = await health_pb2_grpc.HealthStub(channel).Check(known)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_nobody_watches_health():
    """A watcher that takes no answer would stop the thread that sets the health: the event loop."""
    async with running() as r, grpc.aio.insecure_channel(r.target) as channel:
        call = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call.read()
        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_silent_calls_do_not_hold_the_threads():
    settings = IngestSettings(grpc_threads=2, grpc_message_timeout=Duration(0.2))
    async with running(settings) as r, grpc.aio.insecure_channel(r.target) as channel:
        silent = [channel.stream_unary(METRICS)() for _ in range(4)]  # opens the call and sends no message
        await asyncio.gather(*(call.wait_for_connection() for call in silent[:1]))
        async with asyncio.timeout(10):
            assert await _call(r.target, METRICS, b"points=1") == b""
        for call in silent:
            call.cancel()


async def test_silent_calls_give_way_to_others_long_before_their_time_is_over():
    settings = IngestSettings(grpc_threads=2, grpc_message_timeout=Duration(600))
    async with running(settings) as r, grpc.aio.insecure_channel(r.target) as channel:
        silent = [channel.stream_unary(METRICS)() for _ in range(6)]
        await asyncio.gather(*(call.wait_for_connection() for call in silent[:1]))
        async with asyncio.timeout(60):
            assert await _call(r.target, METRICS, b"points=1") == b""
        for call in silent:
            call.cancel()


async def test_a_call_without_room_waits_for_it_and_is_then_told_to_come_again(monkeypatch):
    settings = IngestSettings(max_request_bytes=ByteSize(1024), max_in_flight_bytes=ByteSize(2048))
    async with running(settings) as r:
        other = r.admission.ticket("")
        other.take(2048)
        monkeypatch.setattr(otlp_grpc, "_WAIT", 0.01)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await _call(r.target, METRICS, b"points=1")
        assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        monkeypatch.setattr(otlp_grpc, "_WAIT", 60.0)
        waiting = asyncio.create_task(_call(r.target, METRICS, b"points=1"))
        async with asyncio.timeout(30):
            while not r.admission._waiting:
                await asyncio.sleep(0.01)
            assert not waiting.done()
            other.close()
            assert await waiting == b""
        assert r.admission.in_flight == 0


def _second(r: Receivers, host: str = "127.0.0.1", port: int = 0) -> GrpcReceiver:
    """A receiver beside the one that runs, not started."""
    access = AccessSettings(allow_unauthenticated=True)
    return GrpcReceiver(
        IngestSettings(), r.grpc._decoders, r.sink, host=host, port=port, ready=str, admission=r.admission,
        access=access,
    )  # fmt: skip


async def test_a_taken_port_is_said():
    async with running() as r:
        with pytest.raises(OSError, match="Address already in use"):
            await _second(r, port=r.grpc.port).start()


async def test_an_address_of_no_interface_is_said():
    async with running() as r:
        with pytest.raises(OSError, match="Cannot assign requested address"):
            await _second(r, host="192.0.2.1").start()


async def test_both_receivers_listen_on_ipv6():
    async with running(host="::1") as r, aiohttp.ClientSession() as session:
        assert await _call(r.target, METRICS, b"points=3") == b""
        async with session.post(
            f"{r.url}/v1/metrics", data=b"points=4", headers={"Content-Type": "application/x-protobuf"}
        ) as answer:
            assert answer.status == 200
        assert r.sink.points == 7


def _refuse(receiver: GrpcReceiver, times: int) -> None:
    """gRPC refuses the address so many times, whatever the system says of it."""
    listen, left = receiver._listen, iter(range(times))

    def refusing(server: grpc.Server, address: str) -> int:
        if next(left, None) is not None:
            raise OSError(f"cannot listen on {address}")
        return listen(server, address)

    receiver._listen = refusing


async def test_what_grpc_alone_refuses_is_final():
    async with running() as r:
        other = _second(r)
        _refuse(other, 1_000)
        with pytest.raises(ConfigError, match=r"server\.otlp_grpc.*GRPC_VERBOSITY") as told:
            await other.start()
    assert not isinstance(told.value, AddressNotFree), "to wait for it would be in vain"


async def test_an_address_that_becomes_free_before_it_is_looked_at_is_taken():
    async with running() as r:
        other = _second(r)
        _refuse(other, 1)
        await other.start()
        assert await _call(f"127.0.0.1:{other.port}", METRICS, b"points=2") == b""
        await other.stop()


async def test_a_start_that_fails_leaves_the_loop_alone_and_nothing_behind(monkeypatch):
    resolved_in, ended, pools = [], [], []
    resolve, make = socket.getaddrinfo, grpc.server

    def resolving(*args: object, **kwargs: object) -> object:
        resolved_in.append(threading.current_thread())
        return resolve(*args, **kwargs)

    def server(pool: futures.ThreadPoolExecutor, **kwargs: object) -> grpc.Server:
        made = make(pool, **kwargs)
        pools.append(pool)
        begin, end = made.start, made.stop
        monkeypatch.setattr(made, "start", lambda: (ended.append("started"), begin())[1])
        monkeypatch.setattr(made, "stop", lambda grace: (ended.append("stopped"), end(grace))[1])
        return made

    async with running() as r:
        monkeypatch.setattr(addresses.socket, "getaddrinfo", resolving)
        monkeypatch.setattr(otlp_grpc.grpc, "server", server)
        with pytest.raises(OSError, match="Address already in use"):
            await _second(r, port=r.grpc.port).start()
    assert resolved_in
    assert threading.main_thread() not in resolved_in, "a slow answer must not keep the event loop"
    assert ended == ["started", "stopped"], "one that never began cannot be stopped, and its memory stays"
    with pytest.raises(RuntimeError, match="after shutdown"):
        pools[0].submit(print)


async def test_stop_lets_calls_in_progress_finish():
    async with running() as r:
        r.sink.thread_gate = threading.Event()
        pending = asyncio.create_task(_call(r.target, METRICS, b"points=1"))
        async with asyncio.timeout(5):
            while not r.admission.in_flight:
                await asyncio.sleep(0.01)
        stopping = asyncio.create_task(r.grpc.stop(5.0))
        await asyncio.sleep(0.05)
        r.sink.thread_gate.set()
        assert await pending == b""
        await stopping
        await r.grpc.stop()
