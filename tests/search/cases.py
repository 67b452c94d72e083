"""What a search means: contacts, and which of them each search finds. Both engines answer all of it alike."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from storage.search import text
from storage.search.criteria import Criteria, Filters

# What contact.create is given, in this order; the labels are the tests'.
CONTACTS: dict[str, dict[str, Any]] = {
    "maria": {
        "first_name": "Maria",
        "last_name": "Schmidt",
        "email": "m.schmidt@acme.com",
        "phone": "+4915112345678",
        "external_id": "CRM-1001",
        "source": "import",
        "tags": ["vip", "berlin"],
        "attributes": {"company": "Acme GmbH", "plan": "gold", "seats": 1, "checked": True},
    },
    "marius": {
        "first_name": "Marius",
        "last_name": "Schmitt",
        "email": "Marius.Schmitt+news@example.org",
        "phone": "+49 30 9876543",
        "source": "web",
        "tags": ["vip"],
        "attributes": {"company": "Nordlicht AG", "plan": "Gold", "seats": "1", "checked": "true"},
    },
    "muller": {
        "first_name": "Jürgen",
        "last_name": "Müller",
        "email": "jm@web.example",
        "source": "web",
        "tags": ["berlin"],
        "attributes": {"company": "Südwerk KG", "seats": 1.0, "checked": 1, "ratio": 0.1},
    },
    "anna_lena": {
        "first_name": "Anna-Lena",
        "last_name": "Großmann-Weiß",
        "phone": "+4915112349999",
        "tags": ["vip", "berlin", "münchen"],
        "attributes": {"plan": "gold", "seats": 2, "note": "", "seats=1": "x", "seats1": 2},
    },
    "anna": {
        "first_name": "Anna",
        "last_name": "Mann",
        "email": "anna@mann.example",
        "attributes": {"plan": "gold ", "seats": -0.0, "languages": ["de"], "address": {"city": "Köln"}},
    },
    "hannah": {"first_name": "Hannah", "last_name": "Hoffmann", "status": "inactive", "tags": ["VIP"]},
    "oneil": {
        "first_name": "Siobhán",
        "last_name": "O'Neil",
        "source": "import",
        "attributes": {"company": "Acmeology", "seats": 0},
    },
    "ivan": {"first_name": "Иван", "last_name": "Петров", "email": "ivan@почта.example"},
    "mohammed": {"first_name": "محمد", "last_name": "علي", "attributes": {"company": "شركة"}},
    "li": {
        "first_name": "明",
        "last_name": "李",
        "attributes": {"big": 10**18, "small": 1e-7, "huge": 1e300},
    },
    "rocket": {
        "first_name": "🚀",
        "last_name": "Rakete",
        "attributes": {"mood": "🚀" * 80, "plan": "go\"ld'"},
    },
    "percent": {"first_name": "50%_off", "last_name": "back\\slash", "external_id": "a_b%c"},
    "letters": {"first_name": "A", "last_name": "B", "external_id": "B-7/x y"},
    "long": {"first_name": "x" * 100, "last_name": "Maria", "attributes": {"note": "n" * 40_000}},
    "address": {"email": "first.last+tag@mail.example", "attributes": {"company": "ACME"}},
    "number": {"phone": "+4930123456", "status": "blocked"},
    "nobody": {"external_id": "5e1f", "attributes": {"company": "Pacme"}},
    "jose": {"first_name": "Jose\u0301", "last_name": "Łukasiewicz", "attributes": {"company": "Fir Acme"}},
    "double": {"first_name": "Maria Anna", "last_name": "von der Schmidt", "attributes": {"big": 10**18 + 1}},
}
DELETED = {
    "gone": {"first_name": "Maria", "last_name": "Gone", "tags": ["vip"], "email": "maria@gone.example"}
}
CHANGED = "marius"  # once all were made

EVERYBODY = tuple(CONTACTS)


@dataclass(frozen=True, slots=True)
class Made:
    """The moment at which a contact was made, and so many microseconds more."""

    label: str
    more: int = 0


@dataclass(frozen=True, slots=True)
class Case:
    """``q`` and the criteria find exactly these contacts; in this order, if ``ordered``."""

    title: str
    q: str | None
    found: tuple[str, ...]
    filters: dict[str, Any] = field(default_factory=dict)
    criteria: dict[str, Any] = field(default_factory=dict)
    ordered: bool = False

    def asked(self, made: dict[str, datetime]) -> Criteria:
        """``made``: when each contact was."""
        filters = {
            name: made[value.label] + timedelta(microseconds=value.more) if isinstance(value, Made) else value
            for name, value in self.filters.items()
        }
        criteria = Criteria(text=text.parse(self.q), filters=Filters(**filters), size=100)
        return replace(criteria, **self.criteria)


def _text(title: str, q: str, *found: str) -> Case:
    return Case(title, q, found)


def _typo(title: str, q: str, *found: str) -> Case:
    return Case(title, q, found, criteria={"forgiving": True})


def _filtered(title: str, *found: str, q: str | None = None, **filters: Any) -> Case:
    return Case(title, q, found, filters)


def _attribute(title: str, key: str, value: Any, *found: str) -> Case:
    return Case(title, None, found, {"attributes": ((key, value),)})


def _sorted(title: str, q: str | None, *found: str, **criteria: Any) -> Case:
    return Case(title, q, found, criteria=criteria, ordered=True)


def _without(*labels: str) -> tuple[str, ...]:
    return tuple(label for label in EVERYBODY if label not in labels)


TEXT = (
    _text("a whole name", "maria schmidt", "maria", "double"),
    _text("words in any order", "schmidt maria", "maria", "double"),
    _text("in capitals", "MARIA SCHMIDT", "maria", "double"),
    _text("white space of all kinds", " \t maria \u00a0\n schmidt ", "maria", "double"),
    _text("a word twice", "maria maria", "maria", "long", "double"),
    _text("beginning of a word", "schmi", "maria", "marius", "double"),
    _text("a fragment of a word", "hmi", "maria", "marius", "double"),
    _text("the end of a word", "mann", "anna_lena", "anna", "hannah"),
    _text("every word must be found", "maria hoffmann"),
    _text("two words of two fields", "maria acme", "maria"),
    _text("across two words nothing is found", "mariaschmidt"),
    _text("one letter", "g", "maria", "anna_lena"),
    _text("one letter, in the middle only", "z"),
    _text("two letters", "sc", "maria", "marius", "double"),
    _text("two letters, in the middle only", "hm"),
    _text("three letters are a fragment", "chm", "maria", "marius", "double"),
    _text("a letter and a word", "m schmidt", "maria", "double"),
    _text("an umlaut typed without", "muller", "muller"),
    _text("an umlaut typed with", "MÜLLER", "muller"),
    _text("an umlaut of two characters", "mu\u0308ller", "muller"),
    _text("an accent typed without", "jose", "jose"),
    _text("an accent typed with", "José", "jose"),
    _text("sharp s", "grossmann", "anna_lena"),
    _text("sharp s typed with", "GROẞMANN", "anna_lena"),
    _text("a letter with a stroke", "lukasiewicz", "jose"),
    _text("Cyrillic", "Иван", "ivan"),
    _text("Cyrillic in Latin letters", "petrov", "ivan"),
    _text("a piece of a Cyrillic word", "етро", "ivan"),
    _text("Arabic", "محمد", "mohammed"),
    _text("Arabic company", "شركة", "mohammed"),
    _text("Chinese", "李", "li"),
    _text("Chinese, the whole name", "明 李", "li"),
    _text("emoji", "🚀", "rocket"),
    _text("emoji and a word", "🚀 rakete", "rocket"),
    _text("a hyphen", "anna-lena", "anna_lena"),
    _text("a piece of a name with a hyphen", "lena", "anna_lena"),
    _text("over the hyphen", "a-le", "anna_lena"),
    _text("a hyphen typed as a blank", "anna lena", "anna_lena"),
    _text("an apostrophe", "o'neil", "oneil"),
    _text("behind an apostrophe", "neil", "oneil"),
    _text("a company", "nordlicht", "marius"),
    _text("a company with an umlaut", "sudwerk", "muller"),
    _text("a whole number", "+4915112345678", "maria"),
    _text("a number with blanks", "+49 151 12345678", "maria"),
    _text("a number with a zero in brackets", "+49 (0)151 123-456-78", "maria"),
    _text("a number as dialled at home", "0151 / 1234 5678", "maria"),
    _text("a number as dialled from abroad", "0049 151 12345678", "maria"),
    _text("the beginning of numbers", "+49151", "maria", "anna_lena"),
    _text("the beginning of numbers as dialled at home", "0151123", "maria", "anna_lena"),
    _text("a piece of a number", "234567", "maria"),
    _text("a piece of two numbers", "11234", "maria", "anna_lena"),
    _text("a number as it was not written", "030/9876-543", "marius"),
    _text("too few digits for a number", "1001", "maria"),
    _text("a whole address", "m.schmidt@acme.com", "maria"),
    _text("an address in capitals", "M.SCHMIDT@ACME.COM", "maria"),
    _text("the domain of an address", "@acme.com", "maria"),
    _text("a tag in an address", "+tag@", "address"),
    _text("an address with a tag", "marius.schmitt+news@example.org", "marius"),
    _text("a piece of an address", "last+ta", "address"),
    _text("a domain in Cyrillic", "почта", "ivan"),
    _text("an external id", "crm-1001", "maria"),
    _text("a piece of an external id", "m-10", "maria"),
    _text("an external id with signs", "a_b%c", "percent"),
    _text("an external id of two words", "b-7/x", "letters"),
    _text("signs alone find nothing", "% _ * ?"),
    _text("a percent sign is no wildcard", "50%off"),
    _text("a percent sign is found as it is", "50%_off", "percent"),
    _text("an underscore is no wildcard", "m_ria"),
    _text("an underscore is found as it is", "%_of", "percent"),
    _text("a backslash is found as it is", "back\\slash", "percent"),
    _text("a backslash alone", "\\"),
    _text("an asterisk is no wildcard", "m*ria"),
    _text("an asterisk at the end means nothing", "mari*", "maria", "marius", "long", "double"),
    _text("a question mark is no wildcard", "mar?a"),
    _text("quotes mean nothing", '"maria schmidt"', "maria", "double"),
    _text("operators are words", "maria OR schmitt"),
    _text("an exclusion is a word", "maria -schmidt", "maria", "double"),
    _text("a hyphen before a short word", "-le", "anna_lena"),
    _text("a hyphen that is there", "-10", "maria"),
    _text("hyphens and quotes before a word", '--"schmitt"', "marius"),
    _text("fields are no syntax", "first_name:maria"),
    _text("ranges are no syntax", "[a TO z]"),
    _text("expressions are no syntax", "/mar.*/"),
    _text("JSON is no syntax", '{"match_all": {}}'),
    _text("NUL is left out", "ma\0ria", "maria", "long", "double"),
    _text("a very long name", "x" * 100, "long"),
    _text("longer than any name", "x" * 101),
    _text("ten thousand letters", "m" * 10_000),
    _text("ten thousand digits", "1" * 10_000),
    _text("nothing but white space finds all", "  ", *EVERYBODY),
    _typo("a letter left out", "schmdt", "maria", "double"),
    _typo("a letter too many", "schmiddt", "maria", "double"),
    _typo("another letter", "schmidd", "maria", "double"),
    _typo("two letters swapped", "shcmidt", "maria", "double"),
    _typo("the first letter left out", "etrov", "ivan"),
    _typo("the first letter wrong", "detrov", "ivan"),
    _typo("the last letter left out", "hoffman", "hannah"),
    _typo("two errors are too many", "shcmitd"),
    _typo("an error in each of two words", "nariah hannaj"),
    _typo("an error in each word", "hofman hannsh"),
    _typo("one error in each word", "hofmann hannsh", "hannah"),
    _typo("an error in a word that is found as well", "schmidt", "maria", "marius", "double"),
    _typo("an error in a short word", "anba", "anna_lena", "anna", "double"),
    _typo("an error in a word of two spellings", "annalena", "anna_lena"),
    _typo("no blank is left out", "mariaschmidt"),
    _typo("no blank of short words is left out", "vonder"),
    _typo("no blank between Chinese words is left out", "明李"),
    _typo("no blank is replaced", "mariaxschmidt"),
    _typo("no blank of short words is replaced", "vonxder"),
    _typo("a letter too many at the end of a word", "derx", "double"),
    _typo("an error behind a hyphen", "-shcmidt", "maria", "double"),
    _typo("a short word takes no error", "jpse"[:3]),
    _typo("an umlaut and an error", "mülller", "muller"),
    _typo("an error in Cyrillic", "Петрев", "ivan"),
    _typo("numbers take no error", "+4915112345679"),
    _typo("addresses take no error", "m.schmidt@acme.cm"),
    _typo("no error without being forgiven", "hoffmann", "hannah"),
)

FILTERS = (
    _filtered("nothing is asked for", *EVERYBODY),
    _filtered("a status", "hannah", status="inactive"),
    _filtered("another status", "number", status="blocked"),
    _filtered("the usual status", *_without("hannah", "number"), status="active"),
    _filtered("a source", "marius", "muller", source="web"),
    _filtered("a source is taken whole", source="we"),
    _filtered("a source in capitals is another", source="WEB"),
    _filtered("a tag", "maria", "marius", "anna_lena", tags=("vip",)),
    _filtered("a tag in capitals is another", "hannah", tags=("VIP",)),
    _filtered("a tag with an umlaut", "anna_lena", tags=("münchen",)),
    _filtered("a tag without its umlaut", tags=("munchen",)),
    _filtered("any of the tags", "maria", "marius", "muller", "anna_lena", tags=("vip", "berlin")),
    _filtered("all of the tags", "maria", "anna_lena", tags=("vip", "berlin"), tags_match="all"),
    _filtered("all of a tag twice", "maria", "marius", "anna_lena", tags=("vip", "vip"), tags_match="all"),
    _filtered("any of a tag that nobody has", "maria", "muller", "anna_lena", tags=("berlin", "none")),
    _filtered("all of a tag that nobody has", tags=("berlin", "none"), tags_match="all"),
    _attribute("text", "plan", "gold", "maria", "anna_lena"),
    _attribute("text in capitals is another", "plan", "Gold", "marius"),
    _attribute("text with a blank is another", "plan", "gold ", "anna"),
    _attribute("text with quotes", "plan", "go\"ld'", "rocket"),
    _attribute("empty text", "note", "", "anna_lena"),
    _attribute("long text", "note", "n" * 40_000, "long"),
    _attribute("other long text", "note", "n" * 39_999),
    _attribute("long text beyond ASCII", "mood", "🚀" * 80, "rocket"),
    _attribute("a company is taken whole", "company", "Acme GmbH", "maria"),
    _attribute("a company in capitals is another", "company", "ACME", "address"),
    _attribute("a number", "seats", 1, "maria", "muller"),
    _attribute("the same number with a point", "seats", 1.0, "maria", "muller"),
    _attribute("a number as text", "seats", "1", "marius"),
    _attribute("true is no number", "seats", True),
    _attribute("true", "checked", True, "maria"),
    _attribute("true as text", "checked", "true", "marius"),
    _attribute("one is not true", "checked", 1, "muller"),
    _attribute("false", "checked", False),
    _attribute("zero", "seats", 0, "anna", "oneil"),
    _attribute("zero has no sign", "seats", -0.0, "anna", "oneil"),
    _attribute("a fraction", "ratio", 0.1, "muller"),
    _attribute("a large number", "big", 10**18, "li"),
    _attribute("a large number and one", "big", 10**18 + 1, "double"),
    _attribute("a large number as a float", "big", 1e18, "li"),
    _attribute("a tiny number", "small", 1e-7, "li"),
    _attribute("a huge number", "huge", 1e300, "li"),
    _attribute("a list is not what is in it", "languages", "de"),
    _attribute("an object is not what is in it", "address", "Köln"),
    _attribute("a key that nobody has", "plans", "gold"),
    _attribute("a key with signs", "seats=1", "x", "anna_lena"),
    _attribute("a key is not one with its value", "seats", 12),
    Case("two attributes", None, ("maria",), {"attributes": (("plan", "gold"), ("seats", 1))}),
    Case("two attributes that nobody has", None, (), {"attributes": (("plan", "gold"), ("seats", 0))}),
    _filtered("made after somebody", *EVERYBODY[EVERYBODY.index("jose") :], created_after=Made("nobody")),
    _filtered("made just after", *EVERYBODY[EVERYBODY.index("nobody") :], created_after=Made("nobody", -1)),
    _filtered("made before somebody", *EVERYBODY[:1], created_before=Made("marius")),
    _filtered("made just before", *EVERYBODY[:2], created_before=Made("marius", 1)),
    _filtered(
        "made between",
        "marius",
        "muller",
        created_after=Made("maria"),
        created_before=Made("anna_lena"),
    ),
    _filtered("changed after the last was made", CHANGED, updated_after=Made("double")),
    _filtered("with an address", "maria", "marius", "muller", "anna", "ivan", "address", has_email=True),
    _filtered(
        "without an address",
        *_without("maria", "marius", "muller", "anna", "ivan", "address"),
        has_email=False,
    ),
    _filtered("with a number", "maria", "marius", "anna_lena", "number", has_phone=True),
    _filtered("without a number", *_without("maria", "marius", "anna_lena", "number"), has_phone=False),
    _filtered("a name and a tag", "maria", q="schmi", tags=("berlin",)),
    _filtered("a name and a source", "marius", q="schmi", source="web"),
    _filtered("a name and a number", "marius", "maria", q="schmi", has_phone=True),
    _filtered("a name and an attribute", "maria", q="mar", attributes=(("plan", "gold"),)),
    _filtered("nothing but signs, and a tag", q="%%", tags=("vip",)),
)

_BY_NAME = (
    "number",  # +49…
    "percent",
    "letters",
    "anna",  # a blank stands before a hyphen
    "anna_lena",
    "hannah",
    "jose",  # o and an accent stand before ü
    "muller",
    "double",
    "maria",
    "marius",
    "oneil",
    "address",
    "long",
    "ivan",
    "mohammed",
    "li",
    "rocket",
)
_CHANGED_LAST = (*_without(CHANGED), CHANGED)

ORDERS = (
    _sorted("the newest first", None, *reversed(EVERYBODY)),
    _sorted("the oldest first", None, *EVERYBODY, descending=False),
    _sorted("a whole word before a beginning", "schmidt", "double", "maria"),
    _sorted("the newest of equal words first", "maria", "double", "long", "maria"),
    _sorted("of equal ones the newest first", "anna", "double", "anna", "anna_lena", "hannah"),
    _sorted(
        "a whole value, a word, a beginning, a fragment",
        "acme",
        "address",
        "jose",
        "maria",
        "oneil",
        "nobody",
    ),
    _sorted("a value and a beginning are as good as two words", "acme fir", "jose", "address"),
    _sorted(
        "a typing error after a fragment", "annah", "hannah", "double", "anna", "anna_lena", forgiving=True
    ),
    _sorted("the worst first", "anna", "hannah", "anna_lena", "anna", "double", descending=False),
    _sorted("the sum of both words", "mar schmi", "double", "marius", "maria"),
    _sorted("a typing error comes last", "schmit", "marius", "double", "maria", forgiving=True),
    _sorted("newest made first", None, *reversed(EVERYBODY), sort_by="created_at"),
    _sorted("oldest made first", None, *EVERYBODY, sort_by="created_at", descending=False),
    _sorted("last changed first", None, *reversed(_CHANGED_LAST), sort_by="updated_at"),
    _sorted("first changed first", None, *_CHANGED_LAST, sort_by="updated_at", descending=False),
    _sorted(
        "by name, those without one last", None, *_BY_NAME, "nobody", sort_by="display_name", descending=False
    ),
    _sorted(
        "by name backwards, those without one last",
        None,
        *reversed(_BY_NAME),
        "nobody",
        sort_by="display_name",
    ),
    _sorted("found by text, sorted by name", "schmi", "marius", "maria", "double", sort_by="display_name"),
    _sorted("found by text, sorted by time", "schmi", "double", "marius", "maria", sort_by="created_at"),
)
CASES = (*TEXT, *FILTERS, *ORDERS)
