"""Who sends: resources and scopes of an OTLP request, hashed once each, whatever the order of their attributes.

A field's place is part of its hash: a name is not a unit that reads the same. Sources: opentelemetry/proto/resource/v1,
opentelemetry/proto/common/v1; tags in proto/otlp.py.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from kernels.jit import step
from kernels.label_hash import hash_bytes, hash_word, mix
from kernels.otlp_attributes import sum_attributes, walk_key_value
from kernels.otlp_reasons import (
    ACCEPTED,
    LABEL_TOO_LONG,
    NOT_UTF8,
)
from kernels.otlp_rows import (
    L_BYTES,
    S_EPOCH,
    S_OVERWRITTEN,
)
from kernels.protobuf_fields import read_length, read_tag, skip_value
from kernels.text import is_utf8
from kernels.wire import load_u8, load_u32, load_u64
from proto.otlp import (
    RESOURCE,
    RESOURCE_ATTRIBUTES,
    SCOPE,
    SCOPE_ATTRIBUTES,
    SCOPE_NAME,
    SCOPE_SCHEMA_URL,
    SCOPE_VERSION,
)

# Domains: what keeps equal bytes in different places apart.
D_NAME: Final = 0x11
D_UNIT: Final = 0x12
D_SCOPE_NAME: Final = 0x13
D_SCOPE_VERSION: Final = 0x14
D_SCHEMA_URL: Final = 0x15
D_SCOPE: Final = 0x16
D_METRIC: Final = 0x17
D_RESOURCE: Final = 0x18
D_TARGET_INFO: Final = 0x19

_SERVICE: Final = int.from_bytes(b"service.", "little")
_NAME: Final = int.from_bytes(b"name", "little")
_NAMESPAC: Final = int.from_bytes(b"namespac", "little")
_INSTANCE: Final = int.from_bytes(b"instance", "little")
_E_ID: Final = int.from_bytes(b"e.id", "little")


@step
def read_text(buf: Any, at: Any, end: Any, domain: Any, k: Any, most: Any) -> Any:
    """(next or fault, first byte, high, low, reason) of a string field whose length stands at `at`."""
    begin, behind = read_length(buf, at, end)
    if begin < 0:
        return begin, begin, np.uint64(0), np.uint64(0), np.int64(ACCEPTED)
    if behind - begin > most:
        return behind, begin, np.uint64(0), np.uint64(0), np.int64(LABEL_TOO_LONG)
    high, low, _ = hash_bytes(buf, begin, behind - begin, np.uint64(domain), k)
    reason = np.int64(ACCEPTED if is_utf8(buf, begin, behind) else NOT_UTF8)
    return behind, begin, high, low, reason


@step
def identifying_key(buf: Any, at: Any, length: Any) -> Any:
    """1 for service.name and service.instance.id, 2 for service.namespace, 4 for any other key of a resource."""
    if length >= 12 and load_u64(buf, at) == np.uint64(_SERVICE):
        if length == 12 and load_u32(buf, at + 8) == np.uint64(_NAME):
            return np.int64(1)
        if length == 17 and load_u64(buf, at + 8) == np.uint64(_NAMESPAC) and load_u8(buf, at + 16) == np.uint64(0x65):
            return np.int64(2)
        if (
            length == 19
            and load_u64(buf, at + 8) == np.uint64(_INSTANCE)
            and load_u32(buf, at + 15) == np.uint64(_E_ID)
        ):
            return np.int64(1)
    return np.int64(4)


@step
def resource_keys(buf: Any, at: Any, end: Any, stack: Any) -> Any:
    """Or of `identifying_key` over the attributes of a Resource; the caller has walked it before."""
    seen = np.int64(0)
    while at < end:
        tag, at = read_tag(buf, at, end)
        if tag == RESOURCE_ATTRIBUTES:
            begin, at = read_length(buf, at, end)
            _, key_at, key_length, _ = walk_key_value(buf, begin, at, stack)
            seen |= identifying_key(buf, key_at, key_length)
        else:
            at = skip_value(buf, at, end, tag)
    return seen


@step
def read_scope(buf: Any, at: Any, end: Any, k: Any, limits: Any, stamps: Any, stack: Any, state: Any) -> Any:
    """(next or fault, high, low, reason) of a ScopeMetrics: its scope's name, version and attributes, its schema."""
    high, low, reason = np.uint64(0), np.uint64(0), np.int64(ACCEPTED)
    url_high, url_low = np.uint64(0), np.uint64(0)
    name_high, name_low, version_high, version_low = np.uint64(0), np.uint64(0), np.uint64(0), np.uint64(0)
    most = limits[L_BYTES]
    while at < end:
        tag, at = read_tag(buf, at, end)
        if at < 0:
            return at, high, low, reason
        if tag == SCOPE_SCHEMA_URL:
            at, begin, url_high, url_low, why = read_text(buf, at, end, D_SCHEMA_URL, k, most)
            if at == begin:
                url_high, url_low = np.uint64(0), np.uint64(0)
            if why != ACCEPTED:
                reason = why
        elif tag == SCOPE:
            at, behind = read_length(buf, at, end)
            if at < 0:
                return at, high, low, reason
            state[S_EPOCH] += 1
            after, h, g, _, overwritten, why = sum_attributes(
                buf, at, behind, np.int64(SCOPE_ATTRIBUTES), k, limits, stamps, np.uint32(state[S_EPOCH]), stack
            )
            state[S_EPOCH] += 1
            if after < 0:
                return after, high, low, reason
            state[S_OVERWRITTEN] += overwritten
            high += h
            low += g
            if why != ACCEPTED:
                reason = why
            while at < behind:
                tag, at = read_tag(buf, at, behind)
                if tag == SCOPE_NAME:
                    at, begin, name_high, name_low, why = read_text(buf, at, behind, D_SCOPE_NAME, k, most)
                    if at == begin:
                        name_high, name_low = np.uint64(0), np.uint64(0)
                    if why != ACCEPTED:
                        reason = why
                elif tag == SCOPE_VERSION:
                    at, begin, version_high, version_low, why = read_text(buf, at, behind, D_SCOPE_VERSION, k, most)
                    if at == begin:
                        version_high, version_low = np.uint64(0), np.uint64(0)
                    if why != ACCEPTED:
                        reason = why
                else:
                    at = skip_value(buf, at, behind, tag)
        else:
            at = skip_value(buf, at, end, tag)
        if at < 0:
            return at, high, low, reason
    h, g = hash_word(np.uint64(0), np.uint64(D_SCOPE), k)
    h, g = mix(
        high + url_high + name_high + version_high + h,
        low + url_low + name_low + version_low + g,
        k,
    )
    return at, h, g, reason


@step
def read_resource(buf: Any, at: Any, end: Any, k: Any, limits: Any, stamps: Any, stack: Any, state: Any) -> Any:
    """(end or fault, high, low, reason, keys) of the Resource in a ResourceMetrics; keys: or of `identifying_key`."""
    high, low, reason, keys = np.uint64(0), np.uint64(0), np.int64(ACCEPTED), np.int64(0)
    while at < end:
        tag, at = read_tag(buf, at, end)
        if at < 0:
            return at, high, low, reason, keys
        if tag != RESOURCE:
            at = skip_value(buf, at, end, tag)
            if at < 0:
                return at, high, low, reason, keys
            continue
        at, behind = read_length(buf, at, end)
        if at < 0:
            return at, high, low, reason, keys
        epoch = np.uint32(state[S_EPOCH])
        state[S_EPOCH] += 1
        after, h, g, _, overwritten, why = sum_attributes(
            buf, at, behind, np.int64(RESOURCE_ATTRIBUTES), k, limits, stamps, epoch, stack
        )
        if after < 0:
            return after, high, low, reason, keys
        if why != ACCEPTED:
            reason = why
        state[S_OVERWRITTEN] += overwritten
        high += h
        low += g
        keys |= resource_keys(buf, at, behind, stack)
        at = behind
    h, g = hash_word(np.uint64(0), np.uint64(D_RESOURCE), k)
    high, low = mix(high + h, low + g, k)
    return at, high, low, reason, keys
