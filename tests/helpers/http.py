"""A client for the pages of workers."""

from __future__ import annotations

from typing import Any

import httpx


def plain(**options: Any) -> httpx.AsyncClient:
    """A client of plain HTTP. One that may meet TLS reads every certificate there is: 40 ms of a core, for each poll of a page."""
    return httpx.AsyncClient(verify=False, **{"timeout": 30, **options})
