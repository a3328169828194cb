"""The Opsgenie channel: Alert API v2. A group is one Opsgenie alert whose alias is the SHA-256 of the group key.

Firing: `POST v2/alerts`, which Opsgenie deduplicates by alias. Resolved: `POST
v2/alerts/{alias}/close?identifierType=alias`. Limits: message 130 characters, description 15,000, source 100,
priorities P1 to P5. 202 taken; 429 and 5xx later.
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

MAX_MESSAGE: Final = 130
MAX_DESCRIPTION: Final = 15_000
MAX_SOURCE: Final = 100
_RESPONDER_KINDS: Final = ("team", "user", "escalation", "schedule")


class OpsgenieOptions(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of `opsgenie_configs`."""

    api_key: Secret
    api_url: str
    http: HttpOptions
    message: str
    description: str
    source: str
    tags: str
    note: str
    priority: str
    entity: str
    actions: str
    details: dict[str, str]
    responders: tuple[dict[str, str], ...] = ()


def read_options(section: Section, globals_: GlobalOptions) -> OpsgenieOptions:
    """Raises ConfigError."""
    key = section.secret("api_key") or globals_.opsgenie_api_key
    if not key:
        raise section.value.refuse("api_key must be given here or as opsgenie_api_key in global")
    url, details = section.take("api_url"), section.take("details")
    responders = []
    for item in section.items("responders"):
        responder = item.texts()
        if responder.get("type") not in _RESPONDER_KINDS or len(responder) != 2:
            raise item.refuse("a responder has a type and one of id, name, username", ", ".join(_RESPONDER_KINDS))
        responders.append(responder)
    base = globals_.opsgenie_api_url if url is None else read_url(url)
    return OpsgenieOptions(
        api_key=key,
        api_url=base.rstrip("/"),
        http=read_http_options(section.take("http_config"), globals_.http),
        message=section.text("message", '{{ template "opsgenie.default.message" . }}'),
        description=section.text("description", '{{ template "opsgenie.default.description" . }}'),
        source=section.text("source", '{{ template "opsgenie.default.source" . }}'),
        tags=section.text("tags"),
        note=section.text("note"),
        priority=section.text("priority"),
        entity=section.text("entity"),
        actions=section.text("actions"),
        details={} if details is None else details.texts(),
        responders=tuple(responders),
    )


def texts_of(options: OpsgenieOptions) -> list[str]:
    """The templates in the options."""
    own = [options.message, options.description, options.source, options.tags, options.note, options.priority]
    own += [options.entity, options.actions, *options.details.values()]
    return own + [text for responder in options.responders for text in responder.values()]


class OpsgenieChannel:
    """See Channel."""

    concurrency = 8

    def __init__(self, options: OpsgenieOptions, delivery: HttpDelivery, texts: Texts) -> None:
        self._options, self._delivery, self._texts = options, delivery, texts

    async def send(self, notification: Notification) -> Outcome:
        """See Channel."""
        options = self._options
        headers = {"Content-Type": "application/json", "Authorization": f"GenieKey {options.api_key.reveal()}"}
        if notification.status == "firing":
            url, body = f"{options.api_url}/v2/alerts", await composed(notification, self._alert)
        else:
            url = f"{options.api_url}/v2/alerts/{notification.dedup_key}/close?identifierType=alias"
            body = {"source": self._texts.render(options.source, notification.data())[:MAX_SOURCE]}
        try:
            answer = await self._delivery.post(url, msgspec.json.encode(body), headers=headers, options=options.http)
        except FAILURES as error:
            return failure_of(error)
        return outcome_of(answer)

    def _alert(self, notification: Notification) -> dict[str, object]:
        options, data = self._options, notification.data()

        def text(template: str) -> str:
            return self._texts.render(template, data).strip()

        common = data["CommonLabels"]
        alert: dict[str, object] = {
            "alias": notification.dedup_key,
            "message": text(options.message)[:MAX_MESSAGE] or "alert",
            "description": text(options.description)[:MAX_DESCRIPTION],
            "source": text(options.source)[:MAX_SOURCE],
            "details": dict(common) | notification.context | {n: text(t) for n, t in options.details.items()},
        }
        for name, template in (("note", options.note), ("entity", options.entity), ("priority", options.priority)):
            if text(template):
                alert[name] = text(template)
        for name, template in (("tags", options.tags), ("actions", options.actions)):
            if text(template):
                alert[name] = [part.strip() for part in text(template).split(",") if part.strip()]
        if options.responders:
            alert["responders"] = [{name: text(value) for name, value in r.items()} for r in options.responders]
        return alert
