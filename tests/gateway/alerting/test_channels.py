"""Every channel against a server that plays its receiver by the documented rules."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import email
import hashlib
import hmac
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import msgspec
import pytest
from aiohttp import web
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from gateway.alerting.address_guard import AddressGuard
from gateway.alerting.alert import Alert, fingerprint
from gateway.alerting.channels import make_channels, with_extra_receivers
from gateway.alerting.configuration import read_configuration
from gateway.alerting.http_delivery import HttpDelivery, retry_after
from gateway.alerting.moments import NEVER, SECOND
from gateway.alerting.notification import Again, Channel, Delivered, Notification, Refused
from gateway.alerting.receivers.pagerduty import encode_event
from gateway.alerting.settings import AlertingSettings, AppriseReceiver, SmsReceiver
from gateway.clock import ManualClock
from gateway.errors import ConfigError
from gateway.settings_types import Secret
from tests.conformance.alertmanager.peers import Receiver, free_port, served

NOW = 1_700_000_000 * SECOND


def notification(
    *, firing: int = 1, resolved: int = 0, memory: dict[str, str] | None = None, **labels: str
) -> Notification:
    alerts = []
    for number in range(firing + resolved):
        full = {"alertname": "DiskFull", "n": str(number), "severity": "high", **labels}
        alerts.append(
            Alert(
                fingerprint=fingerprint(full),
                labels=full,
                annotations={"summary": "the disk is <full> & failing"},
                starts=NOW - SECOND,
                ends=NEVER if number < firing else NOW,
                updated=NOW,
            )
        )
    return Notification(
        id="0b9e", group_key='{}:{alertname="DiskFull"}', receiver="r", group_labels={"alertname": "DiskFull"},
        alerts=tuple(alerts), at=NOW, external_url="http://console.example", memory=memory or {},
    )  # fmt: skip


class Channels:
    """Channels of a configuration, by integration kind."""

    def __init__(self, receiver: str, **settings: Any) -> None:
        text = f"route: {{receiver: r}}\nreceivers:\n  - name: r\n{receiver}"
        self.settings = AlertingSettings(**settings)
        self.delivery = HttpDelivery(AddressGuard(self.settings.internal_receivers), timeout=5.0)
        configuration = with_extra_receivers(read_configuration(text, "t.yml"), self.settings)
        made = make_channels(configuration, self.settings, self.delivery, ManualClock(NOW))
        self.all: list[Channel] = list(made.values())
        self.by_kind: dict[str, Channel] = {key.split("/")[1]: channel for key, channel in made.items()}

    async def __aenter__(self) -> dict[str, Channel]:
        return self.by_kind

    async def __aexit__(self, *_: object) -> None:
        await self.delivery.close()


async def test_webhook_is_version_4_and_signed() -> None:
    secret = "s3cret"
    async with Receiver().running() as receiver:
        text = f"    webhook_configs: [{{url: '{receiver.url}/hook', max_alerts: 1}}]\n"
        async with Channels(text, webhook_signing_secret=Secret(secret)) as channels:
            assert isinstance(await channels["webhook"].send(notification(firing=2, resolved=1)), Delivered)
        (body,), (headers,), (raw,) = receiver.told["hook"], receiver.headers["hook"], receiver.raw["hook"]
        assert (body["version"], body["status"], body["truncatedAlerts"], len(body["alerts"])) == ("4", "firing", 2, 1)
        assert body["alerts"][0]["endsAt"] == "0001-01-01T00:00:00Z"
        signed = headers["X-Gateway-Timestamp"].encode() + b"." + raw
        assert (
            headers["X-Gateway-Signature"] == "sha256=" + hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
        )


@pytest.mark.parametrize(
    ("answer", "kind", "after"),
    [
        (web.Response(status=204), Delivered, None),
        (web.Response(status=400, text="no"), Refused, None),
        (web.Response(status=404), Refused, None),
        (web.Response(status=429, headers={"Retry-After": "7"}), Again, 7.0),
        (web.Response(status=500), Again, None),
        (web.Response(status=503, headers={"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}), Again, 0.0),
        (web.Response(status=301, headers={"Location": "http://127.0.0.1/"}), Refused, None),
    ],
)
async def test_webhook_answers_by_class(answer: web.Response, kind: type, after: float | None) -> None:
    async with Receiver().running() as receiver:
        receiver.failures["hook"] = [answer]
        async with Channels(f"    webhook_configs: [{{url: '{receiver.url}/hook'}}]\n") as channels:
            outcome = await channels["webhook"].send(notification())
    assert isinstance(outcome, kind), outcome
    if isinstance(outcome, Again):
        assert outcome.after == after
        assert not outcome.uncertain


async def test_webhook_without_a_server_is_tried_again() -> None:
    async with Channels("    webhook_configs: [{url: 'http://127.0.0.1:9/'}]\n") as channels:
        outcome = await channels["webhook"].send(notification())
    assert isinstance(outcome, Again)
    assert not outcome.uncertain


def test_retry_after_reads_numbers_and_dates() -> None:
    assert retry_after({"retry-after": "12"}) == 12.0
    assert (
        retry_after({"retry-after": "Wed, 21 Oct 2015 07:28:30 GMT", "date": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 30.0
    )
    assert retry_after({"retry-after": "-5"}) == 0.0
    assert retry_after({"retry-after": "soon"}) is None
    assert retry_after({"retry-after": "99999999"}) == 3600.0


class Slack:
    """chat.postMessage and chat.update by Slack's rules: one message a second per channel, `ok: false` with 200."""

    def __init__(self, pace: float = 0.5) -> None:
        self.pace = pace
        self.messages: dict[str, Any] = {}
        self.problems: list[str] = []
        self.pause = self.asked = 0
        self.last = 0.0
        self.app = web.Application()
        self.app.router.add_post("/api/chat.postMessage", self.post)
        self.app.router.add_post("/api/chat.update", self.update)

    async def _checked(self, request: web.Request) -> tuple[Any, web.Response | None]:
        if request.headers.get("Authorization") != "Bearer xoxb-token":
            return None, web.json_response({"ok": False, "error": "not_authed"})
        self.asked += 1
        if self.pause:
            return None, web.json_response({"ok": False}, status=429, headers={"Retry-After": str(self.pause)})
        if self.problems == ["!garbage"]:
            return None, web.Response(text="<html>")
        if self.problems:
            return None, web.json_response({"ok": False, "error": self.problems.pop(0)})
        if time.monotonic() - self.last < self.pace:
            return None, web.json_response({"ok": False, "error": "ratelimited"}, headers={"Retry-After": "1"})
        self.last = time.monotonic()
        body = await request.json()
        if any(len(a.get("text", "")) > 3000 for a in body["attachments"]):
            return None, web.json_response({"ok": False, "error": "msg_too_long"})
        return body, None

    async def post(self, request: web.Request) -> web.Response:
        body, refused = await self._checked(request)
        if refused is not None:
            return refused
        stamp = f"1700000000.{len(self.messages):06d}"
        self.messages[stamp] = body
        return web.json_response({"ok": True, "ts": stamp, "channel": "C1"})

    async def update(self, request: web.Request) -> web.Response:
        body, refused = await self._checked(request)
        if refused is not None:
            return refused
        if body["channel"] != "C1" or body["ts"] not in self.messages:
            return web.json_response({"ok": False, "error": "message_not_found"})
        self.messages[body["ts"]] = body
        return web.json_response({"ok": True, "ts": body["ts"], "channel": "C1"})


def slack_text(url: str) -> str:
    return (
        f"    slack_configs: [{{api_url: '{url}/api/chat.postMessage', channel: '#ops', send_resolved: true,\n"
        "      http_config: {authorization: {credentials: xoxb-token}}, text: '{{ range .Alerts }}x{{ end }}'}]\n"
    )


async def test_slack_posts_then_updates_the_same_message() -> None:
    slack = Slack()
    async with served(slack.app) as url, Channels(slack_text(url)) as channels:
        first = await channels["slack"].send(notification(firing=4000))
        assert isinstance(first, Delivered), first
        second = await channels["slack"].send(notification(firing=0, resolved=1, memory=first.memory))
        assert isinstance(second, Delivered)
        assert second.memory["ts"] == first.memory["ts"]
        assert len(slack.messages) == 1
        assert slack.messages[first.memory["ts"]]["attachments"][0]["color"] == "good"
        again = await channels["slack"].send(notification(memory=second.memory))
        assert isinstance(again, Delivered)
        assert again.memory["ts"] != first.memory["ts"], "nobody sees a message of yesterday turn red"
        slack.messages.clear()
        third = await channels["slack"].send(notification(memory=first.memory))
        assert isinstance(third, Delivered)
        assert len(slack.messages) == 1
        slack.problems = ["internal_error", "channel_not_found"]
        assert isinstance(await channels["slack"].send(notification()), Again)
        assert isinstance(await channels["slack"].send(notification()), Refused)


async def test_a_reminder_in_slack_is_a_reply_that_the_channel_sees() -> None:
    slack = Slack()
    async with served(slack.app) as url, Channels(slack_text(url)) as channels:
        first = await channels["slack"].send(notification())
        assert isinstance(first, Delivered)
        reminder = msgspec.structs.replace(notification(memory=first.memory), reminder=True)
        second = await channels["slack"].send(reminder)
        assert isinstance(second, Delivered)
        assert second.memory == first.memory, "the group's message stays the one that is updated"
        _, reply = slack.messages.values()
        assert (reply["thread_ts"], reply["reply_broadcast"]) == (first.memory["ts"], True)


async def test_two_receivers_that_write_to_one_slack_channel_keep_its_pace() -> None:
    slack = Slack()
    async with served(slack.app) as url:
        entry = slack_text(url).strip().removeprefix("slack_configs: [").removesuffix("]")
        keys = Channels(f"    slack_configs: [{entry}, {entry}]\n")
        try:
            outcomes = await asyncio.gather(*(channel.send(notification()) for channel in keys.all))
        finally:
            await keys.delivery.close()
        assert all(isinstance(outcome, Delivered) for outcome in outcomes), outcomes
        slack.pause = 30
        held = await keys.all[0].send(notification())
        assert (type(held), held.after) == (Again, 30.0)  # type: ignore[union-attr]
        asked = slack.asked
        other = await keys.all[1].send(notification())
        assert isinstance(other, Again)
        assert other.after is not None
        assert 25 < other.after <= 30
        assert slack.asked == asked, "Slack is not asked while it wants to be left alone"


async def test_slack_messages_have_buttons_while_something_fires() -> None:
    slack = Slack()
    async with (
        served(slack.app) as url,
        Channels(slack_text(url), slack_signing_secret=Secret("s")) as channels,
    ):
        first = msgspec.structs.replace(notification(), group_id="r|{}:{}")
        sent = await channels["slack"].send(first)
        assert isinstance(sent, Delivered)
        (message,) = slack.messages.values()
        (block,) = message["attachments"][-1]["blocks"]
        assert [(e["action_id"], e["value"]) for e in block["elements"]] == [
            (name, "r|{}:{}") for name in ("acknowledge", "snooze", "resolve")
        ]
        ended = msgspec.structs.replace(notification(firing=0, resolved=1, memory=sent.memory), group_id="r|{}:{}")
        await channels["slack"].send(ended)
        assert len(slack.messages[sent.memory["ts"]]["attachments"]) == 1
        slack.problems = ["!garbage"]
        unclear = await channels["slack"].send(first)
        assert isinstance(unclear, Again)
        assert unclear.uncertain


class PagerDuty:
    """Events API v2: 202, 400 for an event that breaks a rule, 429 on demand."""

    def __init__(self) -> None:
        self.open: dict[str, Any] = {}
        self.busy = 0
        self.app = web.Application(client_max_size=2**22)
        self.app.router.add_post("/v2/enqueue", self.enqueue)

    async def enqueue(self, request: web.Request) -> web.Response:
        if self.busy:
            self.busy -= 1
            return web.Response(status=429)
        raw = await request.read()
        body = await request.json()
        problems = []
        if len(raw) > 512 * 1024:
            problems.append("too large")
        if len(body["routing_key"]) != 32:
            problems.append("routing_key")
        if len(body["dedup_key"]) > 255 or body["event_action"] not in ("trigger", "acknowledge", "resolve"):
            problems.append("key or action")
        if body["event_action"] == "trigger":
            payload = body["payload"]
            if not payload["summary"] or len(payload["summary"]) > 1024 or not payload["source"]:
                problems.append("payload")
            if payload["severity"] not in ("critical", "error", "warning", "info"):
                problems.append("severity")
        if problems:
            return web.json_response({"status": "invalid event", "errors": problems}, status=400)
        if body["event_action"] == "resolve":
            self.open.pop(body["dedup_key"], None)
        else:
            self.open[body["dedup_key"]] = body
        return web.json_response({"status": "success", "dedup_key": body["dedup_key"]}, status=202)


async def test_pagerduty_opens_one_and_resolves_it() -> None:
    pagerduty = PagerDuty()
    async with served(pagerduty.app) as url:
        text = f"    pagerduty_configs: [{{routing_key: {'k' * 32}, url: '{url}/v2/enqueue'}}]\n"
        async with Channels(text) as channels:
            send = channels["pagerduty"].send
            assert isinstance(await send(notification()), Delivered)
            assert isinstance(await send(notification(firing=2)), Delivered)
            (event,) = pagerduty.open.values()
            assert event["payload"]["severity"] == "error"
            assert isinstance(await send(notification(firing=3000, filler="x" * 300)), Delivered)
            pagerduty.busy = 1
            assert isinstance(await send(notification()), Again)
            assert isinstance(await send(notification(firing=0, resolved=1)), Delivered)
            assert not pagerduty.open


async def test_opsgenie_opens_by_alias_and_closes_it() -> None:
    opened: dict[str, Any] = {}

    async def create(request: web.Request) -> web.Response:
        body = await request.json()
        if request.headers["Authorization"] != "GenieKey key":
            return web.Response(status=401)
        if not 0 < len(body["message"]) <= 130 or len(body["alias"]) > 512 or len(body["source"]) > 100:
            return web.Response(status=422)
        opened[body["alias"]] = body
        return web.json_response({"result": "Request will be processed", "requestId": "1"}, status=202)

    async def close(request: web.Request) -> web.Response:
        assert request.query["identifierType"] == "alias"
        opened.pop(request.match_info["alias"])
        return web.json_response({"requestId": "2"}, status=202)

    app = web.Application()
    app.router.add_post("/v2/alerts", create)
    app.router.add_post("/v2/alerts/{alias}/close", close)
    async with served(app) as url:
        text = f"    opsgenie_configs: [{{api_key: key, api_url: '{url}/', tags: 'a, b', priority: P2}}]\n"
        async with Channels(text) as channels:
            assert isinstance(await channels["opsgenie"].send(notification(filler="y" * 200)), Delivered)
            (alert,) = opened.values()
            assert (alert["tags"], alert["priority"]) == (["a", "b"], "P2")
            assert isinstance(await channels["opsgenie"].send(notification(firing=0, resolved=1)), Delivered)
            assert not opened


async def test_sms_tells_each_number_once_even_when_one_must_be_tried_again() -> None:
    sent: list[str] = []
    busy = ["+2"]

    async def messages(request: web.Request) -> web.Response:
        expected = "Basic " + base64.b64encode(b"AC1:token").decode()
        if request.headers.get("Authorization") != expected:
            return web.Response(status=401)
        form = parse_qs((await request.read()).decode())
        (number,), (body,) = form["To"], form["Body"]
        if len(body) > 1600 or form["From"] != ["+1"]:
            return web.Response(status=400)
        if number in busy:
            busy.remove(number)
            return web.Response(status=429)
        sent.append(number)
        return web.json_response({"sid": "SM1"}, status=201)

    app = web.Application()
    app.router.add_post("/2010-04-01/Accounts/AC1/Messages.json", messages)
    async with served(app) as url:
        sms = SmsReceiver(
            receiver="r", account_sid="AC1", auth_token=Secret("token"), sender="+1", to=("+2", "+3"), api_url=url
        )
        async with Channels("", sms=(sms,)) as channels:
            assert isinstance(await channels["sms"].send(notification()), Again)
            assert isinstance(await channels["sms"].send(notification()), Delivered)
    assert sorted(sent) == ["+2", "+3"]


async def test_apprise_reaches_the_long_tail() -> None:
    async with Receiver().running() as receiver:
        url = receiver.url.replace("http://", "json://") + "/long-tail"
        async with Channels("", apprise=(AppriseReceiver(receiver="r", urls=(Secret(url),)),)) as channels:
            assert isinstance(await channels["apprise"].send(notification()), Delivered)
        assert "DiskFull" in receiver.told["long-tail"][0]["title"]
    with pytest.raises(ConfigError, match="not one that apprise knows"):
        Channels("", apprise=(AppriseReceiver(receiver="r", urls=(Secret("nonsense"),)),))
    with pytest.raises(ConfigError, match='"other" is not defined'):
        Channels("", apprise=(AppriseReceiver(receiver="other", urls=()),))


class Mailbox:
    """An SMTP server's handler: keeps messages, refuses one recipient for good and one for now."""

    def __init__(self) -> None:
        self.messages: list[Envelope] = []

    async def handle_RCPT(
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: Any
    ) -> str:
        if address.startswith("never@"):
            return "550 no such user"
        if address.startswith("later@"):
            return "450 mailbox busy"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:
        self.messages.append(envelope)
        return "250 OK"


@contextlib.contextmanager
def mail_server() -> Iterator[tuple[Mailbox, int]]:
    """A plain SMTP server's mailbox and port."""
    mailbox = Mailbox()
    server = Controller(mailbox, hostname="127.0.0.1", port=free_port())
    server.start()
    try:
        yield mailbox, server.port
    finally:
        server.stop()


def allow(_server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, data: LoginPassword) -> AuthResult:
    return AuthResult(success=(data.login, data.password) == (b"user", b"pass"), handled=False)


async def test_email_over_a_real_smtp_server_with_starttls_and_threads(tmp_path: Path) -> None:
    import ssl

    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    made = await asyncio.create_subprocess_exec(
        "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
        "-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate),
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    if await made.wait():
        pytest.skip("Debian package openssl is missing")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    mailbox = Mailbox()
    server = Controller(
        mailbox, hostname="127.0.0.1", port=free_port(), tls_context=context, require_starttls=True,
        authenticator=allow,
        auth_required=True,
    )  # fmt: skip
    server.start()
    try:
        port = server.port

        def channels(to: str, password: str = "pass", tls: str = f"ca_file: '{certificate}'") -> Channels:
            return Channels(
                f"    email_configs: [{{to: '{to}', from: 'Gateway <gw@example.org>', smarthost: 'localhost:{port}',\n"
                f"      auth_username: user, auth_password: {password}, tls_config: {{{tls}}}}}]\n"
            )

        async with channels("a@example.org, B <b@example.org>") as made_channels:
            first = await made_channels["email"].send(notification())
            assert isinstance(first, Delivered), first
            second = await made_channels["email"].send(notification(firing=0, resolved=1, memory=first.memory))
            assert isinstance(second, Delivered)
            assert second.memory == first.memory
        assert mailbox.messages[0].rcpt_tos == ["a@example.org", "b@example.org"]
        messages = [email.message_from_bytes(envelope.content or b"") for envelope in mailbox.messages]
        assert [part.get_content_type() for part in messages[0].walk()][1:] == ["text/plain", "text/html"]
        page = messages[0].get_payload(1).get_payload(decode=True).decode()  # type: ignore[union-attr]
        assert "&lt;full&gt; &amp; failing" in page
        assert messages[1]["References"] == messages[0]["Message-ID"]
        assert messages[1]["Subject"].startswith("[RESOLVED]")
        for to, kind in (("never@example.org", Refused), ("later@example.org", Again)):
            async with channels(to) as made_channels:
                assert isinstance(await made_channels["email"].send(notification()), kind)
        async with channels("a@example.org", password="wrong") as made_channels:
            assert isinstance(await made_channels["email"].send(notification()), Refused)
        async with channels("a@example.org", tls="server_name: ''") as made_channels:
            assert isinstance(await made_channels["email"].send(notification()), Again)  # unknown certificate
    finally:
        server.stop()
    async with channels("a@example.org") as made_channels:
        assert isinstance(await made_channels["email"].send(notification()), Again)


async def test_a_date_and_an_id_of_the_configuration_are_the_messages_only_ones() -> None:
    with mail_server() as (mailbox, port):
        async with Channels(
            "    email_configs: [{from: gw@example.org, to: a@example.org, require_tls: false,"
            f" smarthost: '127.0.0.1:{port}', headers: {{date: 'Sun, 06 Nov 1994 08:49:37 +0000',"
            " Message-ID: '<own@example.org>'}}]\n"
        ) as channels:
            outcome = await channels["email"].send(notification())
        assert isinstance(outcome, Delivered), outcome
    assert outcome.memory == {"message_id": "<own@example.org>"}
    message = email.message_from_bytes(mailbox.messages[0].content or b"")  # type: ignore[arg-type]
    assert message.get_all("Date") == ["Sun, 06 Nov 1994 08:49:37 +0000"]
    assert message.get_all("Message-ID") == ["<own@example.org>"]


async def test_email_is_not_sent_in_the_clear_unless_that_is_allowed() -> None:
    with mail_server() as (mailbox, port):
        text = f"    email_configs: [{{to: a@example.org, from: gw@example.org, smarthost: 'localhost:{port}'"
        async with Channels(text + "}]\n") as channels:
            outcome = await channels["email"].send(notification())
            assert isinstance(outcome, Again)
            assert not outcome.uncertain, "nothing was sent"
        assert not mailbox.messages
        async with Channels(text + ", require_tls: false}]\n") as channels:
            assert isinstance(await channels["email"].send(notification()), Delivered)
        assert len(mailbox.messages) == 1


def test_an_event_for_pagerduty_leaves_details_away_before_it_is_too_large() -> None:
    event: dict[str, object] = {
        "dedup_key": "k",
        "payload": {"summary": "s", "custom_details": {"firing": "x" * 600_000}},
    }
    body = encode_event(event)
    assert len(body) < 512_000
    assert b'"summary":"s"' in body
    assert b"left away" in body
    small: dict[str, object] = {"payload": {"custom_details": {"firing": "x" * 400_000}}}
    assert b"left away" not in encode_event(small)
