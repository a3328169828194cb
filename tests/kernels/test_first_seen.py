"""first_seen against a dictionary."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kernels.first_seen import first_seen


@given(st.lists(st.integers(0, 12), max_size=60), st.lists(st.integers(1, 3), min_size=10, max_size=10))
def test_each_new_generation_is_found_once(rows: list[int], generations: list[int]) -> None:
    known = np.array([1, 0] * 5, np.uint32)
    before = known.copy()
    found = np.zeros(len(rows), np.uint32)
    count = first_seen(np.array(rows, np.uint32), np.array(generations, np.uint32), known, found)
    expected = [s for s in dict.fromkeys(rows) if s < 10 and before[s] != generations[s]]
    assert found[:count].tolist() == expected
    assert all(known[s] == generations[s] for s in rows if s < 10)
