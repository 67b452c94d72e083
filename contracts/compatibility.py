"""Whether a schema has changed so that somebody who relied on the old one breaks.

A request (command, query, webhook) must still accept what was accepted; an answer (event, result, reply) must still hold
what was promised. A change that breaks needs a new major version.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from contracts.schemas import Direction

Schema = dict[str, Any]

# Limits, and whether a new one is stricter than the old one.
_UPPER = ("maxLength", "maximum", "exclusiveMaximum", "maxItems", "maxProperties")
_LOWER = ("minLength", "minimum", "exclusiveMinimum", "minItems", "minProperties")


def breaking_changes(old: Schema, new: Schema, direction: Direction) -> list[str]:
    """What breaks, a sentence each, from whole schemas with their ``$id`` and ``$defs``; nothing under a new major version."""
    if _major(new) > _major(old):
        return []
    return list(_Comparison(old, new, direction).node(old, new, "data"))


def _major(schema: Schema) -> int:
    return int(schema["$id"].rpartition(":")[2].partition(".")[0])


class _Comparison:
    def __init__(self, old: Schema, new: Schema, direction: Direction) -> None:
        self._old, self._new = old, new
        self._request = direction == "request"

    def node(self, old: Schema, new: Schema, path: str) -> Iterator[str]:
        befores, afters = _alternatives(self._old, old), _alternatives(self._new, new)
        if not any(befores) or not any(afters):  # {}: anything
            if self._request and any(afters):
                yield f"{path}: took anything, now only {', '.join(sorted(_types(afters)))}"
            if not self._request and any(befores):
                yield f"{path}: was {', '.join(sorted(_types(befores)))}, now may be anything"
            return
        was, now = _types(befores), _types(afters)
        lost = was - now if self._request else now - was
        if lost:
            verb = "no longer takes" if self._request else "may now be"
            yield f"{path}: {verb} {', '.join(sorted(lost))}"
        yield from self._words(befores, afters, path)
        for kind, compare in self._parts().items():
            before, after = _of_type(befores, kind), _of_type(afters, kind)
            if before is not None and after is not None:
                yield from compare(before, after, path)

    def _parts(self) -> dict[str, Callable[[Schema, Schema, str], Iterator[str]]]:
        return {
            "object": self._object,
            "array": self._array,
            "string": self._limits,
            "integer": self._limits,
            "number": self._limits,
        }

    def _object(self, old: Schema, new: Schema, path: str) -> Iterator[str]:
        yield from self._limits(old, new, path)
        before, after = old.get("properties", {}), new.get("properties", {})
        for name in before:
            if name not in after:
                yield f"{path}.{name}: removed"
            else:
                yield from self.node(before[name], after[name], f"{path}.{name}")
        was, now = set(old.get("required", ())), set(new.get("required", ()))
        for name in sorted(now - was if self._request else (was - now) & after.keys()):
            yield f"{path}.{name}: " + ("now required" if self._request else "no longer always there")
        further_before, further_after = (s.get("additionalProperties", True) for s in (old, new))
        if self._request and further_after is False and further_before is not False:
            yield f"{path}: unknown fields are now refused"
        if isinstance(further_before, dict) and isinstance(further_after, dict):
            yield from self.node(further_before, further_after, f"{path}.*")

    def _array(self, old: Schema, new: Schema, path: str) -> Iterator[str]:
        yield from self._limits(old, new, path)
        yield from self.node(old.get("items", {}), new.get("items", {}), f"{path}[]")

    def _limits(self, old: Schema, new: Schema, path: str) -> Iterator[str]:
        if not self._request:
            return
        for limit in (*_UPPER, *_LOWER):
            before, after = old.get(limit), new.get(limit)
            tighter = after is not None and (
                before is None or (after < before if limit in _UPPER else after > before)
            )
            if tighter:
                yield f"{path}: {limit} is now {after}, was {before if before is not None else 'unlimited'}"
        for rule in ("pattern", "format"):
            if new.get(rule) is not None and new.get(rule) != old.get(rule):
                yield f"{path}: {rule} is now {new[rule]}, was {old.get(rule, 'free')}"

    def _words(self, befores: list[Schema], afters: list[Schema], path: str) -> Iterator[str]:
        before, after = _words_of(befores), _words_of(afters)
        if before is not None and after is not None:
            for word in sorted(before - after):
                yield f"{path}: no longer knows {word!r}"
        elif self._request and after is not None:
            yield f"{path}: now only takes {', '.join(sorted(after))}"


def _alternatives(root: Schema, node: Schema) -> list[Schema]:
    """The node without references and unions: what it may be, each said outright."""
    if "$ref" in node:
        return _alternatives(root, root["$defs"][node["$ref"].rpartition("/")[2]])
    for union in ("anyOf", "oneOf"):
        if union in node:
            return [found for option in node[union] for found in _alternatives(root, option)]
    return [{k: v for k, v in node.items() if k not in {"description", "title", "default", "examples"}}]


def _types(alternatives: list[Schema]) -> set[str]:
    return {kind for node in alternatives if (kind := _type(node)) is not None}


def _type(node: Schema) -> str | None:
    if "const" in node or "enum" in node:
        return "string"
    kind = node.get("type")
    return str(kind) if kind is not None else None


def _of_type(alternatives: list[Schema], kind: str) -> Schema | None:
    return next((node for node in alternatives if _type(node) == kind), None)


def _words_of(alternatives: list[Schema]) -> set[str] | None:
    """The words that text is limited to; None where it is free."""
    node = _of_type(alternatives, "string")
    if node is None:
        return None
    if "const" in node:
        return {str(node["const"])}
    return set(node["enum"]) if "enum" in node else None
