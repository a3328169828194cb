"""What the sent series look like: names, attributes, and how many of them a series has.

Series number n belongs to template n // batch. A series carries the attribute `pod` = "s<8 digits>-g<5 digits>": its
number and its generation, both of fixed width, so that churn is a change of five digits and a ledger can read back
which series a stored sample belongs to. Metric names begin with `load_`; every second metric is a counter.
"""

from __future__ import annotations

from typing import Final

METRIC_PREFIX: Final = "load_"
POD_DIGITS: Final = 8
GENERATION_DIGITS: Final = 5
IDENTITY_LABEL: Final = "pod"

_METHODS: Final = ("GET", "POST", "PUT", "DELETE", "PATCH")
_STATUS: Final = ("200", "201", "204", "400", "404", "429", "500", "503")
_ZONES: Final = ("eu-central-1a", "eu-central-1b", "eu-central-1c")
_ROUTES: Final = ("/api/v1/orders/{id}", "/api/v1/items", "/login", "/api/v2/checkout/{cart}/payment", "/healthz")
_REGIONS: Final = ("eu-central-1", "eu-west-3", "us-east-2")
_ATTRIBUTES: Final = 7
"""A series has 2 to 7 attributes, `pod` among them; the number depends on its metric."""


def points_per_metric(batch: int) -> int:
    """Series that share a metric in one body: 100, or all of a smaller body."""
    return min(100, batch)


def metric_of(number: int, batch: int) -> int:
    """Number of the metric that series `number` belongs to."""
    return number // points_per_metric(batch)


def is_counter(metric: int) -> bool:
    """Whether a metric is a cumulative counter of whole numbers; the others are gauges of doubles."""
    return metric % 2 == 1


def metric_name(metric: int) -> str:
    """Name as OTLP carries it; a counter's already ends as Prometheus wants it."""
    return f"{METRIC_PREFIX}{'requests' if is_counter(metric) else 'queue_size'}_{metric:06d}" + (
        "_total" if is_counter(metric) else ""
    )


def pod(number: int, generation: int = 0) -> str:
    """Value of the identity attribute."""
    return f"s{number:0{POD_DIGITS}d}-g{generation:0{GENERATION_DIGITS}d}"


def number_of(pod_value: str) -> int:
    """Series number of an identity attribute. Raises ValueError."""
    return int(pod_value[1 : 1 + POD_DIGITS])


def attributes(number: int, metric: int) -> list[tuple[str, str]]:
    """Attributes of a series besides `pod`, sorted by key; one to six of them."""
    every = [
        ("http_request_method", _METHODS[number % 5]),
        ("http_response_status_code", _STATUS[number % 8]),
        ("http_route", _ROUTES[number % 5]),
        ("k8s_node", f"node-{number % 97:03d}"),
        ("network_protocol", "http/1.1" if number % 3 else "h2"),
        ("peer", f"backend-{number % 53:02d}.shop.svc.cluster.local"),
        ("region", _REGIONS[number % 3]),
        ("zone", _ZONES[number % 3]),
    ]
    kept = 1 + (metric * 5 + 2) % (_ATTRIBUTES - 1)
    return every[:kept]


def resource(template: int) -> list[tuple[str, str]]:
    """Resource attributes of a body: one service instance."""
    return [
        ("service.name", f"service-{template % 40:02d}"),
        ("service.namespace", "shop-production"),
        ("service.instance.id", f"instance-{template:06d}"),
    ]
