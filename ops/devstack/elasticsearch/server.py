"""An embedded Elasticsearch, for development, tests and the demo."""

from __future__ import annotations

import json
import signal
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

from ops.devstack.elasticsearch.recipe import prepare
from ops.devstack.process import end, free_port, kill, spawn, tail, wait_for

PATIENCE = 90.0  # seconds, until it answers


class ElasticsearchServer:
    """One node on 127.0.0.1 with its data in ``directory``. The port stays the same over restarts."""

    def __init__(self, directory: Path, *, heap_mb: int = 512) -> None:
        self.directory = directory.resolve()
        self.log = self.directory / "elasticsearch.log"
        self.heap_mb = heap_mb
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Start and wait until it answers, with its data.

        Raises NotInstalled, or RuntimeError with the end of the server's log.
        """
        if self.port:
            self.launch()
            self.wait()
            return
        for attempt in range(3):
            self.launch()
            try:
                self.wait()
                return
            except RuntimeError:
                if attempt == 2 or "Address already in use" not in tail(self.log, 100):
                    raise
                self.port = 0

    def launch(self) -> None:
        """Start without waiting; the first time builds it."""
        built = prepare()
        (self.directory / "tmp").mkdir(parents=True, exist_ok=True)
        self.port = self.port or free_port()
        command = built.command(self.heap_mb, self.directory, self.port, *built.archived)
        self._process = spawn(command, log=self.log)

    def wait(self) -> None:
        """Until it answers. Raises RuntimeError with the end of the server's log."""
        process = self._process
        assert process is not None
        try:
            wait_for(lambda: process.poll() is not None or self._healthy(), PATIENCE, "")
        except TimeoutError:
            kill(process)
        if process.poll() is not None:
            raise RuntimeError(f"Elasticsearch did not start:\n{tail(self.log)}")

    def _healthy(self) -> bool:
        """Red until every index has been read from the disk."""
        try:
            with urllib.request.urlopen(f"{self.url}/_cluster/health", timeout=1) as answer:  # noqa: S310
                return bool(json.load(answer)["status"] != "red")
        except (urllib.error.URLError, OSError):
            return False

    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        if self._process is not None:
            end(self._process, signal.SIGTERM, 15)
            self._process = None

    def kill(self) -> None:
        """SIGKILL: what a bulk request answered for must survive it."""
        if self._process is not None:
            kill(self._process)
            self._process = None

    def restart(self) -> None:
        """Start again on the same port, ending what still runs."""
        self.stop()
        self.start()
