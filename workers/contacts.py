"""The contacts worker: commands, one handler each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg
from pydantic import ValidationError

from contracts.commands.base import Command as CommandModel
from contracts.commands.base import validation_errors
from contracts.commands.search import SearchRebuild
from contracts.commands.timeline import EventsCommand, TimelineRecordMany
from contracts.registry import COMMANDS
from ops.settings import Settings
from storage.batch import Wanted
from storage.references import Lookup
from storage.rows import IdentifierKey
from workers.engine.record import Applied, Outcome, Record, Undecodable
from workers.fold.apply import apply, bury
from workers.fold.directory import Rejection, Scratch
from workers.fold.handlers import contact, identifier, search, timeline
from workers.fold.handlers.claim import Claim
from workers.fold.handlers.command import Prepared, claim, refer, rejection
from workers.fold.message import Decoded, check_version, open_record

HANDLERS: Mapping[str, Callable[[Scratch, Prepared], Outcome]] = {
    "contact.create": contact.create,
    "contact.upsert": contact.upsert,
    "contact.update": contact.update,
    "contact.delete": contact.delete,
    "contact.restore": contact.restore,
    "identifier.add": identifier.add,
    "identifier.remove": identifier.remove,
    "identifier.verify": identifier.verify,
    "identifier.set_primary": identifier.set_primary,
    "timeline.record": timeline.record,
    "timeline.record_many": timeline.record_many,
    "timeline.mark_delivered": timeline.mark_delivered,
    "timeline.mark_read": timeline.mark_read,
    "timeline.delete": timeline.delete,
    "search.rebuild": search.rebuild,
}


@dataclass(slots=True)
class Command(Decoded):
    """A decoded command; ``prepared`` is a Rejection where its schema refuses it, so that its sender learns why."""

    name: str
    prepared: Prepared | Rejection

    def want(self, wanted: Wanted) -> None:
        """Say what the command refers to."""
        if isinstance(self.prepared, Rejection):
            return
        if self.name == SearchRebuild.TYPE:
            wanted.rebuilds.add(self.tenant)
            return
        wanted.tags = True
        for prepared in (self.prepared, *self.prepared.parts):
            if isinstance(prepared, Prepared):
                self._want(wanted, prepared)

    def _want(self, wanted: Wanted, prepared: Prepared) -> None:
        for key in self._keys(prepared):
            wanted.identifiers.add(Lookup(self.tenant, key.kind, key.identifier))
        reference, model = prepared.reference, prepared.model
        if reference is not None and reference.id is not None:
            wanted.contact_ids.add((self.tenant, reference.id))
        named = (reference.external_id if reference else None, _external_id(model))
        wanted.external_ids |= {(self.tenant, external_id) for external_id in named if external_id}
        if isinstance(model, EventsCommand):
            wanted.event_ids |= {(self.tenant, event_id) for event_id in model.event_ids}

    @staticmethod
    def _keys(prepared: Prepared) -> Iterator[IdentifierKey]:
        for claimed in prepared.claims:
            yield claimed.key
        if prepared.reference is not None and prepared.reference.claim is not None:
            yield prepared.reference.claim.key

    def fold(self, scratch: Scratch) -> Outcome:
        if isinstance(self.prepared, Rejection):
            raise self.prepared
        return HANDLERS[self.name](scratch, self.prepared)


class Commands:
    """The processor of the stream COMMAND."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def decode(self, record: Record) -> Command:
        opened = open_record(record, self._settings.max_body)
        name = opened.kind.partition(".")[2]
        if opened.envelope.type not in ("", opened.kind):
            raise Undecodable(
                "type_mismatch", f"type: must be {opened.kind}, as the subject says", opened.tenant
            )
        model = COMMANDS.get(name)
        if model is None or name not in HANDLERS:
            raise Undecodable("unknown_type", f"no command {name!r} is known", opened.tenant)
        check_version(opened)
        try:
            prepared: Prepared | Rejection = self._prepare(
                model.model_validate(opened.envelope.data), self._settings.region(opened.tenant)
            )
        except ValidationError as error:
            prepared = rejection(validation_errors(error))
        except Rejection as rejected:
            prepared = rejected
        return Command(opened, name, prepared)

    @staticmethod
    def _prepare(model: CommandModel, region: str | None) -> Prepared:
        if isinstance(model, TimelineRecordMany):
            return Prepared(model, parts=tuple(timeline.parts(model, region)))
        region = getattr(model, "region", None) or region
        reference = getattr(model, "contact", None)
        return Prepared(model, refer(reference, region) if reference else None, tuple(_claims(model, region)))

    async def apply(self, connection: asyncpg.Connection, messages: Sequence[Command]) -> Applied:
        return await apply(connection, messages)

    async def bury(self, connection: asyncpg.Connection, message: Command, outcome: Outcome) -> Outcome:
        return await bury(connection, message, outcome)


def _claims(model: Any, region: str | None) -> Iterator[Claim]:
    """Every identifier that a command gives, takes or speaks of."""
    if hasattr(model, "identifier"):
        yield claim(
            "identifier",
            model.channel,
            model.identifier,
            model.scope,
            region,
            known=model.TYPE != "identifier.add",
            is_primary=getattr(model, "is_primary", None),
            is_verified=getattr(model, "is_verified", None),
            shared=getattr(model, "shared", None),
            metadata=getattr(model, "metadata", None),
        )
    fields, prefix = (model.set, "set.") if hasattr(model, "set") else (model, "")
    for name, channel in (("email", "email"), ("phone", "sms")):
        given = getattr(fields, name, None)
        if given is not None:
            yield claim(f"{prefix}{name}", channel, given, "", region, is_primary=True)
    for n, given in enumerate(getattr(model, "identifiers", None) or ()):
        yield claim(
            f"identifiers.{n}.identifier",
            given.channel,
            given.identifier,
            given.scope,
            region,
            is_primary=given.is_primary,
            is_verified=given.is_verified,
            shared=given.shared,
            metadata=given.metadata,
        )


def _external_id(model: Any) -> str | None:
    fields = model.set if hasattr(model, "set") else model
    return getattr(fields, "external_id", None)


def processor(settings: Settings) -> Commands:
    return Commands(settings)
