"""What the planner makes of the timeline's queries under the tenant policy, on a table that is large enough to matter."""

from __future__ import annotations

import re
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from sqlalchemy import Executable, Row
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.expression import ClauseElement

from storage.postgres import engine
from storage.reads.session import Reads, TenantReads
from tests.helpers.asker import region_free
