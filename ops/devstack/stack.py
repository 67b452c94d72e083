"""The embedded servers together."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from ops.devstack.elasticsearch import ElasticsearchServer
from ops.devstack.nats import NatsServer
from ops.devstack.postgres import PostgresServer


class Devstack:
    """PostgreSQL, nats-server and, where asked for, Elasticsearch in one data directory; a context manager.

    ``ephemeral`` deletes the data directory at the end. Without ``data_dir`` a temporary one is made (and ephemeral).
    """

    def __init__(
        self,
        data_dir: Path | None = None,
        *,
        ephemeral: bool = False,
        with_nats: bool = True,
        with_postgres: bool = True,
        with_elasticsearch: bool = False,
    ) -> None:
        if data_dir is None:
            data_dir = Path(tempfile.mkdtemp(prefix="rollcall-"))
            data_dir.chmod(0o711)  # PostgreSQL may run as another user
            ephemeral = True
        self.data_dir = data_dir.absolute()
        self.ephemeral = ephemeral
        self._lock: IO[str] | None = None
        self.nats = NatsServer(self.data_dir / "nats") if with_nats else None
        self.postgres = PostgresServer(self.data_dir / "postgres") if with_postgres else None
        self.elasticsearch = (
            ElasticsearchServer(self.data_dir / "elasticsearch") if with_elasticsearch else None
        )

    @property
    def nats_url(self) -> str:
        return self._nats().url

    @property
    def nats_monitor_url(self) -> str:
        return self._nats().monitor_url

    @property
    def postgres_dsn(self) -> str:
        """The owner's."""
        return self._postgres().dsn

    @property
    def elasticsearch_url(self) -> str:
        return self._elasticsearch().url

    def start(self) -> Self:
        """Start them. Raises RuntimeError with the end of the server's log, leaving nothing running."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self._lock = (self.data_dir / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise RuntimeError(
                f"the data directory {self.data_dir} is in use by another fleet: end that one, or choose another directory"
            ) from None
        try:
            if self.elasticsearch is not None:
                self.elasticsearch.start()
            if self.postgres is not None:
                self.postgres.start()
            if self.nats is not None:
                self.nats.start()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        with contextlib.ExitStack() as stack:
            if self._lock is not None:
                stack.callback(self._lock.close)
            if self.ephemeral:
                stack.callback(shutil.rmtree, self.data_dir, ignore_errors=True)
            if self.postgres is not None:
                if self.ephemeral:
                    stack.callback(self.postgres.remove)
                stack.callback(self.postgres.stop, fast=self.ephemeral)
            if self.nats is not None:
                stack.callback(self.nats.stop)
            if self.elasticsearch is not None:
                stack.callback(self.elasticsearch.stop)

    def kill_nats(self) -> None:
        self._nats().kill()

    def restart_nats(self) -> None:
        self._nats().restart()

    def kill_postgres(self) -> None:
        self._postgres().kill()

    def restart_postgres(self) -> None:
        self._postgres().restart()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _nats(self) -> NatsServer:
        if self.nats is None:
            raise RuntimeError("this stack has no nats-server")
        return self.nats

    def _postgres(self) -> PostgresServer:
        if self.postgres is None:
            raise RuntimeError("this stack has no PostgreSQL")
        return self.postgres

    def _elasticsearch(self) -> ElasticsearchServer:
        if self.elasticsearch is None:
            raise RuntimeError("this stack has no Elasticsearch")
        return self.elasticsearch
