"""Raw provider bodies with invented values, and what must come of each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

AT = 1_772_000_000  # 2026-02-25T06:13:20Z
AT_TEXT = "2026-02-25T06:13:20Z"


@dataclass(frozen=True)
class Seen:
    """A timeline event: its type, whose (an identifier that finds the contact), and when."""

    type: str
    identifier: str
    occurred_at: str | None = None
    channel: str = "whatsapp"


@dataclass(frozen=True)
class Known:
    """A contact that must be found so; ``fields`` of its document."""

    channel: str
    identifier: str
    fields: dict[str, Any] = field(default_factory=dict)
    alias: str | None = None  # a raw spelling that is kept for replies
    same_as: str | None = None  # the external id of a contact that was there before


@dataclass(frozen=True)
class Case:
    """``before`` are the contacts that are there already, as data of contact.create."""

    name: str
    provider: str
    bodies: list[Any]  # dict, or str for a form
    contacts: list[Known]
    activities: list[Seen]
    before: list[dict[str, Any]] = field(default_factory=list)
    absent: list[tuple[str, str]] = field(default_factory=list)
    statuses: dict[str, str] = field(default_factory=dict)


def change(**value: Any) -> dict[str, Any]:
    base = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "15550002222", "phone_number_id": "700000000000001"},
    }
    return {"field": "messages", "value": {**base, **value}}


def account(*entries: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "object": "whatsapp_business_account",
        "entry": [{"id": "700000000000000", "changes": changes} for changes in entries],
    }


def person(wa_id: str, name: str | None = None) -> dict[str, Any]:
    return {"wa_id": wa_id, **({"profile": {"name": name}} if name else {})}


def text(sender: str, wamid: str, at: int = AT, body: str = "hello") -> dict[str, Any]:
    return {"from": sender, "id": wamid, "timestamp": str(at), "type": "text", "text": {"body": body}}


def status(recipient: str, wamid: str, word: str, at: int) -> dict[str, Any]:
    return {"id": wamid, "status": word, "timestamp": str(at), "recipient_id": recipient}


def one_text(sender: str, wamid: str, name: str) -> dict[str, Any]:
    return account([change(contacts=[person(sender, name)], messages=[text(sender, wamid)])])


def sms(**fields: str) -> dict[str, str]:
    sid = fields.get("MessageSid", "SM" + "5" * 32)
    return {
        "AccountSid": "AC" + "1" * 32,
        "ApiVersion": "2010-04-01",
        "SmsSid": sid,
        "MessageSid": sid,
        **fields,
    }


INBOUND_SMS = sms(
    MessageSid="SM" + "a" * 32, SmsStatus="received", NumMedia="0", NumSegments="1", Body="Is it open?",
    From="+14155550142", FromCity="OAKLAND", FromCountry="US", To="+15015550100",
)  # fmt: skip
DELIVERED_SMS = sms(
    MessageSid="SM" + "b" * 32, SmsStatus="delivered", MessageStatus="delivered", To="+14155550143",
    From="+15015550100", RawDlrDoneDate="2602250613",
)  # fmt: skip
VIA_TWILIO = sms(
    MessageSid="SM" + "c" * 32, SmsStatus="received", NumMedia="0", Body="buenas", ProfileName="Marisol",
    WaId="5215587654321", From="whatsapp:+5215587654321", To="whatsapp:+14155550100",
)  # fmt: skip
OPT_OUT = sms(
    MessageSid="SM" + "d" * 32, SmsStatus="received", NumMedia="0", Body="STOP", OptOutType="STOP",
    From="+14155550144", To="+15015550100",
)  # fmt: skip
FAILED_SMS = sms(
    MessageSid="SM" + "e" * 32, SmsStatus="undelivered", MessageStatus="undelivered", ErrorCode="30005",
    To="+14155550145", From="+15015550100",
)  # fmt: skip

CARDS = {
    "from": "16505550111",
    "id": "wamid.E2E.CARD",
    "timestamp": str(AT),
    "type": "contacts",
    "contacts": [
        {
            "name": {"formatted_name": "Third Party", "first_name": "Third"},
            "phones": [{"phone": "+1 (415) 555-0199", "wa_id": "14155550199", "type": "CELL"}],
            "emails": [{"email": "third.party@example.com", "type": "WORK"}],
        }
    ],
}
UNSUPPORTED = {
    "from": "16505550112",
    "id": "wamid.E2E.UNS",
    "timestamp": str(AT),
    "type": "unsupported",
    "errors": [{"code": 131051, "title": "Message type unknown"}],
}
BUSINESS_SCOPED = {
    "from_user_id": "IN.3000000000000042",
    "id": "wamid.E2E.BS",
    "timestamp": str(AT),
    "type": "text",
    "text": {"body": "no number here"},
}


def number_change(kind: str, field_name: str) -> dict[str, Any]:
    message = {
        "from": "16505550113",
        "id": f"wamid.E2E.{kind}",
        "timestamp": str(AT),
        "type": "system",
        "system": {"body": "changed", field_name: "16505550114", "type": kind},
    }
    return account([change(messages=[message])])


def changed_number(kind: str, field_name: str) -> Case:
    return Case(
        f"whatsapp {kind}",
        "whatsapp",
        [number_change(kind, field_name)],
        contacts=[
            Known("whatsapp", "+16505550114", same_as="mover"),
            Known("whatsapp", "+16505550113", same_as="mover"),
        ],
        activities=[Seen("identifier_changed", "+16505550113", AT_TEXT)],
        before=[
            {"external_id": "mover", "identifiers": [{"channel": "whatsapp", "identifier": "+16505550113"}]}
        ],
    )


CASES = [
    Case(
        "whatsapp text",
        "whatsapp",
        [one_text("16505550110", "wamid.E2E.T1", "Nora Quill")],
        contacts=[
            Known(
                "whatsapp", "+16505550110", {"display_name": "Nora Quill", "first_name": None, "phone": None}
            )
        ],
        activities=[Seen("whatsapp_message_received", "+16505550110", AT_TEXT)],
    ),
    Case(
        "whatsapp several entries, contacts in another order",
        "whatsapp",
        [
            account(
                [
                    change(
                        contacts=[person("447400555001", "Bea"), person("5511955550001", "Caio")],
                        messages=[
                            text("5511955550001", "wamid.E2E.B1", AT),
                            text("447400555001", "wamid.E2E.B2", AT + 1),
                            text("5511955550001", "wamid.E2E.B3", AT - 1),
                        ],
                    )
                ],
                [
                    change(
                        contacts=[person("16505550115")],
                        statuses=[status("16505550115", "wamid.O1", "delivered", AT)],
                    )
                ],
            )
        ],
        contacts=[
            Known("whatsapp", "+5511955550001", {"display_name": "Caio", "last_contact_at": AT_TEXT}),
            Known("whatsapp", "+447400555001", {"display_name": "Bea"}),
            Known("whatsapp", "+16505550115", {"last_contact_at": None}),
        ],
        activities=[
            Seen("whatsapp_message_received", "+5511955550001", AT_TEXT),
            Seen("whatsapp_message_received", "+5511955550001", "2026-02-25T06:13:19Z"),
            Seen("whatsapp_message_received", "+447400555001", "2026-02-25T06:13:21Z"),
            Seen("whatsapp_message_delivered", "+16505550115", AT_TEXT),
        ],
    ),
    Case(
        "whatsapp statuses out of order",
        "whatsapp",
        [
            account(
                [
                    change(
                        contacts=[person("16505550116")],
                        statuses=[status("16505550116", "wamid.O3", word, at)],
                    )
                ]
            )
            for word, at in (("read", AT), ("delivered", AT - 2), ("sent", AT - 3))
        ],
        contacts=[Known("whatsapp", "+16505550116")],
        activities=[
            Seen("whatsapp_message_read", "+16505550116", AT_TEXT),
            Seen("whatsapp_message_delivered", "+16505550116"),
            Seen("whatsapp_message_sent", "+16505550116"),
        ],
        statuses={"wamid.O3": "read"},
    ),
    changed_number("user_changed_number", "wa_id"),
    changed_number("customer_changed_number", "new_wa_id"),
    Case(
        "whatsapp system message about nobody known",
        "whatsapp",
        [number_change("user_changed_number", "wa_id")],
        contacts=[],
        activities=[],
        absent=[("whatsapp", "+16505550113"), ("whatsapp", "+16505550114")],
    ),
    Case(
        "whatsapp business-scoped user id only",
        "whatsapp",
        [
            account(
                [
                    change(
                        contacts=[{"profile": {"name": "Anika"}, "user_id": "IN.3000000000000042"}],
                        messages=[BUSINESS_SCOPED],
                    )
                ]
            )
        ],
        contacts=[Known("whatsapp", "IN.3000000000000042", {"display_name": "Anika", "phone": None})],
        activities=[Seen("whatsapp_message_received", "IN.3000000000000042", AT_TEXT)],
    ),
    Case(
        "whatsapp Brazil without the ninth digit",
        "whatsapp",
        [one_text("555187654321", "wamid.E2E.BR1", "Davi")],
        contacts=[Known("whatsapp", "+5551987654321", same_as="davi", alias="555187654321")],
        activities=[Seen("whatsapp_message_received", "+5551987654321")],
        before=[{"external_id": "davi", "phone": "+5551987654321"}],
    ),
    Case(
        "whatsapp Brazil landline",
        "whatsapp",
        [one_text("555133335555", "wamid.E2E.BR2", "Padoca")],
        contacts=[Known("whatsapp", "+555133335555")],
        activities=[Seen("whatsapp_message_received", "+555133335555")],
        absent=[("whatsapp", "+5551933335555")],
    ),
    Case(
        "whatsapp Mexico 521",
        "whatsapp",
        [one_text("5215587654321", "wamid.E2E.MX1", "Marisol")],
        contacts=[Known("whatsapp", "+525587654321", same_as="marisol", alias="5215587654321")],
        activities=[Seen("whatsapp_message_received", "+525587654321")],
        before=[{"external_id": "marisol", "phone": "+525587654321"}],
    ),
    Case(
        "whatsapp Argentina 549",
        "whatsapp",
        [one_text("5491156781234", "wamid.E2E.AR1", "Elena")],
        contacts=[
            Known("whatsapp", "+5491156781234", same_as="mobile"),
            Known("sms", "+541156781234", same_as="landline"),
        ],
        activities=[Seen("whatsapp_message_received", "+5491156781234")],
        before=[
            {"external_id": "mobile", "phone": "011 15-5678-1234", "region": "AR"},
            {"external_id": "landline", "phone": "+541156781234"},
        ],
    ),
    Case(
        "whatsapp shared contact cards",
        "whatsapp",
        [account([change(contacts=[person("16505550111", "Ivo")], messages=[CARDS])])],
        contacts=[Known("whatsapp", "+16505550111", {"display_name": "Ivo"})],
        activities=[Seen("whatsapp_message_received", "+16505550111")],
        absent=[("whatsapp", "+14155550199"), ("email", "third.party@example.com")],
    ),
    Case(
        "whatsapp unsupported message",
        "whatsapp",
        [account([change(contacts=[person("16505550112", "Uma")], messages=[UNSUPPORTED])])],
        contacts=[Known("whatsapp", "+16505550112")],
        activities=[Seen("whatsapp_message_received", "+16505550112")],
    ),
    Case(
        "whatsapp errors only",
        "whatsapp",
        [account([change(errors=[{"code": 131000, "title": "Something went wrong"}])])],
        contacts=[],
        activities=[],
    ),
    *(
        Case(
            f"twilio inbound sms as {form}",
            "twilio",
            [body],
            contacts=[Known("sms", "+14155550142", {"phone": "+14155550142"})],
            activities=[Seen("sms_received", "+14155550142", channel="sms")],
            absent=[("sms", "+15015550100")],
        )
        for form, body in (("json", INBOUND_SMS), ("form", urlencode(INBOUND_SMS)))
    ),
    *(
        Case(
            f"twilio status as {form}",
            "twilio",
            [body],
            contacts=[Known("sms", "+14155550143")],
            activities=[Seen("sms_delivered", "+14155550143", channel="sms")],
            absent=[("sms", "+15015550100")],
        )
        for form, body in (("json", DELIVERED_SMS), ("form", urlencode(DELIVERED_SMS)))
    ),
    *(
        Case(
            f"twilio whatsapp as {form}",
            "twilio",
            [body],
            contacts=[Known("whatsapp", "+525587654321", {"display_name": "Marisol"}, same_as="marisol")],
            activities=[Seen("whatsapp_message_received", "+525587654321")],
            before=[
                {
                    "external_id": "marisol",
                    "identifiers": [{"channel": "whatsapp", "identifier": "+525587654321"}],
                }
            ],
        )
        for form, body in (("json", VIA_TWILIO), ("form", urlencode(VIA_TWILIO)))
    ),
    Case(
        "twilio opt-out",
        "twilio",
        [urlencode(OPT_OUT)],
        contacts=[Known("sms", "+14155550144")],
        activities=[
            Seen("sms_received", "+14155550144", channel="sms"),
            Seen("consent_revoked", "+14155550144", channel="sms"),
        ],
    ),
    Case(
        "twilio undelivered is a failure",
        "twilio",
        [FAILED_SMS],
        contacts=[Known("sms", "+14155550145")],
        activities=[Seen("sms_failed", "+14155550145", channel="sms")],
    ),
]
