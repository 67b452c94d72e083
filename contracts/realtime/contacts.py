"""Which contacts: all of them, or those that are named."""

from __future__ import annotations

from typing import Any

from pydantic import BeforeValidator, TypeAdapter


def all_or(named: Any) -> BeforeValidator:
    """Of ``"*" | named``: a fault is told of the form that was given, where the union's would be told of both."""
    ids: TypeAdapter[Any] = TypeAdapter(named)

    def checked(given: Any) -> Any:
        if isinstance(given, list | tuple):
            return ids.validate_python(given)
        if given != "*":
            raise ValueError('must be "*", or a list of contact ids')
        return given

    return BeforeValidator(checked)
