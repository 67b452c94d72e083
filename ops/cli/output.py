"""How the command line speaks: exit codes, failures, JSON in and out."""

from __future__ import annotations

import asyncio
import logging
import re
import sys
from collections.abc import Coroutine, Iterable
from pathlib import Path
from typing import Any, TypeVar

import orjson
import typer

APPLIED = 0  # or duplicate, or answered
REJECTED = 1  # or not found, or: a server is out of reach, the doctor found something
DEAD = 2
TIMED_OUT = 3  # or, for send and query: NATS is out of reach
WRONG_USAGE = 64

T = TypeVar("T")


class Failure(Exception):
    """One line for stderr, and the exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def read_data(given: str, option: str = "--data") -> bytes:
    """What an option names: the text itself, ``@file``, or ``-`` for stdin. Raises BadParameter."""
    if given == "-":
        return sys.stdin.buffer.read()
    if given.startswith("@"):
        path = Path(given[1:])
        try:
            return path.read_bytes()
        except OSError as error:
            raise typer.BadParameter(f"cannot read {path}: {error.strerror}", param_hint=option) from None
    return given.encode()


def read_object(given: str, option: str = "--data") -> dict[str, Any]:
    """A JSON object from an option. Raises BadParameter, which names the option and the fix."""
    text = read_data(given, option)
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise typer.BadParameter(
            f"not valid JSON ({error}); give an object, @file, or - for stdin", param_hint=option
        ) from None
    if not isinstance(value, dict):
        raise typer.BadParameter(f"a JSON object is needed, not {type(value).__name__}", param_hint=option)
    return value


def check_tenant(tenant: str | None) -> None:
    """Raises BadParameter for what no tenant is called."""
    from contracts.fields import IN_WORDS, TENANT_PATTERN

    if tenant is not None and re.fullmatch(TENANT_PATTERN, tenant) is None:
        raise typer.BadParameter(f"{tenant!r}: {IN_WORDS[TENANT_PATTERN]}", param_hint="--tenant")


def one_of(given: str | None, known: Iterable[str], option: str) -> str | None:
    """What an option names, in whichever case it is given. Raises BadParameter, which lists what there is."""
    names = {name.casefold(): name for name in known}
    if given is not None and given.casefold() not in names:
        raise typer.BadParameter(f"no {given!r}; there are {', '.join(names.values())}", param_hint=option)
    return given and names[given.casefold()]


def print_json(value: Any, *, indent: bool = False) -> None:
    """One line on stdout, or several where a person reads."""
    option = orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z | (orjson.OPT_INDENT_2 if indent else 0)
    sys.stdout.buffer.write(orjson.dumps(value, default=str, option=option))
    sys.stdout.flush()


def hush() -> None:
    """nats-py logs with a traceback what it also raises; one line of ours is enough."""
    logging.getLogger("nats").setLevel(logging.CRITICAL)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end, with what commonly goes wrong said in one line."""
    import nats.errors
    import nats.js.errors

    from ops.reach import POSTGRES_ERRORS, Unreachable, refused
    from ops.settings import SettingsError

    hush()

    async def guarded() -> T:
        try:
            return await work
        except SettingsError as error:
            raise Failure(str(error), WRONG_USAGE) from None
        except (Unreachable, PermissionError) as error:
            raise Failure(str(error), REJECTED) from None
        except TimeoutError as error:
            raise Failure(str(error) or "no answer in time", TIMED_OUT) from None
        except nats.js.errors.NoStreamResponseError:
            raise Failure("no stream takes this message; run `rollcall streams`", REJECTED) from None
        except nats.errors.MaxPayloadError:
            raise Failure("the message is larger than the server's max_payload", REJECTED) from None
        except nats.js.errors.APIError as error:
            raise Failure(f"JetStream refuses the message: {error.description}", REJECTED) from None
        except nats.errors.Error as error:
            said = str(error).removeprefix("nats: ")
            raise Failure(f"NATS: {said}; see whether `rollcall doctor` knows why", REJECTED) from None
        except POSTGRES_ERRORS as error:
            raise Failure(str(refused(error)), REJECTED) from None

    return asyncio.run(guarded())
