"""The generated pages: codes, metrics, settings."""

from __future__ import annotations

import ast
import inspect
import io
import textwrap
import tokenize
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Literal, NamedTuple, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from contracts.codes import (
    CLOSES,
    DEAD_LETTERS,
    FRAME_ERRORS,
    GOODBYES,
    OUTCOMES,
    QUERY_ERRORS,
    REJECTIONS,
    RESYNCS,
    Explained,
)
from ops import metrics
from ops.settings import Settings, variable

GENERATED: Final = "<!-- Written by `make docs`; change what it is made from. -->"
_BOUNDS: Final = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}


class Setting(NamedTuple):
    """A setting as an operator meets it."""

    variable: str
    type: str
    default: str
    bounds: str
    explanation: str


def pages() -> dict[str, str]:
    """Every page by its file name."""
    return {"codes.md": codes(), "metrics.md": metric_table(), "settings.md": setting_table()}


def codes() -> str:
    sections = (
        ("Outcomes", "What every accepted message ends as (`status` of a result).", OUTCOMES),
        (
            "Rejections",
            "`code` of a result with status rejected, and of `contact.rejected`; `details` beside it.",
            REJECTIONS,
        ),
        (
            "Dead letters",
            "`reason` of a dead letter (`code` of its result). `rollcall dlq` lists, shows and replays them.",
            DEAD_LETTERS,
        ),
        ("Queries", "`error.code` of an answer whose `success` is false.", QUERY_ERRORS),
        ("Realtime errors", "`code` of a frame of type error.", FRAME_ERRORS),
        ("Resync", "`reason` of a frame of type resync.", RESYNCS),
        ("Goodbye", "`reason` of a frame of type goodbye.", GOODBYES),
        ("Close codes", "With which the WebSocket is closed.", CLOSES),
    )
    parts = [GENERATED, "# Codes"]
    for title, text, table in sections:
        parts += [f"## {title}", text, _explained(table)]
    return _page(parts)


def metric_table() -> str:
    rows = [
        (f"`{m.name}`", m.type, ", ".join(f"`{label}`" for label in m.labels), m.help)
        for m in metrics.describe()
    ]
    return _page(
        [
            GENERATED,
            "# Metrics",
            "Every worker shows them on `/metrics`. A histogram has `_bucket`, `_sum` and `_count`.",
            _table(("name", "type", "labels", "what it says"), rows),
        ]
    )


def setting_table() -> str:
    rows = [(f"`{s.variable}`", s.type, s.default, s.bounds, s.explanation) for s in settings()]
    return _page(
        [
            GENERATED,
            "# Settings",
            "From the environment; an empty variable counts as unset. What is wrong is said at start, by name.",
            _table(("variable", "type", "default", "bounds", "what it is"), rows),
        ]
    )


def settings() -> list[Setting]:
    """Every setting, with the comment on its declaration."""
    comments: dict[str, str] = {}
    for kind in Settings.__mro__:
        if kind.__module__ == Settings.__module__:
            comments |= _comments(kind)
    return [
        Setting(
            variable(name),
            _type(field.annotation),
            _default(field),
            _bounds(field),
            comments.get(name, ""),
        )
        for name, field in Settings.model_fields.items()
    ]


def _comments(kind: type[Any]) -> dict[str, str]:
    """By field: the comment on the line above its declaration, or on the lines of it."""
    source = textwrap.dedent(inspect.getsource(kind))
    said: dict[int, str] = {}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            alone = token.line.lstrip().startswith("#")
            said[token.start[0] + alone] = token.string.lstrip("# ")
    (definition,) = ast.parse(source).body
    assert isinstance(definition, ast.ClassDef)
    found: dict[str, str] = {}
    for node in definition.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            lines = range(node.lineno, (node.end_lineno or node.lineno) + 1)
            found[node.target.id] = " ".join(said[line] for line in lines if line in said)
    return found


def _type(annotation: Any) -> str:
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in inside)
    if origin is dict:
        return "JSON object"
    if inside:
        return " or ".join(_type(part) for part in inside if part is not type(None))
    return {"str": "text", "int": "whole number", "float": "number", "bool": "true or false"}.get(
        annotation.__name__, str(annotation.__name__)
    )


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if field.default is PydanticUndefined:
        return "made at start"
    if field.default is None or field.default == {}:
        return "none"
    return f"`{field.default}`"


def _bounds(field: FieldInfo) -> str:
    return ", ".join(
        f"{words} {getattr(bound, name)}"
        for bound in field.metadata
        for name, words in _BOUNDS.items()
        if hasattr(bound, name)
    )


def _explained(table: Mapping[Any, Explained]) -> str:
    details = any(explained.details for explained in table.values())
    heads = ("code", "what it means", "what to do", *(("details",) if details else ()))
    return _table(heads, _explained_rows(table, details=details))


def _explained_rows(table: Mapping[Any, Explained], *, details: bool) -> Iterator[tuple[str, ...]]:
    for code, explained in table.items():
        row = (f"`{code}`", explained.meaning, explained.mend)
        yield (*row, ", ".join(f"`{name}`" for name in explained.details)) if details else row


def _table(heads: Iterable[str], rows: Iterable[tuple[str, ...]]) -> str:
    heads = tuple(heads)
    lines = [heads, ("---",) * len(heads), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _page(parts: Iterable[str]) -> str:
    return "\n\n".join(parts) + "\n"
