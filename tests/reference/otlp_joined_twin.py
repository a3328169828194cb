"""Whether joined requests each end where they should, field by field with a slice for each."""

from __future__ import annotations


def requests_end_apart(requests: list[bytes]) -> bool:
    """See kernels.otlp_joined."""
    return all(_only_whole_resources(request) for request in requests)


def _only_whole_resources(request: bytes) -> bool:
    while request:
        if request[0] != 0x0A:
            return False
        length = shift = 0
        at = 1
        while True:
            if at >= len(request) or shift > 63:
                return False
            byte = request[at]
            length |= (byte & 0x7F) << shift
            at += 1
            shift += 7
            if byte < 0x80:
                break
        if length >> 64 or at + length > len(request):
            return False
        request = request[at + length :]
    return True
