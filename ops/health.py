"""Whether a process lives and whether it can work, as it says on ``/healthz`` and ``/readyz``."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Literal, NamedTuple

from ops import metrics
from ops.logging import hide_text

TIMEOUT = 2.0  # seconds that one check may take
FRESH = 1.0  # seconds that an answer of the checks is good for
FRESH_PROBLEM = 0.2  # and one with problems, so that what is mended shows at once
TICK = 0.25  # seconds between two looks at the event loop

Check = Callable[[], Awaitable[str | None]]
Problems = Callable[[], Iterable[str]]


class Degraded(str):
    """A problem beside which the rest of the work goes on: it is shown, and the process stays ready."""

    __slots__ = ()


class Report(NamedTuple):
    """``status`` and why. Only "unready" should keep a process from being counted on."""

    status: Literal["ready", "degraded", "unready"]
    problems: list[str]

    @property
    def http_status(self) -> int:
        return 503 if self.status == "unready" else 200

    def as_json(self) -> dict[str, Any]:
        return {"status": self.status, "problems": self.problems}


class Health:
    """Checks that ask others (slow: at most 2 s, answers kept for 1 s) and problems that the process knows itself."""

    def __init__(self, timeout: float = TIMEOUT, fresh: float = FRESH) -> None:
        self._timeout = timeout
        self._fresh = fresh
        self._checks: dict[str, Check] = {}
        self._watched: dict[str, Problems] = {}
        self._found: list[str] = []
        self._found_at = -float("inf")
        self._asking: asyncio.Task[None] | None = None
        self._lag = 0.0

    def check(self, name: str, check: Check) -> None:
        """Register a check: it answers a problem or None; an exception and a time-out are problems too."""
        self._checks[name] = check

    def watch(self, name: str, problems: Problems) -> None:
        """Register a callable that is asked on every request, and so must be cheap."""
        self._watched[name] = problems

    async def ready(self) -> Report:
        fresh = min(self._fresh, FRESH_PROBLEM) if self._found else self._fresh
        if time.monotonic() - self._found_at > fresh:
            await self.ask()
        problems = self._found + self._known()
        if not problems:
            return Report("ready", [])
        if all(isinstance(problem, Degraded) for problem in problems):
            return Report("degraded", problems)
        return Report("unready", problems)

    async def ask(self) -> list[str]:
        """What the checks find now; the problems that the process knows itself are left out."""
        # Everyone who asks meanwhile waits for the same answers; one who goes away does not end them.
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._run_checks())
        await asyncio.shield(self._asking)
        return list(self._found)

    def live(self) -> dict[str, Any]:
        """That this is answered says that the loop lives; how late it woke up says how well."""
        return {"status": "alive", "loop_lag_ms": round(self._lag * 1000, 1)}

    async def watch_loop(self) -> None:
        """Measures, for as long as it runs, how late the event loop wakes up."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + TICK
            await asyncio.sleep(TICK)
            self._lag = max(0.0, loop.time() - due)
            metrics.LOOP_LAG_SECONDS.set(self._lag)

    async def _run_checks(self) -> None:
        answers = await asyncio.gather(*(self._answer(name, check) for name, check in self._checks.items()))
        self._found = [answer for answer in answers if answer is not None]
        self._found_at = time.monotonic()

    async def _answer(self, name: str, check: Check) -> str | None:
        try:
            async with asyncio.timeout(self._timeout):
                found = await check()
        except TimeoutError:
            return f"{name}: no answer within {self._timeout:g} s"
        except Exception as error:  # noqa: BLE001 - whatever a check meets is what it has found
            return f"{name}: {hide_text(str(error)) or type(error).__name__}"
        if found is None:
            return None
        return type(found)(f"{name}: {found}") if isinstance(found, Degraded) else f"{name}: {found}"

    def _known(self) -> list[str]:
        known: list[str] = []
        for name, problems in self._watched.items():
            try:
                known.extend(type(problem)(hide_text(problem)) for problem in problems())
            except Exception as error:  # noqa: BLE001 - a broken look is a problem, not an answer of 500
                known.append(f"{name}: cannot say how it is ({type(error).__name__})")
        return known
