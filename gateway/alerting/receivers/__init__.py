"""Channels: one file per way to tell somebody, and the table by which a configuration finds them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from gateway.alerting.document import Section
from gateway.alerting.receivers import webhook
from gateway.alerting.receivers.global_options import GlobalOptions

__all__ = ["READERS", "GlobalOptions", "Reader"]


class Reader(msgspec.Struct, frozen=True):
    """How one kind of integration is read."""

    read: Callable[[Section, GlobalOptions], Any]
    send_resolved: bool
    """Whether resolved alerts are told by default."""
    texts: Callable[[Any], Iterable[str]]
    """The templates in its options, to be checked at load."""


READERS: Final[dict[str, Reader]] = {
    "webhook_configs": Reader(webhook.read_options, True, lambda _: ()),
}
