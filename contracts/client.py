"""A small client for upstream services: send a command and learn what became of it, publish a webhook, ask a query.

    async with Client("nats://localhost:4222", source="shop") as client:
        result = await client.send("contact.create", "acme", {"email": "ann@example.com"})
        answer = await client.query("contact.get", "acme", {"contact": {"id": str(result.contact_id)}})

A message that ``publish`` returned from is accepted: the broker has it on disk. Nothing is published twice by itself; a caller
that repeats gives the same ``id``, and the repeat is answered as a duplicate.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

import nats.errors
import orjson
from nats.aio.client import Client as Connection
from pydantic import ValidationError

from contracts import connection, envelope, subjects
from contracts.envelope import Envelope
from contracts.queries.base import Answer
from contracts.results import Result

# As nats-py says it, in lower case.
_DENIED = re.compile(r'permissions violation for (publish|subscription) to "([^"]*)"')

_logger = logging.getLogger(__name__)


class Client:
    """A connection to the bus under the name ``source``, which message ids are unique within."""

    def __init__(self, url: str, *, source: str) -> None:
        self._url = url
        self._source = source
        self._nats: Connection | None = None
        self._waits: list[_Wait] = []

    @classmethod
    async def connect(cls, url: str, *, source: str) -> Self:
        """A connected client, for who closes it by hand.

        Each server of the URL is tried once. Raises TimeoutError when none answers, PermissionError when the log-in is
        refused. Once connected it reconnects by itself, for ever.
        """
        return await cls(url, source=source).__aenter__()

    async def __aenter__(self) -> Self:
        self._nats = await connection.connect(self._url, on_error=self._notice)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        if self._nats is not None:
            await self._nats.close()

    async def send(
        self,
        type: str,  # noqa: A002 - the envelope's own word
        tenant: str,
        data: Mapping[str, Any],
        *,
        key: str | None = None,
        actor: str | None = None,
        id: str | None = None,  # noqa: A002
        timeout: float = 5.0,
    ) -> Result:
        """Publish a command ("contact.create") and wait for its result.

        Raises TimeoutError when there is none within ``timeout`` seconds (the command may still be applied),
        PermissionError when the bus denies the subject, and SubjectError for a tenant or key that no subject can hold.
        """
        subject = subjects.command(type, tenant, key or key_of(data))
        return await self._send(subject, f"command.{type}", tenant, data, actor, id, timeout)

    async def webhook(
        self,
        provider: str,
        tenant: str,
        key: str,
        body: Any,
        *,
        id: str | None = None,  # noqa: A002
        timeout: float = 5.0,
    ) -> Result:
        """Publish a provider's raw body (parsed JSON, or a form as a string) and wait for its result."""
        subject = subjects.webhook(provider, tenant, key)
        return await self._send(subject, f"webhook.{provider}", tenant, body, None, id, timeout)

    async def publish(
        self,
        subject: str,
        type: str,  # noqa: A002
        tenant: str,
        data: Any,
        *,
        actor: str | None = None,
        id: str | None = None,  # noqa: A002
        reply_to: str | None = None,
        timeout: float = 5.0,
    ) -> str:
        """Publish without waiting for a result; returns the message's id once the broker has it.

        Raises SubjectError for a subject that breaks the grammar, PermissionError when the bus denies it, and
        TimeoutError when the broker does not confirm: the message may have been accepted all the same.
        """
        subjects.parse(subject)
        message_id = id or envelope.new_id()
        message = Envelope(
            id=message_id,
            source=self._source,
            type=type,
            data=data,
            time=datetime.now(UTC),
            tenantid=tenant,
            actor=actor,
            datacontenttype=envelope.FORM if isinstance(data, str) else "application/json",
        )
        headers = {"Content-Type": envelope.CONTENT_TYPE}
        if reply_to is not None:
            headers[subjects.HEADER_REPLY_TO] = reply_to
        async with self._wait(timeout, "the broker did not confirm the message", subject):
            await self._connection.jetstream().publish(
                subject, envelope.dump(message), headers=headers, timeout=timeout
            )
        return message_id

    async def query(
        self, name: str, tenant: str, data: Mapping[str, Any] | None = None, *, timeout: float = 5.0
    ) -> Answer:
        """Ask a query ("contact.find"). Raises TimeoutError when nobody answers, PermissionError when the bus denies it."""
        subject = subjects.query(name, tenant)
        async with self._wait(timeout, "no queries worker answered", subject):
            reply = await self._connection.request(subject, orjson.dumps(data or {}), timeout=timeout)
        return Answer.model_validate_json(reply.data)

    async def _send(
        self,
        subject: str,
        type: str,  # noqa: A002
        tenant: str,
        data: Any,
        actor: str | None,
        id: str | None,  # noqa: A002
        timeout: float,
    ) -> Result:
        inbox = self._connection.new_inbox()
        results = await self._connection.subscribe(inbox, max_msgs=1)
        try:
            async with self._wait(timeout, "no result yet; the message may still be applied", subject):
                await self.publish(
                    subject, type, tenant, data, actor=actor, id=id, reply_to=inbox, timeout=timeout
                )
                reply = await results.next_msg(timeout)
        finally:
            await results.unsubscribe()
        return Result.model_validate(orjson.loads(reply.data)["data"])

    @contextlib.asynccontextmanager
    async def _wait(self, seconds: float, otherwise: str, subject: str) -> AsyncIterator[None]:
        """At most so long, and no longer once the bus has denied the subject. Raises TimeoutError, PermissionError."""
        wait = _Wait(subject, asyncio.timeout(seconds))
        self._waits.append(wait)
        try:
            async with wait.limit:
                yield
        except (TimeoutError, nats.errors.NoRespondersError) as error:
            if wait.denied is not None:
                raise PermissionError(wait.denied) from error
            raise TimeoutError(otherwise) from error
        finally:
            self._waits.remove(wait)

    async def _notice(self, error: Exception) -> None:
        _logger.info("nats: %s", error)
        if found := _DENIED.search(str(error)):
            for wait in self._waits:
                wait.deny(*found.groups())

    @property
    def _connection(self) -> Connection:
        if self._nats is None:
            raise RuntimeError("not connected: use `await Client.connect(…)` or `async with Client(…)`")
        return self._nats


class _Wait:
    """For what the bus has to say of a subject; ``denied`` says what it does not allow."""

    def __init__(self, subject: str, limit: asyncio.Timeout) -> None:
        self.limit = limit
        self.denied: str | None = None
        self._subject = subject

    def deny(self, action: str, subject: str) -> None:
        """End the wait, if the denial is of our subject or of the answers, which come to subjects of our own."""
        ours = action == "subscription" or subject == self._subject.lower()
        if ours and not self.limit.expired():
            verb = "publishing to" if action == "publish" else "subscribing to"
            self.denied = f"NATS does not permit {verb} {subject}"
            self.limit.reschedule(0)


def key_of(data: Mapping[str, Any]) -> str:
    """The key of a command: the contact that it names, else the strongest thing that it says of a new one, else "-".

    Of a command of many: the contact that all its events name. Where they name several there is no order to keep.
    What cannot be read as a reference gives "-": the worker says what is wrong with it.
    """
    for reference in _references(data):
        try:
            return subjects.key_for(reference)
        except ValidationError:
            return subjects.NO_KEY
    return subjects.NO_KEY


def _references(data: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    named = data.get("contact")
    events = data.get("events")
    if isinstance(events, list):
        of_each = [event.get("contact") or named for event in events if isinstance(event, Mapping)]
        named = of_each[0] if of_each and all(each == of_each[0] for each in of_each) else None
    if named:
        yield named
    if data.get("external_id"):
        yield {"external_id": data["external_id"]}
    identifiers = data.get("identifiers")
    if isinstance(identifiers, list) and identifiers and isinstance(identifiers[0], Mapping):
        first = identifiers[0]
        yield {name: first[name] for name in ("channel", "identifier", "scope") if first.get(name)}
    for name, channel in (("email", "email"), ("phone", "sms")):
        if data.get(name):
            yield {"channel": channel, "identifier": data[name]}
