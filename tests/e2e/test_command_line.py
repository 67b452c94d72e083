from __future__ import annotations

import asyncio
import os
import re
import signal
import uuid
from datetime import UTC, datetime

import asyncpg
import nats
import orjson
import psutil
import pytest
from nats.js.api import DiscardPolicy, StorageType

from ops.devstack.nats import CONFIG, NatsServer
from ops.devstack.process import running
from ops.probe import get
from ops.samples.providers import form, twilio_message, whatsapp_message
from ops.supervisor import PAUSE
from tests.e2e.fleet import up
from tests.eventually import eventually
from tests.helpers.forked import CLEAN, rollcall
from tests.helpers.http import plain
from workers.fleet import FLEET

UNREACHABLE = {
    **CLEAN,
    "ROLLCALL_NATS_URL": "nats://127.0.0.1:1",
    "ROLLCALL_POSTGRES_DSN": "postgresql://u@127.0.0.1:1/x",
}


@pytest.fixture(scope="module")
async def fleet():
    found = await up("--ephemeral", "--scale", "inbox=2")
    yield found
    if found.process.returncode is None:
        await found.end()


def person() -> tuple[str, str]:
    """A phone number that nobody else has, and its JSON for contact.create."""
    phone = f"+4915{uuid.uuid4().int % 10**9:09d}"
    return phone, orjson.dumps({"first_name": "Ada", "phone": phone}).decode()


async def test_the_line_of_up_says_where_everything_is(fleet):
    keys = {f"{name}/0" for name, kind in FLEET.items() if not kind.needs_elasticsearch} | {"inbox/1"}
    assert "elasticsearch_url" not in fleet.line
    assert set(fleet.line) >= {"nats_url", "nats_monitor_url", "postgres_dsn", "http", "pids"}
    assert set(fleet.line["pids"]) == keys
    assert set(fleet.line["http"]) == keys | {"supervisor"}
    for key in keys:
        name = key.partition("/")[0]
        assert f"rollcall worker {name}" in " ".join(psutil.Process(fleet.line["pids"][key]).cmdline())
        for path in ("healthz", "readyz", "metrics"):
            status, body = await get(f"{fleet.line['http'][key]}/{path}")
            assert status == 200, body
    status, body = await get(f"{fleet.line['http']['supervisor']}/fleet")
    assert (status, orjson.loads(body)) == (200, fleet.line)
    async with plain() as client:
        answer = await client.get(
            f"{fleet.line['http']['supervisor']}/fleet", headers={"Host": "evil.example"}
        )
    assert answer.status_code == 400, "a name that somebody has point here reads no secret"


async def test_a_dead_worker_is_back_under_its_key_and_port(fleet):
    killed = {None}
    pid = fleet.line["pids"]["inbox/1"]

    async def back():
        _, body = await get(f"{fleet.line['http']['supervisor']}/fleet")
        now = orjson.loads(body)
        assert now["http"] == fleet.line["http"]
        return now["pids"]["inbox/1"] if now["pids"]["inbox/1"] not in killed else None

    for _ in range(8):  # however often, and however soon after its start
        os.kill(pid, signal.SIGKILL)
        killed.add(pid)
        pid = await eventually(back)

    async def ready():
        status, _ = await get(f"{fleet.line['http']['inbox/1']}/readyz")
        return status == 200

    await eventually(ready, 60)
    assert PAUSE < 2  # seconds that are promised; what else passes is the machine's


async def test_send_and_query(fleet):
    phone, data = person()
    sent = await fleet.rollcall("send", "contact.create", "--tenant", "acme", "--data", data, "--json")
    assert (sent.code, sent.json["status"], sent.json["created"]) == (0, "applied", True), sent
    taken = await fleet.rollcall("send", "contact.create", "--tenant", "acme", "--data", data, "--json")
    assert (taken.code, taken.json["code"]) == (1, "identifier_taken")
    assert taken.json["details"]["contact_id"] == sent.json["contact_id"]
    person_reads = await fleet.rollcall("send", "contact.create", "--tenant", "acme", "--data", data)
    assert person_reads.code == 1
    assert "identifier_taken" in person_reads.stdout
    invalid = await fleet.rollcall("send", "contact.create", "--tenant", "acme", "--data", '{"email": "no"}')
    assert invalid.stdout == "rejected invalid: email: not an e-mail address\n"
    invalid = await fleet.rollcall("send", "contact.create", "--tenant", "acme", "--data", '{"a": 1, "b": 2}')
    assert [line.partition(":")[0] for line in invalid.stdout.splitlines()] == [
        "rejected invalid",
        "  a",
        "  b",
    ]

    wanted = orjson.dumps({"channel": "sms", "identifier": phone}).decode()
    found = await fleet.rollcall("query", "contact.find", "--tenant", "acme", "--data", wanted, "--json")
    assert (found.code, found.json["success"]) == (0, True)
    assert found.json["data"]["id"] == sent.json["contact_id"]
    elsewhere = await fleet.rollcall(
        "query", "contact.find", "--tenant", "globex", "--data", wanted, "--json"
    )
    assert (elsewhere.code, elsewhere.json["error"]["code"]) == (1, "contact_not_found")


async def test_what_became_of_each_of_many_events(fleet):
    phone, data = person()
    made = await fleet.rollcall("send", "contact.create", "--tenant", "acme", "--data", data, "--json")
    events = [{"type": "note_added", "category": "note"}, {"type": "note_added", "category": "nonsense"}]
    many = orjson.dumps({"contact": {"channel": "sms", "identifier": phone}, "events": events}).decode()
    sent = await fleet.rollcall("send", "timeline.record_many", "--tenant", "acme", "--data", many)
    first, applied, refused = sent.stdout.splitlines()
    assert (sent.code, first) == (0, f"applied contact {made.json['contact_id']} version 1")
    assert applied == f"  events.0 applied contact {made.json['contact_id']}"
    assert refused.startswith("  events.1 rejected invalid: events.1.category: must be 'general', ")

    named = orjson.dumps({"category": "note"}).decode()
    noted = await fleet.rollcall(
        "query", "timeline.by_category", "--tenant", "acme", "--data", named, "--json"
    )
    (event,) = noted.json["data"]
    marks = orjson.dumps({"event_ids": [event["id"]]}).decode()
    for marked in ([event["id"]], []):
        read = await fleet.rollcall(
            "send", "timeline.mark_read", "--tenant", "acme", "--data", marks, "--json"
        )
        assert (read.code, read.json["details"]) == (0, {"marked": marked, "unknown": []})


async def test_the_same_id_again_is_a_duplicate(fleet):
    arguments = (
        "send",
        "contact.create",
        "--tenant",
        "acme",
        "--data",
        person()[1],
        "--json",
        "--id",
        str(uuid.uuid4()),
    )
    first, second = await fleet.rollcall(*arguments), await fleet.rollcall(*arguments)
    assert (first.code, first.json["status"]) == (0, "applied")
    assert (second.code, second.json["status"]) == (0, "duplicate")
    assert second.json["first"]["contact_id"] == first.json["contact_id"]


async def test_webhooks_from_a_file_and_from_stdin(fleet, tmp_path):
    phone, _ = person()
    body = whatsapp_message(phone[1:], "Ada", f"wamid.{uuid.uuid4()}", "Hello", datetime.now(UTC))
    path = tmp_path / "body.json"
    path.write_bytes(orjson.dumps(body))
    first = await fleet.rollcall(
        "send", "webhook.whatsapp", "--tenant", "acme", "--key", phone[1:], "--data", f"@{path}", "--json"
    )
    assert (first.code, first.json["items"][0]["status"]) == (0, "applied"), first
    again = await fleet.rollcall(
        "send", "webhook.whatsapp", "--tenant", "acme", "--data", "-", "--json", stdin=path.read_bytes()
    )
    assert (again.code, again.json["items"][0]["status"]) == (0, "duplicate"), again
    sms_body = form(twilio_message(phone, f"SM{uuid.uuid4().hex}", "Hello")).encode()
    sms = await fleet.rollcall(
        "send", "webhook.twilio", "--tenant", "acme", "--data", "-", "--json", stdin=sms_body
    )
    assert (sms.code, sms.json["items"][0]["contact_id"]) == (0, first.json["items"][0]["contact_id"]), sms


async def test_a_dead_letter_is_listed_shown_and_replayed(fleet):
    dead = await fleet.rollcall(
        "send", "webhook.whatsapp", "--tenant", "morgue", "--data", '{"entry": 1}', "--json"
    )
    assert (dead.code, dead.json["status"], dead.json["code"]) == (2, "dead", "invalid_payload"), dead
    listed = await fleet.rollcall("dlq", "list", "--tenant", "morgue", "--json")
    (letter,) = [orjson.loads(line) for line in listed.stdout.splitlines()]
    assert set(letter) == {
        "id",
        "stream",
        "tenant",
        "subject",
        "position",
        "reason",
        "detail",
        "count",
        "time",
    }
    assert (letter["stream"], letter["subject"], letter["count"]) == (
        "WEBHOOK",
        "webhook.whatsapp.morgue.-",
        1,
    )
    for only in (("--stream", "webhook"), ("--reason", "INVALID_payload")):
        found = await fleet.rollcall("dlq", "list", "--tenant", "morgue", *only, "--json")
        assert found.json == letter
    shown = await fleet.rollcall("dlq", "show", letter["id"], "--json")
    assert [time[-1] for time in (letter["time"], shown.json["time"], shown.json["created_at"])] == ["Z"] * 3
    assert orjson.loads(shown.json["body"])["data"] == {"entry": 1}
    again = await fleet.rollcall("dlq", "replay", letter["id"], "--json")
    assert (again.code, again.json["status"]) == (2, "dead"), again
    listed = await fleet.rollcall("dlq", "list", "--tenant", "morgue", "--json")
    assert [orjson.loads(line)["count"] for line in listed.stdout.splitlines()] == [2, 1]
    assert "invalid_payload" in (await fleet.rollcall("dlq", "list", "--tenant", "morgue")).stdout
    assert (await fleet.rollcall("dlq", "show", str(uuid.uuid4()))).code == 1
    now = datetime.now(UTC).isoformat()
    other = await fleet.rollcall("dlq", "delete", "--before", now, "--tenant", "nobody")
    assert (other.code, other.stdout) == (0, "0 dead letters deleted\n")
    gone = await fleet.rollcall("dlq", "delete", "--before", now, "--tenant", "morgue", "--json")
    assert (gone.code, gone.json) == (0, {"deleted": 2})
    assert (await fleet.rollcall("dlq", "list", "--tenant", "morgue", "--json")).stdout == ""


async def test_a_stray_is_replayed_with_an_answer(fleet):
    client = await nats.connect(fleet.line["nats_url"])
    await client.jetstream().publish("webhook.message.without-a-key", b"{}")
    await client.close()

    async def buried() -> list[dict]:
        listed = await fleet.rollcall("dlq", "list", "--reason", "bad_subject", "--json")
        return [orjson.loads(line) for line in listed.stdout.splitlines()]

    (letter,) = await eventually(buried)
    again = await fleet.rollcall("dlq", "replay", letter["id"], "--json")
    assert (again.code, again.json["status"], again.json["code"]) == (2, "dead", "bad_subject"), again


async def test_the_doctor_finds_nothing(fleet):
    seen = await fleet.rollcall("doctor", "--json")
    assert (seen.code, seen.json["ok"]) == (0, True), seen
    for name in ("read role", "tenant tables", "migrations", "sync_interval"):
        assert name in {found["name"] for found in seen.json["findings"]}
    assert "neither superuser nor exempt" in (await fleet.rollcall("doctor", COLUMNS="200")).stdout


NOBODY = (
    ("send", "contact.create", "--tenant", "-", "--data", "{}"),
    ("query", "contact.get", "--tenant", "-"),
    ("token", "--tenant", "-"),
    ("up", "--tenant", "-"),
)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("send", "contact.create", "--data", "{}"), "--tenant"),
        (("send", "contact.create", "--tenant", "acme"), "--data"),
        (("send", "contact.create", "--tenant", "acme", "--data", "{"), "--data"),
        (("send", "contact.create", "--tenant", "acme", "--data", "[]"), "--data"),
        (("send", "contact.create", "--tenant", "acme", "--data", "@/no/such/file"), "--data"),
        (("send", "contact.create", "--tenant", "a.b", "--data", "{}"), "--tenant"),
        *((command, "--tenant") for command in NOBODY),
        (("send", "contact.crate", "--tenant", "acme", "--data", "{}"), "TYPE"),
        (("query", "contact.got", "--tenant", "acme"), "NAME"),
        (("up", "--scale", "nobody=2"), "--scale"),
        (("up", "--scale", "inbox=many"), "--scale"),
        (("up", "--ephemeral", "--data", "x"), "--data"),
        (("worker", "nobody"), "NAME"),
        (("dlq", "show", "7"), "ID"),
        (("dlq", "delete"), "--before"),
        (("dlq", "delete", "--before", "yesterday"), "--before"),
        (("dlq", "list", "--stream", "NOPE"), "there are WEBHOOK, COMMAND, EVENTS"),
        (
            ("dlq", "list", "--stream", "DEADLETTER"),
            "--stream",
        ),  # nobody reads it, so that nothing dies there
        (("dlq", "list", "--reason", "nope"), "there are bad_subject, bad_envelope, "),
        (("nonsense",), "nonsense"),
    ],
)
async def test_wrong_usage_names_the_option(fleet, arguments, said):
    ran = await fleet.rollcall(*arguments)
    assert ran.code == 64
    assert said in ran.stderr
    assert len(ran.stderr.splitlines()) == 1
    assert ran.stdout == ""


async def test_a_missing_setting_is_wrong_usage():
    for arguments in (("worker", "inbox"), ("dlq", "list"), ("migrate",), ("streams",)):
        ran = await rollcall(*arguments)
        assert (ran.code, "ROLLCALL_" in ran.stderr) == (64, True), (arguments, ran)


async def test_a_worker_does_not_start_with_a_failpoint_that_there_is_not():
    ran = await rollcall("worker", "inbox", environment={**UNREACHABLE, "ROLLCALL_FAILPOINT": "nope:1"})
    assert ran.code == 64, ran
    assert ran.stderr.startswith("ROLLCALL_FAILPOINT: there is no such point; ")
    assert "before_commit" in ran.stderr


async def test_nobody_answers(bus, database):
    environment = {**CLEAN, "ROLLCALL_NATS_URL": bus.url, "ROLLCALL_POSTGRES_DSN": database}
    ran = await rollcall(
        "query", "contact.get", "--tenant", "acme", "--timeout", "0.5", environment=environment
    )
    assert ran.code == 3, ran
    assert (await rollcall("streams", environment=environment)).code == 0
    sent = await rollcall(
        "send",
        "contact.create",
        "--tenant",
        "acme",
        "--data",
        "{}",
        "--timeout",
        "0.5",
        environment=environment,
    )
    assert sent.code == 3, sent


@pytest.mark.parametrize(
    ("arguments", "code", "variable"),
    [
        (("send", "contact.create", "--tenant", "acme", "--data", "{}"), 3, "ROLLCALL_NATS_URL"),
        (("query", "contact.list", "--tenant", "acme"), 3, "ROLLCALL_NATS_URL"),
        (("streams",), 1, "ROLLCALL_NATS_URL"),
        (("dlq", "list"), 1, "ROLLCALL_POSTGRES_DSN"),
        (("dlq", "replay", str(uuid.uuid4())), 1, "ROLLCALL_POSTGRES_DSN"),
        (("migrate",), 1, "ROLLCALL_POSTGRES_DSN"),
        (("up", "--ephemeral", "--json"), 1, "ROLLCALL_POSTGRES_DSN"),
    ],
)
async def test_a_server_out_of_reach_is_one_line_that_names_the_variable(arguments, code, variable):
    ran = await rollcall(*arguments, environment=UNREACHABLE)
    assert ran.code == code, ran
    assert f"set {variable}" in ran.stderr
    assert len(ran.stderr.splitlines()) == 1, ran.stderr


@pytest.fixture
def new_bus(tmp_path):
    """A nats-server of the test's own, without streams."""
    server = NatsServer(tmp_path)
    server.start()
    yield server
    server.stop()


async def test_without_streams_a_message_is_refused_at_once(new_bus):
    environment = {**CLEAN, "ROLLCALL_NATS_URL": new_bus.url}
    arguments = ("send", "contact.create", "--tenant", "acme", "--data", "{}")
    ran = await rollcall(*arguments, environment=environment)
    assert (ran.code, "`rollcall streams`" in ran.stderr) == (1, True), ran


@pytest.mark.parametrize(
    ("arguments", "variables", "said"),
    [
        (("--data", "/dev/null/x"), {}, "--data"),
        (("--ephemeral",), {"ROLLCALL_LANES": "99"}, "ROLLCALL_LANES"),
        (("--ephemeral",), {"ROLLCALL_POSTGRES_DSN": "mysql://x"}, "ROLLCALL_POSTGRES_DSN"),
    ],
)
async def test_a_fleet_that_cannot_start_says_why_in_one_line(arguments, variables, said):
    ran = await rollcall("up", "--json", *arguments, environment={**CLEAN, **variables})
    assert ran.code in {1, 64}
    assert said in ran.stderr
    assert len(ran.stderr.splitlines()) == 1, ran.stderr


async def test_a_fleet_does_not_start_on_a_stream_that_does_not_fit(new_bus, database):
    client = await nats.connect(new_bus.url)
    stream = {"name": "WEBHOOK", "subjects": ["webhook.*.*.*"], "storage": StorageType.MEMORY}
    await client.jetstream().add_stream(**stream)
    await client.close()
    environment = {**CLEAN, "ROLLCALL_NATS_URL": new_bus.url, "ROLLCALL_POSTGRES_DSN": database}
    ran = await rollcall("up", "--ephemeral", "--json", environment=environment)
    assert (ran.code, "WEBHOOK: it is kept in memory" in ran.stderr) == (1, True), ran


async def test_a_fleet_does_not_start_without_the_rights_to_migrate(bus, fresh_database):
    connection = await asyncpg.connect(fresh_database)
    await connection.execute("create role plain login")
    await connection.close()
    plain = fresh_database.replace("//rollcall@", "//plain@")
    environment = {**CLEAN, "ROLLCALL_NATS_URL": bus.url, "ROLLCALL_POSTGRES_DSN": plain}
    ran = await rollcall("up", "--ephemeral", "--json", environment=environment)
    assert (ran.code, "permission denied" in ran.stderr) == (1, True), ran
    assert len(ran.stderr.splitlines()) == 1, ran.stderr


async def test_a_worker_whose_port_is_taken_says_which_setting(bus, database):
    environment = {
        **CLEAN,
        "ROLLCALL_NATS_URL": bus.url,
        "ROLLCALL_POSTGRES_DSN": database,
        "ROLLCALL_HTTP_PORT": str(bus.port),
    }
    ran = await rollcall("worker", "queries", environment=environment)
    assert (ran.code, "ROLLCALL_HTTP_PORT" in ran.stderr, "Traceback" in ran.stderr) == (1, True, False), ran


async def test_the_doctor_sees_an_account_without_jetstream(monkeypatch, tmp_path):
    accounts = """
accounts {{ A: {{ jetstream: enabled, users: [{{user: a, password: a}}] }}, B: {{ users: [{{user: b, password: b}}] }} }}
"""
    monkeypatch.setattr("ops.devstack.nats.CONFIG", CONFIG + accounts)
    server = NatsServer(tmp_path)
    server.start()
    try:
        environment = {**UNREACHABLE, "ROLLCALL_NATS_URL": server.url.replace("//", "//b:b@")}
        seen = await rollcall("doctor", "--json", environment=environment)
    finally:
        server.stop()
    found = {found["name"]: found for found in seen.json["findings"]}
    assert seen.code == 1
    assert (found["streams"]["ok"], "account" in found["streams"]["mend"]) == (False, True)
    assert re.fullmatch(r"version [0-9.]+", found["NATS"]["detail"])
    assert (found["sync_interval"]["ok"], found["sync_interval"]["detail"]) == (None, "not looked at")


async def test_the_doctor_says_what_is_wrong_and_how_to_mend_it(bus, fresh_database):
    environment = {**CLEAN, "ROLLCALL_NATS_URL": bus.url, "ROLLCALL_POSTGRES_DSN": fresh_database}
    assert (await rollcall("streams", environment=environment)).code == 0
    client = await nats.connect(bus.url)
    await client.jetstream().delete_stream("EVENTS")
    webhook = (await client.jetstream().stream_info("WEBHOOK")).config
    await client.jetstream().update_stream(webhook, discard=DiscardPolicy.OLD)
    await client.close()
    seen = await rollcall("doctor", "--json", environment=environment)
    wrong = {found["name"]: found for found in seen.json["findings"] if not found["ok"]}
    assert seen.code == 1
    assert set(wrong) >= {"migrations", "EVENTS", "WEBHOOK"}
    assert "rollcall migrate" in wrong["migrations"]["mend"]
    assert "rollcall streams" in wrong["EVENTS"]["mend"]
    assert "rollcall streams" in wrong["WEBHOOK"]["mend"]
    for mend in ("migrate", "streams"):
        assert (await rollcall(mend, environment=environment)).code == 0
    assert (await rollcall("doctor", environment=environment)).code == 0


async def test_the_doctor_sees_servers_out_of_reach_and_one_that_forgets(monkeypatch, tmp_path):
    seen = await rollcall("doctor", "--json", environment={**UNREACHABLE, "ROLLCALL_DEFAULT_REGION": "UK"})
    assert seen.code == 1
    wrong = {found["name"]: found for found in seen.json["findings"] if not found["ok"]}
    assert set(wrong) == {"PostgreSQL", "NATS", "settings"}
    assert wrong["settings"]["detail"].startswith("ROLLCALL_DEFAULT_REGION: ")
    assert "GB" in wrong["settings"]["mend"]

    monkeypatch.setattr(
        "ops.devstack.nats.CONFIG", CONFIG.replace("sync_interval: always", "").replace("8MB", "1MB")
    )
    server = NatsServer(tmp_path)
    server.start()
    try:
        forgetful = {
            **UNREACHABLE,
            "ROLLCALL_NATS_URL": server.url,
            "ROLLCALL_NATS_MONITOR_URL": server.monitor_url,
        }
        seen = await rollcall("doctor", "--json", environment=forgetful)
    finally:
        server.stop()
    found = {found["name"]: found for found in seen.json["findings"]}
    assert (found["sync_interval"]["ok"], found["sync_interval"]["detail"]) == (False, "every 120 s")
    assert "sync_interval: always" in found["sync_interval"]["mend"]
    assert (found["max_payload"]["ok"], found["max_payload"]["detail"]) == (False, "1,048,576 bytes")
    assert "max_payload: 8MB" in found["max_payload"]["mend"]


async def test_given_servers_are_used_and_left_running(bus, database):
    several = f"nats://127.0.0.1:1, {bus.url}"  # one of them is away
    found = await up("--ephemeral", ROLLCALL_NATS_URL=several, ROLLCALL_POSTGRES_DSN=database)
    assert (found.line["nats_url"], found.line["postgres_dsn"]) == (several, database)
    sent = await found.rollcall("send", "contact.create", "--tenant", "acme", "--data", person()[1])
    assert sent.code == 0, sent
    assert (await found.rollcall("query", "contact.list", "--tenant", "acme")).code == 0
    assert (await found.rollcall("doctor")).code == 0
    assert await found.end() == 0
    assert bus.alive()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_everything(number):
    found = await up("--ephemeral")
    started = [child.pid for child in psutil.Process(found.process.pid).children(recursive=True)]
    assert len(started) > len(FLEET) + 2
    found.process.send_signal(number)
    assert await asyncio.wait_for(found.process.wait(), 90) == 0
    assert [pid for pid in started if running(pid)] == []
