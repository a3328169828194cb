"""The record of statuses against a list that keeps everything."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.web.status_record import ROW, StatusRecord, StatusSample


def sample(time: float, number: int) -> StatusSample:
    return StatusSample(
        time=time, accepted=number, scored=number + 1, forwarded=2**53 + number, pending=0, dropped=1, series=2,
        score_p99=0.25, forward_p99=0.5, anomalies=number % 3,
    )  # fmt: skip


def test_rows_and_samples_have_the_same_fields_in_the_same_order() -> None:
    assert ROW.names == StatusSample.__struct_fields__


@given(st.integers(1, 9), st.lists(st.integers(0, 30)), st.integers(-1, 31), st.integers(1, 6))
def test_the_newest_are_kept_and_thinned_from_the_end(length: int, times: list[int], since: int, most: int) -> None:
    record = StatusRecord(length)
    assert record.newest() is None
    everything = [sample(float(time), number) for number, time in enumerate(times)]
    for one in everything:
        record.append(one)
        assert record.newest() == one
    wanted = [one for one in everything[-length:] if one.time >= since]
    assert record.since(since) == wanted
    shown = record.since(since, most)
    assert len(shown) <= most
    assert shown == wanted[::-1][:: max(1, -(-len(wanted) // most))][::-1]
