"""Reading what one has written: a search that waits for a contact's version."""

from __future__ import annotations

import asyncio
import time
import uuid

import asyncpg
import pytest

from tests.eventually import eventually
from tests.helpers.applier import Applier
from tests.helpers.engines import EVERYBODY, Begin, names
from workers.queries import elastic

TWO = elastic.TIMEOUT  # seconds that Elasticsearch has


async def test_an_answer_waits_for_the_version(begin: Begin, writer: asyncpg.Connection) -> None:
    stage = await begin()
    tenant = stage.applier.tenant
    outcome = await stage.applier.send("contact.create", {"external_id": "four", "first_name": "Ann"})
    assert names(await stage.search()) == EVERYBODY
    wait_for = {"contact_id": str(outcome.contact_id), "version": outcome.version}
    asked = stage.asked
    waiting = asyncio.create_task(stage.search(wait_for=wait_for))
    await eventually(lambda: stage.asked >= asked + 3)  # it asks, and asks again
    assert not waiting.done()
    await stage.index.put(writer, (tenant, outcome.contact_id))
    answer = await waiting
    assert (names(answer), answer["meta"]["engine"]) == (["four", *EVERYBODY], "elasticsearch")
    assert await stage.engine(wait_for=wait_for) == "elasticsearch"


async def test_a_version_that_does_not_come_is_read_from_postgres(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = await begin()
    outcome = await stage.applier.send("contact.create", {"external_id": "four", "first_name": "Ann"})
    began = time.monotonic()
    with monkeypatch.context() as patch:
        patch.setattr(elastic, "TIMEOUT", TWO)
        answer = await stage.search(wait_for={"contact_id": str(outcome.contact_id), "version": 1})
    assert time.monotonic() - began >= 2
    assert (names(answer), answer["meta"]["engine"]) == (["four", *EVERYBODY], "postgres")
    assert stage.ask.problems == []  # nothing is wrong with Elasticsearch
    assert await stage.engine() == "elasticsearch"


async def test_a_deletion_is_waited_for_as_well(begin: Begin, writer: asyncpg.Connection) -> None:
    stage = await begin()
    outcome = await stage.applier.send("contact.delete", {"contact": {"external_id": "two"}})
    await stage.index.put(writer, (stage.applier.tenant, outcome.contact_id))
    for version in (1, 2):
        answer = await stage.search(wait_for={"contact_id": str(outcome.contact_id), "version": version})
        assert (names(answer), answer["meta"]["engine"]) == (["three", "one"], "elasticsearch")


async def test_what_is_not_there_or_not_the_tenants_is_waited_for_in_vain(
    begin: Begin, writer: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = await begin()
    monkeypatch.setattr(elastic, "TIMEOUT", TWO)
    other = Applier(writer, tenant=f"o-{uuid.uuid4().hex[:8]}")
    outcome = await other.send("contact.create", {"first_name": "Ann"})
    await stage.index.put(writer, (other.tenant, outcome.contact_id))
    began = time.monotonic()
    answers = await asyncio.gather(
        *(
            stage.search(wait_for={"contact_id": str(contact_id), "version": 1})
            for contact_id in (outcome.contact_id, uuid.uuid4())
        )
    )
    assert time.monotonic() - began >= 2
    for answer in answers:
        assert (names(answer), answer["meta"]["engine"]) == (EVERYBODY, "postgres")


async def test_those_who_wait_hold_up_nobody(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of eight queries in hand four may wait for a version; one more is answered by Postgres at once."""
    stage = await begin(query_connections=1)
    monkeypatch.setattr(elastic, "TIMEOUT", 5)
    wait_for = {"contact_id": str(uuid.uuid4()), "version": 1}
    waiting = [asyncio.create_task(stage.search(wait_for=wait_for)) for _ in range(4)]
    await eventually(lambda: stage.asked >= 4)
    assert await stage.engine(wait_for=wait_for) == "postgres"
    assert await stage.engine() == "elasticsearch"
    assert not any(task.done() for task in waiting)
    await asyncio.gather(*waiting)


async def test_postgres_has_every_version(begin: Begin) -> None:
    stage = await begin(elasticsearch_url=None)
    outcome = await stage.applier.send("contact.create", {"external_id": "four", "first_name": "Ann"})
    answer = await stage.search(wait_for={"contact_id": str(outcome.contact_id), "version": 1})
    assert names(answer) == ["four", *EVERYBODY]
