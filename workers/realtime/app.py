"""The HTTP side of the realtime worker: the socket, tickets and tokens for it, downloads, and the console."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final
from urllib.parse import urlsplit

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from contracts.commands.base import validation_errors
from contracts.realtime.token import Claims, Exchange
from contracts.vocabulary import FrameError
from workers.exports.export import MEDIA_TYPES
from workers.faults import TRANSIENT
from workers.realtime import pages
from workers.realtime.doorkeeper import TICKET_SECONDS, BadTicket
from workers.realtime.downloads import Downloads, refused
from workers.realtime.rights import Rights
from workers.realtime.session import REFUSED, House, Session
from workers.realtime.tokens import BadToken, NoSigningKey

BEARER: Final = "bearer "
MOST_BODY: Final = 1_024  # bytes of a request to exchange a ticket


class Unauthorised(Exception):
    """A request without a valid token; the message says why."""


class Front:
    """The sessions of this instance, each with the task that it lives in."""

    def __init__(self, house: House, downloads: Downloads) -> None:
        self._house = house
        self._downloads = downloads
        self._origins = frozenset(o.strip() for o in house.settings.realtime_origins.split(",") if o.strip())
        self._sessions: dict[Session, asyncio.Task[Any]] = {}
        self._draining = False

    def application(self) -> Starlette:
        routes = [
            WebSocketRoute("/ws", self._socket),
            Route("/ws/ticket", self._ticket, methods=["POST"]),
            Route("/ws/token", self._token, methods=["POST"]),
            Route("/contacts/{contact_id:uuid}/timeline.{format:str}", self._download, methods=["GET"]),
            *pages.routes(),
        ]
        return Starlette(routes=routes, exception_handlers={Unauthorised: _unauthorised})

    async def drain(self, seconds: float) -> int:
        """Let nobody in, and everybody go. Answers how many have not gone within so many seconds."""
        self._draining = True
        for session in self._sessions:
            session.drain()
        if self._sessions:
            await asyncio.wait(self._sessions.values(), timeout=seconds)
        return len(self._sessions)

    async def _socket(self, socket: WebSocket) -> None:
        await socket.accept()
        if not self._is_allowed(socket):
            await socket.close(REFUSED, "this page's origin is not allowed")
            return
        session = Session(self._house, socket)
        if self._draining:
            session.drain()
        task = asyncio.current_task()
        assert task is not None
        self._sessions[session] = task
        try:
            await session.run()
        finally:
            del self._sessions[session]

    def _is_allowed(self, socket: WebSocket) -> bool:
        """A browser says where the page is from; other programs do not, and hold a token all the same."""
        origin = socket.headers.get("origin")
        if origin is None or origin in self._origins:
            return True
        try:
            return urlsplit(origin).netloc == socket.headers.get("host")
        except ValueError:  # no address at all
            return False

    async def _ticket(self, request: Request) -> Response:
        claims = self._bearer(request)
        try:
            ticket = await self._house.doorkeeper.ticket(claims)
        except TRANSIENT:
            return refused(503, "unavailable", "the database is out of reach; try again")
        return JSONResponse(
            {"ticket": ticket, "expires_in": TICKET_SECONDS}, headers={"cache-control": "no-store"}
        )

    async def _token(self, request: Request) -> Response:
        """A token for a ticket, so that a page that was opened with one can come back."""
        body = b""
        async for piece in request.stream():
            body += piece
            if len(body) > MOST_BODY:
                return refused(413, "too_large", f"at most {MOST_BODY} bytes")
        try:
            ticket = Exchange.model_validate_json(body).ticket
        except ValidationError as error:
            first = validation_errors(error, whole="the body")[0]
            return refused(400, "invalid", f"{first['field']}: {first['message']}")
        try:
            token, claims = await self._house.doorkeeper.exchange(ticket)
        except NoSigningKey:
            return refused(
                409,
                "no_signing_key",
                "tokens are signed elsewhere; use the ticket for a socket, or give a token",
            )
        except BadTicket as error:
            return refused(401, FrameError.BAD_TICKET, str(error))
        except BadToken as error:
            return refused(401, FrameError.BAD_TOKEN, str(error))
        except TRANSIENT:
            return refused(503, "unavailable", "the database is out of reach; try again")
        return JSONResponse(
            {"token": token, "expires_in": int(claims.exp - time.time())},
            headers={"cache-control": "no-store"},
        )

    async def _download(self, request: Request) -> Response:
        rights = Rights.of(self._bearer(request))
        wanted = request.path_params["format"]
        if wanted not in MEDIA_TYPES:
            return refused(404, "unknown_format", f"a timeline comes as {' or '.join(MEDIA_TYPES)}")
        return await self._downloads.answer(rights, request.path_params["contact_id"], wanted)

    def _bearer(self, request: Request) -> Claims:
        """Who asks. Raises Unauthorised."""
        given = request.headers.get("authorization", "")
        if not given.lower().startswith(BEARER):
            raise Unauthorised("give a token: Authorization: Bearer …")
        try:
            return self._house.doorkeeper.verify(given[len(BEARER) :].strip())
        except BadToken as error:
            raise Unauthorised(str(error)) from None


async def _unauthorised(_request: Request, error: Exception) -> Response:
    body = {"error": {"code": "bad_token", "message": str(error)}}
    return JSONResponse(body, 401, headers={"www-authenticate": "Bearer"})
