"""The account of bytes in flight."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from gateway.errors import Overloaded
from gateway.ingest.admission import Admission, Ticket


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


def test_a_request_that_is_alone_is_let_in():
    admission = Admission(100)
    ticket = Ticket(admission)
    admission.check(1000)
    ticket.take(1000)
    ticket.close()
    assert admission.in_flight == 0


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
