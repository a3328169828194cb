"""Watches the certificate files of a listener and has them taken up when they are replaced."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from gateway.errors import ConfigError
from gateway.owned_tasks import end_tasks

log = structlog.get_logger(__name__)

_SECONDS: Final = 2.0


class CertificateRenewal:
    """Calls `reload` every two seconds until stopped. reload: see Certificates.reload_if_changed."""

    def __init__(self, reload: Callable[[], bool]) -> None:
        self._reload = reload
        self._failed_with = ""
        self._task = asyncio.create_task(self._watch(), name="certificate-renewal")

    async def stop(self) -> None:
        """Idempotent."""
        await end_tasks(self._task)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_SECONDS)
            try:
                if await asyncio.to_thread(self._reload):
                    log.info("renewed certificates are in use")
                self._failed_with = ""
            except (ConfigError, OSError) as error:
                if str(error) != self._failed_with:  # half-written files are common: said once
                    log.warning("renewed certificates cannot be used; the former ones stay", error=str(error))
                self._failed_with = str(error)
