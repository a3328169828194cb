"""The score where samples are far apart: highest where something begins, and low while it only goes on.

At a minute and less an event is many samples, and a score that stays up while it lasts says so. At five minutes or an
hour a sample is an event of its own: whoever sets a threshold on the score is told of every sample beyond it. So a
sample shows how rare it is only if it is much rarer than what the series has just shown; a demand that fades. It is the
habituation of Thompson and Spencer (1966): a response falls with repetition and comes back with rest.

How rare: the chance of its deviation (kernels.rarity), or what the pattern model makes of the whole evidence, whichever
says more; both against the series' own past, so that one threshold serves many series.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from kernels.jit import step
from kernels.rarity import chance_of

COARSE_S: Final = 90.0
"""Steps beyond which samples are far apart."""
HABIT: Final = 150.0
"""Hundredths of a decade by which a sample must be rarer than the one shown just before."""
FADE: Final = 5.0
"""What that demand loses with each sample."""
EVEN: Final = 300.0
"""Even odds of a fault weigh as much as a sample that comes once in a thousand."""
ODDS: Final = 25.0
"""What one unit of log odds weighs."""
LEAST: Final = 200.0
"""What comes more often than once in a hundred samples is not shown."""
MOST: Final = 1200.0


@step
def show_novelty(s: Any, deviation: float, odds: float, out: Any, at: int) -> None:
    """Put the score of a sample that no open alert has told of into out[at], unless an alert's is there.

    deviation: of the sample, in scales; odds: log odds of the pattern model, -30 if it was not asked.
    """
    alerts = out[at] >= 0.5
    rare = EVEN + ODDS * odds
    chance = chance_of(s, deviation)
    if chance > 0.0:
        rare = max(rare, -100.0 * math.log10(max(chance, 1e-12)))
    rare = min(max(rare, EVEN if alerts else 0.0), MOST)
    demanded = max(s.novel - FADE, 0.0)
    if rare > demanded:
        if rare > LEAST and not alerts:
            out[at] = 0.4999 * rare / (rare + 200.0)
        demanded = rare + HABIT
    s.novel = np.int16(demanded)
