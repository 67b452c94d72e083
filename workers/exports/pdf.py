"""A timeline as PDF, laid out in a thread of this process.

Typst lets go of the interpreter while it works, so the event loop goes on. One thread for all exports, because PDFium must not
be called by two at once, and so that the memory of one part is all that laying out takes, however many wait. A process that
serves others has a child do all of this (``apart.py``).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from workers.exports.layout import Document

PIECE: Final = 1 << 16  # bytes

_LAYOUT: Final = ThreadPoolExecutor(1, "pdf")


async def pieces(contact: dict[str, Any], pages: AsyncIterator[list[dict[str, Any]]]) -> AsyncIterator[bytes]:
    """The document; its first piece comes when all of it is laid out, because a PDF's index is at its end."""
    loop = asyncio.get_running_loop()
    document = Document(contact)
    try:
        async for events in pages:
            await loop.run_in_executor(_LAYOUT, document.add, events)
        whole = await loop.run_in_executor(_LAYOUT, document.finish)
    finally:
        _LAYOUT.submit(document.close)
    for start in range(0, len(whole), PIECE):
        yield whole[start : start + PIECE]
