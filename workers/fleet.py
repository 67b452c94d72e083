"""START HERE. The workers: what each reads, and what runs it.

A worker that reads a stream is one entry: its stream, and the factory of its processor (a decode and an apply; see
``workers/engine/record.py``). The engine brings the reading, the batches, the cursors, the dead letters. Any other worker
names the factory of its service (``workers/service.py``). ``workers/host.py`` is the process around either.

Factories are named, not imported: a process loads the code of its own worker and no other's.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workers.service import Runtime, Service


@dataclass(frozen=True, slots=True)
class Worker:
    """A kind of process; any number of instances of it may run."""

    name: str
    summary: str
    reads: str  # a stream, a table, or subjects
    build: Callable[[Runtime], Service]
    needs_elasticsearch: bool = False


def _load(reference: str) -> Any:
    """The object behind "module:name"."""
    module, _, name = reference.partition(":")
    return getattr(importlib.import_module(module), name)


def _stream(name: str, stream: str, processor: str, summary: str) -> Worker:
    """A worker of the engine; ``processor`` names a callable that makes a Processor from the settings."""

    def build(runtime: Runtime) -> Service:
        made: Service = _load("workers.engine.consumer:build")(
            runtime, stream, _load(processor)(runtime.settings)
        )
        return made

    return Worker(name, summary, stream, build)


def _service(
    name: str, reads: str, factory: str, summary: str, *, needs_elasticsearch: bool = False
) -> Worker:
    """Any other worker; ``factory`` names a callable that makes a Service from the runtime."""

    def build(runtime: Runtime) -> Service:
        made: Service = _load(factory)(runtime)
        return made

    return Worker(name, summary, reads, build, needs_elasticsearch)


FLEET: dict[str, Worker] = {
    worker.name: worker
    for worker in (
        _stream(
            "inbox", "WEBHOOK", "workers.inbox:processor", "provider webhooks into contacts and timelines"
        ),
        _stream("contacts", "COMMAND", "workers.contacts:processor", "commands into changes of contacts"),
        _service("relay", "outbox", "workers.relay.service:build", "the outbox onto the bus, in order"),
        _service(
            "queries",
            "query.>",
            "workers.queries.service:build",
            "questions about contacts, by request and reply",
        ),
        _service(
            "indexer",
            "EVENTS contact.>",
            "workers.indexer.service:build",
            "contacts that have changed into Elasticsearch",
            needs_elasticsearch=True,
        ),
        _service(
            "realtime",
            "EVENTS timeline.>",
            "workers.realtime.service:build",
            "timelines to people, over WebSocket",
        ),
    )
}
