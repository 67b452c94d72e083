"""Races of batches on the database, each interleaving driven step by step: who waits for whom is read from pg_locks."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from storage import copy, identities, inbox
from storage.batch import Changes, persist
from storage.errors import Restart
from storage.inbox import SeenKey
from storage.rows import Identifier, IdentifierKey
from tests.eventually import eventually
from tests.helpers.office import Office
from tests.helpers.party import Party, command, restarted
from workers.engine.record import Record

FIRST, SECOND = "+4915100000001", "+4915100000002"


def message(office: Office, sender: str, *further: str, **fields: Any) -> Record:
    identifiers = [{"channel": "sms", "identifier": each} for each in further]
    data = {"channel": "sms", "from": sender, "identifiers": identifiers, **fields}
    return office.record(f"webhook.message.{office.tenant}.k", "webhook.message", data, {})


async def test_two_batches_that_make_the_same_identifier_make_one_contact(
    office: Office, parties: list[Party]
):
    one, two, _ = parties
    (made,), (found,) = await restarted(
        one, [message(office, FIRST, text="a")], two, [message(office, FIRST, text="b")]
    )
    assert (made.created, found.created) == (True, False)
    assert made.contact_id == found.contact_id
    assert await office.timeline_of(str(made.contact_id)) == [
        "contact_created",
        "sms_received",
        "sms_received",
    ]


async def test_the_first_that_rolls_back_leaves_the_identifier_to_the_second(
    office: Office, parties: list[Party]
):
    one, two, _ = parties
    await one.begin(message(office, FIRST))
    async with two.waiting_for(one, message(office, FIRST)) as task:
        await one.rollback()
        (outcome,) = await task
    await two.commit()
    assert outcome.created
    assert len(await office.rows("contacts")) == 1


async def test_crosswise_identifiers_meet_in_one_contact(office: Office, parties: list[Party]):
    one, two, _ = parties
    (made,), (found,) = await restarted(
        one, [message(office, FIRST, SECOND)], two, [message(office, SECOND, FIRST)]
    )
    assert made.contact_id == found.contact_id
    assert len(await office.rows("contacts")) == 1


async def test_two_commands_that_claim_one_identifier(office: Office, parties: list[Party]):
    one, two, _ = parties
    create = command(office, "contact.create", {"phone": FIRST})
    (made,), (refused,) = await restarted(
        one, [create], two, [command(office, "contact.create", {"phone": FIRST})]
    )
    assert (refused.status, refused.code) == ("rejected", "identifier_taken")
    assert refused.details
    assert refused.details["contact_id"] == str(made.contact_id)


@pytest.mark.parametrize("taken_by", ["contact.create", "contact.update"])
async def test_two_commands_that_claim_one_external_id(office: Office, parties: list[Party], taken_by: str):
    one, two, _ = parties
    other = await office.new()
    takes = {
        "contact.create": {"external_id": "e1"},
        "contact.update": {"contact": {"id": str(other)}, "set": {"external_id": "e1"}},
    }[taken_by]
    _, (refused,) = await restarted(
        one,
        [command(office, "contact.create", {"external_id": "e1"})],
        two,
        [command(office, taken_by, takes)],
    )
    assert (refused.status, refused.code) == ("rejected", "external_id_taken")


async def test_the_same_message_in_two_batches_takes_effect_once(office: Office, parties: list[Party]):
    one, two, _ = parties
    record = message(office, FIRST, message_id="m1")
    (made,), (again,) = await restarted(one, [record], two, [record])
    assert again.status == "duplicate"
    assert again.first
    assert again.first["contact_id"] == str(made.contact_id)


async def test_the_same_item_in_two_envelopes_takes_effect_once(office: Office, parties: list[Party]):
    one, two, _ = parties
    _, (again,) = await restarted(
        one, [message(office, FIRST, message_id="m1")], two, [message(office, FIRST, message_id="m1")]
    )
    assert again.items
    assert again.items[0]["status"] == "duplicate"


async def test_a_message_without_effects_on_contacts_races_on_its_id_alone(
    office: Office, parties: list[Party]
):
    one, two, _ = parties
    record = command(office, "contact.create", {"phone": "nonsense"})
    (first,), (again,) = await restarted(one, [record], two, [record])
    assert (first.status, again.status) == ("rejected", "duplicate")
    assert len(office.said("contact.rejected")) == 1


@pytest.mark.parametrize("late", ["webhook", "command"])
async def test_an_identifier_that_changes_hands_between_finding_and_locking(
    office: Office, parties: list[Party], late: str
):
    one, two, _ = parties
    old, new = await office.new(phone=FIRST), await office.new(external_id="new")
    number = {"channel": "sms", "identifier": FIRST}
    hands_over = [
        command(office, "identifier.remove", {"contact": {"id": str(old)}, **number}),
        command(office, "identifier.add", {"contact": {"external_id": "new"}, **number}),
    ]
    note = command(office, "timeline.record", {"contact": number, "type": "note_added"})
    record = message(office, FIRST) if late == "webhook" else note
    _, (outcome,) = await restarted(one, hands_over, two, [record])
    assert outcome.contact_id == new


async def test_an_external_id_that_changes_hands_between_finding_and_locking(
    office: Office, parties: list[Party]
):
    one, two, _ = parties
    old, new = await office.new(external_id="e1"), await office.new(external_id="new")
    hands_over = [
        command(office, "contact.update", {"contact": {"id": str(old)}, "unset": ["external_id"]}),
        command(office, "contact.update", {"contact": {"external_id": "new"}, "set": {"external_id": "e1"}}),
    ]
    note = command(office, "timeline.record", {"contact": {"external_id": "e1"}, "type": "x"})
    _, (outcome,) = await restarted(one, hands_over, two, [note])
    assert outcome.contact_id == new


async def test_who_waits_for_a_contact_applies_on_what_the_other_left(office: Office, parties: list[Party]):
    """Nothing that was found has changed: no restart, and no lost update."""
    one, two, _ = parties
    contact_id = await office.new(external_id="e1", attributes={"n": 0})
    who = {"contact": {"external_id": "e1"}}
    await one.begin(command(office, "contact.update", {**who, "set": {"attributes": {"a": 1}}}))
    late = command(office, "contact.update", {**who, "set": {"attributes": {"b": 2}}, "expected_version": 2})
    async with two.waiting_for(one, late) as task:
        await one.commit()
        (outcome,) = await task
    await two.commit()
    assert (outcome.status, outcome.version) == ("applied", 3)
    assert (await office.get(contact_id))["attributes"] == {"n": 0, "a": 1, "b": 2}


async def test_external_ids_swap_and_pass_on_within_a_batch(office: Office):
    one, two = await office.new(external_id="e1"), await office.new(external_id="e2")

    def update(contact_id: Any, **change: Any) -> Record:
        return command(office, "contact.update", {"contact": {"id": str(contact_id)}, **change})

    outcomes = await office.batch(
        [
            update(one, unset=["external_id"]),
            update(two, set={"external_id": "e1"}),
            update(one, set={"external_id": "e2"}),
            update(one, set={"external_id": "e3"}),
            command(office, "contact.create", {"external_id": "e2"}),
        ]
    )
    assert [outcome.status for outcome in outcomes] == ["applied"] * 5
    held = {row["id"]: row["external_id"] for row in await office.rows("contacts")}
    assert held == {one: "e3", two: "e1", outcomes[4].contact_id: "e2"}


async def test_identifiers_pass_on_within_a_batch(office: Office):
    one, two = await office.new(phone=FIRST), await office.new(phone=SECOND)

    def say(verb: str, who: Any, identifier: str) -> Record:
        data = {"contact": {"id": str(who)}, "channel": "sms", "identifier": identifier}
        return command(office, f"identifier.{verb}", data)

    outcomes = await office.batch(
        [
            say("remove", one, FIRST),
            say("remove", two, SECOND),
            say("add", one, SECOND),
            say("add", two, FIRST),
            command(office, "contact.update", {"contact": {"channel": "sms", "identifier": FIRST}}),
        ]
    )
    assert [outcome.status for outcome in outcomes] == ["applied"] * 5
    assert outcomes[4].contact_id == two
    assert ((await office.get(one))["phone"], (await office.get(two))["phone"]) == (SECOND, FIRST)


async def test_identifiers_are_taken_in_one_order_whatever_order_they_are_named_in(
    office: Office, parties: list[Party]
):
    one, two, three = parties
    low, middle, high = (message(office, f"+491510000000{n}") for n in (1, 5, 9))
    await three.begin(middle)
    async with (
        one.waiting_for(three, low, middle, high) as first,
        two.waiting_for(one, high, low) as second,
    ):
        await three.rollback()
        assert [outcome.created for outcome in await first] == [True] * 3
        await one.commit()
        with pytest.raises(Restart):
            await second
    assert len(await office.rows("contacts")) == 3


async def test_message_ids_are_taken_in_one_order_whatever_partitions_they_lie_in(
    office: Office, parties: list[Party]
):
    """The ids that two batches share cannot make them wait for each other in a circle."""
    one, two, three = parties
    transactions = [party.connection.transaction() for party in parties]
    rows = [(r["digest"], r["tableoid"]) for r in await _digests(office, three.connection)]
    a, b, c, z = _circle(rows)

    def keys(*digests: bytes) -> dict[SeenKey, str]:
        return {SeenKey(office.tenant, digest): "{}" for digest in digests}

    at = await office.connection.fetchval("select now()")
    for transaction in transactions:
        await transaction.start()
    await copy.insert(three.connection, inbox.rows(keys(z), at))
    first = asyncio.create_task(copy.insert(one.connection, inbox.rows(keys(a, b, z), at)))
    await _until_waiting(office, one)
    second = asyncio.create_task(copy.insert(two.connection, inbox.rows(keys(a, b, c), at)))
    await _until_waiting(office, two)
    await transactions[2].rollback()
    await first
    await transactions[0].commit()
    with pytest.raises(Restart):
        await second
    await transactions[1].rollback()


async def _digests(office: Office, connection: asyncpg.Connection) -> list[asyncpg.Record]:
    """Digests, sorted, each with the partition that it falls into."""
    transaction = connection.transaction()
    await transaction.start()
    at = await connection.fetchval("select now()")
    found = [inbox.digest("probe", str(n)) for n in range(200)]
    await copy.insert(connection, inbox.rows({SeenKey(office.tenant, d): "{}" for d in found}, at))
    rows = await connection.fetch(
        "select digest, tableoid::int from inbox_messages where tenant_id = $1 order by digest",
        office.tenant,
    )
    await transaction.rollback()
    return list(rows)


def _circle(rows: list[tuple[bytes, int]]) -> tuple[bytes, bytes, bytes, bytes]:
    """c < a < z < b where partitions are hashed: a and z in one, b and c in another; else any four in order."""
    for n, (c, other) in enumerate(rows):
        for m, (a, own) in enumerate(rows[n + 1 :], n + 1):
            if own != other:
                for k, (z, also) in enumerate(rows[m + 1 :], m + 1):
                    if also == own:
                        for b, last in rows[k + 1 :]:
                            if last == other:
                                return a, b, c, z
    c, a, z, b = (digest for digest, _ in rows[:4])
    return a, b, c, z


async def _until_waiting(office: Office, party: Party) -> None:
    pid = party.connection.get_server_pid()

    async def waits() -> bool:
        return bool(await office.connection.fetchval("select pg_blocking_pids($1)", pid))

    await eventually(waits, what="a statement to wait")


async def test_who_changes_an_identifier_takes_new_ones_first(office: Office, parties: list[Party]):
    """Else two wait for each other: one for the key that the other has let go of, the other for one that this one made."""
    owner, tenant = uuid.uuid4(), office.tenant
    low, high = (IdentifierKey("messenger", name) for name in ("a", "b"))
    held = Identifier(uuid.uuid4(), high, "messenger", "b", created_at=datetime.now(UTC))
    rival = Identifier(uuid.uuid4(), low, "messenger", "a", created_at=datetime.now(UTC))
    one, two = parties[0].connection, parties[1].connection
    await identities.insert(one, [((tenant, owner), held)])

    async def change_and_add() -> None:
        changes = Changes(datetime.now(UTC))
        changes.identifiers_changed.append((tenant, replace(held, raw="B")))
        changes.identifiers_added.append(((tenant, owner), replace(rival, id=uuid.uuid4())))
        async with one.transaction():
            await persist(one, changes)

    async with two.transaction():
        await identities.insert(two, [((tenant, uuid.uuid4()), rival)])
        changing = asyncio.create_task(change_and_add())

        async def waits() -> bool:
            blocking = await office.connection.fetchval("select pg_blocking_pids($1)", one.get_server_pid())
            return two.get_server_pid() in blocking

        await eventually(waits, what="the change to wait for the rival's key")
        savepoint = two.transaction()
        await savepoint.start()
        with pytest.raises(Restart):
            await identities.insert(two, [((tenant, uuid.uuid4()), replace(held, id=uuid.uuid4()))])
        await savepoint.rollback()
    with pytest.raises(Restart):
        await changing
    await office.connection.execute("delete from channel_identifiers where tenant_id = $1", tenant)
