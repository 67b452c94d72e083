"""A timeline as a file, over HTTP."""

from __future__ import annotations

import csv
import io
import uuid

import httpx
import pytest
from pypdf import PdfReader

from tests.helpers.http import plain
from tests.helpers.realm import Realm


async def get(realm: Realm, path: str, token: str | None) -> httpx.Response:
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    async with plain(timeout=60) as client:
        return await client.get(f"{realm.http}{path}", headers=headers)


def rows(answer: httpx.Response) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"))))


async def test_an_agents_csv(realm: Realm):
    tenant = realm.tenant()
    contact = await realm.contact(tenant)
    for n in range(3):
        await realm.record(tenant, contact, f"=cmd{n}", metadata={"n": n})
    await realm.notify(tenant, contact, "not for agents", visible_to_agent=False)
    answer = await get(realm, f"/contacts/{contact}/timeline.csv", realm.agent(tenant))
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/csv")
    assert f'filename="timeline-{contact}.csv"' in answer.headers["content-disposition"]
    found = rows(answer)
    assert [row["title"] for row in found] == ["Contact created", "'=cmd0", "'=cmd1", "'=cmd2"]
    assert "metadata" in found[0]


async def test_a_clients_csv(realm: Realm):
    tenant = realm.tenant()
    contact = await realm.contact(tenant)
    await realm.record(tenant, contact, "internal", triggered_by="user:7")
    await realm.notify(tenant, contact, "for the client", metadata={"margin": 1})
    answer = await get(realm, f"/contacts/{contact}/timeline.csv", realm.of_contact(tenant, contact))
    found = rows(answer)
    assert [row["title"] for row in found] == ["for the client"]
    assert not found[0].keys() & {"metadata", "triggered_by", "integration_source"}


async def test_a_pdf(realm: Realm):
    tenant = realm.tenant()
    contact = await realm.contact(tenant, first_name="Jürgen", last_name="Müller")
    await realm.record(tenant, contact, "漢字 and العربية")
    answer = await get(realm, f"/contacts/{contact}/timeline.pdf", realm.agent(tenant))
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/pdf")
    text = "".join(page.extract_text() for page in PdfReader(io.BytesIO(answer.content)).pages)
    assert "Müller" in text
    assert "漢字" in text


@pytest.mark.parametrize("format_", ["csv", "pdf"])
async def test_who_may_not(realm: Realm, format_: str):
    tenant, other = realm.tenant(), realm.tenant()
    contact = await realm.contact(tenant)
    path = f"/contacts/{contact}/timeline.{format_}"
    for token, status, code in (
        (None, 401, "bad_token"),
        ("nonsense", 401, "bad_token"),
        (realm.agent(other), 404, "contact_not_found"),
        (realm.agent(tenant, uuid.uuid4()), 404, "contact_not_found"),
        (realm.of_contact(tenant, uuid.uuid4()), 404, "contact_not_found"),
        (realm.of_contact(other, contact), 404, "contact_not_found"),
    ):
        answer = await get(realm, path, token)
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    async with plain() as client:  # not in the address
        answer = await client.get(f"{realm.http}{path}?token={realm.agent(tenant)}")
    assert answer.status_code == 401


async def test_other_addresses(realm: Realm):
    tenant = realm.tenant()
    token = realm.agent(tenant)
    for path in (
        f"/contacts/{uuid.uuid4()}/timeline.csv",
        f"/contacts/{uuid.uuid4()}/timeline.xlsx",
        "/contacts/ann/timeline.csv",
        "/contacts",
    ):
        assert (await get(realm, path, token)).status_code == 404
