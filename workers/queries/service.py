"""The queries worker: request and reply on ``query.<noun>.<name>.<tenant>``, shared by a queue group.

The tenant is the subject's and nothing else's. Whatever happens, the asker gets an answer; what went wrong inside is in
the log, under the correlation id.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from typing import Any

import asyncpg
import orjson
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from pydantic import ValidationError
from sqlalchemy.exc import DBAPIError

from contracts import envelope as envelopes
from contracts import subjects
from contracts.commands.base import validation_errors
from contracts.registry import QUERIES
from contracts.subjects import SubjectError
from ops import metrics
from ops.logging import Operation, get_logger
from storage.errors import ReadTimeout, Unavailable
from storage.postgres import READER, engine
from storage.reads.session import Reads
from workers.queries.handlers import HANDLERS
from workers.queries.handlers.answer import Answer, Refusal, invalid, too_large
from workers.queries.handlers.context import Context
from workers.queries.handlers.request import fields
from workers.queries.search import Search
from workers.service import Runtime, Service

SUBJECTS = "query.*.*.*"
QUEUE = "queries"
MAX_REQUEST = 64 * 1024  # bytes: a question is short
WAITING = 10_000  # requests that wait in the client before it drops new ones
JSON = {"content-type": "application/json"}
HEADROOM = 4 * 1024  # of the broker's max_payload, for an answer's headers
UNKNOWN = "(unknown)"  # the metrics' name for every query that is not ours
IN_HAND = 8  # queries at a time for each connection: those that ask Elasticsearch hold none meanwhile

log = get_logger(__name__)


class Queries:
    """Answers queries until stopped; a few times as many at once as there are connections, the others wait in the client.

    The subscription is the client's own and not FastStream's: that one gives up what it took but did not begin when it
    is stopped, and the asker would wait for nothing.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._settings = runtime.settings
        self._broker = runtime.broker
        self._engine = engine(
            self._settings.postgres_dsn, READER, "rollcall queries", size=self._settings.query_connections
        )
        self._reads = Reads(self._engine)
        in_hand = IN_HAND * self._settings.query_connections
        self._free = asyncio.Semaphore(in_hand)
        self._search = Search(self._settings, lambda: self._broker.connection, waits=in_hand // 2)
        self._answering: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        client = self._broker.connection
        try:
            await self._search.start()
            subscription = await client.subscribe(SUBJECTS, QUEUE, cb=self._take, pending_msgs_limit=WAITING)
            await self._stopping.wait()
            await subscription.drain()  # type: ignore[no-untyped-call]  # no more from the broker; what is here is still taken
            await asyncio.gather(*self._answering)
        finally:
            await self._search.close()
            await self._engine.dispose()

    async def stop(self) -> None:
        self._stopping.set()

    def problems(self) -> list[str]:
        return self._search.problems()  # bus and database are the host's to check

    async def _take(self, message: Msg) -> None:
        await self._free.acquire()
        task = asyncio.create_task(self._reply(message))
        self._answering.add(task)
        task.add_done_callback(self._answered)

    def _answered(self, task: asyncio.Task[None]) -> None:
        self._answering.discard(task)
        self._free.release()

    async def _reply(self, message: Msg) -> None:
        if not message.reply:
            return
        body = await self.answer(message.subject, message.data, message.headers or {})
        try:
            await self._broker.connection.publish(message.reply, body, headers=JSON)
        except (NatsError, OSError) as error:
            log.warning("an answer could not be sent", error=type(error).__name__)

    async def answer(self, subject: str, body: bytes, headers: Mapping[str, str]) -> bytes:
        """The bytes that answer a request."""
        tokens = subject.split(".")
        name, tenant = ".".join(tokens[1:3]), tokens[3]
        known = name if name in HANDLERS else UNKNOWN
        about = {"correlation_id": _correlation_id(headers), **_contact_id(body)}
        operation = Operation(log, "query", query=known, tenant=tenant[:64], **about)
        code = "ok"
        try:
            answer = await self._ask(subject, body)
            reply = _encode({"success": True, "data": answer.data, "meta": answer.meta})
            self._check_size(reply)
        except Exception as error:  # noqa: BLE001 - whatever it is, somebody waits for an answer
            refusal = _refusal(error)
            code = refusal.code
            if code in FAILURES:
                operation.fail(error, code=code)
            reply = _encode(
                {
                    "success": False,
                    "error": {"code": code, "message": refusal.message, "details": refusal.details},
                }
            )
        if code not in FAILURES:
            operation.end(code=code)
        metrics.QUERIES.labels(known, code).inc()
        metrics.QUERY_SECONDS.labels(known).observe(operation.duration_ms / 1000)
        return reply

    async def _ask(self, subject: str, body: bytes) -> Answer:
        try:
            parsed = subjects.parse(subject)
        except SubjectError as error:
            raise Refusal(
                "invalid", str(error), {"errors": [{"field": "subject", "message": str(error)}]}
            ) from None
        name = parsed.type.partition(".")[2]
        if name not in HANDLERS:
            raise Refusal("unknown_query", f"no query {name!r} is known", {"known": sorted(HANDLERS)})
        if len(body) > MAX_REQUEST:
            raise Refusal("too_large", f"the request has {len(body)} bytes, at most {MAX_REQUEST} are taken")
        request = QUERIES[name].request.model_validate(fields(body))
        region = self._settings.region(parsed.tenant)
        context = Context(parsed.tenant, region, self._search, self._reads, self._most_bytes)
        return await HANDLERS[name](context, request)

    @property
    def _most_bytes(self) -> int:
        return self._broker.connection.max_payload - HEADROOM

    def _check_size(self, reply: bytes) -> None:
        if len(reply) > self._most_bytes:
            raise too_large(f"has {len(reply)} bytes", self._most_bytes)


FAILURES = frozenset({"timeout", "unavailable", "internal"})  # ours, not the asker's: logged with their cause


def build(runtime: Runtime) -> Service:
    return Queries(runtime)


def _encode(reply: dict[str, Any]) -> bytes:
    return orjson.dumps(reply, option=orjson.OPT_UTC_Z, default=str)


def _correlation_id(headers: Mapping[str, str]) -> str | None:
    for name, value in headers.items():
        if name.lower() in {"correlationid", "rollcall-correlation-id", "ce-correlationid"}:
            return value[: envelopes.MAX_ATTRIBUTE]
    return None


def _contact_id(body: bytes) -> dict[str, str]:
    """For the log, the id of the contact that a request names by its id; whatever else is wrong with it comes later."""
    if b'"contact"' not in body or len(body) > MAX_REQUEST:
        return {}
    try:
        return {"contact_id": str(uuid.UUID(orjson.loads(body)["contact"]["id"]))}
    except (ValueError, TypeError, LookupError, AttributeError):
        return {}


def _refusal(error: Exception) -> Refusal:
    """What the asker is told of an error; nothing of how it looks inside."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, ValidationError):
        return invalid(validation_errors(error))
    if isinstance(error, ReadTimeout):
        return Refusal("timeout", "the query took too long; narrow it")
    driver = error.orig.__cause__ if isinstance(error, DBAPIError) and error.orig else None
    state = str(getattr(driver, "sqlstate", None) or "")
    if isinstance(error, OverflowError) or isinstance(driver, asyncpg.DataError) or state.startswith("22"):
        return invalid([{"field": "data", "message": "a value is out of range"}])
    if isinstance(error, OSError | Unavailable):
        return Refusal("unavailable", "the database is out of reach; try again")
    return Refusal("internal", "the query failed; the log says why")
