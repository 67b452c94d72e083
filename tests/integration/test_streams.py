"""The streams: declared as they must be, never silently changed, adopted when asked, emptied below the cursors only."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from contracts.subjects import COMMAND, EVENTS, PARTITIONS, STRAY, STREAMS, WEBHOOK
from ops.health import Degraded
from storage import cursors, outbox
from storage.cursors import Cursor
from storage.postgres import WRITER, connect
from tests.helpers.logs import once_free
from tests.helpers.outgoing import made_anew, settings
from workers import streams
from workers.jetstream import Refused, api, parse_time, request
from workers.relay.housekeeping import Housekeeping, filling
from workers.relay.purge import last_before, purge
from workers.streams import StreamsError

EVERY = [*range(PARTITIONS), STRAY]


@pytest.fixture(autouse=True)
async def declared(nats):
    await made_anew(nats)


@pytest.fixture
async def connection(database: str):
    found = await connect(database, WRITER)
    await found.execute("delete from cursors")
    yield found
    await found.close()


async def config_of(nats, name: str) -> dict:
    return (await api(nats, f"STREAM.INFO.{name}"))["config"]


async def made(nats, name: str) -> datetime:
    return parse_time((await api(nats, f"STREAM.INFO.{name}"))["created"])


async def put(nats, subject: str, body: bytes = b"{}") -> int:
    return (await request(nats, subject, body, timeout=30))["seq"]


async def subject_of(nats, name: str, sequence: int) -> str:
    return (await api(nats, f"STREAM.MSG.GET.{name}", {"seq": sequence}))["message"]["subject"]


async def test_declared_once_and_as_they_must_be(nats):
    assert all("as it should be" in line for line in await streams.declare(nats))
    found = await streams.check(nats)
    assert {each.name for each in found} == set(STREAMS)
    assert all(each.ok for each in found), found
    inbound = await config_of(nats, "WEBHOOK")
    assert (inbound["discard"], inbound["max_age"], inbound["storage"]) == ("new", 0, "file")
    events = await config_of(nats, "EVENTS")
    assert events["allow_atomic"]
    assert events["max_age"] == 7 * 24 * 3600 * 10**9


@pytest.mark.parametrize(
    ("subject", "stored"),
    [
        ("webhook.whatsapp.acme.k", "webhook.*.whatsapp.acme.k"),
        ("webhook.whatsapp.acme", "webhook.whatsapp.acme"),
        ("webhook.whatsapp", "webhook.whatsapp"),
        ("webhook.whatsapp.*.k", "webhook.whatsapp.*.k"),
        ("webhook.whatsapp.acme.>", "webhook.whatsapp.acme.>"),
        ("command.contact.create.acme.k", "command.*.contact.create.acme.k"),
        ("command.contact.create.acme", "command.contact.create.acme"),
        ("command.contact.*.acme.k", "command.contact.*.acme.k"),
    ],
)
async def test_what_the_broker_stores_and_where(nats, subject, stored):
    name = subject.partition(".")[0].upper()
    found = await subject_of(nats, name, await put(nats, subject))
    if stored.split(".")[1] == "*":
        prefix, partition, rest = found.split(".", 2)
        assert f"{prefix}.{rest}" == subject
        assert 0 <= int(partition) < PARTITIONS
    else:
        assert found == stored


async def test_subjects_with_too_many_tokens_are_nobodys(nats):
    for subject in ("webhook.5.whatsapp.acme.k", "command.5.contact.create.acme.k"):
        with pytest.raises(Exception, match="no responders"):
            await nats.request(subject, b"", timeout=30)


async def test_mends_what_can_be_mended_and_keeps_what_is_the_operators(nats):
    config = await config_of(nats, "EVENTS")
    changed = {"subjects": ["contact.>"], "allow_direct": False, "max_bytes": 5 << 30, "max_age": 10**15}
    await api(nats, "STREAM.UPDATE.EVENTS", config | changed)
    (wrong,) = [each for each in await streams.check(nats) if not each.ok]
    assert wrong.name == "EVENTS"
    assert "subjects" in wrong.detail
    assert "rollcall streams" in wrong.mend
    assert any("EVENTS: mended (allow_direct, subjects)" in line for line in await streams.declare(nats))
    config = await config_of(nats, "EVENTS")
    assert (config["max_bytes"], config["max_age"]) == (5 << 30, 10**15)
    assert config["subjects"] == list(EVENTS.subjects)


async def test_refuses_to_change_the_number_of_partitions(nats):
    await api(nats, "STREAM.DELETE.WEBHOOK")
    await api(nats, "STREAM.DELETE.DEADLETTER")
    other = streams.created(WEBHOOK)
    transform = other["subject_transform"]
    transform["dest"] = transform["dest"].replace(f"({PARTITIONS},", "(16,")
    await once_free(lambda: api(nats, "STREAM.CREATE.WEBHOOK", other))
    with pytest.raises(StreamsError, match=r"WEBHOOK: it has 16 partitions .* needs 32"):
        await streams.declare(nats)
    assert await streams.info(nats, "DEADLETTER") is None, "all or nothing"
    wrong = {each.name: each for each in await streams.check(nats) if not each.ok}
    assert wrong.keys() == {"WEBHOOK", "DEADLETTER"}
    assert wrong["DEADLETTER"].detail == "missing"
    assert "16 partitions" in wrong["WEBHOOK"].mend


async def test_refuses_memory_and_finds_unsafe_limits(nats):
    await api(nats, "STREAM.DELETE.COMMAND")
    in_memory = streams.created(COMMAND) | {"storage": "memory"}
    await once_free(lambda: api(nats, "STREAM.CREATE.COMMAND", in_memory))
    with pytest.raises(StreamsError, match="COMMAND: it is kept in memory"):
        await streams.declare(nats)
    await made_anew(nats)
    config = await config_of(nats, "COMMAND")
    await api(nats, "STREAM.UPDATE.COMMAND", config | {"max_age": 10**12})
    (wrong,) = [each for each in await streams.check(nats) if not each.ok]
    assert "max_age" in wrong.mend


async def test_adopts_streams_made_anew_and_no_other(nats, database, connection):
    await connection.execute("delete from cursors")
    old = datetime(2020, 1, 1, tzinfo=UTC)
    await cursors.adopt(connection, "WEBHOOK", old, dict.fromkeys(EVERY, 500))
    await cursors.adopt(connection, "COMMAND", await made(nats, "COMMAND"), dict.fromkeys(EVERY, 0))
    for _ in range(3):
        await put(nats, "webhook.whatsapp.acme.k")
    lines = await streams.adopt(nats, database)
    assert any(line.startswith("WEBHOOK: adopted") for line in lines)
    assert "COMMAND: nothing to adopt" in lines
    assert await cursors.load(connection, "WEBHOOK") == dict.fromkeys(
        EVERY, Cursor(0, await made(nats, "WEBHOOK"))
    )
    assert await streams.adopt(nats, database, ["WEBHOOK"]) == ["WEBHOOK: nothing to adopt"]
    await cursors.adopt(connection, "WEBHOOK", old, dict.fromkeys(EVERY, 500))
    await streams.adopt(nats, database, ["WEBHOOK"], at_end=True)
    assert (await cursors.load(connection, "WEBHOOK"))[0].sequence == 3


async def test_adopts_a_stream_that_ends_before_its_cursor(nats, database, connection):
    at = await made(nats, "WEBHOOK")
    await cursors.adopt(connection, "WEBHOOK", at, {**dict.fromkeys(EVERY, 0), 3: 9})
    assert "adopted" in (await streams.adopt(nats, database, ["WEBHOOK"]))[0]
    assert {c.sequence for c in (await cursors.load(connection, "WEBHOOK")).values()} == {0}


async def test_purges_below_the_slowest_cursor(nats, connection):
    sequences = [await put(nats, f"webhook.whatsapp.acme.{n}") for n in range(20)]
    stray = await put(nats, "webhook.whatsapp")
    at = await made(nats, "WEBHOOK")
    none = timedelta(0)
    assert await purge(nats, connection, WEBHOOK, none) == 0, "nobody has read anything"
    await cursors.adopt(connection, "WEBHOOK", at, dict.fromkeys(EVERY, sequences[9]))
    assert await purge(nats, connection, WEBHOOK, timedelta(hours=1)) == 0, "the replay window"
    assert await purge(nats, connection, WEBHOOK, none) == 10
    behind = int((await subject_of(nats, "WEBHOOK", sequences[15])).split(".")[1])
    await cursors.adopt(connection, "WEBHOOK", at, {**dict.fromkeys(EVERY, stray), behind: sequences[9]})
    await purge(nats, connection, WEBHOOK, none)
    info = await api(nats, "STREAM.INFO.WEBHOOK", {"subjects_filter": ">"})
    assert info["state"]["subjects"].keys()
    assert all(subject.startswith(f"webhook.{behind}.") for subject in info["state"]["subjects"])


async def test_the_replay_window_is_found_by_time(nats):
    first = [await put(nats, "webhook.whatsapp.acme.k") for _ in range(5)]
    between = parse_time((await api(nats, "STREAM.MSG.GET.WEBHOOK", {"seq": first[-1]}))["message"]["time"])
    later = [await put(nats, "webhook.whatsapp.acme.k") for _ in range(5)]
    state = (await api(nats, "STREAM.INFO.WEBHOOK"))["state"]
    assert await last_before(nats, WEBHOOK, between + timedelta(microseconds=1), state) == first[-1]
    assert await last_before(nats, WEBHOOK, between - timedelta(days=1), state) == 0
    assert await last_before(nats, WEBHOOK, datetime.now(UTC), state) == later[-1]


async def test_the_replay_window_gives_way_to_a_full_stream(nats, connection):
    config = await config_of(nats, "WEBHOOK")
    await api(nats, "STREAM.UPDATE.WEBHOOK", config | {"max_bytes": 20_000})
    sequences = [await put(nats, "webhook.whatsapp.acme.k", b"x" * 1500) for _ in range(10)]
    assert any(line.startswith("WEBHOOK is at 7") for line in await filling(nats, "WEBHOOK"))
    await cursors.adopt(
        connection, "WEBHOOK", await made(nats, "WEBHOOK"), dict.fromkeys(EVERY, sequences[6])
    )
    assert await purge(nats, connection, WEBHOOK) == 7
    assert await filling(nats, "WEBHOOK") == []


async def test_cursors_of_another_stream_purge_nothing(nats, connection):
    await put(nats, "webhook.whatsapp.acme.k")
    await cursors.adopt(connection, "WEBHOOK", datetime(2020, 1, 1, tzinfo=UTC), dict.fromkeys(EVERY, 99))
    assert await purge(nats, connection, WEBHOOK, timedelta(0)) == 0


async def test_one_step_that_fails_keeps_no_other_from_being_taken(
    nats, bus, database, connection, monkeypatch
):
    config = await config_of(nats, "COMMAND")
    await api(nats, "STREAM.UPDATE.COMMAND", config | {"max_bytes": 20_000})
    sequences = [await put(nats, "command.contact.create.acme.k", b"x" * 1500) for _ in range(10)]
    await cursors.adopt(
        connection, "COMMAND", await made(nats, "COMMAND"), dict.fromkeys(EVERY, sequences[-1])
    )
    await api(nats, "STREAM.DELETE.WEBHOOK")

    async def refused(*_, **__):
        raise asyncpg.LockNotAvailableError("the outbox is locked")

    monkeypatch.setattr(outbox, "expire", refused)
    keeping = Housekeeping(settings(database, f"nats://127.0.0.1:1, {bus.url}"), lambda: True)
    problems = await keeping.once()
    assert problems == [
        "housekeeping: outbox: LockNotAvailableError (55P03)",
        "housekeeping: WEBHOOK: stream not found (10059)",
    ]
    assert all(isinstance(problem, Degraded) for problem in problems)
    assert (await api(nats, "STREAM.INFO.COMMAND"))["state"]["messages"] == 0


async def test_what_needs_one_server_is_done_while_the_other_is_away(database, connection):
    await connection.execute(
        "insert into inbox_messages (tenant_id, digest, outcome, created_at)"
        " values ('globex', decode(repeat('0', 32), 'hex'), '{}', now() - interval '31 days')"
    )
    keeping = Housekeeping(settings(database, "nats://127.0.0.1:1"), lambda: True)
    (problem,) = await keeping.once()
    assert problem.startswith("housekeeping: NATS: ")
    assert await connection.fetchval("select count(*) from inbox_messages where tenant_id = 'globex'") == 0


async def test_the_outbox_is_weighed_rarely(database, bus, monkeypatch):
    weighed = []

    async def surplus(_connection):
        weighed.append(1)
        return 0

    monkeypatch.setattr(outbox, "surplus", surplus)
    keeping = Housekeeping(settings(database, bus.url), lambda: True)
    await keeping.once()
    await keeping.once()
    assert len(weighed) == 1


async def test_a_missing_stream_is_named(nats, database):
    await api(nats, "STREAM.DELETE.WEBHOOK")
    with pytest.raises(StreamsError, match="WEBHOOK: missing"):
        await streams.adopt(nats, database)
    with pytest.raises(Refused):
        await api(nats, "STREAM.INFO.WEBHOOK")
    await once_free(lambda: asyncio.gather(streams.declare(nats), streams.declare(nats)))
