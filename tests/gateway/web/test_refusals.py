"""What was refused, read from the data plane's own counters."""

from __future__ import annotations

from gateway.web.refusals import refused

TEXT = b"""# HELP gateway_ingest_rejected_points Data points.
# TYPE gateway_ingest_rejected_points counter
gateway_ingest_rejected_points_total{worker="0",protocol="otlp_http",reason="series_limit"} 3.0
gateway_ingest_rejected_points_total{worker="1",protocol="otlp_http",reason="series_limit"} 4.0
gateway_ingest_rejected_points_total{protocol="otlp_grpc",reason="too_old"} 0.0
gateway_ingest_errors_total{protocol="otlp_http",reason="say \\"no\\"",signal="metrics"} 9.0
gateway_tenant_refusals_total{reason="rate",tenant="a"} 1.0
gateway_maintenance_events_refused_total{reason="scope",sender="ci"} 2.0
gateway_series 5.0
# EOF
"""


def test_counters_of_all_workers_are_added_up_and_what_never_happened_is_left_out() -> None:
    assert refused(TEXT) == [
        {"what": "requests", "by": "otlp_http", "reason": 'say "no"', "count": 9},
        {"what": "points", "by": "otlp_http", "reason": "series_limit", "count": 7},
        {"what": "events", "by": "ci", "reason": "scope", "count": 2},
        {"what": "tenant", "by": "a", "reason": "rate", "count": 1},
    ]
    assert refused(b"# EOF\n") == []
