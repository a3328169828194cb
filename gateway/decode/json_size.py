"""What a JSON body takes as Python objects, judged before it is read.

`{},` is three bytes and becomes an object of 250: a body of 64 MiB could take gigabytes, and minutes in which no other
thread runs. Counting the characters that objects and elements begin with costs next to nothing and can only judge too
high, as where they stand in strings.
"""

from __future__ import annotations

from typing import Final

from gateway.errors import BodyTooLarge

_OBJECT: Final = 250
"""Bytes; a data point, the largest of the structs, has seventeen fields, and is written as protobuf in pieces."""
_ELEMENT: Final = 100
"""Bytes of a short text, the number it stands for, and their places in lists."""
MOST: Final = 384 * 2**20
"""Bytes of objects of one request. Requests of real senders reach it at about 27 MiB."""


def json_size(body: bytes) -> int:
    """Bytes that the objects of a JSON body take, at most."""
    objects, elements = body.count(b"{") + body.count(b"["), body.count(b",")
    return len(body) + objects * _OBJECT + elements * _ELEMENT


def check_json_size(body: bytes) -> None:
    """Raises BodyTooLarge."""
    size = json_size(body)
    if size > MOST:
        raise BodyTooLarge(f"the JSON would take {size} bytes to read and {MOST} is the limit; send less at a time")
