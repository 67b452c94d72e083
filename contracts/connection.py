"""Connecting to the bus: now, or an error that says why not."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import nats.errors
from nats.aio.client import Client

TIMEOUT = 5.0  # seconds, for all servers together
SERVER_TIMEOUT = 2  # seconds, for one of them

_LOG_IN = "authorization violation"

OnError = Callable[[Exception], Awaitable[None]]


def servers(url: str) -> list[str]:
    """The servers that a URL names: one, or several with commas between them."""
    return [server for part in url.split(",") if (server := part.strip())]


async def connect(
    url: str, *, name: str | None = None, on_error: OnError | None = None, timeout: float = TIMEOUT
) -> Client:
    """A connection that reconnects for ever once it was made; at first each server of the URL is tried once.

    ``on_error`` is told what goes wrong later. Raises TimeoutError when no server answers within ``timeout`` seconds,
    PermissionError when the log-in is refused; neither quotes the URL, which may hold a password.
    """
    names = servers(url)
    client = Client()
    failures: list[Exception] = []
    connected = False

    async def notice(error: Exception) -> None:
        if connected:
            if on_error is not None:
                await on_error(error)
            return
        failures.append(error)
        if len(failures) >= len(names):
            raise error  # ends the library's attempts, which it would repeat for ever

    try:
        async with asyncio.timeout(timeout):
            await client.connect(
                names,
                name=name,
                error_cb=notice,
                max_reconnect_attempts=-1,
                connect_timeout=SERVER_TIMEOUT,
            )
            connected = True
    except (OSError, nats.errors.Error) as error:
        with contextlib.suppress(OSError, AssertionError):  # there may be nothing to close yet
            await client.close()
        why = failures[-1] if failures else error
        if any(_LOG_IN in str(failure).lower() for failure in failures):
            raise PermissionError("NATS refuses the log-in") from error
        told = f": {why}" if str(why) else f" as one within {timeout:g} s"
        raise TimeoutError(f"no NATS server answered{told}") from error
    return client
