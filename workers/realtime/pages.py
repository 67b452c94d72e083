"""The console: a page that shows timelines as they grow. Its files are in ``console/``, and are served as they are."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

DIRECTORY: Final = Path(__file__).with_name("console")
INDEX: Final = "index.html"
TYPES: Final = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}

# Everything comes from this worker, nothing is run that is written in the page itself, and no text can become HTML.
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)


class File:
    """One of them, read once."""

    def __init__(self, path: Path) -> None:
        self._body = path.read_bytes()
        self._type = TYPES[path.suffix]
        self._headers = {
            "content-security-policy": POLICY,
            "x-content-type-options": "nosniff",
            "referrer-policy": "no-referrer",
            # A browser may keep it, and asks each time whether it is still the one: a new version shows at once.
            "cache-control": "no-cache",
            "etag": f'"{hashlib.sha256(self._body).hexdigest()[:32]}"',
        }

    async def answer(self, request: Request) -> Response:
        if self._headers["etag"] in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=self._headers)
        return Response(self._body, media_type=self._type, headers=self._headers)


def routes() -> Iterator[Route]:
    """``/`` is the page, and the rest lies under ``/console/``."""
    yield Route("/", File(DIRECTORY / INDEX).answer, methods=["GET"])
    for path in sorted(DIRECTORY.iterdir()):
        if path.name != INDEX:
            yield Route(f"/console/{path.name}", File(path).answer, methods=["GET"])
