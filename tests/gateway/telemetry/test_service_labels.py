"""Which service a label set is about."""

from __future__ import annotations

import pytest

from gateway.telemetry.service_labels import naming_label, service_as_named, service_of


@pytest.mark.parametrize(
    ("labels", "label", "named", "service"),
    [
        ({"job": "j", "service.name": "c", "service_name": "b", "service": "a"}, "service", "a", "a"),
        ({"job": "j", "service.name": "c", "service_name": "b"}, "service_name", "b", "b"),
        ({"job": "j", "service.name": "c"}, "service.name", "c", "c"),
        ({"service": "", "job": "shop/cart"}, "job", "shop/cart", "cart"),
        ({"": "x", "instance": "i"}, "", "x", "x"),
    ],
)
def test_the_first_label_that_is_not_empty_names_the_service(
    labels: dict[str, str], label: str, named: str, service: str
) -> None:
    assert (naming_label(labels), service_as_named(labels), service_of(labels)) == (label, named, service)
