"""The long-tail channel: everything that the apprise library can tell.

The library is an optional dependency (`channels`); a configuration that needs it is refused at start if it is absent.
It reports success or failure without a reason, so a failure is tried again.
"""

from __future__ import annotations

import asyncio
import importlib.util
from typing import Any, Final

from gateway.alerting.address_guard import AddressGuard
from gateway.alerting.notification import Again, Delivered, Notification, Outcome
from gateway.alerting.settings import AppriseReceiver
from gateway.alerting.template import Texts
from gateway.errors import ConfigError

_TITLE: Final = '{{ template "__subject" . }}'
_BODY: Final = '{{ template "email.default.text" . }}'


class AppriseChannel:
    """See Channel."""

    concurrency = 2

    def __init__(self, options: AppriseReceiver, texts: Texts, guard: AddressGuard) -> None:
        if importlib.util.find_spec("apprise") is None:
            raise ConfigError("the optional dependency apprise is not installed", key="alerting.apprise")
        import apprise

        self._texts, self._guard = texts, guard
        self._targets: list[Any] = [apprise.Apprise() for _ in options.urls]
        for number, (url, target) in enumerate(zip(options.urls, self._targets, strict=True)):
            if not target.add(url.reveal()):
                raise ConfigError(f"address {number + 1} is not one that apprise knows", key="alerting.apprise.urls")

    async def send(self, notification: Notification) -> Outcome:
        """See Channel."""
        told = await asyncio.to_thread(self._tell, notification)
        return Delivered() if told else Again("apprise could not deliver", uncertain=True)

    def _tell(self, notification: Notification) -> bool:
        data = notification.data()
        kind = "failure" if notification.status == "firing" else "success"
        title, body = self._texts.render(_TITLE, data), self._texts.render(_BODY, data)
        with self._guard.over_library():
            outcomes = [bool(target.notify(title=title, body=body, notify_type=kind)) for target in self._targets]
        return all(outcomes)
