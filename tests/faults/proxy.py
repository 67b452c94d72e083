"""A TCP proxy that cuts: every connection at once, one in the middle of its stream, or one at COMMIT.

It runs on a thread with an event loop of its own, so that a busy test does not slow what passes through it.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
from typing import Literal, Self
from urllib.parse import urlsplit, urlunsplit

COMMIT = re.compile(rb"\s*(commit|end)\b", re.IGNORECASE)


class Proxy:
    """Forwards to the host and port of ``target`` (a URL); ``url`` is the same URL through the proxy."""

    def __init__(self, target: str) -> None:
        self._target = urlsplit(target)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._server: asyncio.Server | None = None
        self._links: set[Link] = set()
        self.commit_cut: Literal["answer", "request"] | None = None
        self.commit_of = b""
        self.reached = threading.Event()  # the COMMIT in question is here, and waits for ``proceed``
        self._proceed = threading.Event()
        self._admit = threading.Event()  # whether new connections pass
        self._admit.set()
        self.bytes_cut: int | None = None
        self.cut = threading.Event()  # set once what was armed has happened
        self.port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        self._run(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    @property
    def url(self) -> str:
        user = f"{self._target.username}@" if self._target.username else ""
        return urlunsplit(self._target._replace(netloc=f"{user}127.0.0.1:{self.port}"))

    def cut_all(self) -> int:
        """Reset every connection; how many there were."""
        return self._run(self._cut_all())

    def silence(self) -> None:
        """Swallow from now on whatever goes over the present connections, and leave them open."""
        for link in list(self._links):
            link.silent = True

    def arm_commit(self, what: Literal["answer", "request"], of: bytes) -> None:
        """Stop at the next COMMIT (PostgreSQL's protocol) of a transaction whose statements hold ``of``; see ``proceed``."""
        self.cut.clear()
        self.reached.clear()
        self._proceed.clear()
        self.commit_of = of
        self.commit_cut = what

    def proceed(self) -> None:
        """Go on from ``reached``: "answer" forwards the COMMIT and cuts what the server answers, "request" cuts before
        the server sees it. Then ``cut`` is set, and new connections wait for ``release``."""
        self._admit.clear()
        self._proceed.set()

    def refuse(self) -> None:
        """New connections wait for ``release``."""
        self._admit.clear()

    def release(self) -> None:
        self._admit.set()

    async def at_commit(self) -> None:
        self.reached.set()
        while not self._proceed.is_set():  # noqa: ASYNC110 - set by another thread
            await asyncio.sleep(0.001)

    def arm_bytes(self, count: int) -> None:
        """Cut the connection that has been answered ``count`` bytes from now on, in the middle of whatever it reads."""
        self.cut.clear()
        self.bytes_cut = count

    def _run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        await self._cut_all()

    async def _cut_all(self) -> int:
        links = list(self._links)
        for link in links:
            link.abort()
        return len(links)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not self._admit.is_set():  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        try:
            upstream = await asyncio.open_connection(self._target.hostname, self._target.port)
        except OSError:
            writer.transport.abort()
            return
        link = Link(self, (reader, writer), upstream)
        self._links.add(link)
        try:
            await asyncio.gather(link.requests(), link.answers())
        finally:
            link.abort()
            self._links.discard(link)


class Link:
    """One connection through the proxy."""

    def __init__(self, proxy: Proxy, client: tuple, server: tuple) -> None:
        self._proxy = proxy
        self._client_reader, self._client_writer = client
        self._server_reader, self._server_writer = server
        self._frames = Frames()
        self.silent = False
        self._swallow = False  # the answer to the COMMIT that is on its way

    def abort(self) -> None:
        for writer in (self._client_writer, self._server_writer):
            if not writer.is_closing():
                writer.transport.abort()

    async def requests(self) -> None:
        with contextlib.suppress(OSError):
            while data := await self._client_reader.read(65536):
                if self.silent:
                    continue
                if self._frames.feed(data, self._proxy.commit_of) and self._proxy.commit_cut is not None:
                    what, self._proxy.commit_cut = self._proxy.commit_cut, None
                    await self._proxy.at_commit()
                    if what == "request":
                        self.abort()
                        self._proxy.cut.set()
                        break
                    self._swallow = True
                self._server_writer.write(data)
                await self._server_writer.drain()
        self.abort()

    async def answers(self) -> None:
        with contextlib.suppress(OSError):
            while data := await self._server_reader.read(65536):
                if self.silent:
                    continue
                if self._swallow:
                    self.abort()
                    self._proxy.cut.set()
                    return
                budget = self._proxy.bytes_cut
                if budget is not None and len(data) > 1:
                    if len(data) > budget:
                        self._proxy.bytes_cut = None
                        self._client_writer.write(data[: max(budget, 1)])
                        await self._client_writer.drain()
                        self.abort()
                        self._proxy.cut.set()
                        return
                    self._proxy.bytes_cut = budget - len(data)
                self._client_writer.write(data)
                await self._client_writer.drain()
        self.abort()


class Frames:
    """PostgreSQL's frontend messages, as far as a COMMIT needs: a simple Query, or a Parse, and a Bind of what was parsed."""

    def __init__(self) -> None:
        self._buffer = b""
        self._started = False
        self._prepared: dict[bytes, bytes] = {}  # statements by their names
        self._marked = False  # whether the transaction has had the statement that is looked for

    def feed(self, data: bytes, of: bytes = b"") -> int:
        """How many COMMITs of marked transactions are in what is now complete."""
        self._buffer += data
        commits = 0
        while True:
            head = 5 if self._started else 4  # the start-up message has no type
            if len(self._buffer) < head:
                return commits
            length = int.from_bytes(self._buffer[head - 4 : head], "big") + head - 4
            if len(self._buffer) < length:
                return commits
            frame, self._buffer = self._buffer[:length], self._buffer[length:]
            if self._started:
                commits += self._statement(frame, of)
            elif (
                int.from_bytes(frame[4:8], "big") >> 16 == 3
            ):  # protocol 3; else a request for TLS or the like
                self._started = True

    def _statement(self, frame: bytes, of: bytes) -> bool:
        kind, body = frame[:1], frame[5:]
        if kind == b"P":
            name, _, body = body.partition(b"\0")
            self._prepared[name] = body
        elif kind == b"B":
            body = self._prepared.get(body.split(b"\0", 2)[1], b"")
        elif kind != b"Q":
            return False
        if kind == b"P":
            return False
        if COMMIT.match(body) is None:
            self._marked |= of in body
            return False
        marked, self._marked = self._marked or not of, False
        return marked
