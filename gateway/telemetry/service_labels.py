"""Which label names the service that a series or an alert is about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

SERVICE_LABELS: Final = ("service", "service_name", "service.name", "job")
"""In this order; the first that is not empty names it."""


def naming_label(labels: Mapping[str, str]) -> str:
    """The label that names the service; "" for none."""
    return next((name for name in SERVICE_LABELS if labels.get(name)), "")


def service_as_named(labels: Mapping[str, str]) -> str:
    """The service as its label has it, perhaps with a namespace before it ("shop/cart"); "" for none."""
    return labels.get(naming_label(labels), "")


def service_of(labels: Mapping[str, str]) -> str:
    """The service without its namespace ("cart"), as services are compared; "" for none."""
    return short_service(service_as_named(labels))


def short_service(name: str) -> str:
    """A service's name without its namespace."""
    return name.rsplit("/", 1)[-1]
