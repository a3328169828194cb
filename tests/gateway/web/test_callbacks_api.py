"""What Slack and Twilio say back: believed only when signed, done when answered."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from gateway.access.settings import AccessSettings, Token
from gateway.access.tokens import Authenticator
from gateway.alerting.alert import made
from gateway.alerting.moments import NEVER, SECOND
from gateway.alerting.receivers import slack as slack_channel
from gateway.alerting.router import AlertRouter
from gateway.alerting.settings import AlertingSettings, SmsReceiver
from gateway.clock import SystemClock
from gateway.settings_types import Secret
from gateway.web import callbacks_api
from gateway.web.access_guard import access_guard
from gateway.web.json_api import declared_errors
from tests.conformance.alertmanager.peers import eventually, served
from tests.gateway.alerting.test_channels import Slack, slack_text

SIGNING = "8f742231b10e8888abcd99yyyzzz85a5"
CALLBACK = "https://gateway.example/callbacks/twilio"
ROUTE = "route: {receiver: r, group_by: [alertname], group_wait: 1ms, group_interval: 1h}\nreceivers:\n  - name: r\n"


def signed(body: bytes, at: float, secret: str = SIGNING) -> dict[str, str]:
    """As Slack's documentation says."""
    stamp = str(int(at))
    mac = hmac.new(secret.encode(), b"v0:" + stamp.encode() + b":" + body, hashlib.sha256)
    return {
        "X-Slack-Request-Timestamp": stamp,
        "X-Slack-Signature": f"v0={mac.hexdigest()}",
        "Content-Type": "application/x-www-form-urlencoded",
    }


def pressed(action: str, group: str, **more: Any) -> bytes:
    payload = {
        "type": "block_actions",
        "user": {"id": "U1", "username": "ana"},
        "actions": [{"action_id": action, "block_id": "b", "type": "button", "value": group}],
        "response_url": "https://hooks.slack.example/x",
    }
    return urlencode({"payload": json.dumps(payload | more)}).encode()


class Outside:
    """Slack and Twilio, and the gateway that they reach."""

    def __init__(
        self, router: AlertRouter, client: TestClient[Any, Any], slack: Slack, sent: list[dict[str, str]]
    ) -> None:
        self.router, self.client, self.slack, self.sent = router, client, slack, sent

    @property
    def now(self) -> float:
        return self.router.clock.time_ns() / SECOND

    async def fire(self, count: int = 2) -> str:
        """Alerts of one group that was told in Slack; gives the group's id."""
        now = self.router.clock.time_ns()
        await self.router.post_alerts(
            [made({"alertname": "x", "n": str(n)}, {}, starts=now, ends=NEVER, now=now) for n in range(count)]
        )
        (group,) = self.router.engine.groups
        await eventually(lambda: self.slack.messages and not len(self.router.engine.outbox))
        return group

    async def press(self, body: bytes, headers: dict[str, str] | None = None) -> int:
        answer = await self.client.post("/callbacks/slack", data=body, headers=headers or signed(body, self.now))
        return answer.status


@pytest.fixture
async def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Outside]:
    monkeypatch.setattr(slack_channel, "SECONDS_BETWEEN", 0.0)
    slack, sent = Slack(pace=0.0), list[dict[str, str]]()

    async def messages(request: web.Request) -> web.Response:
        sent.append(dict(parse_qsl((await request.read()).decode())))
        return web.json_response({"sid": "SM1"}, status=201)

    slack.app.router.add_post("/2010-04-01/Accounts/AC1/Messages.json", messages)
    async with served(slack.app) as url:
        path = tmp_path / "alertmanager.yml"
        path.write_text(ROUTE + slack_text(url))
        sms = SmsReceiver(
            receiver="r", account_sid="AC1", auth_token=Secret("token"), sender="+1", to=("+2",), api_url=url,
            status_callback=CALLBACK,
        )  # fmt: skip
        settings = AlertingSettings(config_file=str(path), slack_signing_secret=Secret(SIGNING), sms=(sms,))
        router = AlertRouter(settings, tmp_path / "state", SystemClock())
        await router.start()
        access = AccessSettings(tokens=(Token(name="t", sha256=Secret("0" * 64), roles=("operate",)),))
        app = web.Application(middlewares=[access_guard(Authenticator(access)), declared_errors])
        callbacks_api.register_routes(app, router)
        async with TestClient(TestServer(app)) as client:
            yield Outside(router, client, slack, sent)
        await router.stop()


async def test_a_button_acknowledges_and_the_message_says_so(outside: Outside) -> None:
    group = await outside.fire()
    (stamp,) = outside.slack.messages
    assert outside.slack.messages[stamp]["attachments"][-1]["blocks"][0]["elements"][0]["value"] == group
    assert await outside.press(pressed("acknowledge", group)) == 200
    people, alerts = outside.router.people, outside.router.engine.alerts
    assert all(people.acknowledged(name) for name in alerts)
    assert {people.get(name).acknowledged_by for name in alerts} == {"ana"}  # type: ignore[union-attr]
    await eventually(lambda: "acknowledged by ana" in outside.slack.messages[stamp]["attachments"][0]["text"])
    assert list(outside.slack.messages) == [stamp], "the message is changed, none is added"
    assert len(outside.sent) == 1, "who cannot be shown it silently is not told"
    await outside.router.acts.unacknowledge(next(iter(alerts)), "bob")
    await eventually(lambda: "acknowledged" not in outside.slack.messages[stamp]["attachments"][0]["text"])


async def test_buttons_snooze_and_resolve(outside: Outside) -> None:
    group = await outside.fire()
    assert await outside.press(pressed("snooze", group)) == 200
    now = outside.router.clock.time_ns()
    snoozed = [outside.router.people.get(name) for name in outside.router.engine.alerts]
    assert all(one is not None and 3500 * SECOND < one.snoozed_until - now <= 3600 * SECOND for one in snoozed)
    assert await outside.press(pressed("resolve", group)) == 200
    now = outside.router.clock.time_ns()
    assert not any(alert.active(now) for alert in outside.router.engine.alerts.values())
    kinds = {event.kind for event in outside.router.store.history()}
    assert {"snoozed", "resolved by hand"} <= kinds, "it is on disk when it is answered"
    assert await outside.press(pressed("acknowledge", "r|{}:{gone}")) == 404


async def test_what_slack_did_not_sign_now_does_nothing(outside: Outside) -> None:
    group = await outside.fire()
    body = pressed("resolve", group)
    good = signed(body, outside.now)
    for changed, headers in [
        (body, {"Content-Type": "application/x-www-form-urlencoded"}),
        (body, signed(body, outside.now, "another secret")),
        (body, signed(body, outside.now - 301)),
        (body, signed(body, outside.now + 302)),
        (body + b"&a=b", good),
        (pressed("resolve", "other"), good),
        (body, good | {"X-Slack-Request-Timestamp": str(int(outside.now) - 1)}),
        (body, good | {"X-Slack-Request-Timestamp": "nan"}),
        (body, good | {"X-Slack-Signature": ""}),
        (body, good | {"X-Slack-Signature": good["X-Slack-Signature"].removeprefix("v0=")}),
    ]:
        assert await outside.press(changed, headers) == 401
    late = signed(body, outside.now - 298)
    assert all(alert.active(outside.router.clock.time_ns()) for alert in outside.router.engine.alerts.values())
    assert await outside.press(body, late) == 200


@pytest.mark.parametrize(
    "body",
    [
        b"", b"payload=", b"payload=x", b"payload=[]", b"payload=%ff", b"\xff=\xff",
        urlencode({"payload": json.dumps({"type": "view_submission"})}).encode(),
        pressed("acknowledge", "g", user=None), pressed("acknowledge", "g", actions={}),
    ],
)  # fmt: skip
async def test_an_interaction_that_is_none_is_refused(outside: Outside, body: bytes) -> None:
    assert await outside.press(body) == 400


async def test_other_peoples_buttons_change_nothing(outside: Outside) -> None:
    group = await outside.fire()
    assert await outside.press(pressed("delete_everything", group)) == 200
    assert not outside.router.people.get(next(iter(outside.router.engine.alerts)))


async def test_a_secret_that_is_not_set_signs_nothing(tmp_path: Path) -> None:
    router = AlertRouter(AlertingSettings(), tmp_path, SystemClock())
    await router.start()
    app = web.Application(middlewares=[declared_errors])
    callbacks_api.register_routes(app, router)
    async with TestClient(TestServer(app)) as client:
        body = pressed("acknowledge", "g")
        headers = signed(body, router.clock.time_ns() / SECOND, "")
        assert (await client.post("/callbacks/slack", data=body, headers=headers)).status == 401
        assert (
            await client.post("/callbacks/twilio?about=eyJpZCI6IiIsImludGVncmF0aW9uIjoiciJ9", data=b"MessageSid=1")
        ).status == 401
    await router.stop()


def by_twilio(address: str, form: dict[str, str], token: str = "token") -> dict[str, str]:
    """As Twilio's documentation says: the address and the sorted fields, HMAC-SHA1."""
    text = address + "".join(name + form[name] for name in sorted(form))
    mac = hmac.new(token.encode(), text.encode(), hashlib.sha1)
    return {
        "X-Twilio-Signature": base64.b64encode(mac.digest()).decode(),
        "Content-Type": "application/x-www-form-urlencoded",
    }


async def test_what_became_of_a_text_message_is_known(outside: Outside) -> None:
    await outside.fire()
    await eventually(lambda: outside.sent)
    address = outside.sent[0]["StatusCallback"]
    assert address.startswith(f"{CALLBACK}?about=")
    path = f"/callbacks/twilio?{urlsplit(address).query}"

    async def say(form: dict[str, str], headers: dict[str, str]) -> int:
        return (await outside.client.post(path, data=urlencode(form).encode(), headers=headers)).status

    form = {"MessageSid": "SM1", "MessageStatus": "undelivered", "To": "+2", "ErrorCode": "30005", "From": "+1"}
    assert await say(form, by_twilio(address, form, "other")) == 401
    assert await say({**form, "MessageStatus": "delivered"}, by_twilio(address, form)) == 401
    for state in ("queued", "sent"):
        passing = {**form, "MessageStatus": state}
        assert await say(passing, by_twilio(address, passing)) == 204
    assert await say(form, by_twilio(address, form)) == 204
    name = next(iter(outside.router.engine.alerts))
    explained = await outside.router.explain(name)
    (line,) = [line for line in explained["history"] if line["event"] == "message state"]
    assert (line["state"], line["to"], line["error"]) == ("undelivered", "+2", "30005")
    empty: dict[str, str] = {"MessageSid": "SM1"}
    assert await say(empty, by_twilio(address, empty)) == 400
