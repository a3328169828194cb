"""Slow, obvious twin of runs (kernels.runs): all samples of a run are kept, and everything is worked out from them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field


@dataclass
class RunTwin:
    """Deviations in scales, each with the weight of a sample."""

    side: float = 0.0
    sums: list[float] = field(default_factory=list)
    """What each sample of the run brought, since it began or turned."""
    samples: list[float] = field(default_factory=list)
    """The deviations of the run, turned ones as well."""

    def follow(self, z: float, dense: float) -> bool:
        """See kernels.runs.follow_run; whether the sample is inside a run."""
        towards = math.copysign(1.0, z) if z != 0.0 else -1.0
        if self.side and towards != self.side and abs(z) > 2.5:
            self.side, self.sums = towards, []
        if not self.side:
            if abs(z) <= 2.5:
                return False
            self.side, self.sums, self.samples = towards, [], []
        self.samples.append(z)
        self.sums.append(min(sum(self.sums) + dense * (min(self.side * z, 9.0) - 2.0), 60.0) - sum(self.sums))
        quiet = len(self.samples) >= 4 and all(abs(z) < 1.0 for z in self.samples[-4:])
        if self.total <= 0.0 or quiet:
            self.side, self.sums = 0.0, []
        return True

    @property
    def total(self) -> float:
        """Sum of the run."""
        return sum(self.sums)
