"""Log lines: one line an event, no values of variables in tracebacks, nothing that can forge a line."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

CODE = """
import logging, structlog
from gateway.logging_setup import configure_logging
configure_logging("data")
log = structlog.get_logger("x")
def handle(body, token):
    raise ValueError("broken")
log.info("fine", label="a\\nlevel=error event=forged \\x1b[31m", body=b"BODY-BYTES", long="x" * 5000)
try:
    handle(b"REQUEST-BODY", "TOKEN-VALUE")
except ValueError:
    log.exception("request failed")
logging.getLogger("aiohttp.server").error("library line %s", "arg")
try:
    handle(b"REQUEST-BODY", "TOKEN-VALUE")
except ValueError:
    logging.getLogger("aiohttp.server").exception("library failed")
"""


@pytest.mark.parametrize("form", ["json", "text"])
def test_lines(form: str) -> None:
    environment = os.environ | {"GATEWAY_LOG_FORMAT": form}
    said = subprocess.run([sys.executable, "-c", CODE], env=environment, capture_output=True, text=True, check=True)
    lines = said.stderr.splitlines()
    assert len(lines) == 4, said.stderr
    for secret in ("REQUEST-BODY", "TOKEN-VALUE", "BODY-BYTES", "\x1b"):
        assert secret not in said.stderr
    assert len(lines[0]) < 3000
    assert all("data" in line for line in lines)
    assert "ValueError: broken" in lines[1]
    if form == "json":
        events = [json.loads(line) for line in lines]
        assert [e["event"] for e in events] == ["fine", "request failed", "library line arg", "library failed"]
        assert [e["level"] for e in events] == ["info", "error", "error", "error"]
        assert "handle" in events[1]["exception"]
