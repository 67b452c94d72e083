"""search.rebuild. Pure."""

from __future__ import annotations

from storage.ids import uuid7
from workers.engine.record import Outcome
from workers.fold.directory import Scratch
from workers.fold.handlers.command import Prepared


def rebuild(scratch: Scratch, _command: Prepared) -> Outcome:
    job = scratch.directory.rebuild(scratch.tenant)
    if job is None:
        job = scratch.rebuild = uuid7()
    return Outcome("applied", details={"job_id": str(job)})
