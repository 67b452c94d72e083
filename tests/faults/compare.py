"""Hold what came of the input against the model: nothing lost, nothing twice, no order broken, and the events tell the truth."""

from __future__ import annotations

import copy
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.faults.evidence import Evidence
from tests.model.change import MARKS
from tests.model.decode import Accepted, parse_time
from tests.model.fold import Model
from tests.model.people import Happening, Person

SHOWN = 12  # problems in a failure's text
IGNORED = ("updated_at", "last_contact_at", "tenant", "created_at", "deleted_at", "version")


@dataclass
class Verdict:
    """``lost``, ``twice`` and ``disordered`` count effects; ``wrong`` names everything else that differs."""

    messages: int = 0
    fates: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    twice: int = 0
    disordered: int = 0
    wrong: list[str] = field(default_factory=list)

    def check(self) -> None:
        shown = "\n".join(self.wrong[:SHOWN])
        clean = not (self.lost or self.twice or self.disordered or self.wrong)
        assert clean, f"{self.numbers()}; {len(self.wrong)} differences\n{shown}"

    def numbers(self) -> str:
        return f"lost {self.lost}, twice {self.twice}, out of order {self.disordered}"

    def add(self, lost: Counter, twice: Counter, where: str) -> None:
        self.lost += lost.total()
        self.twice += twice.total()
        for word, counter in (("lost", lost), ("twice", twice)):
            if counter:
                self.wrong.append(f"{where}: {word} {dict(counter.most_common(4))}")


def compare(evidence: Evidence, model: Model, *, replies_kept: bool = True) -> Verdict:
    """``replies_kept``: no fault of this run may have cost a reply, so that each accepted message has its result."""
    verdict = Verdict(messages=len(evidence.accepted))
    verdict.fates.update(fate.status for fate in model.fates.values())
    keys = _keys(evidence.accepted, model)
    _unique(evidence, verdict)
    _truthful(evidence, verdict)
    _rejections(evidence, model, verdict)
    _dead_letters(evidence, model, verdict)
    _results(evidence, model, verdict, kept=replies_kept)
    _people(evidence, model, keys, verdict)
    return verdict


def invariants(evidence: Evidence) -> Verdict:
    """What holds whatever the order was: for input whose outcome the bus does not settle."""
    verdict = Verdict(messages=len(evidence.accepted))
    _unique(evidence, verdict)
    _truthful(evidence, verdict)
    return verdict


def _keys(accepted: list[Accepted], model: Model) -> dict[str, str]:
    """By message id: the stream and key that order it."""
    keys: dict[str, str] = {}
    for message in accepted:
        fate = model.fates[message.stream, message.sequence]
        if fate.message:
            keys.setdefault(fate.message, f"{message.stream}:{message.subject.rpartition('.')[2]}")
    return keys


def _unique(evidence: Evidence, verdict: Verdict) -> None:
    again = Counter(event["id"] for event in evidence.events)
    verdict.add(Counter(), Counter({i: n - 1 for i, n in again.items() if n > 1}), "event ids")
    for event in evidence.events:
        prefix, suffix = f"{event['type']}.{event['tenantid']}.", event["data"].get("contact_id") or "-"
        if event["stored_subject"] != prefix + suffix:
            verdict.wrong.append(f"event {event['id']} of {event['type']} on {event['stored_subject']}")


def _truthful(evidence: Evidence, verdict: Verdict) -> None:
    """Per contact: old state + events = new state; versions and sequences rise without gaps, as in the database."""
    told: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for event in evidence.events:
        if event["type"] != "contact.rejected":
            told[event["data"]["contact_id"]].append(event)
    for unknown in told.keys() - evidence.contacts.keys():
        verdict.wrong.append(f"events of contact {unknown}, which is not in the database")
    for contact_id, found in evidence.contacts.items():
        events = told[contact_id]
        document, version, sequence = {}, 0, 0
        lines: dict[str, list[Any]] = {}  # of the timeline: when each was delivered and read
        for event in events:
            data = event["data"]
            if event["type"] == "contact.timeline_changed":
                _mark(lines, data, verdict)
                continue
            if event["type"].startswith("timeline."):
                lines[event["id"]] = [None, None]
                if data["sequence"] != sequence + 1:
                    verdict.disordered += 1
                    verdict.wrong.append(f"{contact_id}: sequence {data['sequence']} after {sequence}")
                sequence = data["sequence"]
                continue
            if not version <= data["version"] <= version + 1:
                verdict.disordered += 1
                verdict.wrong.append(
                    f"{contact_id}: {event['type']} version {data['version']} after {version}"
                )
            version = data["version"]
            _apply(document, event["type"], data)
        found_lines = evidence.timeline.get(contact_id, [])
        rows, ids = [str(row["id"]) for row in found_lines], list(lines)
        for row in found_lines:
            marks = [row["delivered_at"], row["read_at"]]
            if lines.get(str(row["id"]), marks) != marks:
                verdict.wrong.append(f"{contact_id}: event {row['id']} is marked {marks}, told {lines}")
        if rows != ids:
            verdict.add(Counter(rows) - Counter(ids), Counter(ids) - Counter(rows), f"{contact_id} timeline")
            verdict.disordered += Counter(rows) == Counter(ids)
        if version != found["version"]:
            verdict.wrong.append(f"{contact_id}: version {found['version']}, told up to {version}")
        for name in found.keys() - set(IGNORED):
            if document.get(name) != found[name]:
                verdict.wrong.append(f"{contact_id}: {name} told {document.get(name)!r} is {found[name]!r}")
        if document.get("deleted") != (found["deleted_at"] is not None):
            verdict.wrong.append(f"{contact_id}: deleted told {document.get('deleted')}")


def _mark(lines: dict[str, list[Any]], data: dict[str, Any], verdict: Verdict) -> None:
    """Old timeline + the event = new timeline; nothing is marked or deleted twice."""
    for place, word in enumerate(("delivered", "read")):
        for event_id in data[word]:
            if lines.get(event_id, [0, 0])[place] is not None:
                verdict.twice += 1
                verdict.wrong.append(f"event {event_id} is told {word} twice, or after it was deleted")
                continue
            lines[event_id][place] = parse_time(data["at"])
    for event_id in data["deleted"]:
        if lines.pop(event_id, None) is None:
            verdict.twice += 1
            verdict.wrong.append(f"event {event_id} is told deleted twice")


def _apply(document: dict[str, Any], kind: str, data: dict[str, Any]) -> None:
    if kind == "contact.created":
        document.update(copy.deepcopy(data["contact"]), deleted=False)
    elif kind == "contact.updated":
        for name, change in data["changes"].items():
            assert document.get(name) == change["old"], (
                f"{name}: {document.get(name)!r}, old {change['old']!r}"
            )
            document[name] = change["new"]
    elif kind in {"contact.deleted", "contact.restored"}:
        document["deleted"] = kind == "contact.deleted"
    elif kind == "contact.tagged":
        document["tags"] = sorted({*document["tags"], data["tag"]})
    elif kind == "contact.untagged":
        document["tags"] = sorted({*document["tags"]} - {data["tag"]})


def _rejections(evidence: Evidence, model: Model, verdict: Verdict) -> None:
    expected = Counter((f.message, f.code) for f in model.fates.values() if f.status == "rejected")
    expected += Counter((f.message, code) for f in model.fates.values() for code in f.refused)
    actual = Counter(
        (event["causationid"], event["data"]["code"])
        for event in evidence.events
        if event["type"] == "contact.rejected"
    )
    verdict.add(expected - actual, actual - expected, "rejections")


def _dead_letters(evidence: Evidence, model: Model, verdict: Verdict) -> None:
    fates = {at: fate.code for at, fate in model.fates.items() if fate.status == "dead"}
    expected = Counter((*at, code) for at, code in fates.items())
    actual = Counter((row["stream"], row["position"], row["reason"]) for row in evidence.dead)
    verdict.add(expected - actual, actual - expected, "dead letters")
    kept = Counter(str(row["id"]) for row in evidence.dead)
    announced = Counter(each["headers"]["Rollcall-Dead-Letter"] for each in evidence.announced)
    verdict.add(kept - announced, announced - kept, "announced dead letters")


def _results(evidence: Evidence, model: Model, verdict: Verdict, *, kept: bool) -> None:
    """One fate a message, told to whoever asked; the same words again are no second fate."""
    for message in evidence.accepted:
        fate = model.fates[message.stream, message.sequence]
        subject = message.headers.get("Rollcall-Reply-To")
        if subject is None or fate.message is None:
            continue
        told = evidence.results.get(subject, [])
        if fate.code == "bad_subject" and not subject.startswith("_INBOX."):
            verdict.wrong += [f"{subject}: a result that no tenant can be asked for"] if told else []
            continue
        words = {(r["data"]["status"], r["data"].get("code")) for r in told}
        code = fate.code if fate.status in {"rejected", "dead"} else None
        if not words and kept:
            verdict.lost += 1
            verdict.wrong.append(f"{message.stream} {message.sequence}: no result on {subject}")
        elif words and words != {(fate.status, code)}:
            verdict.wrong.append(
                f"{message.stream} {message.sequence}: result {words}, expected {fate.status} {code}"
            )
        for result in told:
            if result.get("causationid") != fate.message:
                verdict.wrong.append(f"{subject}: caused by {result.get('causationid')}, not {fate.message}")
            items = [item["status"] for item in result["data"].get("items", [])]
            if fate.status == "applied" and items != fate.items:
                verdict.wrong.append(f"{subject}: items {items}, expected {fate.items}")


def _people(evidence: Evidence, model: Model, keys: dict[str, str], verdict: Verdict) -> None:
    """Match contacts to the model's people by what identifies them, and hold each against the other."""
    actual = {_identity(found): contact_id for contact_id, found in evidence.contacts.items()}
    expected = {_expected_identity(p): p for people in model.people.values() for p in people}
    if len(actual) != len(evidence.contacts):
        verdict.wrong.append("two contacts have the same identifiers")
    for missing in expected.keys() - actual.keys():
        verdict.wrong.append(f"no contact {missing}")
        verdict.lost += 1
    for ghost in actual.keys() - expected.keys():
        verdict.wrong.append(f"a contact {ghost} that nobody asked for")
        verdict.twice += 1
    events: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for event in evidence.events:
        events[event["data"].get("contact_id") or "-"].append(event)
    for identity in expected.keys() & actual.keys():
        contact_id = actual[identity]
        _person(evidence.contacts[contact_id], events[contact_id], expected[identity], keys, verdict)


def _identity(found: dict[str, Any]) -> tuple[Any, ...]:
    identifiers = sorted((i["channel"], i["scope"] or "", i["identifier"]) for i in found["identifiers"])
    return (found["tenant"], found["external_id"], *identifiers)


def _expected_identity(person: Person) -> tuple[Any, ...]:
    identifiers = sorted((i.channel, i.key.scope, i.key.canonical) for i in person.identifiers.values())
    return (person.tenant, person.fields["external_id"], *identifiers)


def _document(found: dict[str, Any]) -> dict[str, Any]:
    names = "external_id first_name last_name avatar_url source display_name email phone status attributes tags version"
    return {
        **{name: found[name] for name in names.split()},
        "identifiers": sorted(
            [
                i["channel"],
                i["scope"] or "",
                i["identifier"],
                i["is_primary"],
                i["is_verified"],
                i["metadata"].get("profile_name"),
                *sorted({i["raw"], *i["aliases"]}),
            ]
            for i in found["identifiers"]
        ),
        "deleted": found["deleted_at"] is not None,
        "last_contact_at": found["last_contact_at"] and parse_time(found["last_contact_at"]),
    }


def _person(
    found: dict[str, Any],
    events: list[dict[str, Any]],
    person: Person,
    keys: dict[str, str],
    verdict: Verdict,
) -> None:
    where = f"{person.tenant} {found['display_name']}"
    wanted = {**person.document(), "version": person.version, "last_contact_at": person.last_contact_at}
    document = _document(found)
    for name, value in wanted.items():
        open_source = name == "source" and value is None  # of contacts that a webhook made
        if document[name] != value and not open_source:
            verdict.wrong.append(f"{where}: {name} is {document[name]!r}, expected {value!r}")
    timeline = [e for e in events if e["type"].startswith("timeline.")]
    told = [e for e in events if e["type"].startswith("contact.") and e["type"] != "contact.rejected"]
    _sequence(
        [(e["causationid"], e["data"]["type"]) for e in timeline],
        [(h.message, h.type) for h in person.timeline],
        keys,
        verdict,
        f"{where} timeline",
    )
    _sequence(
        [(e["causationid"], e["type"]) for e in told],
        [(t.message, t.type) for t in person.told],
        keys,
        verdict,
        f"{where} events",
    )
    _facts(timeline, person.timeline, verdict, where)
    titles = {e["id"]: e["data"]["title"] for e in timeline}
    for event in told:
        match = [t for t in person.told if (t.message, t.type) == (event["causationid"], event["type"])]
        facts = [
            {**t.facts, "fields": _asked(t.facts["fields"])} if "fields" in t.facts else t.facts
            for t in match
        ]
        data = event["data"]
        seen = {
            "contact.timeline_changed": {
                mark: [titles.get(event_id) for event_id in data.get(mark, [])] for mark in MARKS
            },
            "contact.updated": {"fields": _asked(data.get("changes", {}))},
            "contact.tagged": {"tag": data.get("tag")},
            "contact.untagged": {"tag": data.get("tag")},
            "contact.created": {},
        }.get(event["type"], {"reason": data.get("reason")})
        if match and seen not in facts:
            verdict.wrong.append(f"{where}: {event['type']} says {seen}, expected one of {facts}")


def _asked(fields: Iterable[str]) -> list[str]:
    """Whether a message also changes the display name hangs on what other keys told before it: no order is promised there."""
    return sorted(set(fields) - {"display_name"})


def _sequence(
    actual: list[tuple[str, str]],
    expected: list[tuple[str, str]],
    keys: dict[str, str],
    verdict: Verdict,
    where: str,
) -> None:
    """The same happenings, and those of one key in the order of their messages."""
    have, want = Counter(actual), Counter(expected)
    if have != want:
        verdict.add(want - have, have - want, where)
        return
    for key in {keys.get(message, "?") for message, _ in expected}:
        first = _runs(message for message, _ in actual if keys.get(message, "?") == key)
        second = _runs(message for message, _ in expected if keys.get(message, "?") == key)
        if first != second:
            verdict.disordered += 1
            verdict.wrong.append(f"{where}: order of {key} is {first}, expected {second}")


def _runs(messages: Any) -> list[str]:
    runs: list[str] = []
    for message in messages:
        if not runs or runs[-1] != message:
            runs.append(message)
    return runs


def _facts(timeline: list[dict[str, Any]], happenings: list[Happening], verdict: Verdict, where: str) -> None:
    waiting: dict[tuple[str, str], list[Happening]] = defaultdict(list)
    for happening in happenings:
        waiting[happening.message, happening.type].append(happening)
    for event in timeline:
        candidates = waiting.get((event["causationid"], event["data"]["type"]))
        if not candidates:
            continue
        problems = [_differences(event["data"], candidate) for candidate in candidates]
        best = min(range(len(candidates)), key=lambda n: len(problems[n]))
        verdict.wrong += [f"{where}: {event['data']['type']} {problem}" for problem in problems[best]]
        candidates.pop(best)


def _differences(data: dict[str, Any], happening: Happening) -> list[str]:
    facts = {"category": happening.category, **happening.facts}
    found = []
    for name, value in facts.items():
        seen: Any = data
        for part in name.split("."):
            seen = seen.get(part) if isinstance(seen, dict) else None
        if name == "occurred_at":
            seen = parse_time(seen)
        if value is not None and seen != value:
            found.append(f"{name} is {seen!r}, expected {value!r}")
    return found
