"""Workers as processes forked from one that has their code already: real ones, without a second of importing each."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from ops import failpoint
from ops.devstack.process import die_with_parent
from tests.eventually import eventually

ROOT = Path(__file__).resolve().parents[2]

# The environment, as if nobody had set anything of Rollcall's.
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("ROLLCALL_")}

CODE = (
    "contracts.client",
    "ops.cli.dead_letters",
    "ops.cli.fleet",
    "ops.cli.main",
    "ops.doctor",
    "ops.reach",
    "storage.migrate",
    "storage.search.elastic.bulk",
    "tests.helpers.forked",
    "uvloop",
    "workers.chores",
    "workers.contacts",
    "workers.engine.consumer",
    "workers.exports.export",
    "workers.host",
    "workers.inbox",
    "workers.indexer.service",
    "workers.queries.service",
    "workers.realtime.service",
    "workers.relay.service",
)


_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(list(CODE))
_FRESH = os.O_WRONLY | os.O_CREAT | os.O_TRUNC


class Forked:
    """``rollcall`` with these arguments and this environment; what it writes goes to ``out``, and to ``err`` if given."""

    def __init__(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        out: Path,
        err: Path | None = None,
        stdin: Path | None = None,
    ) -> None:
        streams = (stdin or Path(os.devnull), out, err or out)
        out.touch()  # whoever reads it need not wait for the process
        self._process = _CONTEXT.Process(target=_run, args=([*arguments], dict(environment), streams))
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    def poll(self) -> int | None:
        """The exit code, negative where a signal ended it; None while it runs."""
        return self._process.exitcode

    def kill(self) -> None:
        self._process.kill()

    def wait(self, seconds: float) -> None:
        self._process.join(seconds)


@dataclass(frozen=True, slots=True)
class Ran:
    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        return orjson.loads(self.stdout)


async def rollcall(*arguments: str, stdin: bytes = b"", environment: Mapping[str, str] = CLEAN) -> Ran:
    """Run ``rollcall`` to its end."""
    with tempfile.TemporaryDirectory() as directory:
        out, err, given = (Path(directory, name) for name in ("out", "err", "in"))
        given.write_bytes(stdin)
        process = Forked(arguments, environment, out, err, given)
        try:
            await eventually(
                lambda: process.poll() is not None, timeout=200, what=f"rollcall {arguments} ends"
            )
        finally:
            process.kill()
        code = process.poll()
        assert code is not None
        return Ran(code, out.read_text(), err.read_text())


def _run(arguments: list[str], environment: dict[str, str], streams: tuple[Path, Path, Path]) -> None:
    die_with_parent(os.getppid(), signal.SIGKILL)()
    os.chdir(ROOT)
    os.environ.clear()
    os.environ.update(environment)
    stdin, out, err = streams
    os.dup2(os.open(stdin, os.O_RDONLY), 0)
    os.dup2(os.open(out, _FRESH), 1)
    os.dup2(1 if err == out else os.open(err, _FRESH), 2)
    sys.stdin = os.fdopen(0, closefd=False)  # multiprocessing gave it nothing to read
    importlib.reload(failpoint)  # it read the server's environment
    from ops.cli.main import app  # noqa: PLC0415 - loaded by the server, not by the test

    app(arguments)
