"""Slow, obvious twins of the detector's building blocks."""

from __future__ import annotations

import math

Row = tuple[int, float, float | None]
"""Time in ms, raw value, start of its interval in ms if known."""


def rates(rows: list[Row], delta: bool) -> list[tuple[int, float]]:
    """Times and rates of a counter's rows: resets and the first row give none, late and repeated rows do not count."""
    out = []
    last: tuple[int, float] | None = None
    for time, value, start in rows:
        if last is not None and time <= last[0]:
            continue
        if delta:
            if start is not None and start < time:
                out.append((time, value / ((time - start) / 1000)))
            elif last is not None:
                out.append((time, value / ((time - last[0]) / 1000)))
        elif last is not None and value >= last[1]:
            out.append((time, (value - last[1]) / ((time - last[0]) / 1000)))
        last = (time, value)
    return out


def bucket_quantile(quantile: float, bounds: list[float], cumulative: list[float]) -> float | None:
    """Linear within the bucket that holds the quantile; the last finite bound for the open one; None when empty."""
    total = cumulative[-1]
    if total <= 0:
        return None
    target = quantile * total
    lower_bound, below = 0.0, 0.0
    for bound, count in zip(bounds, cumulative, strict=True):
        if count >= target:
            if math.isinf(bound):
                return lower_bound
            return bound if count == below else lower_bound + (bound - lower_bound) * (target - below) / (count - below)
        lower_bound, below = bound, count
    return None


class SeasonTwin:
    """Cells of fifteen minutes kept as plain floats; each fold moves a cell by 1 / min(days + 1, 5) of its distance."""

    def __init__(self) -> None:
        self.cells = [0.0] * 96
        self.days = [0] * 12
        self.cell: int | None = None
        self.gathered: list[float] = []

    def learn(self, time_ms: int, value: float) -> None:
        """See kernels.seasonal.learn_season."""
        cell = time_ms // 900_000 % 96
        if self.cell is not None and cell != self.cell:
            mean = sum(self.gathered) / len(self.gathered)
            block = self.cell // 8
            self.cells[self.cell] += (mean - self.cells[self.cell]) / min(self.days[block] + 1, 5)
            if cell // 8 != block:
                self.days[block] += 1
            self.gathered = []
        self.cell = cell
        self.gathered.append(value)


def discounted_share(seconds: float, half_life: float) -> float:
    """The exact weight that kernels.ewma.share approximates."""
    return 1 - 2 ** (-seconds / half_life)


def gap_height(gaps: list[float], days: float, rate: float, floor: float, usual: float, excess: float) -> float:
    """Peaks over threshold by hand: log2 length of a gap that is seen `rate` times a day."""
    over = [gap - floor for gap in gaps if gap > floor]
    a_day = (usual + len(over)) / (1 + days)
    mean = (8 * excess + sum(over)) / (8 + len(over))
    return floor + mean * math.log(a_day / rate) if a_day > rate else floor


def silence_steps(longest_hole: float, least: float, own: float) -> float:
    """Steps of silence that are usual: 1.6 times the longest hole's logarithm, from 240 on half as long again."""
    usual = math.exp(1.6 * math.log(longest_hole)) if longest_hole > 0 else 0.0
    if usual > 240.0:
        usual = min(usual, max(240.0, longest_hole + longest_hole / 2))
    return max(least, own, usual)


def awake(values: list[float], least: int) -> bool:
    """Whether the last value makes its stretch away from zero long enough to tell of; 15 is all that is counted."""
    stretches = [len(part) for part in "".join("1" if value else " " for value in values).split(" ")]
    now, before = stretches[-1], max((min(length, 15) for length in stretches[:-1]), default=0)
    return 0 < now <= 15 and now == max(least, 2 * before + 1)


def third_largest(deviations: list[float], side: float) -> float:
    """Of the last six on one side; 0 where there are fewer."""
    return sorted([max(side * d, 0.0) for d in deviations[-6:]] + [0.0] * 6, reverse=True)[2]


def tree_odds(features: list[float], table: list[float], depth: int, *, only: int | None = None) -> float:
    """Odds of one table of kernels.pattern, question by question; `only`: the first so many trees."""
    count, total, at = int(table[0]), table[1], 2
    for _ in range(count if only is None else min(count, only)):
        questions = [(int(table[at + 2 * k]), table[at + 2 * k + 1]) for k in range(depth)]
        leaf = sum(2**k for k, (feature, threshold) in enumerate(questions) if features[feature] > threshold)
        total += table[at + 2 * depth + leaf]
        at += 2 * depth + 2**depth
    return total


def chance_twin(z: float, mean: float, top: float, interval: float, hours: int) -> float:
    """Chance of a deviation of |z| scales or more on either side, from one side's peaks (see kernels.rarity)."""
    if hours < 24:
        return math.nan
    if z == 0.0:
        return 1.0
    height = abs(z) * min(1.0, math.sqrt(interval / 15.0))
    if height == 0.0:  # too small for a float once it is weighed
        return 1.0
    block = max(3600.0, 12.0 * interval)
    spread = max((top - mean) / 3.0, 0.27)
    mode = mean - 0.5772156649 * spread
    log_of_highest_below = -math.exp(min(-(math.log(height) - mode) / spread, 50.0))
    one_below = math.exp(log_of_highest_below / max(block / interval, 1.0))
    return min(2.0 * (1.0 - one_below), 1.0)


class NoveltyTwin:
    """What a coarse series shows sample by sample (see kernels.novelty), in decades."""

    def __init__(self) -> None:
        self.demanded = 0.0

    def shown(self, chance: float, odds: float, alerts: bool) -> float | None:
        """Score of a sample no open alert has told of; None where it keeps the one it has."""
        rare = 3.0 + odds / 4.0
        if chance > 0.0:
            rare = max(rare, -math.log10(max(chance, 1e-12)))
        rare = min(max(rare, 3.0 if alerts else 0.0), 12.0)
        demanded = max(self.demanded - 0.05, 0.0)
        beyond = rare > demanded
        # Kept in hundredths.
        self.demanded = math.floor(100.0 * (rare + 1.5 if beyond else demanded) + 1e-6) / 100.0
        return 0.4999 * rare / (rare + 2.0) if beyond and rare > 2.0 and not alerts else None
