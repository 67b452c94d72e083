"""A timeline as a file, when the database cannot answer."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Literal, cast

import pytest

from contracts.vocabulary import Role
from storage.errors import ReadTimeout, Unavailable
from workers.realtime.downloads import Downloads
from workers.realtime.rights import Rights

AGENT = Rights("acme", Role.AGENT, None, "user:42", datetime.now(UTC))


class Failing:
    """In the place of ``Reads``."""

    def __init__(self, failure: Exception) -> None:
        self._failure = failure

    @asynccontextmanager
    async def of(self, _tenant: str) -> AsyncIterator[Any]:
        raise self._failure
        yield


@pytest.mark.parametrize("format_", ["csv", "pdf"])
@pytest.mark.parametrize("failure", [Unavailable(), ReadTimeout()])
async def test_without_a_database_it_is_to_be_asked_again(failure: Exception, format_: Literal["csv", "pdf"]):
    answer = await Downloads(cast("Any", Failing(failure))).answer(AGENT, uuid.uuid4(), format_)
    assert answer.status_code == 503
    assert json.loads(bytes(answer.body))["error"]["code"] == "unavailable"
