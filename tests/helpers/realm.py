"""A fleet with a realtime worker, and what a test of it needs: tokens, contacts, events."""

from __future__ import annotations

import asyncio
import functools
import itertools
import secrets
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from contracts.client import Client
from contracts.vocabulary import Role
from ops.settings import TokenSettings
from tests.faults.crew import Process
from tests.faults.stage import Stage
from tests.helpers.http import plain
from tests.helpers.watcher import Watcher
from workers.realtime.tokens import issue

SECRET = "of the tests, and long enough for the longest hash that a token may be signed with"
WORKERS = ("contacts", "relay", "queries", "realtime")


class Patient(Client):
    """However long an answer takes."""

    send = functools.partialmethod(Client.send, timeout=60)
    query = functools.partialmethod(Client.query, timeout=60)


class Realm:
    """``settings`` are those of the workers' tokens."""

    def __init__(self, stage: Stage, client: Client) -> None:
        self.stage = stage
        self.client = client
        self.settings = TokenSettings(jwt_secret=SECRET)
        self.issuer: rsa.RSAPrivateKey | None = None
        self._numbers = itertools.count(1)

    @classmethod
    @asynccontextmanager
    async def open(cls, *workers: str, **environment: str) -> AsyncIterator[Realm]:
        async with Stage.open(ROLLCALL_JWT_SECRET=SECRET, **environment) as stage:
            started = [await stage.crew.start(name, wait=False) for name in workers or WORKERS]
            await asyncio.gather(*(process.until_ready() for process in started))
            async with Patient(stage.stack.nats_url, source="tests") as client:
                yield cls(stage, client)

    @property
    def worker(self) -> Process:
        """The realtime worker that runs."""
        return self.stage.crew.alive("realtime")[-1]

    @property
    def http(self) -> str:
        return self.worker.http

    async def without_secret(self, directory: Path) -> Process:
        """A second realtime worker, which checks tokens by a public key (that of ``issuer``) and can sign none."""
        self.issuer = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pem = self.issuer.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        (directory / "key.pem").write_bytes(pem)
        return await self.stage.crew.start(
            "realtime",
            ROLLCALL_JWT_ALGORITHM="RS256",
            ROLLCALL_JWT_PUBLIC_KEY_FILE=str(directory / "key.pem"),
        )

    def tenant(self) -> str:
        return f"t{next(self._numbers)}-{secrets.token_hex(3)}"

    def agent(self, tenant: str, *contacts: uuid.UUID, **more: Any) -> str:
        return issue(
            self.settings,
            tenant=tenant,
            role=Role.AGENT,
            contacts=contacts or "*",
            **{"seconds": 600, "sub": "user:42", **more},
        )

    def of_contact(self, tenant: str, contact: uuid.UUID, **more: Any) -> str:
        return issue(
            self.settings,
            tenant=tenant,
            role=Role.CONTACT,
            contact_id=contact,
            **{"seconds": 600, "sub": f"contact:{contact}", **more},
        )

    async def ticket(self, token: str, http: str | None = None) -> str:
        """What a token is exchanged for, by the worker that runs unless another is named."""
        async with plain() as client:
            answer = await client.post(
                f"{http or self.http}/ws/ticket", headers={"authorization": f"Bearer {token}"}
            )
        assert answer.json().keys() == {"ticket", "expires_in"}
        assert answer.json()["expires_in"] == 30
        return str(answer.json()["ticket"])

    def watch(self, token: str, **options: Any) -> Any:
        """A ``Watcher`` of the worker that runs, as a context manager."""
        return Watcher.open(self.http, token, **options)

    async def contact(self, tenant: str, **fields: Any) -> uuid.UUID:
        result = await self.client.send(
            "contact.create", tenant, {"external_id": secrets.token_hex(8), **fields}, timeout=20
        )
        assert result.status == "applied", result
        assert result.contact_id is not None
        return result.contact_id

    async def record(self, tenant: str, contact: uuid.UUID, title: str, **fields: Any) -> uuid.UUID:
        """Write a timeline event; its id."""
        data = {
            "contact": {"id": str(contact)},
            "type": "note_added",
            "category": "note",
            "title": title,
            **fields,
        }
        result = await self.client.send("timeline.record", tenant, data, timeout=20)
        assert result.status == "applied", result
        assert result.details is not None
        return uuid.UUID(result.details["timeline_event_id"])

    async def notify(self, tenant: str, contact: uuid.UUID, title: str, **fields: Any) -> uuid.UUID:
        """An event for the contact's client."""
        return await self.record(
            tenant, contact, title, **{"realtime": True, "visible_to_client": True, **fields}
        )

    async def timeline(self, tenant: str, contact: uuid.UUID, **asked: Any) -> list[dict[str, Any]]:
        """All of it, as contact.timeline shows it, oldest first."""
        data = {"contact": {"id": str(contact)}, "limit": 200, **asked}
        found: list[dict[str, Any]] = []
        while True:
            answer = await self.client.query("contact.timeline", tenant, data, timeout=20)
            assert answer.success, answer
            assert answer.meta is not None
            found += answer.data
            if answer.meta["next_cursor"] is None:
                return found[::-1]
            data["cursor"] = answer.meta["next_cursor"]
