"""A ticket for a token: once, on any instance, and with the same claims."""

from __future__ import annotations

import asyncio
import time
import uuid
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import jwt
import pytest

from tests.eventually import eventually
from tests.helpers.http import plain
from tests.helpers.realm import SECRET, Realm
from tests.helpers.watcher import Watcher


async def exchange(http: str, body: Any) -> httpx.Response:
    async with plain() as client:
        return await client.post(
            f"{http}/ws/token", **({"content": body} if isinstance(body, bytes) else {"json": body})
        )


def claims(realm: Realm, token: str) -> dict[str, Any]:
    found: dict[str, Any] = jwt.decode(token, SECRET, ["HS256"], audience=realm.settings.jwt_audience)
    return found


async def test_the_token_says_what_the_other_one_said(realm: Realm):
    tenant, contact = realm.tenant(), uuid.uuid4()
    for token in (
        realm.agent(tenant),
        realm.agent(tenant, contact, uuid.uuid4(), sub="user:7", seconds=77),
        realm.of_contact(tenant, contact),
    ):
        answer = await exchange(realm.http, {"ticket": await realm.ticket(token)})
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "no-store"
        assert answer.json().keys() == {"token", "expires_in"}
        assert claims(realm, answer.json()["token"]) == claims(realm, token)
        left = claims(realm, token)["exp"] - claims(realm, token)["iat"]
        assert claims(realm, token)["exp"] - time.time() - 1 < answer.json()["expires_in"] <= left
        async with realm.watch(answer.json()["token"]) as watcher:
            assert watcher.of("ready")


async def test_a_ticket_is_exchanged_once_on_any_instance(realm: Realm):
    second = await realm.stage.crew.start("realtime")
    given = await realm.ticket(realm.agent(realm.tenant()))
    workers = [process.http for process in realm.stage.crew.alive("realtime")]
    answers = await asyncio.gather(*(exchange(http, {"ticket": given}) for http in workers * 3))
    assert sorted(answer.status_code for answer in answers) == [200] + [401] * (3 * len(workers) - 1)
    refused = next(answer for answer in answers if answer.status_code == 401)
    assert refused.json()["error"]["code"] == "bad_ticket"
    assert given not in refused.text
    async with Watcher.open(realm.http) as watcher:
        await watcher.send("auth", ticket=given)
        await watcher.next("error", code="bad_ticket")
    await realm.stage.crew.dismiss(second)


@pytest.mark.parametrize(
    ("body", "status", "code", "said"),
    [
        (b"", 400, "invalid", "JSON"),
        (b"nonsense", 400, "invalid", "JSON"),
        ([], 400, "invalid", "object"),
        ({}, 400, "invalid", "ticket: is required"),
        ({"ticket": 7}, 400, "invalid", "ticket: "),
        ({"ticket": ""}, 400, "invalid", "ticket: "),
        ({"ticket": "x" * 201}, 400, "invalid", "ticket: "),
        ({"ticket": "x" * 2000}, 413, "too_large", "1024 bytes"),
        ({"ticket": "never given"}, 401, "bad_ticket", "is none"),
    ],
)
async def test_what_is_no_ticket(realm: Realm, body: Any, status: int, code: str, said: str):
    answer = await exchange(realm.http, body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert said in answer.json()["error"]["message"]


async def test_a_ticket_whose_token_has_expired(realm: Realm):
    given = await realm.ticket(realm.agent(realm.tenant(), seconds=60))
    connection = await asyncpg.connect(realm.stage.dsn)
    await connection.execute("update realtime_tickets set claims = claims || '{\"exp\": 1}'")
    await connection.close()
    answer = await exchange(realm.http, {"ticket": given})
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "bad_token")


async def test_where_nobody_can_sign_the_ticket_stays_good_and_tokens_of_their_issuer_are_taken(
    realm: Realm, tmp_path: Path
):
    here = realm.http
    worker = await realm.without_secret(tmp_path)
    given = await realm.ticket(realm.agent(realm.tenant()), here)
    answer = await exchange(worker.http, {"ticket": given})
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "no_signing_key")
    assert (await exchange(here, {"ticket": given})).status_code == 200
    ours = realm.agent(realm.tenant())
    theirs = jwt.encode(claims(realm, ours), realm.issuer, "RS256")
    async with Watcher.open(worker.http, theirs) as watcher, Watcher.open(worker.http) as stranger:
        await stranger.send("auth", token=ours)
        await stranger.next("error", code="bad_token")
        assert await realm.stage.crew.dismiss(worker) == [0]
        assert await watcher.until_closed() == 1012
        goodbye = watcher.frames[-1]
        assert (goodbye["type"], goodbye["reason"]) == ("goodbye", "draining")
        assert 0 <= goodbye["reconnect_after_ms"] < 3_000


async def test_nothing_of_it_is_logged(realm: Realm):
    given = await realm.ticket(realm.agent(realm.tenant()))
    token = (await exchange(realm.http, {"ticket": given})).json()["token"]
    await eventually(lambda: realm.worker.log.stat().st_size > 0, what="the worker logs")
    written = realm.worker.log.read_text()
    assert given not in written
    assert token not in written
