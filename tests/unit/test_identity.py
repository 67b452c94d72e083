"""Two spellings of one person are one key, and two people never are."""

from __future__ import annotations

import phonenumbers
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from workers.fold.identity import IdentifierError, canonicalise, canonicalise_inbound, kind_of


@pytest.mark.parametrize(
    ("channel", "given_as", "region", "kind", "canonical"),
    [
        ("whatsapp", "15550142001", None, "phone", "+15550142001"),
        ("whatsapp", "+15550142001", None, "phone", "+15550142001"),
        ("whatsapp", "whatsapp:+15550142001", None, "phone", "+15550142001"),
        ("sms", "+1 (555) 014-2001", None, "phone", "+15550142001"),
        ("sms", "tel:+1-555-014-2001", None, "phone", "+15550142001"),
        ("sms", "0015550142001", None, "phone", "+15550142001"),
        (
            "sms",
            "+\uff11\uff15\uff15\uff15\uff10\uff11\uff14\uff12\uff10\uff10\uff11",
            None,
            "phone",
            "+15550142001",
        ),
        (
            "sms",
            "+\u0661\u0665\u0665\u0665\u0660\u0661\u0664\u0662\u0660\u0660\u0661",
            None,
            "phone",
            "+15550142001",
        ),
        ("sms", "\u200e+1\u00a0555\u202f014 2001\u200f", None, "phone", "+15550142001"),
        ("sms", "+1 555 014 2001 ext. 12", None, "phone", "+15550142001;ext=12"),
        ("sms", "+15550142001;ext=12", None, "phone", "+15550142001;ext=12"),
        ("whatsapp", "whatsapp:+15550142001#12", None, "phone", "+15550142001;ext=12"),
        ("whatsapp", "IN.ENT.90817;ext=12", None, "whatsapp", "IN.ENT.90817;ext=12"),
        # Invalid to the tables, in use all the same.
        ("whatsapp", "15550100001", None, "phone", "+15550100001"),
        ("sms", "+999123456789", None, "phone", "+999123456789"),
        # The region's own way of writing.
        ("sms", "0151 12345678", "DE", "phone", "+4915112345678"),
        ("sms", "4915112345678", "DE", "phone", "+4915112345678"),
        ("sms", "0049 151 12345678", "DE", "phone", "+4915112345678"),
        ("sms", "0049 151 12345678", "US", "phone", "+4915112345678"),
        ("sms", "(415) 555-2671", "US", "phone", "+14155552671"),
        ("sms", "14155552671", "US", "phone", "+14155552671"),
        ("sms", "011 49 151 12345678", "US", "phone", "+4915112345678"),
        ("sms", "+44 (0)7400 123456", None, "phone", "+447400123456"),
        ("whatsapp", "0151 12345678", "DE", "phone", "+4915112345678"),
        ("sms", "06 1234 5678", "IT", "phone", "+390612345678"),
        # Brazil: the ninth digit, for mobiles only.
        ("whatsapp", "555181234567", None, "phone", "+5551981234567"),
        ("whatsapp", "5551981234567", None, "phone", "+5551981234567"),
        ("sms", "+55 (51) 8123-4567", None, "phone", "+5551981234567"),
        ("sms", "51 8123-4567", "BR", "phone", "+5551981234567"),
        ("whatsapp", "555161234567", None, "phone", "+5551961234567"),
        ("whatsapp", "555133334444", None, "phone", "+555133334444"),
        ("whatsapp", "555153334444", None, "phone", "+555153334444"),
        # Mexico: the mobile 1 and the prefixes that went with it.
        ("whatsapp", "5215512345678", None, "phone", "+525512345678"),
        ("sms", "+52 1 55 1234 5678", None, "phone", "+525512345678"),
        ("sms", "044 55 1234 5678", "MX", "phone", "+525512345678"),
        ("sms", "55 1234 5678", "MX", "phone", "+525512345678"),
        # Argentina: the 9 makes a mobile, without it a landline of somebody else.
        ("whatsapp", "5491123456789", None, "phone", "+5491123456789"),
        ("sms", "011 15-2345-6789", "AR", "phone", "+5491123456789"),
        ("sms", "+54 11 15 2345 6789", None, "phone", "+5491123456789"),
        ("sms", "+541123456789", None, "phone", "+541123456789"),
        # Business-scoped user ids are no phones.
        ("whatsapp", "IN.2081978709342942", None, "whatsapp", "IN.2081978709342942"),
        ("whatsapp", "whatsapp:IN.ENT.90817", None, "whatsapp", "IN.ENT.90817"),
        # E-mail.
        ("email", " Foo.Bar+news@Example.COM ", None, "email", "foo.bar+news@example.com"),
        ("email", "mara@sub.example.test", None, "email", "mara@sub.example.test"),
        ("email", "JOSE\u0301@example.com", None, "email", "josé@example.com"),
        ("email", "mara@BÜCHER.example", None, "email", "mara@bücher.example"),
        ("email", "mara@xn--bcher-kva.example", None, "email", "mara@bücher.example"),
        # Everything else is the channel's own.
        ("telegram", " 4711 ", None, "telegram", "4711"),
        ("push", "TokenWithCase", None, "push", "TokenWithCase"),
    ],
)
def test_canonical_forms(channel: str, given_as: str, region: str | None, kind: str, canonical: str) -> None:
    key = canonicalise(channel, given_as, "", region)
    assert key == (kind, canonical, "")
    assert canonicalise_inbound(channel, given_as, "", region) == key
    assert canonicalise(channel, canonical) == key
    assert kind_of(channel, given_as.strip()) == kind


@pytest.mark.parametrize(
    ("channel", "given_as", "region", "field", "says"),
    [
        ("sms", "0151 12345678", None, "identifier", "needs a country code or `region`"),
        ("sms", "4155552671", None, "identifier", "needs a country code or `region`"),
        ("sms", "ACME", None, "identifier", "not a phone number"),
        ("sms", "1-800-FLOWERS", "US", "identifier", "not a phone number"),
        ("sms", "12345", "US", "identifier", "not a phone number"),
        ("sms", "+123", None, "identifier", "not a phone number"),
        ("sms", "+1234567890123456", None, "identifier", "not a phone number"),
        ("sms", "4155552671", "ZZ", "region", "not a region"),
        ("email", "undisclosed-recipients", None, "identifier", "not an e-mail address"),
        ("email", "a@b@example.com", None, "identifier", "not an e-mail address"),
    ],
)
def test_a_caller_is_told_what_is_wrong(
    channel: str, given_as: str, region: str | None, field: str, says: str
) -> None:
    with pytest.raises(IdentifierError) as refused:
        canonicalise(channel, given_as, "", region)
    assert refused.value.field == field
    assert says in refused.value.message


@pytest.mark.parametrize(
    ("channel", "given_as"),
    [
        ("sms", "0151 12345678"),
        ("sms", "4155552671"),
        ("sms", "ACME"),
        ("sms", "+123"),
        ("email", "undisclosed"),
    ],
)
def test_inbound_stays_as_it_came_where_nothing_better_is_known(channel: str, given_as: str) -> None:
    assert canonicalise_inbound(channel, f" {given_as} ").identifier == given_as


@pytest.mark.parametrize("canonical", [canonicalise, canonicalise_inbound])
def test_blank_and_overlong_are_refused_everywhere(canonical: object) -> None:
    assert callable(canonical)
    for channel in ("sms", "email", "telegram"):
        for bad in ("", " \t", "1" * 256, "a" * 10_000):
            with pytest.raises(IdentifierError):
                canonical(channel, bad)
    with pytest.raises(IdentifierError) as refused:
        canonical("telegram", "4711", "s" * 256)
    assert refused.value.field == "scope"


def test_a_scope_sets_identifiers_apart() -> None:
    assert canonicalise("messenger", "42", "page-1") != canonicalise("messenger", "42", "page-2")


def test_domains_that_only_look_alike_stay_apart() -> None:
    assert canonicalise("email", "a@straße.example") != canonicalise("email", "a@strasse.example")


codes = st.sampled_from([1, 7, 39, 44, 49, 52, 54, 55, 91, 234, 852, 995])
numbers = st.builds(
    lambda code, rest: f"{code}{rest}", codes, st.from_regex(r"[0-9]{6,12}", fullmatch=True)
).filter(lambda digits: len(digits) <= 15)


@settings(max_examples=500, deadline=None)
@given(numbers | st.from_regex(r"[1-9][0-9]{6,14}", fullmatch=True))
@example("54111523456789")
@example("440007400123456")
@example("559081234567")
def test_the_short_way_is_the_library_s_way(digits: str) -> None:
    """Apart from Brazil's and Mexico's old spellings, and from what the library cannot place at all."""
    assume(not digits.startswith(("52", "55")))
    try:
        parsed = phonenumbers.parse("+" + digits)
    except phonenumbers.NumberParseException:
        return
    library = phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)
    assume(len(library) >= 8)
    again = phonenumbers.format_number(phonenumbers.parse(library), phonenumbers.PhoneNumberFormat.E164)
    assume(library == again)  # a second national prefix is stripped by us until none is left
    assert canonicalise("whatsapp", digits).identifier == library


extensions = st.sampled_from(["#", "x", " ext. ", ";ext="])


@settings(max_examples=500, deadline=None)
@example("whatsapp", "whatsapp:+726867481880#1", None)
@example("whatsapp", "49000000#0", None)
@given(
    st.sampled_from(["whatsapp", "sms", "voice", "telegram"]),
    numbers
    | numbers.map("+{}".format)
    | st.builds(
        "{}+{}{}{}".format, st.sampled_from(["", "whatsapp:"]), numbers, extensions, st.integers(0, 9999)
    )
    | st.from_regex(r"\+?[0-9 ()./x-]{1,20}", fullmatch=True)
    | st.text(max_size=30),
    st.none() | st.sampled_from(["US", "DE", "BR", "MX", "AR", "IT", "GB"]),
)
def test_a_canonical_form_is_its_own(channel: str, identifier: str, region: str | None) -> None:
    for canonical in (canonicalise, canonicalise_inbound):
        try:
            key = canonical(channel, identifier, "", region)
        except IdentifierError:
            continue
        assert canonical(channel, key.identifier, "", region) == key
        if key.kind == "phone" and canonical is canonicalise:
            for other in ("whatsapp", "sms", "voice"):
                assert canonicalise(other, key.identifier, "", region) == key
                assert canonicalise_inbound(other, key.identifier, "", region) == key


@settings(max_examples=200, deadline=None)
@given(st.emails() | st.text(max_size=40))
def test_a_canonical_address_is_its_own(address: str) -> None:
    try:
        key = canonicalise("email", address)
    except IdentifierError:
        return
    assert canonicalise("email", key.identifier) == key
    assert canonicalise("email", address.strip().upper().lower()).kind == "email"
