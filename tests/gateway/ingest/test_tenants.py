"""Tenants: rates with debt, shares of the bytes in flight, limits of series, and who a request is counted against."""

from __future__ import annotations

import hashlib

import aiohttp
import grpc
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.access.settings import AccessSettings, Token
from gateway.clock import ManualClock
from gateway.errors import Overloaded
from gateway.ingest.admission import Admission
from gateway.ingest.series_quota import REASON, SeriesQuota, without
from gateway.ingest.settings import IngestSettings, TenantLimits
from gateway.ingest.tenants import Tenants
from gateway.settings_types import ByteSize, Duration, Secret
from gateway.telemetry import kind
from gateway.telemetry.columns import ExemplarColumns
from tests.gateway.ingest.receivers import columns_of, running

EXPORT = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"


def tenants(clock: ManualClock, *limits: TenantLimits, memory: float = 60.0) -> Tenants:
    return Tenants(IngestSettings(tenants=limits), clock, series_memory=memory)


def test_a_rate_runs_into_debt_and_the_wait_is_the_time_in_which_it_is_paid() -> None:
    clock = ManualClock()
    both = tenants(clock, TenantLimits(name="*", rows_per_second=100.0, burst=Duration(1)))
    noisy = Admission(1_000_000, tenants=both).ticket("noisy")
    noisy.take(1)
    noisy.hold_columns(600)  # 100 were saved up: five seconds of debt
    with pytest.raises(Overloaded) as refused:
        Admission(1_000_000, tenants=both).ticket("noisy").take(1)
    assert refused.value.retry_after == pytest.approx(5.0)
    Admission(1_000_000, tenants=both).ticket("other").take(1)
    clock.advance(4.9)
    with pytest.raises(Overloaded):
        Admission(1_000_000, tenants=both).ticket("noisy").take(1)
    clock.advance(0.2)
    Admission(1_000_000, tenants=both).ticket("noisy").take(1)


def test_bytes_count_while_they_arrive_and_a_request_under_way_is_not_cut_off() -> None:
    clock = ManualClock()
    account = tenants(clock, TenantLimits(name="t", bytes_per_second=ByteSize(1000), burst=Duration(1)))
    admission = Admission(1_000_000, tenants=account)
    ticket = admission.ticket("t")
    for _ in range(3):
        ticket.take(1000)
    with pytest.raises(Overloaded, match="more bytes a second"):
        admission.ticket("t").take(1)


def test_a_lone_tenant_may_hold_everything() -> None:
    admission = Admission(1000, tenants=tenants(ManualClock()))
    for _ in range(10):
        admission.ticket("a").take(100)
    with pytest.raises(Overloaded, match="in flight"):
        admission.ticket("a").take(1)


def greedy(admission: Admission, name: str) -> int:
    """Bytes that a tenant gets by requests of one byte, until it is told that this is its share."""
    for held in range(2000):
        try:
            admission.ticket(name).take(1)
        except Overloaded:
            return held
    raise AssertionError("never refused")


def test_greedy_tenants_stop_at_a_share_and_leave_room_for_others() -> None:
    admission = Admission(1200, tenants=tenants(ManualClock()))
    admission.ticket("quiet").take(0)

    assert greedy(admission, "a") == 600
    assert greedy(admission, "b") == 300
    admission.ticket("quiet").take(100)
    large = admission.ticket("late")
    large.take(200)  # holds nothing else: let in although it is more than its share of what is free
    assert admission.in_flight == 1200
    large.close()
    assert admission.in_flight == 1000


def test_a_weight_moves_the_share() -> None:
    admission = Admission(1200, tenants=tenants(ManualClock(), TenantLimits(name="big", weight=3.0)))
    admission.ticket("small").take(0)
    assert greedy(admission, "big") == 900


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 400), st.booleans()), max_size=80))
def test_what_is_taken_is_given_back_whatever_happens(steps: list[tuple[str, int, bool]]) -> None:
    account = tenants(ManualClock())
    admission = Admission(1000, tenants=account)
    open_tickets = []
    for name, amount, close in steps:
        ticket = admission.ticket(name)
        try:
            ticket.take(amount)
            ticket.take(amount // 2)
            ticket.hold_columns(amount // 100)
        except Overloaded:
            ticket.close()
        else:
            open_tickets.append(ticket)
        assert admission.in_flight == sum(account.get(n).in_flight for n in "abc")
        if close and open_tickets:
            open_tickets.pop(0).close()
    for ticket in open_tickets:
        ticket.close()
    assert admission.in_flight == 0
    assert [account.get(n).in_flight for n in "abc"] == [0, 0, 0]


def _hashed(numbers: list[int]):
    columns = columns_of(len(numbers))
    columns.hash_lo = np.array(numbers, np.uint64)
    columns.values = np.array(numbers, np.float64)
    return columns


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.integers(1, 60), min_size=1, max_size=40), max_size=20), st.integers(1, 50))
def test_the_quota_lets_in_as_many_series_as_it_says_and_always_the_same(requests: list[list[int]], limit: int) -> None:
    quota = SeriesQuota(limit, 60.0, ManualClock())
    known: set[int] = set()
    for numbers in requests:
        taken = quota.admit(_hashed(numbers))
        stayed = {int(v) for v in taken.values}
        assert known & set(numbers) <= stayed, "a known series is never refused"
        known |= stayed
        assert len(known) == quota.count() <= limit
        assert stayed == set(numbers) or quota.count() == limit
        assert taken.points + taken.rejected.get(REASON, 0) == len(numbers)


def test_series_without_points_are_forgotten() -> None:
    clock = ManualClock()
    quota = SeriesQuota(2, 10.0, clock)
    assert len(quota.admit(_hashed([1, 2, 3]))) == 2
    clock.advance(11.0)
    assert len(quota.admit(_hashed([1, 3]))) == 1, "the second may still be alive"
    clock.advance(11.0)
    assert len(quota.admit(_hashed([1, 3]))) == 2
    clock.advance(25.0)
    assert len(quota.admit(_hashed([8, 9]))) == 2


def test_a_point_goes_whole_and_its_labels_and_exemplars_follow() -> None:
    columns = columns_of(6)
    columns.points = 2
    columns.kinds[5] = kind.TARGET_INFO
    columns.row_points = np.array([0, 0, 1, 1, 1, 2], np.uint32)
    columns.values = np.arange(6, dtype=np.float64)
    columns.exemplars = ExemplarColumns(
        np.array([1, 3, 4], np.uint32), np.arange(3), np.arange(3.0), np.zeros((3, 16), np.uint8),
        np.zeros((3, 8), np.uint8),
    )  # fmt: skip
    kept = without(columns, np.array([True, False, False, False, False, True]), 7)
    assert kept.values.tolist() == [2.0, 3.0, 4.0]
    assert (kept.points, kept.rejected) == (1, {REASON: 1})
    assert kept.exemplars is not None
    assert kept.exemplars.rows.tolist() == [1, 2]
    assert len(kept.source.definitions(np.array([0, 2]))) == 2


TOKENS = AccessSettings(
    tokens=tuple(
        Token(name=name, sha256=Secret(hashlib.sha256(name.encode()).hexdigest()), tenant=tenant)
        for name, tenant in (("one", "shop"), ("two", "shop"), ("three", ""))
    )
)


async def test_a_request_counts_against_the_tenant_of_its_credentials_over_http_and_grpc() -> None:
    limits = IngestSettings(
        tenants=(TenantLimits(name="shop", rows_per_second=1.0), TenantLimits(name="three", max_series=2))
    )
    async with running(limits, access=TOKENS) as r, aiohttp.ClientSession() as session:

        async def post(token: str, body: bytes) -> tuple[int, str | None, bytes]:
            headers = {"Content-Type": "application/x-protobuf", "Authorization": f"Bearer {token}"}
            async with session.post(f"{r.url}/v1/metrics", data=body, headers=headers) as answer:
                return answer.status, answer.headers.get("Retry-After"), await answer.read()

        assert (await post("one", b"points=25"))[0] == 200
        status, wait, _ = await post("two", b"points=1")
        assert status == 429, "both tokens belong to one tenant"
        assert wait is not None
        assert 15 <= int(wait) <= 21
        status, _, said = await post("three", b"points=1")
        assert (status, said) == (200, b"")
        async with grpc.aio.insecure_channel(r.target) as channel:
            call = channel.unary_unary(EXPORT)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call(b"points=1", metadata=(("authorization", "Bearer one"),), timeout=10)
            assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert await call(b"points=1", metadata=(("authorization", "Bearer three"),), timeout=10) == b""
        # The toy format's hash_lo is the same for all: one series. Its labels are not asked for here.
        assert r.sink.accepted
