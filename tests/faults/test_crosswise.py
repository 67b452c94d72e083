"""Identifiers of two people arrive crosswise, at once, in several workers."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.faults.stage import Stage
from tests.model.build import Draft, command, neutral


async def check(stage: Stage, fault: str, tenant: str, drafts: list[Draft]):
    """What holds in any order: every identifier has one owner, nobody is a ghost, the events tell the truth."""
    workers = [await stage.crew.start(name, wait=False) for name in ("inbox", "inbox", "contacts")]
    for process in workers:
        await process.until_ready()
    await stage.judge(fault, stage.load(drafts), [tenant], in_flight=0, predictable=False)
    await stage.crew.dismiss(*workers)
    evidence = await stage.evidence([tenant])
    owners = Counter(
        key
        for found in evidence.contacts.values()
        for key in {(i["identifier"], i["scope"]) for i in found["identifiers"]}
    )
    assert set(owners.values()) == {1}
    assert all(found["identifiers"] for found in evidence.contacts.values()), "a ghost"
    statuses = Counter(r["data"]["status"] for rs in evidence.results.values() for r in rs[:1])
    assert statuses["applied"] == len(drafts), statuses
    return evidence


@pytest.mark.parametrize("round_", [1, 2])
async def test_the_same_pair_from_both_sides(stage: Stage, round_: int):
    tenant = stage.tenant("pair")
    drafts = []
    for n in range(60):
        phone, mail = f"+4915240{round_}{n:05}", f"pair{round_}.{n}@example.com"
        other = [{"channel": "email", "identifier": mail}]
        drafts.append(neutral(tenant, f"p{n}", phone, identifiers=other, message_id=f"p{n}"))
        other = [{"channel": "sms", "identifier": phone}]
        drafts.append(neutral(tenant, f"e{n}", mail, channel="email", identifiers=other, message_id=f"e{n}"))
        drafts.append(
            command("contact.upsert", tenant, f"c{n}", {"email": mail, "phone": phone, "first_name": "P"})
        )
    evidence = await check(stage, f"60 pairs of identifiers from three sides ({round_})", tenant, drafts)
    assert len(evidence.contacts) == 60


async def test_chains_that_cross(stage: Stage):
    """Each message joins one person's phone to the next one's e-mail: there is no right answer, but there are wrong ones."""
    tenant = stage.tenant("chain")
    size = 40
    phones = [f"+4915250{n:06}" for n in range(size)]
    mails = [f"chain{n}@example.com" for n in range(size)]
    drafts = []
    for n in range(size):
        after = (n + 1) % size
        link = [{"channel": "email", "identifier": mails[after]}]
        drafts.append(neutral(tenant, f"a{n}", phones[n], identifiers=link, message_id=f"a{n}"))
        link = [{"channel": "sms", "identifier": phones[n]}]
        drafts.append(
            neutral(tenant, f"b{n}", mails[n], channel="email", identifiers=link, message_id=f"b{n}")
        )
        drafts.append(command("contact.upsert", tenant, f"c{n}", {"email": mails[after], "phone": phones[n]}))
    evidence = await check(stage, "identifiers crosswise in concurrent batches", tenant, drafts)
    owned = {i["identifier"] for found in evidence.contacts.values() for i in found["identifiers"]}
    assert owned == {*phones, *mails}
    received = [r for rows in evidence.timeline.values() for r in rows if r["category"] == "general"]
    assert len(received) == 2 * size
