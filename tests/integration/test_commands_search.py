"""search.rebuild: a job in the transaction of the command; no contact, no event."""

from __future__ import annotations

import asyncio
import uuid

from storage.postgres import WRITER, connect
from storage.search import state
from tests.eventually import eventually
from tests.helpers.applier import Applier
from tests.helpers.office import Office


async def test_a_job_waits_and_nothing_is_told(office: Office):
    outcome = await office.ok("search.rebuild", {})
    assert outcome.details
    (row,) = await office.rows("search_rebuilds")
    assert str(row["id"]) == outcome.details["job_id"]
    assert (row["status"], row["done"], row["finished_at"]) == ("waiting", 0, None)
    assert outcome.contact_id is None
    assert office.events == []


async def test_a_repetition_answers_as_the_first(office: Office):
    first = await office.ok("search.rebuild", {}, id="m")
    again = await office.send("search.rebuild", {}, id="m")
    assert (again.status, again.first) == ("duplicate", {"status": "applied", "details": first.details})
    assert len(await office.rows("search_rebuilds")) == 1


async def test_another_command_names_the_job_that_has_not_ended(office: Office, elsewhere: Office):
    first = await office.ok("search.rebuild", {})
    assert (await office.ok("search.rebuild", {})).details == first.details
    assert (await elsewhere.ok("search.rebuild", {})).details != first.details
    job = await state.claim(office.connection, "me", 10, uuid.UUID((first.details or {})["job_id"]))
    assert job is None  # there is no live index to work in
    await office.connection.execute("update search_state set live_index = 'i'")
    job = await state.claim(office.connection, "me", 10, uuid.UUID((first.details or {})["job_id"]))
    assert job is not None
    assert (await office.ok("search.rebuild", {})).details == first.details
    await state.finish(office.connection, job)
    assert (await office.ok("search.rebuild", {})).details != first.details
    assert len(await office.rows("search_rebuilds")) == 2


async def test_two_of_one_batch_ask_for_one_job(office: Office):
    records = [office.record(f"command.search.rebuild.{office.tenant}.-", "command.search.rebuild", {}, {})]
    records += [office.record(f"command.search.rebuild.{office.tenant}.-", "command.search.rebuild", {}, {})]
    first, second = await office.batch(records)
    assert (first.status, first.details) == (second.status, second.details)
    assert len(await office.rows("search_rebuilds")) == 1


async def test_a_batch_that_loses_the_race_begins_again(office: Office, database: str):
    """The rival has asked, and has not committed yet, when the batch looks."""
    connection = await connect(database, WRITER)
    rival = Applier(connection, tenant=office.tenant)
    try:
        transaction = connection.transaction()
        await transaction.start()
        record = rival.record(f"command.search.rebuild.{office.tenant}.-", "command.search.rebuild", {}, {})
        (won,), _ = await rival.apply_open([record])
        losing = asyncio.create_task(office.ok("search.rebuild", {}))
        await eventually(
            lambda: connection.fetchval("select exists (select from pg_locks where not granted)"),
            what="the second waits for the first",
        )
        await transaction.commit()
        assert (await losing).details == won.details
    finally:
        await connection.close()
    assert len(await office.rows("search_rebuilds")) == 1


async def test_a_field_is_refused(office: Office):
    code, details = await office.refused("search.rebuild", {"tenant": "other"})
    assert (code, [e["field"] for e in details["errors"]]) == ("invalid", ["tenant"])
