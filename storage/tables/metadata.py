"""The one MetaData, and the type of every point in time."""

from __future__ import annotations

from sqlalchemy import MetaData
from sqlalchemy.dialects.postgresql import TIMESTAMP

metadata = MetaData()
INSTANT = TIMESTAMP(timezone=True)
