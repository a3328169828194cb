"""Zeros that take memory where they are written to."""

from __future__ import annotations

import mmap

import numpy as np
import pytest

from gateway.telemetry.mapped_zeros import grown_size, mapped_zeros


def resident(array: np.ndarray) -> int:
    """Pages of the array that are in memory."""
    with open("/proc/self/pagemap", "rb") as pages:
        pages.seek(array.ctypes.data // mmap.PAGESIZE * 8)
        entries = np.frombuffer(pages.read(array.nbytes // mmap.PAGESIZE * 8), np.uint64)
    return int(np.count_nonzero(entries >> np.uint64(63)))


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("shape", [5, 3_000_000, (500_000, 2)])
def test_they_are_zeros_that_can_be_written(shape: int | tuple[int, int], sparse: bool) -> None:
    array = mapped_zeros(shape, np.uint32, sparse=sparse)
    assert array.shape == np.empty(shape, np.uint8).shape
    assert array.dtype == np.uint32
    assert not array.any()
    array[-1] = 7
    assert array.sum() in (7, 14)


def test_records_are_zeros_too() -> None:
    kind = np.dtype([("a", np.int64), ("b", np.float32)])
    array = mapped_zeros(200_000, kind)
    array["a"][17] = 3
    assert array[17].tolist() == (3, 0.0)


def test_what_is_not_written_takes_no_memory() -> None:
    array = mapped_zeros(8_000_000, np.int64, sparse=True)
    array[::1_000_000] = 1
    assert resident(array) == 8


def test_more_address_space_than_there_is_is_told() -> None:
    with pytest.raises(MemoryError):
        mapped_zeros(1 << 57, np.uint8)


def test_sizes_grow_by_a_quarter_or_what_is_needed() -> None:
    assert grown_size(1000, 1001) == 1250
    assert grown_size(1000, 5000) == 5000
