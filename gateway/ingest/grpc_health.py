"""grpc.health.v1: Check. Watch is answered with UNIMPLEMENTED, which clients take for healthy (gRFC A17).

The library's own servicer sends a watcher every change from the thread that makes it, waits until the watcher has room
and holds a lock meanwhile. A watcher that takes nothing, which needs no credentials, so stops whoever sets the health
and whoever asks for it.

Source: grpc/health/v1/health.proto.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import grpc
from grpc_health.v1 import health_pb2

_SERVICE: Final = "grpc.health.v1.Health"


class Health:
    """One health for all services of a server. Set on one thread, asked for on any."""

    def __init__(self, services: Iterable[str]) -> None:
        """services: names that may be asked for, beside the empty one."""
        self._services = frozenset(["", *services])
        self.serving = False

    def handler(self) -> grpc.GenericRpcHandler[Any, Any]:
        """For a server."""
        check = grpc.unary_unary_rpc_method_handler(
            self._check,
            request_deserializer=health_pb2.HealthCheckRequest.FromString,
            response_serializer=health_pb2.HealthCheckResponse.SerializeToString,
        )
        return grpc.method_handlers_generic_handler(_SERVICE, {"Check": check})

    def _check(
        self, request: health_pb2.HealthCheckRequest, context: grpc.ServicerContext
    ) -> health_pb2.HealthCheckResponse:
        answer = health_pb2.HealthCheckResponse
        if request.service not in self._services:
            context.set_code(grpc.StatusCode.NOT_FOUND)
            return answer()
        return answer(status=answer.SERVING if self.serving else answer.NOT_SERVING)
