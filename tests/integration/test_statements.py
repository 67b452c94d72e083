"""The statements of a batch do not grow with the messages in it; counted by the server."""

import pytest

from ops.bench import statements

MOST = 20  # a constant of the design: phases, not messages


@pytest.mark.parametrize("stream", ["WEBHOOK", "COMMAND"])
async def test_a_batch_of_500_takes_as_many_statements_as_one_of_50(database: str, stream: str) -> None:
    counted = await statements.count(database, stream)
    assert counted["500"] == counted["50"]
    assert 0 < counted["1"] <= counted["50"] <= MOST
