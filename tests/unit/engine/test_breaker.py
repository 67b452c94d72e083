import pytest

from workers.engine.breaker import MINIMUM, Breaker, Held, Sample


def samples(count: int, *, failed: bool, tenants: tuple[str, ...] = ("a", "b"), partitions: int = 4):
    return [Sample(n % partitions, tenants[n % len(tenants)], failed) for n in range(count)]


def test_one_failure_among_many_is_let_through():
    breaker = Breaker()
    batch = [*samples(300, failed=False), Sample(1, "a", failed=True)]
    breaker.judge(batch, 0)
    breaker.committed(batch)
    assert not breaker.open
    assert not breaker.paused


def test_too_few_messages_prove_nothing():
    breaker = Breaker()
    breaker.judge(samples(MINIMUM - 1, failed=True), 0)
    assert not breaker.open


def test_small_batches_add_up():
    breaker = Breaker()
    for n in range(MINIMUM - 1):
        one = [Sample(0, "ab"[n % 2], failed=True)]
        breaker.judge(one, 0)
        breaker.committed(one)
    with pytest.raises(Held):
        breaker.judge([Sample(0, "b", failed=True)], 0)
    assert breaker.open


def test_opens_on_failures_of_two_tenants_and_says_so():
    breaker = Breaker(probe_seconds=30)
    with pytest.raises(Held):
        breaker.judge(samples(200, failed=True), 100)
    assert breaker.open
    assert breaker.seconds_to_probe(100) == 30
    assert "one message is tried every 30 s" in (breaker.problem() or "")


def test_a_healthy_past_does_not_hide_a_flood():
    breaker = Breaker()
    breaker.committed(samples(1000, failed=False))
    with pytest.raises(Held):
        breaker.judge(samples(MINIMUM, failed=True), 0)
    assert breaker.open


def test_another_tenants_single_failure_does_not_stop_everybody():
    breaker = Breaker()
    fine = samples(60, failed=False, tenants=("b",))
    with pytest.raises(Held):
        breaker.judge([*fine, Sample(9, "b", failed=True), *samples(150, failed=True, tenants=("a",))], 0)
    assert not breaker.open
    assert breaker.tenant_of(0) == "a"
    assert 9 not in breaker.paused


def test_while_open_every_failure_is_held():
    breaker = Breaker(30)
    with pytest.raises(Held):
        breaker.judge(samples(100, failed=True), 0)
    breaker.begin_probe(30)
    with pytest.raises(Held):
        breaker.judge([Sample(0, "a", failed=True)], 30)
    assert breaker.seconds_to_probe(31) == 29
    breaker.judge([Sample(0, "a", failed=False)], 60)
    breaker.close()
    assert not breaker.open
    assert breaker.problem() is None


def test_one_tenant_alone_has_its_partitions_paused():
    breaker = Breaker(30)
    batch = [*samples(150, failed=True, tenants=("bad",), partitions=2), Sample(3, "good", failed=False)]
    with pytest.raises(Held):
        breaker.judge(batch, 0)
    assert set(breaker.paused) == {0, 1}
    assert not breaker.open
    assert breaker.pauses() == [
        "handlers fail on messages of tenant bad: partitions 0, 1 are paused, and one message is tried every 30 s"
    ]


def test_a_known_bad_tenant_is_paused_wherever_it_fails_next():
    breaker = Breaker()
    with pytest.raises(Held):
        breaker.judge(samples(100, failed=True, tenants=("bad",), partitions=1), 0)
    with pytest.raises(Held):
        breaker.judge([Sample(7, "bad", failed=True)], 1)
    assert set(breaker.paused) == {0, 7}


def test_a_paused_partition_is_due_and_resumes():
    breaker = Breaker(30)
    with pytest.raises(Held):
        breaker.judge(samples(100, failed=True, tenants=("bad",), partitions=2), 0)
    assert breaker.due([0, 1], 29) == []
    assert breaker.seconds_to_due([1, 5], 29) == 1
    assert breaker.seconds_to_due([5], 29) == float("inf")
    assert breaker.due([1, 5], 30) == [1]
    breaker.postpone(1, 30)
    assert breaker.due([1], 59) == []
    breaker.resume(0)
    breaker.resume(1)
    assert not breaker.pauses()
    breaker.judge([Sample(1, "bad", failed=True)], 60)  # forgiven: it takes a hundred again


def test_undecodable_input_does_not_count():
    breaker = Breaker()
    breaker.judge([], 0)
    breaker.committed([])
    assert not breaker.open
