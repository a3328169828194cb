"""The long-tail channel: everything that the apprise library can tell.

The library is an optional dependency (`channels`); a configuration that needs it is refused at start if it is absent.
It reports success or failure without a reason, so a failure is tried again.
"""

from __future__ import annotations

import importlib.util
from typing import Any, Final

from gateway.alerting.notification import Again, Delivered, Notification, Outcome
from gateway.alerting.settings import AppriseReceiver
from gateway.alerting.template import Texts
from gateway.errors import ConfigError

_TITLE: Final = '{{ template "__subject" . }}'
_BODY: Final = '{{ template "email.default.text" . }}'


class AppriseChannel:
    """See Channel."""

    concurrency = 2

    def __init__(self, options: AppriseReceiver, texts: Texts) -> None:
        if importlib.util.find_spec("apprise") is None:
            raise ConfigError("the optional dependency apprise is not installed", key="alerting.apprise")
        import apprise

        self._texts = texts
        self._target: Any = apprise.Apprise()
        for number, url in enumerate(options.urls):
            if not self._target.add(url.reveal()):
                raise ConfigError(f"address {number + 1} is not one that apprise knows", key="alerting.apprise.urls")

    async def send(self, notification: Notification) -> Outcome:
        """See Channel."""
        data = notification.data()
        kind = "failure" if notification.status == "firing" else "success"
        told = await self._target.async_notify(
            title=self._texts.render(_TITLE, data), body=self._texts.render(_BODY, data), notify_type=kind
        )
        return Delivered() if told else Again("apprise could not deliver", uncertain=True)
