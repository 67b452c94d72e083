"""The few JetStream API calls that nats-py does not offer as we need them: answers as JSON, refusals by their code."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import nats.errors
import orjson
from nats.aio.client import Client

NO_STREAM: Final = 10059
NO_MESSAGE: Final = 10037
TIMEOUT: Final = 5.0


class Refused(Exception):
    """The broker answered with an error; ``code`` is its err_code."""

    def __init__(self, code: int, description: str) -> None:
        super().__init__(f"{description} ({code})")
        self.code = code


class NoAnswer(TimeoutError):
    """The broker did not answer: what was asked may have been done or not."""


async def request(
    client: Client,
    subject: str,
    payload: bytes = b"",
    headers: dict[str, str] | None = None,
    timeout: float = TIMEOUT,
) -> dict[str, Any]:
    """Ask, and read the answer as JSON. Raises Refused and NoAnswer."""
    if not client.is_connected:
        raise NoAnswer("not connected to the broker")
    try:
        reply = await client.request(subject, payload, timeout=timeout, headers=headers)
    except (nats.errors.Error, TimeoutError, OSError) as error:
        raise NoAnswer(f"{subject}: {str(error) or type(error).__name__}") from error
    answer: dict[str, Any] = orjson.loads(reply.data)
    if refusal := answer.get("error"):
        raise Refused(refusal.get("err_code", 0), refusal.get("description", ""))
    return answer


async def api(client: Client, call: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """A call of the JetStream API, "STREAM.INFO.EVENTS". Raises Refused and NoAnswer."""
    return await request(client, f"$JS.API.{call}", b"" if body is None else orjson.dumps(body))


def parse_time(text: str) -> datetime:
    """A time as the API writes it, cut to the microseconds that a database keeps. A stream's identity is such a time."""
    return datetime.fromisoformat(text).astimezone(UTC)
