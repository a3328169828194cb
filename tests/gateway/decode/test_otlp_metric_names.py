"""Names in Prometheus form, by the rules of the compatibility specification."""

from __future__ import annotations

import pytest

from gateway.decode.metric_names import prometheus_label_name, prometheus_metric_name


@pytest.mark.parametrize(
    ("name", "unit", "what", "expected"),
    [
        ("http.server.duration", "s", "histogram", "http_server_duration_seconds"),
        ("http.server.duration_seconds", "s", "histogram", "http_server_duration_seconds"),
        ("requests", "1", "sum", "requests_total"),
        ("requests.total", "", "sum", "requests_total"),
        ("total.requests", "{request}", "sum", "requests_total"),
        ("memory.usage", "By", "gauge", "memory_usage_bytes"),
        ("cpu.utilization", "1", "gauge", "cpu_utilization_ratio"),
        ("ratio.cpu", "1", "gauge", "cpu_ratio"),
        ("queue", "1", "histogram", "queue"),
        ("disk.io", "By/s", "gauge", "disk_io_bytes_per_second"),
        ("speed", "m/s", "gauge", "speed_meters_per_second"),
        ("speed", "/m", "gauge", "speed_per_minute"),
        ("things", "{thing}/s", "gauge", "things_per_second"),
        ("things", "By/{thing}", "gauge", "things_bytes"),
        ("2xx", "", "sum", "_2xx_total"),
        ("__a..b__c", "", "gauge", "a_b_c"),
        ("größe", "", "gauge", "gr_e"),
        ("a:b", "", "gauge", "a:b"),
        ("temp", "Cel", "gauge", "temp_celsius"),
        ("load", "%", "gauge", "load_percent"),
        ("x", "foo.bar", "gauge", "x_foo_bar"),
    ],
)
def test_metric_names(name: str, unit: str, what: str, expected: str) -> None:
    assert prometheus_metric_name(name, unit, monotonic_sum=what == "sum", gauge=what == "gauge") == expected


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("http.method", "http_method"),
        ("1st", "key_1st"),
        ("_hidden", "key_hidden"),
        ("__reserved__", "__reserved__"),
        ("größe", "gr__e"),
        ("", ""),
        ("..", ""),
    ],
)
def test_label_names(key: str, expected: str) -> None:
    assert prometheus_label_name(key) == expected
