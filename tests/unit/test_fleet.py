"""The registry of workers."""

from __future__ import annotations

import subprocess
import sys

import pytest
from alembic.script import ScriptDirectory

from contracts.subjects import STREAMS
from storage import migrate
from workers.fleet import FLEET

HEAVY = ("phonenumbers", "sqlalchemy", "alembic", "faststream", "asyncpg", "elasticsearch")


def test_the_workers() -> None:
    assert list(FLEET) == ["inbox", "contacts", "relay", "queries", "indexer", "realtime"]
    assert all(name == worker.name and worker.summary for name, worker in FLEET.items())
    assert {FLEET["inbox"].reads, FLEET["contacts"].reads} <= STREAMS.keys()


def _loaded(code: str) -> set[str]:
    """Which of the heavy packages a process has loaded after this code."""
    program = f"import sys\n{code}\nprint(*(name for name in {HEAVY!r} if name in sys.modules))"
    return set(
        subprocess.run(
            [sys.executable, "-c", program], check=True, capture_output=True, text=True
        ).stdout.split()
    )


@pytest.mark.parametrize(
    ("code", "allowed"),
    [
        ("import workers.fleet", set[str]()),
        ("import workers.host", {"faststream", "asyncpg"}),
        ("import workers.host, workers.relay.service", {"faststream", "asyncpg"}),
        (
            "import workers.host, workers.inbox, workers.engine.consumer",
            {"faststream", "asyncpg", "phonenumbers"},
        ),
        ("import workers.host, workers.indexer.service", {"faststream", "asyncpg", "elasticsearch"}),
    ],
)
def test_a_process_loads_the_code_of_its_own_worker(code: str, allowed: set[str]) -> None:
    assert _loaded(code) <= allowed


def test_the_head_read_from_text_is_alembics() -> None:
    assert migrate.head() == ScriptDirectory(str(migrate.MIGRATIONS)).get_current_head()
