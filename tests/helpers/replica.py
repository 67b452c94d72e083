"""Contacts as a reader of the events alone knows them; it complains where the events contradict each other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

SILENT = ("last_contact_at",)  # what no contact.* event speaks of


class Replica:
    """``documents`` and ``timelines`` by contact id, as events in JSON's types make them."""

    def __init__(self) -> None:
        self.documents: dict[str, dict[str, Any]] = {}
        self.timelines: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self._causes: dict[tuple[str, int], str] = {}

    def take(self, events: Iterable[Mapping[str, Any]]) -> None:
        for event in events:
            kind = event["type"]
            if kind == "contact.rejected":
                continue
            assert event["subject"] == event["data"]["contact_id"]
            if kind.startswith("timeline."):
                self._timeline(event)
            else:
                self._change(kind.partition(".")[2], event, event["data"])

    def _timeline(self, event: Mapping[str, Any]) -> None:
        data = event["data"]
        line = self.timelines[data["contact_id"]]
        assert data["id"] == event["id"]
        assert event["type"] == f"timeline.{data['category']}"
        assert data["sequence"] == len(line) + 1, "a gap in a contact's sequences"
        assert data["contact_version"] == self.documents[data["contact_id"]]["version"]
        line.append(data)

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
                assert document[field] == change["old"] != change["new"], field
                document[field] = change["new"]
        elif what == "tagged":
            assert data["tag"] in document["tags"]
        elif what == "untagged":
            assert data["tag"] not in document["tags"]


def loud(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document without what no event speaks of."""
    return {name: value for name, value in document.items() if name not in SILENT}
