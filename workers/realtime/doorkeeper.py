"""Who may come in: tokens and tickets, and how many sockets there may be."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import secrets
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

import asyncpg

from contracts.realtime.token import Claims
from ops.settings import Settings
from storage import tickets
from storage.postgres import WRITER, connect, within
from workers.realtime.tokens import Tokens, sign, signing_key

TICKET_SECONDS: Final = 30


class BadTicket(Exception):
    """A ticket that is not taken."""


class TooMany(Exception):
    """A limit on sockets; the message says which."""


class Doorkeeper:
    """Checks who comes, and counts who is in. One connection to the database, for the tickets."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._tokens = Tokens(settings)
        self._connection: asyncpg.Connection | None = None
        self._alone = asyncio.Lock()
        self._in: Counter[tuple[str, str]] = Counter()

    async def key(self) -> bytes:
        """What cursors are signed with."""
        async with self._database() as connection:
            return await tickets.key(connection)

    def verify(self, token: str) -> Claims:
        """Raises BadToken."""
        return self._tokens.verify(token)

    async def ticket(self, claims: Claims) -> str:
        """A ticket for these claims: good once, for half a minute, on any instance."""
        made = secrets.token_urlsafe(32)
        async with self._database() as connection:
            await tickets.issue(connection, made, claims.model_dump(mode="json"), TICKET_SECONDS)
        return made

    async def redeem(self, ticket: str) -> Claims:
        """Raises BadTicket, BadToken when its token has expired meanwhile, and what the database raises."""
        async with self._database() as connection:
            claims = await tickets.redeem(connection, ticket)
        if claims is None:
            raise BadTicket("the ticket was used before, is too old, or is none")
        return self._tokens.read(claims)

    async def exchange(self, ticket: str) -> tuple[str, Claims]:
        """A token that says what the ticket stands for, and what that is; the ticket is used up.

        Raises NoSigningKey, which leaves the ticket good, and what ``redeem`` raises.
        """
        signing_key(self._settings)
        claims = await self.redeem(ticket)
        return sign(self._settings, claims), claims

    @contextlib.contextmanager
    def admitted(self, claims: Claims) -> Iterator[None]:
        """Count a socket in for as long as the block. Raises TooMany."""
        most = {
            ("tenant", claims.tenant): self._settings.realtime_tenant_sockets,
            ("token", _fingerprint(claims)): self._settings.realtime_token_sockets,
        }
        for (kind, name), limit in most.items():
            if self._in[kind, name] >= limit:
                raise TooMany(f"there are {limit} sockets of this {kind} already")
        self._in.update(most.keys())
        try:
            yield
        finally:
            self._in.subtract(most.keys())
            for key in most:
                if not self._in[key]:
                    del self._in[key]

    async def close(self) -> None:
        if self._connection is not None:
            self._connection.terminate()

    @contextlib.asynccontextmanager
    async def _database(self) -> Any:
        async with self._alone:
            if self._connection is None or self._connection.is_closed():
                self._connection = await connect(
                    self._settings.postgres_dsn, WRITER, "rollcall realtime tickets"
                )
            # Or all who come would wait for a server that has gone without a word.
            with within(self._connection):
                yield self._connection


def _fingerprint(claims: Claims) -> str:
    """The same for every socket of one token, whether it was shown or exchanged for tickets."""
    return hashlib.sha256(claims.model_dump_json().encode()).hexdigest()
