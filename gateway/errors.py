"""The error tree.

    GatewayError
    ├── ConfigError                     start-up or reload refused; file, key, reason, expected
    ├── RequestError                    the sender must change the request before it sends again
    │   ├── DecodeError                 400 INVALID_ARGUMENT, with the byte offset
    │   ├── UnsupportedMediaType        415 INVALID_ARGUMENT
    │   ├── BodyTooLarge                413 RESOURCE_EXHAUSTED (without RetryInfo: never sent again)
    │   ├── NotFound                    404 NOT_FOUND
    │   ├── Conflict                    409 ALREADY_EXISTS
    │   ├── Unauthenticated             401 UNAUTHENTICATED
    │   └── PermissionDenied            403 PERMISSION_DENIED
    ├── RetryLater                      the same request may succeed later; carries the wait
    │   ├── Overloaded                  429 RESOURCE_EXHAUSTED with RetryInfo
    │   └── Unavailable                 503 UNAVAILABLE with RetryInfo
    │       ├── LogFull                 the log holds its limit of undelivered data
    │       ├── DiskFailed              an append or fsync failed
    │       └── ShuttingDown
    └── StateError                      a file on disk is damaged or of an unknown version
        └── UnknownVersion              written by a newer program; refused, never set aside

An error knows the HTTP and the gRPC status it answers with, and the short `reason` it is counted under. 500 is not in
the tree: OTLP clients drop data on it, so anything temporary is 503.
"""

from __future__ import annotations

from typing import ClassVar


class GatewayError(Exception):
    """Root of the tree. `str(error)` is fit to be shown to a client."""

    http_status: ClassVar[int] = 503
    grpc_status: ClassVar[int] = 14  # UNAVAILABLE
    reason: str = "internal"

    def __str__(self) -> str:
        # It may quote a header, whose bytes need not be text of any kind: aiohttp keeps them as surrogates.
        return super().__str__().encode("utf-8", "replace").decode()


class ConfigError(GatewayError):
    """A configuration that cannot be used."""

    http_status = 400
    grpc_status = 9  # FAILED_PRECONDITION
    reason = "config"

    def __init__(self, problem: str, *, source: str = "", key: str = "", expected: str = "") -> None:
        self.problem, self.source, self.key, self.expected = problem, source, key, expected
        parts = [p for p in (source, key) if p]
        text = ": ".join([*parts, problem])
        super().__init__(f"{text} (expected {expected})" if expected else text)


class AddressNotFree(ConfigError):
    """A listener's address cannot be had now, and may be another time: it is taken, no interface has it yet, or its
    name cannot be resolved."""


class AddressTaken(AddressNotFree):
    """Another program listens there."""


class RequestError(GatewayError):
    """The request itself is wrong; sending it again unchanged cannot help."""

    http_status = 400
    grpc_status = 3  # INVALID_ARGUMENT
    reason = "bad_request"

    def __init__(self, message: str, *, reason: str | None = None) -> None:
        super().__init__(message)
        if reason is not None:
            self.reason = reason


class DecodeError(RequestError):
    """Bytes that are not what they claim to be. `offset` counts from the start of the decompressed body; None where the
    message names the place in another way (JSON by path).
    """

    reason = "decode"

    def __init__(self, message: str, *, offset: int | None, reason: str | None = None) -> None:
        self.offset = offset
        super().__init__(message if offset is None else f"{message} at byte {offset}", reason=reason)


class UnsupportedMediaType(RequestError):
    """A content type or content encoding this address does not take."""

    http_status = 415
    reason = "media_type"


class BodyTooLarge(RequestError):
    """More bytes than the limit, before or after decompression."""

    http_status = 413
    grpc_status = 8  # RESOURCE_EXHAUSTED
    reason = "too_large"


class NotFound(RequestError):
    """Nothing of that name."""

    http_status = 404
    grpc_status = 5
    reason = "not_found"


class Conflict(RequestError):
    """The thing is no longer in the state the request assumes."""

    http_status = 409
    grpc_status = 6
    reason = "conflict"


class Unauthenticated(RequestError):
    """No valid credentials."""

    http_status = 401
    grpc_status = 16
    reason = "unauthenticated"


class PermissionDenied(RequestError):
    """Valid credentials without the role."""

    http_status = 403
    grpc_status = 7
    reason = "permission_denied"


class RetryLater(GatewayError):
    """The same request may succeed after `retry_after` seconds."""

    def __init__(self, message: str, *, retry_after: float = 1.0) -> None:
        self.retry_after = retry_after
        super().__init__(message)


class Overloaded(RetryLater):
    """Admission refused: too many bytes in flight."""

    http_status = 429
    grpc_status = 8
    reason = "overloaded"


class Unavailable(RetryLater):
    """Cannot accept now."""

    http_status = 503
    grpc_status = 14
    reason = "unavailable"


class LogFull(Unavailable):
    """The log stands at its size limit and nothing in it may be removed yet."""

    reason = "log_full"


class DiskFailed(Unavailable):
    """The operating system refused a write or an fsync."""

    reason = "disk_failed"


class ShuttingDown(Unavailable):
    """The gateway is stopping."""

    reason = "shutting_down"


class StateError(GatewayError):
    """A file of ours cannot be read."""

    reason = "state"


class UnknownVersion(StateError):
    """A sound file of a format version this program does not know: starting would throw away what a newer one kept."""

    reason = "unknown_version"

    def __init__(self, path: object, found: int, known: int) -> None:
        super().__init__(
            f"{path} has format version {found} and this program knows {known}: it was written by a newer gateway; "
            "start that one, or give this one another data directory"
        )
