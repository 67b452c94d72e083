"""Child processes that never outlive us."""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def die_with_parent(parent: int, number: signal.Signals) -> Callable[[], None]:
    """What a child runs before exec: on Linux the kernel sends it ``number`` when the starting thread ends."""

    def prepare() -> None:
        if _LIBC is not None:
            _LIBC.prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
            if os.getppid() != parent:
                os._exit(1)

    return prepare


def spawn(
    command: Sequence[str],
    *,
    log: Path | None,
    environment: Mapping[str, str] | None = None,
    account: tuple[int, int] | None = None,
    cwd: str = "/",
    on_parent_death: signal.Signals = signal.SIGKILL,
) -> subprocess.Popen[bytes]:
    """Start a child in a session of its own (a Ctrl-C in our terminal is ours to pass on). ``account``: (uid, gid)."""
    with contextlib.ExitStack() as stack:
        output = stack.enter_context(log.open("ab")) if log is not None else None
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT if output is not None else None,
            env=dict(environment) if environment is not None else None,
            cwd=cwd,
            user=account[0] if account else None,
            group=account[1] if account else None,
            extra_groups=[] if account else None,
            start_new_session=True,
            preexec_fn=die_with_parent(os.getpid(), on_parent_death),  # noqa: PLW1509 - only a prctl by a loaded libc
        )


def end(process: subprocess.Popen[bytes], number: signal.Signals, patience: float) -> None:
    """Send a signal and wait; after ``patience`` seconds SIGKILL it and its children."""
    if process.poll() is not None:
        return
    process.send_signal(number)
    try:
        process.wait(patience)
    except subprocess.TimeoutExpired:
        kill(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL the process and its children by pid, and wait until none of them runs."""
    victims = children(process.pid)
    process.kill()
    process.wait()
    for pid in victims:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not any(running(pid) for pid in victims), 10, "killed children are still running")


def children(pid: int) -> list[int]:
    """The direct children of a process."""
    proc = Path("/proc")
    if not (proc / "self/stat").exists():
        listing = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True)
        pairs = [line.split() for line in listing.stdout.splitlines()]
        return [int(child) for child, parent in pairs if int(parent) == pid]
    found = []
    for stat in proc.glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[1]) == pid:
                found.append(int(stat.parent.name))
    return found


def running(pid: int) -> bool:
    """Whether the process exists and is not a zombie: a zombie holds no memory and no port."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return sys.platform != "linux"
    return state not in "ZX"


def wait_for(condition: Callable[[], bool], patience: float, otherwise: str) -> None:
    """Poll a condition every 20 ms. Raises TimeoutError with ``otherwise`` as its message."""
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(otherwise)
        time.sleep(0.02)


_given: set[int] = set()


def free_port() -> int:
    """A free TCP port of 127.0.0.1, below the range that outgoing connections take theirs from.

    A server that is restarted on its old port must not find it taken by one of its own clients. No port is given twice
    by one process: who got the first may not have bound it yet.
    """
    for _ in range(200):
        port = random.randint(20_000, 32_000)
        if port not in _given and is_free(port):
            _given.add(port)
            return port
    raise RuntimeError("no free TCP port between 20000 and 32000 on 127.0.0.1")


def is_free(port: int) -> bool:
    """Whether a server could listen on the port of 127.0.0.1 now."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def tail(log: Path, lines: int = 15) -> str:
    """The end of a log file, for an error message."""
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return "(no log)"
