"""The request of every query, and the answer around every reply."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, model_validator

from contracts.fields import without_nulls


class Query(BaseModel):
    """The fields of a query. An unknown one is refused; one that is null counts as left out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    NAME: ClassVar[str]
    VERSION: ClassVar[str] = "1.0"

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, given: Any) -> Any:
        return without_nulls(cls, given)


class Failure(BaseModel):
    """Why a query has no answer; the codes are in docs/codes.md."""

    code: str
    message: str
    details: dict[str, Any] | None = None


class Answer(BaseModel):
    """``data`` and ``meta`` where ``success``, else ``error``."""

    success: bool
    data: Any = None
    meta: dict[str, Any] | None = None
    error: Failure | None = None
