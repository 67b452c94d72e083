"""What one message does to people, all of it or nothing, and what is then written and told of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.model.people import Happening, Key, Person, Refused, Told, key_of

MARKS = ("delivered", "read", "deleted", "skipped")


class Change:
    """One message's drafts. ``settle`` makes them true; a change that is dropped has touched nobody."""

    def __init__(
        self, tenant: str, people: list[Person], message: str, titles: Mapping[str, str] | None = None
    ) -> None:
        self.tenant = tenant
        self.people = people
        self.message = message
        self.titles = titles or {}  # of timeline events, by id
        self.marked: dict[int, dict[str, list[Happening]]] = {}  # by person, by mark
        self.items: list[str] = []  # what became of the parts of the message
        self.refused: list[str] = []  # the codes of those that were refused
        self.drafts: dict[int, Person] = {}
        self.happenings: dict[int, list[Happening]] = {}
        self.reasons: dict[int, str | None] = {}
        # An identifier command reports itself; what follows from it is not told twice.
        self.silent_fields = False
        # A webhook's item reports itself, and what it says of its identifiers.
        self.silent_identifiers = False

    def everyone(self) -> list[Person]:
        old = [self.drafts.get(p.number, p) for p in self.people]
        return old + [p for n, p in sorted(self.drafts.items()) if n >= len(self.people)]

    def draft(self, person: Person) -> Person:
        return self.drafts.setdefault(person.number, person.copy())

    def new(self) -> Person:
        number = len(self.everyone())
        self.drafts[number] = Person(self.tenant, number)
        return self.drafts[number]

    def owner(self, key: Key) -> Person | None:
        return next((p for p in self.everyone() if p.holds(key)), None)

    def by_external_id(self, value: str | None) -> Person | None:
        return next((p for p in self.everyone() if value and p.fields["external_id"] == value), None)

    def write(self, person: Person, type: str, category: str | None, **facts: Any) -> None:  # noqa: A002
        self.draft(person)
        self.happenings.setdefault(person.number, []).append(Happening(self.message, type, category, facts))

    def event(self, event_id: str) -> tuple[Person, Happening] | None:
        """The timeline event that a message names, if it is still there, and whose it is."""
        title = self.titles.get(event_id)
        for person in self.everyone():
            for happening in person.timeline:
                if title is not None and happening.title == title and "deleted" not in happening.marks:
                    return person, happening
        return None

    def mark(self, person: Person, mark: str, happening: Happening) -> None:
        self.marked.setdefault(person.number, {}).setdefault(mark, []).append(happening)

    def choose(self, keys: list[Key], external_id: str | None = None) -> tuple[Person | None, list[Person]]:
        """Whom external_id and identifiers mean, and who else they point to: the strongest, then the oldest."""
        found: list[tuple[int, int, Person]] = []
        if owner := self.by_external_id(external_id):
            found.append((0, owner.number, owner))
        for key in keys:
            if owner := self.owner(key):
                verified = any(i.is_verified for (k, _), i in owner.identifiers.items() if k == key)
                rank = 1 if verified else {"phone": 3, "email": 4}.get(key.kind, 2)
                found.append((rank, owner.number, owner))
        if not found:
            return None, []
        found.sort(key=lambda each: each[:2])
        chosen = found[0][2]
        others = {number: person for _, number, person in found if number != chosen.number}
        return chosen, list(others.values())

    def conflict(self, chosen: Person, others: list[Person]) -> None:
        for person in [chosen, *others] if others else []:
            self.write(person, "identifier_conflict", "system")

    def settle(self) -> None:
        for number in sorted(self.drafts):
            after = self.drafts[number]
            before = self.people[number] if number < len(self.people) else None
            self._tell(before, after)
            after.timeline += self.happenings.get(number, [])
            if before is None:
                self.people.append(after)
            else:
                self.people[number] = after
        for number, by_mark in self.marked.items():
            self._tell_marks(self.people[number], by_mark)

    def _tell_marks(self, person: Person, by_mark: dict[str, list[Happening]]) -> None:
        for mark, happenings in by_mark.items():
            for happening in happenings:
                happening.marks.add(mark)
        facts = {mark: [h.title for h in by_mark.get(mark, [])] for mark in MARKS}
        person.told.append(Told(self.message, "contact.timeline_changed", person.version, facts))

    def _tell(self, before: Person | None, after: Person) -> None:
        reason = self.reasons.get(after.number)
        if before is None:
            after.version = 1
            after.timeline.append(Happening(self.message, "contact_created", "system"))
            after.told.append(Told(self.message, "contact.created", 1))
            return
        old, new = before.document(), after.document()
        changed = {name for name in new if new[name] != old[name]}
        if not changed:
            return
        after.version += 1
        if "deleted" in changed:
            life = "deleted" if after.deleted else "restored"
            after.told.append(Told(self.message, f"contact.{life}", after.version, {"reason": reason}))
            after.timeline.append(Happening(self.message, f"contact_{life}", "system"))
        if rest := changed - {"deleted"}:
            after.told.append(Told(self.message, "contact.updated", after.version, {"fields": sorted(rest)}))
        self._write_fields(before, after)
        self._write_identifiers(before, after)
        for name in sorted(after.tags ^ before.tags):
            word = "tagged" if name in after.tags else "untagged"
            after.told.append(Told(self.message, f"contact.{word}", after.version, {"tag": name}))
            kind = "tag_added" if name in after.tags else "tag_removed"
            after.timeline.append(Happening(self.message, kind, "tag"))

    def _write_fields(self, before: Person, after: Person) -> None:
        if before.status != after.status:
            after.timeline.append(Happening(self.message, "status_changed", "status"))
        for name in sorted(before.attributes.keys() | after.attributes.keys()):
            if name not in after.attributes:
                after.timeline.append(Happening(self.message, "custom_field_cleared", "custom_field"))
            elif name not in before.attributes or before.attributes[name] != after.attributes[name]:
                after.timeline.append(Happening(self.message, "custom_field_set", "custom_field"))
        old, new = before.plain(), after.plain()
        changes = {name: {"old": old[name], "new": new[name]} for name in new if old[name] != new[name]}
        if self.silent_fields:
            changes = {}
        untold = not self.silent_identifiers and _untold(before, after)
        if changes or untold:
            facts = (
                {} if untold else {"payload.changes": changes}
            )  # the ids of identifiers are nobody's to foretell
            after.timeline.append(Happening(self.message, "contact_updated", "system", facts))

    def _write_identifiers(self, before: Person, after: Person) -> None:
        def write(kind: str) -> None:
            after.timeline.append(Happening(self.message, f"identifier_{kind}", "system"))

        had_primary = {i.channel for i in before.identifiers.values() if i.is_primary}
        for at, new in after.identifiers.items():
            old = before.identifiers.get(at)
            if old is None:
                write("added")
            if old is not None and new.is_verified and not old.is_verified:
                write("verified")
            if new.is_primary and (not old.is_primary if old else new.channel in had_primary):
                write("primary_changed")
        for at in before.identifiers:
            if at not in after.identifiers:
                write("removed")


def _untold(before: Person, after: Person) -> bool:
    """Whether an identifier that stayed has a new spelling, or a flag less: no event of its own says so."""
    pairs = [(old, new) for at, new in after.identifiers.items() if (old := before.identifiers.get(at))]
    return any(old.raws != new.raws or (old.is_verified and not new.is_verified) for old, new in pairs)


def find(change: Change, reference: Any) -> Person:
    """Whom ``contact`` of a command names."""
    if not isinstance(reference, dict):
        raise Refused("invalid")
    given = {name: value for name, value in reference.items() if value is not None}
    names = set(given)
    if names == {"id"}:
        raise Refused("contact_not_found")  # the traffic cannot know an id but an invented one
    if names == {"external_id"}:
        person = change.by_external_id(given["external_id"])
    elif {"channel", "identifier"} <= names <= {"channel", "identifier", "scope"}:
        wanted = key_of(given["channel"], given["identifier"], given.get("scope"))
        holders = [
            p
            for p in change.everyone()
            if any(k[:2] == wanted[:2] and ("scope" not in given or k == wanted) for k, _ in p.identifiers)
        ]
        if len(holders) > 1:
            raise Refused("ambiguous_reference")
        person = holders[0] if holders else None
    else:
        raise Refused("invalid")
    if person is None:
        raise Refused("contact_not_found")
    return person


def live(change: Change, data: dict[str, Any]) -> Person:
    person = find(change, data.get("contact"))
    if person.deleted:
        raise Refused("contact_deleted")
    return person
