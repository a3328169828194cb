"""OTLP over HTTP: POST /v1/metrics, /v1/traces, /v1/logs, in protobuf and JSON.

    accepted                      200, ExportXServiceResponse in the request's own content type
    some points not accepted      200 with partial_success: how many and why
    spans, log records            200 with partial_success: received and counted, not stored
    damaged                       400 google.rpc.Status, with the byte offset
    too large                     413
    content type or encoding      415
    too much in flight            429 with Retry-After and RetryInfo
    log full, disk failed, ends   503 with Retry-After and RetryInfo

Source: OTLP specification 1.x, "OTLP/HTTP".
"""

from __future__ import annotations

from typing import Final, NamedTuple

from aiohttp import web

from gateway.access.tokens import confined
from gateway.errors import GatewayError, UnsupportedMediaType
from gateway.ingest import status_details
from gateway.ingest.content_encoding import DECOMPRESSORS
from gateway.ingest.decoders import Body, Counted, Decoders, RecordCounter
from gateway.ingest.http_exchange import SENDER, Exchange, FixedReply, choose_decompressor, send_fixed
from gateway.ingest.receiver_metrics import ReceiverMetrics, count_unstored, rejected_message
from gateway.ingest.small_requests import Route
from gateway.telemetry.columns import PointColumns, Sink

PROTOBUF: Final = "application/x-protobuf"
JSON: Final = "application/json"
_FORMATS: Final = {PROTOBUF: PROTOBUF, JSON: JSON, "application/protobuf": PROTOBUF}

NOT_STORED: Final = "this gateway counts {0} and does not store them"
"""What the sender of traces and logs is told."""


class Signal(NamedTuple):
    """What differs between metrics, traces and logs."""

    name: str
    rejected_key: str
    records: str


METRICS: Final = Signal("metrics", "rejectedDataPoints", "data points")
TRACES: Final = Signal("traces", "rejectedSpans", "spans")
LOGS: Final = Signal("logs", "rejectedLogRecords", "log records")


def _format(content_type: str | None) -> str:
    """PROTOBUF or JSON; raises UnsupportedMediaType."""
    known = _FORMATS.get(content_type or "")
    if known is None:
        known = _FORMATS.get((content_type or "").partition(";")[0].strip().lower())
    if known is None:
        given = f'"{content_type[:80]}"' if content_type else "none"
        raise UnsupportedMediaType(f"content type {given} is neither {PROTOBUF} nor {JSON}", reason="content_type")
    return known


class OtlpHttp:
    """The handlers of the three addresses."""

    def __init__(self, exchange: Exchange, decoders: Decoders, sink: Sink) -> None:
        self._exchange, self._decoders, self._sink = exchange, decoders, sink
        self.metrics = {s: ReceiverMetrics("otlp_http", s.name) for s in (METRICS, TRACES, LOGS)}
        self._all_accepted = {
            PROTOBUF: FixedReply(200, "OK", {"Content-Type": PROTOBUF}, b""),
            JSON: FixedReply(200, "OK", {"Content-Type": JSON}, b"{}"),
        }

    def route(self) -> Route:
        """How plain requests of metrics in protobuf are handled in groups."""
        metrics = self.metrics[METRICS]
        return Route(
            metrics,
            DECOMPRESSORS,
            self._decoders.otlp_metrics_protobuf,
            self._decoders.otlp_metrics_joined,
            self._all_accepted[PROTOBUF],
            lambda rejected, message: success(PROTOBUF, METRICS, rejected, message),
            lambda error, size: refuse(error, PROTOBUF, metrics, size),
        )

    async def export_metrics(self, request: web.BaseRequest) -> web.StreamResponse:
        """POST /v1/metrics."""
        exchange = self._exchange
        received_ns = exchange.clock.time_ns()
        metrics = self.metrics[METRICS]
        ticket = exchange.ticket(request)
        form, size = JSON, 0
        try:
            form = _format(request.headers.get("Content-Type"))
            decompressor = choose_decompressor(request.headers.get("Content-Encoding"), DECOMPRESSORS)
            body = await exchange.read(request, ticket)
            size = len(body)
            now_ms = received_ns // 1_000_000
            decoder = self._decoders.otlp_metrics_json if form is JSON else self._decoders.otlp_metrics_protobuf

            def decode(plain: Body) -> PointColumns:
                return decoder(plain, now_ms)

            columns = ticket.hold(await exchange.decode(body, decompressor, ticket, decode))
            receipt = None
            if len(columns):
                receipt = await self._sink.accept(columns, received_ns=received_ns, body_bytes=size)
            rejected = metrics.accepted(columns, receipt)
            metrics.answered("200", size)
            exchange.count_client(request, metrics.protocol, received_ns, size, columns.points)
            if not rejected and not columns.rejected_message:
                sent = send_fixed(request, self._all_accepted[form], received_ns // 1_000_000_000)
                if sent is not None:
                    return sent
            return success(form, METRICS, rejected, rejected_message(columns, receipt))
        except GatewayError as error:
            exchange.count_client(request, metrics.protocol, received_ns, size, 0, refused=True)
            return refuse(error, form, metrics, size)
        finally:
            ticket.close()

    async def export_traces(self, request: web.BaseRequest) -> web.StreamResponse:
        """POST /v1/traces."""
        return await self._count(request, TRACES, self._decoders.count_traces)

    async def export_logs(self, request: web.BaseRequest) -> web.StreamResponse:
        """POST /v1/logs."""
        return await self._count(request, LOGS, self._decoders.count_logs)

    async def _count(self, request: web.BaseRequest, signal: Signal, counter: RecordCounter) -> web.StreamResponse:
        exchange, metrics = self._exchange, self.metrics[signal]
        sender = request.get(SENDER, exchange.anonymous)
        if "Origin" in request.headers or "Sec-Fetch-Site" in request.headers:
            sender = confined(sender)  # a page in somebody's browser may send telemetry, and nothing in their name
        ticket = exchange.ticket(request)
        form, size = JSON, 0
        try:
            form = _format(request.headers.get("Content-Type"))
            decompressor = choose_decompressor(request.headers.get("Content-Encoding"), DECOMPRESSORS)
            body = await exchange.read(request, ticket)
            size = len(body)

            def count(plain: Body) -> Counted:
                return counter(plain, form is JSON, sender)

            counted = await exchange.decode(body, decompressor, ticket, count)
            total = count_unstored(signal.name, counted.by_service)
            metrics.answered("200", size)
            return success(form, signal, total, unstored_message(signal, total, counted))
        except GatewayError as error:
            return refuse(error, form, metrics, size)
        finally:
            ticket.close()


def unstored_message(signal: Signal, total: int, counted: Counted) -> str:
    """What the sender of spans or log records is told of `total` of them that are not stored."""
    return "; ".join(part for part in (NOT_STORED.format(signal.records) if total else "", counted.problem) if part)


def success(form: str, signal: Signal, rejected: int, message: str) -> web.Response:
    """The answer to a request of which something was taken: how many records were not, and why."""
    if form is JSON:
        body = status_details.export_response_json(rejected, message, signal.rejected_key)
    else:
        body = status_details.export_response(rejected, message)
    return web.Response(body=body, headers={"Content-Type": form})


def refuse(error: GatewayError, form: str, metrics: ReceiverMetrics, size: int) -> web.Response:
    """The answer to a request refused as a whole, counted."""
    metrics.refused(error)
    metrics.answered(str(error.http_status), size)
    headers = {"Content-Type": form}
    wait = status_details.retry_after_seconds(error)
    if wait is not None:
        headers["Retry-After"] = str(wait)
    if error.http_status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="gateway", Basic realm="gateway"'
    body = status_details.status_json(error) if form is JSON else status_details.status(error)
    return web.Response(status=error.http_status, body=body, headers=headers)
