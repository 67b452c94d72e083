"""Tenants do not meet: every query and command of the registry, tried by tenant b on a contact of tenant a."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from contracts.client import Client
from contracts.queries.base import Answer
from contracts.registry import COMMANDS, QUERIES
from tests.tenants import cases
from tests.tenants.conftest import Victim

Make = Callable[[], Awaitable[Victim]]


def test_every_entry_of_the_registry_has_a_case() -> None:
    assert set(QUERIES) - set(cases.QUERIES) == set()
    assert set(COMMANDS) - set(cases.COMMANDS) == set()
    paged = {name for name, query in QUERIES.items() if "cursor" in query.request.model_fields}
    assert paged - set(cases.CURSORS) == set()


@pytest.mark.parametrize("name", sorted(QUERIES))
async def test_a_query_sees_nothing_of_another_tenant(client: Client, make: Make, name: str) -> None:
    victim = await make()
    for fields, code in cases.QUERIES[name](victim):
        own = await client.query(name, "a", fields)
        assert own.success, (fields, own)
        assert shown(own), fields
        other = await client.query(name, "b", fields)
        if code is None:
            assert other.success, (fields, other)
            assert shown(other) == []
            assert (other.meta or {}).get("total", 0) == 0
        else:
            assert other.error is not None, (fields, other)
            assert other.error.code == code
        assert not told(other, victim, fields)


def shown(answer: Answer) -> Any:
    """What of an answer is the tenant's: all of it, or its jobs beside what all tenants share."""
    return answer.data["jobs"] if isinstance(answer.data, dict) and "jobs" in answer.data else answer.data


def told(answer: Answer, victim: Victim, fields: dict[str, Any]) -> list[str]:
    """What an answer says of the victim that the question did not."""
    text = answer.model_dump_json()
    secrets = (
        victim.id,
        victim.external_id,
        victim.identifier,
        victim.event_id,
        victim.merged_id,
        victim.job_id,
    )
    return [secret for secret in secrets if secret in text and secret not in str(fields)]


@pytest.mark.parametrize("name", sorted(cases.CURSORS))
async def test_a_cursor_serves_no_other_tenant(client: Client, make: Make, name: str) -> None:
    victim = await make()
    await make()
    fields = cases.CURSORS[name](victim)
    own = await client.query(name, "a", fields)
    assert own.meta is not None
    cursor = own.meta["next_cursor"]
    assert cursor
    assert (await client.query(name, "a", {**fields, "cursor": cursor})).data
    other = await client.query(name, "b", {**fields, "cursor": cursor})
    assert other.error is not None
    assert other.error.code in {"invalid", "contact_not_found"}
    assert other.data is None


@pytest.mark.parametrize("name", sorted(COMMANDS))
async def test_a_command_touches_nothing_of_another_tenant(
    client: Client, make: Make, writer: asyncpg.Connection, name: str
) -> None:
    victim = await make()
    for data in cases.COMMANDS[name](victim):
        before = await everything(writer, victim)
        result = await client.send(name, "b", data, timeout=60)
        said = result.model_dump_json(exclude_none=True)
        assert victim.id not in said or victim.id in str(data), said
        if result.status == "applied":
            assert str(result.contact_id) not in {victim.id, victim.merged_id}, data
        else:
            assert result.status == "rejected", said
            assert victim.id not in str(result.contact_id)
        assert await everything(writer, victim) == before, data


@pytest.mark.parametrize(
    "name", sorted(set(COMMANDS) - {"contact.create", "contact.upsert", "search.rebuild"})
)
async def test_the_same_command_of_the_same_tenant_finds_it(client: Client, make: Make, name: str) -> None:
    """So that the cases above would have done something, were it not for the tenant."""
    for number, _ in enumerate(cases.COMMANDS[name](await make())):
        victim = await make()
        result = await client.send(name, "a", cases.COMMANDS[name](victim)[number], timeout=60)
        if (
            name == "identifier.add" and result.code == "identifier_taken"
        ):  # by the contact of the case before
            continue
        assert result.status == "applied", result
        assert str(result.contact_id) == victim.id


@pytest.mark.parametrize("name", sorted(COMMANDS))
async def test_a_tenant_in_the_body_changes_nothing(
    client: Client, make: Make, writer: asyncpg.Connection, name: str
) -> None:
    """The subject says b, the envelope says a: a dead letter, whatever the command."""
    victim = await make()
    data = cases.COMMANDS[name](victim)[0]
    before = await everything(writer, victim)
    result = await client._send(f"command.{name}.b.k", f"command.{name}", "a", data, None, None, 60)
    assert (result.status, result.code) == ("dead", "tenant_mismatch")
    assert await everything(writer, victim) == before


async def everything(writer: asyncpg.Connection, victim: Victim) -> list[Any]:
    """Every row of the victim, in every table that holds one."""
    return [
        await writer.fetch(statement, victim.id)
        for statement in (
            "select * from contacts where tenant_id = 'a' and (id = $1 or merged_into = $1) order by id",
            "select * from channel_identifiers where tenant_id = 'a' and contact_id = $1 order by id",
            "select * from contact_tag_mappings where tenant_id = 'a' and contact_id = $1 order by tag_id",
            "select * from contact_events where tenant_id = 'a' and contact_id = $1 order by sequence",
            "select * from message_statuses where tenant_id = 'a' and contact_id = $1 order by message_id",
            "select * from contact_consents where tenant_id = 'a' and contact_id = $1 order by channel",
        )
    ]
