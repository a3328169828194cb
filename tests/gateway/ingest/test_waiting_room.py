"""Requests for which there is no room wait in their connections: shortly, or long where the sender takes no notice of
the wait it was told; those that do take notice go first."""

from __future__ import annotations

import asyncio
import math
import os
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import cast

import pytest
from aiohttp import StreamReader, web
from aiohttp.test_utils import make_mocked_request

from gateway import selfmetrics
from gateway.errors import Overloaded, RequestError, ShuttingDown, Unavailable
from gateway.ingest.admission import COLUMN_BYTES, Admission, Ticket
from gateway.ingest.large_body import LargeBodyHandler
from gateway.ingest.settings import IngestSettings
from gateway.ingest.waiting_room import WaitingRoom
from gateway.settings_types import ByteSize
from tests.gateway.ingest.receivers import Receivers, running
from tests.gateway.ingest.test_large_body import Client, post

MEBI = 2**20
SETTINGS = IngestSettings(max_request_bytes=ByteSize(MEBI), max_in_flight_bytes=ByteSize(2 * MEBI))
WAYS = pytest.mark.parametrize("way", ["", "TE: trailers\r\n"], ids=["plain", "usual"])
"""A further header: requests with a head that is not plain take aiohttp's way."""
SIZES = (4_000, 100_000, 600_000)
"""A body within the headers' packet, one that is put aside, one that is not read before it is asked for."""


@pytest.fixture
async def receivers() -> AsyncIterator[Receivers]:
    async with running(SETTINGS) as both:
        yield both


@contextmanager
def full(admission: Admission) -> Iterator[None]:
    """Somebody holds everything, also what is kept for small bodies."""
    amount = admission.max_bytes + admission.kept - admission.in_flight
    admission.add(amount)
    yield
    admission.give_back(amount)


def number(name: str) -> int:
    """A metric without labels."""
    lines = selfmetrics.exposition().decode().splitlines()
    return int(float(next(line for line in lines if line.startswith(f"gateway_{name} ")).split()[1]))


async def until(holds: Callable[[], bool], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not holds():
            await asyncio.sleep(0.005)


async def waiting(receivers: Receivers) -> int:
    """Requests that wait, once there are any."""
    await until(lambda: number("ingest_waiting_requests") > 0)
    return number("ingest_waiting_requests")


@WAYS
@pytest.mark.parametrize("size", SIZES)
async def test_who_comes_back_too_early_waits_in_the_connection_until_there_is_room(
    receivers: Receivers, size: int, way: str
) -> None:
    client, other = await Client.to(receivers), await Client.to(receivers)
    held = receivers.admission.max_bytes + receivers.admission.kept
    with full(receivers.admission):
        await client.send(post(1, size, extra=way))
        assert await client.answer() == 429, "nothing became free in time"
        await client.send(post(2, size, extra=way)[: size // 2])
        assert await waiting(receivers) == 1
        await other.send(post(4, size, extra=way))
        assert await other.answer() == 429, "another connection is told by itself"
        assert receivers.sink.points == 0
        assert await waiting(receivers) == 1
        assert receivers.admission.in_flight == held, "who waits holds nothing"
    await client.send(post(2, size, extra=way)[size // 2 :])
    assert await client.answer() == 200
    await client.send(post(8, size, extra=way))
    assert await client.answer() == 200
    assert receivers.sink.points == 10
    assert receivers.admission.in_flight == 0
    client.close()
    other.close()


@WAYS
async def test_what_becomes_free_in_time_is_given_to_who_waits(receivers: Receivers, way: str) -> None:
    clients = [await Client.to(receivers) for _ in range(4)]
    with full(receivers.admission):
        for number, client in enumerate(clients):
            await client.send(post(1 << number, 700_000, extra=way))
        assert await waiting(receivers) >= 1
    for client in clients:
        assert await client.answer() in (200, 429)
        client.close()
    assert receivers.sink.points > 0
    assert receivers.admission.in_flight == 0


@WAYS
async def test_a_client_that_goes_away_while_it_waits_takes_nothing_with_it(receivers: Receivers, way: str) -> None:
    client = await Client.to(receivers)
    with full(receivers.admission):
        await client.send(post(1, 300_000, extra=way))
        assert await client.answer() == 429
        await client.send(post(2, 300_000, extra=way)[:200_000])
        assert await waiting(receivers) == 1
        client.close()
    other = await Client.to(receivers)
    await other.send(post(4, 300_000))
    assert await other.answer() == 200
    other.close()
    async with asyncio.timeout(10):
        while receivers.admission.in_flight:
            await asyncio.sleep(0.005)
    assert receivers.sink.points == 4


async def refused_and_waiting(receivers: Receivers, count: int, size: int, way: str) -> list[Client]:
    """Clients whose second requests wait, whole ones."""
    clients = [await Client.to(receivers) for _ in range(count)]
    for client in clients:
        client.writer.write(post(1, size, extra=way))
    for client in clients:
        assert await client.answer() == 429
        client.writer.write(post(1, size, extra=way))
    await until(lambda: number("ingest_waiting_requests") == count)
    return clients


@WAYS
@pytest.mark.parametrize("size", SIZES)
async def test_clients_that_went_away_are_noticed_and_take_no_room(receivers: Receivers, size: int, way: str) -> None:
    gone = number("ingest_waiting_gone_total")
    with full(receivers.admission):
        clients = await refused_and_waiting(receivers, 3, size, way)
        answers = number_of_answers("429")
        closing, resetting, half = clients[:1], clients[1:2], clients[2:]
        for client in closing:
            client.close()
        for client in resetting:
            client.writer.transport.abort()
        for client in half:
            client.writer.write_eof()
        if size <= 100_000:  # of larger ones the end is behind what their sockets have no room for
            await until(lambda: number("ingest_waiting_requests") == 0, 1.0)
            assert number("ingest_waiting_gone_total") - gone == 3
        assert number_of_answers("429") == answers
    for client in half:
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await client.answer()
    await until(lambda: number("ingest_http_connections") == 0)
    assert receivers.sink.points == 0, "nobody heard of it, so it would be sent again"
    assert receivers.admission.in_flight == 0
    assert number("ingest_waiting_bytes") == 0


@WAYS
@pytest.mark.parametrize("size", SIZES)
async def test_who_waits_when_the_receiver_stops_is_told_to_come_again(size: int, way: str) -> None:
    async with running(SETTINGS) as r:
        with full(r.admission):
            clients = await refused_and_waiting(r, 3, size, way)
            stopping = asyncio.create_task(r.http.stop(5.0))
            for client in clients:
                async with asyncio.timeout(4):
                    head = await client.reader.readuntil(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 503 ")
                assert b"\r\nRetry-After: 1\r\n" in head
                assert b"\r\nconnection: close\r\n" in head.lower()
            async with asyncio.timeout(4):
                await stopping
        assert r.sink.points == 0
        for client in clients:
            client.close()


@WAYS
async def test_what_was_read_of_requests_that_wait_is_bounded(receivers: Receivers, way: str) -> None:
    """Two mebibytes may be held: eight first readings of a quarter, or some thirty small ones."""
    clients = [await Client.to(receivers) for _ in range(40)]
    limit = receivers.admission.max_bytes
    assert number("ingest_waiting_bytes") == 0
    most = 0
    with full(receivers.admission):
        for turn in range(2):
            for client in clients:
                await client.send(post(1, 250_000, extra=way)[: 249_000 if turn else 260_000])
            await waiting(receivers)
            waited = 0
            for _ in range(20):
                most = max(most, number("ingest_waiting_bytes"))
                waited = max(waited, number("ingest_waiting_requests"))
                await asyncio.sleep(0.002)
            if not turn:
                assert [await client.answer() for client in clients] == [429] * len(clients)
        assert 0 < most <= limit
        if not way:  # what takes aiohttp's way is read in larger pieces
            assert waited > limit // 100_000  # at some time: on a busy machine their second is soon over
    for client in clients:
        client.close()
    await until(lambda: number("ingest_waiting_bytes") == 0 and receivers.admission.in_flight == 0)


@WAYS
async def test_what_comes_behind_a_request_that_waits_is_answered_after_it(receivers: Receivers, way: str) -> None:
    client = await Client.to(receivers)
    with full(receivers.admission):
        await client.send(post(1, 4_000, extra=way))
        assert await client.answer() == 429
        await client.send(post(2, 70_000, extra=way) + post(4, 100) + post(8, 300_000)[:20_000])
        assert await waiting(receivers) == 1
    await client.send(post(8, 300_000)[20_000:])
    assert [await client.answer() for _ in range(3)] == [200, 200, 200]
    assert receivers.sink.points == 14
    assert receivers.admission.in_flight == 0
    client.close()


@pytest.mark.parametrize("crowded", [False, True])
@pytest.mark.parametrize("size", [{"Transfer-Encoding": "chunked"}, {"Content-Length": "5"}], ids=["chunked", "length"])
async def test_who_has_gone_before_its_handler_begins_is_no_unexpected_error(
    receivers: Receivers, size: dict[str, str], crowded: bool
) -> None:
    small = receivers.http._small
    assert small is not None
    exchange, loop = small.exchange, asyncio.get_running_loop()
    gone = LargeBodyHandler(web.Server(never), loop=loop)
    content = StreamReader(gone, 2**16, loop=loop)
    request = make_mocked_request("POST", "/v1/metrics", headers=size, payload=content)
    request._protocol = gone
    with full(receivers.admission) if crowded else nullcontext():
        with pytest.raises(RequestError, match="went away"):
            await exchange.read(request, exchange.ticket(request))
        assert number("ingest_waiting_requests") == 0, "nothing would tell of it"


async def never(_request: web.BaseRequest) -> web.StreamResponse:
    raise AssertionError("nobody asks")


def number_of_answers(code: str) -> float:
    """Counted as given, over HTTP."""
    lines = selfmetrics.exposition().decode().splitlines()
    found = [line for line in lines if line.startswith("gateway_ingest_requests_total{") and f'"{code}"' in line]
    return sum(float(line.rpartition(" ")[2]) for line in found)


class Room:
    """A waiting room without connections. Everything is taken until `free`."""

    def __init__(self) -> None:
        self.admission = Admission(100)
        self.admission.add(100)
        self.room = WaitingRoom(self.admission)

    def wait(self, ticket: Ticket | None = None, *, early: bool = True, held: int = 0) -> asyncio.Future[None]:
        until = math.inf if early else 0.0
        handler = cast(LargeBodyHandler, SimpleNamespace(told_to_wait_until=until, transport=None))
        return self.room.wait(handler, 10, 10, ticket or Ticket(self.admission), held)

    def free(self) -> None:
        self.admission.give_back(100)


@pytest.fixture
async def room() -> Room:
    return Room()


class Broken(Ticket):
    """Which cannot take anything."""

    def take(self, amount: int) -> None:
        raise ZeroDivisionError(f"planted for {amount}")


def failures() -> float:
    found = selfmetrics.TASK_FAILURES.labels("waiting_room")._value.get()
    assert isinstance(found, float)
    return found


async def test_who_goes_away_behind_another_one_is_forgotten_at_once(room: Room) -> None:
    first = room.wait()
    for _ in range(1_000):
        for early in (False, True):
            room.wait(early=early).cancel()
    await asyncio.sleep(0)
    text = selfmetrics.exposition().decode()
    assert "gateway_ingest_waiting_requests 1.0" in text.splitlines()
    assert not first.done()
    room.free()
    async with asyncio.timeout(10):
        await first


def with_socket(connection: socket.socket) -> LargeBodyHandler:
    transport = SimpleNamespace(get_extra_info=lambda _name: connection, is_closing=lambda: False)
    return cast(LargeBodyHandler, SimpleNamespace(told_to_wait_until=math.inf, transport=transport))


async def test_a_socket_that_was_closed_while_it_waited_may_have_given_its_number_to_the_next_one(room: Room) -> None:
    tickets = [Ticket(room.admission) for _ in range(2)]
    (first, _first_client), (second, _second_client) = socket.socketpair(), socket.socketpair()
    waits = [room.room.wait(with_socket(first), 10, 10, tickets[0], 0)]
    descriptor = first.detach()
    os.dup2(second.fileno(), descriptor)  # closes what had it
    waits.append(room.room.wait(with_socket(socket.socket(fileno=descriptor)), 10, 10, tickets[1], 0))
    room.free()
    async with asyncio.timeout(10):
        await asyncio.gather(*waits)
    for ticket in tickets:
        ticket.close()
    assert room.admission.in_flight == 0


async def test_who_loses_its_connection_while_it_waits_is_forgotten_at_once(room: Room) -> None:
    handler = LargeBodyHandler(web.Server(never), loop=asyncio.get_running_loop())
    gone = number("ingest_waiting_gone_total")
    let_in = room.room.wait(handler, 10, 10, Ticket(room.admission), 7)
    handler.connection_lost(None)
    with pytest.raises(RequestError, match="went away"):
        await let_in
    assert (number("ingest_waiting_requests"), number("ingest_waiting_bytes")) == (0, 0)
    assert number("ingest_waiting_gone_total") - gone == 1


async def test_who_is_refused_at_once_for_what_it_holds_is_told_to_wait(room: Room) -> None:
    handler = cast(LargeBodyHandler, SimpleNamespace(told_to_wait_until=0.0, transport=None))
    first = room.wait(held=60)
    assert room.room.refusal(handler, 40) is None
    assert isinstance(room.room.refusal(handler, 41), Overloaded)
    assert handler.told_to_wait_until > asyncio.get_running_loop().time()
    first.cancel()
    await asyncio.sleep(0)
    assert room.room.refusal(handler, 100) is None


async def test_whoever_comes_after_the_end_is_told_of_it(room: Room) -> None:
    first, second = room.wait(), room.wait()
    second.cancel()
    room.room.close()
    with pytest.raises(ShuttingDown):
        await first
    handler = cast(LargeBodyHandler, SimpleNamespace(told_to_wait_until=0.0, transport=None))
    assert isinstance(room.room.refusal(handler, 0), ShuttingDown)


async def test_who_goes_away_just_before_its_turn_is_passed_over(room: Room) -> None:
    first, second = room.wait(), room.wait()
    room.free()
    first.cancel()
    room.room._look()
    assert second.done()
    assert room.admission.in_flight == 10


async def test_an_unexpected_error_refuses_one_request_and_the_others_are_let_in(room: Room) -> None:
    before = failures()
    broken, sound = room.wait(Broken(room.admission)), room.wait()
    room.free()
    async with asyncio.timeout(10):
        with pytest.raises(Unavailable, match="send it again"):
            await broken
        await sound
        later = room.wait()
        await later
    assert failures() - before == 1


async def test_the_room_goes_on_looking_whatever_happens_to_one_look(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(now: float) -> None:
        monkeypatch.undo()
        raise ZeroDivisionError(f"planted at {now}")

    before = failures()
    monkeypatch.setattr(room.room, "_go_through", fails)
    waiting = room.wait()
    room.free()
    async with asyncio.timeout(10):
        await waiting
    assert failures() - before == 1


def test_what_requests_become_as_rows_counts_before_they_are_decoded() -> None:
    admission = Admission(100_000)
    first = Ticket(admission)
    first.take(40_000)
    first.hold_columns(20_000 // COLUMN_BYTES)
    assert 59_000 < admission.in_flight <= 60_000
    second = Ticket(admission)
    with pytest.raises(Overloaded):
        second.take(30_000)
    second.take(20_000)
    assert 88_000 < admission.in_flight <= 90_000
    first.close()
    second.hold_columns(0)
    assert admission.in_flight == 20_000
    second.close()
    alone = Ticket(admission)
    alone.take(60_000)
    alone.take(40_000)
    alone.close()
    assert admission.in_flight == 0


def test_threads_are_let_in_as_they_came_and_only_who_fits() -> None:
    admission = Admission(100)
    holder = Ticket(admission)
    holder.take(60)
    holder.take(40)
    let_in: list[str] = []

    def wait(name: str, amount: int) -> None:
        admission.wait_for_room(amount, 30.0)
        let_in.append(name)

    threads = []
    for number, (name, amount) in enumerate((("first", 50), ("second", 60), ("third", 0))):
        threads.append(threading.Thread(target=wait, args=(name, amount)))
        threads[-1].start()
        while len(admission._waiting) <= number:
            pass
    admission.give_back(40)
    assert not let_in, "who came first does not fit yet, and the third does not overtake"
    admission.give_back(20)
    threads[0].join()
    assert let_in == ["first"]
    admission.in_flight += 50  # taken, as whoever returns does
    admission.give_back(50)
    admission.give_back(30)
    for thread in threads:
        thread.join()
    assert sorted(let_in[1:]) == ["second", "third"]
    admission.wait_for_room(60, 30.0)
    admission.add(90)
    admission.wait_for_room(20, 0.0)
    assert not admission._waiting, "who waited in vain is forgotten"
