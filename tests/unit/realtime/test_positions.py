from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.realtime.positions import BadCursor, Cursors, Foreign, Opening, Position

KEY = b"k" * 32
moments = st.datetimes(datetime(2020, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
sequences = st.integers(0, 2**63)
positions = st.builds(
    Position,
    moments,
    sequences,
    st.none() | st.builds(Opening, st.uuids(), sequences, moments),
)


@given(positions)
def test_a_cursor_says_the_position(position: Position):
    cursors = Cursors(KEY)
    cursor = cursors.seal("acme", position)
    assert cursors.unseal("acme", cursor) == position
    assert len(cursor) < 200
    with pytest.raises(Foreign):
        cursors.unseal("acme-2", cursor)
    with pytest.raises(BadCursor):
        Cursors(b"j" * 32).unseal("acme", cursor)


@given(positions, st.data())
def test_a_cursor_that_was_altered_in_any_letter(position: Position, data: st.DataObject):
    cursors = Cursors(KEY)
    cursor = cursors.seal("acme", position)
    place = data.draw(st.integers(0, len(cursor) - 1))
    letter = data.draw(st.characters(max_codepoint=0x2FF).filter(lambda c: c != cursor[place]))
    for altered in (cursor[:place] + letter + cursor[place + 1 :], cursor[:place], cursor + letter):
        with pytest.raises(BadCursor):
            cursors.unseal("acme", altered)


def test_nothing_of_the_tenant_can_be_read_from_a_cursor():
    position = Position(
        datetime(2026, 1, 1, tzinfo=UTC) + timedelta(microseconds=1),
        1,
        Opening(uuid.UUID(int=1), 1, datetime.now(UTC)),
    )
    assert "acme" not in Cursors(KEY).seal("acme", position)
