"""contact.search, search.status."""

from __future__ import annotations

import math
import uuid
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic.config import JsonDict

from contracts.fields import Moment, Text100, Whole, without_nulls
from contracts.queries.base import Query
from contracts.queries.contact import Cursor
from contracts.vocabulary import ContactStatus

ATTRIBUTE: Final = "attributes."  # what the name of a filter by a custom attribute begins with
MOST_ATTRIBUTES: Final = 20  # of one search
_SCALAR: Final[JsonDict] = {"type": ["string", "number", "boolean"]}


def _scalar(value: Any) -> Any:
    if not isinstance(value, str | bool | int | float) or (
        isinstance(value, float) and not math.isfinite(value)
    ):
        raise ValueError("must be text, a number, true or false")
    return value


def _dotted(schema: JsonDict) -> None:
    """Attributes stand beside the other filters, each under its dotted name."""
    properties = schema["properties"]
    assert isinstance(properties, dict)
    properties.pop(ATTRIBUTE)
    schema["patternProperties"] = {r"^attributes\.[\s\S]{1,100}$": _SCALAR}


class SearchFilters(BaseModel):
    """What the hits must have besides the text. ``attributes.<key>`` compares whole values, and text is no number.

    ``company`` is the attribute of that name.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, loc_by_alias=False, json_schema_extra=_dotted)

    status: ContactStatus | None = None
    source: Text100 | None = None
    tags: Annotated[list[Text100], Field(max_length=50)] | None = None
    tags_match: Literal["any", "all"] = "any"
    company: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    created_after: Moment | None = None
    created_before: Moment | None = None
    # Never sent under this alias: ``_gather`` collects them here, so that a fault names attributes.<key>.
    attributes: Annotated[
        dict[Annotated[str, Field(min_length=1, max_length=100)], Annotated[Any, AfterValidator(_scalar)]],
        Field(alias=ATTRIBUTE, max_length=MOST_ATTRIBUTES),
    ] = {}

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, given: Any) -> Any:
        given = without_nulls(cls, given)
        if not isinstance(given, dict):
            return given
        named = {name for name in given if isinstance(name, str) and name.startswith(ATTRIBUTE)}
        kept = {name: value for name, value in given.items() if name not in named}
        return {**kept, ATTRIBUTE: {name.removeprefix(ATTRIBUTE): given[name] for name in named}}


class WaitFor(BaseModel):
    """A change that the answer must know of: the result of a command says which version it made."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    contact_id: uuid.UUID
    version: Annotated[Whole, Field(ge=1, le=2**63 - 1)]


class ContactSearch(Query):
    """Contacts by words of their names, company and identifiers, best first; by page, or by ``cursor`` for deep paging."""

    NAME: ClassVar[str] = "contact.search"

    q: Annotated[str, StringConstraints(max_length=255)] | None = None
    filters: SearchFilters = Field(default_factory=SearchFilters)
    sort_by: Literal["relevance", "created_at", "updated_at", "display_name"] = "relevance"
    sort_order: Literal["asc", "desc"] = "desc"
    page: Annotated[Whole, Field(ge=1)] | None = None
    page_size: Annotated[Whole, Field(ge=1, le=100)] = 20
    cursor: Cursor | None = None
    wait_for: WaitFor | None = None


class SearchStatus(Query):
    """Which engine answers searches, how far it is behind, and how far rebuilds have come."""

    NAME: ClassVar[str] = "search.status"
