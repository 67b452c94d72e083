"""What a client is told of a frame that is refused."""

from __future__ import annotations

import uuid
from typing import Any

import orjson
import pytest

from contracts.realtime.requests import MOST_CONTACTS, Subscribe
from workers.realtime.received import BadFrame, parse

IDS = [str(uuid.uuid4()) for _ in range(MOST_CONTACTS)]
SUBSCRIBE = {"type": "subscribe", "sub": "s"}
FORMS = 'contacts: must be "*", or a list of contact ids'


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        ({"type": "nope"}, "type: must be one of auth, subscribe, "),
        ({"type": "auth"}, "the frame: give either token or ticket"),
        ({"type": "auth", "token": "x", "ticket": "x"}, "the frame: give either token or ticket"),
        (SUBSCRIBE, "contacts: is required"),
        ({**SUBSCRIBE, "contacts": None}, FORMS),
        ({**SUBSCRIBE, "contacts": IDS[0]}, FORMS),
        ({**SUBSCRIBE, "contacts": {"0": "*"}}, FORMS),
        ({**SUBSCRIBE, "contacts": []}, "contacts: must have at least 1 item, not 0"),
        (
            {**SUBSCRIBE, "contacts": [*IDS, IDS[0]]},
            f"contacts: must have at most {MOST_CONTACTS} items, not {MOST_CONTACTS + 1}",
        ),
        ({**SUBSCRIBE, "contacts": [*IDS[:7], "x", *IDS[8:]]}, "contacts.7: must be a UUID"),
        ({**SUBSCRIBE, "contacts": ["*"]}, "contacts.0: must be a UUID"),
    ],
)
def test_the_place_and_the_fix_are_named(frame: Any, said: str):
    with pytest.raises(BadFrame) as refused:
        parse(orjson.dumps(frame))
    assert refused.value.message.startswith(said)
    assert len(refused.value.message) < 100


@pytest.mark.parametrize("contacts", ["*", IDS])
def test_all_contacts_or_some(contacts: Any):
    frame = parse(orjson.dumps({**SUBSCRIBE, "contacts": contacts}))
    assert isinstance(frame, Subscribe)
    assert frame.contacts == (contacts if contacts == "*" else [uuid.UUID(each) for each in contacts])
