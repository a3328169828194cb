"""Bodies that people and programs post to our own addresses."""

from __future__ import annotations

from typing import Final, Protocol, TypeVar

import msgspec
from aiohttp import web

from gateway.errors import RequestError

MAX_BY: Final = 256
T = TypeVar("T")


class Signed(Protocol):
    """Something that says who says it."""

    @property
    def by(self) -> str:
        """They."""
        ...


S = TypeVar("S", bound=Signed)


def decoded(decoder: msgspec.json.Decoder[T], body: bytes | msgspec.Raw) -> T:
    """The value of a JSON body. Raises RequestError with the reason for one that is not JSON, not UTF-8, nested too
    deeply or of another shape."""
    try:
        return decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError(f"not JSON as expected here: {error}"[:1000], reason="json") from error


async def posted(request: web.Request, kind: type[T]) -> T:
    """What was posted; raises RequestError."""
    return decoded(msgspec.json.Decoder(kind), await request.read())


async def said(request: web.Request, kind: type[S]) -> S:
    """What a person posted; raises RequestError, also if it does not say by whom."""
    found = await posted(request, kind)
    if not found.by.strip() or len(found.by) > MAX_BY:
        raise RequestError(f'"by" must say who, in 1 to {MAX_BY} characters')
    return found
