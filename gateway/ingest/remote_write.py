"""Prometheus remote write 1.0 and 2.0: POST /api/v1/write and /api/v1/push.

    accepted                      204, with Written headers on 2.0
    some points not accepted      the rest is durable, then 400 with the series and why: the sender must not repeat it
    damaged                       400
    too large                     413
    content type or encoding      415
    too much in flight            429 with Retry-After
    log full, disk failed, ends   503 with Retry-After: nothing of the request was written

1.0 is `application/x-protobuf` alone or with proto=prometheus.WriteRequest, 2.0 with
proto=io.prometheus.write.v2.Request. The encoding is snappy's block format; zstd is taken as well, which vmagent uses
after `GET …?get_vm_proto_version=1` was answered with "1".

Sources: Prometheus remote-write specifications 1.0 and 2.0; VictoriaMetrics documentation, "vmagent".
"""

from __future__ import annotations

from typing import Final

from aiohttp import web

from gateway.errors import GatewayError, UnsupportedMediaType
from gateway.ingest import status_details
from gateway.ingest.content_encoding import REMOTE_WRITE_DECOMPRESSORS
from gateway.ingest.decoders import Body, Decoders, one_by_one
from gateway.ingest.http_exchange import Decompressor, Exchange, FixedReply, choose_decompressor, send_fixed
from gateway.ingest.receiver_metrics import ReceiverMetrics, rejected_message
from gateway.ingest.small_requests import Route
from gateway.telemetry.columns import PointColumns, Receipt, Sink

V1: Final = "prometheus.WriteRequest"
V2: Final = "io.prometheus.write.v2.Request"
_MEDIA_TYPE: Final = "application/x-protobuf"
_EXACT: Final = {_MEDIA_TYPE: V1, f"{_MEDIA_TYPE};proto={V1}": V1, f"{_MEDIA_TYPE};proto={V2}": V2}
_MAX_TEXT: Final = 4096


def message_type(content_type: str | None) -> str:
    """V1 or V2; raises UnsupportedMediaType."""
    known = _EXACT.get(content_type or "")
    if known is not None:
        return known
    media, *parameters = (content_type or "").split(";")
    if media.strip().lower() == _MEDIA_TYPE:
        proto = V1
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            if name.strip().lower() == "proto":
                proto = value.strip().strip('"')
        if proto in (V1, V2):
            return V2 if proto == V2 else V1  # the constant itself: answers are chosen by identity
    given = f'"{content_type[:120]}"' if content_type else "none"
    raise UnsupportedMediaType(
        f"content type {given} is neither {_MEDIA_TYPE};proto={V1} nor {_MEDIA_TYPE};proto={V2}", reason="content_type"
    )


def _decompressor(encoding: str | None) -> Decompressor:
    found = choose_decompressor(encoding, REMOTE_WRITE_DECOMPRESSORS)
    if found is None:
        raise UnsupportedMediaType("remote write needs Content-Encoding snappy or zstd", reason="encoding")
    return found


def written_headers(columns: PointColumns | None, receipt: Receipt | None) -> dict[str, str]:
    """Headers of a 2.0 answer: what is durable. Points refused after decoding are taken off the samples first."""
    samples = histograms = exemplars = 0
    if columns is not None and (receipt is not None or not len(columns)):
        late = sum(receipt.refused.values()) if receipt is not None else 0
        samples = max(0, columns.points - columns.histograms_written - late)
        histograms = min(columns.histograms_written, max(0, columns.points - late))
        exemplars = columns.exemplars_written
    return {
        "X-Prometheus-Remote-Write-Samples-Written": str(samples),
        "X-Prometheus-Remote-Write-Histograms-Written": str(histograms),
        "X-Prometheus-Remote-Write-Exemplars-Written": str(exemplars),
    }


class RemoteWrite:
    """The handlers of remote write."""

    def __init__(self, exchange: Exchange, decoders: Decoders, sink: Sink) -> None:
        self._exchange, self._sink = exchange, sink
        self._metrics = {
            V1: ReceiverMetrics("remote_write_v1", "metrics"),
            V2: ReceiverMetrics("remote_write_v2", "metrics"),
        }
        self._decoders = {V1: decoders.remote_write_v1, V2: decoders.remote_write_v2}
        self._no_content = FixedReply(204, "No Content", {}, b"")

    async def probe(self, request: web.BaseRequest) -> web.StreamResponse | None:
        """GET of the address: tells vmagent that zstd is welcome; None for any other GET."""
        if "get_vm_proto_version" in request.rel_url.query:
            return web.Response(text="1")
        return None

    def route(self) -> Route:
        """How plain requests of 1.0 are handled in groups."""
        return Route(
            self._metrics[V1],
            REMOTE_WRITE_DECOMPRESSORS,
            self._decoders[V1],
            one_by_one,
            self._no_content,
            lambda rejected, message: web.Response(status=400, text=message[:_MAX_TEXT]),
            lambda error, size: self.refuse(error, V1, size),
        )

    async def write(self, request: web.BaseRequest) -> web.StreamResponse:
        """POST of the address."""
        exchange = self._exchange
        received_ns = exchange.clock.time_ns()
        ticket = exchange.ticket(request)
        version, size = V1, 0
        receipt: Receipt | None = None
        try:
            version = message_type(request.headers.get("Content-Type"))
            metrics = self._metrics[version]
            decompressor = _decompressor(request.headers.get("Content-Encoding"))
            body = await exchange.read(request, ticket)
            size = len(body)
            decoder, now_ms = self._decoders[version], received_ns // 1_000_000

            def decode(plain: Body) -> PointColumns:
                return decoder(plain, now_ms)

            columns = ticket.hold(await exchange.decode(body, decompressor, ticket, decode))
            if len(columns):
                receipt = await self._sink.accept(columns, received_ns=received_ns, body_bytes=size)
            rejected = metrics.accepted(columns, receipt)
            exchange.count_client(request, metrics.protocol, received_ns, size, columns.points)
            headers = written_headers(columns, receipt) if version is V2 else {}
            if rejected:
                metrics.answered("400", size)
                text = rejected_message(columns, receipt)[:_MAX_TEXT]
                return web.Response(status=400, text=text, headers=headers)
            metrics.answered("204", size)
            if version is V1:
                sent = send_fixed(request, self._no_content, received_ns // 1_000_000_000)
                if sent is not None:
                    return sent
            return web.Response(status=204, headers=headers)
        except GatewayError as error:
            exchange.count_client(request, self._metrics[version].protocol, received_ns, size, 0, refused=True)
            return self.refuse(error, version, size)
        finally:
            ticket.close()

    def refuse(self, error: GatewayError, version: str, size: int = 0) -> web.Response:
        """The answer to a request of which nothing was written, counted."""
        metrics = self._metrics[version]
        metrics.refused(error)
        metrics.answered(str(error.http_status), size)
        headers = written_headers(None, None) if version is V2 else {}
        wait = status_details.retry_after_seconds(error)
        if wait is not None:
            headers["Retry-After"] = str(wait)
        if error.http_status == 401:
            headers["WWW-Authenticate"] = 'Bearer realm="gateway", Basic realm="gateway"'
        return web.Response(status=error.http_status, text=str(error)[:_MAX_TEXT], headers=headers)
