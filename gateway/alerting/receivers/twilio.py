"""The text-message channel: Twilio's form interface.

`POST /2010-04-01/Accounts/{sid}/Messages.json` with basic authentication and To, From, Body (at most 1,600
characters), one request per number. A number that was told is remembered until the notification is, so that a retry
tells only the others. With `status_callback`, Twilio says there what became of each message (`callbacks`).
"""

from __future__ import annotations

import hashlib
from typing import Final
from urllib.parse import urlencode

from gateway.alerting.callbacks import About, status_address
from gateway.alerting.http_delivery import FAILURES, HttpDelivery, HttpOptions, failure_of, outcome_of
from gateway.alerting.notification import Again, Delivered, Notification, Outcome, Refused, composed
from gateway.alerting.receivers.slack import shorten
from gateway.alerting.settings import SmsReceiver
from gateway.alerting.template import Texts

MAX_BODY: Final = 1600
_TEXT: Final = (
    '{{ template "__subject" . }}{{ with .CommonAnnotations.summary }}\n{{ . }}{{ end }}'
    "{{ if .ExternalURL }}\n{{ .ExternalURL }}{{ end }}"
)


class TwilioChannel:
    """See Channel."""

    concurrency = 2

    def __init__(self, key: str, options: SmsReceiver, delivery: HttpDelivery, texts: Texts) -> None:
        self._key, self._options, self._delivery, self._texts = key, options, delivery, texts
        self._told: dict[str, set[str]] = {}
        """Numbers already told of a notification that must be tried again, by its group and content."""

    async def send(self, notification: Notification) -> Outcome:
        """See Channel."""
        options = self._options
        url = f"{options.api_url.rstrip('/')}/2010-04-01/Accounts/{options.account_sid}/Messages.json"
        text = await composed(notification, self._text)
        content = hashlib.sha256(f"{notification.group_key}\n{text}".encode()).hexdigest()
        told = self._told.setdefault(content, set())
        http = HttpOptions(username=options.account_sid, password=options.auth_token)
        about = About(notification.id, self._key, notification.group_id)
        again: Again | None = None
        refused: list[str] = []
        for number in options.to:
            if number in told:
                continue
            fields = {"To": number, "From": options.sender, "Body": text}
            if options.status_callback:
                fields["StatusCallback"] = status_address(options.status_callback, about)
            form = urlencode(fields).encode()
            try:
                answer = await self._delivery.post(
                    url, form, headers={"Content-Type": "application/x-www-form-urlencoded"}, options=http
                )
                outcome = outcome_of(answer)
            except FAILURES as error:
                outcome = failure_of(error)
            if isinstance(outcome, Again):
                again = outcome
                continue
            told.add(number)
            if isinstance(outcome, Refused):
                refused.append(f"{number}: {outcome.reason}")
        if again is not None:
            return again
        del self._told[content]
        if len(refused) == len(options.to):
            return Refused("; ".join(refused))
        return Delivered(detail="; ".join(refused))

    def _text(self, notification: Notification) -> str:
        return shorten(self._texts.render(_TEXT, notification.data()).strip(), MAX_BODY)
