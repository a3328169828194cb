"""Rows in order of the log → rows in runs of their series.

A backlog holds many samples of a series, far apart. Brought together they share one label set, which is most of the
bytes a sample costs on its way out. Series come in order of their first row, rows of a series in order of the log, so
that rows of which no two are of one series stay as they are.
"""

from __future__ import annotations

import numpy as np

from kernels.jit import F8, I8, RF8, RI8, U4, i8, kernel


@kernel(U4, RI8, RF8, i8, U4, U4, I8, I8, F8)
def runs_of_series(sids, times, values, count, slots, series, ends, out_times, out_values):  # type: ignore[no-untyped-def]
    """Bring the first `count` rows together by series, in a counting and a placing pass.

    sids: uint32[n], the series of each row; overwritten. times: int64[n]; values: float64[n].
    slots: uint32[more than the largest sid], all zero, and so again when this returns.
    series: uint32[count] and ends: int64[count] receive the runs: a series and the row behind its last one.
    out_times: int64[count], out_values: float64[count]: receive the rows, unless each has a series of its own; then
    they are not touched, for `times` and `values` are in order as they are.
    Returns the number of runs, or −1 if the arrays do not fit together.
    """
    if count < 0 or count > min(len(sids), min(len(times), len(values))):
        return np.int64(-1)
    if count > min(min(len(series), len(ends)), min(len(out_times), len(out_values))):
        return np.int64(-1)
    runs, sound = np.int64(0), True
    for row in range(count):
        sid = np.int64(sids[row])
        if sid >= len(slots):
            sound = False
            break
        slot = np.int64(slots[sid])
        if slot == 0:
            series[runs] = np.uint32(sid)
            ends[runs] = 0
            runs += 1
            slot = runs
            slots[sid] = np.uint32(slot)
        ends[slot - 1] += 1
        sids[row] = np.uint32(slot - 1)
    for run in range(runs):
        slots[series[run]] = np.uint32(0)
    if not sound:
        return np.int64(-1)
    begin = np.int64(0)
    for run in range(runs):
        rows = ends[run]
        ends[run] = begin if runs < count else begin + rows
        begin += rows
    if runs < count:
        for row in range(count):
            owner = np.int64(sids[row])
            place = ends[owner]
            ends[owner] = place + 1
            out_times[place] = times[row]
            out_values[place] = values[row]
    return runs
