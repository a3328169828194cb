"""The account of bytes in flight."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from gateway.errors import Overloaded
from gateway.ingest.admission import COLUMN_BYTES, Admission, Ticket
from gateway.ingest.settings import IngestSettings
from gateway.settings_types import ByteSize


def test_what_does_not_fit_is_refused_and_costs_nothing():
    admission = Admission(100)
    first, second = Ticket(admission), Ticket(admission)
    first.take(60)
    with pytest.raises(Overloaded):
        second.take(50)
    with pytest.raises(Overloaded):
        admission.check(50)
    second.take(40)
    assert admission.in_flight == 100
    first.close()
    first.close()
    second.close()
    assert admission.in_flight == 0


def test_a_small_body_that_is_here_finds_room_beside_announced_ones_within_a_bound():
    admission = Admission(800)
    announced, small, compressed = Ticket(admission), Ticket(admission), Ticket(admission)
    announced.take(800)
    assert not admission.fits(50)
    assert admission.fits(50, here=True)
    with pytest.raises(Overloaded):
        small.take(50)
    small.here = compressed.here = True
    small.take(50)
    compressed.take(10)
    with pytest.raises(Overloaded):
        compressed.take(41)
    for ticket in (announced, small, compressed):
        ticket.close()
    assert admission.in_flight == 0


def test_limits_that_would_refuse_an_allowed_request_for_ever_are_refused():
    with pytest.raises(ValueError, match="twice"):
        IngestSettings(max_request_bytes=ByteSize(2048), max_in_flight_bytes=ByteSize(4095))


def test_threads_keep_the_account():
    admission = Admission(1 << 30)

    def churn(_: int) -> None:
        for amount in range(1, 500):
            ticket = Ticket(admission)
            ticket.take(amount)
            ticket.take(1)
            ticket.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(churn, range(8)))
    assert admission.in_flight == 0


def test_rows_of_a_group_are_counted_once():
    admission = Admission(1_000_000)
    teacher = Ticket(admission)
    teacher.take(20_000)
    teacher.hold_columns(10_000 // COLUMN_BYTES)
    teacher.close()
    group = [Ticket(admission) for _ in range(4)]
    for ticket in group:
        ticket.take(100_000)
    kept = admission.in_flight - 400_000
    assert 190_000 < kept <= 200_000, "half as much again is kept for the rows of each"
    rows = kept // COLUMN_BYTES
    group[0].hold_columns(rows, group[1:])
    assert admission.in_flight == 400_000 + rows * COLUMN_BYTES
    for ticket in group:
        ticket.close()
    assert admission.in_flight == 0


def test_what_groups_become_is_learned():
    admission = Admission(1_000_000)
    group = [Ticket(admission) for _ in range(4)]
    for ticket in group:
        ticket.take(10_000)
    group[0].hold_columns(20_000 // COLUMN_BYTES, group[1:])
    assert admission.expansion == pytest.approx(0.5, abs=0.01)
