"""The realtime worker's connection for tickets."""

from __future__ import annotations

import asyncpg
import pytest

from ops.settings import Settings
from tests.faults.proxy import Proxy
from workers.realtime.doorkeeper import Doorkeeper


async def test_a_database_that_has_gone_without_a_word_keeps_nobody_waiting(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Proxy(database) as proxy:
        settings = Settings(nats_url="nats://127.0.0.1:1", postgres_dsn=proxy.url, jwt_secret="s" * 32)
        doorkeeper = Doorkeeper(settings)
        key = await doorkeeper.key()
        proxy.silence()
        monkeypatch.setattr("storage.postgres.SHORT_SECONDS", 0.2)
        with pytest.raises(asyncpg.ConnectionDoesNotExistError):
            await doorkeeper.key()
        monkeypatch.undo()
        assert await doorkeeper.key() == key
        await doorkeeper.close()
