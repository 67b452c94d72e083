"""Inserting by binary COPY: a third of the processor time of an INSERT over arrays, on both sides of the wire.

A few rows go as plain INSERTs, of all their tables in one statement: each COPY takes two round trips.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from itertools import chain
from typing import Final, NamedTuple

import asyncpg

from storage.errors import Restart

FEW: Final = 8


class Rows(NamedTuple):
    """New rows of one table, which the caller has sorted by what they may race on."""

    table: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]


async def insert(connection: asyncpg.Connection, *tables: Rows) -> None:
    """Insert rows; of several tables in whichever order, so that others may race on those of one of them at most.

    Raises Restart when another transaction committed one of the keys meanwhile; one that is still open is waited for.
    """
    few = [each for each in tables if 0 < len(each.rows) <= FEW]
    try:
        for table, columns, rows in tables:
            if len(rows) > FEW:
                await connection.copy_records_to_table(table, records=rows, columns=columns)
        if few:
            statement = _inserts(*((table, tuple(columns), len(rows)) for table, columns, rows in few))
            await connection.execute(
                statement, *chain.from_iterable(chain.from_iterable(e.rows for e in few))
            )
    except asyncpg.UniqueViolationError as error:
        raise Restart(f"a key of {error.table_name} was taken meanwhile") from error


@functools.lru_cache(maxsize=1024)
def _inserts(*tables: tuple[str, tuple[str, ...], int]) -> str:
    """One statement for so many rows of each table, its arguments row by row."""
    inserts: list[str] = []
    place = 1
    for table, columns, count in tables:
        values = []
        for _ in range(count):
            values.append(f"({', '.join(f'${n}' for n in range(place, place + len(columns)))})")
            place += len(columns)
        inserts.append(f"insert into {table} ({', '.join(columns)}) values {', '.join(values)}")
    *before, last = inserts
    named = ", ".join(f"i{n} as ({insert})" for n, insert in enumerate(before))
    return f"with {named} {last}" if named else last
