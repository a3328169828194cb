"""The table of label sets seen before that a decoder's threads share: how large it is, when it grows and begins anew.

A table that fills up holds what is sent now and what was sent once by series that are gone. If nearly all that was
looked up was found, it is the latter that fills it: then it begins anew in the same size, and what is still sent is
entered again. Without that, series that come and go would fill it to its bound, over hours.
"""

from __future__ import annotations

import threading
from typing import Final

import numpy as np
from numpy.typing import NDArray

from kernels.known_labels import BUCKET_WORDS, BUCKETS_FULL, ENTERED, ENTRY_WORDS, TALLIES, empty_table, move_known

_FIRST_BUCKETS: Final = 1 << 9
_MOST_BUCKETS: Final = 1 << 19
"""1,048,576 entries in 32 MiB; of more label sets than that, part is worked through each time."""
_FOUND_OFTEN: Final = 16
"""So many lookups for each that found nothing, since the table began: what it would then cost to enter everything once
more is at most a sixteenth of them."""


class KnownLabels:
    """Grows with what is entered, to a bound; never says anything wrong about bytes, whoever sent them."""

    def __init__(self, most_buckets: int = _MOST_BUCKETS) -> None:
        """most_buckets: a power of two; 0 forgets everything with each request."""
        self._most_buckets = most_buckets
        self._table = empty_table(min(_FIRST_BUCKETS, max(most_buckets, 1)))
        self._entered = 0
        self._looked_up = 0
        self._not_found = 0
        self._growing = threading.Lock()

    @property
    def entries(self) -> int:
        """How many label sets the table has room for."""
        return len(self._table) // ENTRY_WORDS

    @property
    def entered(self) -> int:
        """How many label sets the table holds."""
        return self._entered

    def for_request(self) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        """(table, tally): what a request's kernels use; the tally belongs to this request alone."""
        return self._table, np.zeros(TALLIES, np.int64)

    def after_request(self, tally: NDArray[np.int64], looked_up: int) -> None:
        """Takes note of what a request looked up and entered. When three quarters are full and something found no
        room, the table begins anew or grows."""
        self._looked_up += looked_up  # of threads that meet here one may be lost: it decides about a size alone
        if not tally.any():
            return
        if self._most_buckets == 0:
            self._table = empty_table(1)
            return
        with self._growing:
            self._entered += int(tally[ENTERED])
            self._not_found += int(tally[ENTERED]) + int(tally[BUCKETS_FULL])
            table = self._table
            entries, most = len(table) // ENTRY_WORDS, self._most_buckets * BUCKET_WORDS // ENTRY_WORDS
            if self._entered * 4 < entries * 3 or not tally[BUCKETS_FULL]:
                return
            if self._looked_up >= _FOUND_OFTEN * self._not_found:
                self._table = empty_table(len(table) // BUCKET_WORDS)
                self._entered = self._looked_up = self._not_found = 0
                return
            if entries >= most:
                return
            wanted = self._entered + int(tally[BUCKETS_FULL])
            while entries < most and wanted * 4 > entries * 3:
                entries *= 2
            larger = empty_table(entries * ENTRY_WORDS // BUCKET_WORDS)
            # What other threads enter into the old table meanwhile is lost, and entered again when it comes again.
            self._entered = int(move_known(table, larger))
            self._table = larger
