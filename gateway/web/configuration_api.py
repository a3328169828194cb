"""The configuration over HTTP: every value with its source, a check before it is taken up, the reload itself.

    GET  /api/v1/configuration    {section: {key: {"value", "source"}}}, secrets as stars
    POST /api/v1/config/check     body: TOML as it would stand in the file, or nothing for the files as they are now
    POST /-/reload                reads the alerting files again

Errors of the tree are answered by the application's middleware.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiohttp import web

from gateway.errors import BodyTooLarge, RequestError
from gateway.web.json_api import json_response

MAX_TEXT: Final = 2**20


class ConfigurationApi:
    """The handlers. check: see config_check, called in a thread."""

    def __init__(
        self,
        shown: Callable[[], dict[str, Any]],
        check: Callable[[str], dict[str, Any]],
        reload: Callable[[], Awaitable[dict[str, Any]]],
    ) -> None:
        self._shown, self._check, self._reload = shown, check, reload

    def routes(self) -> list[web.RouteDef]:
        """The three addresses."""
        return [
            web.get("/api/v1/configuration", self.configuration),
            web.post("/api/v1/config/check", self.check),
            web.post("/-/reload", self.reload),
        ]

    async def configuration(self, _: web.Request) -> web.Response:
        """Every value with its source; secrets as stars."""
        return json_response(self._shown())

    async def check(self, request: web.Request) -> web.Response:
        """Whether a configuration could be used, and what it would change; changes nothing."""
        body = await request.read()
        if len(body) > MAX_TEXT:
            raise BodyTooLarge(f"a configuration has at most {MAX_TEXT} bytes")
        try:
            text = body.decode()
        except UnicodeDecodeError as error:
            raise RequestError(f"the text is not UTF-8: {error}", reason="parameter") from None
        return json_response(await asyncio.to_thread(self._check, text))

    async def reload(self, _: web.Request) -> web.Response:
        """Read the configuration again; what can change without a restart does."""
        return json_response(await self._reload())
