"""The kinds of field that commands, events and queries share. Nothing is guessed: text is no number, 1 is not true."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, StrictBool, StrictInt, StringConstraints, WithJsonSchema

from contracts.moments import moment
from contracts.vocabulary import CHANNEL_PATTERN

REGION_PATTERN: Final = "^[A-Za-z]{2}$"
TENANT_PATTERN: Final = "^([A-Za-z0-9_]|[A-Za-z0-9_-]{2,64})$"
NO_NUL_PATTERN: Final = "^[^\\u0000]*$"

# By the expression that a field must match: how that is said to whom does not know expressions.
IN_WORDS: Final = {
    CHANNEL_PATTERN: "must be a lower-case token such as whatsapp, sms or email: of [a-z0-9_-], 1 to 50 characters",
    REGION_PATTERN: "must be two letters, such as DE",
    TENANT_PATTERN: "must be of [A-Za-z0-9_-], 1 to 64 characters, and not - alone",
    NO_NUL_PATTERN: "must not hold NUL",
}

# White space around text is dropped; what is left must not be empty.
Text100 = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100)]
Text128 = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=128)]
Text255 = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=255)]
Text500 = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]
Flag = StrictBool
Whole = StrictInt


def _moment(value: Any) -> datetime:
    if isinstance(value, datetime):
        value = value.isoformat()
    if not isinstance(value, str):
        raise ValueError("must be text, RFC 3339 with an offset, such as 2026-01-31T12:00:00Z")  # noqa: TRY004 - only this becomes a fault
    return moment(value)


def blank_is_absent(value: Any) -> Any:
    return None if isinstance(value, str) and not value.strip() else value


def without_nulls(model: type[BaseModel], given: Any) -> Any:
    """What was given, but for fields of the model that are null: those count as left out."""
    if not isinstance(given, dict) or None not in given.values():
        return given
    return {
        name: value for name, value in given.items() if value is not None or name not in model.model_fields
    }


Moment = Annotated[
    datetime, BeforeValidator(_moment), WithJsonSchema({"type": "string", "format": "date-time"})
]
