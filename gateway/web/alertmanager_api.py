"""Alertmanager's API v2 over the alert router.

Answers are those of Alertmanager, so that amtool, Prometheus, vmalert, Grafana and Karma work unmodified. A body of an
error is a JSON string. A 2xx to a POST or DELETE is given only when the change is on disk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from time import perf_counter
from typing import Any, Final

import msgspec
from aiohttp import web
from prometheus_client import Gauge

from gateway import selfmetrics
from gateway.alerting.alert import Alert, made
from gateway.alerting.listing import Selection
from gateway.alerting.matcher import Matcher, make, parse_filter, pattern
from gateway.alerting.moments import ABSENT, format_moment, parse_moment
from gateway.alerting.router import AlertRouter
from gateway.alerting.silence import Silence
from gateway.errors import GatewayError, NotFound, RequestError, RetryLater
from gateway.telemetry.regular_expression import RegularExpression
from gateway.web.json_api import json_response
from gateway.web.posted import decoded

API_VERSION: Final = "0.25.0"
"""The Alertmanager whose interface this is; Karma and Grafana choose their dialect by it."""
MAX_BODY: Final = 64 * 2**20
WRITE_BYTES: Final = 256 * 1024
"""Lists are sent in writes of about this size."""
AT_ONCE: Final = 128 * 1024
"""Bodies of alerts up to this size are read at once."""
BATCH: Final = 64
"""Silences handled before the loop has its turn."""
SLICE: Final = 0.0005
"""Seconds of reading alerts before the loop has its turn."""
LONG: Final = 4096
"""Characters of labels from which an alert is made in a thread: the fingerprint takes a tenth of a microsecond each."""
_TRUE: Final = frozenset({"true", "1", "yes", "ok", "y", "on", "selected", "checked", "t", "enabled"})
_FALSE: Final = frozenset({"", "false", "0", "no", "n", "off", "unselected", "unchecked", "f", "disabled"})
_STATE_ORDER: Final = {"active": 0, "pending": 1, "expired": 2}

_build_info = Gauge(
    "alertmanager_build_info",
    "The Alertmanager interface that is spoken.",
    ["version", "revision", "branch", "goversion"],
    registry=selfmetrics.registry(),
)
_build_info.labels(API_VERSION, "", "", "").set(1)


class PostedAlert(msgspec.Struct):
    """One item of POST /alerts."""

    labels: dict[str, str]
    annotations: dict[str, str] | None = None
    startsAt: str | None = None  # noqa: N815 - name on the wire
    endsAt: str | None = None  # noqa: N815 - name on the wire
    generatorURL: str | None = None  # noqa: N815 - name on the wire


class PostedMatcher(msgspec.Struct):
    """A matcher of a silence."""

    name: str
    value: str
    isRegex: bool  # noqa: N815 - name on the wire
    isEqual: bool | None = None  # noqa: N815 - name on the wire


class PostedSilence(msgspec.Struct):
    """POST /silences."""

    matchers: list[PostedMatcher]
    startsAt: str  # noqa: N815 - name on the wire
    endsAt: str  # noqa: N815 - name on the wire
    createdBy: str  # noqa: N815 - name on the wire
    comment: str
    id: str | None = None


_items = msgspec.json.Decoder(list[PostedAlert])
_raw_items = msgspec.json.Decoder(list[msgspec.Raw])
_item = msgspec.json.Decoder(PostedAlert)
_silence = msgspec.json.Decoder(PostedSilence)


def register_routes(app: web.Application, router: AlertRouter, prefix: str = "") -> None:
    """Adds `prefix`/api/v2/… to an application."""
    api = AlertmanagerApi(router)
    base = f"{prefix}/api/v2"
    app.router.add_get(f"{base}/status", api.status)
    app.router.add_get(f"{base}/receivers", api.receivers)
    app.router.add_get(f"{base}/alerts", api.alerts)
    app.router.add_post(f"{base}/alerts", api.post_alerts)
    app.router.add_get(f"{base}/alerts/groups", api.groups)
    app.router.add_get(f"{base}/silences", api.silences)
    app.router.add_post(f"{base}/silences", api.post_silence)
    app.router.add_get(f"{base}/silence/{{id}}", api.silence)
    app.router.add_delete(f"{base}/silence/{{id}}", api.delete_silence)


class AlertmanagerApi:
    """The handlers."""

    def __init__(self, router: AlertRouter) -> None:
        self._router = router
        self._silences: dict[str, tuple[Silence, bytes]] = {}

    async def status(self, _request: web.Request) -> web.Response:
        """GET /status"""
        return json_response(
            {
                "cluster": {"status": "disabled", "peers": []},
                "config": {"original": self._router.configuration.original},
                "uptime": format_moment(self._router.started_at),
                "versionInfo": {
                    "branch": "HEAD",
                    "buildDate": "",
                    "buildUser": "",
                    "goVersion": "",
                    "revision": "",
                    "version": API_VERSION,
                },
            }
        )

    async def receivers(self, _request: web.Request) -> web.Response:
        """GET /receivers"""
        return json_response([{"name": name} for name in self._router.configuration.receivers])

    async def alerts(self, request: web.Request) -> web.StreamResponse:
        """GET /alerts"""
        return await _in_pieces(request, self._router.listing.alerts(_selection(request), self._router.clock.time_ns()))

    async def groups(self, request: web.Request) -> web.StreamResponse:
        """GET /alerts/groups"""
        return await _in_pieces(request, self._router.listing.groups(_selection(request), self._router.clock.time_ns()))

    async def post_alerts(self, request: web.Request) -> web.Response:
        """POST /alerts: valid items are kept even if others are refused."""
        now = self._router.clock.time_ns()
        resolve_timeout = self._router.configuration.resolve_timeout
        valid: list[Alert] = []
        problems: list[str] = []
        stop = perf_counter() + SLICE
        for item in _read_items(await _body(request)):
            if perf_counter() > stop:
                await asyncio.sleep(0)
                stop = perf_counter() + SLICE
            if isinstance(item, str):
                problems.append(item)
                continue
            try:
                if sum(map(len, item.labels.values())) > LONG:
                    valid.append(await asyncio.to_thread(alert_of, item, now, resolve_timeout))
                else:
                    valid.append(alert_of(item, now, resolve_timeout))
            except ValueError as error:
                problems.append(str(error))
        if valid:
            try:
                await self._router.post_alerts(valid, limited=True)
            except RetryLater as error:
                # Prometheus sends again after any 5xx; Alertmanager answers 500 here.
                return _error(500, str(error))
        if problems:
            return _error(400, "; ".join(dict.fromkeys(problems)))
        return web.Response(status=200)

    async def silences(self, request: web.Request) -> web.StreamResponse:
        """GET /silences"""
        return await _in_pieces(request, self._silence_pieces(_filter(request), self._router.clock.time_ns()))

    def _silence_pieces(self, matchers: tuple[Matcher, ...], now: int) -> Iterator[bytes]:
        """The silences in pieces of at most `BATCH`; what does not depend on the moment is kept encoded."""
        if len(self._silences) > 2 * len(self._router.engine.silences) + 1000:
            self._silences = {}
        chosen: list[tuple[int, int, str, Silence]] = []
        for number, silence in enumerate(list(self._router.engine.silences)):
            if number % BATCH == BATCH - 1:
                yield b""
            if _fits(silence, matchers):
                state = silence.state(now)
                moment = {"active": silence.ends, "pending": silence.starts, "expired": -silence.ends}[state]
                chosen.append((_STATE_ORDER[state], moment, state, silence))
        chosen.sort(key=lambda found: (found[0], found[1], found[3].id))
        separator = b"["
        for start in range(0, len(chosen), BATCH):
            pieces = []
            for _, _, state, silence in chosen[start : start + BATCH]:
                known = self._silences.get(silence.id)
                if known is None or known[0] is not silence:
                    known = self._silences[silence.id] = silence, msgspec.json.encode(_shown_silence(silence))[:-1]
                pieces.append(known[1] + b',"status":{"state":"' + state.encode() + b'"}}')
            yield separator + b",".join(pieces)
            separator = b","
        yield b"]" if chosen else b"[]"

    async def silence(self, request: web.Request) -> web.Response:
        """GET /silence/{id}"""
        try:
            silence = self._router.engine.silences.get(request.match_info["id"])
        except NotFound:
            return web.Response(status=404)
        state = silence.state(self._router.clock.time_ns())
        return json_response({**_shown_silence(silence), "status": {"state": state}})

    async def post_silence(self, request: web.Request) -> web.Response:
        """POST /silences"""
        try:
            posted = decoded(_silence, await _body(request))
            wanted = Silence(
                id=posted.id or "",
                matchers=tuple(
                    make(m.name, m.value, is_regex=m.isRegex, is_equal=m.isEqual is not False) for m in posted.matchers
                ),
                starts=_moment(posted.startsAt),
                ends=_moment(posted.endsAt),
                updated=ABSENT,
                created_by=posted.createdBy,
                comment=posted.comment,
            )
            silence_id = await self._router.acts.set_silence(wanted)
        except NotFound as error:
            return _error(404, str(error))
        except RequestError as error:
            return _error(400, str(error))
        except GatewayError as error:
            return _error(500, str(error))
        except ValueError as error:
            return _error(400, str(error))
        return json_response({"silenceID": silence_id})

    async def delete_silence(self, request: web.Request) -> web.Response:
        """DELETE /silence/{id}"""
        try:
            await self._router.acts.expire_silence(request.match_info["id"])
        except NotFound:
            return web.Response(status=404)
        except GatewayError as error:
            return _error(500, str(error))
        return web.Response(status=200)


def alert_of(item: PostedAlert, now: int, resolve_timeout: int) -> Alert:
    """An alert from the wire, start and end filled in; raises ValueError with the reason."""
    starts, ends = _moment(item.startsAt), _moment(item.endsAt)
    assumed = ends == ABSENT
    if starts == ABSENT:
        starts = ends or now
    if assumed:
        ends = now + resolve_timeout
    return made(
        item.labels,
        item.annotations or {},
        starts=starts,
        ends=ends,
        now=now,
        assumed_end=assumed,
        generator_url=item.generatorURL or "",
    )


def _read_items(body: bytes) -> Iterator[PostedAlert | str]:
    """The items of a body, or why there are none; a large body item by item, so that the loop has its turn between."""
    if len(body) <= AT_ONCE:
        try:
            yield from decoded(_items, body)
            return
        except RequestError:
            pass  # the following says of which item
    try:
        items = decoded(_raw_items, body)
    except RequestError as error:
        yield str(error)
        return
    for raw in items:
        try:
            yield decoded(_item, raw)
        except RequestError as error:
            yield str(error)


def _moment(text: str | None) -> int:
    return parse_moment(text) if text else ABSENT


async def _body(request: web.Request) -> bytes:
    if request.content.at_eof():
        return await request.read()  # a middleware has read it, within its own limit; this gives the same bytes again
    parts, size = [], 0
    async for part in request.content.iter_any():
        size += len(part)
        if size > MAX_BODY:
            raise web.HTTPRequestEntityTooLarge(max_size=MAX_BODY, actual_size=size)
        parts.append(part)
    return b"".join(parts)


def _selection(request: web.Request) -> Selection:
    query = request.query
    receiver = query.get("receiver")
    try:
        compiled: RegularExpression | None = pattern(receiver) if receiver else None
    except ValueError as error:
        raise _bad_request(f"failed to parse receiver param: {error}") from error
    flags = {name: _flag(request, name) for name in ("active", "silenced", "inhibited", "unprocessed", "muted")}
    return Selection(
        matchers=_filter(request),
        receiver=compiled,
        active=flags["active"],
        silenced=flags["silenced"],
        inhibited=flags["inhibited"],
        unprocessed=flags["unprocessed"],
        muted=flags["muted"],
    )


def _flag(request: web.Request, name: str) -> bool:
    text = request.query.get(name)
    if text is None or text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise _bad_request(f"{name}={text[:100]!r}: expected true or false")


def _filter(request: web.Request) -> tuple[Matcher, ...]:
    try:
        return tuple(m for text in request.query.getall("filter", []) if text for m in parse_filter(text))
    except ValueError as error:
        raise _bad_request(str(error)) from error


def _fits(silence: Silence, matchers: tuple[Matcher, ...]) -> bool:
    """Whether every matcher of the filter is one of the silence's own."""
    return all(matcher in silence.matchers for matcher in matchers)


def _shown_silence(silence: Silence) -> dict[str, Any]:
    return {
        "id": silence.id,
        "updatedAt": format_moment(silence.updated),
        "comment": silence.comment,
        "createdBy": silence.created_by,
        "startsAt": format_moment(silence.starts),
        "endsAt": format_moment(silence.ends),
        "matchers": [
            {"name": m.name, "value": m.value, "isRegex": m.is_regex, "isEqual": m.is_equal} for m in silence.matchers
        ],
    }


async def _in_pieces(request: web.Request, pieces: Iterator[bytes]) -> web.StreamResponse:
    """Sends what is made piece by piece; the loop has its turn after each. A short answer is sent as a whole."""
    response: web.StreamResponse | None = None
    waiting: list[bytes] = []
    size = 0
    for piece in pieces:
        if piece:
            waiting.append(piece)
            size += len(piece)
        if size >= WRITE_BYTES:
            if response is None:
                response = web.StreamResponse()
                response.content_type = "application/json"
                await response.prepare(request)
            await response.write(b"".join(waiting))
            waiting, size = [], 0
        await asyncio.sleep(0)
    if response is None:
        return web.Response(body=b"".join(waiting), content_type="application/json")
    await response.write(b"".join(waiting))
    await response.write_eof()
    return response


def _error(status: int, text: str) -> web.Response:
    return web.Response(status=status, body=msgspec.json.encode(text), content_type="application/json")


def _bad_request(text: str) -> web.HTTPBadRequest:
    return web.HTTPBadRequest(text=msgspec.json.encode(text).decode(), content_type="application/json")
