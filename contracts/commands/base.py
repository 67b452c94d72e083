"""What every command model has, and how a refused one is explained."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from contracts.fields import IN_WORDS, without_nulls

FAULTS = 50  # explained at most; a body may hold any number
FIELD_CHARACTERS = 200  # of a field's name, which may be the sender's invention

_MESSAGES = {
    "extra_forbidden": "is not a field of this message; remove it",
    "missing": "is required",
    "model_type": "must be a JSON object",
    "dict_type": "must be a JSON object",
    "list_type": "must be a JSON array",
    "uuid_parsing": "must be a UUID",
    "uuid_type": "must be a UUID",
    "string_too_short": "must not be blank; leave the field out if it is optional",
}


class Command(BaseModel):
    """The ``data`` of a command. An unknown field is refused; one that is null counts as left out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    TYPE: ClassVar[str]
    VERSION: ClassVar[str] = "1.0"

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, given: Any) -> Any:
        return without_nulls(cls, given)


def validation_errors(
    error: ValidationError, *, within: tuple[str | int, ...] = (), whole: str = "data", most: int = FAULTS
) -> list[dict[str, str]]:
    """One ``{"field", "message"}`` a fault, the field dotted; values that were given are never quoted.

    ``within``: where in the message the model stands, for one that is a part of it. ``whole``: what is named where no
    field is wrong but all of them together.
    """
    errors = []
    for fault in error.errors(include_url=False, include_input=False)[:most]:
        place = (*within, *fault["loc"])
        field = ".".join(str(part) for part in place if part != "[key]") or whole
        message = (
            _MESSAGES.get(fault["type"])
            or IN_WORDS.get(fault.get("ctx", {}).get("pattern", ""))
            or fault["msg"].removeprefix("Value error, ")
        )
        message = message.replace(" after validation", "", 1)
        for words in ("Input should", "String should", "List should", "Dictionary should"):
            message = message.replace(words, "must", 1)
        errors.append({"field": field[:FIELD_CHARACTERS], "message": message})
    return errors
