"""Fold the input once, message by message, and say what must have come of it.

Straightforward and slow on purpose: a second, independent reading of docs/commands.md and docs/webhooks.md for the traffic of tests/faults.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from tests.model import commands, webhooks
from tests.model.change import Change
from tests.model.decode import Accepted, Dead, Meaning, decode, id_of
from tests.model.people import Person, Refused


@dataclass
class Fate:
    """What became of one message: applied | duplicate | rejected (code) | dead (code is the reason)."""

    status: str
    code: str | None = None
    message: str | None = None  # the envelope's id; None where it could not be read
    items: list[str] = field(default_factory=list)  # of a webhook, or a command of many: what each became
    refused: list[str] = field(default_factory=list)  # the codes of the items that were refused


class Model:
    """``take`` messages in an order that keeps each key's; then read ``people`` and ``fates``.

    ``titles``: of timeline events by id, which are drawn at random: what a message means that names one.
    """

    def __init__(
        self,
        max_body: int = 900_000,
        poison: Callable[[Accepted], bool] | None = None,
        titles: Mapping[str, str] | None = None,
    ) -> None:
        self.people: dict[str, list[Person]] = {}
        self.fates: dict[tuple[str, int], Fate] = {}  # by stream and sequence
        self._max_body = max_body
        self._poison = poison  # whether a handler raises on it
        self._titles = titles
        self._seen: set[tuple[str, str, str]] = set()
        self._items: set[tuple[str, str]] = set()

    def fold(self, messages: Iterable[Accepted]) -> Model:
        for message in messages:
            self.take(message)
        return self

    def take(self, message: Accepted) -> Fate:
        fate = self._fate(message)
        self.fates[message.stream, message.sequence] = fate
        return fate

    def _fate(self, message: Accepted) -> Fate:
        try:
            meaning = decode(message, self._max_body)
            if meaning.kind == "webhook":
                found = webhooks.items(meaning)
        except Dead as dead:
            return Fate("dead", dead.reason, id_of(message))
        identity = (meaning.tenant, meaning.source, meaning.id)
        if identity in self._seen:
            return Fate("duplicate", message=meaning.id)
        self._seen.add(identity)
        if self._poison and self._poison(message):
            return Fate("dead", "handler_failed", meaning.id)
        people = self.people.setdefault(meaning.tenant, [])
        change = Change(meaning.tenant, people, meaning.id, self._titles)
        if meaning.kind == "webhook":
            return self._webhook(change, meaning, found)
        try:
            commands.run(change, meaning)
        except Refused as refused:
            return Fate("rejected", refused.code, meaning.id)
        change.settle()
        return Fate("applied", message=meaning.id, items=change.items, refused=change.refused)

    def _webhook(self, change: Change, meaning: Meaning, found: list[webhooks.Item]) -> Fate:
        change.silent_identifiers = True
        statuses = []
        for item in found:
            known = (meaning.tenant, item.dedupe_key) in self._items
            statuses.append("duplicate" if known else "applied")
            if not known:
                self._items.add((meaning.tenant, item.dedupe_key))
                webhooks.take(change, meaning, item)
        change.settle()
        return Fate("applied", message=meaning.id, items=statuses)
