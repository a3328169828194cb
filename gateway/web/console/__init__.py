"""The console: a single page application served from package data, under a strict Content-Security-Policy."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Final

from aiohttp import web

SECURITY_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "font-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_TYPES: Final = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".json": "application/json",
    ".woff2": "font/woff2",
    ".map": "application/json",
}


def _directory() -> Path:
    """The built console where there is one, else the plain page."""
    base = Path(str(resources.files(__name__)))
    built = base / "dist"
    return built if (built / "index.html").is_file() else base / "plain"


@dataclass(frozen=True, slots=True)
class _File:
    body: bytes
    content_type: str
    encoded: dict[str, bytes]
    """By content coding, best first; made when the console is built."""
    tag: str


def _load() -> dict[str, _File]:
    directory = _directory()
    files = {}
    for path in sorted(p for p in directory.rglob("*") if p.is_file() and p.suffix in _TYPES):
        body = path.read_bytes()
        encoded = {
            coding: beside.read_bytes()
            for coding, suffix in (("br", ".br"), ("gzip", ".gz"))
            if (beside := path.with_name(path.name + suffix)).is_file()
        }
        tag = f'W/"{hashlib.sha256(body).hexdigest()[:32]}"'
        files[path.relative_to(directory).as_posix()] = _File(body, _TYPES[path.suffix], encoded, tag)
    return files


def _codings(accepted: str) -> set[str]:
    """What an Accept-Encoding header takes (RFC 9110, section 12.5.3); weights do not matter, save for none at all."""
    parts = (part.partition(";") for part in accepted.split(","))
    return {coding.strip() for coding, _, weight in parts if weight.strip() not in ("q=0", "q=0.0")}


def routes() -> list[web.RouteDef]:
    """`/` and the files it asks for; read once, so that a request never touches the disk.

    There is no catch-all: Grafana takes a gateway that answers unknown paths for something else.
    """
    files = _load()

    def serve(name: str, cached: bool) -> web.RouteDef:
        file = files[name]
        headers = SECURITY_HEADERS | {
            "Cache-Control": "public, max-age=31536000, immutable" if cached else "no-cache",
            "ETag": file.tag,
            "Vary": "Accept-Encoding",
        }

        async def answer(request: web.Request) -> web.Response:
            if file.tag in request.headers.get("If-None-Match", ""):
                return web.Response(status=304, headers=headers)
            taken = _codings(request.headers.get("Accept-Encoding", ""))
            for coding, body in file.encoded.items():
                if coding in taken:
                    coded = headers | {"Content-Encoding": coding}
                    return web.Response(body=body, content_type=file.content_type, charset="utf-8", headers=coded)
            return web.Response(body=file.body, content_type=file.content_type, charset="utf-8", headers=headers)

        path = "/" if name == "index.html" else f"/{name}"
        return web.get(path, answer)

    return [serve(name, cached=name.startswith("assets/")) for name in files]
