"""The host around a toy service, as a process of its own, with real servers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from ops.devstack import NatsServer
from ops.devstack import nats as devstack_nats
from ops.devstack.process import free_port
from storage import migrate
from tests.eventually import eventually
from tests.helpers.http import plain

ROOT = Path(__file__).parents[2]


class Toy:
    """A hosted toy: its process, its log, its HTTP."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self._log = log

    @property
    def lines(self) -> list[dict[str, Any]]:
        written = self._log.read_bytes()
        return [json.loads(line) for line in written[: written.rfind(b"\n") + 1].splitlines()]

    def line(self, event: str) -> dict[str, Any] | None:
        return next((line for line in self.lines if line["event"] == event), None)

    async def until(self, event: str) -> dict[str, Any]:
        """The first line of this event, once it is there."""
        found = await eventually(
            lambda: self.line(event) or self._gone(), timeout=60, what=f"log line {event!r}"
        )
        assert found != "gone", self.lines
        return found

    def _gone(self) -> str | None:
        return "gone" if self.process.poll() is not None else None

    async def get(self, path: str) -> httpx.Response:
        port = (await self.until("listening"))["port"]
        async with plain(base_url=f"http://127.0.0.1:{port}") as client:
            return await client.get(path)

    async def ready(self) -> dict[str, Any]:
        """The answer of /readyz; its status as ``code``."""
        response = await self.get("/readyz")
        return {"code": response.status_code, **response.json()}

    async def ended(self) -> int:
        await eventually(lambda: self.process.poll() is not None, timeout=60, what="the end of the process")
        return self.process.returncode


Start = Callable[..., Toy]


@pytest.fixture
def start(database: str, bus: NatsServer, tmp_path: Path) -> Iterator[Start]:
    started: list[Toy] = []

    def begin(mode: str = "work", **environment: str) -> Toy:
        log = tmp_path / f"{len(started)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.integration.toy_worker", mode],
                cwd=ROOT,
                stderr=output,
                env={
                    "PATH": os.environ["PATH"],
                    "ROLLCALL_NATS_URL": bus.url,
                    "ROLLCALL_POSTGRES_DSN": database,
                    **environment,
                },
            )
        started.append(Toy(process, log))
        return started[-1]

    yield begin
    for toy in started:
        toy.process.kill()
        toy.process.wait()


async def test_answers_and_drains(start: Start) -> None:
    toy = start()
    await toy.until("working")

    assert (await toy.get("/healthz")).json()["status"] == "alive"
    assert await toy.ready() == {
        "code": 200,
        "worker": "toy",
        "instance": (await toy.ready())["instance"],
        "status": "ready",
        "problems": [],
    }
    metrics = (await toy.get("/metrics")).text
    assert "rollcall_outbox_rows 0.0" in metrics
    assert "process_resident_memory_bytes" in metrics
    assert (await toy.get("/else")).status_code == 404

    toy.process.send_signal(signal.SIGTERM)
    assert await toy.ended() == 0
    events = [line["event"] for line in toy.lines]
    assert events.index("signalled") < events.index("batch finished")
    assert {line["phase"] for line in toy.lines if line.get("operation") == "drain"} == {"START", "END"}


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("crash", "RuntimeError: the toy broke: postgresql://***@db/toys"),
        ("return", "RuntimeError: it ended without being asked to"),
        ("unbuildable", "RuntimeError: no such toy"),
    ],
)
async def test_a_crash_is_loud(start: Start, mode: str, said: str) -> None:
    toy = start(mode)
    assert await toy.ended() == 1
    crashed = [line for line in toy.lines if line["level"] == "error"]
    assert [(line["event"], line["worker"], line["error"]) for line in crashed] == [("crashed", "toy", said)]
    assert "hunter2" not in json.dumps(toy.lines)


async def test_problems_of_the_service_are_told(start: Start) -> None:
    unready, degraded = start("unready"), start("degraded")
    await unready.until("working")
    await degraded.until("working")
    answer = await unready.ready()
    assert (answer["code"], answer["status"], answer["problems"]) == (
        503,
        "unready",
        ["the toy stands still"],
    )
    answer = await degraded.ready()
    assert (answer["code"], answer["status"], answer["problems"]) == (200, "degraded", ["one wheel is off"])


async def test_a_service_that_does_not_stop_is_cut_off(start: Start) -> None:
    toy = start("stuck", ROLLCALL_GRACE_SECONDS="1")
    await toy.until("working")
    toy.process.send_signal(signal.SIGTERM)
    assert await toy.ended() == 1
    assert (await toy.until("cut off"))["reason"] == "no end within 1 s"


async def test_while_draining_it_is_unready_and_a_second_signal_cuts_it_off(start: Start) -> None:
    toy = start("stuck")
    await toy.until("working")
    toy.process.send_signal(signal.SIGTERM)
    await toy.until("signalled")
    answer = await toy.ready()
    assert (answer["code"], answer["problems"]) == (503, ["draining"])
    toy.process.send_signal(signal.SIGINT)
    assert await toy.ended() == 1
    assert (await toy.until("cut off"))["reason"] == "a second signal"


async def test_a_stop_that_fails_is_told(start: Start) -> None:
    toy = start("stop_fails")
    await toy.until("working")
    toy.process.send_signal(signal.SIGTERM)
    assert await toy.ended() == 1
    assert (await toy.until("failed while draining"))["error"] == "RuntimeError: the toy cannot stop"


async def test_an_address_in_use_is_a_crash(start: Start) -> None:
    first = start()
    port = (await first.until("listening"))["port"]
    second = start(ROLLCALL_HTTP_PORT=str(port))
    assert await second.ended() == 1
    assert "in use" in (await second.until("crashed"))["error"]


async def test_it_waits_for_migrations(start: Start, fresh_database: str) -> None:
    toy = start(ROLLCALL_POSTGRES_DSN=fresh_database)
    waiting = await toy.until("waiting")
    assert waiting["problems"] == [
        f"database: at migration None, this program needs {migrate.head()}: run `rollcall migrate`"
    ]
    assert (await toy.get("/healthz")).status_code == 200
    answer = await toy.ready()
    assert (answer["code"], answer["status"]) == (503, "unready")
    assert toy.line("working") is None
    toy.process.send_signal(signal.SIGTERM)
    assert await toy.ended() == 0


async def test_it_waits_for_servers_out_of_reach(start: Start) -> None:
    nowhere = f"127.0.0.1:{free_port()}"
    toy = start(
        ROLLCALL_NATS_URL=f"nats://u:hunter2@{nowhere}",
        ROLLCALL_POSTGRES_DSN=f"postgresql://u:hunter2@{nowhere}/none",
    )
    answer = await toy.ready()
    assert (answer["code"], answer["status"]) == (503, "unready")
    assert [problem.partition(":")[0] for problem in answer["problems"]] == ["bus", "database", "starting"]
    toy.process.send_signal(signal.SIGTERM)
    assert await toy.ended() == 0
    assert "hunter2" not in json.dumps(toy.lines)


async def test_a_bus_that_lets_us_in_no_more_is_a_crash(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = NatsServer(tmp_path / "nats")
    own.start()
    try:
        toy = start(ROLLCALL_NATS_URL=own.url)
        await toy.until("working")
        monkeypatch.setattr(
            devstack_nats, "CONFIG", devstack_nats.CONFIG + "authorization {{ user: u, password: p }}\n"
        )
        own.restart()
        assert await toy.ended() == 1
        assert "Authorization Violation" in (await toy.until("crashed"))["error"]
    finally:
        own.stop()


async def test_the_bus_away_and_back(start: Start, bus: NatsServer) -> None:
    toy = start()
    await toy.until("working")
    bus.kill()

    async def status(wanted: int) -> bool:
        return (await toy.ready())["code"] == wanted

    await eventually(lambda: status(503), what="unready without the bus")
    assert (await toy.ready())["problems"][0].startswith("bus")
    bus.restart()
    await eventually(lambda: status(200), what="ready with the bus back")
    assert toy.process.poll() is None
