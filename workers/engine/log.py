"""A partitioned log that readers are opened on: a JetStream stream, or one in memory."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple, Protocol

from workers.engine.record import Reader, StreamChanged


class StreamState(NamedTuple):
    """What tells a stream from one that was made anew under its name, where it ends, and what is the first that it holds."""

    created: datetime  # UTC, in whole microseconds, as a database keeps it
    last_sequence: int
    first_sequence: int


class Log(Protocol):
    async def state(self) -> StreamState:
        """Raises StreamChanged when there is no such stream, OSError when the broker cannot be asked."""

    async def holds(self, partition: int, position: int) -> bool:
        """Whether a message of the partition follows the position. Raises as ``state`` does."""

    async def reader(self, created: datetime) -> Reader:
        """A reader of the stream that was created then; it raises StreamChanged when the log holds another one."""

    async def close(self) -> None: ...


def check_stream(name: str, state: StreamState, created: datetime, position: int) -> None:
    """That the stream is still the one that the cursors speak of. Raises StreamChanged with what an operator may do."""
    if state.created != created:
        problem = f"was made anew at {state.created:%Y-%m-%dT%H:%M:%SZ}"
    elif state.last_sequence < position:
        problem = f"ends at {state.last_sequence}, before the cursor at {position}"
    else:
        return
    raise StreamChanged(f"stream {name} {problem}: `rollcall streams adopt` decides where to go on")
