"""Joined requests against the twin: what is cut off must never swallow what stands behind it."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import otlp_joined
from tests.reference.otlp_joined_twin import requests_end_apart


def field(content: bytes) -> bytes:
    assert len(content) < 128
    return bytes([0x0A, len(content)]) + content


whole = st.binary(max_size=20).map(field)
request = st.one_of(
    st.lists(whole, max_size=3).map(b"".join),
    st.lists(whole, max_size=3).map(b"".join).flatmap(lambda r: st.integers(0, len(r)).map(lambda cut: r[:cut])),
    st.binary(max_size=24),
    st.binary(max_size=10).map(lambda b: b"\x0a" + b"\x80" * 9 + b),
)


def joined(requests: list[bytes]) -> bool:
    data = np.frombuffer(b"".join(requests), np.uint8)
    return bool(otlp_joined.requests_end_apart(data, np.cumsum([len(r) for r in requests], dtype=np.int64)))


@settings(max_examples=400, deadline=None)
@given(st.lists(request, min_size=1, max_size=5))
def test_the_twin_says_the_same(requests: list[bytes]) -> None:
    assert joined(requests) == requests_end_apart(requests)


def test_a_cut_off_request_does_not_swallow_the_next() -> None:
    first, second = field(b"abcdef"), field(b"xyz")
    assert joined([first, second])
    assert not joined([first[:-3], first[-3:] + second])
    assert not joined([first[:1], first[1:]])


def test_ends_that_are_no_ends() -> None:
    data = np.frombuffer(field(b"abc") * 2, np.uint8)
    for ends in ([], [5], [5, 11], [10, 5], [-1, 10], [2**62, 10]):
        assert not otlp_joined.requests_end_apart(data, np.array(ends, np.int64))
