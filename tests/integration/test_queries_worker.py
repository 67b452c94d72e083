"""The queries worker itself: what it says when it cannot answer, what it logs and counts, how it ends."""

from __future__ import annotations

import asyncio
import uuid

import nats
import orjson
import pytest
from nats.protocol.parser import Parser
from prometheus_client import REGISTRY
from sqlalchemy import text
from structlog.testing import capture_logs

from ops.devstack import NatsServer
from ops.settings import Settings
from storage.errors import ReadTimeout
from storage.postgres import WRITER, connect, engine
from storage.reads.session import Reads
from tests.eventually import eventually
from tests.helpers import frames, seed
from tests.helpers.asker import Asker, asking
from workers.broker import Broker
from workers.queries.service import _contact_id, _refusal, build
from workers.service import Runtime

NOBODY = str(uuid.uuid4())
NOWHERE = "postgresql://somebody:hunter2@127.0.0.1:1/nowhere"


async def test_without_a_database_the_asker_is_told_to_try_again(bus: NatsServer) -> None:
    async with asking(NOWHERE, bus.url) as ask:
        error = await ask.error("contact.list")
    assert error == {
        "code": "unavailable",
        "message": "the database is out of reach; try again",
        "details": {},
    }


@pytest.mark.parametrize("frame", frames.breaking(b"query.contact.list"))
async def test_a_frame_that_breaks_the_client_library_harms_nobody_else(
    database: str, bus: NatsServer, frame: bytes
) -> None:
    async with asking(database, bus.url) as ask:
        await frames.send(bus.port, frame)
        assert await ask.data("contact.list") == []
        assert ask.reconnects == 0


async def test_a_read_loop_that_ends_by_a_fault_begins_anew(
    database: str, bus: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with asking(database, bus.url) as ask:
        with monkeypatch.context() as patch:
            patch.setattr("nats.protocol.parser.Parser.parse", _broken)
            await frames.send(bus.port, b"PUB query.contact.list.a 2\r\n{}\r\n")
            await eventually(lambda: ask.reconnects, what="the worker is connected anew")
        await eventually(lambda: _answers(ask), what="it answers")


async def _broken(_parser: Parser, _data: bytes) -> None:
    raise RuntimeError("a fault of the library's")


async def _answers(ask: Asker) -> bool:
    try:
        return bool((await ask("contact.list"))["success"])
    except nats.errors.Error:
        return False


async def test_a_query_that_takes_too_long_is_given_up(database: str) -> None:
    holder = await connect(database, None)
    patient = engine(database)
    try:
        async with holder.transaction():
            await holder.execute("lock table contacts")
            with pytest.raises(ReadTimeout) as caught:
                async with Reads(patient, timeout=0.05).of("a") as reads:
                    await reads.rows(text("select count(*) from contacts where tenant_id = :tenant"))
    finally:
        await holder.close()
        await patient.dispose()
    assert _refusal(caught.value).code == "timeout"


async def test_nothing_can_be_written_through_it(database: str) -> None:
    """Not even as a role that may."""
    writing = engine(database, WRITER)
    try:
        with pytest.raises(Exception, match="read-only transaction"):
            async with Reads(writing).of("a") as reads:
                await reads.rows(text("delete from contacts where tenant_id = :tenant"))
    finally:
        await writing.dispose()


async def test_what_it_does_not_foresee_stays_inside() -> None:
    refusal = _refusal(KeyError("a secret of the house"))
    assert refusal.code == "internal"
    assert "secret" not in refusal.message


async def test_start_and_end_are_logged_and_counted(database: str, bus: NatsServer) -> None:
    def counted(code: str) -> float:
        return (
            REGISTRY.get_sample_value("rollcall_queries_total", {"name": "contact.find", "code": code}) or 0
        )

    before = counted("ok"), counted("contact_not_found")
    writer = await connect(database, WRITER)
    await seed.contact(writer, "logged", external_id="x")
    await writer.close()
    async with asking(database, bus.url) as ask:
        with capture_logs() as lines:
            for header in ("correlationid", "Rollcall-Correlation-Id"):
                await ask.raw("query.contact.find.logged", b'{"external_id": "x"}', {header: "c-1"})
            await ask.raw("query.contact.find.logged", b'{"external_id": "y"}')
            await ask.raw("query.contact.get.logged", b'{"contact": {"id": "%s"}}' % NOBODY.encode())
    *lines, start, end = lines
    assert (start["contact_id"], end["contact_id"]) == (NOBODY, NOBODY)
    assert [(line["phase"], line.get("code")) for line in lines] == [
        ("START", None),
        ("END", "ok"),
        ("START", None),
        ("END", "ok"),
        ("START", None),
        ("END", "contact_not_found"),
    ]
    for line in lines:
        assert (line["operation"], line["query"], line["tenant"]) == ("query", "contact.find", "logged")
        assert line["log_level"] == "info"
        assert "duration_ms" in line or line["phase"] == "START"
    assert [line["correlation_id"] for line in lines] == ["c-1"] * 4 + [None] * 2
    assert (counted("ok"), counted("contact_not_found")) == (before[0] + 2, before[1] + 1)


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b'{"contact": {"id": "%s"}}', True),
        (b'{"contact": {"id": "%s"}, "no": "field"}', True),
        (b'{"contact": {"external_id": "%s"}}', False),
        (b'{"contact": {"id": "a secret %s"}}', False),
        (b'{"contact": ["%s"]}', False),
        (b'["contact", "%s"]', False),
        (b'{"contact": {"id": "%s"}', False),
    ],
)
def test_the_log_knows_a_contact_that_is_named_by_its_id(body: bytes, named: bool) -> None:
    contact_id = str(uuid.uuid4())
    assert _contact_id(body % contact_id.encode()) == ({"contact_id": contact_id} if named else {})


async def test_what_was_taken_is_answered_before_it_ends(database: str, bus: NatsServer) -> None:
    """More requests than it answers at once wait in the client when it is told to stop; all of them are answered."""
    broker = Broker(bus.url)
    await broker.connect()
    client = await nats.connect(bus.url)
    service = build(
        Runtime("queries", Settings(postgres_dsn=database, nats_url=bus.url, query_connections=1), broker)
    )
    running = asyncio.create_task(service.run())
    while True:
        try:
            await client.request("query.contact.list.a", b"{}", timeout=30)
            break
        except nats.errors.NoRespondersError:
            await asyncio.sleep(0.01)
    inbox = client.new_inbox()
    replies = await client.subscribe(inbox)
    for _ in range(50):
        await client.publish("query.contact.list.a", b"{}", reply=inbox)
    await client.flush()
    first = await replies.next_msg(timeout=30)  # so that the others have arrived at the worker too
    await service.stop()
    await running
    answers = [first, *[await replies.next_msg(timeout=30) for _ in range(49)]]
    assert all(orjson.loads(answer.data)["success"] for answer in answers)
    await client.close()
    await broker.stop()
