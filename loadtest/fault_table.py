"""One line a fault, one table of all of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from rich.table import Table

from loadtest.progress import ERRORS

_WIDTH: Final = 200

COLUMNS: Final = (
    "fault", "injected", "acknowledged", "held", "lost", "set aside", "repeated", "worst recovery, s",
    "probes refused", "longest refusal, s", "complete", "load",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Line:
    """What came of one fault. Counts are points, samples or alerts, as the scenario has them; None = not measured.

    load: of the machine at the end of the scenario, as the kernel averages it over a minute.
    complete: share of everything that clients sent, within their own retries, that is held.
    """

    fault: str
    title: str
    injected: int
    acknowledged: int
    held: int
    lost: int
    passed: bool
    set_aside: int = 0
    repeated: int = 0
    recovery_seconds: float | None = None
    refused_share: float | None = None
    longest_refusal_seconds: float | None = None
    complete: float | None = None
    detail: dict[str, Any] = field(default_factory=dict)

    def figures(self) -> dict[str, Any]:
        """For a JSON line."""
        names = [name for name in self.__slots__ if name != "detail"]
        return {"scenario": "fault", **{name: getattr(self, name) for name in names}, **self.detail}

    @classmethod
    def from_figures(cls, figures: Mapping[str, Any]) -> Line:
        """Back from `figures`."""
        names = [name for name in cls.__slots__ if name != "detail"]
        detail = {name: value for name, value in figures.items() if name not in (*names, "scenario")}
        return cls(**{name: figures[name] for name in names}, detail=detail)

    def cells(self) -> tuple[str, ...]:
        """For people, in the order of COLUMNS."""
        return (
            self.title if self.passed else f"FAILED: {self.title}",
            *(f"{n:,}" for n in (self.injected, self.acknowledged, self.held, self.lost, self.set_aside)),
            f"{self.repeated:,}", _seconds(self.recovery_seconds), _share(self.refused_share),
            _seconds(self.longest_refusal_seconds), _share(self.complete),
            f"{load:.1f}" if (load := self.detail.get("load_average")) is not None else "",
        )  # fmt: skip


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _share(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.2f} %"


def show(lines: Iterable[Line]) -> None:
    """On standard error, for people."""
    table = Table(*COLUMNS)
    ERRORS.width = max(ERRORS.width, _WIDTH)
    for line in lines:
        table.add_row(*line.cells())
    ERRORS.print(table)


def markdown(lines: Iterable[Line]) -> str:
    """The same for a document."""
    rows = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    rows += ["| " + " | ".join(cell.replace("|", "\\|") for cell in line.cells()) + " |" for line in lines]
    return "\n".join(rows) + "\n"
