"""search.rebuild."""

from __future__ import annotations

from typing import ClassVar

from contracts.commands.base import Command


class SearchRebuild(Command):
    """Index the tenant's contacts anew, while searches go on. The result's ``details`` hold the ``job_id``.

    Where such a job waits or runs already, the result names that one. Query ``search.status`` shows how far it is.
    """

    TYPE: ClassVar[str] = "search.rebuild"
