"""Small plain requests, which bypass the HTTP parser and are decoded in groups: whatever way the bytes are cut and
whatever a neighbour sends, each request gets its own answer and its memory is given back."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import pairwise

import cramjam
import numpy as np
import pytest

from gateway.access.settings import AccessSettings, Token
from gateway.clock import SystemClock
from gateway.errors import Overloaded, Unavailable
from gateway.ingest.admission import Admission
from gateway.ingest.clients import ClientTable
from gateway.ingest.decoders import Body
from gateway.ingest.http_exchange import Exchange
from gateway.ingest.otlp_http import OtlpHttp
from gateway.ingest.remote_write import RemoteWrite
from gateway.ingest.request_head import OTLP, REMOTE_WRITE, Head, Heads, read_head
from gateway.ingest.settings import IngestSettings
from gateway.ingest.small_requests import SmallRequest, SmallRequests
from gateway.settings_types import ByteSize, Duration, Secret
from gateway.telemetry.columns import JoinedColumns, PointColumns, Receipt
from tests.gateway.ingest.receivers import TOY_DECODERS, MemorySink, Receivers, columns_of, running, toy_points
from tests.gateway.ingest.test_large_body import Client, post


def toy_joined(bodies: Sequence[Sequence[Body]], now_ms: int) -> JoinedColumns | None:
    """The toy format, as one."""
    alone = []
    for pieces in bodies:
        body = b"".join(pieces)
        if body.startswith((b"bad", b"boom")) or b"reject" in body:
            return None
        alone.append(toy_points(body, now_ms).points)
    return JoinedColumns(columns_of(sum(alone)), np.cumsum(alone), np.array(alone))


JOINING = replace(TOY_DECODERS, otlp_metrics_joined=toy_joined)


@pytest.fixture
async def receivers() -> AsyncIterator[Receivers]:
    async with running(IngestSettings(body_timeout=Duration(0.3)), JOINING) as both:
        yield both


# ---- heads ----------------------------------------------------------------------------------------------------------

PLAIN = "POST /v1/metrics HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-protobuf\r\n"


def test_a_plain_head_is_read() -> None:
    raw = f"{PLAIN}content-LENGTH:  17 \r\nUser-Agent: otelcol/1 (a; b)\r\nConnection: Keep-Alive\r\n"
    raw += "Content-Encoding: gzip\r\n\r\n"
    assert read_head(raw.encode()) == Head(OTLP, 17, "gzip", "otelcol/1 (a; b)", None)


@pytest.mark.parametrize(
    "extra",
    [
        "",
        "Content-Length: 0\r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\ncontent-length: 6\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: -5\r\n",
        "Content-Length: 5,5\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: 5_0\r\n",
        "Content-Length: ٥\r\n",
        "Content-Length: 9999999999\r\n",
        "Content-Length : 5\r\n",
        "Content-Length: 5\r\n folded\r\n",
        " Content-Length: 5\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: identity\r\n",
        "Content-Length: 5\r\nExpect: 100-continue\r\n",
        "Content-Length: 5\r\nConnection: close\r\n",
        "Content-Length: 5\r\nConnection: keep-alive, upgrade\r\n",
        "Content-Length: 5\r\nUpgrade: h2c\r\n",
        "Content-Length: 5\r\nContent-Encoding: br\r\n",
        "Content-Length: 5\r\nX: a\0b\r\n",
        "Content-Length: 5\r\nX: a\rb\r\n",
        "Content-Length: 5\r\nX: a\nContent-Length: 6\r\n",
        "Content-Length: 5\r\nno colon\r\n",
        "Content-Length: 5\n",
    ],
)
def test_whatever_is_not_plain_is_left_to_the_parser(extra: str) -> None:
    assert read_head(f"{PLAIN}{extra}\r\n".encode()) is None


@pytest.mark.parametrize(
    "line", ["GET /v1/metrics HTTP/1.1", "POST /v1/metrics HTTP/1.0", "POST /v1/metrics?a HTTP/1.1"]
)
def test_another_request_line_is_not_plain(line: str) -> None:
    raw = f"{PLAIN}Content-Length: 5\r\n\r\n".encode()
    assert read_head(raw) is not None
    assert read_head(raw.replace(b"POST /v1/metrics HTTP/1.1", line.encode())) is None


def test_the_memory_of_heads_is_bounded() -> None:
    heads = Heads()
    for number in range(3000):
        raw = f"{PLAIN}Content-Length: 5\r\nX: {number}\r\n\r\n".encode()
        assert heads.read(raw) == heads.read(raw) == Head(OTLP, 5, None, "", None)
    assert len(heads._known) <= 1024


# ---- connections ----------------------------------------------------------------------------------------------------

BODY = 3000
HEAD = post(1, BODY).index(b"\r\n\r\n") + 4


@pytest.mark.parametrize("cuts", [(), (10,), (HEAD - 2,), (HEAD,), (HEAD + 1, HEAD + 1500), (HEAD + BODY - 1,)])
async def test_however_the_bytes_are_cut_each_request_is_heard(receivers: Receivers, cuts: tuple[int, ...]) -> None:
    client = await Client.to(receivers)
    for points in (7, 4):
        request = post(points, BODY)
        for begin, end in pairwise([0, *cuts, len(request)]):
            await client.send(request[begin:end])
            await asyncio.sleep(0.01)  # so that the pieces arrive apart
        assert await client.answer() == 200
    assert receivers.sink.points == 11
    assert receivers.admission.in_flight == 0
    client.close()


async def test_pipelined_requests_small_large_and_unusual_are_answered_in_turn(receivers: Receivers) -> None:
    client = await Client.to(receivers)
    chunked = f"{PLAIN}Transfer-Encoding: chunked\r\n\r\n8\r\npoints=9\r\n0\r\n\r\n".encode()
    sizes = [50, 200_000, 2**20, 60, 70, 300_000, 80]
    await client.send(b"".join(post(n, size) for n, size in enumerate(sizes, 1)) + chunked + post(3, 40))
    for _ in range(len(sizes) + 2):
        assert await client.answer() == 200
    assert [columns.points for columns in receivers.sink.accepted] == [1, 2, 3, 4, 5, 6, 7, 9, 3]
    assert receivers.admission.in_flight == 0
    client.close()


async def test_many_pipelined_requests_wait_in_the_socket_and_are_all_answered(receivers: Receivers) -> None:
    client = await Client.to(receivers)
    sending = asyncio.create_task(client.send(post(1, 2000) * 400))
    for _ in range(400):
        assert await client.answer() == 200
    await sending
    assert receivers.sink.points == 400
    client.close()


@pytest.mark.parametrize("size", [70_000, 200_000, 400_000])
async def test_a_stopped_transport_is_read_again_for_a_body(receivers: Receivers, size: int) -> None:
    client = await Client.to(receivers)
    receivers.sink.gate = asyncio.Event()
    chunked = f"{PLAIN}Transfer-Encoding: chunked\r\n\r\n8\r\npoints=9\r\n0\r\n\r\n".encode()
    sending = asyncio.create_task(client.send((post(1, 30_000) * 3 + post(2, size)) * 3 + chunked * 2000))
    await asyncio.sleep(0.05)
    receivers.sink.gate.set()
    for _ in range(2012):
        assert await client.answer() == 200
    await sending
    assert receivers.sink.points == 3 * 5 + 2000 * 9
    assert receivers.admission.in_flight == 0
    client.close()


async def test_a_client_that_reads_no_answers_is_not_read_either(receivers: Receivers) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", receivers.http.port, limit=1024)
    writer.write(post(1, 20) * 60_000)
    async with asyncio.timeout(20):
        before = -1
        while before != (before := receivers.sink.points):
            await asyncio.sleep(0.3)
    assert 0 < receivers.sink.points < 60_000
    async with asyncio.timeout(60):
        left, cut = 60_000, b""
        while left:
            came = cut + await reader.read(2**20)
            left -= came.count(b"HTTP/1.1 200")
            cut = came[max(0, came.rfind(b"HTTP/1.1 200") + 1) :][-11:]  # an answer may come in two pieces
    assert receivers.sink.points == 60_000
    writer.close()


async def test_a_body_that_does_not_come_is_refused_and_its_memory_given_back(receivers: Receivers) -> None:
    client = await Client.to(receivers)
    await client.send(post(1, BODY)[:-5])
    assert await client.answer() == 400
    assert await client.reader.read() == b""
    assert receivers.admission.in_flight == 0


@pytest.mark.parametrize("size", [100_000, 2**20])
async def test_a_larger_body_that_comes_in_crumbs_and_stops_is_refused(receivers: Receivers, size: int) -> None:
    client = await Client.to(receivers)
    request = post(1, size)
    await client.send(request[: size // 2])
    for at in range(40):
        await client.send(request[size // 2 + at : size // 2 + at + 1])
        await asyncio.sleep(0)
    assert await client.answer() == 400
    assert await client.reader.read() == b""
    assert receivers.admission.in_flight == 0


def test_a_body_of_crumbs_is_not_kept_as_crumbs() -> None:
    request = SmallRequest(Told(), Head(OTLP, 10_000, None, "", None), 0, "t", Admission(2**20).ticket("t"))
    for _ in range(1000):
        request.take(b"x")
    request.take(bytes(9000))
    assert len(request.pieces) < 5
    assert request.whole() == b"x" * 1000 + bytes(9000)
    assert not request.left


async def test_remote_write_on_a_plain_connection() -> None:
    async with running(decoders=JOINING) as r:
        client = await Client.to(r)
        for body, status in ((b"points=3", 204), (b"points=2,reject=1", 400), (b"bad", 400), (b"points=4", 204)):
            data = bytes(cramjam.snappy.compress_raw(body))
            head = "POST /api/v1/write HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-protobuf\r\n"
            head += f"Content-Encoding: snappy\r\nContent-Length: {len(data)}\r\n\r\n"
            assert read_head(head.encode()) == Head(REMOTE_WRITE, len(data), "snappy", "", None)
            await client.send(head.encode() + data)
            async with asyncio.timeout(5):
                answer = await client.reader.readuntil(b"\r\n\r\n")
                assert int(answer.split()[1]) == status
                if status == 204:
                    assert b"Content-Length" not in answer
                else:
                    length = int(answer.split(b"Content-Length: ")[1].split()[0])
                    text = await client.reader.readexactly(length)
                    assert (b"older than 48h" in text) == body.startswith(b"points")
        assert r.sink.points == 9
        client.close()


async def test_a_client_that_goes_away_leaves_nothing_behind(receivers: Receivers) -> None:
    client = await Client.to(receivers)
    await client.send(post(1, BODY)[:-5])
    async with asyncio.timeout(5):
        while not receivers.admission.in_flight:
            await asyncio.sleep(0.01)
        client.close()
        while receivers.admission.in_flight:
            await asyncio.sleep(0.01)
    other = await Client.to(receivers)
    await other.send(post(2, 100))
    assert await other.answer() == 200
    assert receivers.sink.points == 2


async def test_a_request_under_way_is_answered_when_the_receiver_stops() -> None:
    async with running(decoders=JOINING) as r:
        r.sink.gate = asyncio.Event()
        client = await Client.to(r)
        await client.send(post(2, 100))
        async with asyncio.timeout(5):
            while not r.admission.in_flight:
                await asyncio.sleep(0.01)
            stopping = asyncio.create_task(r.http.stop(5.0))
            await asyncio.sleep(0.05)
            r.sink.gate.set()
            assert await client.answer() == 200
            await stopping


async def test_an_overload_is_said_and_the_connection_goes_on() -> None:
    settings = IngestSettings(max_request_bytes=ByteSize(2**16), max_in_flight_bytes=ByteSize(2**17))
    async with running(settings, JOINING) as r:
        r.admission.add(2**17 + 2**14 - 1000)
        client = await Client.to(r)
        await client.send(post(1, 2000))
        assert await client.answer() == 429
        await client.send(post(1, 2000)[:-10])
        await asyncio.sleep(0.02)
        await client.send(post(1, 2000)[-10:])
        assert await client.answer() == 429
        r.admission.give_back(2**17 + 2**14 - 1000)
        await client.send(post(1, 2000))
        assert await client.answer() == 200
        assert (r.sink.points, r.admission.in_flight) == (1, 0)
        client.close()


async def test_a_token_is_asked_for() -> None:
    token = Token(name="a", sha256=Secret(hashlib.sha256(b"secret").hexdigest()), roles=("ingest",))
    reading = Token(name="b", sha256=Secret(hashlib.sha256(b"reads").hexdigest()), roles=("read",))
    async with running(decoders=JOINING, access=AccessSettings(tokens=(token, reading))) as r:
        for extra, status in (
            ("", 401),
            ("Authorization: Bearer wrong\r\n", 401),
            ("Authorization: Bearer reads\r\n", 403),
            ("Authorization: Bearer secret\r\n", 200),
        ):
            client = await Client.to(r)
            await client.send(post(1, 100, extra=extra))
            assert await client.answer() == status
            client.close()
        assert r.sink.points == 1


# ---- groups ---------------------------------------------------------------------------------------------------------


@dataclass
class Told:
    """A connection that remembers what was answered."""

    address: str = "10.0.0.1"
    data: bytes = b""
    answered: asyncio.Event = field(default_factory=asyncio.Event)

    def answer(self, data: bytes, *, close: bool = False) -> None:
        assert not self.data
        self.data = data
        self.answered.set()

    @property
    def status(self) -> int:
        return int(self.data.split()[1])


class Group:
    """SmallRequests with a sink in memory; `send` makes requests that come in at the same moment."""

    def __init__(self, settings: IngestSettings | None = None) -> None:
        settings = settings or IngestSettings()
        self.sink = MemorySink()
        self.admission = Admission(settings.max_in_flight_bytes)
        self.clients = ClientTable()
        self.pool = ThreadPoolExecutor(2)
        exchange = Exchange(settings, self.admission, self.pool, SystemClock(), self.clients)
        routes = {OTLP: OtlpHttp(exchange, JOINING, self.sink).route()}
        routes[REMOTE_WRITE] = RemoteWrite(exchange, JOINING, self.sink).route()
        self.requests = SmallRequests(exchange, routes, self.sink)

    async def send(self, *bodies: bytes, encoding: str | None = None) -> list[Told]:
        told = []
        for number, body in enumerate(bodies):
            told.append(Told())
            ticket = self.admission.ticket("t")
            ticket.take(len(body))
            request = SmallRequest(told[-1], Head(OTLP, len(body), encoding, "agent", None), number + 1, "t", ticket)
            request.take(body)
            self.requests.add(request)
        async with asyncio.timeout(10):
            await asyncio.gather(*(one.answered.wait() for one in told))
            while self.requests._groups:
                await asyncio.sleep(0)
        assert self.admission.in_flight == 0
        return told


async def test_requests_that_come_together_are_stored_as_one() -> None:
    group = Group()
    told = await group.send(b"points=1", b"points=2", b"points=0", b"points=4")
    assert [one.status for one in told] == [200] * 4
    assert [columns.points for columns in group.sink.accepted] == [7]
    assert [(row["requests"], row["points"], row["refused"]) for row in group.clients.rows()] == [(4, 7, 0)]


async def test_one_bad_request_says_nothing_to_its_neighbours() -> None:
    group = Group()
    told = await group.send(b"points=1", b"bad", b"boom", b"points=2,reject=3", b"points=4")
    assert [one.status for one in told] == [200, 400, 503, 200, 200]
    assert b"older than 48h" in told[3].data
    assert b"older" not in told[0].data + told[4].data
    assert sorted(columns.points for columns in group.sink.accepted) == [1, 2, 4]


@pytest.mark.parametrize("size", [100, 50_000])
async def test_compressed_bodies_in_one_group(size: int) -> None:
    group = Group()
    bodies = [gzip.compress(f"points={n},pad=".encode().ljust(size, b"x")) for n in (1, 2, 3)]
    told = await group.send(*bodies, b"\x1f\x8b damaged", encoding="gzip")
    assert [one.status for one in told] == [200, 200, 200, 400]
    assert [columns.points for columns in group.sink.accepted] == [6]


async def test_large_groups_are_decoded_in_threads_and_nobody_is_forgotten() -> None:
    group = Group()
    told = await group.send(*(f"points={n},pad=".encode().ljust(90_000, b"x") for n in range(60)))
    assert {one.status for one in told} == {200}
    assert group.sink.points == sum(range(60))


async def test_what_the_sink_refuses_whole_is_said_to_all() -> None:
    group = Group()
    group.sink.failure = Unavailable("not now")
    told = await group.send(b"points=1", b"points=2")
    assert [one.status for one in told] == [503, 503]
    group.sink.failure = Overloaded("full", retry_after=3.0)
    assert {one.status for one in await group.send(b"points=1", b"points=2")} == {429}


async def test_points_refused_for_the_limit_of_series_are_told_to_who_sent_them() -> None:
    group = Group()

    async def accept(columns: PointColumns, *, received_ns: int, body_bytes: int, latest_ns: int = 0) -> Receipt:
        assert (received_ns, latest_ns) == (1, 3)
        refused = np.array([False, True, True, False, False, True])
        return Receipt(3, {"series_limit": 3}, "the limit is reached", refused)

    group.sink.accept = accept  # type: ignore[method-assign]
    told = await group.send(b"points=3", b"points=2", b"points=1")
    assert [one.status for one in told] == [200] * 3
    # partial_success { rejected_data_points: n }
    assert [b"\x08\x02" in told[0].data, b"limit" in told[1].data, b"\x08\x01" in told[2].data] == [True, False, True]


async def test_an_error_in_the_program_is_no_error_of_the_sender() -> None:
    group = Group()

    async def accept(columns: PointColumns, **_: object) -> Receipt:
        raise ZeroDivisionError("planted")

    group.sink.accept = accept  # type: ignore[method-assign,assignment]
    assert [one.status for one in await group.send(b"points=3", b"points=2")] == [503, 503]
