"""Topology: what calls what, what runs where, and how two places hang together."""

from __future__ import annotations

import pytest

from gateway.alerting import topology as topology_module
from gateway.alerting.moments import SECOND
from gateway.alerting.topology import EDGE_LIFE, Place, Topology, place_of
from gateway.telemetry.call_edge import CallEdge

NOW = 1_700_000_000 * SECOND


def fleet(*calls: str) -> Topology:
    topology = Topology()
    topology.see_calls([CallEdge(*call.split(">"), last_seen=NOW) for call in calls], NOW)
    return topology


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({"service": "cart", "instance": "10.0.0.7:9100"}, Place("cart", "10.0.0.7")),
        ({"job": "shop/cart", "host_name": "h1"}, Place("cart", "h1")),
        ({"instance": "[::1]:9090"}, Place("", "::1")),
        ({"instance": "fe80::1"}, Place("", "fe80::1")),
        ({"alertname": "x"}, Place()),
    ],
)
def test_places_are_read_from_labels(labels: dict[str, str], expected: Place) -> None:
    assert place_of(labels) == expected


@pytest.mark.parametrize(
    ("one", "other", "kind"),
    [
        ("web", "web", "service"),
        ("web", "cart", "calls"),
        ("db", "cart", "called"),
        ("web", "db", "chain"),
        ("db", "web", "chain"),
        ("cart", "shop", "dependency"),
        ("web", "lake", "apart"),
        ("web", "nobody", ""),
    ],
)
def test_relations_of_services(one: str, other: str, kind: str) -> None:
    topology = fleet("web>cart", "web>shop", "cart>db", "shop>db", "batch>lake")
    assert topology.relation(Place(one), Place(other)).kind == kind


def test_what_everybody_shares_says_nothing() -> None:
    topology = Topology()
    topology.see_places([Place(name, "only") for name in "abcdef"], NOW)
    assert topology.relation(Place("a", "only"), Place("b", "only")).kind != "host"
    topology.see_places([Place(name, f"own-{name}") for name in "ghijklm"] + [Place("h", "own-g")], NOW)
    assert topology.relation(Place("g", "own-g"), Place("h", "own-g")).share == 1.0
    assert 0 < topology.relation(Place("a", "only"), Place("b", "only")).share < 0.7


def test_a_host_alert_belongs_to_the_services_on_it() -> None:
    topology = Topology()
    topology.see_places([Place("a", "h1"), Place("b", "h2"), Place("c", "h3")], NOW)
    assert topology.relation(Place("", "h1"), Place("a", "")).kind == "runs_on"
    assert topology.relation(Place("", "h1"), Place("b", "h2")).kind == ""


def test_dependencies_are_followed_through_circles_up_to_a_number_of_calls() -> None:
    topology = fleet("a>b", "b>c", "c>a", "c>d", "d>e", "e>f")
    assert topology.depends_on("a") == {"b": 1, "c": 2, "d": 3, "e": 4}


def test_edges_are_forgotten_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    topology = fleet("a>b")
    version = topology.version
    assert not topology.see_calls([CallEdge("a", "b", last_seen=NOW + 1)], NOW + 1)
    assert topology.version == version
    assert topology.see_calls([], NOW + EDGE_LIFE + 2)
    assert not topology.callees("a")
    assert not topology.callers("b")
    monkeypatch.setattr(topology_module, "MAX_EDGES", 10)
    topology.see_calls([CallEdge(f"s{i}", "db", last_seen=NOW + i) for i in range(50)], NOW)
    assert {edge.caller for edge in topology.edges} == {f"s{i}" for i in range(40, 50)}
    assert set(topology.callers("db")) == {f"s{i}" for i in range(40, 50)}
