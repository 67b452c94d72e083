"""Looking at a worker, or at the broker's monitoring port, over HTTP."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request


async def get(url: str, timeout: float = 2) -> tuple[int, bytes]:
    """Status and body; (0, what was wrong) when nobody answers."""
    return await asyncio.to_thread(_get, url, timeout)


def _get(url: str, timeout: float) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(url, timeout=timeout) as answer:  # noqa: S310 - ours
            return int(answer.status), answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
    except OSError as error:
        return 0, str(error).encode()
