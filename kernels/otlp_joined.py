"""Several OTLP requests in one piece of memory: whether they may be decoded as one.

Protobuf messages that are put one behind another are one message with the repeated fields of all. That holds for
malformed ones too, unless each is checked to end where it says: a cut-off request would swallow the next one's bytes.

Source: Protocol Buffers, "Encoding", "Last One Wins" and the merging of concatenated messages.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels.jit import BYTES, RI8, kernel
from kernels.protobuf_fields import read_length
from kernels.wire import load_u8, pointer

_RESOURCES = 0x0A
"""Tag of `resource_metrics`, field 1, length-delimited; the only field a request has."""


@kernel(BYTES, RI8)
def requests_end_apart(buf: Any, ends: Any) -> Any:
    """Whether each of the joined requests consists of whole `resource_metrics` fields and nothing else.

    buf: uint8[n], the requests one behind another. ends: int64[k], where each ends; ascending, the last is n.
    """
    data, size = pointer(buf), np.int64(buf.size)
    at = np.int64(0)
    for request in range(ends.size):
        end = ends[request]
        if end < at or end > size:
            return False
        while at < end:
            if load_u8(data, at) != np.uint64(_RESOURCES):
                return False
            _, at = read_length(data, at + 1, end)
            if at < 0:
                return False
    return at == size
