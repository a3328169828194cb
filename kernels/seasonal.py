"""What the time of day adds: 96 cells of fifteen minutes, each its own mean, trusted as far as they predict."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from kernels.jit import hot_step, step
from kernels.series_state import CELLS

CELL_MS: Final = 900_000


@hot_step
def season_of(s: Any, t: int) -> float:
    """Season at time t (ms), 0 before it has been seen; between the middles of two cells if every cell is visited."""
    if s.interval > 650.0:
        here = (t // CELL_MS) % CELLS
        known: float = s.cells[here] * s.unit if s.seen[here // 8] > 0 else 0.0
        return known
    # Half a cell earlier begins the one in whose second half or after whose end t lies.
    earlier = t - CELL_MS // 2
    low = earlier // CELL_MS
    part = (earlier - low * CELL_MS) * (1.0 / CELL_MS)
    a = low % CELLS
    b = a + 1 if a + 1 < CELLS else 0
    known_a, known_b = s.seen[a // 8] > 0, s.seen[b // 8] > 0
    if known_a and known_b:
        between: float = (s.cells[a] + part * (s.cells[b] - s.cells[a])) * s.unit
        return between
    if known_a:
        season: float = s.cells[a] * s.unit if part < 1.0 else 0.0
        return season
    other: float = s.cells[b] * s.unit if known_b and part > 0.0 else 0.0
    return other


@step
def learn_season(s: Any, t: int, value: float) -> None:
    """Gather `value`, the distance from the level of days, into its cell; fold the cell in when it is left."""
    cell = (t // CELL_MS) % CELLS
    if cell != s.cell_now:
        if s.cell_count > 0:
            mean = s.cell_sum / s.cell_count
            k = s.cell_now
            old = s.cells[k] * s.unit
            days = s.seen[k // 8]
            if days > 0:
                a = max(0.01, 1.0 / (1.0 + days * CELLS * 0.5))
                s.loss_with += a * (abs(mean - old) - s.loss_with)
                s.loss_without += a * (abs(mean) - s.loss_without)
                trust = 1.0 - s.loss_with / s.loss_without if s.loss_without > 0.0 else 0.0
                trust = min(max(1.6 * trust, 0.0), 1.0)
                s.season_gain += 0.03 * (trust - s.season_gain)
            new = old + (mean - old) / min(days + 1.0, 5.0)
            if s.unit <= 0.0 or abs(new) > 32000.0 * s.unit:
                unit = max(abs(new) / 8000.0, 1e-300)
                for c in range(CELLS):
                    s.cells[c] = np.int16(round(s.cells[c] * s.unit / unit))
                s.unit = unit
            if s.unit > 0.0:
                s.cells[k] = np.int16(round(new / s.unit))
            if (cell // 8) != (k // 8) and days < 255:
                s.seen[k // 8] = days + 1
        s.cell_now = cell
        s.cell_count = 0
        s.cell_sum = 0.0
    s.cell_sum += value
    if s.cell_count < 65535:
        s.cell_count += 1
