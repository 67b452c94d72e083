"""Contacts as a reader of the events alone knows them; it complains where the events contradict each other."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

SILENT = ("last_contact_at",)  # what no contact.* event speaks of


class Replica:
    """``documents`` and ``timelines`` by contact id, as events in JSON's types make them; ``deleted``: ids of timeline events."""

    def __init__(self) -> None:
        self.documents: dict[str, dict[str, Any]] = {}
        self.timelines: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.deleted: set[str] = set()
        self._lines: dict[str, dict[str, Any]] = {}
        self._causes: dict[tuple[str, int], str] = {}

    def take(self, events: Iterable[Mapping[str, Any]]) -> None:
        for event in events:
            kind = event["type"]
            if kind == "contact.rejected":
                continue
            assert event["subject"] == event["data"]["contact_id"]
            if kind.startswith("timeline."):
                self._timeline(event)
            elif kind == "contact.timeline_changed":
                self._mark(event["data"])
            else:
                self._change(kind.partition(".")[2], event, event["data"])

    def _timeline(self, event: Mapping[str, Any]) -> None:
        data = event["data"]
        line = self.timelines[data["contact_id"]]
        assert data["id"] == event["id"]
        assert event["type"] == f"timeline.{data['category']}"
        assert data["sequence"] == len(line) + 1, "a gap in a contact's sequences"
        assert data["contact_version"] == self.documents[data["contact_id"]]["version"]
        self._lines[data["id"]] = data = dict(data)
        line.append(data)

    def _mark(self, data: Mapping[str, Any]) -> None:
        for marks, field in (("delivered", "delivered_at"), ("read", "read_at")):
            for event_id in data[marks]:
                assert self._lines[event_id][field] is None, "marked twice"
                self._lines[event_id][field] = data["at"]
        for event_id in data["skipped"]:
            assert event_id in data["delivered"]
            self._lines[event_id]["metadata"] = {**self._lines[event_id]["metadata"], "skipped": "expired"}
        changed = {*data["delivered"], *data["read"], *data["deleted"]}
        assert changed, "nothing changed"
        assert not changed & self.deleted, "changed after it was deleted"
        self.deleted.update(data["deleted"])
        for audience in ("visible_to_client", "visible_to_agent"):
            assert set(data[audience]) == {each for each in changed if self._lines[each][audience]}

    def rows(self, contact_id: str) -> list[dict[str, Any]]:
        """The timeline events that are still there."""
        return [line for line in self.timelines[contact_id] if line["id"] not in self.deleted]

    def _change(self, what: str, event: Mapping[str, Any], data: Mapping[str, Any]) -> None:
        contact_id, version = data["contact_id"], data["version"]
        if what == "created":
            assert contact_id not in self.documents
            assert version == 1
            self.documents[contact_id] = dict(data["contact"])
        document = self.documents[contact_id]
        cause = self._causes.setdefault((contact_id, version), event["causationid"])
        assert cause == event["causationid"], "two messages have the same version"
        assert version in (document["version"], document["version"] + 1), "versions rise by one"
        document["version"], document["updated_at"] = version, event["time"]
        if what == "deleted":
            assert document["deleted_at"] is None
            document["deleted_at"] = event["time"]
        elif what == "restored":
            assert document["deleted_at"] is not None
            document["deleted_at"] = None
        elif what == "updated":
            assert data["changes"]
            for field, change in data["changes"].items():
                assert document[field] == change["old"], field
                assert _text(change["old"]) != _text(change["new"]), field
                document[field] = change["new"]
        elif what == "tagged":
            assert data["tag"] in document["tags"]
        elif what == "untagged":
            assert data["tag"] not in document["tags"]


def _text(value: Any) -> str:
    """Python takes true for 1; JSON does not."""
    return json.dumps(value, sort_keys=True, default=str)


def loud(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document without what no event speaks of."""
    return {name: value for name, value in document.items() if name not in SILENT}
