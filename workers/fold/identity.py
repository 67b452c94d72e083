"""Canonical forms of identifiers: what makes two spellings one person.

``canonicalise`` is for what a caller states and may be told to correct; ``canonicalise_inbound`` for what a provider
delivered, where the identifier stays as it is rather than the message being refused.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from email_validator import EmailNotValidError, validate_email

from storage.rows import IdentifierKey
from workers.fold import phones

LIMIT = 255  # characters of an identifier and of a scope
PHONE = "phone"
EMAIL = "email"

_PHONE_CHANNELS = frozenset({"whatsapp", "sms", "voice"})
_USER_ID = re.compile(r"(?:whatsapp:)?([A-Z]{2}\.[A-Za-z0-9.]{1,128})")  # WhatsApp, business-scoped
# Addresses that are their own canonical form but for case: no quotes, no IDN, no label that IDNA would look into.
_PLAIN_EMAIL = re.compile(
    r"[A-Za-z0-9_+]+(?:[.-][A-Za-z0-9_+]+)*@(?:[A-Za-z0-9]+(?:-[A-Za-z0-9]+)*\.)+[A-Za-z]{2,24}"
)


class IdentifierError(ValueError):
    """An identifier that cannot be one; ``field`` is identifier, region or scope."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message


def kind_of(channel: str, identifier: str) -> str:
    """What an identifier is, whatever channel it is used on: phone, email, else the channel's own."""
    if channel not in _PHONE_CHANNELS:
        return channel
    if channel != "whatsapp" or identifier.isdigit():
        return PHONE
    # No phone number of WhatsApp's has letters, but for how we write an extension; a user id of theirs always does.
    bare = phones.without_extension(identifier.lower().removeprefix("whatsapp:"))
    return channel if any(map(str.isalpha, bare)) else PHONE


def canonicalise(channel: str, identifier: str, scope: str = "", region: str | None = None) -> IdentifierKey:
    """The key of an identifier that a caller states; ``region`` is for numbers without a country code (ISO 3166)."""
    text = _checked(identifier, scope)
    if region is not None and not phones.known_region(region):
        raise IdentifierError("region", "not a region with phone numbers")
    kind = kind_of(channel, text)
    if kind == PHONE:
        bare = channel == "whatsapp"
        phone = phones.canonical_phone(text, region, bare_is_international=bare)
        if phone is None:
            lacks_country = region is None and not phones.says_country(text, bare_is_international=bare)
            digits = sum(map(str.isdigit, text))
            if lacks_country and digits and not any(map(str.isalpha, text)):
                raise IdentifierError("identifier", "needs a country code or `region`")
            raise IdentifierError("identifier", "not a phone number")
        return _key(kind, phone, scope)
    if kind == EMAIL:
        email = _email(text)
        if email is None:
            raise IdentifierError("identifier", "not an e-mail address")
        return _key(kind, email, scope)
    return _key(kind, _own(channel, text), scope)


def canonicalise_inbound(
    channel: str, identifier: str, scope: str = "", region: str | None = None
) -> IdentifierKey:
    """The key of an identifier that a provider gave; refuses only what is blank or over 255 characters."""
    text = _checked(identifier, scope)
    kind = kind_of(channel, text)
    if kind == PHONE:
        phone = phones.canonical_phone(text, region, bare_is_international=channel == "whatsapp")
        return _key(kind, phone or text, scope)
    if kind == EMAIL:
        return _key(kind, _email(text) or text, scope)
    return _key(kind, _own(channel, text), scope)


def _checked(identifier: str, scope: str) -> str:
    if len(identifier) > LIMIT:
        raise IdentifierError("identifier", f"longer than {LIMIT} characters")
    if len(scope) > LIMIT:
        raise IdentifierError("scope", f"longer than {LIMIT} characters")
    text = identifier.strip()
    if not text:
        raise IdentifierError("identifier", "blank")
    return text


def _key(kind: str, canonical: str, scope: str) -> IdentifierKey:
    if len(canonical) > LIMIT:
        raise IdentifierError("identifier", f"longer than {LIMIT} characters")
    return IdentifierKey(kind, canonical, scope)


def _own(channel: str, text: str) -> str:
    if channel == "whatsapp" and (user_id := _USER_ID.fullmatch(text)) is not None:
        return user_id[1]
    return text


def _email(text: str) -> str | None:
    """The whole address casefolded, its domain in Unicode; None for what is no address."""
    if len(text) <= 64 and _PLAIN_EMAIL.fullmatch(text):
        return text.lower()
    return _spelled_email(text)


@lru_cache(maxsize=8192)
def _spelled_email(text: str) -> str | None:
    try:
        address = validate_email(
            text,
            check_deliverability=False,
            allow_smtputf8=True,
            globally_deliverable=False,
            strict=False,
        )
    except EmailNotValidError:
        return None
    # The domain is lowercase already; folding it would make two domains of ß and ss one.
    return f"{unicodedata.normalize('NFC', address.local_part.casefold())}@{address.domain}"
