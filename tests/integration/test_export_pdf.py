"""A timeline as PDF: every event in full, in any script, on pages without a seam."""

from __future__ import annotations

import asyncio
import io
import re
import sys
import threading
import unicodedata
import uuid
from datetime import UTC, datetime

import asyncpg
import pypdfium2
import pytest
from pypdf import PdfReader

from storage.reads.session import Reads
from tests.eventually import eventually
from tests.helpers import seed
from tests.helpers.exporting import exported, pages
from workers.exports import layout
from workers.exports.export import NotInstalled, export


@pytest.fixture
async def contact(writer: asyncpg.Connection) -> uuid.UUID:
    return await seed.contact(writer, "a", display_name="Jörg Müller")


async def test_what_is_written_can_be_read(
    reads: Reads, writer: asyncpg.Connection, contact: uuid.UUID
) -> None:
    await seed.identifier(writer, "a", contact, "whatsapp", "+4915112345678")
    await seed.identifier(writer, "a", contact, "email", "jm@example.com")
    await seed.event(
        writer,
        "a",
        contact,
        1,
        title="Note von Müller",
        description="العربية",
        priority="high",
        triggered_by="user:42",
        occurred_at=datetime(2026, 1, 31, 12, tzinfo=UTC),
    )
    await seed.event(
        writer,
        "a",
        contact,
        2,
        occurred_at=datetime(2026, 1, 31, 12, 30, tzinfo=UTC),
        title="漢字かな交じり文",
        description="한국어 你好 ελληνικά Привет",
        source="webhook",
    )
    written = await exported(reads, contact, "pdf")
    (page,) = pages(written)
    assert page.splitlines() == [
        "Jörg Müller",
        f"Contact {contact}",
        "whatsapp: +4915112345678",
        "email: jm@example.com",
        "2026-01-31 12:00:00 UTC · note · high",
        "Note von Müller",
        "العربية",
        "Source: agent, triggered by user:42",
        "2026-01-31 12:30:00 UTC · note · normal",
        "漢字かな交じり文",
        "한국어 你好 ελληνικά Привет",
        "Source: webhook",
        "1",
    ]
    about = PdfReader(io.BytesIO(written)).metadata
    assert about is not None
    assert (about.title, about.author) == ("Timeline of Jörg Müller", "Rollcall")


async def test_all_fonts_are_in_the_file(
    reads: Reads, writer: asyncpg.Connection, contact: uuid.UUID
) -> None:
    await seed.event(writer, "a", contact, 1, title="Müller العربية 漢字", description="Müller العربية 漢字")
    found: dict[str, bool] = {}
    for page in PdfReader(io.BytesIO(await exported(reads, contact, "pdf"))).pages:
        for font in page["/Resources"]["/Font"].values():
            (descendant,) = font["/DescendantFonts"]
            descriptor = descendant.get_object()["/FontDescriptor"]
            name = font["/BaseFont"].partition("+")[2].partition("-")[0]
            found[name] = not {"/FontFile2", "/FontFile3"}.isdisjoint(descriptor)
    assert found == {"NotoSans": True, "IBMPlexSansArabic": True, "NotoSansCJKsc": True}


async def test_arabic_is_shaped_and_runs_from_right_to_left(
    reads: Reads, writer: asyncpg.Connection, contact: uuid.UUID
) -> None:
    """Of three equal letters each has another glyph; the first one is the one furthest to the right."""
    await seed.event(writer, "a", contact, 1, title="x", description="ععع")
    document = pypdfium2.PdfDocument(await exported(reads, contact, "pdf"))
    text = document[0].get_textpage()
    place = text.get_text_range().index("ععع")
    boxes = [text.get_charbox(place + n) for n in range(3)]
    rights = [right for _, _, right, _ in boxes]
    assert rights == sorted(rights, reverse=True)
    assert len({round(right - left, 1) for left, _, right, _ in boxes}) == 3
    assert rights[0] > document[0].get_width() * 0.9
    document.close()


@pytest.mark.parametrize("part", [20, 37])
async def test_a_long_timeline_has_no_seam(
    reads: Reads, writer: asyncpg.Connection, contact: uuid.UUID, monkeypatch: pytest.MonkeyPatch, part: int
) -> None:
    texts = [None, "Wort " * 60, "a\nb\n" * 5, "العربية", "lang " * 2000]
    for n in range(1, 121):
        description = texts[4] if n % 25 == 0 else texts[n * n % 7 % 4]
        await seed.event(writer, "a", contact, n, title=f"event-{n}", description=description)
    at_once = pages(await exported(reads, contact, "pdf"))
    monkeypatch.setattr(layout, "PART_EVENTS", part)
    parts = pages(await exported(reads, contact, "pdf"))
    assert parts == at_once
    assert re.findall(r"event-(\d+)", "\n".join(parts)) == [str(n) for n in range(1, 121)]
    assert [page.splitlines()[-1] for page in parts] == [str(n) for n in range(1, len(parts) + 1)]
    assert "\n".join(parts).count("lang") == 4 * 2000


async def test_a_part_that_no_page_ends_with_loses_nothing(
    reads: Reads, writer: asyncpg.Connection, contact: uuid.UUID
) -> None:
    for n, description in enumerate(("first", "lang " * 30_000, "lang " * 30_000, "last"), start=1):
        await seed.event(writer, "a", contact, n, title=f"event-{n}", description=description)
    text = "\n".join(pages(await exported(reads, contact, "pdf")))
    assert text.count("lang") == 60_000
    assert re.findall(r"event-\d", text) == ["event-1", "event-2", "event-3", "event-4"]


async def test_nothing_runs_off_the_page(
    reads: Reads, writer: asyncpg.Connection, contact: uuid.UUID
) -> None:
    await seed.event(
        writer,
        "a",
        contact,
        1,
        title="W" * 255,
        description="https://example.com/" + "longpath" * 90 + " 漢字" * 90,
    )
    await seed.event(writer, "a", contact, 2, title="l", description="line\n" * 300)
    document = pypdfium2.PdfDocument(await exported(reads, contact, "pdf"))
    seen = ""
    for page in document:
        text = page.get_textpage()
        seen += text.get_text_range()
        for n in range(text.count_chars()):
            left, bottom, right, top = text.get_charbox(n)
            assert left >= 0
            assert bottom >= 0
            assert right <= page.get_width()
            assert top <= page.get_height()
    document.close()
    joined = "".join(seen.split())
    assert "W" * 255 in joined
    assert "longpath" * 90 in joined
    assert joined.count("line") == 300


async def test_what_is_written_is_no_markup(
    reads: Reads, writer: asyncpg.Connection, contact: uuid.UUID
) -> None:
    hostile = (
        '#panic("x") *bold* $x$ <begins> @ref `raw` \\ // comment "quoted" #sys.inputs #read("/etc/passwd")'
    )
    await seed.event(
        writer, "a", contact, 1, title=hostile, description=f"= {hostile}", triggered_by="#panic()"
    )
    text = " ".join(pages(await exported(reads, contact, "pdf"))[0].split())
    assert text.count(hostile) == 2
    assert "triggered by #panic()" in text


async def test_what_no_font_has_is_a_placeholder(
    reads: Reads, writer: asyncpg.Connection, contact: uuid.UUID
) -> None:
    odd = "a😀👍🏽👨‍👩‍👧\x01\x7f\x85\u2028\u202e\ufeff\ufffe\U0010ffffb\tc"
    await seed.event(writer, "a", contact, 1, title=odd, description="after")
    (page,) = pages(await exported(reads, contact, "pdf"))
    assert "after" in page.splitlines()


@pytest.mark.parametrize(
    "cluster",
    [
        pytest.param("\u0300" * 33_000, id="marks"),
        pytest.param("a" + "\u200c" * 33_000, id="invisible"),
        pytest.param("\U0001f468\u200d" * 10_000, id="emoji"),
        pytest.param("\u0915\u094d" * 15_000, id="conjuncts"),
        pytest.param("a" + "\uff9e" * 33_000, id="half-width"),
    ],
)
async def test_a_letter_with_marks_without_end_is_laid_out(
    reads: Reads, writer: asyncpg.Connection, contact: uuid.UUID, cluster: str
) -> None:
    """Typst fails at a cluster of 64 KiB."""
    await seed.event(writer, "a", contact, 1, title="before", description=cluster)
    await seed.event(writer, "a", contact, 2, title="after", description="e\u0301" * 31)
    text = "\n".join(pages(await exported(reads, contact, "pdf")))
    assert text.index("before") < text.index("after")
    assert unicodedata.normalize("NFC", text).count("é") == 31


def test_no_cluster_is_longer_than_it_may_be() -> None:
    def laid_out(text: str) -> str:
        return str(layout._text(text)["text"])

    circle = "\u25cc"
    assert laid_out("e" + "\u0301" * 30 + "e\u0301") == "e" + "\u0301" * 30 + "e\u0301"
    assert laid_out("e" + "\u0301" * 62) == "e" + circle.join(["\u0301" * 30, "\u0301" * 30, "\u0301" * 2])
    family, vowels = "👨‍👩‍👧‍👦👍🏽", "क्षि" * 40
    assert laid_out(family + vowels) == family + vowels
    assert laid_out("\u0915\u094d" * 40).replace(circle, "") == "\u0915\u094d" * 40


async def test_a_client_sees_nothing_that_is_kept_of_its_contact(
    reads: Reads, writer: asyncpg.Connection, contact: uuid.UUID
) -> None:
    """Not even by which names and identifiers it is known; a name may be one of them."""
    kept = {"whatsapp": "+4915112345679", "email": "mueller@example.com", "crm": "secret-7"}
    for channel, identifier in kept.items():
        await seed.identifier(writer, "a", contact, channel, identifier)
    (whole,) = pages(await exported(reads, contact, "pdf", visible_to="agent"))
    assert all(each in whole for each in (*kept.values(), "Jörg Müller"))
    written = await exported(reads, contact, "pdf", visible_to="client")
    (page,) = pages(written)
    assert [line for line in page.splitlines() if line.strip()] == [f"Contact {contact}", "No events.", "1"]
    about = PdfReader(io.BytesIO(written)).metadata
    assert about is not None
    assert about.title == f"Timeline of {contact}"


async def test_a_client_sees_less(reads: Reads, writer: asyncpg.Connection, contact: uuid.UUID) -> None:
    await seed.event(
        writer,
        "a",
        contact,
        1,
        visible_to_client=True,
        title="for all",
        metadata={"secret": 1},
        triggered_by="user:secret",
        integration_source="secret",
    )
    await seed.event(writer, "a", contact, 2, title="secret", triggered_by="user:1")
    (page,) = pages(await exported(reads, contact, "pdf", visible_to="client"))
    assert "for all" in page
    assert "Source: agent\n" in page
    assert "secret" not in page


async def test_a_timeline_without_events_says_so(reads: Reads, contact: uuid.UUID) -> None:
    (page,) = pages(await exported(reads, contact, "pdf"))
    assert "No events." in page


async def test_a_contact_without_a_name_is_named_by_its_id(reads: Reads, writer: asyncpg.Connection) -> None:
    nameless = await seed.contact(writer, "a")
    written = await exported(reads, nameless, "pdf")
    about = PdfReader(io.BytesIO(written)).metadata
    assert about is not None
    assert about.title == f"Timeline of {nameless}"


class Halting:
    """Documents that stop before they are finished: ``begun`` is set then, and they go on when ``go_on`` is."""

    def __init__(self) -> None:
        self.begun, self.go_on = asyncio.Event(), threading.Event()
        self.closed = 0

    def document(self, contact: dict[str, object]) -> layout.Document:
        loop, halting = asyncio.get_running_loop(), self

        class Halted(layout.Document):
            def finish(self) -> bytes:
                loop.call_soon_threadsafe(halting.begun.set)
                assert halting.go_on.wait(10), "the loop stands still"
                return super().finish()

            def close(self) -> None:
                halting.closed += 1
                super().close()

        return Halted(contact)


@pytest.fixture
def halting(monkeypatch: pytest.MonkeyPatch) -> Halting:
    made = Halting()
    monkeypatch.setattr("workers.exports.pdf.Document", made.document)
    return made


async def test_the_event_loop_goes_on_meanwhile(reads: Reads, contact: uuid.UUID, halting: Halting) -> None:
    exporting = asyncio.create_task(exported(reads, contact, "pdf"))
    await halting.begun.wait()
    halting.go_on.set()
    assert (await exporting).startswith(b"%PDF")


async def test_one_that_is_given_up_harms_no_other(
    reads: Reads, contact: uuid.UUID, halting: Halting
) -> None:
    given_up = asyncio.create_task(exported(reads, contact, "pdf"))
    await halting.begun.wait()
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    halting.go_on.set()
    left = await export(reads, "a", contact, "pdf")
    assert (await anext(left)).startswith(b"%PDF")
    await left.aclose()
    assert (await exported(reads, contact, "pdf")).startswith(b"%PDF")
    await eventually(lambda: halting.closed == 3, what="all are closed")


async def test_several_at_once_do_not_mix(
    reads: Reads, writer: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "PART_EVENTS", 10)
    names = [f"Contact-{n}" for n in range(4)]
    ids = [await seed.contact(writer, "a", display_name=name) for name in names]
    for name, contact in zip(names, ids, strict=True):
        for n in range(1, 41):
            await seed.event(writer, "a", contact, n, title=f"of {name}")
    for name, written in zip(
        names, await asyncio.gather(*(exported(reads, contact, "pdf") for contact in ids)), strict=True
    ):
        text = "\n".join(pages(written))
        assert text.count(f"of {name}\n") == text.count("of Contact-") == 40


async def test_without_the_extra_a_pdf_is_refused_before_it_begins(
    reads: Reads, contact: uuid.UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("workers.exports.pdf", "workers.exports.layout"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.delattr("workers.exports.pdf", raising=False)
    monkeypatch.setitem(sys.modules, "typst", None)
    with pytest.raises(NotInstalled, match=r"without typst: .*'\.\[export\]'"):
        await export(reads, "a", contact, "pdf")
    assert await exported(reads, contact, "csv")
