"""A PDF that a child makes."""

from __future__ import annotations

import uuid

import asyncpg
import pytest

from tests.helpers import seed
from tests.helpers.exporting import pages
from workers.exports import apart
from workers.exports.apart import Apart, Failed


async def made(contact: uuid.UUID) -> bytes:
    return b"".join([piece async for piece in Apart().pieces("a", contact, "agent")])


async def test_it_is_the_childs(
    writer: asyncpg.Connection, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROLLCALL_POSTGRES_DSN", database)
    contact = await seed.contact(writer, "a", display_name="Jörg Müller")
    (page,) = pages(await made(contact))
    assert "Jörg Müller" in page


async def test_why_there_is_none_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROLLCALL_POSTGRES_DSN", "postgresql://somebody:hunter2@127.0.0.1:1/nowhere")
    with pytest.raises(Failed, match=r"^exit code 1: Unavailable: \w*Error$") as caught:
        await made(uuid.uuid4())
    assert "hunter2" not in str(caught.value)


async def test_a_child_that_says_more_than_a_pipe_holds(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    talker = tmp_path_factory.mktemp("talker") / "python"
    talker.write_text("#!/bin/sh\ncat > /dev/null\nseq 100000 >&2\necho the last of it >&2\nexit 3\n")
    talker.chmod(0o700)
    monkeypatch.setattr(apart.sys, "executable", str(talker))
    with pytest.raises(Failed, match=r"^exit code 3: the last of it$"):
        await made(uuid.uuid4())
