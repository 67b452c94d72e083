import math

import pytest

from workers.engine.bisect import Poison, settle, settle_halves
from workers.engine.record import Applied, Outcome


class Table:
    """What a transaction with savepoints would hold."""

    def __init__(self, poison: set[int]) -> None:
        self.poison = poison
        self.rows: list[int] = []
        self.buried: list[int] = []
        self.attempts = 0

    async def attempt(self, numbers):
        self.attempts += 1
        if self.poison & set(numbers):
            raise Poison
        self.rows += numbers
        return Applied([Outcome("applied", message=str(n)) for n in numbers])

    async def bury(self, number, poison):
        self.buried.append(number)
        return Applied([Outcome("dead", message=str(number))])


@pytest.mark.parametrize("place", [0, 1, 249, 250, 499])
async def test_one_poison_in_five_hundred(place: int):
    table = Table({place})
    applied = await settle(list(range(500)), table.attempt, table.bury)
    assert table.rows == [n for n in range(500) if n != place]
    assert table.buried == [place]
    assert table.attempts <= 2 * math.ceil(math.log2(500)) + 1
    assert [outcome.message for outcome in applied.outcomes] == [str(n) for n in range(500)]
    assert applied.outcomes[place].status == "dead"


async def test_everything_is_poison():
    table = Table(set(range(8)))
    applied = await settle_halves(list(range(8)), table.attempt, table.bury)
    assert table.buried == list(range(8))
    assert table.rows == []
    assert {outcome.status for outcome in applied.outcomes} == {"dead"}


async def test_what_is_no_poison_goes_through():
    async def attempt(_):
        raise OSError

    with pytest.raises(OSError):
        await settle([1, 2], attempt, Table(set()).bury)
