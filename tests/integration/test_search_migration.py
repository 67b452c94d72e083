"""The migrations of the search: contacts from before get their text, and a missing extension says what to do."""

from __future__ import annotations

import io
import uuid
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import asyncpg
import pytest
from alembic import command
from alembic.config import Config

from storage.migrate import AFTERWARDS, MIGRATIONS, migrate, revision, script
from storage.postgres import READER, connect, engine
from storage.reads.session import Reads
from storage.search import state, texts
from storage.search.criteria import Criteria
from storage.search.postgres import search
from storage.search.text import MOST_VALUE, parse, values
from tests.helpers import seed

OLD = "0001"
LIMITED = "rollcall_limited"


@pytest.fixture
async def owner(empty: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(empty)
    yield connection
    await connection.close()


async def texts_of(owner: asyncpg.Connection) -> dict[str, str]:
    rows = await owner.fetch("select display_name, search_text from contacts order by id")
    return {row["display_name"]: row["search_text"] for row in rows}


async def from_before(owner: asyncpg.Connection, count: int = 0) -> uuid.UUID:
    """Contacts of the first revision: some that matter, and a crowd. Answers the id of the first."""
    await owner.execute(script(None, OLD))
    anna = await seed.contact(
        owner, "a", display_name="Anna Müller", external_id="CRM-1", attributes={"company": "ACME"}
    )
    await seed.identifier(owner, "a", anna, "email", "anna@acme.com", raw="Anna@ACME.com")
    await seed.identifier(owner, "a", anna, "sms", "+4915112345678", raw="0151 12345678")
    await seed.contact(owner, "a", display_name="Gone", deleted_at=seed.at(1))
    await seed.contact(owner, "a", display_name="Merged", merged_into=anna)
    await seed.contact(owner, "b", display_name=None)
    await owner.execute(
        "insert into contacts (tenant_id, id, display_name, created_at, updated_at, version, timeline_sequence) "
        "select 'c', gen_random_uuid(), 'Crowd ' || n, $1, $1, 1, 0 from generate_series(1, $2::integer) n",
        seed.START,
        count,
    )
    return anna


async def test_contacts_from_before_get_their_text(empty: str, owner: asyncpg.Connection) -> None:
    anna = await from_before(owner, count=2 * texts.CHUNK + 1)
    assert (await migrate(empty)).current == OLD
    found = await texts_of(owner)
    names = ["+4915112345678", "acme", "anna muller", "anna@acme.com", "crm-1"]
    assert sorted(values(found["Anna Müller"])) == names
    assert found["Gone"] == "\n gone \n"
    assert found["Merged"] == ""
    crowd = {name: text for name, text in found.items() if name and name.startswith("Crowd")}
    assert len(crowd) == 2 * texts.CHUNK + 1
    assert all(text == f"\n {name.lower()} \n" for name, text in crowd.items())
    assert await owner.fetchval("select count(*) from contacts where version <> 1") == 0
    made = engine(empty, size=1)
    async with Reads(made).of("a") as reads:
        assert (await search(reads, Criteria(text=parse("müller")))).ids == [anna]
    await made.dispose()
    assert (await revision(owner)).up_to_date


async def test_an_interrupted_run_goes_on(
    empty: str, owner: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The text is indexed only once every contact has it."""
    monkeypatch.delitem(AFTERWARDS, "0007")
    await from_before(owner)
    await owner.execute(script(OLD, "0002"))
    await owner.execute("update contacts set search_text = E'\\n mine \\n' where display_name = 'Gone'")
    assert (await migrate(empty)).current == "0002"
    found = await texts_of(owner)
    assert found["Gone"] == "\n mine \n"
    assert found["Anna Müller"].startswith("\n anna muller \n")


@pytest.mark.parametrize("displaced", [True, False])
async def test_a_text_that_a_long_value_had_cut_short_is_written_anew(
    empty: str, owner: asyncpg.Connection, displaced: bool
) -> None:
    """And the search index is built anew where there are any. Texts that hold the same in another order are left alone."""
    await owner.execute(script(None, "0006"))
    anna = await seed.contact(
        owner,
        "a",
        display_name="Anna",
        external_id="CRM-1",
        attributes={"company": "x" * 8100 if displaced else "ACME"},
        search_text="\n anna \n" if displaced else "\n anna \n acme \n anna@acme.com \n crm-1 \n",
    )
    await seed.identifier(owner, "a", anna, "email", "anna@acme.com")
    await owner.execute("update search_state set live_index = 'i'")
    before = await texts_of(owner)
    assert (await migrate(empty)).current == "0006"
    found = await texts_of(owner)
    company = "x" * MOST_VALUE if displaced else "acme"
    assert sorted(values(found["Anna"])) == sorted(["anna", company, "crm-1", "anna@acme.com"])
    assert (found == before) is not displaced
    assert ((await state.read(owner)).incomplete_since is not None) is displaced
    assert await owner.fetchval("select version from contacts") == 1


async def test_a_contact_that_changes_meanwhile_keeps_its_own(
    empty: str, owner: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    await from_before(owner)
    await owner.execute(script(OLD, "0002"))
    other = await asyncpg.connect(empty)
    of_contacts = texts.identities.of_contacts

    async def slowly(connection, keys):
        await owner.execute(
            "update contacts set search_text = E'\\n newer \\n', version = 2 where display_name = 'Anna Müller'"
        )
        return await of_contacts(connection, keys)

    monkeypatch.setattr(texts.identities, "of_contacts", slowly)
    await texts.fill(other)
    await other.close()
    assert (await texts_of(owner))["Anna Müller"] == "\n newer \n"
    assert (await texts_of(owner))["Gone"] == "\n gone \n"


async def test_down_and_up_again(empty: str, owner: asyncpg.Connection) -> None:
    await migrate(empty)
    written = io.StringIO()
    config = Config(output_buffer=written)
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("path_separator", "os")
    command.downgrade(config, f"{(await revision(owner)).head}:{OLD}", sql=True)
    await owner.execute(written.getvalue())
    assert (await revision(owner)).current == OLD
    left = await owner.fetch(
        "select proname::text from pg_proc where proname like 'rollcall%' union all "
        "select typname::text from pg_type where typname like 'rollcall%' union all "
        "select relname::text from pg_class where relname like '%search%' and relnamespace = 'public'::regnamespace"
    )
    assert [row[0] for row in left] == ["rollcall_make_event_partitions"]
    assert (await migrate(empty)).current == OLD
    assert (await revision(owner)).up_to_date


async def test_the_extension_may_be_in_any_schema(empty: str, owner: asyncpg.Connection) -> None:
    await owner.execute('create schema "Extra ones"; create extension pg_trgm schema "Extra ones"')
    await migrate(empty)
    anna = await seed.contact(owner, "a", display_name="Anna", search_text="\n anna \n")
    reader = await connect(empty, READER)
    await reader.execute("select set_config('rollcall.tenant', 'a', false)")
    said = '{"terms": [{"likes": ["%nna%"], "near": [], "spellings": ["nna"]}], "sort_by": "relevance", "first": 0, "size": 9}'
    assert await reader.fetchval("select ids from rollcall_search($1)", said) == [anna]
    await reader.close()


@pytest.fixture
async def limited(empty: str, owner: asyncpg.Connection) -> AsyncIterator[str]:
    """The DSN of one who owns the schema and may become the roles, but may not create in the database."""
    await owner.execute(f"create role {LIMITED} login createrole bypassrls")
    await owner.execute(f"grant rollcall_writer, rollcall_reader to {LIMITED} with admin option")
    await owner.execute(f"alter schema public owner to {LIMITED}")
    parts = urlsplit(empty)
    yield parts._replace(netloc=f"{LIMITED}@{parts.netloc.rpartition('@')[2]}").geturl()
    await owner.execute(
        f"reassign owned by {LIMITED} to current_user; drop owned by {LIMITED}; drop role {LIMITED}"
    )


async def test_without_the_right_to_create_the_extension_it_says_who_must(
    limited: str, owner: asyncpg.Connection
) -> None:
    with pytest.raises(asyncpg.RaiseError, match="pg_trgm") as raised:
        await migrate(limited)
    assert LIMITED in str(raised.value)
    assert "create extension pg_trgm" in raised.value.hint
    assert (await revision(owner)).current is None
    await owner.execute("create extension pg_trgm")
    await migrate(limited)
    assert (await revision(owner)).up_to_date
    owners = await owner.fetch(
        "select proowner::regrole::text from pg_proc where proname = 'rollcall_search'"
    )
    assert [row[0] for row in owners] == ["rollcall_writer"]
    may_create = await owner.fetchval("select has_schema_privilege('rollcall_writer', 'public', 'create')")
    assert may_create is False


async def test_where_the_server_has_no_such_extension_it_says_so(
    empty: str, owner: asyncpg.Connection
) -> None:
    sql = script(OLD, "0002").replace(
        "pg_available_extensions where name = 'pg_trgm'", "pg_available_extensions where false"
    )
    await owner.execute(script(None, OLD))
    with pytest.raises(asyncpg.RaiseError, match="no extension pg_trgm") as raised:
        await owner.execute(sql)
    assert "contrib" in raised.value.hint
