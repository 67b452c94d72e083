"""The inbox worker: raw provider webhooks, each yielding any number of items."""

from __future__ import annotations

import functools
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg

from contracts.webhooks import PROVIDERS
from contracts.webhooks.items import Item, NamedIdentifier, NoPerson, PayloadError
from ops import metrics
from ops.settings import Settings
from storage.batch import Wanted
from storage.inbox import SeenKey, digest
from storage.references import Lookup
from storage.rows import IdentifierKey
from workers.engine.record import Applied, Outcome, Record, Undecodable
from workers.fold import identity
from workers.fold.apply import apply, bury
from workers.fold.directory import Scratch
from workers.fold.handlers.claim import Claim
from workers.fold.handlers.inbound import Inbound, handle
from workers.fold.identity import IdentifierError
from workers.fold.message import Decoded, check_version, open_record


@dataclass(slots=True)
class Webhook(Decoded):
    """A decoded webhook: its items with the canonical forms of everyone they speak of."""

    items: tuple[Inbound, ...]
    why_none: str = "no_items"  # the reason why there is nothing to do, where there is none of them

    def want(self, wanted: Wanted) -> None:
        """Say what the items refer to."""
        for inbound in self.items:
            wanted.message_ids.add(inbound.seen_key)
            for claim in (*inbound.claims, *inbound.new_claims):
                wanted.identifiers.add(Lookup(self.tenant, claim.key.kind, claim.key.identifier))

    def fold(self, scratch: Scratch) -> Outcome:
        """Apply every item, in order."""
        if not self.items:
            metrics.IGNORED.labels(self.why_none).inc()
        answers: list[dict[str, Any]] = []
        touched: set[uuid.UUID] = set()
        for inbound in self.items:
            answer, contact_id = handle(scratch, inbound, self.opened)
            answers.append(answer)
            if contact_id is not None:
                touched.add(contact_id)
        return Outcome("applied", contact_id=touched.pop() if len(touched) == 1 else None, items=answers)


class Webhooks:
    """The processor of the stream WEBHOOK."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def decode(self, record: Record) -> Webhook:
        opened = open_record(record, self._settings.max_body)
        provider = opened.kind.partition(".")[2]
        parse = PROVIDERS.get(provider)
        if parse is None:
            raise Undecodable("unknown_type", f"no provider {provider!r} is known", opened.tenant)
        check_version(opened)
        try:
            items = parse(opened.envelope)
            region = self._settings.region(opened.tenant)
            inbound = tuple([_inbound(item, opened.tenant, provider, region) for item in items])
        except (PayloadError, IdentifierError) as error:
            raise Undecodable("invalid_payload", str(error), opened.tenant) from None
        return Webhook(opened, inbound, "no_person" if isinstance(items, NoPerson) else "no_items")

    async def apply(self, connection: asyncpg.Connection, messages: Sequence[Webhook]) -> Applied:
        return await apply(connection, messages)

    async def bury(self, connection: asyncpg.Connection, message: Webhook, outcome: Outcome) -> Outcome:
        return await bury(connection, message, outcome)


def _inbound(item: Item, tenant: str, provider: str, region: str | None) -> Inbound:
    return Inbound(
        item,
        provider,
        SeenKey(tenant, digest("item", item.dedupe_key)),
        tuple([_claim(named, region) for named in item.identifiers]),
        tuple([_claim(named, region) for named in item.new_identifiers]) if item.new_identifiers else (),
    )


@functools.lru_cache(maxsize=4096)  # the same people write again
def _claim(named: NamedIdentifier, region: str | None) -> Claim:
    key: IdentifierKey = identity.canonicalise_inbound(named.channel, named.identifier, named.scope, region)
    return Claim(named.channel, named.identifier, key)


def processor(settings: Settings) -> Webhooks:
    return Webhooks(settings)
