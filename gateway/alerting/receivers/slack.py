"""The Slack channel: one message per group, updated as the group changes.

With a bot token (`http_config.authorization` and `api_url` ending in `chat.postMessage`) the first notification posts
and keeps the message's time stamp; later ones update that message. Slack tells nobody of an update, so a reminder is
also a reply in the message's thread that the channel sees, and what fires again after its end is a new message. A
message that is gone is posted anew. With an incoming webhook address every notification is a message of its own, since
webhooks cannot update.

Where the app's signing secret is set, such messages have buttons while something fires (`callbacks`).

Limits: one message a second per channel, whichever receivers write there; a text of 3,000 characters, and one block of
the 50 that a message may have. Slack answers 200 with `ok: false` for most mistakes; `ratelimited` and `internal_error`
and their like are tried again, the rest is final.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from gateway.alerting.callbacks import BUTTONS, MAX_VALUE
from gateway.alerting.document import Section
from gateway.alerting.http_delivery import (
    FAILURES,
    HttpDelivery,
    HttpOptions,
    failure_of,
    outcome_of,
    read_http_options,
    read_url,
    retry_after,
)
from gateway.alerting.notification import IN_PLACE, Again, Delivered, Notification, Outcome, Refused, composed
from gateway.alerting.receivers.global_options import GlobalOptions
from gateway.alerting.template import Texts
from gateway.settings_types import Secret

MAX_SECTION: Final = 3000
MAX_TITLE: Final = 1024
SECONDS_BETWEEN: Final = 1.0
MAX_PAUSE: Final = 3.0
"""Longer pauses are not waited for within an attempt."""
_LATER: Final = frozenset({"ratelimited", "rate_limited", "internal_error", "fatal_error", "service_unavailable"})
_OVER: Final = "over"
"""In the memory: the message tells an end."""
_GONE: Final = frozenset({"message_not_found", "cant_update_message", "edit_window_closed"})


class SlackOptions(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of `slack_configs`."""

    api_url: Secret
    http: HttpOptions
    channel: str
    username: str
    color: str
    title: str
    title_link: str
    pretext: str
    text: str
    fallback: str
    footer: str
    icon_emoji: str
    icon_url: str
    short_fields: bool
    fields: tuple[tuple[str, str, bool | None], ...] = ()
    mrkdwn_in: tuple[str, ...] = ("fallback", "pretext", "text")

    @property
    def updates(self) -> bool:
        """Whether messages can be updated."""
        return urlsplit(self.api_url.reveal()).path.endswith("/chat.postMessage")


def read_options(section: Section, globals_: GlobalOptions) -> SlackOptions:
    """Raises ConfigError."""
    given, path = section.take("api_url"), section.take("api_url_file")
    if given is not None and path is not None:
        raise path.refuse("at most one of api_url and api_url_file may be given")
    url = globals_.slack_api_url
    if given is not None:
        url = given.secret()
        read_url(given)
    elif path is not None:
        url = path.parse(lambda name: Secret.parse({"file": name}))
    if not url:
        raise section.value.refuse("api_url must be given here or as slack_api_url in global")
    fields = []
    for item in section.items("fields"):
        below = item.section()
        short = below.take("short")
        fields.append(
            (below.must("title").text(), below.must("value").text(), None if short is None else short.boolean())
        )
        below.finish("title, value, short")

    def text(key: str, default: str) -> str:
        return section.text(key, default)

    return SlackOptions(
        api_url=url,
        http=read_http_options(section.take("http_config"), globals_.http),
        channel=section.text("channel"),
        username=text("username", '{{ template "slack.default.username" . }}'),
        color=text("color", '{{ if eq .Status "firing" }}danger{{ else }}good{{ end }}'),
        title=text("title", '{{ template "slack.default.title" . }}'),
        title_link=text("title_link", '{{ template "slack.default.titlelink" . }}'),
        pretext=text("pretext", '{{ template "slack.default.pretext" . }}'),
        text=text("text", '{{ template "slack.default.text" . }}'),
        fallback=text("fallback", '{{ template "slack.default.fallback" . }}'),
        footer=text("footer", '{{ template "slack.default.footer" . }}'),
        icon_emoji=text("icon_emoji", '{{ template "slack.default.iconemoji" . }}'),
        icon_url=text("icon_url", '{{ template "slack.default.iconurl" . }}'),
        short_fields=section.boolean("short_fields", False),
        fields=tuple(fields),
        mrkdwn_in=tuple(item.text() for item in section.items("mrkdwn_in")) or ("fallback", "pretext", "text"),
    )


def texts_of(options: SlackOptions) -> list[str]:
    """The templates in the options."""
    own = [options.channel, options.username, options.color, options.title, options.title_link, options.pretext]
    own += [options.text, options.fallback, options.footer, options.icon_emoji, options.icon_url]
    return own + [text for title, value, _ in options.fields for text in (title, value)]


class Pace:
    """When the next message may be sent to one channel of Slack."""

    def __init__(self) -> None:
        self._next = float("-inf")

    def wait(self) -> float:
        """Seconds until then; the moment after it is the following one's."""
        now = time.monotonic()
        mine = max(now, self._next)
        self._next = mine + SECONDS_BETWEEN
        return mine - now

    def closed(self) -> float:
        """Seconds for which it is pointless to ask for a moment."""
        return self._next - SECONDS_BETWEEN - time.monotonic()

    def hold(self, seconds: float) -> None:
        """Slack asks for a pause."""
        self._next = max(self._next, time.monotonic() + seconds)


class SlackChannel:
    """See Channel. Sends one message at a time and at most one a second."""

    concurrency = 1

    def __init__(
        self, options: SlackOptions, delivery: HttpDelivery, texts: Texts, pace: Pace, *, buttons: bool = False
    ) -> None:
        self._options, self._delivery, self._texts = options, delivery, texts
        self._pace, self._buttons = pace, buttons and options.updates

    async def send(self, notification: Notification) -> Outcome:
        """See Channel."""
        message = await composed(notification, self._message)
        url = self._options.api_url.reveal()
        known = notification.memory
        if not self._options.updates:
            return await self._call(url, message)
        shown = self._with_buttons(message, notification)
        over = {_OVER: "yes"} if notification.status == "resolved" else {}
        if known.get("ts") and (over or _OVER not in known):
            update = {**shown, "channel": known["channel"], "ts": known["ts"]}
            outcome = await self._call(url.removesuffix("postMessage") + "update", update)
            if isinstance(outcome, Delivered) and notification.reminder and not over:
                reply = {**message, "channel": known["channel"], "thread_ts": known["ts"], "reply_broadcast": True}
                said = await self._call(url, reply)
                outcome = outcome if isinstance(said, Delivered) else said
            if isinstance(outcome, Delivered):
                return Delivered(outcome.memory | over)
            if not (isinstance(outcome, Refused) and outcome.reason in _GONE):
                return outcome
        outcome = await self._call(url, shown)
        return Delivered(outcome.memory | over) if isinstance(outcome, Delivered) else outcome

    def _with_buttons(self, message: dict[str, Any], notification: Notification) -> dict[str, Any]:
        if not self._buttons or notification.status != "firing" or not 0 < len(notification.group_id) <= MAX_VALUE:
            return message
        elements = [
            {
                "type": "button",
                "action_id": name,
                "text": {"type": "plain_text", "text": label},
                "value": notification.group_id,
            }
            for name, label in BUTTONS.items()
        ]
        buttons = {"fallback": "", "blocks": [{"type": "actions", "elements": elements}]}
        return {**message, "attachments": [*message["attachments"], buttons]}

    async def _call(self, url: str, message: dict[str, Any]) -> Outcome:
        closed = self._pace.closed()
        if closed > MAX_PAUSE:
            return Again("Slack asked to wait", closed)
        await asyncio.sleep(self._pace.wait())
        headers = {"Content-Type": "application/json; charset=utf-8"}
        try:
            answer = await self._delivery.post(
                url, msgspec.json.encode(message), headers=headers, options=self._options.http
            )
        except FAILURES as error:
            return failure_of(error)
        body = answer.json()
        if not 200 <= answer.status < 300 or not (self._options.updates or isinstance(body, dict)):
            outcome = outcome_of(answer)
        elif not isinstance(body, dict):
            outcome = Again("the answer is not Slack's", uncertain=True)
        elif body.get("ok"):
            return Delivered({"ts": str(body.get("ts", "")), "channel": str(body.get("channel", "")), IN_PLACE: "yes"})
        elif (problem := str(body.get("error", "unknown error"))) in _LATER:
            outcome = Again(problem, retry_after(answer.headers))
        else:
            outcome = Refused(problem)
        if isinstance(outcome, Again) and outcome.after:
            self._pace.hold(outcome.after)
        return outcome

    def _message(self, notification: Notification) -> dict[str, Any]:
        options, data = self._options, notification.data()

        def text(template: str) -> str:
            return self._texts.render(template, data)

        attachment: dict[str, Any] = {
            "title": text(options.title)[:MAX_TITLE],
            "title_link": text(options.title_link),
            "pretext": text(options.pretext),
            "text": shorten(text(options.text), MAX_SECTION),
            "fallback": text(options.fallback),
            "footer": text(options.footer),
            "color": text(options.color),
            "mrkdwn_in": list(options.mrkdwn_in),
        }
        if notification.remarks:
            lines = "\n".join(f"_{line}_" for line in notification.remarks.splitlines())
            attachment["text"] = shorten(f"{attachment['text']}\n{lines}", MAX_SECTION)
        if options.fields:
            attachment["fields"] = [
                {"title": text(t), "value": text(v), "short": options.short_fields if short is None else short}
                for t, v, short in options.fields
            ]
        message: dict[str, Any] = {"attachments": [attachment], "username": text(options.username)}
        for key, template in (
            ("channel", options.channel),
            ("icon_emoji", options.icon_emoji),
            ("icon_url", options.icon_url),
        ):
            if text(template):
                message[key] = text(template)
        return message


def shorten(text: str, limit: int) -> str:
    """At most `limit` characters, with an ellipsis where something was cut."""
    return text if len(text) <= limit else text[: limit - 1] + "…"
