"""The console: a single page application served from package data, under a strict Content-Security-Policy."""

from __future__ import annotations

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


def _load() -> dict[str, tuple[bytes, str]]:
    directory = _directory()
    return {
        file.relative_to(directory).as_posix(): (file.read_bytes(), _TYPES[file.suffix])
        for file in sorted(directory.rglob("*"))
        if file.is_file() and file.suffix in _TYPES
    }


def routes() -> list[web.RouteDef]:
    """`/` and the files it asks for; read once, so that a request never touches the disk.

    There is no catch-all: Grafana takes a gateway that answers unknown paths for something else.
    """
    files = _load()

    def serve(name: str, cached: bool) -> web.RouteDef:
        body, content_type = files[name]
        headers = SECURITY_HEADERS | {"Cache-Control": "public, max-age=31536000, immutable" if cached else "no-cache"}

        async def answer(_: web.Request) -> web.Response:
            return web.Response(body=body, content_type=content_type, charset="utf-8", headers=headers)

        path = "/" if name == "index.html" else f"/{name}"
        return web.get(path, answer)

    return [serve(name, cached=name.startswith("assets/")) for name in files]
