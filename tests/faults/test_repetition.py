"""Producers that repeat themselves."""

from __future__ import annotations

from tests.faults.stage import Stage, mains
from tests.faults.traffic import Traffic, shuffled_across_keys
from tests.model.build import neutral, wa_text, whatsapp


async def test_everything_three_times(stage: Stage):
    traffic = stage.traffic("thrice", people=16)
    tenants = [each.tenant for each in traffic]
    await stage.prologue(*traffic)
    drafts = shuffled_across_keys(mains(traffic), times=3, seed=3)
    verdict = await stage.judge(
        "everything three times, shuffled across keys", stage.load(drafts), tenants, in_flight=0
    )
    assert verdict.fates["duplicate"] >= 2 * len(mains(traffic))


async def test_retries_race_across_partitions(stage: Stage):
    """The same envelope on other keys, so that several partitions and lanes hold it at once: one of them applies it."""
    tenant = stage.tenant("race")
    second = await stage.crew.start("inbox")
    drafts = []
    for n in range(60):
        sender, sent = (
            f"+4915220{n:06}",
            {"envelope_id": f"race-{n}", "envelope_time": "2026-03-01T09:00:00Z"},
        )
        drafts += [
            neutral(tenant, f"k{n}-{k}", sender, message_id=f"m{n}", text="once", **sent) for k in range(5)
        ]
    load = stage.load(drafts)
    verdict = await stage.judge(
        "the same envelope on five keys, two inbox workers", load, [tenant], in_flight=0, predictable=False
    )
    assert verdict.messages == 300
    await _each_once(stage, tenant, 60)
    await stage.crew.dismiss(second)


async def test_an_item_in_new_envelopes(stage: Stage):
    """A provider's retry is a new envelope around the same item, maybe beside others, maybe on another key."""
    tenant = stage.tenant("retry")
    drafts = []
    for n in range(40):
        who = f"49152300{n:05}"
        text = wa_text(who, f"wamid.R{n}", 1_772_000_000 + n, "once")
        drafts += [whatsapp(tenant, f"k{n}-{k}", [text]) for k in range(3)]
        other = wa_text(who, f"wamid.R{n}", 1_772_000_000 + n, "once")
        drafts.append(whatsapp(tenant, f"all-{n}", [other, other]))
    load = stage.load(drafts)
    await stage.judge("an item again in new envelopes", load, [tenant], in_flight=0, predictable=False)
    await _each_once(stage, tenant, 40)


async def _each_once(stage: Stage, tenant: str, people: int) -> None:
    evidence = await stage.evidence([tenant])
    assert len(evidence.contacts) == people
    types = [[row["type"] for row in rows] for rows in evidence.timeline.values()]
    assert all(len(each) == 2 and each[0] == "contact_created" for each in types), types
    told = [e for e in evidence.events if e["type"] == "timeline.general"]
    assert len(told) == people


async def test_later_the_same_day(stage: Stage):
    """Everything again after all of it was applied."""
    traffic = Traffic(stage.tenant("again"), seed=5, people=15)
    await stage.prologue(traffic)
    await stage.publish(traffic.main)
    await stage.settle([traffic.tenant])
    load = stage.load(traffic.main)
    await stage.judge("everything again after it was applied", load, [traffic.tenant], in_flight=0)
