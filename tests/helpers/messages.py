"""Messages at random about few people, so that they meet: strategies of hypothesis."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from hypothesis import strategies as st

from tests.helpers.world import START, Message, nth_id, records

PHONES = [f"+491510000000{n}" for n in range(3)]
identifiers = st.one_of(
    st.tuples(st.sampled_from(["sms", "whatsapp"]), st.sampled_from(PHONES), st.none()),
    st.tuples(st.just("email"), st.sampled_from(["a@example.com", "B@Example.com"]), st.none()),
    st.tuples(st.just("messenger"), st.sampled_from(["5", "6"]), st.sampled_from([None, "p1", "p2"])),
).map(lambda t: {"channel": t[0], "identifier": t[1], **({"scope": t[2]} if t[2] else {})})
external_ids = st.sampled_from(["e1", "e2", "e3"])
references = st.one_of(st.builds(lambda e: {"external_id": e}, external_ids), identifiers)
flags = st.fixed_dictionaries(
    {},
    optional={
        **{n: st.booleans() for n in ("is_primary", "is_verified", "shared")},
        "metadata": st.sampled_from([{}, {"label": "work"}]),
    },
)
plain = {
    "first_name": st.sampled_from(["Ada", "Bea"]),
    "email": st.sampled_from(["a@example.com", "c@example.com"]),
    "phone": st.sampled_from(PHONES),
    "status": st.sampled_from(["active", "blocked"]),
    "external_id": external_ids,
    "attributes": st.dictionaries(st.sampled_from("xy"), st.sampled_from([1, None, {"z": [1]}]), max_size=2),
    "tags": st.lists(st.sampled_from(["t1", "t2", "t3"]), max_size=3),
}
fields = st.fixed_dictionaries(
    {},
    optional={
        **plain,
        "identifiers": st.lists(st.builds(lambda i, f: {**i, **f}, identifiers, flags), max_size=2),
    },
)


def command(name: str, data: st.SearchStrategy[Any]) -> st.SearchStrategy[Message]:
    return data.map(lambda d: (f"command.{name}", d))


def about(**more: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({"contact": references, **more})


def which(verb: str) -> st.SearchStrategy[Message]:
    return command(
        f"identifier.{verb}", st.builds(lambda who, i, f: {**who, **i, **f}, about(), identifiers, flags)
    )


def of_the_first(verb: str) -> st.SearchStrategy[Message]:
    """About identifiers that the first contact of the prologue has."""
    number = st.builds(
        lambda channel, spelled: {"channel": channel, "identifier": spelled},
        st.sampled_from(["sms", "whatsapp"]),
        st.sampled_from([PHONES[0], PHONES[0].replace("0000", " 0000 ")]),
    )
    of_it = st.builds(lambda i, f: {"contact": {"external_id": "e1"}, **i, **f}, number, flags)
    return command(f"identifier.{verb}", of_it)


unset = st.lists(
    st.sampled_from(["email", "phone", "external_id", "first_name", "attributes.x"]), unique=True
)
occurred = st.integers(0, 50).map(lambda n: (START + timedelta(seconds=n)).isoformat())
webhook = st.builds(
    lambda i, more: (
        "webhook.message",
        {"channel": i["channel"], "from": i["identifier"], "scope": i.get("scope"), **more},
    ),
    identifiers,
    st.fixed_dictionaries(
        {"occurred_at": occurred},
        optional={
            "message_id": st.sampled_from(["m1", "m2", "m3"]),
            "profile_name": st.sampled_from(["Ann", "Bob"]),
            "text": st.sampled_from(["hi", "stop", "start"]),
            "identifiers": st.lists(identifiers, max_size=2),
        },
    ),
)


def _moved(old: str, new: str) -> dict[str, Any]:
    system = {"type": "user_changed_number", "wa_id": new[1:]}
    return {"id": f"s{old}{new}", "from": old[1:], "type": "system", "system": system}


changed_number = st.tuples(*[st.sampled_from(PHONES)] * 2).map(
    lambda pair: (
        "webhook.whatsapp",
        {
            "entry": [
                {
                    "changes": [
                        {
                            "value": {
                                "messages": [_moved(*pair)] * 2,
                                "statuses": [{"id": "out", "status": "read", "recipient_id": pair[1][1:]}],
                            }
                        }
                    ]
                }
            ]
        },
    )
)
LONG_AGO, ONE_DAY = (START - timedelta(days=1)).isoformat(), (START + timedelta(days=1)).isoformat()
event = st.fixed_dictionaries(
    {"type": st.sampled_from(["note_added", "notification_sent"])},
    optional={
        "visible_to_client": st.booleans(),
        "expires_at": st.sampled_from([LONG_AGO, ONE_DAY]),
        "contact": references,
        "category": st.sampled_from(["note", "nonsense"]),
    },
)
many = st.fixed_dictionaries(
    {"events": st.lists(event, min_size=1, max_size=4)}, optional={"contact": references}
)
# Those that the prologue records, and whatever other messages may have drawn.
event_ids = st.one_of(
    st.builds(nth_id, st.just(2), st.integers(0, 5)), st.builds(nth_id, st.integers(0, 20), st.integers(0, 2))
).map(str)
some = st.fixed_dictionaries(
    {"event_ids": st.lists(event_ids, min_size=1, max_size=4)}, optional={"contact": references}
)
reader = st.fixed_dictionaries({}, optional={"reader": st.sampled_from(["client", "agent"])})


def marking(verb: str, *parts: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[Message]:
    data = st.tuples(some, *parts).map(lambda given: {k: v for part in given for k, v in part.items()})
    return command(f"timeline.{verb}", data)


anything = st.one_of(
    webhook,
    webhook,
    changed_number,
    command("contact.create", fields),
    command("contact.upsert", st.builds(lambda f, m: {**f, "mode": m}, fields, st.sampled_from(["fill", "overwrite"]))),
    command("contact.upsert", st.builds(lambda who, f: {**f, **who}, about(), fields)),
    command("contact.update", st.builds(lambda who, f: {**who, "set": f}, about(), st.fixed_dictionaries({}, optional=plain))),
    command("contact.update", st.builds(lambda who, u: {**who, "unset": u}, about(), unset)),
    command("contact.delete", about()),
    command("contact.restore", about()),
    command("identifier.add", st.builds(lambda who, i, f: {**who, **i, **f}, about(), identifiers, flags)),
    which("remove"),
    of_the_first("remove"),
    of_the_first("set_primary"),
    of_the_first("add"),
    of_the_first("verify"),
    which("verify"),
    which("set_primary"),
    command("timeline.record", about(type=st.just("note_added"))),
    command("timeline.record_many", many),
    marking("mark_delivered", reader),
    marking("mark_delivered", st.just({"expired": True})),
    marking("mark_read", reader),
    marking("delete"),
)  # fmt: skip
PROLOGUE: list[Message] = [
    (
        "command.contact.create",
        {
            "external_id": "e1",
            "phone": PHONES[0],
            "email": "a@example.com",
            "identifiers": [{"channel": "whatsapp", "identifier": PHONES[0]}],
        },
    ),
    (
        "command.contact.create",
        {
            "external_id": "e2",
            "identifiers": [
                {"channel": "whatsapp", "identifier": PHONES[1]},
                {"channel": "messenger", "identifier": "5", "scope": "p1"},
            ],
        },
    ),
    (
        "command.timeline.record_many",
        {
            "events": [
                {"contact": {"external_id": who}, "type": "notification_sent", **more}
                for who in ("e1", "e2")
                for more in ({"visible_to_client": True}, {}, {"expires_at": LONG_AGO})
            ],
        },
    ),
]
logs = st.lists(anything, min_size=6, max_size=40).map(lambda log: records([*PROLOGUE, *log]))
