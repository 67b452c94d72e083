"""The process around a worker: its HTTP answers, its signals, its end.

A worker is a ``workers.service.Service``. The host calls

- ``run()`` once, when the bus is connected, the database answers and its migrations are at head; until then the process
  is up and unready. An exception from it, or its return before ``stop()``, is a crash: one line in the log, exit code 1.
- ``stop()`` once, at SIGTERM or SIGINT. When ``run()`` has returned the process closes its connections and exits 0. When
  that takes longer than ``grace_seconds``, or at a second signal, it is cut off: exit code 1.
- ``problems()`` at every request to ``/readyz``.

FastStream's application owns the broker's lifecycle and the routes. Its ASGI lifespan is entered by the host and not by
uvicorn, which would not answer ``/healthz`` before the bus is reached, and would end itself by the signal it was sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import orjson
import prometheus_client
import uvicorn
from faststream.asgi import AsgiFastStream, AsgiResponse
from faststream.nats.broker.broker import UNRECOVERABLE_CONNECT_ERRORS
from nats.errors import Error as NatsError

from contracts.connection import servers
from contracts.realtime.requests import MOST_FRAME
from ops import logging as ops_logging
from ops.health import Health
from ops.settings import Settings, SettingsError
from workers.broker import Broker
from workers.faults import said
from workers.fleet import Worker
from workers.probes import Bus, Database
from workers.service import Runtime, Service, Serving

CRASHED = 1
POLL = 0.05  # seconds between two looks whether work can begin
BACKLOG = 2048  # connections that the kernel holds: after a restart everybody comes at once
PATIENCE = 2.0  # seconds after which the log says what it waits for

log = ops_logging.get_logger("workers.host")

Route = Callable[[Any, Any, Any], Awaitable[None]]


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the host's decide when HTTP ends, which is last."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Host:
    """One worker's process, from start to end."""

    def __init__(self, worker: Worker, settings: Settings) -> None:
        self._worker = worker
        self._settings = settings
        self._health = Health()
        self._stopping = asyncio.Event()
        self._cut_off = asyncio.Event()
        self._refused: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
        self._running = False
        # FastStream's own logger writes lines of its own format; this one reaches ours.
        library = logging.getLogger("rollcall.faststream")
        self._broker = Broker(
            servers(settings.nats_url),
            name=settings.instance,
            max_reconnect_attempts=-1,
            reconnect_time_wait=1,
            graceful_timeout=settings.grace_seconds,
            error_cb=self._bus_error,
            logger=library,
        )
        self._database = Database(settings.postgres_dsn, f"rollcall {worker.name} health")
        self._service: Service = worker.build(Runtime(worker.name, settings, self._broker))
        self._app = AsgiFastStream(self._broker, logger=library, asgi_routes=self._routes())
        self._health.check("bus", Bus(self._broker).problem)
        self._health.check("database", self._database.problem)
        self._health.watch(worker.name, self._problems)

    async def run(self) -> int:
        """Answers the exit code."""
        started = time.monotonic()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled, number)
        try:
            listener = _listen(self._settings.http_host, self._settings.http_port)
        except OSError as error:
            mend = "set ROLLCALL_HTTP_HOST and ROLLCALL_HTTP_PORT to an address that is free"
            log.error("crashed", worker=self._worker.name, error=said(error), mend=mend)
            return CRASHED
        address = listener.getsockname()
        server = _Server(
            uvicorn.Config(
                self._answer,
                interface="asgi3",
                lifespan="off",
                log_config=None,
                access_log=False,
                timeout_graceful_shutdown=1,
                **self._sockets(),
            )
        )
        serving = asyncio.create_task(server.serve([listener]), name="http")
        watchdog = asyncio.create_task(self._health.watch_loop(), name="watchdog")
        log.info("listening", worker=self._worker.name, pid=os.getpid(), host=address[0], port=address[1])
        try:
            return await self._live(serving, started)
        finally:
            watchdog.cancel()
            await self._database.close()
            server.should_exit = True
            await asyncio.gather(serving, watchdog, return_exceptions=True)

    async def _live(self, serving: asyncio.Task[None], started: float) -> int:
        working = asyncio.create_task(self._work(started), name=self._worker.name)
        stopping = asyncio.create_task(self._stopping.wait())
        first: tuple[asyncio.Future[Any], ...] = (working, stopping, serving, self._refused)
        await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if self._stopping.is_set():
            return await self._drain(working)
        if self._refused.done():
            error: BaseException = self._refused.result()
        elif working.done():
            error = working.exception() or RuntimeError("it ended without being asked to")
        else:
            error = serving.exception() or RuntimeError("the HTTP server ended")
        return await self._crashed(working, error)

    async def _work(self, started: float) -> None:
        async with self._app.start_lifespan_context():
            told: list[str] = []
            while problems := await self._health.ask():
                if problems != told and time.monotonic() - started > PATIENCE:
                    log.warning("waiting", worker=self._worker.name, problems=problems)
                    told = problems
                await asyncio.sleep(POLL)
            log.info("started", worker=self._worker.name, seconds=round(time.monotonic() - started, 3))
            self._running = True
            await self._service.run()

    async def _drain(self, working: asyncio.Task[None]) -> int:
        operation = ops_logging.Operation(log, "drain", worker=self._worker.name)
        ending = asyncio.ensure_future(
            asyncio.gather(self._stop_service(working), working, return_exceptions=True)
        )
        cut_off = asyncio.create_task(self._cut_off.wait())
        either: tuple[asyncio.Future[Any], ...] = (ending, cut_off)
        await asyncio.wait(either, timeout=self._settings.grace_seconds, return_when=asyncio.FIRST_COMPLETED)
        cut_off.cancel()
        if not ending.done():
            why = (
                "a second signal"
                if self._cut_off.is_set()
                else f"no end within {self._settings.grace_seconds:g} s"
            )
            log.error("cut off", worker=self._worker.name, reason=why)
            await _abandon(working)
            return CRASHED
        failed = [found for found in ending.result() if isinstance(found, Exception)]
        for error in failed:
            log.error("failed while draining", worker=self._worker.name, error=said(error), exc_info=error)
        operation.end()
        return CRASHED if failed else 0

    async def _stop_service(self, working: asyncio.Task[None]) -> None:
        if not self._running:
            working.cancel()
            return
        try:
            await self._service.stop()
        except BaseException:  # nothing will make run() return any more
            working.cancel()
            raise

    async def _crashed(self, working: asyncio.Task[None], error: BaseException) -> int:
        log.error("crashed", worker=self._worker.name, error=said(error), exc_info=error)
        await _abandon(working)
        return CRASHED

    async def _bus_error(self, error: Exception) -> None:
        """At these errors the client gives up reconnecting for good, and would only stay silent."""
        reason = str(error).removeprefix("nats: ").strip("'").lower()
        if (
            isinstance(error, NatsError)
            and reason in UNRECOVERABLE_CONNECT_ERRORS
            and not self._refused.done()
        ):
            self._refused.set_result(error)

    def _signalled(self, number: int) -> None:
        log.info("signalled", worker=self._worker.name, signal=signal.Signals(number).name)
        if self._stopping.is_set():
            self._cut_off.set()
        self._stopping.set()

    def _problems(self) -> list[str]:
        if self._stopping.is_set():
            return ["draining", *self._service.problems()]
        return self._service.problems() if self._running else ["starting"]

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        """Health and metrics here, everything else by the service, where it serves."""
        serving = self._service.application if isinstance(self._service, Serving) else None
        if serving is not None and scope["path"] not in self._paths:
            await serving(scope, receive, send)
        elif scope["type"] == "websocket":  # the service has not begun; to close would read as 403
            head = {"status": 503, "headers": [(b"retry-after", b"1")]}
            await send({"type": "websocket.http.response.start", **head})
            await send({"type": "websocket.http.response.body", "body": b"starting\n"})
        else:
            await self._app(scope, receive, send)

    def _sockets(self) -> dict[str, Any]:
        """How uvicorn is to take WebSockets. Not compressed: that takes more memory than everything else of a socket."""
        if not isinstance(self._service, Serving):
            return {"ws": "none"}
        from workers.realtime.protocol import Protocol  # noqa: PLC0415 - others need not load it

        heartbeat = self._settings.realtime_heartbeat_s
        return {
            "ws": Protocol,
            "ws_max_size": MOST_FRAME,
            "ws_per_message_deflate": False,
            "ws_ping_interval": heartbeat,
            "ws_ping_timeout": heartbeat,
        }

    def _routes(self) -> list[tuple[str, Route]]:
        async def healthz(scope: Any, receive: Any, send: Any) -> None:
            await _json(self._health.live(), 200)(scope, receive, send)

        async def readyz(scope: Any, receive: Any, send: Any) -> None:
            report = await self._health.ready()
            answer = {"worker": self._worker.name, "instance": self._settings.instance, **report.as_json()}
            await _json(answer, report.http_status)(scope, receive, send)

        return [("/healthz", healthz), ("/readyz", readyz), ("/metrics", prometheus_client.make_asgi_app())]

    @property
    def _paths(self) -> frozenset[str]:
        return frozenset({"/healthz", "/readyz", "/metrics", "/metrics/"})


# A batch makes tens of thousands of objects that reference counting alone gets rid of: look for cycles once a batch, not
# a hundred times.
COLLECT = (50_000, 20, 100)


async def run(worker: Worker, settings: Settings) -> int:
    """Runs the worker until a signal or a crash; answers the exit code. To be the whole of a process, on uvloop.

    Raises SettingsError for what only this worker needs.
    """
    ops_logging.configure(settings.log_level)
    try:
        host = Host(worker, settings)
        # What is imported by now stays: the collector need not look at it again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*COLLECT)
        return await host.run()
    except SettingsError:
        raise
    except Exception as error:
        log.error("crashed", worker=worker.name, error=said(error), exc_info=error)
        return CRASHED


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=BACKLOG)


def _json(answer: Any, status: int) -> AsgiResponse:
    return AsgiResponse(orjson.dumps(answer), status, headers={"content-type": "application/json"})


async def _abandon(task: asyncio.Task[None]) -> None:
    """Give a cancelled task a second to tidy up, no more."""
    task.cancel()
    await asyncio.wait({task}, timeout=1)
