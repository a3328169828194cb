"""Where receivers say something back, signed with their own secrets.

    POST /callbacks/slack     buttons pressed in Slack (the app's "Interactivity Request URL")
    POST /callbacks/twilio    the state of text messages (`status_callback` of [[alerting.sms]])

An act is on disk when it is answered. A wrong signature and a secret that is not configured are answered alike.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec
import structlog
from aiohttp import web

from gateway.alerting.callbacks import (
    FINAL_STATES,
    LOST,
    MESSAGE_STATE,
    presses,
    read_about,
    slack_signature_holds,
    status_of,
    twilio_signature_holds,
)
from gateway.alerting.moments import SECOND
from gateway.alerting.router import AlertRouter
from gateway.alerting.settings import SmsReceiver
from gateway.errors import RequestError, Unauthenticated
from gateway.selfmetrics import counter
from gateway.web.inbound_api import read_body
from gateway.web.posted import decoded

MAX_BODY: Final = 256 * 1024
MAX_FIELDS: Final = 64
_STATES = counter("alerting_text_messages", "Text messages by what became of them.", ["state"])
_log = structlog.get_logger(__name__)
_anything = msgspec.json.Decoder(Any)


def register_routes(app: web.Application, router: AlertRouter) -> None:
    """Adds the addresses."""
    api = CallbacksApi(router)
    app.router.add_post("/callbacks/slack", api.slack)
    app.router.add_post("/callbacks/twilio", api.twilio)


class CallbacksApi:
    """The handlers."""

    def __init__(self, router: AlertRouter) -> None:
        self._router = router

    async def slack(self, request: web.Request) -> web.Response:
        """Buttons pressed in Slack."""
        body = await read_body(request, MAX_BODY)
        timestamp = request.headers.get("X-Slack-Request-Timestamp", "")
        signature = request.headers.get("X-Slack-Signature", "")
        now = self._router.clock.time_ns() / SECOND
        if not slack_signature_holds(self._router.settings.slack_signing_secret, timestamp, body, signature, now):
            raise Unauthenticated("the signature does not hold")
        payload = dict(_fields(body)).get("payload", "")
        for press in presses(decoded(_anything, payload.encode("utf-8", "surrogatepass"))):
            await self._router.acts.press(press)
        return web.Response()

    async def twilio(self, request: web.Request) -> web.Response:
        """What became of a text message."""
        body = await read_body(request, MAX_BODY)
        about = read_about(request.query.get("about", ""))
        receiver = self._sms(about.integration)
        form = _fields(body)
        signature = request.headers.get("X-Twilio-Signature", "")
        if receiver is None or not receiver.status_callback:
            raise Unauthenticated("the signature does not hold")
        address = f"{receiver.status_callback}?{request.raw_path.partition('?')[2]}"
        if not twilio_signature_holds(receiver.auth_token, address, form, signature):
            raise Unauthenticated("the signature does not hold")
        status = status_of(dict(form))
        if status["state"] in FINAL_STATES:
            _STATES.labels(status["state"]).inc()
            if status["state"] in LOST:
                _log.warning("a text message did not arrive", integration=about.integration, **status)
            self._router.engine.journal.event(
                self._router.clock.time_ns(),
                MESSAGE_STATE,
                group=about.group,
                id=about.id,
                integration=about.integration,
                **status,
            )
            await self._router.commit()
        return web.Response(status=204)

    def _sms(self, integration: str) -> SmsReceiver | None:
        """The settings of an integration by its key."""
        found = next((i for i in self._router.configuration.integrations if i.key == integration), None)
        return found.options if found is not None and isinstance(found.options, SmsReceiver) else None


def _fields(body: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError as error:
        raise RequestError(f"not a form: {error}", reason="form") from error
