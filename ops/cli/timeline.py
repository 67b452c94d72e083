"""``timeline``: a contact's timeline, out of the database and into a file."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli.messages import Tenant
from ops.cli.output import REJECTED, Failure, check_tenant, run

if TYPE_CHECKING:
    from contracts.reference import ContactReference
    from storage.reads.session import Reads
    from workers.queries.handlers.answer import Refusal

app = typer.Typer(help="The timelines of contacts: export.")


class Format(StrEnum):
    csv = "csv"
    pdf = "pdf"


@app.callback()
def root() -> None:
    """The timelines of contacts."""


@app.command()
def export(
    tenant: Tenant,
    contact: Annotated[
        str,
        typer.Option(
            metavar="CONTACT",
            help="An id, external_id:VALUE, or CHANNEL:IDENTIFIER such as whatsapp:491511234567.",
            show_default=False,
        ),
    ],
    format: Annotated[Format, typer.Option(help="For spreadsheets, or for people.", show_default=False)],
    out: Annotated[
        str, typer.Option(metavar="FILE", help="Written when it is whole; - for stdout.", show_default=False)
    ],
) -> None:
    """Export a contact's whole timeline, oldest event first.

    For example: rollcall timeline export --tenant acme --contact email:ann@example.com --format pdf --out ann.pdf

    Exit code: 0 written, 1 no such contact, 64 wrong usage.
    """
    reference = _reference(contact)

    check_tenant(tenant)
    reference, path = _reference(contact), _path(out)

    async def work() -> None:
        from workers.exports.export import NotInstalled
        from workers.exports.export import export as begin
        from workers.queries.handlers.answer import Refusal

        async with _reads() as reads:
            try:
                contact_id = await _resolved(reads, tenant, reference)
                pieces = await begin(reads, tenant, contact_id, format.value)
            except Refusal as refusal:
                raise _failure(refusal) from None
            except NotInstalled as error:
                raise Failure(str(error), REJECTED) from None
            with _output(path) as write:
                async for piece in pieces:
                    write(piece)

    run(work())
    if path is not None:
        typer.echo(f"written to {out}")


def _reference(text: str) -> ContactReference:
    from contracts.reference import ContactReference

    way, colon, value = text.partition(":")
    try:
        text.encode()  # what the shell could not decode, no contact has
        if not colon:
            return ContactReference(id=uuid.UUID(text))
        if way == "external_id":
            return ContactReference(external_id=value)
        return ContactReference(channel=way, identifier=value)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} names no contact; give an id, external_id:VALUE or CHANNEL:IDENTIFIER",
            param_hint="--contact",
        ) from None


def _path(out: str) -> Path | None:
    """Where the file goes; None: to stdout."""
    if out == "-":
        return None
    path = Path(out).resolve()
    if not path.parent.is_dir():
        raise typer.BadParameter(f"there is no directory {path.parent}", param_hint="--out")
    if path.exists() and not path.is_file():
        raise typer.BadParameter(f"{out} is no file; give a file's name, or - for stdout", param_hint="--out")
    return path


@contextlib.asynccontextmanager
async def _reads() -> AsyncIterator[Reads]:
    """The read role's door to the database. Raises Unreachable for every error of the server."""
    from sqlalchemy.exc import DBAPIError

    from ops import reach
    from ops.settings import DatabaseSettings, read
    from storage.errors import Unavailable
    from storage.postgres import READER, engine
    from storage.reads.session import Reads, driver_error

    made = engine(read(DatabaseSettings).postgres_dsn, READER, "rollcall timeline", size=1)
    try:
        yield Reads(made)
    except (DBAPIError, Unavailable) as error:
        raise reach.refused(driver_error(error)) from None
    finally:
        await made.dispose()


async def _resolved(reads: Reads, tenant: str, reference: ContactReference) -> uuid.UUID:
    """The contact that the reference names. Raises Refusal."""
    from ops.settings import RegionSettings, read
    from workers.queries.handlers.answer import found, name_of

    name = name_of(**dict(reference), region=read(RegionSettings).region(tenant))
    async with reads.of(tenant) as reading:
        return (await found(reading, name, include_deleted=True, whole=False)).id


def _failure(refusal: Refusal) -> Exception:
    if refusal.code == "invalid":
        return typer.BadParameter(refusal.message, param_hint="--contact")
    if refusal.code == "ambiguous_reference":
        return Failure("the identifier belongs to different contacts; name the contact by its id", REJECTED)
    return Failure(refusal.message, REJECTED)


@contextlib.contextmanager
def _output(path: Path | None) -> Iterator[Callable[[bytes], None]]:
    """What writes a piece. The file takes its name when the block has ended well, and is gone otherwise. Raises Failure."""
    partial = None if path is None else path.with_name(f".{path.name}.{os.getpid()}")
    with _told(path):
        # Not sys.stdout, which would try once more at the end to write what nobody reads.
        file = os.fdopen(os.dup(1), "wb") if partial is None else partial.open("wb")

    def write(piece: bytes) -> None:
        with _told(path):
            file.write(piece)

    try:
        yield write
        with _told(path):
            file.close()
            if partial is not None and path is not None:
                partial.replace(path)
    finally:
        with contextlib.suppress(OSError):
            file.close()
        if partial is not None:
            partial.unlink(missing_ok=True)


@contextlib.contextmanager
def _told(path: Path | None) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Failure(f"cannot write {path or 'to stdout'}: {error.strerror}", REJECTED) from None
