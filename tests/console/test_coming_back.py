"""The realtime worker dies, hangs, drains: the page says so, comes back, and shows the whole timeline, no row twice."""

from __future__ import annotations

import asyncio
import signal

import asyncpg

from contracts.subjects import EVENTS
from tests.console.screen import Screen
from tests.faults.crew import Process
from tests.helpers.realm import Realm
from workers.jetstream import api
from workers.realtime import stored


async def revived(realm: Realm, dead: Process) -> Process:
    """A realtime worker in the place of one that died, at its address."""
    port = dead.http.rpartition(":")[2]
    return await realm.stage.crew.start("realtime", ROLLCALL_HTTP_PORT=port)


async def test_the_worker_is_killed_and_comes_back(screen: Screen, realm: Realm):
    tenant = realm.tenant()
    contact = await realm.contact(tenant)
    await screen.sign_in(realm.agent(tenant), f"#contact={contact}")
    await realm.record(tenant, contact, "before")
    await screen.until_equal(tenant, contact)
    screen.page.lost = True
    worker = realm.worker
    worker.signal(signal.SIGKILL)
    await worker.until_dead()
    await screen.until_state("waiting", "connecting")
    await screen.page.until("/in \\d+ s/.test(document.getElementById('state-words').textContent)")
    await asyncio.gather(*(realm.record(tenant, contact, f"meanwhile {n}") for n in range(30)))
    await revived(realm, worker)
    await realm.record(tenant, contact, "after")
    await screen.until_state("live")
    await screen.until_equal(tenant, contact)
    assert len(set(await screen.ids())) == len(await screen.ids()) == 33


async def test_a_worker_that_hangs_is_noticed(screen: Screen, realm: Realm):
    tenant = realm.tenant()
    contact = await realm.contact(tenant)
    await screen.sign_in(realm.agent(tenant), f"#contact={contact}")
    await screen.until_equal(tenant, contact)
    screen.page.lost = True
    worker = realm.worker
    worker.signal(signal.SIGSTOP)
    try:
        await screen.until_state("waiting")
        await realm.record(tenant, contact, "meanwhile")
    finally:
        worker.signal(signal.SIGCONT)
    await screen.until_state("live")
    await screen.until_equal(tenant, contact)


async def test_a_worker_that_drains_says_when_to_come_back(screen: Screen, realm: Realm):
    tenant = realm.tenant()
    contact = await realm.contact(tenant)
    await screen.sign_in(realm.agent(tenant), f"#contact={contact}")
    await screen.until_equal(tenant, contact)
    screen.page.lost = True
    worker = realm.worker
    assert await realm.stage.crew.dismiss(worker) == [0]
    await revived(realm, worker)
    await realm.record(tenant, contact, "meanwhile")
    await screen.until_state("live")
    await screen.until_equal(tenant, contact)


async def test_after_a_resync_it_is_fetched_anew(screen: Screen, realm: Realm):
    """Events left the stream, and a row the timeline, while the page was away."""
    tenant = realm.tenant()
    contact = await realm.contact(tenant)
    gone = await realm.record(tenant, contact, "gone")
    await screen.sign_in(realm.agent(tenant), f"#contact={contact}")
    await screen.until_equal(tenant, contact)
    screen.page.lost = True
    worker = realm.worker
    worker.signal(signal.SIGKILL)
    await worker.until_dead()
    await asyncio.gather(*(realm.record(tenant, contact, f"missed {n}") for n in range(60)))
    owner = await asyncpg.connect(realm.stage.dsn)
    await owner.execute("delete from contact_events where tenant_id = $1 and id = $2", tenant, gone)
    await owner.close()
    state = await stored.state(realm.stage.client)
    await api(realm.stage.client, f"STREAM.PURGE.{EVENTS.name}", {"seq": state.last + 1})
    await revived(realm, worker)
    await screen.try_now()
    await screen.until_equal(tenant, contact)
    assert str(gone) not in await screen.ids()


async def test_nobody_answers_queries_for_a_while(screen: Screen, realm: Realm):
    tenant = realm.tenant()
    contact = await realm.contact(tenant)
    (queries,) = realm.stage.crew.alive("queries")
    await realm.stage.crew.dismiss(queries)
    try:
        await screen.sign_in(realm.agent(tenant), f"#contact={contact}")
        await screen.page.until("document.getElementById('trouble').checkVisibility()", "it is said")
        assert "No queries worker answered" in await screen.page.text("#trouble")
    finally:
        await realm.stage.crew.start("queries")
    await screen.until_equal(tenant, contact)
    assert not await screen.page.text("#trouble")
