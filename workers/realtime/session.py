"""One client's WebSocket, from its first frame to its last."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import orjson
from starlette.websockets import WebSocket, WebSocketDisconnect

from contracts.realtime.requests import (
    Ack,
    Ask,
    Auth,
    ClientFrame,
    Ping,
    Read,
    Subscribe,
    Unsubscribe,
)
from contracts.realtime.token import Claims
from contracts.vocabulary import FrameError, GoodbyeReason, ResyncReason
from ops import metrics
from ops.logging import get_logger
from ops.settings import Settings
from workers.faults import TRANSIENT
from workers.realtime.allowance import FRAMES_A_SECOND, MARKS_A_FRAME, Allowance
from workers.realtime.asking import Forbidden, Unavailable
from workers.realtime.catch_up import CatchUp
from workers.realtime.doorkeeper import BadTicket, Doorkeeper, TooMany
from workers.realtime.hub import Hub
from workers.realtime.marks import Kind, Marks, TooManyMarks
from workers.realtime.outgoing import Outgoing
from workers.realtime.positions import BadCursor, Cursors, Foreign, Opening, Position
from workers.realtime.received import BadFrame, parse
from workers.realtime.rights import Rights
from workers.realtime.subscription import Subscription
from workers.realtime.tokens import BadToken

AUTH_SECONDS: Final = 5.0
BEGIN_SECONDS: Final = 5.0  # that a client waits while the stream is not known, before it is sent elsewhere
MOST_SUBSCRIPTIONS: Final = 100  # of one socket
ASKED_AT_ONCE: Final = 8  # queries of one socket under way
MOST_ASKED: Final = 64  # with those that wait for their turn
LAST_WORDS: Final = 1.0  # seconds for what waits before the socket closes
SPREAD_MS: Final = 3_000  # over which clients that were sent away come back

UNAUTHENTICATED, REFUSED, SILENT, LIMITED, ELSEWHERE = 4401, 4403, 4408, 4429, 1012

log = get_logger("workers.realtime.session")

Ask_ = Callable[[Rights, str, dict[str, Any]], Awaitable[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class House:
    """What the sessions of an instance share."""

    settings: Settings
    hub: Hub
    cursors: Cursors
    doorkeeper: Doorkeeper
    marks: Marks
    catch_up: CatchUp
    ask: Ask_


class Ended(Exception):
    """The session is over: goodbye, where there is a reason to say, and the socket closes with this code."""

    def __init__(self, code: int, reason: GoodbyeReason | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.reason = reason


class Session:
    def __init__(self, house: House, socket: WebSocket) -> None:
        self.id = uuid.uuid4().hex
        self._house = house
        self._socket = socket
        self._outgoing = Outgoing(self._send, house.settings.realtime_buffer, self._let_go)
        self._subscriptions: dict[str, Subscription] = {}
        self._catching_up: dict[str, asyncio.Task[None]] = {}
        self._asked: set[asyncio.Task[None]] = set()
        self._asking = asyncio.Semaphore(ASKED_AT_ONCE)
        self._rights: Rights | None = None
        self._allowance = Allowance()
        self._ending: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()

    async def run(self) -> None:
        """From an accepted socket to a closed one."""
        end: Ended | None = None
        living = asyncio.create_task(self._live())
        first: tuple[asyncio.Future[Any], ...] = (living, self._ending)
        try:
            await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
            if living.done():
                living.result()
            raise self._ending.result()
        except Ended as ended:
            end = ended
        except (WebSocketDisconnect, OSError):
            pass
        except Exception as error:
            log.exception("failed", operation="session", session=self.id, error=type(error).__name__)
            end = Ended(ELSEWHERE, GoodbyeReason.UNAVAILABLE)
        finally:
            living.cancel()
            await asyncio.wait({living})
            await self._leave(end)

    def end(self, ended: Ended) -> None:
        """Say goodbye, and close; at whatever point the session is."""
        if not self._ending.done():
            self._ending.set_result(ended)

    def drain(self) -> None:
        """The instance ends: its clients come back one after the other, elsewhere."""
        self.end(Ended(ELSEWHERE, GoodbyeReason.DRAINING))

    def _let_go(self) -> None:
        """It asks and never reads."""
        self._complain(FrameError.LIMIT, "too many answers wait to be read")
        self.end(Ended(LIMITED, GoodbyeReason.SLOW))

    # -- coming and going

    async def _live(self) -> None:
        """From the first frame until the client goes. Raises Ended, WebSocketDisconnect."""
        claims = await self._authenticate()
        try:
            with self._house.doorkeeper.admitted(claims):
                await self._serve(claims)
        except TooMany as refusal:
            self._complain(FrameError.LIMIT, str(refusal))
            raise Ended(LIMITED, GoodbyeReason.LIMIT) from None

    async def _authenticate(self) -> Claims:
        """Raises Ended."""
        try:
            async with asyncio.timeout(AUTH_SECONDS):
                frame = await self._receive()
        except TimeoutError:
            raise Ended(SILENT) from None
        if not isinstance(frame, Auth):
            if frame is not None:
                self._complain(FrameError.NOT_AUTHENTICATED, "the first frame must be auth")
            raise Ended(UNAUTHENTICATED)
        try:
            if frame.token is not None:
                return self._house.doorkeeper.verify(frame.token)
            assert frame.ticket is not None
            return await self._house.doorkeeper.redeem(frame.ticket)
        except BadToken as error:
            self._complain(FrameError.BAD_TOKEN, str(error))
        except BadTicket as error:
            self._complain(FrameError.BAD_TICKET, str(error))
        except TRANSIENT:
            self._complain(FrameError.UNAVAILABLE, "tickets cannot be looked up; try again")
            raise Ended(ELSEWHERE, GoodbyeReason.UNAVAILABLE) from None
        raise Ended(UNAUTHENTICATED)

    async def _serve(self, claims: Claims) -> None:
        """Raises Ended, WebSocketDisconnect."""
        rights = self._rights = Rights.of(claims)
        expiry = asyncio.get_running_loop().call_later(
            max(0.0, rights.expires_at.timestamp() - time.time()),
            self.end,
            Ended(UNAUTHENTICATED, GoodbyeReason.EXPIRED),
        )
        metrics.REALTIME_SOCKETS.labels(rights.role).inc()
        try:
            await self._begin()
            self._put(
                type="ready",
                session=self.id,
                role=rights.role,
                expires_at=rights.expires_at,
                heartbeat_s=self._house.settings.realtime_heartbeat_s,
            )
            await self._listen(rights)
        finally:
            expiry.cancel()
            metrics.REALTIME_SOCKETS.labels(rights.role).dec()

    async def _begin(self) -> None:
        """Wait until it is known what happens now. Raises Ended: nobody is kept waiting for a stream that does not come."""
        try:
            async with asyncio.timeout(BEGIN_SECONDS):
                await self._house.hub.started.wait()
        except TimeoutError:
            self._complain(FrameError.UNAVAILABLE, "no events come to this instance yet; try again")
            raise Ended(ELSEWHERE, GoodbyeReason.UNAVAILABLE) from None

    async def _leave(self, end: Ended | None) -> None:
        for subscription in self._subscriptions.values():
            self._house.hub.unwatch(subscription)
            subscription.end()
        for task in (*self._catching_up.values(), *self._asked):
            task.cancel()
        if end is not None:
            if end.reason is not None:
                self._goodbye(end.reason)
            metrics.REALTIME_CLOSES.labels(str(end.code)).inc()
            await self._outgoing.flush(LAST_WORDS)
            with contextlib.suppress(OSError, RuntimeError, WebSocketDisconnect, TimeoutError):
                async with asyncio.timeout(LAST_WORDS):
                    await self._socket.close(end.code)
        self._outgoing.close()
        about = {"tenant": self._rights.tenant, "role": self._rights.role} if self._rights else {}
        code = end and end.code
        log.debug("socket closed", operation="session", session=self.id, code=code, **about)

    # -- what comes

    async def _listen(self, rights: Rights) -> None:
        """Raises Ended, WebSocketDisconnect."""
        while True:
            frame = await self._receive()
            if not self._allowance.take(frame):
                self._complain(
                    FrameError.LIMIT,
                    f"at most {FRAMES_A_SECOND:.0f} frames a second; {MARKS_A_FRAME} of ack and read count for one",
                )
                raise Ended(LIMITED, GoodbyeReason.LIMIT)
            if frame is not None:
                await self._handle(rights, frame)

    async def _receive(self) -> ClientFrame | None:
        """The next frame; None for one that is refused, of which the client is told."""
        message = await self._socket.receive()
        if message["type"] != "websocket.receive":
            raise WebSocketDisconnect(message.get("code", 1005))
        text = message.get("text")
        try:
            return parse(text if text is not None else message.get("bytes") or b"")
        except BadFrame as refusal:
            self._complain(refusal.code, refusal.message, refusal.ref)
            return None

    async def _handle(self, rights: Rights, frame: ClientFrame) -> None:
        match frame:
            case Subscribe():
                self._subscribe(rights, frame)
            case Unsubscribe():
                self._unsubscribe(frame.sub)
            case Ack() | Read():
                await self._mark(rights, frame)
            case Ask():
                self._ask(rights, frame)
            case Ping():
                self._put(type="pong")
            case _:
                self._complain(FrameError.BAD_FRAME, "auth: this session knows who you are already")

    def _subscribe(self, rights: Rights, frame: Subscribe) -> None:
        """Raises Ended."""
        house = self._house
        try:
            contacts = rights.watched(frame.contacts)
        except PermissionError as error:
            self._complain(FrameError.FORBIDDEN, str(error), frame.sub)
            raise Ended(REFUSED) from None
        if len(self._subscriptions.keys() | {frame.sub}) > MOST_SUBSCRIPTIONS:
            self._complain(
                FrameError.LIMIT, f"at most {MOST_SUBSCRIPTIONS} subscriptions a socket", frame.sub
            )
            return
        self._drop(frame.sub)
        start: Position | None = None
        problem: ResyncReason | None = None
        if frame.cursor is not None:
            try:
                start = house.cursors.unseal(rights.tenant, frame.cursor)
            except BadCursor:
                self._complain(FrameError.BAD_CURSOR, "cursor: not one of ours", frame.sub)
                return
            except Foreign:
                problem = ResyncReason.FOREIGN
            else:
                if start.opening is not None and start.opening.contact_id != rights.own_contact:
                    problem = ResyncReason.FOREIGN
        subscription = Subscription(
            frame.sub, rights.tenant, rights.role, contacts, self._outgoing, house.marks.expired
        )
        self._subscriptions[frame.sub] = subscription
        house.hub.watch(subscription)
        if problem is not None:
            self._begin_anew(subscription, problem)
        elif start is not None:
            self._catch_up(subscription, self._go_on(subscription, start))
        elif rights.own_contact is None:
            self._say_begun(subscription, house.hub.position)
            subscription.go_live(house.hub.sequence)
        else:
            opening = Opening(rights.own_contact, 0, datetime.now(UTC))
            begins = house.hub.position._replace(opening=opening)
            self._say_begun(subscription, begins)
            self._catch_up(subscription, house.catch_up.run(subscription, begins))

    async def _go_on(self, subscription: Subscription, start: Position) -> None:
        """From the client's cursor on. One that is of no use any more is not given back: it would be of none next time."""
        lost = await self._house.catch_up.lost(start)
        if self._subscriptions.get(subscription.name) is not subscription:
            return
        if lost is not None:
            self._begin_anew(subscription, lost)
        else:
            self._say_begun(subscription, start)
            await self._house.catch_up.run(subscription, start)

    def _begin_anew(self, subscription: Subscription, reason: ResyncReason) -> None:
        self._say_begun(subscription, self._house.hub.position)
        subscription.reset(reason)

    def _say_begun(self, subscription: Subscription, begins: Position) -> None:
        cursor = self._house.cursors.seal(subscription.tenant, begins)
        self._put(type="subscribed", sub=subscription.name, cursor=cursor)

    def _catch_up(self, subscription: Subscription, catching_up: Awaitable[None]) -> None:
        task = asyncio.create_task(self._until_live(subscription.name, catching_up))
        self._catching_up[subscription.name] = task

    async def _until_live(self, sub: str, catching_up: Awaitable[None]) -> None:
        try:
            await catching_up
        except OSError:
            pass  # the client has gone, which the socket will say
        except Exception as error:
            log.exception(
                "catching up failed", operation="session", session=self.id, error=type(error).__name__
            )
            self.end(Ended(ELSEWHERE, GoodbyeReason.UNAVAILABLE))
        finally:
            if self._catching_up.get(sub) is asyncio.current_task():
                del self._catching_up[sub]

    def _unsubscribe(self, sub: str) -> None:
        if not self._drop(sub):
            self._complain(FrameError.UNKNOWN_SUBSCRIPTION, "sub: there is no such subscription", sub)

    def _drop(self, sub: str) -> bool:
        subscription = self._subscriptions.pop(sub, None)
        if subscription is None:
            return False
        if task := self._catching_up.pop(sub, None):
            task.cancel()
        self._house.hub.unwatch(subscription)
        subscription.end()
        self._outgoing.drop(sub)
        return True

    async def _mark(self, rights: Rights, frame: Ack | Read) -> None:
        kind: Kind = "mark_delivered" if isinstance(frame, Ack) else "mark_read"
        try:
            await self._house.marks.add(kind, rights, frame.ids)
        except TRANSIENT:
            self._complain(
                FrameError.UNAVAILABLE, f"{frame.type}: the database is out of reach; send it again"
            )
        except TooManyMarks:
            self._complain(
                FrameError.UNAVAILABLE, f"{frame.type}: too many marks wait for the bus; send it again later"
            )

    def _ask(self, rights: Rights, frame: Ask) -> None:
        if len(self._asked) >= MOST_ASKED:
            self._complain(FrameError.LIMIT, f"at most {MOST_ASKED} queries wait for an answer", frame.ref)
            return
        task = asyncio.create_task(self._answer(rights, frame))
        self._asked.add(task)
        task.add_done_callback(self._asked.discard)

    async def _answer(self, rights: Rights, frame: Ask) -> None:
        """Once there is room, so that a client that does not read has nobody work for it."""
        try:
            async with self._asking:
                await self._outgoing.room()
                answer = await self._house.ask(rights, frame.name, frame.data)
                await self._outgoing.room()
        except Forbidden as refusal:
            self._complain(FrameError.FORBIDDEN, str(refusal), frame.ref)
        except Unavailable as error:
            self._complain(FrameError.UNAVAILABLE, str(error), frame.ref)
        except OSError:
            pass  # the client has gone, which the socket will say
        else:
            self._put(**{"type": "result", "ref": frame.ref, **answer})

    # -- what goes

    def _complain(self, code: FrameError, message: str, ref: str | None = None) -> None:
        about: Mapping[str, str] = {} if ref is None else {"ref": ref}
        self._put(type="error", code=code, message=message, **about)

    def _goodbye(self, reason: GoodbyeReason) -> None:
        after_ms = 0 if reason is GoodbyeReason.EXPIRED else random.randrange(SPREAD_MS)
        self._put(type="goodbye", reason=reason, reconnect_after_ms=after_ms)

    def _put(self, **fields: Any) -> None:
        metrics.REALTIME_FRAMES.labels(fields["type"]).inc()
        self._outgoing.put(orjson.dumps(fields, option=orjson.OPT_UTC_Z).decode())

    async def _send(self, text: str) -> None:
        """Raises OSError once the client has gone."""
        try:
            await self._socket.send_text(text)
        except (WebSocketDisconnect, RuntimeError) as error:
            raise ConnectionResetError("the client has gone") from error
