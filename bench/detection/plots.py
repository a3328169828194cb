"""Pictures of the worst misses and false alerts, for a person to look at."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from bench.detection.evaluate import Snippet

WORST = 10


def draw(snippets: Iterable[tuple[str, Snippet]], folder: Path) -> list[Path]:
    """PNG files of the worst ten of each category per set; those of an earlier run of the same sets are removed."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    ranked: dict[tuple[str, str], list[Snippet]] = defaultdict(list)
    for dataset, snippet in snippets:
        ranked[(dataset.replace("/", "-"), snippet.category)].append(snippet)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for (dataset, category), found in ranked.items():
        for old in folder.glob(f"{dataset}-{category}-*.png"):
            old.unlink()
        for rank, s in enumerate(sorted(found, key=lambda s: -s.badness)[:WORST]):
            times = np.array([datetime.fromtimestamp(t, UTC) for t in s.times_s])
            figure, (top, bottom) = pyplot.subplots(
                2, 1, figsize=(12, 5.5), sharex=True, gridspec_kw={"height_ratios": [3, 1]}
            )
            top.fill_between(times, s.lower, s.upper, color="tab:blue", alpha=0.15, label="lower … upper")
            top.plot(times, s.expected, color="tab:blue", lw=0.8, label="expected")
            top.plot(times, s.values, color="black", lw=0.8, label="value")
            finite = s.values[np.isfinite(s.values)]
            if len(finite):
                pad = 0.15 * float(np.ptp(finite)) + 1e-9
                top.set_ylim(float(finite.min()) - pad, float(finite.max()) + pad)
            for event in s.events:
                top.axvspan(datetime.fromtimestamp(event.start, UTC), datetime.fromtimestamp(event.end, UTC),
                            color="tab:orange", alpha=0.25)  # fmt: skip
            if len(times):
                top.set_xlim(times[0], times[-1])
            top.axvline(datetime.fromtimestamp(s.at.start, UTC), color="tab:purple", lw=1, ls="--")
            top.legend(loc="upper left", fontsize=7)
            top.set_title(f"{category}: {s.title}   ({s.badness:.3g})", fontsize=9)
            bottom.plot(times, s.score, color="tab:red", lw=0.8, label="score")
            bottom.fill_between(times, 0, np.where(s.alert, np.nanmax(s.score, initial=1e-9), 0), color="tab:red",
                                alpha=0.2, step="post", label="alert")  # fmt: skip
            bottom.legend(loc="upper left", fontsize=7)
            name = re.sub(r"[^\w.-]+", "_", s.title.split(" ", 1)[-1])[:60]
            path = folder / f"{dataset}-{category}-{rank:02d}-{name}.png"
            figure.tight_layout()
            figure.savefig(path, dpi=70)
            pyplot.close(figure)
            written.append(path)
    return written
