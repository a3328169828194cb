"""The PagerDuty channel: Events API v2. A group is one PagerDuty alert; its deduplication key is the SHA-256 of the
group key.

Limits of the interface: routing key of 32 characters, summary of 1,024 characters, an event of 512 KB (details are left
away beyond it), severities critical, error, warning, info. Answers: 202 taken; 429 and 5xx later; else final.
"""

from __future__ import annotations

from typing import Final

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
from gateway.alerting.template import Texts
from gateway.settings_types import Secret

MAX_SUMMARY: Final = 1024
MAX_EVENT: Final = 512_000
SEVERITIES: Final = {"critical": "critical", "page": "critical", "high": "error", "error": "error"} | {
    "medium": "warning",
    "warning": "warning",
    "low": "info",
    "info": "info",
    "none": "info",
}
LOWER: Final = {"critical": "error", "error": "warning", "warning": "info", "info": "info"}
"""The severity of alerts that nobody acts on."""
_DETAILS: Final = {
    "firing": '{{ template "pagerduty.default.instances" .Alerts.Firing }}',
    "resolved": '{{ template "pagerduty.default.instances" .Alerts.Resolved }}',
    "num_firing": "{{ .Alerts.Firing | len }}",
    "num_resolved": "{{ .Alerts.Resolved | len }}",
}


class PagerDutyOptions(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of `pagerduty_configs`. Every string but the address is a text over the notification."""

    routing_key: Secret
    url: str
    http: HttpOptions
    client: str
    client_url: str
    description: str
    severity: str
    source: str
    component: str
    group: str
    class_: str
    details: dict[str, str]
    links: tuple[tuple[str, str], ...] = ()


def read_options(section: Section, globals_: GlobalOptions) -> PagerDutyOptions:
    """Raises ConfigError."""
    key = section.secret("routing_key")
    if not key:
        raise section.value.refuse(
            "routing_key or routing_key_file must be given (the v1 service_key is not supported)"
        )
    url = section.take("url")
    details = section.take("details")
    client = section.text("client", '{{ template "pagerduty.default.client" . }}')
    links = []
    for item in section.items("links"):
        below = item.section()
        links.append((below.text("href"), below.text("text")))
        below.finish("href, text")
    return PagerDutyOptions(
        routing_key=key,
        url=globals_.pagerduty_url if url is None else read_url(url),
        http=read_http_options(section.take("http_config"), globals_.http),
        client=client,
        client_url=section.text("client_url", '{{ template "pagerduty.default.clientURL" . }}'),
        description=section.text("description", '{{ template "pagerduty.default.description" . }}'),
        severity=section.text("severity", "{{ .CommonLabels.severity }}"),
        source=section.text("source") or client,
        component=section.text("component"),
        group=section.text("group"),
        class_=section.text("class"),
        details=_DETAILS | ({} if details is None else details.texts()),
        links=tuple(links),
    )


def texts_of(options: PagerDutyOptions) -> list[str]:
    """The templates in the options."""
    own = [options.client, options.client_url, options.description, options.severity, options.source]
    own += [options.component, options.group, options.class_, *options.details.values()]
    return own + [text for link in options.links for text in link]


class PagerDutyChannel:
    """See Channel."""

    concurrency = 8

    def __init__(self, options: PagerDutyOptions, delivery: HttpDelivery, texts: Texts) -> None:
        self._options, self._delivery, self._texts = options, delivery, texts

    async def send(self, notification: Notification) -> Outcome:
        """See Channel."""
        body = await composed(notification, lambda one: encode_event(self._event(one)))
        headers = {"Content-Type": "application/json"}
        try:
            answer = await self._delivery.post(self._options.url, body, headers=headers, options=self._options.http)
        except FAILURES as error:
            return failure_of(error)
        return outcome_of(answer)

    def _event(self, notification: Notification) -> dict[str, object]:
        options, data = self._options, notification.data()

        def text(template: str) -> str:
            return self._texts.render(template, data)

        event: dict[str, object] = {
            "routing_key": options.routing_key.reveal(),
            "dedup_key": notification.dedup_key,
            "event_action": "trigger" if notification.status == "firing" else "resolve",
        }
        if notification.status != "firing":
            return event
        summary = text(options.description).strip() or "alert"
        severity = SEVERITIES.get(text(options.severity).strip().lower(), "error")
        payload = {
            "summary": summary if len(summary) <= MAX_SUMMARY else summary[: MAX_SUMMARY - 1] + "…",
            "source": text(options.source) or "gateway",
            "severity": LOWER[severity] if notification.lowered else severity,
            "custom_details": {name: text(template) for name, template in options.details.items()}
            | notification.context,
        }
        for name, template in (("component", options.component), ("group", options.group), ("class", options.class_)):
            if template:
                payload[name] = text(template)
        event |= {"client": text(options.client), "client_url": text(options.client_url), "payload": payload}
        if options.links:
            event["links"] = [{"href": text(href), "text": text(words)} for href, words in options.links]
        return event


def encode_event(event: dict[str, object]) -> bytes:
    """As JSON; without its details if it is too large."""
    body = msgspec.json.encode(event)
    payload = event.get("payload")
    if len(body) > MAX_EVENT and isinstance(payload, dict):
        note = {"error": "the details were left away: the event exceeds 512 KB"}
        body = msgspec.json.encode({**event, "payload": {**payload, "custom_details": note}})
    return body
