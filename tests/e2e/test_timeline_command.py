"""`rollcall timeline export`, as a user runs it."""

from __future__ import annotations

import subprocess
import uuid
from pathlib import Path

import asyncpg
import pytest

from ops.cli.output import Failure
from ops.cli.timeline import _output
from ops.supervisor import command
from tests.helpers import seed
from tests.helpers.exporting import pages, rows
from tests.helpers.forked import CLEAN, Ran, rollcall

ARGUMENTS = {"--tenant": "acme", "--contact": str(uuid.UUID(int=1)), "--format": "csv", "--out": "-"}


@pytest.fixture
def environment(database: str) -> dict[str, str]:
    return {**CLEAN, "ROLLCALL_POSTGRES_DSN": database}


@pytest.fixture
async def contact(owner: asyncpg.Connection) -> uuid.UUID:
    made = await seed.contact(owner, "acme", external_id=f"crm-{uuid.uuid4()}", display_name="Jörg Müller")
    for n in (1, 2):
        await seed.event(owner, "acme", made, n, title=f"Müller العربية 漢字 {n}")
    return made


async def export(environment: dict[str, str], **options: str) -> Ran:
    given = {**ARGUMENTS, **{f"--{name}": value for name, value in options.items()}}
    return await rollcall(
        "timeline", "export", *(word for option in given.items() for word in option), environment=environment
    )


async def test_to_a_file(environment: dict[str, str], contact: uuid.UUID, tmp_path: Path) -> None:
    for kind in ("csv", "pdf"):
        path = tmp_path / f"timeline.{kind}"
        path.write_text("of before")
        ran = await export(environment, contact=str(contact), format=kind, out=str(path))
        assert (ran.code, ran.stdout, ran.stderr) == (0, f"written to {path}\n", "")
    assert [row["sequence"] for row in rows((tmp_path / "timeline.csv").read_bytes())] == ["1", "2"]
    (page,) = pages((tmp_path / "timeline.pdf").read_bytes())
    assert "Müller العربية 漢字 2" in page
    assert sorted(path.name for path in tmp_path.iterdir()) == ["timeline.csv", "timeline.pdf"]


async def test_whatever_names_the_contact(
    environment: dict[str, str], contact: uuid.UUID, owner: asyncpg.Connection
) -> None:
    external_id = await owner.fetchval("select external_id from contacts where id = $1", contact)
    await seed.identifier(owner, "acme", contact, "email", "jm@example.com")
    await seed.identifier(owner, "acme", contact, "whatsapp", "+4915112345678")
    by_id = await export(environment, contact=str(contact))
    assert by_id.code == 0
    for name, region in (
        (f"external_id:{external_id}", ""),
        ("email:JM@example.com", ""),
        ("whatsapp:4915112345678", ""),
        ("sms:0151 12345678", "DE"),
    ):
        ran = await export({**environment, "ROLLCALL_DEFAULT_REGION": region}, contact=name)
        assert (ran.code, ran.stdout) == (0, by_id.stdout), name


async def test_who_is_not_there(environment: dict[str, str], contact: uuid.UUID, tmp_path: Path) -> None:
    path = tmp_path / "timeline.csv"
    path.write_text("of before")
    for options in (
        {"contact": str(uuid.uuid4())},
        {"contact": "external_id:nobody"},
        {"contact": "email:nobody@example.com"},
        {"contact": str(contact), "tenant": "globex"},
    ):
        ran = await export(environment, **options, out=str(path))
        assert (ran.code, ran.stdout, ran.stderr) == (1, "", "rollcall: no such contact\n"), options
    assert path.read_text() == "of before"
    assert list(tmp_path.iterdir()) == [path]


async def test_an_identifier_of_two_is_not_guessed(
    environment: dict[str, str], contact: uuid.UUID, owner: asyncpg.Connection
) -> None:
    other = await seed.contact(owner, "acme")
    for owned_by, scope in ((contact, "a"), (other, "b")):
        await seed.identifier(owner, "acme", owned_by, "messenger", "77", scope=scope)
    ran = await export(environment, contact="messenger:77")
    assert (ran.code, "name the contact by its id" in ran.stderr) == (1, True), ran


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"contact": "7"}, "--contact"),
        ({"contact": "e-mail?:x"}, "--contact"),
        ({"contact": "email:"}, "--contact"),
        ({"contact": "external_id: "}, "--contact"),
        ({"contact": "\udcff"}, "--contact"),
        ({"format": "xls"}, "--format"),
        ({"tenant": "a.b"}, "--tenant"),
        ({"out": "/no/such/directory/x.csv"}, "--out"),
        ({"out": "/dev/null"}, "--out"),
        ({"out": "/"}, "--out"),
    ],
)
async def test_wrong_usage_names_the_option(
    environment: dict[str, str], options: dict[str, str], said: str
) -> None:
    ran = await export(environment, **options)
    assert (ran.code, said in ran.stderr, ran.stdout) == (64, True, ""), ran
    assert len(ran.stderr.splitlines()) == 1


async def test_the_database_is_away() -> None:
    ran = await export({**CLEAN, "ROLLCALL_POSTGRES_DSN": "postgresql://u@127.0.0.1:1/x"})
    assert (ran.code, "set ROLLCALL_POSTGRES_DSN" in ran.stderr) == (1, True), ran
    assert len(ran.stderr.splitlines()) == 1


async def test_the_database_is_not_migrated(fresh_database: str) -> None:
    ran = await export({**CLEAN, "ROLLCALL_POSTGRES_DSN": fresh_database})
    assert (ran.code, "`rollcall migrate`" in ran.stderr) == (1, True), ran
    assert len(ran.stderr.splitlines()) == 1


async def test_without_the_extra(environment: dict[str, str], contact: uuid.UUID, tmp_path: Path) -> None:
    (tmp_path / "typst.py").write_text("raise ModuleNotFoundError(name='typst')")
    without = {**environment, "PYTHONPATH": str(tmp_path)}
    whose = ("--tenant", ARGUMENTS["--tenant"], "--contact", str(contact))
    about = ("timeline", "export", *whose, "--out", "-", "--format")
    for kind, code in (("pdf", 1), ("csv", 0)):
        ran = subprocess.run([*command(*about), kind], env=without, capture_output=True, check=False)  # noqa: ASYNC221
        assert ran.returncode == code, ran
        assert (b"pip install '.[export]'" in ran.stderr) == (kind == "pdf"), ran
        assert bool(ran.stdout) == (kind == "csv"), ran


async def test_what_cannot_be_written_is_said(environment: dict[str, str], contact: uuid.UUID) -> None:
    arguments = command("timeline", "export", *(word for pair in ARGUMENTS.items() for word in pair))
    arguments[arguments.index("--contact") + 1] = str(contact)
    with open("/dev/full", "wb") as full:  # noqa: ASYNC230, PTH123
        ran = subprocess.run(arguments, env=environment, stdout=full, stderr=subprocess.PIPE, check=False)  # noqa: ASYNC221
    assert (ran.returncode, ran.stderr) == (1, b"rollcall: cannot write to stdout: No space left on device\n")


def test_a_file_that_is_not_whole_takes_no_name(tmp_path: Path) -> None:
    path = tmp_path / "timeline.csv"
    path.write_text("of before")

    def half() -> None:
        with _output(path) as write:
            write(b"half")
            assert path.read_text() == "of before"
            raise Failure("away", 1)

    with pytest.raises(Failure, match="away"):
        half()
    assert path.read_text() == "of before"
    assert list(tmp_path.iterdir()) == [path]
    with _output(path) as write:
        write(b"who")
        write(b"le")
    assert path.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [path]
