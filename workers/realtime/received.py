"""A client's frame as it came, into the frame that it is. Pure."""

from __future__ import annotations

from typing import Any

import orjson
from pydantic import ValidationError

from contracts.commands.base import validation_errors
from contracts.envelope import MAX_DEPTH, is_too_deep
from contracts.realtime.requests import CLIENT_FRAMES, ClientFrame
from contracts.vocabulary import FrameError


class BadFrame(Exception):
    """It is refused; ``ref`` is how the client calls it, where that can be told."""

    def __init__(self, code: FrameError, message: str, ref: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.ref = ref


def parse(content: str | bytes) -> ClientFrame:
    """Raises BadFrame."""
    try:
        fields: Any = orjson.loads(content)
    except orjson.JSONDecodeError:
        raise BadFrame(FrameError.BAD_FRAME, "not JSON") from None
    data = content.encode() if isinstance(content, str) else content
    if is_too_deep(data, fields):
        raise BadFrame(FrameError.BAD_FRAME, f"nested deeper than {MAX_DEPTH} levels")
    if not isinstance(fields, dict):
        raise BadFrame(FrameError.BAD_FRAME, "not a JSON object")
    ref = next((v for v in (fields.get("ref"), fields.get("sub")) if isinstance(v, str)), None)
    model = CLIENT_FRAMES.get(fields["type"]) if isinstance(fields.get("type"), str) else None
    if model is None:
        raise BadFrame(FrameError.BAD_FRAME, f"type: must be one of {', '.join(CLIENT_FRAMES)}", ref)
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        first = validation_errors(error, whole="the frame")[0]
        code = FrameError.BAD_CURSOR if first["field"] == "cursor" else FrameError.BAD_FRAME
        raise BadFrame(code, f"{first['field']}: {first['message']}", ref) from None
