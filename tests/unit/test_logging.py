"""What is in a log line, and what must never be."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pydantic
import pytest
import structlog

from ops.logging import Operation, configure, get_logger, hide_secrets, hide_text

Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lines]:
    """Configures at INFO, and answers what was written to stderr."""
    written = io.BytesIO()
    root = logging.getLogger()
    before = root.handlers[:], root.level
    monkeypatch.setattr(sys, "stderr", SimpleNamespace(buffer=written))
    configure("INFO")
    yield lambda: [json.loads(line) for line in written.getvalue().splitlines()]
    root.handlers[:], root.level = before
    structlog.reset_defaults()


def test_an_operation_has_a_start_a_publish_and_an_end(lines: Lines) -> None:
    operation = Operation(
        get_logger("workers.engine"), "batch", tenant="acme", correlation_id="c-1", contact_id="7"
    )
    operation.publish(events=3)
    operation.end(messages=2)
    start, publish, end = lines()
    assert [line["phase"] for line in (start, publish, end)] == ["START", "PUBLISH", "END"]
    for line in (start, publish, end):
        assert line["operation"] == line["event"] == "batch"
        assert (line["tenant"], line["correlation_id"], line["contact_id"]) == ("acme", "c-1", "7")
        assert (line["module"], line["level"]) == ("workers.engine", "info")
        assert line["time"].endswith("Z")
    assert "duration_ms" not in start
    assert 0 <= publish["duration_ms"] <= end["duration_ms"]
    assert (publish["events"], end["messages"]) == (3, 2)


def test_an_operation_that_fails_ends_with_its_error(lines: Lines) -> None:
    operation = Operation(get_logger("x"), "query")
    operation.fail(OSError("no route to nats://u:hunter2@bus"), code="unavailable")
    end = lines()[-1]
    assert (end["phase"], end["level"], end["code"]) == ("END", "warning", "unavailable")
    assert end["error"] == "OSError: no route to nats://***@bus"


def test_what_is_below_the_level_is_not_even_rendered(lines: Lines) -> None:
    class Costly:
        def __str__(self) -> str:
            raise AssertionError("rendered")

    get_logger("x").debug("one message", value=Costly())
    assert lines() == []


def test_libraries_are_heard_from_warning_on(lines: Lines) -> None:
    logging.getLogger("nats.aio.client").info("chatter")
    logging.getLogger("uvicorn.error").warning("odd request from %s", "someone")
    (line,) = lines()
    assert (line["module"], line["event"], line["level"]) == (
        "uvicorn.error",
        "odd request from someone",
        "warning",
    )


def test_an_exception_is_one_line(lines: Lines) -> None:
    try:
        raise RuntimeError("first\nsecond")
    except RuntimeError:
        get_logger("x").exception("crashed")
    (line,) = lines()
    assert "RuntimeError: first\nsecond" in line["exception"]


def test_what_json_cannot_hold_is_still_a_line(lines: Lines) -> None:
    get_logger("x").info("odd", tenant="a\ud800", big=1 << 80)
    (line,) = lines()
    assert "ud800" in line["tenant"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://rollcall:hunter2@db:5432/rollcall", "postgresql://***@db:5432/rollcall"),
        ("postgresql://u:p@ss/w@db/x refused", "postgresql://***@db/x refused"),
        ("nats://t0ken@bus:4222,nats://u:hunter2@other", "nats://***@other"),
        ("host=db password=hunter2 user=x", "host=db password=*** user=x"),
        (
            "postgresql://db/x?password=hunter2&sslmode=require",
            "postgresql://db/x?password=***&sslmode=require",
        ),
        ('{"token": "hunter2", "n": 1}', '{"token": ***, "n": 1}'),
        ("Authorization: Bearer hunter2hunter2", "Authorization: Bearer ***"),
        ("got eyJhbGciOi.eyJzdWIi.hunter2 there", "got *** there"),
        (
            "duplicate key\nDETAIL:  Key (email)=(jane@example.org) already exists.",
            "duplicate key\nDETAIL:  ***",
        ),
        ("[SQL: select 1] [parameters: ('+4917012345',)]", "[SQL: select 1] [parameters: ***]"),
        ("nothing to hide: 2 of 3 applied", "nothing to hide: 2 of 3 applied"),
    ],
)
def test_texts_lose_credentials_and_quoted_values(text: str, shown: str) -> None:
    assert hide_text(text) == shown


def test_fields_that_hold_bodies_or_secrets_are_hidden() -> None:
    event = hide_secrets(
        None,
        "info",
        {
            "event": "x",
            "data": {"text": "hello"},
            "body": b"hello",
            "payload": "hello",
            "headers": {"a": "b"},
            "jwt_secret": "hunter2",
            "postgres_dsn": "postgresql:///x",
            "nats_token": "hunter2",
            "raw_bytes": b"hello",
            "nested": {"password": "hunter2", "list": ["nats://u:hunter2@bus"], "n": 1},
            "tenant": "acme",
            "messages": 7,
        },
    )
    assert "hunter2" not in str(event)
    assert "hello" not in str(event)
    assert (event["tenant"], event["messages"], event["nested"]["n"]) == ("acme", 7, 1)


def test_a_schema_error_does_not_quote_what_was_sent() -> None:
    class Model(pydantic.BaseModel):
        age: int

    with pytest.raises(pydantic.ValidationError) as caught:
        Model.model_validate({"age": "jane@example.org"})
    assert "jane" in str(caught.value)
    assert "jane" not in hide_text(str(caught.value))
