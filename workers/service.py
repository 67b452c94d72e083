"""What a worker is to the process that hosts it, and what it is given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from ops.settings import Settings

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from workers.broker import Broker


class Service(Protocol):
    """The work of one process. ``workers.host`` says when each method is called."""

    async def run(self) -> None:
        """Work until ``stop``. Returning unasked, or an exception, ends the process with exit code 1."""

    async def stop(self) -> None:
        """Take nothing new, finish the batch in hand, release leases, close connections; then ``run`` returns."""

    def problems(self) -> list[str]:
        """Why this instance is unready, in words an operator can act on; cheap, asked once a request.

        A problem that leaves the rest of the work going on is an ``ops.health.Degraded``.
        """


@runtime_checkable
class Serving(Protocol):
    """A service that answers HTTP or WebSocket itself, beside the health and the metrics of its host."""

    @property
    def application(self) -> ASGIApp | None:
        """None until it can."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """What a service is made from."""

    name: str  # the worker's
    settings: Settings
    broker: Broker  # for request/reply; connected before ``run``, closed after it
