"""The head of a plain export request, read strictly: what it does not know it leaves to the HTTP parser.

Senders repeat their head word for word, so most are answered from a bounded memory of those read before. Taken are
posts of OTLP metrics and remote write 1.0 in protobuf with a Content-Length, without anything that changes how the body
is framed or the connection goes on. Every other head, valid or not, is the HTTP parser's to judge; nothing is judged
here, so no leniency of this reader can let two programs disagree on where a request ends.

Source: RFC 9112 §2.2, §5, §6; RFC 9110 §5.6.2 (names of headers are tokens).
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from gateway.ingest.content_encoding import DECOMPRESSORS, REMOTE_WRITE_DECOMPRESSORS

OTLP: Final = "/v1/metrics"
REMOTE_WRITE: Final = "/api/v1/write"
_PATHS: Final = {b"/v1/metrics": OTLP, b"/api/v1/write": REMOTE_WRITE, b"/api/v1/push": REMOTE_WRITE}
_MEDIA_TYPES: Final = {
    OTLP: frozenset({"application/x-protobuf", "application/protobuf"}),
    REMOTE_WRITE: frozenset({"application/x-protobuf", "application/x-protobuf;proto=prometheus.WriteRequest"}),
}
_ENCODINGS: Final = {OTLP: frozenset({None, *DECOMPRESSORS}), REMOTE_WRITE: frozenset(REMOTE_WRITE_DECOMPRESSORS)}
_LONGEST_REMEMBERED: Final = 1024
_REMEMBERED: Final = 1024
_HEAD: Final = re.compile(
    rb"POST (/v1/metrics|/api/v1/write|/api/v1/push) HTTP/1\.1\r\n"
    rb"((?:[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,64}:[ \t]*[\x21-\x7e][\x20-\x7e]*\r\n){1,64})\r\n"
)
_LENGTH: Final = re.compile("[0-9]{1,9}")
_UNUSUAL: Final = frozenset({"transfer-encoding", "expect", "upgrade", "te", "trailer", "http2-settings"})
_READ: Final = frozenset(
    {"content-length", "content-type", "content-encoding", "connection", "authorization", "user-agent"}
)


class Head(NamedTuple):
    """What a plain request says of itself."""

    kind: str
    """OTLP or REMOTE_WRITE."""
    length: int
    """Bytes of the body."""
    encoding: str | None
    """A key of DECOMPRESSORS; None for a body as it is."""
    agent: str
    authorization: str | None


def read_head(raw: bytes) -> Head | None:
    """The head that ends with `raw`, an empty line included; None if it is not of the plain kind."""
    match = _HEAD.fullmatch(raw)
    if match is None:
        return None
    found: dict[str, str] = {}
    for line in match[2].decode("ascii").split("\r\n")[:-1]:
        name, _, value = line.partition(":")
        name = name.lower()
        if name in _UNUSUAL:
            return None
        if name in _READ:
            if name in found:
                return None
            found[name] = value.strip(" \t")
    kind = _PATHS[match[1]]
    length, encoding = found.get("content-length", ""), found.get("content-encoding")
    if _LENGTH.fullmatch(length) is None or found.get("content-type") not in _MEDIA_TYPES[kind]:
        return None
    if found.get("connection", "keep-alive").lower() != "keep-alive":
        return None
    if encoding not in _ENCODINGS[kind] or not int(length):
        return None
    return Head(kind, int(length), encoding, found.get("user-agent", ""), found.get("authorization"))


class Heads:
    """`read_head` with a memory of a bounded number of heads. For one thread."""

    def __init__(self) -> None:
        self._known: dict[bytes, Head | None] = {}

    def read(self, raw: bytes) -> Head | None:
        """See `read_head`."""
        try:
            return self._known[raw]
        except KeyError:
            head = read_head(raw)
        if len(raw) <= _LONGEST_REMEMBERED:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[raw] = head
        return head
