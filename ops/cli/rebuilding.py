"""One rebuild of the search index in this process, or the progress of the process that works on it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
import uuid
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

import asyncpg
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from ops.cli.output import REJECTED, Failure, print_json
from ops.reach import POSTGRES_ERRORS
from storage.postgres import WRITER, connect
from storage.search import rebuild, state
from storage.search.elastic import indexes
from storage.search.elastic.bulk import Retry
from storage.search.rebuild import Outcome, Unmendable
from storage.search.state import Job, LeaseLost, Rebuild

if TYPE_CHECKING:
    from elasticsearch import AsyncElasticsearch

NAME: Final = "rollcall search rebuild"  # of the connections
LEASE: Final = 10.0  # seconds until another process may go on where this one was killed
POLL: Final = 0.5  # seconds between two looks at what another process does
WAIT: Final = 2.0  # seconds until Elasticsearch is tried again
TOLD: Final = 1.0  # seconds between two lines of progress


class Show(Protocol):
    """Where a rebuild is told of."""

    def said(self, event: str, words: str, **fields: Any) -> None: ...

    def progress(self, step: str, done: int, total: int) -> None: ...


class Rebuilding:
    """A rebuild of all tenants or of one, and how it is told of."""

    def __init__(
        self,
        dsn: str,
        client: AsyncElasticsearch,
        *,
        alias: str,
        shards: int,
        tenant: str | None,
        show: Show,
    ) -> None:
        self._dsn = dsn
        self._client = client
        self._alias = alias
        self._shards = shards
        self._tenant = tenant
        self._show = show

    async def run(self) -> None:
        """Until it is done, whoever does it. Raises Failure."""
        connection = await connect(self._dsn, WRITER, NAME)
        try:
            if self._tenant is not None and (await state.read(connection)).live is None:
                raise Failure(
                    "there is no index to rebuild a tenant in: run `rollcall search rebuild`", REJECTED
                )
            job_id = await state.request(connection, self._tenant)
            await self._until_done(connection, job_id)
        finally:
            await connection.close()

    async def _until_done(self, connection: asyncpg.Connection, job_id: uuid.UUID) -> None:
        owner = f"{socket.gethostname()}-{os.getpid()}"
        introduced = following = False
        while True:
            seen = await _seen(connection, self._tenant, job_id)
            if seen.status == "failed":
                raise Failure(f"the rebuild has failed: {seen.error}", REJECTED)
            if seen.status == "done":
                _tell_end(self._show, seen, None)
                return
            job = await state.claim(connection, owner, LEASE, job_id)
            if job is None:
                if not following:
                    words = "another process works on this rebuild; this is how far it is"
                    self._show.said("following", words, job_id=job_id, done=seen.done, total=seen.total)
                following = True
                self._show.progress("rebuilding", seen.done, seen.total or 0)
                await asyncio.sleep(POLL)
                continue
            if not introduced:
                self._introduce(job, seen)
            introduced, following = True, False
            outcome = await self._held(connection, job)
            if outcome is not None:
                _tell_end(self._show, await _seen(connection, self._tenant, job_id), outcome)
                return

    def _introduce(self, job: Job, seen: Rebuild) -> None:
        if seen.status == "running":  # somebody worked on it before
            words = f"going on with the rebuild of {seen.created_at:%Y-%m-%d %H:%M:%S} UTC: {job.done:,} contacts are done"
            self._show.said("resumed", words, job_id=job.id, done=job.done, total=job.total)
        else:
            whom = "all tenants" if self._tenant is None else f"tenant {self._tenant}"
            self._show.said("begun", f"rebuilding the search index of {whom}", job_id=job.id)

    async def _held(self, connection: asyncpg.Connection, job: Job) -> Outcome | None:
        """Work on it as long as it is ours; None when it is no more, or is to be tried again."""
        working = asyncio.ensure_future(self._work(job))
        try:
            while True:
                await asyncio.wait({working}, timeout=LEASE / 4)
                if working.done():
                    return working.result()
                await state.heartbeat(connection, job, LEASE)
        except LeaseLost:
            return None
        except Retry as error:
            await _let_go(state.release(connection, job, str(error)))
            self._show.said("waiting", f"waiting: {error}", reason=str(error))
            await asyncio.sleep(WAIT)
            return None
        except (Unmendable, indexes.Refused) as error:
            await _let_go(state.fail(connection, job, str(error)))
            raise Failure(f"the rebuild has failed: {error}", REJECTED) from None
        except Exception as error:
            await _let_go(state.release(connection, job, f"{type(error).__name__}: {error}"))
            raise
        except asyncio.CancelledError:
            await _end(working)
            await _let_go(state.release(connection, job))
            words = "interrupted; the same command goes on from here"
            self._show.said("interrupted", words, job_id=job.id)
            raise
        finally:
            await _end(working)

    async def _work(self, job: Job) -> Outcome:
        connection = await connect(self._dsn, WRITER, NAME)
        try:
            return await rebuild.run(
                job,
                connection,
                self._client,
                alias=self._alias,
                shards=self._shards,
                lease_seconds=LEASE,
                progress=self._show.progress,
            )
        finally:
            connection.terminate()


async def _end(working: asyncio.Future[Outcome]) -> None:
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)


async def _let_go(ending: Coroutine[Any, Any, None]) -> None:
    with contextlib.suppress(LeaseLost, *POSTGRES_ERRORS):  # the lease ends by itself
        await ending


async def _seen(connection: asyncpg.Connection, tenant: str | None, id_: uuid.UUID) -> Rebuild:
    found = next((seen for seen in await state.rebuilds(connection, tenant) if seen.id == id_), None)
    if found is None:
        raise Failure("the rebuild is no longer known: its row has been removed", REJECTED)
    return found


def _tell_end(show: Show, seen: Rebuild, outcome: Outcome | None) -> None:
    seconds = (
        (seen.finished_at - seen.started_at).total_seconds() if seen.finished_at and seen.started_at else 0
    )
    rate = round(seen.done / seconds) if seconds else None
    words = f"{seen.done:,} contacts in {seconds:,.1f} s"
    if rate is not None:
        words += f" ({rate:,}/s)"
    fields: dict[str, Any] = {"job_id": seen.id, "contacts": seen.done, "seconds": seconds, "rate": rate}
    if outcome is not None:
        fields |= {"index": outcome.index, "mended": outcome.mended, "refused": outcome.refused}
        words += f": {outcome.index} serves"
        if outcome.refused:
            words += f"; {outcome.refused:,} cannot be indexed, `rollcall dlq list --reason not_indexable` may say why"
    show.said("done", words, **fields)


class Lines:
    """For a program: lines of JSON on stdout."""

    def __init__(self) -> None:
        self._step = ""
        self._first = (0, 0.0)  # contacts that were done when the step began, and when that was
        self._told = 0.0

    def said(self, event: str, words: str, **fields: Any) -> None:  # noqa: ARG002 - the words are for people
        print_json({"event": event, **fields})

    def progress(self, step: str, done: int, total: int) -> None:
        now = time.monotonic()
        if step != self._step:
            self._step, self._first, self._told = step, (done, now), -TOLD
        if now - self._told < TOLD and done < total:
            return
        self._told = now
        first, at = self._first
        rate = (done - first) / (now - at) if now > at and done > first else None
        print_json(
            {
                "event": "progress",
                "step": step,
                "done": done,
                "total": total,
                "rate": None if rate is None else round(rate),
                "seconds_left": None if rate is None else round((total - done) / rate, 1),
            }
        )


class Bar:
    """For a person: a bar with rate and time left, for as long as the context lasts; what is said stays above it."""

    def __init__(self) -> None:
        console = Console(highlight=False)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            _Count(),
            _Rate(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=None, visible=False)
        self._step = ""

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._bar.stop()

    def said(self, event: str, words: str, **fields: Any) -> None:  # noqa: ARG002 - the fields are for programs
        self._bar.update(self._task, visible=False)
        self._bar.console.print(words, markup=False, soft_wrap=True)

    def progress(self, step: str, done: int, total: int) -> None:
        if step != self._step:
            self._step = step
            self._bar.reset(self._task, description=step)
        self._bar.update(self._task, completed=done, total=total or None, visible=True)


class _Count(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.completed:,.0f} of {task.total:,.0f}" if task.total else "")


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:,.0f}/s" if task.speed else "")
