"""Related series: the ones an alert names first, then the golden signals, in one bounded question."""

from __future__ import annotations

from gateway.telemetry.history_samples import HistorySamples
from gateway.telemetry.selector import parse_selector
from gateway.web.related_series import RelatedSeries, choose


class Plane:
    """A catalogue and a history over a few series."""

    name = "log"

    def __init__(self, *series: dict[str, str]) -> None:
        self.series = series
        self.asked: list[str] = []

    async def groups(self) -> list[tuple[dict[str, str], int]]:
        return [(labels, 1) for labels in self.series]

    async def samples(self, match: str, start_ms: int, end_ms: int, limit: int) -> list[HistorySamples]:
        self.asked.append(match)
        assert 0 < end_ms - start_ms <= 600_000
        matchers = parse_selector(match)
        return [
            HistorySamples(labels, 0, [1.0, 2.0, 3.0], [4.0, None, 2.0])
            for labels in self.series
            if all(m.matches(labels.get(m.name, "")) for m in matchers)
        ]


def series(name: str, **labels: str) -> dict[str, str]:
    return {"__name__": name, **labels}


async def test_named_metrics_come_first_and_other_services_not_at_all() -> None:
    plane = Plane(
        series("cpu_usage", job="shop/cart"),
        series("http_errors_total", job="shop/cart", pod="a"),
        series("http_errors_total", job="shop/cart", pod="b"),
        series("queue_length", job="shop/cart"),
        series("cpu_usage", job="shop/mail"),
    )
    related = RelatedSeries(plane, plane)
    found = await related.values({"service": "cart", "metric": "queue_length", "pod": "b"}, ["queue_length"], 3)
    assert [(v.series["__name__"], v.series.get("pod")) for v in found] == [
        ("queue_length", None), ("http_errors_total", "b"), ("http_errors_total", "a"),
    ]  # fmt: skip
    assert len(plane.asked) == 1
    assert (found[0].last, found[0].at, found[0].minimum, found[0].maximum, found[0].samples) == (2.0, 3.0, 2.0, 4.0, 2)
    assert found[0].source == "log"


async def test_what_has_no_service_or_no_series_asks_nothing() -> None:
    plane = Plane(series("up", job="cart"))
    related = RelatedSeries(plane, plane)
    assert await related.values({"alertname": "x"}, [], 5) == []
    assert await related.values({"service": "mail"}, [], 5) == []
    assert not plane.asked


def test_parts_of_histograms_are_not_shown() -> None:
    there = [series(name) for name in ("latency_bucket", "latency_sum", "latency_count", "errors_total")]
    assert choose(there, []) == ["errors_total", "latency_count"]
