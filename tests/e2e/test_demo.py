from __future__ import annotations

import tempfile
from pathlib import Path

import psutil

from ops.demo import SEARCHES
from ops.samples import TENANTS, traffic
from tests.helpers.forked import CLEAN, rollcall


def started_in(directory: Path) -> list[str]:
    """The processes that run from there: by their command line, or by the TMPDIR that they were given."""
    found = []
    for process in psutil.process_iter(["cmdline", "environ"]):
        line = " ".join(process.info["cmdline"] or ())
        if str(directory) in line or (process.info["environ"] or {}).get("TMPDIR") == str(directory):
            found.append(line)
    return found


async def test_the_demo_shows_what_came_of_the_traffic_and_leaves_nothing_running():
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o755)  # PostgreSQL may run as another user
        ran = await rollcall("demo", environment={**CLEAN, "COLUMNS": "160", "TMPDIR": name})
        assert ran.code == 0, ran.stdout + ran.stderr
        assert started_in(directory) == []
        assert list(directory.iterdir()) == []
    assert f"{len(traffic())} messages" in ran.stdout
    for shown in (
        "contact.created",
        "timeline.general",
        "messages per second",
        "Contacts",
        "The timeline of",
        f"Searches of {TENANTS[0]}, answered by postgres",
        *SEARCHES,
    ):
        assert shown in ran.stdout, ran.stdout
    for reason in ("not_json", "unstorable", "invalid_payload"):
        assert reason in ran.stdout, ran.stdout


def test_the_samples_are_what_they_say():
    notes = {sample.note for sample in traffic()}
    assert len(traffic()) >= 300
    assert {sample.subject.split(".")[1] for sample in traffic()} >= {
        "whatsapp",
        "twilio",
        "contact",
        "timeline",
    }
    for part in ("not JSON", "NUL", "same envelope", "new envelope", "rejected", "opt-out"):
        assert any(part in note for note in notes), part
