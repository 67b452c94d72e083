"""An embedded nats-server with JetStream, for development, tests and the demo."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import urllib.error
import urllib.request
from pathlib import Path

from ops.devstack.process import end, free_port, kill, spawn, tail, wait_for

# sync_interval always: an acknowledged message is on disk. max_payload leaves a dead letter room for its headers.
CONFIG = """\
listen: "127.0.0.1:{port}"
http: "127.0.0.1:{monitor_port}"
server_name: "rollcall-{port}"
max_payload: 8MB
jetstream {{
    store_dir: {store}
    sync_interval: always
}}
"""


class NatsServer:
    """One nats-server on 127.0.0.1 with its store in ``directory``. The ports stay the same over restarts."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.resolve()
        self.log = self.directory / "nats.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0
        self.monitor_port = 0

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    @property
    def monitor_url(self) -> str:
        return f"http://127.0.0.1:{self.monitor_port}"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Start and wait until JetStream answers. Raises RuntimeError with the end of the server's log."""
        self.directory.mkdir(parents=True, exist_ok=True)
        if self.port:
            self._run()
            return
        for attempt in range(3):
            self.port, self.monitor_port = free_port(), free_port()
            try:
                self._run()
                return
            except RuntimeError:
                if attempt == 2 or "address already in use" not in tail(self.log):
                    raise

    def _run(self) -> None:
        config = self.directory / "nats.conf"
        config.write_text(
            CONFIG.format(
                port=self.port,
                monitor_port=self.monitor_port,
                store=json.dumps(str(self.directory / "store")),
            )
        )
        process = spawn([_executable(), "-c", str(config)], log=self.log)
        self._process = process
        try:
            wait_for(lambda: process.poll() is not None or self._healthy(), 30, "nats-server does not answer")
        except TimeoutError:
            kill(process)
        if process.poll() is not None:
            raise RuntimeError(f"nats-server did not start:\n{tail(self.log)}")

    def _healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.monitor_url}/healthz", timeout=1) as answer:  # noqa: S310
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        if self._process is not None:
            end(self._process, signal.SIGTERM, 10)
            self._process = None

    def kill(self) -> None:
        """SIGKILL: what the broker acknowledged must survive it."""
        if self._process is not None:
            kill(self._process)
            self._process = None

    def restart(self) -> None:
        """Start again on the same ports, ending what still runs."""
        self.stop()
        self.start()


def _executable() -> str:
    name = "nats-server.exe" if os.name == "nt" else "nats-server"
    for directory in (sysconfig.get_path("scripts"), str(Path(sys.executable).parent)):
        if directory and (candidate := Path(directory) / name).exists():
            return str(candidate)
    found = shutil.which(name)
    if found is None:
        raise RuntimeError(
            "nats-server is not installed: pip install '.[devstack]' in a checkout, or set ROLLCALL_NATS_URL"
        )
    return found
