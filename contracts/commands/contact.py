"""contact.create, contact.upsert, contact.update, contact.delete, contact.restore."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.config import JsonDict

from contracts.commands.base import Command
from contracts.fields import REGION_PATTERN, Flag, Text100, Text255, Text500, Whole
from contracts.reference import Channel, ContactReference, ExternalId, RawIdentifier, Scope
from contracts.vocabulary import ContactStatus

ATTRIBUTES = 200  # of one command; how many come together in a contact is limited by their size alone
TAGS = 500  # of a contact, and so of a command
IDENTIFIERS = 100  # likewise
UNSET = 200
MAX_VERSION = 2**63 - 1

AttributeKey = Annotated[str, Field(min_length=1, max_length=100)]
Attributes = Annotated[dict[AttributeKey, Any], Field(max_length=ATTRIBUTES)]
Tags = Annotated[list[Text100], Field(max_length=TAGS)]
Region = Annotated[
    str,
    StringConstraints(pattern=REGION_PATTERN, to_upper=True),
    Field(description="Two letters; where numbers without a country code belong"),
]

UNSETTABLE = ("first_name", "last_name", "email", "phone", "avatar_url", "source", "external_id")


class IdentifierInput(BaseModel):
    """An identifier that a contact is given."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    channel: Channel
    identifier: RawIdentifier
    scope: Scope | None = None
    is_primary: Flag | None = None
    is_verified: Flag | None = None
    shared: Flag | None = None
    metadata: dict[str, Any] | None = None


class ContactFields(Command):
    """What contact.create and contact.upsert share."""

    first_name: Text100 | None = None
    last_name: Text100 | None = None
    email: Text255 | None = None
    phone: Text255 | None = None
    avatar_url: Text500 | None = None
    status: ContactStatus | None = None
    source: Text100 | None = None
    external_id: ExternalId | None = None
    attributes: Attributes | None = None
    tags: Tags | None = None
    identifiers: Annotated[list[IdentifierInput], Field(max_length=IDENTIFIERS)] | None = None
    region: Region | None = None


class ContactCreate(ContactFields):
    """Make a contact. Rejected when an identifier or the external id is another's."""

    TYPE: ClassVar[str] = "contact.create"


class ContactUpsert(ContactFields):
    """Find the contact, or make it; ``fill`` writes only what is empty."""

    TYPE: ClassVar[str] = "contact.upsert"

    contact: ContactReference | None = None
    mode: Literal["fill", "overwrite"] = "fill"

    @model_validator(mode="after")
    def _names_somebody(self) -> Self:
        if not (self.contact or self.external_id or self.email or self.phone or self.identifiers):
            raise ValueError("give at least one of contact, external_id, email, phone or identifiers")
        return self


def _without_null(schema: JsonDict) -> None:
    """None is how Python says that a field is absent; in JSON it is refused."""
    properties = schema["properties"]
    assert isinstance(properties, dict)
    for name, field in properties.items():
        assert isinstance(field, dict)
        options = field.pop("anyOf")
        assert isinstance(options, list)
        field.pop("default")
        (given,) = (option for option in options if option != {"type": "null"})
        assert isinstance(given, dict)
        properties[name] = {**field, **given}


class ContactSet(BaseModel):
    """The fields that contact.update may write; attributes merge by key, tags replace the set."""

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra=_without_null)

    first_name: Text100 | None = None
    last_name: Text100 | None = None
    email: Text255 | None = None
    phone: Text255 | None = None
    avatar_url: Text500 | None = None
    status: ContactStatus | None = None
    source: Text100 | None = None
    external_id: ExternalId | None = None
    attributes: Attributes | None = None
    tags: Tags | None = None

    @field_validator("*", mode="before")
    @classmethod
    def _nothing_is_null(cls, value: Any, field: ValidationInfo) -> Any:
        if value is None:
            fix = "name the field in unset" if field.field_name in UNSETTABLE else "leave the field out"
            raise ValueError(f"must not be null; {fix} instead")
        return value


def _may_be_unset(name: str) -> str:
    if name not in UNSETTABLE and not (name.startswith("attributes.") and len(name) > len("attributes.")):
        raise ValueError(f"must be one of {', '.join(UNSETTABLE)} or attributes.<key>")
    return name


class ContactUpdate(Command):
    """Change a contact: ``set`` writes, ``unset`` empties."""

    TYPE: ClassVar[str] = "contact.update"

    contact: ContactReference
    set: ContactSet | None = None
    unset: Annotated[list[Annotated[str, AfterValidator(_may_be_unset)]], Field(max_length=UNSET)] | None = (
        None
    )
    expected_version: Annotated[Whole, Field(ge=0, le=MAX_VERSION)] | None = None
    region: Region | None = None

    @field_validator("unset")
    @classmethod
    def _sets_or_unsets(cls, unset: list[str] | None, info: ValidationInfo) -> list[str] | None:
        given: ContactSet | None = info.data.get("set")
        if given is not None and unset:
            written = given.model_fields_set | {f"attributes.{key}" for key in given.attributes or ()}
            both = sorted(written.intersection(unset))
            if both:
                raise ValueError(f"{', '.join(both)}: is in set as well; keep one")
        return unset


class ContactDelete(Command):
    """Delete a contact softly: it keeps its identifiers and can be restored."""

    TYPE: ClassVar[str] = "contact.delete"

    contact: ContactReference
    reason: Text500 | None = None


class ContactRestore(Command):
    """Bring a deleted contact back."""

    TYPE: ClassVar[str] = "contact.restore"

    contact: ContactReference
    reason: Text500 | None = None
