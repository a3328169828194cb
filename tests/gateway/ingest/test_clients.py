"""The table of clients stays bounded and counts every request, whatever user agents are made up."""

from __future__ import annotations

from gateway.ingest.clients import OTHER, ClientTable, address_of_peer, clean

SECOND = 1_000_000_000


def test_totals_are_kept_by_protocol_agent_and_address() -> None:
    table = ClientTable()
    table.count("otlp_http", "OTel-OTLP-Exporter-Python/1.38", "10.0.0.1", received_ns=SECOND, points=5, size=100)
    table.count("otlp_http", "OTel-OTLP-Exporter-Python/1.38", "10.0.0.1", received_ns=3 * SECOND, points=7, size=20)
    table.count("otlp_http", "Prometheus/2.42", "10.0.0.1", received_ns=2 * SECOND, points=0, size=9, refused=True)
    first, second = table.rows()
    assert first == {
        "protocol": "otlp_http",
        "agent": "OTel-OTLP-Exporter-Python/1.38",
        "address": "10.0.0.1",
        "requests": 2,
        "points": 12,
        "bytes": 120,
        "refused": 0,
        "first": 1.0,
        "last": 3.0,
    }
    assert (second["agent"], second["refused"]) == ("Prometheus/2.42", 1)


def test_made_up_agents_fill_the_table_and_no_more() -> None:
    table = ClientTable(limit=3)
    for number in range(5000):
        table.count("otlp_grpc", f"agent/{number}", "::1", received_ns=number, points=1, size=1)
    rows = table.rows()
    assert len(rows) == 4
    assert sum(row["points"] for row in rows) == 5000
    assert next(row for row in rows if row["agent"] == OTHER)["points"] == 4997


def test_what_does_not_print_is_not_shown() -> None:
    assert clean("a\x00b\u202ec\n") == "a b c"
    assert clean("") == "(none)"
    assert len(clean("x" * 10_000)) == 200


def test_addresses_of_grpc_s_peers() -> None:
    assert address_of_peer("ipv4:10.0.0.5:4711") == "10.0.0.5"
    assert address_of_peer("ipv6:%5B::1%5D:4711") == "[::1]".strip("[]")
    assert address_of_peer("unix:/run/x") == "unix:/run/x"
