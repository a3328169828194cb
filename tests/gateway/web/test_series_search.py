"""Finding series by typing, and services with their signals, over one list of series."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any

import numpy as np
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import given
from hypothesis import strategies as st

from gateway.series.index import SeriesIndex
from gateway.telemetry.anomaly import Anomaly
from gateway.telemetry.call_edge import CallEdge
from gateway.telemetry.columns import Definitions
from gateway.telemetry.label_groups import LabelGroups
from gateway.telemetry.labels import encode_label_blob
from gateway.telemetry.service_labels import service_of
from gateway.web.json_api import declared_errors
from gateway.web.label_catalog import LabelCatalog
from gateway.web.series_search import SeriesCatalog, SeriesSearch, in_order
from gateway.web.services import Services, signal_of

SERIES = [
    {"__name__": "http_server_request_duration_seconds_count", "job": "shop/checkout", "instance": "a"},
    {"__name__": "http_server_request_duration_seconds_sum", "job": "shop/checkout", "instance": "a"},
    {"__name__": "process_cpu_utilization_ratio", "job": "shop/checkout", "instance": "b"},
    {"__name__": "process_cpu_utilization_ratio", "service_name": "payment"},
    {"__name__": "system_memory_usage_bytes", "host_name": "one"},
]


class Source:
    """The data plane's list of series; counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    async def series(self, match: str, limit: int) -> list[dict[str, Any]]:
        """All of them."""
        self.asked += 1
        return [{"id": i, "labels": labels} for i, labels in enumerate(SERIES)]

    async def label_groups(self, names: Sequence[str]) -> list[LabelGroups]:
        """As two workers tell it."""
        self.asked += 1
        return [index_of(SERIES[:2]).groups(names), index_of(SERIES[2:]).groups(names)]


def index_of(series: Sequence[dict[str, str]]) -> SeriesIndex:
    """An index that holds these."""
    index = SeriesIndex(arena_bytes=2**20)
    blobs = [encode_label_blob(labels) for labels in series]
    index.define(Definitions.from_blobs(blobs, np.zeros(len(blobs), np.uint8)))
    return index


class Feed:
    """One open anomaly."""

    changed = asyncio.Event()

    def newest(
        self, *, since: float = 0.0, limit: int = 100, severity: str | None = None, state: str | None = None
    ) -> list[Anomaly]:
        """Always the same."""
        return [
            Anomaly(
                id="1",
                time=since + 1,
                series=SERIES[3],
                value=1.0,
                expected=0.5,
                lower=0.4,
                upper=0.6,
                score=0.8,
                severity="high",
                reasons=["too high"],
            )
        ]


CALLS = [
    CallEdge("web", "checkout", calls=7, last_seen=2 * 10**9),
    CallEdge("checkout", "payment", calls=5, last_seen=3 * 10**9),
    CallEdge("web", "payment"),
]


@pytest.fixture
async def client() -> AsyncIterator[TestClient[Any, Any]]:
    catalog = SeriesCatalog(Source())
    application = web.Application(middlewares=[declared_errors])
    application.add_routes(SeriesSearch(catalog).routes())
    application.add_routes(Services(LabelCatalog(Source()), Feed(), lambda: CALLS).routes())
    async with TestClient(TestServer(application)) as found:
        yield found


async def ask(client: TestClient[Any, Any], path: str) -> Any:
    response = await client.get(path)
    assert response.status == 200, await response.text()
    return await response.json()


async def test_words_may_come_from_the_name_and_from_labels(client: TestClient[Any, Any]) -> None:
    found = await ask(client, "/api/v1/series/search?q=payment+CPU")
    assert found == {"total": 1, "of": 5, "series": [SERIES[3]]}


async def test_a_start_of_the_name_comes_before_letters_with_gaps(client: TestClient[Any, Any]) -> None:
    found = await ask(client, "/api/v1/series/search?q=syst")
    assert found["series"][0] == SERIES[4]
    gaps = await ask(client, "/api/v1/series/search?q=pcur")
    assert {labels["__name__"] for labels in gaps["series"]} == {"process_cpu_utilization_ratio"}


async def test_letters_with_gaps_are_found_in_one_label_and_not_over_two(client: TestClient[Any, Any]) -> None:
    assert (await ask(client, "/api/v1/series/search?q=chkout+cpu"))["series"] == [SERIES[2]]
    assert (await ask(client, "/api/v1/series/search?q=chkoutb"))["total"] == 0


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=501", "limit=x", "limit=²", "limit=" + "1" * 5000, "q=" + "x" * 201]
)
async def test_an_impossible_question_is_refused_with_the_reason(client: TestClient[Any, Any], query: str) -> None:
    response = await client.get(f"/api/v1/series/search?{query}")
    assert response.status == 400
    assert (await response.json())["error"]


async def test_a_service_names_its_neighbours_and_how_they_are(client: TestClient[Any, Any]) -> None:
    found = (await ask(client, "/api/v1/services/checkout"))["neighbours"]
    payment = {"direction": "calls", "calls": 5, "last_seen": 3.0, "sends": True, "open": 1, "worst": "high"}
    web_ = {"direction": "called by", "calls": 7, "last_seen": 2.0, "sends": False, "open": 0, "worst": "none"}
    assert found == [{"name": "payment", **payment}, {"name": "web", **web_}]


async def test_services_show_what_is_wrong_first_and_their_signals(client: TestClient[Any, Any]) -> None:
    found = await ask(client, "/api/v1/services")
    assert [service["name"] for service in found] == ["payment", "checkout"]
    assert found[0]["open"] == 1
    assert found[0]["worst"] == "high"
    checkout = found[1]
    assert checkout["series"] == 3
    assert checkout["hosts"] == ["a", "b"]
    assert checkout["signals"]["saturation"] == ["process_cpu_utilization_ratio"]
    assert len(checkout["signals"]["latency"]) == 2


async def test_one_service_lists_its_metrics_and_an_unknown_one_is_404(client: TestClient[Any, Any]) -> None:
    found = await ask(client, "/api/v1/services/payment")
    assert found["metric_list"] == [{"metric": "process_cpu_utilization_ratio", "series": 1, "signal": "saturation"}]
    assert [a["id"] for a in found["anomalies"]] == ["1"]
    assert (await client.get("/api/v1/services/nobody")).status == 404


async def test_the_list_is_asked_for_once_for_questions_in_quick_succession() -> None:
    source = Source()
    catalog = SeriesCatalog(source)
    await asyncio.gather(*(catalog.entries() for _ in range(5)))
    assert source.asked == 1


async def test_groups_are_the_same_object_until_something_changes() -> None:
    source = Source()
    catalog = LabelCatalog(source)
    first = await catalog.groups()
    assert sum(count for _, count in first) == len(SERIES)
    assert await catalog._take() is first
    assert source.asked == 2


@given(
    st.lists(
        st.dictionaries(st.sampled_from("abcd"), st.sampled_from(["1", "2", "3"]), min_size=1),
        max_size=20,
        unique_by=str,
    )
)
def test_groups_count_what_a_loop_over_all_series_counts(series: list[dict[str, str]]) -> None:
    series = [dict(sorted(labels.items())) for labels in series]
    index = index_of([dict(labels) for labels in {str(labels): labels for labels in series}.values()])
    kept = [index.labels(sid) for sid in range(index.end_sid)]
    wanted = Counter(tuple((name, labels[name]) for name in "ab" if name in labels) for labels in kept)
    found = {tuple(labels.items()): count for labels, count in index.groups(("a", "b"))}
    assert found == dict(wanted)


def test_names_tell_their_signal() -> None:
    assert signal_of("http_server_request_errors_total") == "errors"
    assert signal_of("app_requests_total") == "traffic"
    assert signal_of("rpc_latency_seconds") == "latency"
    assert signal_of("queue_depth") == "saturation"
    assert signal_of("build_info") == ""
    assert service_of({"job": "shop/checkout"}) == "checkout"


@given(st.text("ab.^]-\\\n", min_size=1, max_size=5), st.text("ab.^]-\\c\n", max_size=20))
def test_letters_in_order_agree_with_the_obvious_way(letters: str, text: str) -> None:
    def met(line: str) -> bool:
        rest = iter(line)
        return all(letter in rest for letter in letters)

    if "\n" not in letters:
        assert (in_order(letters).search(text) is not None) == any(map(met, text.split("\n")))
