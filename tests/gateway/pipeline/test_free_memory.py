"""Freed memory that lies between what stays is given back."""

from __future__ import annotations

import os

import numpy as np

from gateway.pipeline import free_memory
from gateway.pipeline.free_memory import give_back_free_memory
from loadtest.soak import resident

PIECE = 64 * 1024
PIECES = 1024


def test_free_pages_in_the_middle_of_the_heap_are_given_back() -> None:
    stays, goes = [], []
    for _ in range(PIECES):
        goes.append(np.ones(PIECE, np.uint8))
        stays.append(np.ones(512, np.uint8))
    full = resident(os.getpid())[1]
    goes.clear()
    give_back_free_memory()
    assert full - resident(os.getpid())[1] > PIECES * PIECE // 2
    assert len(stays) == PIECES


def test_what_the_heap_holds_is_told() -> None:
    used, free = free_memory._heap_bytes("uordblks"), free_memory._heap_bytes("fordblks")
    piece = np.ones(PIECE, np.uint8)
    assert free_memory._heap_bytes("uordblks") - used >= len(piece)
    assert free >= 0
