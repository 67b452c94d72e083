"""Input that nobody should send, among input that everybody sends."""

from __future__ import annotations

import json

import asyncpg
import pytest
from nats.js.errors import APIError

from tests.eventually import eventually
from tests.faults.stage import Stage
from tests.faults.traffic import Traffic
from tests.model.build import STRUCTURED, Draft, command, neutral, webhook, whatsapp

MAX_BODY = 900_000
PHONE = "+491525000{:04}"


def sized(tenant: str, key: str, sender: str, size: int) -> Draft:
    """A neutral message of exactly so many bytes."""
    empty = neutral(tenant, key, sender, message_id=key, text="")
    draft = neutral(
        tenant, key, sender, message_id=key, text="x" * (size - len(empty.body)), envelope_id=empty.id
    )
    padding = size - len(draft.body)
    return Draft(draft.subject, draft.body + b" " * padding, draft.headers, draft.id)


def hostile(tenant: str) -> list[Draft]:
    def inbox(body: bytes, **headers: str) -> Draft:
        return Draft(f"webhook.message.{tenant}.h", body, {**STRUCTURED, **headers})

    phones = iter(PHONE.format(n) for n in range(1000))

    def message(**fields) -> Draft:
        return neutral(tenant, "h", next(phones), **fields)

    deep = {}
    for _ in range(100):
        deep = {"d": deep}
    who = {"external_id": "nobody"}
    return [
        message(text="a\0b"),
        message(text="a\ud800b"),
        message(text="\udfff"),
        message(profile_name="nul \0 name"),
        command("contact.create", tenant, "h", {"external_id": "nul", "attributes": {"a\0": 1}}),
        command("contact.create", tenant, "h", {"external_id": "sur", "first_name": "\ud83d"}),
        inbox(b""),
        inbox(b"{"),
        inbox(b"null"),
        inbox(b'"text"'),
        inbox(b"\xff\xfe\x00"),
        inbox(b'{"id": "\xed\xa0\x80"}'),
        inbox(b"[" * 50_000),
        inbox(b'{"a":' * 50_000 + b"1" + b"}" * 50_000),
        inbox(b"{}"),
        inbox(json.dumps({"specversion": "1.0", "id": "", "source": "s", "data": {}}).encode()),
        inbox(json.dumps({"specversion": "1.0", "id": 7, "source": "s", "data": {}}).encode()),
        Draft(f"webhook.message.{tenant}.h", b'{"channel": "sms", "from": "+491525009999"}', {}),
        webhook("pigeon", tenant, "h", {}),
        webhook("message", tenant, "h", None),
        webhook("message", tenant, "h", []),
        webhook("message", tenant, "h", {"channel": "sms"}),
        webhook("whatsapp", tenant, "h", {"entry": 7}),
        whatsapp(tenant, "h", dataversion="9.9"),
        message(envelope_dataversion="2.0"),
        message(envelope_tenantid="somebody-else"),
        command("contact.explode", tenant, "h", {}),
        command("contact.create", tenant, "h", {"external_id": "x1"}, dataversion="7.0"),
        command("contact.create", tenant, "h", {"external_id": "x2"}, type="command.contact.delete"),
        command("contact.create", tenant, "h", {"external_id": "x3", "nonsense": True}),
        command("contact.create", tenant, "h", [1]),
        command("contact.update", tenant, "h", {"contact": {}, "set": {}}),
        command("contact.update", tenant, "h", {"contact": who, "set": {"first_name": "X"}}),
        command(
            "identifier.add", tenant, "h", {"contact": who, "channel": "sms", "identifier": "9" * 10_000}
        ),
        neutral(tenant, "h", "9" * 10_000),
        neutral(tenant, "h", "   "),
        neutral(tenant, "h", "i" * 10_000, channel="telegram"),
        message(text="old", occurred_at="1999-12-31T23:59:59Z", message_id="old"),
        message(text="new", occurred_at="2099-12-31T23:59:59Z", message_id="new"),
        message(text="old envelope", envelope_time="1999-01-01T00:00:00Z"),
        message(text="new envelope", envelope_time="2099-01-01T00:00:00Z"),
        message(text="no time", envelope_time=None),
        message(text="nonsense time", envelope_time="yesterday"),
        command("contact.create", tenant, "h", {"external_id": "deep", "attributes": {"d": deep}}),
        sized(tenant, "fits", next(phones), MAX_BODY),
        sized(tenant, "large", next(phones), MAX_BODY + 1),
        sized(tenant, "larger", next(phones), 990_000),
    ]


async def test_hostile_among_good(stage: Stage):
    traffic = Traffic(stage.tenant("hostile"), seed=1, people=15)
    await stage.prologue(traffic)
    bad = hostile(traffic.tenant)
    step = max(1, len(traffic.main) // len(bad))
    drafts = list(traffic.main)
    for n, draft in enumerate(bad):
        drafts.insert(n * (step + 1), draft)
    load = stage.load(drafts)
    verdict = await stage.judge(
        f"{len(bad)} hostile messages of all kinds", load, [traffic.tenant], in_flight=0
    )
    assert verdict.fates["dead"] >= 30
    for name in ("inbox", "contacts"):
        (process,) = stage.crew.alive(name)
        await process.until_ready()


async def test_a_flood_of_the_undecodable_stops_nobody(stage: Stage):
    good = Traffic(stage.tenant("bystander"), seed=2, people=10)
    await stage.prologue(good)
    flooder = stage.tenant("flooder")
    flood = [Draft(f"webhook.message.{flooder}.f{n % 40}", b"{broken", dict(STRUCTURED)) for n in range(600)]
    drafts = (
        flood[:300]
        + [d for pair in zip(flood[300:], good.main, strict=False) for d in pair]
        + good.main[300:]
    )
    load = stage.load(drafts)
    verdict = await stage.judge("600 undecodable messages", load, [good.tenant, flooder], in_flight=0)
    assert verdict.fates["dead"] >= 300
    (process,) = stage.crew.alive("inbox")
    await process.until_ready()


async def test_subjects_outside_every_partition(stage: Stage):
    """What the broker stored although its tokens break the grammar: read too, and buried under no tenant."""
    tenant = stage.tenant("stray")
    draft = neutral(tenant, "k", "+491525009000")
    subjects = [
        "webhook.message.*.k",
        "webhook.*.*.*",
        "webhook.message.-.k",  # in a partition, for to the broker - is a token as any other
        f"webhook.message.{tenant}",
        "webhook.message",
        f"webhook.message.{tenant}.{'k' * 65}",
        f"webhook.message.{tenant}.käse",
        f"webhook.message.{'t' * 65}.k",
        f"webhook.mess age.{tenant}.k".replace(" ", "%20"),
        f"command.contact.create.{tenant}",
        "command.contact.create.*.k",
        "command.contact",
        f"command.contact.create.{tenant}.{'k' * 65}",
    ]
    js = stage.client.jetstream()
    inbox = stage.client.new_inbox()
    results = await stage.client.subscribe(inbox)
    asking = draft.with_headers(**{"Rollcall-Reply-To": inbox}).headers
    acks = [await js.publish(subject, draft.body, headers=asking) for subject in subjects]
    connection = await asyncpg.connect(stage.dsn)

    async def buried() -> bool:
        for subject, ack in zip(subjects, acks, strict=True):
            found = await connection.fetch(
                "select tenant_id, reason, subject from dead_letters where stream = $1 and position = $2",
                ack.stream,
                ack.seq,
            )
            assert len(found) == 1, f"{subject}: {found}"
            assert found[0]["reason"] == "bad_subject", found
            assert found[0]["tenant_id"] == "-", found
            assert found[0]["subject"] == subject
        return True

    try:
        await eventually(buried, timeout=60, what="every stray is a dead letter")
        for _ in subjects:
            told = json.loads((await results.next_msg(timeout=30)).data)
            assert (told["data"]["status"], told["data"]["code"]) == ("dead", "bad_subject")
            assert (told["causationid"], "tenantid" in told) == (draft.id, False)
    finally:
        await connection.close()


async def test_what_the_broker_refuses_was_never_accepted(stage: Stage):
    tenant = stage.tenant("refused")
    js = stage.client.jetstream()
    with pytest.raises(APIError):
        await js.publish(f"webhook.message.{tenant}.k", b"x" * 1_100_000)
    load = stage.load([neutral(tenant, "k", "+491525009001")])
    verdict = await stage.judge("a message above the broker's limit", load, [tenant], in_flight=0)
    assert verdict.messages == 1
