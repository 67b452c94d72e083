"""JSON lines on stderr. An operation logs START and END, and PUBLISH where it publishes; never a body or a secret."""

from __future__ import annotations

import functools
import logging
import re
import sys
import time
from collections.abc import Collection, Mapping, MutableMapping
from typing import Any, cast

import orjson
import structlog
from structlog.typing import FilteringBoundLogger, Processor

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}

_HIDDEN = "***"

# Fields of these names are hidden whatever they hold: what people sent us, and what opens doors.
_HIDDEN_FIELDS = re.compile(
    r"^(body|data|payload|text|raw|headers|values|parameters)$|passw|secret|token|authorization|cookie|api_?key|dsn",
    re.IGNORECASE,
)

# What hides inside a sentence: credentials, and the values that database and schema errors quote.
_HIDDEN_TEXT = re.compile(
    r"(?P<url>\b[a-z][a-z0-9+.-]*://)\S*@"
    r"|(?P<name>\b(?:password|passwd|pwd|secret|token|api_?key)\b[\"']?\s*[=:]\s*)(?:\"[^\"]*\"|'[^']*'|[^\s,;&\"']+)"
    r"|(?P<bearer>\b(?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{8,}"
    r"|(?P<jwt>)\beyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*"
    r"|(?P<pydantic>input_value=).*?(?=, input_type=|$)"
    r"|(?P<sql>\[parameters: ).*(?=\])"
    r"|(?P<detail>^DETAIL:\s*).*$",
    re.IGNORECASE | re.MULTILINE,
)


# Without one of these a text can hold none of the above; most fields are ids and pass by here.
_SUSPECT = re.compile(r"[:=.\s]")


@functools.lru_cache(maxsize=1024)
def _is_hidden(field: str) -> bool:
    return _HIDDEN_FIELDS.search(field) is not None


def _hide_match(match: re.Match[str]) -> str:
    kept = match.group(match.lastgroup) if match.lastgroup else ""
    return f"{kept}{_HIDDEN}@" if match.lastgroup == "url" else f"{kept}{_HIDDEN}"


def hide_text(text: str) -> str:
    """The text without the credentials and quoted values in it."""
    return _HIDDEN_TEXT.sub(_hide_match, text) if _SUSPECT.search(text) else text


def _hide(value: Any) -> Any:
    if isinstance(value, str):
        return hide_text(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return _HIDDEN
    if isinstance(value, Mapping):
        return {key: _HIDDEN if _is_hidden(str(key)) else _hide(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_hide(item) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return hide_text(str(value))


def hide_secrets(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The processor that keeps bodies, credentials and quoted values out of every line."""
    for key, value in event.items():
        event[key] = _HIDDEN if _is_hidden(key) else _hide(value)
    return event


def _render(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS)
    except orjson.JSONEncodeError:  # a lone surrogate, or an integer past 64 bits
        return orjson.dumps({key: ascii(value) for key, value in event.items()})


class _FromStandardLibrary(logging.Handler):
    """Takes what libraries log to our one format."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            get_logger(record.name).log(record.levelno, record.getMessage(), exc_info=record.exc_info)
        except Exception:  # noqa: BLE001 - a library's broken log call must not reach what it was doing
            self.handleError(record)


def configure(level: str = "info") -> None:
    """Sets the whole process up: "debug", "info", "warning" or "error". Libraries are heard from WARNING on."""
    threshold = LEVELS[level.lower()]
    processors: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.format_exc_info,
        hide_secrets,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        cast("Processor", _render),
    ]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.BytesLoggerFactory(file=sys.stderr.buffer),
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    root.handlers[:] = [_FromStandardLibrary()]
    root.setLevel(max(threshold, logging.WARNING))


def get_logger(name: str) -> FilteringBoundLogger:
    """A logger whose lines carry ``module: name``; may be asked for before ``configure``."""
    return cast("FilteringBoundLogger", structlog.get_logger(module=name))


def whose(tenants: Collection[str]) -> dict[str, Any]:
    """Fields that say whose something is: the tenant, or how many there are."""
    if len(tenants) == 1:
        return {"tenant": next(iter(tenants))}
    return {"tenants": len(tenants)} if tenants else {}


class Operation:
    """One operation in the log: a START line now, an END line with ``duration_ms`` when ``end`` is called.

    The fields given here are repeated on every line: tenant, correlation_id, contact_id, stream and the like.
    """

    __slots__ = ("_log", "_name", "_started")

    def __init__(self, log: FilteringBoundLogger, name: str, **fields: Any) -> None:
        self._log = log.bind(operation=name, **fields)
        self._name = name
        self._started = time.perf_counter()
        self._log.info(name, phase="START")

    @property
    def duration_ms(self) -> float:
        return round((time.perf_counter() - self._started) * 1000, 3)

    def publish(self, **fields: Any) -> None:
        self._log.info(self._name, phase="PUBLISH", duration_ms=self.duration_ms, **fields)

    def end(self, **fields: Any) -> None:
        self._log.info(self._name, phase="END", duration_ms=self.duration_ms, **fields)

    def fail(self, error: BaseException, **fields: Any) -> None:
        """The END line of an operation that failed, as a warning that names the error."""
        self._log.warning(
            self._name,
            phase="END",
            duration_ms=self.duration_ms,
            error=f"{type(error).__name__}: {error}",
            **fields,
        )
