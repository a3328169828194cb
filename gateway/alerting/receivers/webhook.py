"""The webhook channel: the notification as JSON, version 4 of Alertmanager's message.

With a signing secret set, `X-Gateway-Timestamp` carries the Unix time of sending and `X-Gateway-Signature` the text
`sha256=` and the HMAC-SHA256 of timestamp, ".", body in hexadecimal. A receiver checks both and refuses old timestamps.
"""

from __future__ import annotations

import hashlib
import hmac

import msgspec

from gateway.alerting.document import Section
from gateway.alerting.http_delivery import (
    FAILURES,
    HttpDelivery,
    HttpOptions,
    failure_of,
    outcome_of,
    read_http_options,
    read_url,
)
from gateway.alerting.notification import Notification, Outcome, composed
from gateway.alerting.receivers.global_options import GlobalOptions
from gateway.clock import Clock
from gateway.settings_types import Secret


class WebhookOptions(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of `webhook_configs`."""

    url: Secret
    max_alerts: int = 0
    http: HttpOptions = HttpOptions()


def read_options(section: Section, globals_: GlobalOptions) -> WebhookOptions:
    """Raises ConfigError."""
    url, path = section.take("url"), section.take("url_file")
    if (url is None) == (path is None):
        raise section.value.refuse("exactly one of url and url_file must be given")
    if url is not None:
        address = Secret(read_url(url))
    else:
        assert path is not None
        address = path.parse(lambda name: Secret.parse({"file": name}))
    limit = section.take("max_alerts")
    return WebhookOptions(
        url=address,
        max_alerts=0 if limit is None else limit.whole(),
        http=read_http_options(section.take("http_config"), globals_.http),
    )


class WebhookChannel:
    """See Channel."""

    concurrency = 16

    def __init__(self, options: WebhookOptions, delivery: HttpDelivery, clock: Clock, signing_secret: Secret) -> None:
        self._options, self._delivery, self._clock, self._secret = options, delivery, clock, signing_secret

    async def send(self, notification: Notification) -> Outcome:
        """See Channel."""
        body = await composed(notification, self._body)
        headers = {"Content-Type": "application/json", "X-Gateway-Notification": notification.id}
        if self._secret:
            timestamp = str(self._clock.time_ns() // 1_000_000_000)
            headers["X-Gateway-Timestamp"] = timestamp
            headers["X-Gateway-Signature"] = sign(self._secret, timestamp, body)
        try:
            answer = await self._delivery.post(
                self._options.url.reveal(), body, headers=headers, options=self._options.http
            )
        except FAILURES as error:
            return failure_of(error)
        return outcome_of(answer)

    def _body(self, notification: Notification) -> bytes:
        return msgspec.json.encode(notification.webhook_body(self._options.max_alerts))


def sign(secret: Secret, timestamp: str, body: bytes) -> str:
    """The value of X-Gateway-Signature."""
    mac = hmac.new(secret.reveal().encode(), timestamp.encode() + b"." + body, hashlib.sha256)
    return f"sha256={mac.hexdigest()}"
