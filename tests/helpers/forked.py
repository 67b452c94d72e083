"""Workers as processes forked from one that has their code already: real ones, without a second of importing each."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
from collections.abc import Mapping, Sequence
from multiprocessing.context import ForkServerContext
from pathlib import Path

from ops import failpoint
from ops.devstack.process import die_with_parent

ROOT = Path(__file__).resolve().parents[2]

CODE = (
    "ops.cli.main",
    "ops.cli.fleet",
    "tests.helpers.forked",
    "uvloop",
    "workers.contacts",
    "workers.engine.consumer",
    "workers.host",
    "workers.inbox",
    "workers.indexer.service",
    "workers.queries.service",
    "workers.realtime.service",
    "workers.relay.service",
)


def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(CODE))
    return context


_CONTEXT = _context()
_FRESH = os.O_WRONLY | os.O_CREAT | os.O_TRUNC


class Forked:
    """``rollcall`` with these arguments and this environment; what it writes goes to ``out``, and to ``err`` if given."""

    def __init__(
        self, arguments: Sequence[str], environment: Mapping[str, str], out: Path, err: Path | None = None
    ) -> None:
        self._process = _CONTEXT.Process(target=_run, args=([*arguments], dict(environment), out, err))
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


def _run(arguments: list[str], environment: dict[str, str], out: Path, err: Path | None) -> None:
    die_with_parent(os.getppid(), signal.SIGKILL)()
    os.chdir(ROOT)
    os.environ.clear()
    os.environ.update(environment)
    _redirect(os.open(os.devnull, os.O_RDONLY), 0)
    _redirect(os.open(out, _FRESH), 1, 2)
    if err is not None:
        _redirect(os.open(err, _FRESH), 2)
    importlib.reload(failpoint)  # it read the server's environment
    from ops.cli.main import app  # noqa: PLC0415 - loaded by the server, not by the test

    app(arguments)


def _redirect(source: int, *targets: int) -> None:
    for target in targets:
        os.dup2(source, target)
    os.close(source)
