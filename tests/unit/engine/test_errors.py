import asyncpg
import pytest

from storage.errors import Restart
from workers.engine.errors import (
    CommitUnknown,
    CursorMoved,
    Fault,
    burial,
    classify,
    keeps_place,
    retry_reason,
)


def postgres(state: str, **fields: str) -> asyncpg.PostgresError:
    return asyncpg.PostgresError.new({"C": state, "M": "a value: +4915112345678", "S": "ERROR", **fields})


@pytest.mark.parametrize(
    ("state", "fault"),
    [
        ("40001", Fault.RETRY),
        ("40P01", Fault.RETRY),
        ("08006", Fault.RETRY),
        ("57P01", Fault.RETRY),
        ("57014", Fault.RETRY),
        ("53300", Fault.RETRY),
        ("25006", Fault.RETRY),
        ("22021", Fault.DATA),
        ("22P05", Fault.DATA),
        ("23514", Fault.DATA),
        ("54000", Fault.DATA),
        ("P0001", Fault.DATA),
        ("42P01", Fault.FATAL),
        ("42501", Fault.FATAL),
        ("28P01", Fault.FATAL),
        ("25P02", Fault.FATAL),
    ],
)
def test_states(state: str, fault: Fault):
    assert classify(postgres(state)) is fault


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (Restart("changed"), Fault.RETRY),
        (CursorMoved(), Fault.RETRY),
        (CommitUnknown(), Fault.RETRY),
        (ConnectionResetError(), Fault.RETRY),
        (TimeoutError(), Fault.RETRY),
        (asyncpg.InterfaceError("connection is closed"), Fault.RETRY),
        (asyncpg.InternalClientError("got result for unknown protocol state"), Fault.RETRY),
        (asyncpg.exceptions._base.DataError("invalid input for query argument $1"), Fault.DATA),
        (KeyError("x"), Fault.DATA),
        (MemoryError(), Fault.FATAL),
        (KeyboardInterrupt(), Fault.FATAL),
    ],
)
def test_others(error: BaseException, fault: Fault):
    assert classify(error) is fault


def test_only_lost_races_keep_their_place():
    assert keeps_place(postgres("40001"))
    assert keeps_place(postgres("40P01"))
    assert keeps_place(Restart())
    assert not keeps_place(postgres("57P01"))
    assert not keeps_place(CommitUnknown())
    assert not keeps_place(CursorMoved())


def test_a_detail_names_the_place_and_no_value():
    error = postgres(
        "23514", t="contacts", n="contacts_status_check", D="Failing row contains (acme, +49151)."
    )
    reason, detail = burial(error)
    assert reason == "handler_failed"
    assert detail == "SQLSTATE 23514 CheckViolationError at contacts.contacts_status_check"


def test_what_cannot_be_stored_is_called_so():
    assert burial(postgres("22021"))[0] == "unstorable"
    assert burial(postgres("22P05"))[0] == "unstorable"
    assert burial(postgres("22003"))[0] == "handler_failed"
    assert burial(KeyError("a name"))[1] == "KeyError"


def test_reasons_for_the_metric_are_few():
    assert retry_reason(CommitUnknown()) == "commit_unknown"
    assert retry_reason(CursorMoved()) == "cursor_moved"
    assert retry_reason(OSError()) == "connection"
    assert retry_reason(postgres("40001")) == "sqlstate_40001"
