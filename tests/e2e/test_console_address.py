"""``rollcall up`` prints an address that leads into the console."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import asyncpg
import jwt

from ops.settings import Settings
from ops.supervisor import Fleet, command
from tests.helpers.forked import CLEAN, rollcall
from tests.helpers.http import plain


async def test_the_first_who_opens_it_is_an_agent_of_the_tenant():
    process = await asyncio.create_subprocess_exec(
        *command("up", "--ephemeral", "--tenant", "globex"), stdout=asyncio.subprocess.PIPE, env=CLEAN
    )
    try:
        assert process.stdout is not None
        lines: list[str] = []
        async with asyncio.timeout(180):
            while "ready" not in lines:
                lines.append((await process.stdout.readline()).decode().rstrip("\n"))
        (address,) = (line.removeprefix("console ") for line in lines if line.startswith("console "))
        page, _, ticket = address.partition("/#ticket=")
        dsn = next(line.partition("POSTGRES_DSN=")[2] for line in lines if "POSTGRES_DSN=" in line)
        connection = await asyncpg.connect(dsn)
        until = await connection.fetchval("select expires_at from realtime_tickets")
        await connection.close()
        assert timedelta(minutes=58) < until - datetime.now(UTC) <= timedelta(hours=1)
        async with plain() as client:
            assert "<title>Rollcall</title>" in (await client.get(page)).text
            answers = [await client.post(f"{page}/ws/token", json={"ticket": ticket}) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [200, 401]
        claims: dict[str, Any] = jwt.decode(answers[0].json()["token"], options={"verify_signature": False})
        assert (claims["tenant"], claims["role"], claims["contacts"]) == ("globex", "agent", "*")
        assert claims["exp"] - claims["iat"] == 8 * 3600
    finally:
        process.terminate()
        assert await asyncio.wait_for(process.wait(), 90) == 0


async def test_without_a_realtime_worker_there_is_none():
    settings = Settings(nats_url="nats://127.0.0.1:1", postgres_dsn="postgresql://127.0.0.1:1/x")
    stack: Any = SimpleNamespace(data_dir=None)
    assert await Fleet({"inbox": 1}, stack, settings).console("acme") is None


async def test_a_tenant_that_is_none():
    ran = await rollcall("up", "--ephemeral", "--tenant", "a.b")
    assert (ran.code, "--tenant" in ran.stderr, ran.stdout) == (64, True, "")


async def test_a_token_for_nobody():
    for options, named in ((("--sub", ""), "--sub"), (("--tenant", "a.b"), "--tenant")):
        ran = await rollcall(
            "token", "--tenant", "acme", *options, environment={**CLEAN, "ROLLCALL_JWT_SECRET": "s" * 32}
        )
        assert (ran.code, named in ran.stderr, len(ran.stderr.splitlines())) == (64, True, 1), ran
