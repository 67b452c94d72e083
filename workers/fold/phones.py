"""Phone numbers in E.164, one spelling for one line: Brazil's ninth digit, Mexico's old mobile 1, Argentina's 9.

Validity is never asked of a number that says its country: numbering plans change faster than the tables of them.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache, lru_cache

import phonenumbers
from phonenumbers.phonemetadata import PhoneMetadata

_PREFIX = re.compile(r"(?:whatsapp|sms|mms|tel|callto):", re.IGNORECASE)
_EXTENSION = re.compile(r"\s*(?:;ext=|ext(?:ension|n)?\.?:?|x|#)\s*(\d{1,7})$", re.IGNORECASE)
_WRITTEN_EXTENSION = re.compile(r";ext=\d{1,7}\Z")
_INTERNATIONAL = re.compile(r"\+?[1-9][0-9]{6,14}")
_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_CODES = frozenset(map(str, phonenumbers.COUNTRY_CODE_TO_REGION_CODE))
_REGIONS = frozenset(phonenumbers.SUPPORTED_REGIONS)
_MEXICO_MOBILE = re.compile(r"(?:1|044|045|01)([0-9]{10})")
_BRAZIL_EIGHT = re.compile(r"([1-9][0-9])([6-9][0-9]{7})")


def known_region(region: str) -> bool:
    """Whether it is an ISO 3166 region with a numbering plan."""
    return region in _REGIONS


def says_country(text: str, *, bare_is_international: bool) -> bool:
    """Whether a number needs no region: it begins with + or 00, or is bare digits on a channel that means them so."""
    number = _clean(text)
    return number.startswith(("+", "00")) or (bare_is_international and _bare(number))


def without_extension(phone: str) -> str:
    """The number before ``;ext=``, as ``canonical_phone`` writes it."""
    return _WRITTEN_EXTENSION.sub("", phone)


def canonical_phone(text: str, region: str | None, *, bare_is_international: bool) -> str | None:
    """E.164, with ``;ext=`` where there is an extension; None for what is no phone number, or lacks its country."""
    if _INTERNATIONAL.fullmatch(text) and (text[0] == "+" or bare_is_international):
        return _international(text.removeprefix("+"))
    return _spelled(text, region, bare_is_international)


@lru_cache(maxsize=8192)
def _spelled(text: str, region: str | None, bare_is_international: bool) -> str | None:
    number = _clean(text)
    extension = ""
    if (found := _EXTENSION.search(number)) is not None:
        number, extension = number[: found.start()], f";ext={found[1]}"
    if not number or any(map(str.isalpha, number)):
        return None
    if number.startswith("+") or (bare_is_international and _bare(number)):
        phone = _written_international(number)
    elif region is not None:
        phone = _national(number, region)
    else:
        phone = _written_international("+" + number[2:]) if number.startswith("00") else None
    return phone + extension if phone is not None else None


def _clean(text: str) -> str:
    """Without marks of direction, prefixes and the space around; every digit an ASCII one."""
    if not text.isascii():
        text = "".join(
            str(unicodedata.decimal(char)) if char.isdecimal() else char
            for char in unicodedata.normalize("NFKC", text)
            if unicodedata.category(char) != "Cf"
        )
    return _PREFIX.sub("", text.strip(), count=1).strip()


def _bare(number: str) -> bool:
    return number.isdigit() and number[0] != "0"


def _written_international(number: str) -> str | None:
    """Of a number with + and any punctuation."""
    if _INTERNATIONAL.fullmatch(number):
        return _international(number.removeprefix("+"))  # as without an extension or a prefix
    parsed = _parse(number if number.startswith("+") else "+" + number, None)
    digits = parsed.removeprefix("+") if parsed is not None else re.sub(r"[^0-9]", "", number)
    return _international(digits) if _INTERNATIONAL.fullmatch(digits) else None


def _national(number: str, region: str) -> str | None:
    """Of a number as one dials it in ``region``; bare digits may still be international ones without their plus.

    Where they begin with the region's own code, that reading comes first: 4915112345678 is a German mobile number,
    though 0491 is a German town.
    """
    readings = [_parse(number, region)]
    if number.startswith("00"):
        readings.append(_parse("+" + number[2:], None))
    elif _bare(number):
        own = number.startswith(str(phonenumbers.country_code_for_region(region)))
        readings.insert(0 if own else 1, _parse("+" + number, None))
    phones = [_international(one[1:]) for one in readings if one is not None and _E164.fullmatch(one)]
    for fits in (phonenumbers.is_valid_number, phonenumbers.is_possible_number):
        for phone in phones:
            if fits(phonenumbers.parse(phone)):
                return phone
    return None


def _parse(number: str, region: str | None) -> str | None:
    try:
        parsed = phonenumbers.parse(number, region)
    except phonenumbers.NumberParseException:
        return None
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)


def _international(digits: str) -> str:
    """Canonical form of country code and number.

    Without phonenumbers' 50 µs: given such digits it can change nothing but a national prefix after the country code,
    so it is asked only where one is there.
    """
    code = _code_of(digits)
    if code is None:
        return "+" + digits
    prefix = _national_prefix(code)
    if (
        prefix is not None
        and (found := prefix.match(digits, len(code))) is not None
        and found.end() > len(code)
    ):
        return _stripped(digits)
    return "+" + _one_spelling(code, digits)


def _code_of(digits: str) -> str | None:
    for length in (1, 2, 3):
        if digits[:length] in _CODES:
            return digits[:length]
    return None


@cache
def _national_prefix(code: str) -> re.Pattern[str] | None:
    number = int(code)
    region = phonenumbers.region_code_for_country_code(number)
    metadata = PhoneMetadata.metadata_for_region_or_calling_code(number, region)
    pattern = metadata.national_prefix_for_parsing if metadata is not None else None
    return re.compile(pattern) if pattern else None


@lru_cache(maxsize=8192)
def _stripped(digits: str) -> str:
    """Parsed until nothing changes any more, so that a canonical form is its own."""
    phone = "+" + digits
    while (parsed := _parse(phone, None)) is not None and _E164.fullmatch(parsed):
        again = "+" + _one_spelling(_code_of(parsed[1:]) or "", parsed[1:])
        if again == phone:
            break
        phone = again
    return phone


def _one_spelling(code: str, digits: str) -> str:
    """The number as it is dialled today."""
    if code == "55" and len(digits) == 12 and (old := _BRAZIL_EIGHT.fullmatch(digits, 2)) is not None:
        return f"55{old[1]}9{old[2]}"
    if code == "52" and len(digits) > 12 and (old := _MEXICO_MOBILE.fullmatch(digits, 2)) is not None:
        return f"52{old[1]}"
    return digits
