"""Who is let in, and who is not: each with a reason, and nothing said of anybody else."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import uuid

import asyncpg
import jwt
import pytest
import websockets

from tests.helpers.http import plain
from tests.helpers.realm import SECRET, Realm
from tests.helpers.watcher import Watcher


def forge(realm: Realm, key: str = SECRET, algorithm: str = "HS256", **claims: object) -> str:
    """A token like those that are good, but for what is given; None takes a claim away."""
    now = int(time.time())
    good = {
        "iss": realm.settings.jwt_issuer,
        "aud": realm.settings.jwt_audience,
        "sub": "user:42",
        "iat": now,
        "exp": now + 600,
        "tenant": "acme",
        "role": "agent",
        "contacts": "*",
    }
    whole = {name: value for name, value in {**good, **claims}.items() if value is not None}
    return jwt.encode(whole, key, algorithm)


BAD = {
    "of another key": {"key": "another secret that is long enough, too"},
    "of another algorithm": {"algorithm": "HS512"},
    "of nobody": {"algorithm": "none", "key": ""},
    "expired": {"exp": int(time.time()) - 1},
    "of the future": {"iat": int(time.time()) + 86_400},
    "that ends after all dates": {"exp": 1e15},
    "that ends never": {"exp": float("inf")},
    "with an end that is none": {"exp": "tomorrow"},
    "of no time": {"iat": float("nan")},
    "of another issuer": {"iss": "somebody"},
    "for another audience": {"aud": "rollcall-gateway"},
    "without audience": {"aud": None},
    "without issuer": {"iss": None},
    "without end": {"exp": None},
    "without subject": {"sub": None},
    "without tenant": {"tenant": None},
    "with a wildcard for a tenant": {"tenant": "*"},
    "with a tenant of two tokens": {"tenant": "acme.evil"},
    "without role": {"role": None},
    "with a role that there is not": {"role": "admin"},
    "of an agent without contacts": {"contacts": None},
    "of a contact without one": {"role": "contact"},
    "of a contact that is none": {"role": "contact", "contact_id": "ann"},
    "with contacts that are none": {"contacts": ["*"]},
}


@pytest.mark.parametrize("name", BAD)
async def test_a_token_that_is_not_taken(realm: Realm, name: str):
    token = forge(realm, **BAD[name])  # type: ignore[arg-type]
    async with Watcher.open(realm.http) as watcher:
        await watcher.send("auth", token=token)
        error = await watcher.next("error", code="bad_token")
        assert await watcher.until_closed() == 4401
        assert token not in json.dumps(watcher.frames)
        assert [f["type"] for f in watcher.frames] == ["error"], error
    async with plain() as client:
        answer = await client.post(f"{realm.http}/ws/ticket", headers={"authorization": f"Bearer {token}"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "bad_token")


async def test_a_good_token_of_that_kind_is(realm: Realm):
    """Else the others would be refused for nothing."""
    now = time.time()
    for claims in (
        {},
        {"aud": ["other", realm.settings.jwt_audience]},
        {"contacts": [str(uuid.uuid4()) for _ in range(1_000)]},
        {"iat": now - 0.5, "nbf": now - 0.5, "exp": now + 60.5},
        {"exp": 253_402_300_799},
    ):
        async with realm.watch(forge(realm, **claims)) as watcher:
            assert watcher.of("ready")[0]["role"] == "agent"


@pytest.mark.parametrize(
    "text", ["[]", "7", "null", "nonsense", '{"type": 7}', '{"type": "nobody"}', "{}", ""]
)
async def test_what_is_no_frame_before_auth(realm: Realm, text: str):
    async with Watcher.open(realm.http) as watcher:
        await watcher.socket.send(text)
        await watcher.next("error", code="bad_frame")
        assert await watcher.until_closed() == 4401


async def test_another_frame_before_auth(realm: Realm):
    async with Watcher.open(realm.http) as watcher:
        await watcher.send("subscribe", sub="s", contacts="*")
        await watcher.next("error", code="not_authenticated")
        assert await watcher.until_closed() == 4401


async def test_nobody_says_who_they_are(realm: Realm):
    began = time.monotonic()
    async with Watcher.open(realm.http) as watcher:
        assert await watcher.until_closed() == 4408
        assert time.monotonic() - began > 4


async def test_a_token_in_the_url_counts_for_nothing(realm: Realm):
    url = f"{realm.http.replace('http', 'ws', 1)}/ws?token={realm.agent('acme')}&ticket=x"
    async with websockets.connect(url) as socket:
        await socket.send(json.dumps({"type": "ping"}))
        assert json.loads(await socket.recv())["code"] == "not_authenticated"


async def test_the_socket_closes_when_the_token_expires(realm: Realm):
    tenant = realm.tenant()
    async with realm.watch(realm.agent(tenant, seconds=6)) as watcher:
        await watcher.subscribe()
        await watcher.next("goodbye", reason="expired")
        assert await watcher.until_closed() == 4401


# -- tickets


async def test_a_ticket_is_good_once_on_any_instance(realm: Realm):
    second = await realm.stage.crew.start("realtime")
    tenant = realm.tenant()
    contact = await realm.contact(tenant)
    given = await realm.ticket(realm.of_contact(tenant, contact))
    async with Watcher.open(second.http) as watcher:
        await watcher.send("auth", ticket=given)
        assert (await watcher.next("ready"))["role"] == "contact"
        await watcher.subscribe()
        await realm.notify(tenant, contact, "hello")
        await watcher.until_title("hello")
    for process in realm.stage.crew.alive("realtime"):
        async with Watcher.open(process.http) as watcher:
            await watcher.send("auth", ticket=given)
            await watcher.next("error", code="bad_ticket")
            assert await watcher.until_closed() == 4401
    await realm.stage.crew.dismiss(second)


async def test_two_at_once_with_one_ticket(realm: Realm):
    given = await realm.ticket(realm.agent(realm.tenant()))

    async def come() -> str:
        async with Watcher.open(realm.http) as watcher:
            await watcher.send("auth", ticket=given)
            return str((await watcher.until(lambda frames: frames[:1]))[0]["type"])

    assert sorted(await asyncio.gather(*(come() for _ in range(5)))) == ["error"] * 4 + ["ready"]


async def test_a_ticket_that_is_too_old(realm: Realm):
    given = await realm.ticket(realm.agent(realm.tenant()))
    connection = await asyncpg.connect(realm.stage.dsn)
    await connection.execute("update realtime_tickets set expires_at = clock_timestamp()")
    await connection.close()
    async with Watcher.open(realm.http) as watcher:
        await watcher.send("auth", ticket=given)
        await watcher.next("error", code="bad_ticket")


async def test_a_ticket_lasts_no_longer_than_its_token(realm: Realm):
    given = await realm.ticket(realm.agent(realm.tenant(), seconds=6))
    async with Watcher.open(realm.http) as watcher:
        await watcher.send("auth", ticket=given)
        ready = await watcher.next("ready")
        assert ready["expires_at"]
        assert await watcher.until_closed() == 4401


# -- rights


async def test_contacts_that_the_token_does_not_name(realm: Realm):
    tenant = realm.tenant()
    own, other = await realm.contact(tenant), await realm.contact(tenant)
    for token in (realm.of_contact(tenant, own), realm.agent(tenant, own)):
        for asked in ([other], [own, other], [uuid.uuid4()]):
            async with realm.watch(token) as watcher:
                await watcher.send("subscribe", sub="s", contacts=[str(c) for c in asked])
                await watcher.next("error", code="forbidden", ref="s")
                assert await watcher.until_closed() == 4403
                assert not watcher.of("subscribed")


async def test_all_contacts_are_those_of_the_token(realm: Realm):
    tenant = realm.tenant()
    own, other = await realm.contact(tenant), await realm.contact(tenant)
    async with realm.watch(realm.agent(tenant, own)) as watcher:
        await watcher.subscribe()
        await realm.record(tenant, other, "not ours")
        await realm.record(tenant, own, "ours")
        await watcher.until_title("ours")
        assert watcher.titles() == ["ours"]


async def test_a_contact_of_another_tenant(realm: Realm):
    tenant, other = realm.tenant(), realm.tenant()
    contact = await realm.contact(other)
    async with (
        realm.watch(realm.agent(tenant)) as watcher,
        realm.watch(realm.of_contact(tenant, contact)) as client,
    ):
        await watcher.subscribe(contacts=[contact])
        await client.subscribe()
        own = await realm.contact(tenant)
        await watcher.subscribe("own", [own])
        await realm.notify(other, contact, "theirs")
        await realm.record(tenant, own, "ours")
        await watcher.until_title("ours")
        await client.send("query", ref="q", name="contact.timeline")
        assert (await client.next("result", ref="q"))["error"]["code"] == "contact_not_found"
        assert (watcher.titles("s"), client.titles()) == ([], [])
        assert set(watcher.titles("own")) <= {"Contact created", "ours"}  # the first, if it was not out yet


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        (None, True),
        ("https://app.example.com", True),
        ("self", True),
        ("https://evil.example.com", False),
        ("https://app.example.com.evil.example", False),
        ("http://app.example.com", False),
        ("null", False),
        ("", False),
        ("http://[x", False),
    ],
)
async def test_where_the_page_is_from(realm: Realm, origin: str | None, allowed: bool):
    given = realm.http if origin == "self" else origin
    headers = {} if given is None else {"Origin": given}
    async with Watcher.open(realm.http, additional_headers=headers) as watcher:
        if allowed:
            await watcher.send("auth", token=realm.agent(realm.tenant()))
            await watcher.next("ready")
        else:
            assert await watcher.until_closed() == 4403
            assert watcher.frames == []


# -- what clients send


GARBAGE = [
    "nonsense",
    "[1, 2]",
    '{"type": "subscribe"}',
    '{"type": "subscribe", "sub": "", "contacts": "*"}',
    '{"type": "subscribe", "sub": "s", "contacts": "?"}',
    '{"type": "subscribe", "sub": "s", "contacts": []}',
    '{"type": "subscribe", "sub": "s", "contacts": ["x"]}',
    '{"type": "ack", "ids": []}',
    '{"type": "ack", "ids": ["x"]}',
    '{"type": "read"}',
    '{"type": "query", "ref": "r", "name": "contact.erase"}',
    '{"type": "query", "ref": "r", "name": "contact.find", "data": []}',
    '{"type": "auth", "token": "x"}',
    "[" * 30_000,
    '{"a":' * 5_000 + "1" + "}" * 5_000,
    "\ud83d".encode("utf-8", "surrogatepass").decode("utf-8", "replace"),
]


async def test_garbage_is_refused_and_harms_nothing(realm: Realm):
    tenant = realm.tenant()
    contact = await realm.contact(tenant)
    async with realm.watch(realm.agent(tenant)) as watcher:
        await watcher.subscribe("kept")
        for n, text in enumerate(GARBAGE, 1):
            await watcher.socket.send(text)
            await watcher.until(lambda _: len(watcher.of("error")) == n, text[:60])  # noqa: B023
        await watcher.socket.send(b'{"type": "ping"}')
        await watcher.next("pong")
        assert {f["code"] for f in watcher.of("error")} == {"bad_frame"}
        assert all(len(f["message"]) < 300 for f in watcher.of("error"))
        await realm.record(tenant, contact, "still here")
        await watcher.until_title("still here")


async def test_a_frame_of_ten_megabytes(realm: Realm):
    async with realm.watch(realm.agent(realm.tenant())) as watcher:
        with contextlib.suppress(websockets.ConnectionClosed):
            await watcher.socket.send(json.dumps({"type": "ping", "x": "y" * 10_000_000}))
        assert await watcher.until_closed() == 1009


async def test_a_flood_of_frames(realm: Realm):
    tenant = realm.tenant()
    async with realm.watch(realm.agent(tenant)) as watcher, realm.watch(realm.agent(tenant)) as other:
        with contextlib.suppress(websockets.ConnectionClosed):
            for _ in range(20_000):
                await watcher.send("ping")
        assert await watcher.until_closed() == 4429
        assert watcher.of("error")[-1]["code"] == "limit"
        await other.send("ping")
        await other.next("pong")


async def test_too_many_subscriptions(realm: Realm):
    async with realm.watch(realm.agent(realm.tenant())) as watcher:
        for n in range(101):
            await watcher.send("subscribe", sub=f"s{n}", contacts="*")
        await watcher.next("error", code="limit", ref="s100")
        await watcher.next("subscribed", sub="s99")
