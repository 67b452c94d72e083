"""``rollcall up``: servers, streams and workers, started, watched and ended together.

Children die with the thread that started them: workers with the main thread, a server that was started again with a thread of
asyncio's pool, which lives for as long as the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import socket
import sys
import sysconfig
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import uvicorn
from starlette.middleware.trustedhost import TrustedHostMiddleware

from ops import console, reach
from ops.devstack import Devstack, NatsServer, PostgresServer
from ops.devstack.process import die_with_parent, free_port, is_free, tail
from ops.probe import get
from ops.settings import PREFIX, Settings, read
from ops.watch import watch
from storage.migrate import migrate
from workers import streams
from workers.jetstream import NoAnswer, Refused

QUICK_DEATH = 1.0  # seconds; whoever dies sooner, again and again, is not restarted at once
PATIENCE = 3  # quick deaths in a row that are forgiven
PAUSE = 0.5  # seconds before a start after more of them: a dead worker is back within 2 s all the same
READY_WITHIN = 60.0
END_WITHIN = 30.0

# In the place of the addresses that embedded servers get when they start.
EMBEDDED = {"nats_url": "nats://embedded", "postgres_dsn": "postgresql://embedded/embedded"}


class FleetError(Exception):
    """The fleet cannot start; the message says why and shows the end of the log in question."""


@dataclass
class Instance:
    """One worker process under its key ``<worker>/<n>``; key and port stay the same once it has been ready."""

    worker: str
    number: int
    port: int
    log: Path | None
    process: asyncio.subprocess.Process | None = None
    ready: bool = False
    was_ready: bool = False
    why: str = "starting"  # what /readyz last said
    starts: int = 0
    quick_deaths: int = 0
    started: float = field(default_factory=time.monotonic)

    @property
    def key(self) -> str:
        return f"{self.worker}/{self.number}"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int | None:
        alive = self.process is not None and self.process.returncode is None
        return self.process.pid if self.process is not None and alive else None


class Fleet:
    """The servers, where none are given by the environment, and ``counts[worker]`` instances of each worker."""

    def __init__(
        self, counts: Mapping[str, int], stack: Devstack, settings: Settings, *, verbose: bool = False
    ) -> None:
        self.stack = stack
        self.verbose = verbose
        self.nats_url = settings.nats_url
        self.nats_monitor_url = settings.nats_monitor_url
        self.postgres_dsn = settings.postgres_dsn
        self.elasticsearch_url = settings.elasticsearch_url
        self.settings = settings
        self.jwt_secret = settings.jwt_secret  # None where tokens are checked with a public key
        self.instances: dict[str, Instance] = {}
        self._counts = counts
        self._port = free_port()
        self._tasks: list[asyncio.Task[None]] = []
        self._server: uvicorn.Server | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def kept_secret(self) -> Path:
        """Where what tokens are signed with is kept, if the environment has none."""
        return self.stack.data_dir / "jwt_secret"

    def line(self) -> dict[str, Any]:
        """What ``up --json`` prints and ``/fleet`` serves."""
        search = {"elasticsearch_url": self.elasticsearch_url} if self.elasticsearch_url is not None else {}
        return {
            "nats_url": self.nats_url,
            "nats_monitor_url": self.nats_monitor_url,
            "postgres_dsn": self.postgres_dsn,
            **search,
            "http": {**{key: one.url for key, one in self.instances.items()}, "supervisor": self.url},
            "pids": {key: one.pid for key, one in self.instances.items()},
            "jwt_secret": self.jwt_secret,
        }

    async def start(self) -> None:
        """Everything up to and including the first start of each worker. Raises FleetError."""
        logs = self.stack.data_dir / "logs"
        try:
            self.stack.start()
            logs.mkdir(exist_ok=True)
        except RuntimeError as error:
            raise FleetError(str(error)) from None
        except OSError as error:
            raise FleetError(
                f"the fleet cannot be set up in {self.stack.data_dir}: {error}; "
                "choose another directory with --data, or a throw-away one with --ephemeral"
            ) from None
        if self.stack.nats is not None:
            self.nats_url, self.nats_monitor_url = self.stack.nats_url, self.stack.nats_monitor_url
        if self.stack.postgres is not None:
            self.postgres_dsn = self.stack.postgres_dsn
        if self.stack.elasticsearch is not None:
            self.elasticsearch_url = self.stack.elasticsearch_url
        if self.jwt_secret is None and self.settings.jwt_public_key_file is None:
            self.jwt_secret = _kept_secret(self.kept_secret)
        try:
            with reach.database():
                await migrate(self.postgres_dsn)
            await self._declare()
        except reach.Unreachable as error:
            own = "unset ROLLCALL_NATS_URL and ROLLCALL_POSTGRES_DSN to have servers started here"
            raise FleetError(f"{error}, or {own}") from None
        except streams.StreamsError as error:
            raise FleetError(str(error)) from None
        except (Refused, NoAnswer) as error:
            raise FleetError(f"JetStream: {error}; `rollcall doctor` looks at it") from None
        for worker, count in self._counts.items():
            for number in range(count):
                log = None if self.verbose else logs / f"{worker}-{number}.log"
                one = Instance(worker, number, free_port(), log)
                self.instances[one.key] = one
                self._tasks.append(asyncio.create_task(self._keep(one), name=one.key))
        self._tasks.append(asyncio.create_task(self._keep_servers(), name="servers"))
        self._tasks.append(asyncio.create_task(self._serve(), name="supervisor"))

    async def until_ready(self) -> None:
        """Wait until every /readyz answers 200. Raises FleetError naming who does not, and why."""
        deadline = time.monotonic() + READY_WITHIN
        while True:
            await self.look()
            waiting = [one for one in self.instances.values() if not one.ready]
            if not waiting and self._server is not None and self._server.started:
                return
            for one in waiting:
                if one.quick_deaths > PATIENCE or time.monotonic() > deadline:
                    log = f":\n{tail(one.log)}" if one.log is not None else ""
                    raise FleetError(f"{one.key} does not get ready ({one.why}){log}")
            await asyncio.sleep(0.05)

    async def console(self, tenant: str) -> str | None:
        """Where the tenant's timelines can be watched, for the first who opens it; None without a realtime worker. Raises FleetError."""
        served = next((one for one in self.instances.values() if one.worker == "realtime"), None)
        if served is None:
            return None
        try:
            with reach.database():
                return await console.address(served.url, self.postgres_dsn, self.settings, tenant)
        except reach.Unreachable as error:
            raise FleetError(str(error)) from None

    async def look(self) -> None:
        """Ask every instance whether it is ready."""
        await asyncio.gather(*(self._look(one) for one in self.instances.values()))

    async def stop(self) -> None:
        """End the workers, all at once and with time to finish their batches, then the servers."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        running = [one.process for one in self.instances.values() if one.process is not None]
        await asyncio.gather(*(_end(process) for process in running))
        self.stack.stop()

    async def _declare(self) -> None:
        client = await reach.bus(self.nats_url)
        try:
            await streams.declare(client)
        finally:
            await client.close()

    async def _look(self, one: Instance) -> None:
        status, body = await get(f"{one.url}/readyz")
        one.ready = status == 200 and one.pid is not None
        one.was_ready |= one.ready
        one.why = "ready" if one.ready else body.decode(errors="replace").strip()[:200] or f"HTTP {status}"

    async def _keep(self, one: Instance) -> None:
        """Start the worker again whenever it ends."""
        while True:
            await self._spawn(one)
            assert one.process is not None
            code = await one.process.wait()
            one.ready = False
            one.quick_deaths = one.quick_deaths + 1 if time.monotonic() - one.started < QUICK_DEATH else 0
            one.why = f"ended with {code}"
            if not one.was_ready and not is_free(one.port):  # taken between our look and its start
                one.port = free_port()
            sys.stderr.write(f"rollcall: {one.key} {one.why}, starting it again\n")
            if one.quick_deaths > PATIENCE:
                await asyncio.sleep(PAUSE)

    async def _spawn(self, one: Instance) -> None:
        environment = {
            **os.environ,
            "ROLLCALL_NATS_URL": self.nats_url,
            "ROLLCALL_POSTGRES_DSN": self.postgres_dsn,
            "ROLLCALL_HTTP_HOST": "127.0.0.1",
            "ROLLCALL_HTTP_PORT": str(one.port),
            "ROLLCALL_INSTANCE": f"{socket.gethostname()[:50]}-{os.getpid()}-{one.key}",
        }
        if self.nats_monitor_url is not None:
            environment["ROLLCALL_NATS_MONITOR_URL"] = self.nats_monitor_url
        if self.elasticsearch_url is not None:
            environment["ELASTICSEARCH_URL"] = self.elasticsearch_url
        if self.jwt_secret is not None:
            environment["ROLLCALL_JWT_SECRET"] = self.jwt_secret
        if one.starts:  # a failpoint is for the first process: its successor goes on from there
            environment.pop("ROLLCALL_FAILPOINT", None)
        one.starts += 1
        one.started = time.monotonic()
        with contextlib.ExitStack() as opened:
            log = opened.enter_context(one.log.open("ab")) if one.log is not None else None
            one.process = await asyncio.create_subprocess_exec(
                *command("worker", one.worker),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log if log is not None else sys.stderr,
                stderr=log if log is not None else sys.stderr,
                env=environment,
                start_new_session=True,
                preexec_fn=die_with_parent(os.getpid(), signal.SIGKILL),
            )

    async def _keep_servers(self) -> None:
        """An embedded server that died comes back on its port."""
        while True:
            await asyncio.sleep(0.2)
            for server in (self.stack.postgres, self.stack.nats):
                if server is not None and not server.alive():
                    sys.stderr.write(f"rollcall: {type(server).__name__} died, starting it again\n")
                    await _restart(server)
            search = self.stack.elasticsearch
            if search is not None and not search.alive():
                sys.stderr.write("rollcall: ElasticsearchServer died, starting it again\n")
                search.launch()  # it takes seconds, in which whatever else died must not wait

    async def _serve(self) -> None:
        async def application(scope: Any, _receive: Any, send: Any) -> None:
            if scope["type"] != "http":
                return
            found = scope["path"] == "/fleet"
            body = orjson.dumps(self.line() if found else {"error": "not found; ask GET /fleet"})
            headers = [(b"content-type", b"application/json")]
            await send({"type": "http.response.start", "status": 200 if found else 404, "headers": headers})
            await send({"type": "http.response.body", "body": body})

        # The line holds secrets: a page in a browser on this machine must not read it under another name of 127.0.0.1.
        guarded = TrustedHostMiddleware(application, allowed_hosts=["127.0.0.1", "localhost"])
        config = uvicorn.Config(
            guarded, host="127.0.0.1", port=self._port, log_level="error", lifespan="off", ws="none"
        )
        self._server = _Server(config)
        await self._server.serve()


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the supervisor's."""
        yield


def command(*arguments: str) -> list[str]:
    """How to start ourselves; a worker's command line reads ``rollcall worker NAME``."""
    script = Path(sysconfig.get_path("scripts")) / "rollcall"
    if script.exists():
        return [sys.executable, str(script), *arguments]
    code = "import sys; from ops.cli.main import app; app(sys.argv[2:])"
    return [sys.executable, "-c", code, "rollcall", *arguments]


def _kept_secret(path: Path) -> str:
    """What tokens are signed with, for as long as the data lives; nobody else may read it."""
    if not path.exists():
        draft = path.with_suffix(".draft")
        draft.unlink(missing_ok=True)
        draft.touch(mode=0o600)
        draft.write_text(secrets.token_urlsafe(32))
        draft.rename(path)
    return path.read_text()


async def _restart(server: PostgresServer | NatsServer) -> None:
    """In a thread, so that workers are minded meanwhile. Whoever is cancelled waits for its end, or it would come up unminded."""
    restarting = asyncio.ensure_future(asyncio.to_thread(server.restart))
    try:
        await asyncio.shield(restarting)
    except (RuntimeError, TimeoutError) as error:
        sys.stderr.write(f"rollcall: {error}\n")
    finally:
        await asyncio.gather(restarting, return_exceptions=True)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
        process.send_signal(signal.SIGCONT)  # a stopped process would not hear it
    try:
        await asyncio.wait_for(process.wait(), END_WITHIN)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def run(
    counts: Mapping[str, int],
    *,
    data_dir: Path | None,
    ephemeral: bool,
    with_elasticsearch: bool,
    as_json: bool,
    tenant: str,
    verbose: bool,
) -> int:
    """Run the fleet until SIGINT or SIGTERM; ``tenant``: whose console people are shown. Answers the exit code. Raises SettingsError."""
    embedded = {name: url for name, url in EMBEDDED.items() if not os.environ.get(f"{PREFIX}{name.upper()}")}
    settings = read(Settings, **embedded)
    if data_dir is None and not ephemeral:
        data_dir = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "rollcall"
    stack = Devstack(
        data_dir,
        ephemeral=ephemeral,
        with_nats="nats_url" in embedded,
        with_postgres="postgres_dsn" in embedded,
        with_elasticsearch=with_elasticsearch,
    )
    return asyncio.run(_run(Fleet(counts, stack, settings, verbose=verbose), as_json=as_json, tenant=tenant))


async def _run(fleet: Fleet, *, as_json: bool, tenant: str) -> int:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    try:
        await fleet.start()
        await fleet.until_ready()
        if as_json:
            sys.stdout.write(orjson.dumps(fleet.line()).decode() + "\n")
            sys.stdout.flush()
            await asyncio.Event().wait()
        else:
            await watch(fleet, await fleet.console(tenant))
    except asyncio.CancelledError:
        pass
    except FleetError as error:
        sys.stderr.write(f"rollcall: {error}\n")
        return 1
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, lambda: None)  # ending is under way
        await fleet.stop()
    return 0
