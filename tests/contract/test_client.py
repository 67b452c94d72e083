"""The client against a real bus, with a worker that is played here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import nats as nats_client
import orjson
import pytest
from nats.aio.client import Client as Connection
from nats.aio.msg import Msg

from contracts import envelope, subjects
from contracts.client import Client, key_of
from contracts.connection import servers
from contracts.envelope import CONTENT_TYPE, FORM, Envelope
from contracts.subjects import NO_KEY, SubjectError, key_for
from contracts.vocabulary import OutcomeStatus
from ops.devstack import NatsServer
from ops.devstack.nats import CONFIG
from tests.eventually import eventually

ID = "0199d3a4-7c00-7000-8000-00000000c0de"


@pytest.fixture(scope="module")
async def worker(bus: NatsServer) -> AsyncIterator[list[Msg]]:
    """Answers every message that wants a result, and every query; what it was sent."""
    connection: Connection = await nats_client.connect(bus.url)
    seen: list[Msg] = []

    async def apply(message: Msg) -> None:
        seen.append(message)
        reply_to = (message.headers or {}).get(subjects.HEADER_REPLY_TO)
        if reply_to and ".silent." not in message.subject:
            asked = envelope.parse(message.data, message.headers)
            data = {"status": "applied", "contact_id": ID, "version": 1, "created": True}
            result = Envelope(
                envelope.new_id(), "rollcall", subjects.result(asked.type), data, causationid=asked.id
            )
            await connection.publish(reply_to, envelope.dump(result))

    async def answer(message: Msg) -> None:
        await message.respond(orjson.dumps({"success": True, "data": orjson.loads(message.data), "meta": {}}))

    stream = connection.jetstream()
    await stream.add_stream(name="IN", subjects=["command.*.*.*.*", "webhook.*.*.*"])
    await connection.subscribe("command.>", cb=apply)
    await connection.subscribe("webhook.>", cb=apply)
    await connection.subscribe("query.*.*.acme", cb=answer)
    await connection.flush()
    yield seen
    await connection.close()


@pytest.fixture
async def client(bus: NatsServer) -> AsyncIterator[Client]:
    async with Client(bus.url, source="shop") as client:
        yield client


async def test_send_publishes_an_envelope_and_returns_its_result(client: Client, worker: list[Msg]) -> None:
    result = await client.send(
        "contact.create", "acme", {"email": "a@example.com"}, actor="user:42", id="m-1"
    )
    assert (result.status, str(result.contact_id), result.created) == (OutcomeStatus.APPLIED, ID, True)
    message = worker[-1]
    key = key_for({"channel": "email", "identifier": "a@example.com"})
    assert message.subject == f"command.contact.create.acme.{key}"
    assert message.headers is not None
    assert message.headers["Content-Type"] == CONTENT_TYPE
    assert "Nats-Msg-Id" not in message.headers
    sent = envelope.parse(message.data, message.headers)
    assert (sent.id, sent.source, sent.type, sent.actor) == (
        "m-1",
        "shop",
        "command.contact.create",
        "user:42",
    )
    assert sent.tenantid == "acme"
    assert sent.data == {"email": "a@example.com"}


async def test_a_webhook_may_be_a_form(client: Client, worker: list[Msg]) -> None:
    await client.webhook("twilio", "acme", "-", "MessageSid=SM1&From=%2B49")
    sent = envelope.parse(worker[-1].data, worker[-1].headers)
    assert (sent.type, sent.data) == ("webhook.twilio", "MessageSid=SM1&From=%2B49")
    assert sent.datacontenttype == FORM


async def test_publish_returns_once_the_broker_has_the_message(client: Client, worker: list[Msg]) -> None:
    subject = subjects.command("contact.delete", "acme")
    id_ = await client.publish(subject, "command.contact.delete", "acme", {"contact": {"id": ID}})
    await eventually(lambda: any(id_.encode() in message.data for message in worker))


async def test_query(client: Client, worker: list[Msg]) -> None:
    answer = await client.query("contact.get", "acme", {"contact": {"id": ID}})
    assert answer.success
    assert answer.data == {"contact": {"id": ID}}
    with pytest.raises(TimeoutError, match="no queries worker answered"):
        await client.query("contact.get", "nobody")


async def test_no_result_is_a_time_out(client: Client, worker: list[Msg]) -> None:
    with pytest.raises(TimeoutError, match="may still be applied"):
        await client.send("contact.create", "silent", {}, timeout=2)


@pytest.mark.parametrize(
    ("tenant", "key"), [("a.b", "k"), ("*", "k"), ("", "k"), ("acme", ">"), ("acme", "x" * 65), ("ä", "k")]
)
async def test_what_no_subject_can_hold_is_refused_here(client: Client, tenant: str, key: str) -> None:
    with pytest.raises(SubjectError):
        await client.send("contact.create", tenant, {}, key=key)
    with pytest.raises(SubjectError):
        await client.publish(f"webhook.message.{tenant}.{key}", "webhook.message", tenant, {})


@pytest.mark.parametrize("url", ["nats://127.0.0.1:1", "nats://127.0.0.1:1,nats://127.0.0.1:2"])
async def test_without_a_server_connecting_ends_at_once(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is tried once, and not waited for."""
    tried: list[int] = []
    open_connection, sleep = asyncio.open_connection, asyncio.sleep
    slept = 0.0

    async def counted(host: str, port: int, **more: Any) -> Any:
        tried.append(port)
        return await open_connection(host, port, **more)

    async def measured(seconds: float, *more: Any) -> Any:
        nonlocal slept
        slept += seconds
        return await sleep(seconds, *more)

    monkeypatch.setattr(asyncio, "open_connection", counted)
    monkeypatch.setattr(asyncio, "sleep", measured)
    with pytest.raises(TimeoutError, match=r"no NATS server answered: .*Connect call failed"):
        await Client.connect(url, source="shop")
    assert sorted(tried) == [1, 2][: url.count(":1") + url.count(":2")]
    assert slept < 1


async def test_one_server_of_several_is_enough(bus: NatsServer) -> None:
    async with Client(f"nats://127.0.0.1:1, {bus.url}", source="shop") as client:
        with pytest.raises(TimeoutError):
            await client.query("contact.get", "nobody")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """A bus with one user, shop, who may not delete or ask."""
    users = (
        'authorization { users = [{user: shop, password: secret, permissions: {publish: {deny: ["query.>", '
        '"command.contact.delete.>"]}}}] }\n'
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ops.devstack.nats.CONFIG", CONFIG + users.replace("{", "{{").replace("}", "}}"))
        server = NatsServer(tmp_path_factory.mktemp("guarded"))
        server.start()
    yield server
    server.stop()


async def test_a_refused_log_in_is_said_without_the_password(guarded: NatsServer) -> None:
    for url in (guarded.url, guarded.url.replace("//", "//shop:wrong@")):
        with pytest.raises(PermissionError, match="NATS refuses the log-in") as raised:
            await Client.connect(url, source="shop")
        assert "wrong" not in str(raised.value)


def test_a_url_names_one_server_or_several() -> None:
    assert servers("nats://a:4222") == ["nats://a:4222"]
    assert servers(" nats://a:4222, tls://b:4222 ,") == ["nats://a:4222", "tls://b:4222"]


async def test_what_the_bus_denies_is_said_at_once(guarded: NatsServer) -> None:
    async with (
        Client(guarded.url.replace("//", "//shop:secret@"), source="shop") as client,
        asyncio.timeout(30),
    ):
        for denied in (
            client.send("contact.delete", "Acme", {}, timeout=60),
            client.publish("command.contact.delete.Acme.k", "command.contact.delete", "Acme", {}, timeout=60),
            client.query("contact.get", "Acme", timeout=60),
        ):
            with pytest.raises(PermissionError, match=r"does not permit publishing to (command|query)"):
                await denied


@pytest.mark.parametrize(
    ("data", "reference"),
    [
        ({"contact": {"id": ID}, "external_id": "x"}, {"id": ID}),
        ({"external_id": "x", "email": "a@example.com"}, {"external_id": "x"}),
        (
            {
                "email": "a@example.com",
                "identifiers": [{"channel": "ig", "identifier": "1", "scope": "p", "shared": True}],
            },
            {"channel": "ig", "identifier": "1", "scope": "p"},
        ),
        ({"phone": "0151 1", "email": "a@example.com"}, {"channel": "email", "identifier": "a@example.com"}),
        ({"phone": "0151 1"}, {"channel": "sms", "identifier": "0151 1"}),
        ({"events": [{"type": "x"}], "contact": {"id": ID}}, {"id": ID}),
        ({"events": [{"contact": {"id": ID}}, {"type": "x"}], "contact": {"id": ID}}, {"id": ID}),
        ({"events": [{"contact": {"external_id": "x"}}] * 2}, {"external_id": "x"}),
        ({"event_ids": [ID], "contact": {"external_id": "x"}}, {"external_id": "x"}),
    ],
)
def test_the_key_is_what_the_command_names(data: dict[str, Any], reference: dict[str, Any]) -> None:
    assert key_of(data) == key_for(reference)


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"contact": "Ann"},
        {"contact": {"id": "42"}},
        {"identifiers": "x"},
        {"identifiers": [7]},
        {"email": 7},
        {"events": [{"contact": {"external_id": "x"}}, {"contact": {"external_id": "y"}}]},
        {"events": [{"contact": {"external_id": "x"}}, {"type": "x"}], "contact": {"id": ID}},
        {"events": [7]},
        {"events": "x"},
        {"event_ids": [ID]},
    ],
)
def test_what_names_nobody_has_no_key(data: dict[str, Any]) -> None:
    assert key_of(data) == NO_KEY
